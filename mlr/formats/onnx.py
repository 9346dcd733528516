"""The weights of an ONNX file, read safely."""

from pathlib import Path
from typing import TYPE_CHECKING, Dict, Union

from mlr.errors import InputError, shown

if TYPE_CHECKING:
    import numpy as np


def read_onnx(path: Union[str, Path]) -> Dict[str, "np.ndarray"]:
    """Return the weights of an ONNX file, {name: NumPy array}. Raises InputError where it is none,
    or the onnx package is missing.
    """
    if not Path(path).is_file():
        raise InputError(f"parameter file {path} does not exist")
    try:
        import onnx
    except ModuleNotFoundError:
        raise InputError(
            f"reading {path} needs the onnx package: pip install 'mlr[onnx]'"
        ) from None
    try:
        weights = onnx.load(str(path), load_external_data=False).graph.initializer
        if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in weights):
            raise ValueError(
                "it leaves its weights to other files, which are not read: save it as one file"
            )
        # protobuf hands out what is no UTF-8 as bytes
        if not all(isinstance(tensor.name, str) for tensor in weights):
            raise ValueError("it has a name that is no text")
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in weights}
    except Exception as error:  # of a damaged file protobuf, onnx and NumPy raise nearly everything
        raise InputError(
            f"{path} is no ONNX file, or a damaged one ({shown(str(error))}): get it again"
        ) from None
    if not arrays:
        raise InputError(f"{path} is no ONNX file, or one without weights")
    return arrays
