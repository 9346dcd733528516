"""The runs that ship with the package."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def _shipped(name: str) -> Path:
    """Return the folder of a run that ships."""
    folder = _PACKAGE.parent / "checkpoints" / name
    # not a checkout, but installed from a wheel
    return folder if folder.is_dir() else _PACKAGE / "shipped" / name


SHIPPED_RUN = _shipped("photos")  # what commands take where no run is named
DEMO_RUN = _shipped("demo")
