"""The options of a training run: those of each row of the results table, and those with which the
demo fits into minutes on a CPU.
"""

import math
from dataclasses import asdict, dataclass, field, fields, replace

from mlr import paper

WARM_UP_EPOCHS = 1
MULTI_LEVEL = ("l_cil", "shallow")
ROWS = (*paper.ROWS, "shallow")
# which only fits a support vector machine to given features
BY_GRADIENTS = tuple(row for row in ROWS if row != "deepsentibank")

RESNETS = (*paper.BACKBONES, paper.SLIM_BACKBONE)
VGGS, CAFFENETS = ("vgg16", "vgg16_slim"), ("caffenet", "caffenet_slim")
BACKBONES = {
    "l_cil": RESNETS,
    "shallow": RESNETS,
    "resnet50": (*RESNETS, "resnet50_v1"),
    "alexnet": ("alexnet", "alexnet_slim", *CAFFENETS),
    "vgg16": VGGS,
    "pcnn": (*VGGS, "pcnn_small"),
    "ar": VGGS,
    "deepsentibank": CAFFENETS,
}


def only(default, *rows):
    """An option of these rows alone."""
    return field(default=default, metadata={"rows": rows})


@dataclass(frozen=True)
class Preset:
    """How a network is built and trained; the defaults are the released code's."""

    row: str = "l_cil"  # one of paper.ROWS; shallow: the shallow branches alone
    backbone: str = paper.BACKBONE
    pretrained: str = "zoo"  # zoo, none, or a file
    # released, by-width, or a single one: stem, pool, stage1
    taps: str = only("released", *MULTI_LEVEL)
    fusion: str = only("concat", "l_cil")  # concat, add, multiply
    style_width: int = only(paper.STYLE_WIDTH, *MULTI_LEVEL)
    gram_scale: float = only(1.0, *MULTI_LEVEL)  # factor on the Gram matrices
    image_size: int = paper.IMAGE_SIZE  # pixels, square
    augmentation: str = only("released", *BY_GRADIENTS)  # released, gentle, or crop
    # cached, or released, which decodes every image in every epoch
    pipeline: str = only("cached", *BY_GRADIENTS)
    loss: str = only("class_imbalance", *BY_GRADIENTS)  # class_imbalance, or cross_entropy
    loss_form: str = only("released", *BY_GRADIENTS)  # released (softmax twice), or written
    gamma: float = only(paper.FOCAL_GAMMA, *BY_GRADIENTS)
    batch_size: int = only(paper.BATCH_SIZE, *BY_GRADIENTS)
    epochs: int = only(paper.EPOCHS, *BY_GRADIENTS)
    optimizer: str = only("sgd", *BY_GRADIENTS)  # sgd, with momentum, or adam
    learning_rate: float = only(paper.LEARNING_RATE, *BY_GRADIENTS)
    # times the learning rate, for layers without pretrained weights
    new_layers_rate: float = only(1.0, *BY_GRADIENTS)
    weight_decay: float = only(paper.WEIGHT_DECAY, *BY_GRADIENTS)  # on all parameters
    schedule: str = only("step", *BY_GRADIENTS)  # step, step-ar, or cosine
    rounds: int = only(1, "pcnn")  # of selection and fine-tuning
    target: str = only(None, "pcnn")  # data to transfer to at the end
    proposals: str = only("grid", "ar")  # grid, a file of boxes, or a model of edge boxes
    svm_kernel: str = only("linear", "deepsentibank")
    svm_c: float = only(1.0, "deepsentibank")
    svm_class_weight: str = only("balanced", "deepsentibank")  # balanced, or none

    @classmethod
    def of_run(cls, options):
        """Return the preset that the options in a run's config.json hold."""
        given = {
            option.name: options[option.name] for option in fields(cls) if option.name in options
        }
        if "augmentation" in given:
            # the only one, of runs from before there was another
            given.setdefault("pipeline", "released")
        return cls(**given)

    def options(self):
        """Return the options of the preset's row, for config.json."""
        return {name: value for name, value in asdict(self).items() if self.row in rows_of(name)}

    def learning_rate_at(self, epoch, epochs=None):
        """Return the learning rate of an epoch, counted from 0. epochs: the length of the schedule,
        by default all of the preset's.

        step: halved at the released epochs 10, 20, 30, 40 and 50. step-ar: a tenth every 7 epochs.
        cosine: an epoch of warm-up, then down to 0 at the end.
        """
        if self.schedule == "step":
            return self.learning_rate * paper.LEARNING_RATE_FACTOR ** sum(
                epoch >= e for e in paper.LEARNING_RATE_EPOCHS
            )
        if self.schedule == "step-ar":
            return self.learning_rate * paper.AR_DECAY ** (epoch // paper.AR_DECAY_EPOCHS)
        if epoch < WARM_UP_EPOCHS:
            return self.learning_rate * (epoch + 1) / (WARM_UP_EPOCHS + 1)
        progress = (epoch - WARM_UP_EPOCHS) / max(1, (epochs or self.epochs) - WARM_UP_EPOCHS)
        return self.learning_rate * (1 + math.cos(math.pi * progress)) / 2

    def stages(self):
        """Return the ranges of epochs that are trained one after the other: one, and for PCNN one
        more for each round and the target.
        """
        if self.row != "pcnn":
            return [range(self.epochs)]
        tuning = max(1, round(self.epochs * paper.PCNN_FINE_TUNING))
        starts = [0] + [
            self.epochs + tuning * number for number in range(self.rounds + bool(self.target) + 1)
        ]
        return [range(*pair) for pair in zip(starts, starts[1:])]


# The lowest and highest of the options that are whole numbers.
BOUNDS = {
    "image_size": (64, 2048),
    "style_width": (1, 2**16),
    "batch_size": (1, 2**16),
    "epochs": (1, 10**6),
    "rounds": (1, 1000),
    "seed": (0, 2**32 - 1),  # NumPy's
}


def rows_of(name):
    """Return the rows that have an option."""
    rows = {option.name: option.metadata.get("rows") for option in fields(Preset)}
    return rows[name] or ROWS


L_CIL = Preset()
# The recipes behind the table's fine-tuned networks are not published: here the released one with
# cross entropy, and for VGG-16 the
# solver of AR's, whose own network is a VGG-16 fine-tuned on FI.
CROSS_ENTROPY = replace(L_CIL, loss="cross_entropy")
AR_VGG = replace(
    CROSS_ENTROPY, backbone="vgg16", augmentation="crop", schedule="step-ar", **paper.AR_SOLVER
)

RELEASED = {
    "l_cil": L_CIL,
    "shallow": replace(L_CIL, row="shallow"),
    "alexnet": replace(CROSS_ENTROPY, row="alexnet", backbone="alexnet"),
    "vgg16": replace(AR_VGG, row="vgg16"),
    "resnet50": replace(CROSS_ENTROPY, row="resnet50"),
    "pcnn": replace(AR_VGG, row="pcnn"),
    "deepsentibank": replace(L_CIL, row="deepsentibank", backbone="caffenet", image_size=227),
    "ar": replace(AR_VGG, row="ar"),
}

# A network from scratch in minutes on two cores: small images, and Adam, as plain gradient descent
# moves the batch-normed fusion
# layer, which needs small steps, and fresh convolutions, which need large ones, at one rate.
DRAWN = dict(
    pretrained="none",  # needs no download
    image_size=64,
    augmentation="gentle",  # the width and the colour of the lines are what matters
    loss_form="written",
    batch_size=32,
    epochs=10,
    optimizer="adam",
    learning_rate=7e-4,
    new_layers_rate=1.0,
    weight_decay=paper.WEIGHT_DECAY,
    schedule="cosine",
)
SLIM = {  # fit into 10 MB, and learn the paintings faster than the zoo's own
    "resnet50_v2": paper.SLIM_BACKBONE,
    "alexnet": "alexnet_slim",
    "vgg16": "vgg16_slim",
    "caffenet": "caffenet_slim",
}

DEMO = {
    row: replace(preset, style_width=256, backbone=SLIM[preset.backbone], **DRAWN)
    for row, preset in RELEASED.items()
}
