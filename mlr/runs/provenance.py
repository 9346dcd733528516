"""What a result depends on besides options and data: arguments, code, versions and threads."""

import os
import platform
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Dict, Optional

import numpy as np

from mlr import __version__
from mlr.runtime.installation import is_installed


def environment() -> Dict[str, Any]:
    """Return what a result depends on besides options and data, for config.json."""
    return {
        "argv": sys.argv,
        "git_commit": _git_commit(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "versions": {
            "python": platform.python_version(),
            "mlr": __version__,
            **_engine(),
            "numpy": np.__version__,
        },
    }


def _engine() -> Dict[str, str]:
    """Return {name: version} of MXNet, or of ONNX Runtime if MXNet is not installed."""
    engine = import_module("mxnet" if is_installed("mxnet") else "onnxruntime")
    return {engine.__name__: engine.__version__}


def _git_commit() -> Optional[str]:
    """Return the commit of the checkout that the package runs from.

    None if the package does not run from its own checkout, even if it is installed inside the
    repository of another project.
    """
    path = Path(__file__).resolve()
    top = path.parents[2]
    # Inside a git hook these variables name the hook's repository, and git would use that one.
    others = "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"
    environment = {name: value for name, value in os.environ.items() if name not in others}

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(top), *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "setup.py", str(path.relative_to(top)))
        own = Path(git("rev-parse", "--show-toplevel")).samefile(top)
        return git("rev-parse", "HEAD") if own else None
    except (OSError, subprocess.CalledProcessError):
        return None
