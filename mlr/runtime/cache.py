"""The folder of what can be made again: pixels, exported networks."""

import os
from pathlib import Path

from mlr.errors import InputError


def cache_folder() -> Path:
    """Return the folder of the caches: $MLR_CACHE, else mlr in the user's cache folder."""
    try:
        return Path(
            os.environ.get("MLR_CACHE")
            or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlr"
        )
    except (RuntimeError, KeyError):  # of Python 3.8
        raise InputError(
            "there is no home folder for the cache: name a folder in MLR_CACHE"
        ) from None
