"""Which packages are installed, MXNet among them."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from mlr.errors import InputError, RunError

EXTRAS = (
    "'mlr[cpu]' (CPU), 'mlr[cu101]' (NVIDIA GPU, CUDA 10.1), 'mlr[modern]' (MXNet 1.9.1, CPU), "
    "'mlr[modern-cu112]' (MXNet 1.9.1, CUDA 11.2), 'mlr[modern-cu117]' (MXNet 1.9.1, brings CUDA "
    "11.7)"
)
# where they are not called like the package
MODULES = {"opencv-python": "cv2", "pillow": "PIL", "scikit-learn": "sklearn", "pyyaml": "yaml"}


def is_installed(package: str) -> bool:
    """Tell whether a package is there, without loading it. package: as pip calls it."""
    return find_spec(MODULES.get(package, package)) is not None


def require_package(name: str, extra: str, needing: str = "this") -> ModuleType:
    """Import and return a package that only one of this package's extras installs.

    needing: what needs it, for the error. Raises InputError, naming the extra to install, where it
    or a package that it needs is absent.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{needing} needs the package {error.name or name}: pip install 'mlr[{extra}]'"
        ) from None


def require_mxnet() -> ModuleType:
    """Import and return mxnet. Raises RunError, naming the extras to install, where it is absent or
    can't be loaded.
    """
    try:
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
            f"MXNet is installed but its library can't be loaded ({error}), likely a CUDA build "
            "on a machine without that CUDA or NVIDIA's driver: `mlr doctor` names what is "
            f"missing. Install it, or uninstall that build and pip install one of {EXTRAS}"
        ) from None
    return mxnet
