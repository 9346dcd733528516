"""Finds and imports optional packages, including MXNet."""

import sys
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Iterator

from mlr.errors import InputError, RunError

EXTRAS = (
    "'mlr[cpu]' (CPU), 'mlr[cu101]' (NVIDIA GPU, CUDA 10.1), 'mlr[modern]' (MXNet 1.9.1, CPU), "
    "'mlr[modern-cu112]' (MXNet 1.9.1, CUDA 11.2), 'mlr[modern-cu117]' (MXNet 1.9.1, installs CUDA "
    "11.7, too)"
)
# {package: module} where the two names differ
MODULES = {"opencv-python": "cv2", "pillow": "PIL", "scikit-learn": "sklearn", "pyyaml": "yaml"}


def is_installed(package: str) -> bool:
    """Tell whether a package is installed, without importing it. package: its name for pip."""
    return find_spec(MODULES.get(package, package)) is not None


def require_package(name: str, extra: str, needing: str = "this") -> ModuleType:
    """Import and return a module whose package only one of mlr's extras installs.

    name: of the module. needing: what needs it, for the error. Raises InputError if the package, or
    one that it needs, is not installed; the error names the extra to install.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{needing} needs the package {error.name or name}: pip install 'mlr[{extra}]'"
        ) from None


def require_mxnet() -> ModuleType:
    """Import and return mxnet. Raises RunError if it is not installed or can't be loaded; the error
    names the extras to install.
    """
    try:
        with _unavailable("sklearn", "onnx"):  # for parts of MXNet that this package does not use
            import mxnet
    except ModuleNotFoundError as error:
        if error.name != "mxnet":
            raise
        raise RunError(
            "MXNet is not installed; install this package with one of its extras: pip install "
            f"{EXTRAS}"
        ) from None
    except OSError as error:
        raise RunError(
            f"MXNet is installed but its library can't be loaded ({error}), likely because it is a "
            "CUDA build and the machine lacks that CUDA version or NVIDIA's driver: `mlr doctor` "
            "names what is missing. Install it, or uninstall that build and pip install one of "
            f"{EXTRAS}"
        ) from None
    return mxnet


@contextmanager
def _unavailable(*packages: str) -> Iterator[None]:
    """Return a context in which an import finds none of these packages, as if they were not
    installed, except for those that are imported already.
    """
    hidden = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for package in hidden:
            if sys.modules.get(package) is None:
                sys.modules.pop(package, None)
