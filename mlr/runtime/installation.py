"""Is there an MXNet, and which one."""

from types import ModuleType

from mlr.errors import RunError

EXTRAS = (
    "'mlr[cpu]' (CPU), 'mlr[cu101]' (NVIDIA GPU, CUDA 10.1), 'mlr[modern]' (MXNet 1.9.1, CPU), "
    "'mlr[modern-cu112]' (MXNet 1.9.1, CUDA 11.2)"
)


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
            "on a machine without that CUDA; install CUDA, or uninstall that build and pip "
            f"install one of {EXTRAS}"
        ) from None
    return mxnet
