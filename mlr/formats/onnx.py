"""Reads ONNX files safely: the weights of any ONNX file, and the models that `mlr export` writes.

The models that `mlr export` writes end with a seal: a metadata entry with the SHA-256 of all bytes
before it. It shows whether a file was cut short or changed, before any library reads the file.
"""

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Tuple, Union

from mlr.errors import InputError, shown
from mlr.runtime.installation import require_package

if TYPE_CHECKING:
    import numpy as np
    import onnx

OPSET = 17
# The names of a model's inputs and outputs; DEEPEST is the metadata entry that names the map for
# Grad-CAM.
IMAGES, OBJECTNESS = "images", "objectness"
LOGITS, PROBABILITIES = "logits", "probabilities"
DEEPEST = "deepest_map"
MOST_BYTES = 2**31  # the limit of a protobuf message
# ModelProto's field 14, metadata_props, 78 bytes long: field 1, key, and field 2, value, 64 long.
SEAL = b"\x72\x4e\x0a\x0amlr_sha256\x12\x40"
SEAL_BYTES = len(SEAL) + 64
REMEDY = "export the run again, with mlr export"
# All operators that `mlr.exporting` writes, including those of 8-bit models. Loops, subgraphs and
# random operators are not among them.
OPERATORS = frozenset(
    """
    Abs Add AveragePool BatchNormalization Cast Clip Concat ConstantOfShape Conv DequantizeLinear
    Div Exp Flatten Gather Gemm GlobalAveragePool GlobalMaxPool GreaterOrEqual LRN Log LogSoftmax
    MatMul Max MaxPool Min Mul Neg Pow QuantizeLinear ReduceMax ReduceMean ReduceMin ReduceSum Relu
    Reshape Resize Round Shape Sigmoid Slice Softmax Softplus Softsign Sub Sum Tanh TopK Transpose
    """.split()
)


def read_onnx(path: Union[str, Path]) -> Dict[str, "np.ndarray"]:
    """Return the weights of an ONNX file, {name: NumPy array}.

    Raises InputError if it is not an ONNX file, is damaged, has no weights or keeps them in other
    files, or if the onnx package is missing.
    """
    if not Path(path).is_file():
        raise InputError(f"parameter file {path} does not exist")
    onnx = require_package("onnx", "onnx", f"reading {path}")
    try:
        weights = onnx.load(str(path), load_external_data=False).graph.initializer
        if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in weights):
            raise ValueError(
                "it keeps its weights in other files, which are not read: save it as one file"
            )
        # protobuf returns bytes if a name is not UTF-8
        if not all(isinstance(tensor.name, str) for tensor in weights):
            raise ValueError("it has a name that is not text")
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in weights}
    except Exception as error:  # protobuf, onnx and NumPy raise nearly everything on damaged files
        raise InputError(
            f"{path} is not an ONNX file, or is damaged ({shown(str(error))}): get it again"
        ) from None
    if not arrays:
        raise InputError(f"{path} is not an ONNX file, or has no weights")
    return arrays


def sealed(content: bytes) -> bytes:
    """Return the bytes of a model followed by its seal; protobuf reads them as one message."""
    return content + SEAL + hashlib.sha256(content).hexdigest().encode()


def read_model(path: Union[str, "os.PathLike[str]"]) -> "Tuple[onnx.ModelProto, bytes]":
    """Return a model that `mlr export` wrote, and the file's bytes.

    Raises InputError if `mlr export` did not write it, if it was changed or cut short, keeps
    weights in other files, or has an operator that `mlr export` does not write.
    """
    content = sealed_content(Path(path))
    onnx = require_package("onnx", "onnxruntime", f"reading {path}")
    try:
        model = onnx.load_model_from_string(content)
        nodes, weights = list(model.graph.node), list(model.graph.initializer)
        opsets = [(opset.domain, opset.version) for opset in model.opset_import]
        if opsets != [("", OPSET)]:
            said = ", ".join(f"{domain or 'ONNX'} {version}" for domain, version in opsets)
            raise ValueError(f"its operators are of {said or 'no version'}, not of ONNX {OPSET}")
        if model.functions or model.graph.sparse_initializer:
            raise ValueError("it has functions or sparse weights, which mlr export never writes")
        others = sorted(
            {node.op_type for node in nodes if node.domain}
            | ({node.op_type for node in nodes} - OPERATORS)
        )
        if others:
            raise ValueError(f"it has the operator {others[0]}, which mlr export never writes")
        tensors = [*weights, *_tensors_of(nodes)]
        if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in tensors):
            raise ValueError("it keeps its weights in other files, which are not read")
    except Exception as error:  # protobuf and onnx raise nearly everything on damaged files
        raise InputError(
            f"{path} is not a model of mlr export: {shown(str(error))}; {REMEDY}"
        ) from None
    return model, content


def sealed_content(path: Path) -> bytes:
    """Return the bytes of a file of `mlr export`. Raises InputError if its seal does not fit."""
    if not path.is_file():
        raise InputError(f"there is no file {path}: give the .onnx file of mlr export")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} has more than {MOST_BYTES >> 30} GiB, which no ONNX file has")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
    seal = content[-SEAL_BYTES:]
    if not seal.startswith(SEAL):
        raise InputError(
            f"{path} is not a model of mlr export, is from another version, or was cut short or "
            f"changed: {REMEDY}"
        )
    if hashlib.sha256(content[:-SEAL_BYTES]).hexdigest().encode() != seal[len(SEAL) :]:
        raise InputError(
            f"{path} is damaged or was changed after mlr export wrote it (its SHA-256 is not the "
            f"one at its end): restore it from a copy, or {REMEDY}"
        )
    return content


def _tensors_of(nodes: Any) -> Iterator[Any]:
    """Yield the tensors in the attributes of nodes. Raises ValueError for a graph in one."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise ValueError(f"its node {shown(node.name)} has a graph of its own")
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
