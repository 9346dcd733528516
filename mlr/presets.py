"""The options of a training run: the released ones, and those with which the demo fits into minutes on a CPU."""

import math
from dataclasses import dataclass, replace

from mlr import paper

WARM_UP_EPOCHS = 1


@dataclass(frozen=True)
class Preset:
    """How a network is built and trained; the defaults are the released code's."""

    backbone: str = paper.BACKBONE
    pretrained: str = "zoo"             # zoo, none, or a file
    taps: str = "released"              # released, or by-width
    style_width: int = paper.STYLE_WIDTH
    image_size: int = paper.IMAGE_SIZE  # pixels, square
    augmentation: str = "released"      # released, or gentle
    loss: str = "class_imbalance"       # class_imbalance, or cross_entropy
    loss_form: str = "released"         # released (softmax twice), or written
    gamma: float = paper.FOCAL_GAMMA
    batch_size: int = paper.BATCH_SIZE
    epochs: int = paper.EPOCHS
    optimizer: str = "sgd"              # sgd, with momentum, or adam; both with the released weight decay
    learning_rate: float = paper.LEARNING_RATE
    schedule: str = "step"              # step, or cosine

    def learning_rate_at(self, epoch):
        """Return the learning rate of an epoch, counted from 0.

        step: halved at the released epochs 10, 20, 30, 40 and 50. cosine: an epoch of warm-up, then down to 0 at the end.
        """
        if self.schedule == "step":
            return self.learning_rate * paper.LEARNING_RATE_FACTOR ** sum(epoch >= e for e in paper.LEARNING_RATE_EPOCHS)
        if epoch < WARM_UP_EPOCHS:
            return self.learning_rate * (epoch + 1) / (WARM_UP_EPOCHS + 1)
        progress = (epoch - WARM_UP_EPOCHS) / max(1, self.epochs - WARM_UP_EPOCHS)
        return self.learning_rate * (1 + math.cos(math.pi * progress)) / 2


RELEASED = Preset()

# A network from scratch in minutes on two cores: small images, and Adam, as plain gradient descent moves the batch-normed fusion
# layer, which needs small steps, and fresh convolutions, which need large ones, at one rate.
DEMO = replace(
    RELEASED,
    backbone=paper.SLIM_BACKBONE,  # fits into 10 MB, and learns the paintings faster than the zoo's own ResNet-18
    pretrained="none",       # needs no download
    style_width=256,
    image_size=64,
    augmentation="gentle",   # the width and the colour of the lines are what matters
    loss_form="written",
    batch_size=32,
    epochs=10,
    optimizer="adam",
    learning_rate=7e-4,
    schedule="cosine",
)
