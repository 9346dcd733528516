"""Sets how many CPU cores MXNet uses, and which kernels of MKL. MXNet reads both when it loads.

Unless OMP_NUM_THREADS is set, MXNet uses half of the logical cores. That is right on a machine with
two threads per core, but halves the speed on a machine with one thread per core. On a CPU that is
not Intel's, the MKL in mxnet-mkl 1.5.1 uses its slowest kernels, unless MKL_DEBUG_CPU_TYPE is 5,
which selects those for AVX2. Later versions of MKL and other builds ignore this variable.
"""

import math
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Dict, Iterable, MutableMapping, NamedTuple, Optional, Tuple

AVX2_KERNELS = "5"
LEAST_TICKS = 5  # of each CPU, a twentieth of a second on most systems
PERIOD = "100000"  # microseconds: the kernel's default if a control group gives no period


def prepare_for_mxnet(
    environment: MutableMapping[str, str] = os.environ, system: Path = Path("/")
) -> None:
    """Set the two variables, unless the user has set them; warn if MXNet was loaded too early for
    the number of threads.

    environment: the dict to set them in. system: the root under which /sys and /proc are read. If
    OMP_NUM_THREADS has OpenMP's form 4,2 (threads for each nested level), MXNet gets the first
    number. MXNet aborts if the variable is not a whole number, so any other text is replaced.
    """
    if "MKL_DEBUG_CPU_TYPE" not in environment and amd_with_avx2(system):
        environment["MKL_DEBUG_CPU_TYPE"] = AVX2_KERNELS
    threads = re.fullmatch(r"\s*([+-]?\d{1,5})\s*(,.*)?", environment.get("OMP_NUM_THREADS", ""))
    if threads:
        environment["OMP_NUM_THREADS"] = threads[1]
        return
    environment["OMP_NUM_THREADS"] = str(usable_cores(system=system))
    if "mxnet" in sys.modules:
        warnings.warn(
            (
                "mxnet was imported before mlr, so it keeps its own number of CPU threads (half of "
                "the cores); import mlr first, or set "
                f"OMP_NUM_THREADS={environment['OMP_NUM_THREADS']} before Python starts"
            ),
            RuntimeWarning,
            stacklevel=3,
        )


def compute_with_one_thread() -> None:
    """Let MXNet compute with one thread, unless the user has set the number, or MXNet is loaded.

    Threads wait for each other after each operator. If operators are short, that takes longer than
    they save, and much longer beside other busy processes.
    """
    if "mxnet" not in sys.modules and not given("OMP_NUM_THREADS"):
        os.environ["OMP_NUM_THREADS"] = "1"


def compute_beside_others() -> None:
    """Let MXNet compute with as many threads as other processes leave logical CPUs, at least one,
    unless the user has set the number, or MXNet is loaded.

    Measured since this package was imported. If there are more busy threads than CPUs, all of
    MXNet's threads wait for the one that lost its turn, after each operator.
    """
    if "mxnet" in sys.modules or given("OMP_NUM_THREADS"):
        return
    free = free_cpus(_AT_IMPORT, _cpu_times())
    os.environ["OMP_NUM_THREADS"] = str(
        max(1, round(min(int(os.environ["OMP_NUM_THREADS"]), free)))
    )


class CpuTimes(NamedTuple):
    """The ticks that each CPU has been idle and has been there, {CPU: (idle, all)}, and those for
    which this process has computed.
    """

    of_cpus: Dict[int, Tuple[int, int]]
    own: float


def _cpu_times(system: Path = Path("/")) -> CpuTimes:
    """Return the times until now; no CPU where the kernel does not tell."""
    of_cpus = {}
    for line in (_read(system / "proc/stat") or "").splitlines():
        cpu = re.match(r"cpu(\d+) ", line)
        if cpu:
            # user, nice, system, idle, iowait, irq, softirq, steal
            ticks = [int(each) for each in line.split()[1:9]]
            of_cpus[int(cpu[1])] = sum(ticks[3:5]), sum(ticks)
    used = os.times()
    # where there is no /proc/stat, there may be no sysconf either
    return CpuTimes(of_cpus, (used.user + used.system) * os.sysconf("SC_CLK_TCK") if of_cpus else 0)


def free_cpus(before: CpuTimes, after: CpuTimes, cpus: Optional[Iterable[int]] = None) -> float:
    """Return how many logical CPUs other processes left free between two times, or infinity if the
    kernel does not tell, or too little time has passed.

    cpus: those that this process may use, by default those of its affinity mask.
    """
    mask = set(_affinity() if cpus is None else cpus) & set(before.of_cpus) & set(after.of_cpus)
    idle, passed = (
        sum(after.of_cpus[cpu][part] - before.of_cpus[cpu][part] for cpu in mask) for part in (0, 1)
    )
    if passed < LEAST_TICKS * max(1, len(mask)):
        return math.inf
    return len(mask) * (idle + after.own - before.own) / passed


def given(name: str) -> str:
    """Return an environment variable as it was when this process started, or "".

    os.environ may differ, because importing mlr sets some variables.
    """
    for line in (_read(Path("/proc/self/environ")) or "").split("\0"):
        if line.startswith(name + "="):
            return line.partition("=")[2]
    return ""


def amd_with_avx2(system: Path = Path("/")) -> bool:
    """Tell whether the CPU is from AMD and has AVX2; False if the kernel does not say."""
    described = _read(system / "proc/cpuinfo") or ""
    return "AuthenticAMD" in described and " avx2" in described


def sums_8_bits_exactly(system: Path = Path("/")) -> bool:
    """Tell whether the CPU adds products of 8 bits exactly, as all do but x86 ones without VNNI;
    True if the kernel does not say.
    """
    described = _read(system / "proc/cpuinfo") or ""
    return " sse2" not in described or "_vnni" in described


def usable_cores(cpus: Optional[Iterable[int]] = None, system: Path = Path("/")) -> int:
    """Return the number of physical cores that this process may use, at least 1.

    cpus: the logical CPUs to count, by default those of the process's affinity mask. system: the
    root under which /sys and /proc are read. The CPU quota of control groups (version 1 and 2)
    limits the number. If the kernel does not tell the topology, every logical CPU counts as a core.
    """
    cores = set()
    for cpu in _affinity() if cpus is None else cpus:
        siblings = (
            system / "sys/devices/system/cpu" / (f"cpu{cpu:d}") / "topology/thread_siblings_list"
        )
        cores.add(_read(siblings) or cpu)
    return max(1, math.ceil(min(len(cores), _cgroup_quota(system))))


def _affinity() -> Iterable[int]:
    """Return the logical CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _cgroup_quota(system: Path) -> float:
    """Return the CPU quota in cores, or infinity if there is none: the smallest quota of the
    process's control groups and their parents.
    """
    quota = math.inf
    for line in (_read(system / "proc/self/cgroup") or "").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = system / "sys/fs/cgroup" / ("cpu" if controllers else "")
        # Inside a container the path of the group is often not mounted. The root of the mount then
        # has the container's limit.
        for folder in [root / group.lstrip("/")] + [
            root / parent for parent in Path(group.lstrip("/")).parents
        ]:
            if controllers:
                limit = (
                    f"{_read(folder / 'cpu.cfs_quota_us') or -1} "
                    f"{_read(folder / 'cpu.cfs_period_us') or 1}"
                )
            else:
                limit = _read(folder / "cpu.max") or "max 1"
            quota = min(quota, _cores_of(limit))
    return quota


def _cores_of(limit: str) -> float:
    """Return the number of cores that a limit allows, or infinity if it is not a limit.

    limit: "<quota> <period>" in microseconds, or the quota alone.
    """
    allowed, period = [*limit.split(), PERIOD][:2]
    return (
        int(allowed) / int(period)
        if allowed.isdecimal() and period.isdecimal() and int(period)
        else math.inf
    )


def _read(path: Path) -> Optional[str]:
    try:
        return path.read_text(errors="surrogateescape").strip()
    except OSError:
        return None


_AT_IMPORT = _cpu_times()
