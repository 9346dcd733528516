"""The cache folder. It holds only files that can be made again: pixels and exported networks."""

import os
from pathlib import Path

from mlr.errors import InputError


def cache_folder() -> Path:
    """Return the cache folder: $MLR_CACHE, else mlr in the user's cache folder.

    Raises InputError if neither is known.
    """
    try:
        return Path(
            os.environ.get("MLR_CACHE")
            or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlr"
        )
    except (RuntimeError, KeyError):  # KeyError in Python 3.8
        raise InputError(
            "there is no home folder for the cache: set the variable MLR_CACHE to a folder"
        ) from None
