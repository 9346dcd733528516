"""The options of a training that make the run, each defined once.

The command line, the check of config.json and docs/options.md follow from these definitions. The
defaults here are the released code's; a method's own defaults are in its file in `mlr/methods/`.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from mlr import paper
from mlr.options.option import Option, option

DRAWN = ("demo", "demo-objects")  # the data sets of mlr.data.drawn, which --help does not load
# Of the backbones, in their order; mlr.model.backbones says which one has which.
LEVELS = ("stem", "pool", *(f"stage{number}" for number in range(1, 6)))
WARM_UP_EPOCHS = 1


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is built and trained, and on what; what config.json calls `options`."""

    data: Union[str, Tuple[str, ...]] = option(
        "demo",
        str,
        "data",
        "folder with {train,valid,test}/<class>/<image>, or one that mlr prepare wrote; "
        "demo is drawn into data/demo; several, of the same classes: all of their images, each "
        "once by its content",
        metavar="DIR|demo",
        several=True,
    )
    labels: str = option(
        "emotion",
        str,
        "data",
        "the class folders, or negative and positive, to which emotions are mapped",
        choices=("emotion", "sentiment"),
    )
    targets: str = option(
        "labels",
        str,
        "data",
        "labels: a class for each image; votes: the distribution of people's votes, of data that "
        "have them, with --loss cross_entropy",
        choices=("labels", "votes"),
    )
    fold: Optional[int] = option(
        None,
        int,
        "data",
        "of data in folds: test on fold K, train on the others",
        lowest=1,
        highest=1000,
        metavar="K",
    )
    target: Optional[str] = option(
        None,
        str,
        "data",
        "data of the same classes to transfer to, and to evaluate on, at the end",
        metavar="DIR",
    )
    train_part: float = option(
        1.0,
        float,
        "data",
        "part of the training images of each class to train on, the same ones for every seed; a "
        "smaller part is within a larger one",
        lowest=0,
        highest=1,
        above=True,
        metavar="P",
    )
    augmentation: str = option(
        "released",
        str,
        "data",
        "released: crops of 8 to 100 % of the area and jitter 0.4; gentle: 75 to 100 % and 0.1; "
        "crop: a square anywhere, as Caffe does",
        choices=("released", "gentle", "crop"),
    )
    pipeline: str = option(
        "cached",
        str,
        "data",
        "cached: decode each image once, into ~/.cache/mlr or $MLR_CACHE; released: decode it in "
        "every epoch, in Gluon's own chain",
        choices=("cached", "released"),
    )
    method: str = option(
        "l_cil",
        str,
        "network",
        "the system of the results table",
        metavar="NAME",
    )
    backbone: str = option(
        paper.BACKBONE,
        str,
        "network",
        "the backbone; slim ones have fewer channels",
        metavar="NAME",
    )
    pretrained: str = option(
        "zoo",
        str,
        "network",
        "ImageNet weights of the backbone; FILE: .params, also a run's, .onnx, .npz or "
        ".safetensors; mlr weights lists zoo's",
        metavar="zoo|FILE|none",
    )
    taps: str = option(
        "released",
        str,
        "network",
        "maps under the shallow branches. released: the first three levels, of a ResNet stem, "
        "pool, stage1; by-width: stem, stage1, stage2; last: the last three; or names of levels",
        metavar="NAMES",
        choices=("released", "by-width", "last"),
        parts=LEVELS,
    )
    branch_width: Optional[int] = option(
        None,
        int,
        "network",
        "width of every shallow branch (default: 64, 256, 512, as released)",
        lowest=1,
        highest=2**16,
        metavar="N",
    )
    fusion: str = option(
        "concat",
        str,
        "network",
        "of deep and shallow representation; add and multiply need equal widths",
        choices=("concat", "add", "multiply"),
    )
    style_width: int = option(
        paper.STYLE_WIDTH,
        int,
        "network",
        "width of the shallow representation",
        lowest=1,
        highest=2**16,
        metavar="N",
    )
    style_dropout: float = option(
        paper.STYLE_DROPOUT,
        float,
        "network",
        "rate of the dropout in the shallow representation",
        lowest=0,
        highest=0.99,
        metavar="P",
    )
    gram_scale: float = option(
        1.0,
        float,
        "network",
        "factor on the Gram matrices",
        lowest=0,
        above=True,
        metavar="F",
    )
    image_size: int = option(
        paper.IMAGE_SIZE,
        int,
        "network",
        "side of the square that the network sees, in pixels",
        lowest=64,
        highest=2048,
        metavar="PX",
    )
    proposals: str = option(
        "grid",
        str,
        "network",
        "regions. grid: the package's own; FILE.npz or .mat: boxes with scores; or the model file "
        "of OpenCV's edge boxes",
        metavar="grid|FILE",
    )
    svm_kernel: str = option(
        "linear",
        str,
        "network",
        "kernel of the support vector machine",
        choices=("linear", "rbf"),
    )
    svm_c: float = option(
        1.0,
        float,
        "network",
        "its penalty C",
        lowest=0,
        above=True,
        metavar="C",
    )
    svm_class_weight: str = option(
        "balanced",
        str,
        "network",
        "weight its classes against imbalance, or not",
        choices=("balanced", "none"),
    )
    loss: str = option(
        "class_imbalance",
        str,
        "loss",
        "the loss",
        choices=("class_imbalance", "cross_entropy"),
    )
    loss_form: str = option(
        "released",
        str,
        "loss",
        "class imbalance with softmax twice, as released, or as its comment says",
        choices=("released", "written"),
    )
    gamma: float = option(
        paper.FOCAL_GAMMA,
        float,
        "loss",
        "focusing exponent of the class imbalance loss",
        lowest=0,
        metavar="G",
    )
    batch_size: int = option(
        paper.BATCH_SIZE,
        int,
        "optimisation",
        "images a step, over all devices",
        lowest=1,
        highest=2**16,
        metavar="N",
    )
    epochs: int = option(
        paper.EPOCHS,
        int,
        "optimisation",
        "passes over the training images; pcnn: before its first selection",
        lowest=1,
        highest=10**6,
        metavar="N",
    )
    optimizer: str = option(
        "sgd",
        str,
        "optimisation",
        "SGD with momentum 0.9, or Adam",
        choices=("sgd", "adam"),
    )
    learning_rate: float = option(
        paper.LEARNING_RATE,
        float,
        "optimisation",
        "learning rate",
        lowest=0,
        above=True,
        metavar="LR",
    )
    new_layers_rate: float = option(
        1.0,
        float,
        "optimisation",
        "learning-rate multiplier of the layers without pretrained weights",
        lowest=0,
        above=True,
        metavar="F",
    )
    weight_decay: float = option(
        paper.WEIGHT_DECAY,
        float,
        "optimisation",
        "on all parameters",
        lowest=0,
        metavar="W",
    )
    schedule: str = option(
        "step",
        str,
        "optimisation",
        "step: halve at epochs 10, 20, 30, 40, 50; step-ar: a tenth every 7 epochs; cosine: an "
        "epoch of warm-up, then down to 0",
        choices=("step", "step-ar", "cosine"),
    )
    rounds: int = option(
        1,
        int,
        "optimisation",
        "of selection and fine-tuning",
        lowest=1,
        highest=1000,
        metavar="N",
    )
    seed: int = option(
        0,
        int,
        "run",
        "of initial parameters, order, augmentation and dropout",
        lowest=0,
        highest=2**32 - 1,
        metavar="N",
    )


# The options that every method has.
COMMON = (
    "data", "labels", "fold", "train_part",
    "method", "backbone", "pretrained", "image_size", "seed",
)  # fmt: skip


def definitions(kind: type = TrainingOptions) -> Dict[str, Option]:
    """Return the definitions of a dataclass of options, by name."""
    return {each.name: each.metadata["option"] for each in fields(kind)}


def options_of(config: Mapping[str, Any]) -> TrainingOptions:
    """Return the options in a run's config.json, but those that this version doesn't know."""
    known = definitions()
    options = {
        name: known[name].read(value) for name, value in config["options"].items() if name in known
    }
    return TrainingOptions(**options)


def options_of_0_1_0(options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the options of a config.json of 0.1.0, which called a method a row, in new words."""
    upgraded = {name: value for name, value in options.items() if name != "row"}
    upgraded["method"] = options.get("row", TrainingOptions.method)
    if "augmentation" in options:
        upgraded.setdefault("pipeline", "released")  # the only one, before there was another
    return upgraded


def learning_rate_at(options: TrainingOptions, epoch: int, epochs: Optional[int] = None) -> float:
    """Return the learning rate of an epoch, counted from 0.

    epochs: the length of the schedule, by default all that the options say. step: halved at the
    released epochs 10, 20, 30, 40 and 50. step-ar: a tenth every 7 epochs. cosine: an epoch of
    warm-up, then down to 0 at the end.
    """
    if options.schedule == "step":
        passed = sum(epoch >= each for each in paper.LEARNING_RATE_EPOCHS)
        return options.learning_rate * paper.LEARNING_RATE_FACTOR**passed
    if options.schedule == "step-ar":
        return options.learning_rate * paper.AR_DECAY ** (epoch // paper.AR_DECAY_EPOCHS)
    if epoch < WARM_UP_EPOCHS:
        return options.learning_rate * (epoch + 1) / (WARM_UP_EPOCHS + 1)
    progress = (epoch - WARM_UP_EPOCHS) / max(1, (epochs or options.epochs) - WARM_UP_EPOCHS)
    return options.learning_rate * (1 + math.cos(math.pi * progress)) / 2
