"""The runs that ship with the package."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def _shipped(name: str) -> Path:
    """Return the folder of a run that ships."""
    folder = _PACKAGE.parent / "checkpoints" / name
    # an installed wheel has no checkpoints/ beside the package
    return folder if folder.is_dir() else _PACKAGE / "shipped" / name


SHIPPED_RUN = _shipped("photos")  # the default of commands that take a run
DEMO_RUN = _shipped("demo")
