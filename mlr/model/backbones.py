"""The networks of the Gluon zoo that serve as backbones, and which layers form their levels.

A level is a part of a network whose output a shallow branch can read: the stem, a max-pool, a
stage. A stage consists of the convolutions of one resolution and the pooling before them.
"""

from dataclasses import dataclass, replace
from typing import Dict, Mapping, Optional, Tuple, Union

from mlr.errors import InputError
from mlr.paper import NARROW, SLIM_BACKBONE, SLIM_CHANNELS

# The number of a layer of the zoo's network, or the numbers of a first layer and of the layer after
# the last.
Place = Union[int, Tuple[int, int]]


@dataclass(frozen=True)
class Anatomy:
    """The places of the levels in a zoo network.

    levels: the place of each level among the network's `features`, in order. width: D, the length
    of the deep representation. zoo: the name of the zoo's network that this one is or is derived
    from; the zoo has ImageNet weights only for its own networks. batch_norm: whether the network
    has batch norm. fully_connected: whether the deep representation comes from fully connected
    layers, whose shape depends on the size of the images.
    """

    levels: Mapping[str, Place]
    width: int
    zoo: str
    batch_norm: bool = True
    fully_connected: bool = False

    @property
    def head(self) -> int:
        """The number of the first layer after the last level."""
        last = tuple(self.levels.values())[-1]
        return last + 1 if isinstance(last, int) else last[1]

    @property
    def blocks(self) -> Tuple[str, ...]:
        """The last four levels with convolutions, the four blocks of the paper's figure."""
        return tuple(level for level in self.levels if level != "pool")[-4:]

    def name_in_zoo(self, name: str) -> Optional[str]:
        """Return the zoo's name of a parameter of `mlr.model.backbone.Backbone`, None for other
        names.

        For example, stage1.0.bn1.gamma of a ResNet v2 is features.5.0.bn1.gamma in the zoo.
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
    # For weights from TensorFlow, whose MobileNet has ReLU6 in place of the zoo's ReLU.
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
    # Ours: the same layers with fewer channels, for small runs such as the demo's.
    SLIM_BACKBONE: replace(_resnet(2, 18), width=SLIM_CHANNELS[-1]),
    "vgg16_slim": replace(
        _VGG16,
        # fewer layers than in the zoo's VGG-16: here each convolution includes its ReLU
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
    """Return the places of a backbone's levels. Raises InputError for an unknown backbone."""
    if backbone not in BACKBONES:
        raise InputError(f"unknown backbone {backbone}: choose one of {', '.join(BACKBONES)}")
    return BACKBONES[backbone]
