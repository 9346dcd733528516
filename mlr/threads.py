"""How many cores this process may really use.

MXNet takes half of the logical cores unless OMP_NUM_THREADS says otherwise, which is right on a machine with two threads
a core and costs half of the speed on one without.
"""

import math
import os
import sys
import warnings
from pathlib import Path


def set_openmp_threads():
    """Set OMP_NUM_THREADS to `usable_cores()` unless the user has set it; warn where MXNet has been loaded too early for it."""
    if "OMP_NUM_THREADS" in os.environ:
        return
    os.environ["OMP_NUM_THREADS"] = str(usable_cores())
    if "mxnet" in sys.modules:
        warnings.warn(
            "mxnet was imported before mlr, so it keeps its own number of CPU threads (half of the cores); "
            "import mlr first, or set OMP_NUM_THREADS=%s before Python starts" % os.environ["OMP_NUM_THREADS"],
            RuntimeWarning, stacklevel=3)


def usable_cores(cpus=None, system=Path("/")):
    """Return the number of physical cores that this process may use, at least 1.

    cpus: the logical CPUs to count, by default those of the process's affinity mask. system: the root under which /sys
    and /proc are read. Respects the CPU quota of control groups, version 1 and 2; where the kernel tells nothing of the
    topology every logical CPU counts as a core.
    """
    if cpus is None:
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    cores = set()
    for cpu in cpus:
        siblings = system / "sys/devices/system/cpu" / ("cpu%d" % cpu) / "topology/thread_siblings_list"
        cores.add(_read(siblings) or cpu)
    return max(1, math.ceil(min(len(cores), _cgroup_quota(system))))


def _cgroup_quota(system):
    """Return the CPU quota in cores, infinity without one: the tightest of the process's control groups and their parents."""
    quota = math.inf
    for line in (_read(system / "proc/self/cgroup") or "").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = system / "sys/fs/cgroup" / ("cpu" if controllers else "")
        # Inside a container the group's own path is often not mounted: the root then holds the container's limit.
        for folder in [root / group.lstrip("/")] + [root / parent for parent in Path(group.lstrip("/")).parents]:
            if controllers:
                limit = "%s %s" % (_read(folder / "cpu.cfs_quota_us") or -1, _read(folder / "cpu.cfs_period_us") or 1)
            else:
                limit = _read(folder / "cpu.max") or "max 1"
            allowed, period = limit.split()
            if allowed not in ("max", "-1"):
                quota = min(quota, int(allowed) / int(period))
    return quota


def _read(path):
    try:
        return path.read_text().strip()
    except OSError:
        return None
