"""Reads .safetensors files, today's usual format for PyTorch's weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Dict, Union

from mlr.errors import InputError, shown
from mlr.runtime.installation import require_package

if TYPE_CHECKING:
    import numpy as np


def read_safetensors(path: Union[str, Path]) -> Dict[str, "np.ndarray"]:
    """Return the arrays of a .safetensors file, {name: NumPy array}.

    Raises InputError if it is not such a file, is damaged, holds no arrays or a number type that
    NumPy lacks, or if the safetensors package is missing.
    """
    if not Path(path).is_file():
        raise InputError(f"parameter file {path} does not exist")
    library = require_package("safetensors.numpy", "safetensors", f"reading {path}")
    try:
        arrays = library.load_file(str(path))
    except (AttributeError, KeyError, TypeError) as error:  # for example bfloat16
        raise InputError(
            f"{path} has numbers of a type that NumPy lacks ({shown(str(error))}): save them as "
            "float32"
        ) from None
    except Exception as error:  # the library's own errors, and OSError
        raise InputError(
            f"{path} is not a .safetensors file, or is damaged ({shown(str(error))}): get it again"
        ) from None
    if not arrays:
        raise InputError(f"{path} holds no arrays")
    return arrays
