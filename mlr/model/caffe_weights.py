"""Weights of a CaffeNet from other programs, converted to Gluon's names and layouts."""

import math
import re
from pathlib import Path
from typing import Any, Dict, Union

import numpy as np
from mxnet.gluon import Parameter

from mlr.errors import InputError
from mlr.formats.npz import read_npz
from mlr.formats.onnx import read_onnx
from mlr.formats.params import read_params
from mlr.model.caffenet import LAYERS, CaffeNet
from mlr.model.parameters import set_parameters
from mlr.runtime.hashing import sha256_of, verify_checksum

# matches conv1_weights, conv1/weight, conv1.weight, conv1_w, conv1_w_0; for the classifier also
# fc8-t and fc8_sentibank
WEIGHT_NAME = re.compile(
    r"(conv[1-5]|fc[67]|fc8)(?:(?<=fc8)[-_][\w-]+?)?[_./](weights?|w|biases|bias|b)(?:_0)?"
)


def load_caffe_weights(net: CaffeNet, path: Union[str, Path]) -> Dict[str, Any]:
    """Load weights from another program into a `CaffeNet` whose parameters already have shapes;
    return a record of what was loaded.

    path: one of an .npz file with arrays such as conv1_weights and conv1_biases (also with / or .
    in place of _, in the singular, or with w and b); an .onnx file with the names of the ONNX model
    zoo's CaffeNet, conv1_w_0 to fc8_b_0; a .params file of this network. Kernels are OIHW, as in
    Caffe, or HWIO, as in TensorFlow, where fc6 reads a map as (H, W, C). The shapes tell which;
    InputError is raised if they fit both. Images always have the channels B, G, R.

    The classifier is not loaded if the file lacks it or if its number of outputs is not the
    network's; the record's `classifier` is then False. All other parameters are set, or none.
    Raises ParametersError, which lists the missing, unexpected and wrongly shaped parameters under
    Caffe's names, and InputError for files that can't be read. Nothing is ever unpickled.
    """
    path, parameters = Path(path), net.caffe_parameters
    verify_checksum(path)
    if path.suffix.lower() == ".params":
        caffe_names = {parameter: name for name, parameter in parameters.items()}
        own = {
            name: caffe_names[parameter]
            for name, parameter in net._collect_params_with_prefix().items()
        }
        arrays = {own.get(name, name): array for name, array in read_params(path).items()}
    elif path.suffix.lower() in (".npz", ".npy", ".onnx"):
        arrays = read_onnx(path) if path.suffix.lower() == ".onnx" else read_npz(path)
        arrays = _in_gluons_layout(_under_caffes_names(arrays, path), parameters, path)
    else:
        raise InputError(
            f"{path}: weights are read from .npz, .onnx or .params files. To convert a "
            ".caffemodel, save its arrays as conv1_weights, conv1_biases and so on with "
            "numpy.savez, on a machine with Caffe"
        )
    classifier = any(
        name.startswith("fc8.") and array.shape[:1] == parameters["fc8.bias"].shape
        for name, array in arrays.items()
    )
    if not classifier:
        arrays, parameters = (
            {name: value for name, value in named.items() if not name.startswith("fc8.")}
            for named in (arrays, parameters)
        )
    set_parameters(parameters, arrays, path)
    return {
        "source": str(path),
        "file": path.name,
        "sha256": sha256_of(path),
        "classifier": classifier,
    }


def _under_caffes_names(arrays: Dict[str, np.ndarray], path: Path) -> Dict[str, np.ndarray]:
    """Return arrays under the names of `CaffeNet.caffe_parameters`; unknown names stay as they
    are.
    """
    named: Dict[str, np.ndarray] = {}
    origins: Dict[str, str] = {}
    for origin, array in arrays.items():
        match = WEIGHT_NAME.fullmatch(origin)
        if not match and path.suffix.lower() == ".onnx" and array.dtype.kind in "iu":
            # not a weight, but the target shape of a Reshape node
            continue
        name = f"{match[1]}.{'weight' if match[2][0] == 'w' else 'bias'}" if match else origin
        if name in named:
            raise InputError(
                f"{path} holds {name} twice, as {origins[name]} and as {origin}: remove one"
            )
        named[name], origins[name] = array, origin
    return named


def _in_gluons_layout(
    arrays: Dict[str, np.ndarray], parameters: Dict[str, Parameter], path: Path
) -> Dict[str, np.ndarray]:
    """Return arrays, under Caffe's names, in the layouts (O, I, H, W) and (out, in); those in other
    layouts are transposed.
    """
    outputs, inputs, *sides = parameters["conv1.weight"].shape
    # conv1 is 11 x 11 with 3 channels, so its shape shows the layout
    height_first = "conv1.weight" in arrays and arrays["conv1.weight"].shape == (
        *sides,
        inputs,
        outputs,
    )
    transposed = _dense_are_transposed(arrays, parameters, path)
    laid_out = {}
    for name, array in arrays.items():
        if height_first and name.startswith("conv") and array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif transposed and name.startswith("fc") and array.ndim == 2:
            array = array.T
        laid_out[name] = array
    fc6 = laid_out.get("fc6.weight")
    if height_first and fc6 is not None and fc6.shape == parameters["fc6.weight"].shape:
        channels = parameters["conv5.weight"].shape[0]
        side = math.isqrt(fc6.shape[1] // channels)
        laid_out["fc6.weight"] = (
            fc6.reshape(-1, side, side, channels).transpose(0, 3, 1, 2).reshape(fc6.shape)
        )
    return laid_out


def _dense_are_transposed(
    arrays: Dict[str, np.ndarray], parameters: Dict[str, Parameter], path: Path
) -> bool:
    """Tell whether dense layers are (in, out). Some are square, so the sizes of all layers count;
    the biases give the number of outputs.
    """
    found = [
        (arrays[name].shape, (len(arrays[bias]), parameters[name].shape[1]))
        for name, bias in (
            (layer + ".weight", layer + ".bias") for layer in LAYERS if layer.startswith("fc")
        )
        if name in arrays and bias in arrays and arrays[bias].ndim == 1
    ]
    straight, transposed = (
        all(shape == wanted[::order] for shape, wanted in found) for order in (1, -1)
    )
    if found and straight and transposed:
        raise InputError(
            f"the dense layers of {path} are square, so their layout may be (out, in) or (in, "
            "out): load the file into a network with another image size or width"
        )
    return transposed
