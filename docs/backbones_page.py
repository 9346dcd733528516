"""docs/backbones.md, written from the table of backbones.

.venv/bin/python docs/backbones_page.py > docs/backbones.md
"""

import numpy as np
from options_page import table

from mlr.model.backbone import Backbone
from mlr.model.backbones import BACKBONES

import mxnet as mx  # isort: skip - after mlr, which tells it of the CPU

HEAD = """# Backbones

Made by `.venv/bin/python docs/backbones_page.py`; a test holds this page to
`mlr/model/backbones.py`.

The paper adds its shallow branches to a network that was trained for another task, the backbone.
Here it can be any network below: `--backbone NAME` for the methods l_cil, shallow, finetuned, pcnn
and ar, or `mlr.MultiLevelNet(classes, backbone=NAME)`. The released code uses `resnet50_v2`. A
level is a map that a shallow branch can read, for example `--taps stem,pool,stage1`. The table
gives channels x side of each map for images of 224 px.

- `--taps released` reads the first three levels (of a ResNet stem, pool and stage 1), `by-width`
  the first three with convolutions, `last` the last three. As in the released code, a max-pool
  comes before the Gram matrix of every map but the stem's.
- The deep representation is the global average of the last map. AlexNet and VGG-16 have fully
  connected layers instead, so their `--image-size` is part of the network: ImageNet weights need
  224.
- The figure of filters shows the last four levels with convolutions, Grad-CAM the last level.
- SqueezeNet, AlexNet and VGG-16 have no batch norm: train them with smaller learning rates than a
  ResNet.
- `mobilenet1.0_relu6` has ReLU6 in place of the zoo's ReLU, because weights from TensorFlow need
  it. MKL-DNN has no ReLU6 in MXNet 1.5.1, so this backbone is slower. These weights also fit
  `mobilenet1.0`, but its predictions differ until you fine-tune it. [Weights](weights.md) says how
  to make them.
- The slim backbones are ours, for the demo: the same layers with fewer channels. There are no
  ImageNet weights for them.
"""


def page() -> str:
    """Return the page: a row of each backbone."""
    rows = []
    for name, anatomy in BACKBONES.items():
        backbone = Backbone(name)
        graph = mx.sym.Group(backbone(mx.sym.var("images")))
        arguments, shapes, statistics = graph.infer_shape(images=(1, 3, 224, 224))
        maps = [f"{level} {shape[1]}x{shape[2]}" for level, shape in zip(backbone.levels, shapes)]
        numbers = sum(np.prod(shape) for shape in (*arguments[1:], *statistics))
        rows.append(
            [
                f"`{name}`",
                ", ".join(maps),
                str(anatomy.width),
                f"{numbers / 1e6:.1f}",
                "yes" if anatomy.batch_norm else "no",
                "yes" if anatomy.zoo == name else "no",
            ]
        )
    head = ["backbone", "levels", "deep", "parameters, million", "batch norm", "weights in the zoo"]
    return "\n".join([HEAD, *table(head, rows), ""])


if __name__ == "__main__":
    print(page(), end="")
