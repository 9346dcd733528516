"""The options that decide the result of a training, each defined once.

The command line, the check of config.json and docs/options.md follow from these definitions. The
defaults here are those of the released code; a method's own defaults are in its file in
`mlr/methods/`.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Dict, Mapping, Optional, Tuple, Union

from mlr import paper
from mlr.options.option import Option, option

DRAWN = ("demo", "demo-objects")  # the data sets of mlr.data.drawn, which --help does not load
# The levels of the backbones, from input to output; mlr.model.backbones says which backbone has
# which levels.
LEVELS = ("stem", "pool", *(f"stage{number}" for number in range(1, 6)))
WARM_UP_EPOCHS = 1


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is built and trained, and on which data: the `options` of config.json."""

    data: Union[str, Tuple[str, ...]] = option(
        "demo",
        str,
        "data",
        "folder with {train,valid,test}/<class>/<image>, or a folder that mlr prepare wrote; demo: "
        "a small data set that the package draws into data/demo. Give it several times to train on "
        "several data sets with the same classes together; an image that is in more than one of "
        "them is used once",
        metavar="DIR|demo",
        several=True,
    )
    labels: str = option(
        "emotion",
        str,
        "data",
        "emotion: the classes are the class folders; sentiment: they are negative and positive, "
        "to which the emotions are mapped",
        choices=("emotion", "sentiment"),
    )
    targets: str = option(
        "labels",
        str,
        "data",
        "what the network learns. labels: one class for each image; votes: the distribution of "
        "people's votes over the classes, which the data must contain, with --loss cross_entropy",
        choices=("labels", "votes"),
    )
    fold: Optional[int] = option(
        None,
        int,
        "data",
        "for data that are divided into folds: test on fold K, train on the others",
        lowest=1,
        highest=1000,
        metavar="K",
    )
    target: Optional[str] = option(
        None,
        str,
        "data",
        "data set with the same classes; at the end the network is fine-tuned on it, and evaluated "
        "on it",
        metavar="DIR",
    )
    train_part: float = option(
        1.0,
        float,
        "data",
        "fraction of the training images of each class to train on. The images are the same for "
        "every seed, and a smaller fraction is a subset of a larger one",
        lowest=0,
        highest=1,
        above=True,
        metavar="P",
    )
    augmentation: str = option(
        "released",
        str,
        "data",
        "released: crops of 8 to 100 % of the area and colour jitter 0.4; gentle: crops of 75 to "
        "100 % and jitter 0.1; crop: a square at a random place, as in Caffe",
        choices=("released", "gentle", "crop"),
    )
    pipeline: str = option(
        "cached",
        str,
        "data",
        "cached: decode each image once and keep its pixels in ~/.cache/mlr or $MLR_CACHE; "
        "released: decode each image in every epoch, with Gluon's own transforms",
        choices=("cached", "released"),
    )
    method: str = option(
        "l_cil",
        str,
        "network",
        "the system of the results table to train",
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
        "ImageNet weights of the backbone. zoo: those of the model zoo, which mlr weights lists; "
        "FILE: a .params file, which may be that of a run, or .onnx, .npz or .safetensors; none: "
        "start from random weights",
        metavar="zoo|FILE|none",
    )
    taps: str = option(
        "released",
        str,
        "network",
        "the backbone levels whose maps the shallow branches take. released: the first three "
        "levels (stem, pool and stage1 of a ResNet); by-width: stem, stage1, stage2; last: the "
        "last three; or the names of levels",
        metavar="NAMES",
        choices=("released", "by-width", "last"),
        parts=LEVELS,
    )
    branch_width: Optional[int] = option(
        None,
        int,
        "network",
        "width of every shallow branch, instead of 64, 256 and 512",
        lowest=1,
        highest=2**16,
        metavar="N",
    )
    fusion: str = option(
        "concat",
        str,
        "network",
        "how deep and shallow representation are combined; add and multiply need equal widths",
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
        "dropout rate of the branches' outputs, before the style layer",
        lowest=0,
        highest=0.99,
        metavar="P",
    )
    gram_scale: float = option(
        1.0,
        float,
        "network",
        "factor by which the Gram matrices are multiplied",
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
        "where the proposals of regions come from. grid: the package's own grid of boxes; FILE.npz "
        "or FILE.mat: boxes with scores; or the model file of OpenCV's edge boxes",
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
        "penalty C of the support vector machine",
        lowest=0,
        above=True,
        metavar="C",
    )
    svm_class_weight: str = option(
        "balanced",
        str,
        "network",
        "balanced: the support vector machine weights the classes against imbalance; none: equal "
        "weights",
        choices=("balanced", "none"),
    )
    loss: str = option(
        "class_imbalance",
        str,
        "loss",
        "loss function of the training",
        choices=("class_imbalance", "cross_entropy"),
    )
    loss_form: str = option(
        "released",
        str,
        "loss",
        "form of the class imbalance loss. released: with softmax applied twice, as in the "
        "released code; written: as the comment in the released code describes it",
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
        "images per step, over all devices together",
        lowest=1,
        highest=2**16,
        metavar="N",
    )
    epochs: int = option(
        paper.EPOCHS,
        int,
        "optimisation",
        "passes over the training images; for pcnn those before the first selection",
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
        "weight decay, applied to all parameters",
        lowest=0,
        metavar="W",
    )
    schedule: str = option(
        "step",
        str,
        "optimisation",
        "learning-rate schedule. step: halve at epochs 10, 20, 30, 40, 50; step-ar: divide by 10 "
        "every 7 epochs; cosine: one epoch of warm-up, then a cosine towards 0",
        choices=("step", "step-ar", "cosine"),
    )
    rounds: int = option(
        1,
        int,
        "optimisation",
        "rounds of selection and fine-tuning",
        lowest=1,
        highest=1000,
        metavar="N",
    )
    seed: int = option(
        0,
        int,
        "run",
        "random seed of initial parameters, order of images, augmentation and dropout",
        lowest=0,
        highest=2**32 - 1,
        metavar="N",
    )


# The options that every method has.
COMMON = (
    "data", "labels", "fold", "train_part",
    "method", "backbone", "pretrained", "image_size", "seed",
)  # fmt: skip


def definitions() -> Dict[str, Option]:
    """Return {name: definition} of the options of a training."""
    return {each.name: each.metadata["option"] for each in fields(TrainingOptions)}


def options_of(config: Mapping[str, Any]) -> TrainingOptions:
    """Return the options in a run's config.json, without those that this version doesn't know."""
    known = definitions()
    options = {
        name: known[name].read(value) for name, value in config["options"].items() if name in known
    }
    return TrainingOptions(**options)


def options_of_0_1_0(options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the options of a config.json of version 0.1.0, under today's names: `method` was
    called `row` there.
    """
    upgraded = {name: value for name, value in options.items() if name != "row"}
    upgraded["method"] = options.get("row", TrainingOptions.method)
    if "augmentation" in options:
        upgraded.setdefault("pipeline", "released")  # the only one in 0.1.0
    return upgraded


def learning_rate_at(options: TrainingOptions, epoch: int, epochs: Optional[int] = None) -> float:
    """Return the learning rate of an epoch, counted from 0.

    epochs: the length of the schedule, by default `options.epochs`. step: halved at the released
    epochs 10, 20, 30, 40 and 50. step-ar: divided by 10 every 7 epochs. cosine: one epoch of
    warm-up, then a cosine that ends near 0.
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
