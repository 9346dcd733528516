"""The run that ships with the package."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
SHIPPED_RUN = _PACKAGE.parent / "checkpoints" / "demo"
if not SHIPPED_RUN.is_dir():  # not a checkout, but installed from a wheel
    SHIPPED_RUN = _PACKAGE / "shipped"
