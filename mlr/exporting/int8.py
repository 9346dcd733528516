"""Quantizes an ONNX model to 8 bits after training, with ONNX Runtime's own tools: weights by
channel, maps by tensor.

docs/export.md has the settings, and the images on which they were chosen. Maps are unsigned and
weights signed; CPUs with VNNI instructions multiply these exactly. Older CPUs, with AVX2 only, add
pairs of products in 16 bits, where large sums are clipped.
"""

import logging
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, Optional

import mxnet as mx
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mlr.data.labelled import LabelledImages
from mlr.formats.onnx import IMAGES
from mlr.model.batch_norm import factor_and_shift
from mlr.runtime.progress import progress_over

Transform = Callable[[mx.nd.NDArray], mx.nd.NDArray]

IMAGES_TO_CALIBRATE = 256
# A map's range is averaged over batches of this size. It is narrower than the range over all
# images, as rare extremes would cost resolution.
BATCH = 32
# numbers in an array, when only weights are quantized: small arrays take little room, and rounding
# them costs the most accuracy
LEAST_IN_8_BITS, LEAST_IN_16_BITS = 60_000, 256
OPERATORS = ("Conv", "Gemm", "MaxPool", "GlobalAveragePool", "Add", "Relu")


class Reader(CalibrationDataReader):
    """Gives ONNX Runtime images (N, 3, S, S) in batches of about the same size."""

    def __init__(self, images: np.ndarray) -> None:
        parts = np.array_split(images, -(-len(images) // BATCH))
        self._batches = progress_over(parts, "calibrating", len(parts), "batches")

    def get_next(self) -> Optional[Dict[str, np.ndarray]]:
        """Return the next batch as {name of the input: images}, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {IMAGES: batch}


def quantized(model: onnx.ModelProto, images: np.ndarray) -> onnx.ModelProto:
    """Return a model of `mlr.exporting.onnx.onnx_model`, quantized to 8 bits (QDQ). The ranges of
    its maps are measured with `images` (N, 3, S, S).

    Batch norms are folded into the convolutions before them. A batch norm without such a
    convolution, as in a ResNet v2, becomes a 1 x 1 convolution with a group for each channel, which
    computes the same, so that all maps stay in 8 bits. The last dense layer stays in float32.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        # through a file, as some of the tools do not accept every model in memory
        path = str(Path(folder) / "model.onnx")
        onnx.save(model, path)
        quant_pre_process(path, path, skip_symbolic_shape=True)
        model = _with_convolutions_for_batch_norms(onnx.load(path))
        onnx.save(model, path)
        quantize_static(
            path,
            path,
            Reader(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            nodes_to_exclude=[node.name for node in model.graph.node if node.op_type == "Gemm"][
                -1:
            ],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"CalibMovingAverage": True},
        )
        small = onnx.load(path)
    del small.opset_import[:]  # the tools list domains that no node uses
    small.opset_import.extend(entry for entry in model.opset_import if not entry.domain)
    return small


def with_weights_in_8_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with large weights of layers in 8 bits by output channel, other arrays of some
    size in float16, and maps in float32 as before: a quarter of the size at the same speed.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    graph = small.graph
    layers = {node.input[1] for node in graph.node if node.op_type in ("Conv", "Gemm")}
    nodes, tensors = list(graph.node), list(graph.initializer)
    del graph.node[:], graph.initializer[:]
    for tensor in tensors:
        array, name = numpy_helper.to_array(tensor), tensor.name
        if array.dtype != np.float32 or array.size < LEAST_IN_16_BITS:
            graph.initializer.append(tensor)
        elif name in layers and array.size >= LEAST_IN_8_BITS:
            highest = np.abs(array).reshape(len(array), -1).max(axis=1)
            scale = (np.where(highest > 0, highest, 1) / 127).astype(np.float32)
            levels = np.round(array / scale.reshape(-1, *(1,) * (array.ndim - 1)))
            parts = {f"{name}_levels": levels.astype(np.int8), f"{name}_scale": scale}
            graph.initializer.extend(
                numpy_helper.from_array(part, part_name) for part_name, part in parts.items()
            )
            graph.node.append(helper.make_node("DequantizeLinear", [*parts], [name], axis=0))
        else:
            half = numpy_helper.from_array(array.astype(np.float16), f"{name}_half")
            graph.initializer.append(half)
            graph.node.append(
                helper.make_node("Cast", [half.name], [name], to=onnx.TensorProto.FLOAT)
            )
    graph.node.extend(nodes)
    return small


def compared(
    full: onnx.ModelProto, model: onnx.ModelProto, split: LabelledImages, transform: Transform
) -> Dict[str, Any]:
    """Return the effect of quantization: the accuracy of both models on the images of a split, and
    the share of images for which both predict the same class.

    full: the model in float32. model: the model in 8 bits. split:
    `mlr.data.labelled.LabelledImages`. transform: the evaluation preset, (H, W, 3) uint8 -> (3, S,
    S).
    """
    sessions = [
        onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        for one in (full, model)
    ]
    predicted = []
    starts = range(0, len(split), BATCH)
    for start in progress_over(starts, "comparing", len(starts), "batches"):
        images = prepared(split, range(start, min(start + BATCH, len(split))), transform)
        predicted.append(
            [session.run(None, {IMAGES: images})[0].argmax(axis=1) for session in sessions]
        )
    before, after = np.concatenate(predicted, axis=1)
    return {
        "images": len(split),
        "accuracy_float32": float(np.mean(before == split.labels)),
        "accuracy_int8": float(np.mean(after == split.labels)),
        "same_class": float(np.mean(before == after)),
    }


def calibration_images(split: LabelledImages, transform: Transform) -> np.ndarray:
    """Return up to 256 images of a split, drawn with a fixed seed, as the network takes them: a
    NumPy array (N, 3, S, S) float32.
    """
    chosen = np.random.RandomState(0).permutation(len(split))[:IMAGES_TO_CALIBRATE]
    shown = progress_over(chosen, "reading images to calibrate on", len(chosen), "images")
    return prepared(split, shown, transform)


def prepared(split: LabelledImages, indices: Iterable[int], transform: Transform) -> np.ndarray:
    """Return images of a split as the network takes them, (N, 3, S, S) float32."""
    return np.stack([transform(split[index][0]).asnumpy() for index in indices])


def _with_convolutions_for_batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace each BatchNormalization of a map by a Conv that computes the same. Returns the
    model.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.input)
    }
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and ranks[node.input[0]] == 4:
            gamma, beta, mean, variance = (
                numpy_helper.to_array(arrays[name]) for name in node.input[1:]
            )
            (epsilon,) = (
                attribute.f for attribute in node.attribute if attribute.name == "epsilon"
            )
            factor, shift = factor_and_shift(gamma, beta, mean, variance, epsilon)
            constants = {
                node.name + "_factor": factor.reshape(-1, 1, 1, 1),
                node.name + "_shift": shift,
            }
            model.graph.initializer.extend(
                numpy_helper.from_array(array.astype(np.float32), name)
                for name, array in constants.items()
            )
            node.CopyFrom(
                helper.make_node(
                    "Conv",
                    [node.input[0], *constants],
                    list(node.output),
                    name=node.name,
                    group=len(factor),
                    kernel_shape=(1, 1),
                )
            )
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence ONNX Runtime's advice on quantization, which is already followed, and on constants,
    which it removes itself.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(3)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(2)
        logging.disable(disabled)
