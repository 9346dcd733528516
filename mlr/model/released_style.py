"""The network in the released style: plain blocks that run operator by operator, with the released
names. No line is copied from the released code.

Tests and `mlr compare` compare the package with this network, and `mlr benchmark` compares the
speed. This module imports nothing from the package, because importing mlr chooses threads and
kernels, and the benchmark must run this network without that. Unlike in the released Gram layer,
batch_dot does the transposition here, as a transpose after the reshape aborts on mxnet-mkl 1.5.1.
"""

from typing import Any

from mxnet import nd
from mxnet.gluon import nn
from mxnet.gluon.model_zoo import vision


class Gram(nn.Block):
    """Gram matrices of maps, divided by C H W."""

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        """Maps (N, C, H, W) -> (N, C, C)."""
        size = x.size // len(x)  # C H W
        x = x.reshape((0, 0, -1))
        return nd.batch_dot(x, x, transpose_b=True) / size


class ReleasedStyleNet(nn.Block):
    """The released network. `save_parameters` gives the 275 names of the released code."""

    def __init__(self, classes: int, dropout: float = 0.8, **kwargs: Any):
        super().__init__(**kwargs)
        self.feature_extractor = vision.resnet50_v2().features
        self.branch_1 = sequence(Gram(), nn.Flatten(), nn.Dense(64, activation="relu"))
        self.branch_2 = sequence(
            nn.MaxPool2D(3, 2, 1), Gram(), nn.Flatten(), nn.Dense(256, activation="relu")
        )
        self.branch_3 = sequence(
            nn.MaxPool2D(3, 2, 1), Gram(), nn.Flatten(), nn.Dense(512, activation="relu")
        )
        self.styleVector = sequence(
            nn.Dropout(dropout),
            nn.Dense(2048, activation="relu"),
            nn.BatchNorm(epsilon=2e-5, momentum=0.9),
        )
        self.output = sequence(nn.BatchNorm(epsilon=2e-5, momentum=0.9), nn.Dense(classes))

    def forward(self, x: nd.NDArray) -> nd.NDArray:
        """Images (N, 3, H, W) -> logits (N, classes)."""
        style = []
        for child, layer in enumerate(self.feature_extractor):
            x = layer(x)
            if child == 3:
                style.append(self.branch_1(x))
            elif child == 4:
                style.append(self.branch_2(x))
            elif child == 5:
                style.append(self.branch_3(x))
        style = self.styleVector(nd.concat(*style, dim=1))
        return self.output(nd.concat(x, style, dim=1))


def sequence(*layers: nn.Block) -> nn.Sequential:
    """Return layers as one block, with the names 0, 1, 2 and so on."""
    block = nn.Sequential()
    block.add(*layers)
    return block
