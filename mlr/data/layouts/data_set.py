"""What the package knows of a data set of the field. Each has one file beside this one."""

from dataclasses import dataclass, field
from typing import Callable, Mapping, Optional, Tuple

from mlr.data.listing import Listing
from mlr.data.manifest import FOLDS

# Of each class, where a data set has no lists of its own: {split or fold: fraction}.
# The protocol of FI (You et al., AAAI 2016).
FRACTIONS: Mapping[str, float] = {"train": 0.80, "valid": 0.05, "test": 0.15}
FRACTIONS_WITHOUT_VALID: Mapping[str, float] = {"train": 0.70, "test": 0.30}  # of EmotionROI
FIVE_FOLDS: Mapping[str, float] = {fold: 0.2 for fold in FOLDS}  # of the small sets


@dataclass(frozen=True)
class ReadingOption:
    """An option of `mlr prepare` that only one data set has, or a few that share it.

    Where it is given, the data set's `read` gets it as an argument of that name. choices: the words
    that it takes, or () for any text, which `metavar` stands for in the help.
    """

    name: str
    choices: Tuple[str, ...]
    help: str
    metavar: Optional[str] = None


@dataclass(frozen=True)
class DataSet:
    """A data set that `mlr prepare` reads.

    name: of --dataset. title: as people write it. layout: what lies in its folder, in words, for
    --help. read: makes a Listing of the folder that the user has; every row or file that it doesn't
    take is left out with a reason, and a folder of another layout is refused by InputError.
    fractions: of each class in each split or fold, where the layout has no lists of its own.
    offered: where its authors offer it. restricted: they give it out on request only.
    options: those that no other data set has. has_released_rule: whether it may be split by the
    rule of the released code. accuracies_published: whether the paper's table of results is of it.
    published: the number of images that its authors speak of, 0 where unknown; published_classes:
    {class: its number of them}, where known.
    """

    name: str
    title: str
    layout: str
    read: Callable[..., Listing]
    fractions: Mapping[str, float]
    offered: str = ""
    restricted: bool = False
    options: Tuple[ReadingOption, ...] = ()
    has_released_rule: bool = False
    accuracies_published: bool = False
    published: int = 0
    published_classes: Mapping[str, int] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Where it is to be had, "" for the user's own."""
        return self.offered + (", on request" if self.restricted else "")

    @property
    def split(self) -> str:
        """What each class is split into, in words."""
        if self.fractions == FIVE_FOLDS:
            return "five folds"
        return "/".join(f"{fraction:.0%}"[:-1] for fraction in self.fractions.values()) + " %"
