"""The networks of the Gluon zoo that serve as backbones: where the levels of each one end.

A level is a part of a network whose output can be tapped: the stem, a max-pool, a stage. A stage
holds the convolutions of one resolution, with the pooling that leads to it.
"""

from dataclasses import dataclass, replace
from typing import Dict, Mapping, Optional, Tuple, Union

from mlr.errors import InputError
from mlr.paper import NARROW, SLIM_BACKBONE, SLIM_CHANNELS

# The number of one of the zoo network's layers, or the first one and the one behind the last.
Place = Union[int, Tuple[int, int]]


@dataclass(frozen=True)
class Anatomy:
    """Where the levels of a zoo network lie.

    levels: the place of each among the network's `features`, in their order. width: D, the channels
    of the deep representation. zoo: the zoo's network that it is, or is made of; only of one that
    it is the zoo has ImageNet weights. batch_norm: whether it has batch norm. fully_connected:
    whether the deep representation is that of fully connected layers, whose shape depends on the
    size of the images.
    """

    levels: Mapping[str, Place]
    width: int
    zoo: str
    batch_norm: bool = True
    fully_connected: bool = False

    @property
    def head(self) -> int:
        """The number of the first layer above the last level."""
        last = tuple(self.levels.values())[-1]
        return last + 1 if isinstance(last, int) else last[1]

    @property
    def blocks(self) -> Tuple[str, ...]:
        """The last four levels with convolutions, the four blocks of the paper's figure."""
        return tuple(level for level in self.levels if level != "pool")[-4:]

    def name_in_zoo(self, name: str) -> Optional[str]:
        """Return what the zoo calls a parameter of `mlr.model.backbone.Backbone`, None for others.

        stage1.0.bn1.gamma of a ResNet v2 is features.5.0.bn1.gamma.
        """
        level, _, rest = name.partition(".")
        place = {**self.levels, "head": (self.head, -1)}.get(level)
        if isinstance(place, int):
            return f"features.{place}.{rest}"
        number, _, rest = rest.partition(".")
        return f"features.{place[0] + int(number)}.{rest}" if place and number.isdigit() else None


def _resnet(version: int, depth: int) -> Anatomy:
    stem = 4 if version == 2 else 3  # v2 starts with the batch norm of the images
    names = ("pool", "stage1", "stage2", "stage3", "stage4")
    levels: Dict[str, Place] = {name: stem + number for number, name in enumerate(names)}
    levels = {"stem": (0, stem), **levels}
    return Anatomy(levels, 512 if depth < 50 else 2048, f"resnet{depth}_v{version}")


_MOBILENET1 = Anatomy(
    {
        "stem": (0, 3),
        "stage1": (3, 9),
        "stage2": (9, 21),
        "stage3": (21, 33),
        "stage4": (33, 69),
        "stage5": (69, 81),
    },
    1024,
    "mobilenet1.0",
)
_VGG16 = Anatomy(
    {
        "stem": (0, 4),
        "pool": 4,
        "stage1": (5, 9),
        "stage2": (9, 16),
        "stage3": (16, 23),
        "stage4": (23, 30),
    },
    4096,
    "vgg16",
    batch_norm=False,
    fully_connected=True,
)
_ALEXNET = Anatomy(
    {"stem": 0, "pool": 1, "stage1": 2, "stage2": (3, 5), "stage3": 5, "stage4": 6},
    4096,
    "alexnet",
    batch_norm=False,
    fully_connected=True,
)

BACKBONES: Dict[str, Anatomy] = {
    **{f"resnet{depth}_v2": _resnet(2, depth) for depth in (18, 34, 50, 101, 152)},
    **{f"resnet{depth}_v1": _resnet(1, depth) for depth in (18, 34, 50, 101, 152)},
    "squeezenet1.0": Anatomy(
        {"stem": (0, 2), "pool": 2, "stage1": (3, 6), "stage2": (6, 11), "stage3": (11, 13)},
        512,
        "squeezenet1.0",
        batch_norm=False,
    ),
    "squeezenet1.1": Anatomy(
        {"stem": (0, 2), "pool": 2, "stage1": (3, 5), "stage2": (5, 8), "stage3": (8, 13)},
        512,
        "squeezenet1.1",
        batch_norm=False,
    ),
    "mobilenet1.0": _MOBILENET1,
    # TensorFlow's MobileNet has ReLU6, the zoo's ReLU: its weights need the former.
    "mobilenet1.0_relu6": _MOBILENET1,
    "mobilenetv2_1.0": Anatomy(
        {
            "stem": (0, 3),
            "stage1": (3, 4),
            "stage2": (4, 6),
            "stage3": (6, 9),
            "stage4": (9, 16),
            "stage5": (16, 23),
        },
        1280,
        "mobilenetv2_1.0",
    ),
    "densenet121": Anatomy(
        {
            "stem": (0, 3),
            "pool": 3,
            "stage1": 4,
            "stage2": (5, 7),
            "stage3": (7, 9),
            "stage4": (9, 13),
        },
        1024,
        "densenet121",
    ),
    "vgg16": _VGG16,
    "alexnet": _ALEXNET,
    # Ours: the same layers with fewer channels, for what has to be small.
    SLIM_BACKBONE: replace(_resnet(2, 18), width=SLIM_CHANNELS[-1]),
    "vgg16_slim": replace(
        _VGG16,
        # its convolutions have their ReLU in them
        levels={
            "stem": (0, 2),
            "pool": 2,
            "stage1": (3, 5),
            "stage2": (5, 9),
            "stage3": (9, 13),
            "stage4": (13, 17),
        },
        width=_VGG16.width // NARROW,
    ),
    "alexnet_slim": replace(_ALEXNET, width=_ALEXNET.width // NARROW),
}


def anatomy_of(backbone: str) -> Anatomy:
    """Return where the levels of a backbone lie. Raises InputError for a name that none has."""
    if backbone not in BACKBONES:
        raise InputError(f"unknown backbone {backbone}: choose one of {', '.join(BACKBONES)}")
    return BACKBONES[backbone]
