"""The machine that figures are from."""

import os
import platform
from pathlib import Path
from typing import Any, Dict

from mlr.runtime.cpu import usable_cores


def this_machine() -> Dict[str, Any]:
    """Return what the figures depend on: CPU, threads, Python, and environment variables."""
    return {
        "processor": cpu_name(),
        "threads": usable_cores(),
        "python": platform.python_version(),
        "settings": {
            name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")
        },
    }


def cpu_name() -> str:
    """Return the CPU's name as /proc/cpuinfo gives it, or else as Python's platform does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
