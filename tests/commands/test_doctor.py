"""The command doctor: on this machine, in environments that are not right, and on made-up facts."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import mxnet as mx
import pytest
from mxnet.runtime import Features

from mlr import doctor
from mlr.runs.shipped import SHIPPED_RUN
from mlr.runtime.builds import installed_builds, version_numbers
from mlr.runtime.cpu import usable_cores

ROOT = Path(__file__).parents[2]


def nvidia_smi(folder, script):
    """Write a program nvidia-smi that is a shell script; return the PATH on which it comes
    first.
    """
    folder.mkdir(exist_ok=True)
    (folder / "nvidia-smi").write_text("#!/bin/sh\n" + script)
    (folder / "nvidia-smi").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


A100 = (
    'case "$1" in *name,driver_version,compute_cap) echo "NVIDIA A100, 40 GB, 470.57, 8.0";; *) '
    "exit 3;; esac\n"
)
OLD_DRIVER = (
    'case "$1" in *compute_cap*) echo "Field \\"compute_cap\\" is not a valid field to query."; '
    'exit 2;; *) echo "Tesla K80, 418.67";; esac\n'
)


def test_this_machine(command):
    done = command("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = dict(
        line.split(None, 1)
        for line in done.stdout.split("\n\n")[0].replace("pixel cache", "cache").splitlines()
    )
    assert lines["Python"].endswith(sys.executable)
    ((name, version),) = installed_builds().items()
    assert lines["MXNet"] == f"{mx.__version__}; installed: {name} {version}"
    assert (
        f"numpy {__import__('numpy').__version__}" in lines["packages"]
        and "d2lzh 1.0.0" in lines["optional"]
    )
    assert "checkpoints/demo, undamaged" in lines["checkpoint"]
    assert "checkpoints/photos and " in lines["checkpoint"]
    assert lines["threads"].startswith(f"{usable_cores():d} cores, OMP_NUM_THREADS ")


def test_json_beside_a_gpu(command, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path / "bin", A100))
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "pixels-1.npy").write_bytes(bytes(10**6))
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "models").mkdir(parents=True)
    (tmp_path / "home" / "models" / "resnet50_v2-ecdde353.params").write_bytes(b"")
    done = command("doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert facts["works"] and facts["mxnet"] == {
        "version": mx.__version__,
        "gpus": 0,
        "features": {
            name: Features().is_enabled(name) for name in ("CUDA", "CUDNN", "MKLDNN", "OPENCV")
        },
    }
    assert facts["package"]["cache"] == {
        "path": str(tmp_path / "cache"),
        "files": 1,
        "gigabytes": 0.001,
    }
    assert facts["package"]["models"] == {
        "path": str(tmp_path / "home" / "models"),
        "files": ["resnet50_v2-ecdde353.params"],
    }
    assert facts["gpus"]["seen"] == [
        {"name": "NVIDIA A100, 40 GB", "driver": "470.57", "capability": 8.0}
    ]
    assert [problem["problem"] for problem in facts["problems"] if "GPU" in problem["problem"]] == [
        (
            "this machine has a GPU, NVIDIA A100, 40 GB (compute capability 8.0, driver 470.57), "
            "but this MXNet is built for CPUs"
        )
    ]


def test_where_nothing_is_installed(tmp_path):
    """A Python without any package but this one's source."""
    venv.create(str(tmp_path / "bare"))
    for arguments in ([], ["--json"]):
        done = subprocess.run(
            [str(tmp_path / "bare" / "bin" / "python"), "-m", "mlr", "doctor", *arguments],
            cwd=str(tmp_path),
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert (
            line.startswith("mlr doctor: error: mlr can't work here: ")
            and "MXNet is not installed" in line
        )
        if arguments:
            found = json.loads(done.stdout)
            assert found["builds"] == {} and not found["works"]
        else:
            broken = "broken: MXNet is not installed (ModuleNotFoundError: No module named"
            assert broken in done.stdout


def distribution(folder, name, version):
    (folder / (f"{name}-{version}.dist-info")).mkdir(parents=True)
    (folder / (f"{name}-{version}.dist-info") / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )


def test_builds_that_are_installed(tmp_path, monkeypatch):
    for name in ("mxnet", "mxnet_cu101", "MXNet-cu92mkl", "mxnet-model-server", "mxnet2onnx"):
        distribution(tmp_path, name, "1.5.1")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert installed_builds() == {
        "mxnet": "1.5.1",
        "mxnet-cu101": "1.5.1",
        "mxnet-cu92mkl": "1.5.1",
    }
    monkeypatch.setattr(sys, "path", [])
    assert installed_builds() == {}
    assert (
        version_numbers("1.10.0b2")
        == (1, 10)
        > version_numbers("1.8.0")
        > version_numbers("1.5.1.post0")
    )


@pytest.mark.parametrize(
    "code, error",
    [
        (f"import os; os.kill(os.getpid(), {signal.SIGILL:d})", "signal SIGILL ended its process"),
        (
            "raise OSError('libcudart.so.10.1: cannot open shared object file')",
            "OSError: libcudart.so.10.1: cannot open shared object file",
        ),
    ],
)
def test_a_build_that_can_not_be_loaded(tmp_path, monkeypatch, code, error):
    (tmp_path / "mxnet").mkdir()
    (tmp_path / "mxnet" / "__init__.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert doctor.ask_mxnet() == [{"error": error}] * 2
    monkeypatch.setattr(doctor, "missing_libraries", lambda: ["libcudart.so.10.1"])
    assert doctor.examine()["mxnet"] == {"error": error, "missing": ["libcudart.so.10.1"]}


def test_a_build_that_does_not_end(tmp_path, monkeypatch):
    (tmp_path / "mxnet.py").write_text("import time; time.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doctor, "PROBE_SECONDS", 0.1)
    assert doctor.ask_mxnet() == [{"error": "it did not load within 0.1 seconds"}] * 2


@pytest.mark.parametrize(
    "script, error, seen",
    [
        (A100, None, [("NVIDIA A100, 40 GB", "470.57", 8.0)]),
        (OLD_DRIVER, None, [("Tesla K80", "418.67", None)]),
        (
            "echo 'GeForce RTX 2080, 450.1, 7.5'; echo 'GRID, 450.1, [N/A]'\n",
            None,
            [("GeForce RTX 2080", "450.1", 7.5), ("GRID", "450.1", None)],
        ),
        (
            (
                "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA "
                "driver.'; echo more; exit 9\n"
            ),
            "fails: NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.",
            [],
        ),
        ("exit 6\n", "fails: exit code 6", []),
        ("echo 'No devices were found'\n", None, []),
    ],
)
def test_what_nvidia_smi_says(tmp_path, monkeypatch, script, error, seen):
    monkeypatch.setenv("PATH", nvidia_smi(tmp_path, script))
    assert doctor.ask_nvidia_smi() == {
        "path": str(tmp_path / "nvidia-smi"),
        "error": error,
        "seen": [
            {"name": name, "driver": driver, "capability": capability}
            for name, driver, capability in seen
        ],
    }


def test_without_nvidia_smi(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.ask_nvidia_smi() == {"path": None, "error": None, "seen": []}
    (tmp_path / "nvidia-smi").write_text("no program")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert "Exec format error" in doctor.ask_nvidia_smi()["error"]


def test_a_damaged_model_of_a_shipped_run(tmp_path, monkeypatch, capsys):
    """Without MXNet it is the only file that answers."""
    run = Path(shutil.copytree(SHIPPED_RUN, tmp_path / "photos"))
    monkeypatch.setattr(doctor, "SHIPPED_RUN", run)
    doctor.probe()
    assert "checkpoint_error" not in capsys.readouterr().out
    (run / "model.onnx").write_bytes(b"broken")
    doctor.probe()
    assert "model.onnx is not a model of mlr export" in capsys.readouterr().out


@pytest.mark.parametrize(
    "order, early", [("mxnet, mlr", True), ("mlr, mxnet", False), ("mlr", False)]
)
def test_who_came_first(tmp_path, order, early):
    (tmp_path / "mxnet.py").write_text("")
    code = f"import {order}; from mlr.doctor import mxnet_before_mlr; print(mxnet_before_mlr())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == f"{early}\n"


RIGHT = {
    "mlr": "0.1.0",
    "python": {"version": "3.11.7", "executable": "/usr/bin/python"},
    "builds": {"mxnet-mkl": "1.5.1"},
    "mxnet": {
        "version": "1.5.1",
        "features": {"CUDA": False, "CUDNN": False, "MKLDNN": True, "OPENCV": True},
        "gpus": 0,
    },
    "package": {
        "cache": {"path": "/cache", "files": 0, "gigabytes": 0},
        "models": {"path": "/models", "files": []},
        "checkpoint": "/demo",
    },
    "packages": {"numpy": "1.23.5", **dict.fromkeys(doctor.OPTIONAL)},
    "missing": [],
    "threads": {
        "cores": 4,
        "mxnet_before_mlr": False,
        "OMP_NUM_THREADS": "4",
        "MKL_DEBUG_CPU_TYPE": None,
    },
    "gpus": {"path": None, "error": None, "seen": []},
    "free_bytes": {"/": 10**10},
}


# Without MXNet, which is all right where ONNX Runtime is.
ONNX_WORLD = {
    "builds": {},
    "mxnet": {"error": "ModuleNotFoundError: No module named 'mxnet'"},
    "packages": {"numpy": "2.1.0", "onnx": "1.19.0", "onnxruntime": "1.22.0"},
}


def gpu(*capabilities):
    return {
        "path": "/usr/bin/nvidia-smi",
        "error": None,
        "seen": [{"name": "GPU", "driver": "1", "capability": number} for number in capabilities],
    }


def cuda(name, version, gpus, **more):
    return {
        "builds": {name: version},
        "mxnet": {"version": version, "features": {"CUDA": True}, "gpus": gpus, **more},
    }


CU101, CU112 = cuda("mxnet-cu101", "1.5.1", 1), cuda("mxnet-cu112", "1.9.1", 1)
CU117 = cuda("mxnet-cu117", "1.9.1", 1)


def lacking(build, *missing):
    """Facts of a build that can't be loaded."""
    return {
        "builds": {build: "1"},
        "mxnet": {"error": f"OSError: {missing[0]}", "missing": list(missing)},
        "package": {"error": "the same"},
    }


@pytest.mark.parametrize(
    "changes, problem, remedy, broken",
    [
        (
            {"python": {"version": "3.12.1"}},
            "Python 3.12.1 is not in 3.8 to 3.11",
            "make install PYTHON=python3.11",
            True,
        ),
        ({"python": {"version": "3.7.9"}}, "Python 3.7.9 is not in", "make install", True),
        (
            {"builds": {}, **ONNX_WORLD, "python": {"version": "3.14.0"}},
            "Python 3.14.0 is not in 3.8 to 3.13",
            "make install",
            True,
        ),
        (
            {**ONNX_WORLD, "package": {"error": "ImportError: cv2"}},
            "this package can't be loaded: ImportError: cv2",
            "make install",
            True,
        ),
        (
            {"packages": {"numpy": "1.24.0"}},
            "NumPy 1.24.0 lacks names",
            "'numpy<1.24'",
            True,
        ),
        ({"packages": {"numpy": "2.0.1"}}, "NumPy 2.0.1", "pip install", True),
        ({"missing": ["scipy"]}, "the package scipy is missing", "pip install scipy", True),
        ({"mlr": None}, "not installed, but runs from its folder", "make install", False),
        (
            {
                "builds": {},
                "mxnet": {"error": "No module named 'mxnet'"},
                "package": {"error": "the same"},
            },
            "MXNet is not installed (No module",
            "'mlr[cpu]'",
            True,
        ),
        (
            {"mxnet": {"error": "SIGILL"}, "package": {"error": "the same"}},
            "can't be loaded: SIGILL",
            "pip uninstall --yes mxnet-mkl, then",
            True,
        ),
        (
            {"package": {"error": "ImportError: cv2"}},
            "this package can't be loaded: ImportError: cv2",
            "make install",
            True,
        ),
        (
            {"builds": {"mxnet": "1.9.1", "mxnet-mkl": "1.5.1"}},
            "mxnet 1.9.1 and mxnet-mkl 1.5.1 are installed, into the same",
            "pip uninstall --yes mxnet mxnet-mkl",
            True,
        ),
        (
            {"threads": {"OMP_NUM_THREADS": "8"}},
            "OMP_NUM_THREADS is 8, but this process may use 4",
            "export OMP_NUM_THREADS=4",
            False,
        ),
        (
            {"threads": {"OMP_NUM_THREADS": "many"}},
            "OMP_NUM_THREADS is many, not a number",
            "export OMP_NUM_THREADS=4",
            False,
        ),
        (
            {"threads": {"OMP_NUM_THREADS": None}},
            "OMP_NUM_THREADS is not set",
            "export OMP_NUM_THREADS=4",
            False,
        ),
        (
            {"threads": {"mxnet_before_mlr": True}},
            "mxnet was imported before mlr",
            "import mlr first",
            False,
        ),
        (
            {"gpus": {"error": "fails: no driver"}},
            "nvidia-smi is installed, but fails: no driver",
            "--ctx cpu",
            False,
        ),
        (
            {"gpus": gpu(7.5)},
            "this machine has a GPU, GPU (compute capability 7.5",
            "mxnet-mkl, then pip install 'mlr[cu101]' (on a machine with CUDA 10.1) or "
            "'mlr[modern-cu117]' (which brings CUDA) or 'mlr[modern-cu112]' (on a machine with "
            "CUDA 11.2)",
            False,
        ),
        (
            {"gpus": gpu(8.6)},
            "but this MXNet is built for CPUs",
            "then pip install 'mlr[modern-cu117]'",
            False,
        ),
        ({"gpus": gpu(8.9)}, "but this MXNet is built for CPUs", "'mlr[modern-cu117]'", False),
        (
            {"gpus": gpu(None)},
            "compute capability unknown",
            "'mlr[cu101]' (on a machine with CUDA 10.1) or 'mlr[modern-cu117]'",
            False,
        ),
        (
            {"gpus": gpu(9.0)},
            "no MXNet wheel contains code for the GPU GPU (compute capability 9.0",
            "train on the CPU, or on a GPU of compute capability 8.9 or less; to predict on this "
            "GPU, use ONNX Runtime",
            False,
        ),
        (
            {**CU101, "gpus": gpu(8.0)},
            "mxnet-cu101 contains no code for the GPU GPU (compute capability 8.0",
            "mxnet-cu101, then pip install 'mlr[modern-cu117]' (which brings CUDA) or "
            "'mlr[modern-cu112]' (on a machine with CUDA 11.2); --ctx cpu",
            True,
        ),
        (
            {**CU101, "gpus": gpu(7.0, 8.0)},
            "for the GPU GPU (compute capability 8.0, driver 1), only",
            "use the other GPUs, with --ctx",
            False,
        ),
        (
            {**CU112, "gpus": gpu(9.0)},
            "only for compute capabilities up to 8.9",
            "ONNX Runtime with a file of `mlr export`; --ctx cpu works",
            True,
        ),
        (
            lacking("mxnet-cu117", "libcuda.so.1"),
            "can't be loaded: OSError: libcuda.so.1; missing: libcuda.so.1",
            "NVIDIA's driver; a CUDA build does not load without it; or install another build: "
            "pip uninstall --yes mxnet-cu117, then pip install one of 'mlr[cpu]'",
            True,
        ),
        (
            {**lacking("mxnet-cu117", "libcudnn.so.8", "libnccl.so.2"), "gpus": gpu(8.0)},
            "; missing: libcudnn.so.8, libnccl.so.2",
            "pip install 'mlr[modern-cu117]' brings CUDA's libraries; or install another build: "
            "pip uninstall --yes mxnet-cu117, then pip install 'mlr[modern-cu112]' (on a machine "
            "with CUDA 11.2) or 'mlr[cpu]'",
            True,
        ),
        (
            {**lacking("mxnet-cu101", "libcudart.so.10.1", "libcuda.so.1"), "gpus": gpu(7.5)},
            "; missing: libcudart.so.10.1, libcuda.so.1",
            "does not load without it; a CUDA build needs its version of CUDA on the machine; or "
            "install another build: pip uninstall --yes mxnet-cu101, then pip install "
            "'mlr[modern-cu117]'",
            True,
        ),
        (
            {**lacking("mxnet-cu112", "libnvrtc.so.11.2"), "gpus": gpu(9.0)},
            "; missing: libnvrtc.so.11.2",
            "then pip install 'mlr[cpu]': no other wheel fits the GPU",
            True,
        ),
        (
            lacking("mxnet", "libquadmath.so.0", "libgomp.so.1"),
            "; missing: libquadmath.so.0, libgomp.so.1",
            "on Debian and Ubuntu: apt-get install libquadmath0 libgomp1; or install another build",
            True,
        ),
        (
            {**CU112, "gpus": gpu(3.7)},
            "mxnet-cu112 contains no code for the GPU GPU (compute capability 3.7",
            "pip install 'mlr[cu101]'",
            True,
        ),
        (
            {**cuda("mxnet-cu101mkl", "1.5.1", 1), "gpus": gpu(8.0)},
            "mxnet-cu101 contains no code",
            "modern",
            True,
        ),
        (
            {**cuda("mxnet-cu101", "1.5.1", 0, gpu_error="CUDA: driver"), "gpus": gpu(7.5)},
            "but MXNet sees no GPU: CUDA: driver",
            "update it",
            False,
        ),
        (
            {"free_bytes": {"/": 10**10, "/cache": 3 * 10**8}},
            "/cache has 0.3 GB left",
            "MLR_CACHE",
            False,
        ),
        (
            {"threads": {"OMP_NUM_THREADS": "8,2"}},
            "OMP_NUM_THREADS is 8,2, but this process may use 4",
            "export OMP_NUM_THREADS=4",
            False,
        ),
        (
            {"package": {"cache_error": "there is no home folder"}},
            "there is no home folder",
            "export MLR_CACHE=",
            False,
        ),
        (
            {"package": {"checkpoint_error": "last.params is damaged"}},
            "last.params is damaged",
            "--run",
            False,
        ),
    ],
)
def test_each_problem_is_found_alone(changes, problem, remedy, broken, monkeypatch, capsys):
    facts = copy.deepcopy(RIGHT)
    for name, value in changes.items():
        if (
            name in ("python", "packages", "threads", "gpus")
            or "_error" in str(value)
            and name == "package"
        ):
            facts[name].update(value)
        else:
            facts[name] = value
    (found,) = doctor.find_problems(facts)
    assert problem in found.problem and remedy in found.remedy and found.broken == broken
    monkeypatch.setattr(doctor, "examine", lambda: facts)
    # and it can be told in words
    assert doctor.main([]) == int(broken)
    said = capsys.readouterr()
    assert f"{'broken' if broken else 'problem'}: {found.problem}\n  {found.remedy}\n" in said.out
    assert said.err == (
        f"mlr doctor: error: mlr can't work here: {found.problem}\n" if broken else ""
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            **ONNX_WORLD,
            "python": {"version": "3.13.0", "executable": "/usr/bin/python"},
            "packages": {**RIGHT["packages"], **ONNX_WORLD["packages"]},
            "package": {"cache": {"path": "/cache", "files": 0, "gigabytes": 0}},
        },
        {**CU101, "gpus": gpu(7.5)},
        {**CU112, "gpus": gpu(5.0, 8.6)},
        {**CU117, "gpus": gpu(5.0, 8.9)},
        {**CU101, "gpus": gpu(None)},
        {"threads": {**RIGHT["threads"], "OMP_NUM_THREADS": "1"}},
    ],
)
def test_nothing_is_wrong(changes, monkeypatch, capsys):
    facts = {**RIGHT, **changes}
    assert doctor.find_problems(facts) == []
    monkeypatch.setattr(doctor, "examine", lambda: facts)
    assert doctor.main([]) == 0
    assert capsys.readouterr().out.endswith("\n\nnothing is wrong\n")


def test_what_is_broken_comes_first():
    found = doctor.find_problems(
        {
            **RIGHT,
            "threads": {**RIGHT["threads"], "OMP_NUM_THREADS": "8"},
            "missing": ["scipy"],
        }
    )
    assert [problem.broken for problem in found] == [True, False]
