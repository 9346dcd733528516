import os
import subprocess
import sys

import pytest

from mlr.runtime import cpu
from mlr.runtime.cpu import given, prepare_for_mxnet, sums_8_bits_exactly, usable_cores


def machine(root, siblings=None, cgroup=None, files=None):
    """Write the parts of /sys and /proc that the kernel would show."""
    for number, text in (siblings or {}).items():
        path = root / f"sys/devices/system/cpu/cpu{number:d}/topology/thread_siblings_list"
        path.parent.mkdir(parents=True)
        path.write_text(text + "\n")
    for name, text in {"proc/self/cgroup": cgroup, **(files or {})}.items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text + "\n")
    return root


def test_two_threads_of_a_core_count_once(tmp_path):
    system = machine(tmp_path, {0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"})
    assert usable_cores([0, 1, 4, 5], system) == 2


def test_affinity_is_respected(tmp_path):
    system = machine(tmp_path, {cpu: str(cpu) for cpu in range(8)})
    assert usable_cores([2, 5, 7], system) == 3


def test_without_topology_every_cpu_is_a_core(tmp_path):
    assert usable_cores([0, 1, 2], tmp_path) == 3


@pytest.mark.parametrize(
    "quota, cores",
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("250000 100000", 3),
        ("50000 100000", 1),
        ("max", 8),
        ("200000", 2),
        ("200000 0", 8),
        ("many of them", 8),
        ("", 8),
    ],
)
def test_quota_of_cgroup_2(tmp_path, quota, cores):
    system = machine(
        tmp_path, cgroup="0::/user/job", files={"sys/fs/cgroup/user/job/cpu.max": quota}
    )
    assert usable_cores(range(8), system) == cores


def test_quota_of_a_parent_group(tmp_path):
    system = machine(
        tmp_path,
        cgroup="0::/user/job",
        files={
            "sys/fs/cgroup/user/job/cpu.max": "max 100000",
            "sys/fs/cgroup/user/cpu.max": "300000 100000",
        },
    )
    assert usable_cores(range(8), system) == 3


@pytest.mark.parametrize("quota, cores", [("-1", 8), ("400000", 4)])
def test_quota_of_cgroup_1(tmp_path, quota, cores):
    system = machine(
        tmp_path,
        cgroup="4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc",
        files={
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": quota,
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        },
    )
    assert usable_cores(range(8), system) == cores


@pytest.mark.parametrize(
    "cpuinfo, exactly",
    [
        ("flags\t\t: sse sse2 avx avx2 avx512bw", False),
        ("flags\t\t: sse sse2 avx avx2 avx_vnni", True),
        ("flags\t\t: sse sse2 avx avx2 avx512_vnni", True),
        ("Features\t: fp asimd", True),
        (None, True),
    ],
)
def test_which_processors_add_8_bits_exactly(tmp_path, cpuinfo, exactly):
    system = machine(tmp_path, files={"proc/cpuinfo": cpuinfo})
    assert sums_8_bits_exactly(system) is exactly


@pytest.mark.parametrize(
    "cpuinfo, kernels",
    [
        ("vendor_id\t: AuthenticAMD\nflags\t\t: sse avx avx2 fma", "5"),
        ("vendor_id\t: AuthenticAMD\nflags\t\t: sse avx", None),
        ("vendor_id\t: GenuineIntel\nflags\t\t: sse avx avx2", None),
        (None, None),
    ],
)
def test_mkl_takes_its_fast_kernels_on_amd_only(tmp_path, cpuinfo, kernels):
    environment = {"OMP_NUM_THREADS": "1"}
    prepare_for_mxnet(environment, machine(tmp_path, files={"proc/cpuinfo": cpuinfo}))
    assert environment == {
        "OMP_NUM_THREADS": "1",
        **({"MKL_DEBUG_CPU_TYPE": kernels} if kernels else {}),
    }


@pytest.mark.filterwarnings("ignore:mxnet was imported before mlr")
@pytest.mark.parametrize(
    "threads, taken",
    [
        ("4,2", "4"),
        (" 3 , 1", "3"),
        ("7", "7"),
        ("0", "0"),
        ("many", "1"),
        ("4.0", "1"),
        ("99999999999", "1"),
        ("", "1"),
    ],
)
def test_mxnet_gets_one_number_of_threads(tmp_path, threads, taken):
    """By its own reading MXNet aborts, or crashes, of all but the third, the fourth and the
    last.
    """
    environment = {"OMP_NUM_THREADS": threads, "MKL_DEBUG_CPU_TYPE": "5"}
    prepare_for_mxnet(
        environment, machine(tmp_path, cgroup="0::/", files={"sys/fs/cgroup/cpu.max": "100000"})
    )
    assert environment["OMP_NUM_THREADS"] == taken


def test_what_the_user_gave_is_told_from_what_was_set(monkeypatch):
    monkeypatch.setenv("MLR_OF_THIS_TEST", "1")
    assert given("MLR_OF_THIS_TEST") == "" and given("PATH")


def test_the_users_own_kernels_stay(tmp_path):
    environment = {"OMP_NUM_THREADS": "1", "MKL_DEBUG_CPU_TYPE": "4"}
    prepare_for_mxnet(environment, machine(tmp_path, files={"proc/cpuinfo": "AuthenticAMD avx2"}))
    assert environment["MKL_DEBUG_CPU_TYPE"] == "4"


def python(code, environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture
def environment():
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}


def test_import_sets_the_threads(environment):
    done = python(
        (
            "import mlr, os; from mlr.runtime.cpu import usable_cores; assert "
            "int(os.environ['OMP_NUM_THREADS']) == usable_cores()"
        ),
        environment,
    )
    assert done.stderr == ""


def test_the_users_own_number_stays(environment):
    done = python(
        "import mxnet, mlr, os; print(os.environ['OMP_NUM_THREADS'])",
        {**environment, "OMP_NUM_THREADS": "7"},
    )
    assert done.stdout == "7\n"
    assert "imported before mlr" not in done.stderr


@pytest.mark.parametrize("function", ["compute_with_one_thread", "compute_beside_others"])
@pytest.mark.parametrize(
    "before, given, threads",
    [("", {}, "1"), ("", {"OMP_NUM_THREADS": "2"}, "2"), ("mxnet", {}, "")],
)
def test_one_thread_unless_it_is_too_late_or_the_user_chose(
    environment, before, given, threads, function
):
    code = (
        f"import mlr; {before and f'import {before}'}\n"
        "from mlr.runtime import cpu\n"
        "cpu.free_cpus = lambda before, after: 0.4\n"
        f"cpu.{function}()\n"
        "import os; print(os.environ['OMP_NUM_THREADS'], cpu.usable_cores())"
    )
    found, cores = python(code, {**environment, **given}).stdout.split()
    assert found == (threads or cores)


@pytest.mark.parametrize(
    "free, threads", [(0.4, "1"), (1.4, "1"), (1.6, "2"), (3.7, "3"), (float("inf"), "3")]
)
def test_as_many_threads_as_others_leave_cpus(monkeypatch, free, threads):
    monkeypatch.setattr(cpu, "free_cpus", lambda before, after: free)
    monkeypatch.setattr(cpu, "given", lambda name: "")
    monkeypatch.delitem(sys.modules, "mxnet", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    cpu.compute_beside_others()
    assert os.environ["OMP_NUM_THREADS"] == threads


@pytest.mark.parametrize(
    "cpus, free",
    [
        # of 20 ticks each, 5 and 11 were idle, and this process had 14
        ([0, 1], 2 * (5 + 11 + 14) / 40),
        ([1], (11 + 14) / 20),
        ([0, 1, 7], 1.5),
        ([7], float("inf")),
    ],
)
def test_free_cpus_by_hand(tmp_path, cpus, free):
    text = "cpu  9 9 9 9\ncpu0 {} 0 0 100 {} 0 0 0 5 5\ncpu1 0 {} 0 {} 0 0 0 {} 5 5\nintr 1"
    times = [
        cpu._cpu_times(machine(tmp_path / name, files={"proc/stat": text.format(*ticks)}))
        for name, ticks in (("before", (0, 0, 0, 0, 0)), ("after", (15, 5, 5, 11, 4)))
    ]
    before, after = (each._replace(own=own) for each, own in zip(times, (30, 44)))
    assert cpu.free_cpus(before, after, cpus) == pytest.approx(free)


def test_too_little_time_or_no_times_say_nothing(tmp_path):
    moment = cpu._cpu_times(machine(tmp_path, files={"proc/stat": "cpu0 1 1 1 1"}))
    assert moment.of_cpus == {0: (1, 4)}
    assert cpu.free_cpus(moment, moment, [0]) == float("inf")
    nothing = cpu._cpu_times(tmp_path / "none")
    assert nothing == ({}, 0) and cpu.free_cpus(nothing, nothing) == float("inf")


def test_mxnet_takes_a_list_of_threads(environment):
    done = python(
        "import mlr, mxnet as mx; print(mx.nd.ones(3).sum().asscalar())",
        {**environment, "OMP_NUM_THREADS": "2,1"},
    )
    assert done.stdout == "3.0\n"


def test_a_late_import_warns(environment):
    assert "mxnet was imported before mlr" in python("import mxnet, mlr", environment).stderr


def test_import_loads_nothing_heavy(environment):
    code = (
        "import mlr, sys; print([name for name in ('mxnet', 'numpy', 'cv2', 'matplotlib', "
        "'sklearn', 'd2lzh') if name in sys.modules])"
    )
    assert python(code, environment).stdout == "[]\n"


def test_mxnet_does_not_bring_scikit_learn(environment):
    """A tenth of the start of a command; MXNet would import it for an interface of its own."""
    code = (
        "import sys, mlr; mlr.MultiLevelNet; print('mxnet' in sys.modules, 'sklearn' in "
        "sys.modules); import sklearn.base; print(sklearn.base.__name__)"
    )
    assert python(code, environment).stdout == "True False\nsklearn.base\n"
