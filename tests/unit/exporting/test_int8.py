"""Models in 8 bits against the same in float32."""

import json

import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose
from onnx import numpy_helper

from mlr import export
from mlr.data.drawn.paintings import draw_demo_data
from mlr.exporting.int8 import (
    Reader,
    _with_convolutions_for_batch_norms,
    calibration_images,
    compared,
    quantized,
    with_weights_in_8_bits,
)
from mlr.exporting.onnx import onnx_model, serialized
from mlr.methods import load_network, open_run
from mlr.runs.shipped import DEMO_RUN


def run(model, images):
    session = onnxruntime.InferenceSession(
        serialized(model, {}), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"images": images})[0]


@pytest.fixture(scope="module")
def model():
    """The shipped network, whose parameters are those of a training."""
    return onnx_model(load_network(open_run(DEMO_RUN), [mx.cpu()]), 64)


@pytest.fixture
def images():
    """Images of patches of colour, for which the classes differ."""
    return np.kron(np.random.randn(48, 3, 4, 4), np.ones((16, 16))).astype(np.float32)


def test_a_batch_norm_is_a_convolution(model, images):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    _with_convolutions_for_batch_norms(changed)
    operators = [node.op_type for node in changed.graph.node]
    # of vectors: after the style layer and in the fusion
    assert operators.count("BatchNormalization") == 2
    expected = run(model, images)
    # float32
    assert_allclose(run(changed, images), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_what_is_in_8_bits(model, images):
    small = quantized(model, images)
    expected, found = run(model, images), run(small, images)
    # 8 bits have a step of 1/255 of the range, and errors add up over 20 layers: to 4 % of the
    # largest logit on a processor with VNNI, to 10 % without, which clips sums of products
    assert_allclose(found, expected, rtol=0, atol=0.25 * np.abs(expected).max())
    assert not np.array_equal(found, expected)
    types = {tensor.name: numpy_helper.to_array(tensor).dtype for tensor in small.graph.initializer}
    weights = {
        name: kind
        for name, kind in types.items()
        if ".weight" in name and name.split("_")[-1] == "quantized"
    }
    # 20 convolutions, 4 dense layers
    assert set(weights.values()) == {np.dtype(np.int8)} and len(weights) == 24
    # those of vectors; maps have convolutions instead
    assert [node.op_type for node in small.graph.node].count("BatchNormalization") == 2
    # the last one
    assert types["fusion.output.weight"] == np.float32
    assert small.ByteSize() < 0.3 * model.ByteSize()
    assert [(entry.domain, entry.version) for entry in small.opset_import] == [("", 17)]
    shapes = [
        value.type.tensor_type.shape.dim for value in (*small.graph.input, *small.graph.output)
    ]
    assert [tuple(side.dim_param or side.dim_value for side in shape) for shape in shapes] == [
        ("N", 3, 64, 64),
        ("N", 8),
    ]


def test_each_channel_of_weights_has_its_own_scale(model, images):
    scales = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in quantized(model, images).graph.initializer
    }
    assert scales["backbone.stage1.0.conv2.weight_scale"].shape == (32,)


def test_ranges_are_averaged_over_batches(model, images):
    batches = [images[:32], 5 * images[:32]]
    small = quantized(model, np.concatenate(batches))
    (scale,) = (
        numpy_helper.to_array(tensor)
        for tensor in small.graph.initializer
        if tensor.name == "images_scale"
    )
    lowest, highest = (
        np.mean([extreme(batch) for batch in batches]) for extreme in (np.min, np.max)
    )
    assert_allclose(scale, (highest - lowest) / 255, rtol=1e-5)  # float32


@pytest.mark.parametrize("count, sizes", [(5, [5]), (32, [32]), (33, [17, 16]), (70, [24, 23, 23])])
def test_batches_of_about_one_size(count, sizes):
    reader = Reader(np.arange(count))
    assert [len(reader.get_next()["images"]) for _ in sizes] == sizes and reader.get_next() is None


class Colours:
    """A split of images of one colour, labelled by it."""

    def __init__(self, count):
        self.labels = [number % 8 for number in range(count)]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return mx.nd.full((64, 64, 3), index, dtype="float32"), self.labels[index]


def test_images_to_calibrate_are_drawn_once():
    first, again = (
        calibration_images(Colours(300), lambda image: image.transpose((2, 0, 1))) for _ in range(2)
    )
    np.random.seed(5)
    assert first.shape == (256, 3, 64, 64) and len(np.unique(first)) == 256
    assert np.array_equal(first, again)
    assert sorted(
        np.unique(calibration_images(Colours(9), lambda image: image.transpose((2, 0, 1))))
    ) == list(range(9))


def test_comparison(model):
    """The classes of a model that is turned round, by its last weights, are others wherever they
    can be.
    """
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for tensor in other.graph.initializer:
        if tensor.name.startswith("fusion.output"):
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    split, transform = Colours(40), lambda image: (image / 20 - 1).transpose((2, 0, 1))
    images = np.stack([transform(split[index][0]).asnumpy() for index in range(40)])
    split.labels = run(model, images).argmax(axis=1).tolist()
    split.labels[0] = (split.labels[0] + 1) % 8
    right = np.mean(run(other, images).argmax(axis=1) == split.labels)
    assert right < 0.1
    assert compared(model, other, split, transform) == {
        "images": 40,
        "accuracy_float32": 39 / 40,
        "accuracy_int8": right,
        "same_class": 0,
    }
    assert compared(model, model, split, transform)["same_class"] == 1


@pytest.mark.slow
def test_the_demo_run_tells_the_same_classes(tmp_path, capsys):
    draw_demo_data(tmp_path / "demo")
    out = tmp_path / "model.onnx"
    arguments = ["--run", str(DEMO_RUN), "--int8", "--calibrate", str(tmp_path / "demo")]
    assert export.main(["--out", str(out), *arguments]) == 0
    metadata = {entry.key: entry.value for entry in onnx.load(str(out)).metadata_props}
    change = json.loads(metadata["int8"])
    assert (
        change["images"] == 480
        # 98.96 % with ONNX Runtime 1.19.2 on a processor with VNNI
        and change["same_class"] >= 0.93
        and abs(change["accuracy_int8"] - change["accuracy_float32"]) <= 0.05
    )


def test_weights_alone_in_8_bits_keep_the_answers(model):
    """The largest weights alone change, by half a level at most; the file is a quarter as large."""
    small = with_weights_in_8_bits(model)
    assert small.ByteSize() < 0.32 * model.ByteSize()
    images = np.random.normal(size=(4, 3, 64, 64)).astype(np.float32)
    before, after = (run(each, images) for each in (model, small))
    # half a level of 127, of many weights
    assert 0 < np.abs(after - before).max() < 0.05 * np.abs(before).max()
