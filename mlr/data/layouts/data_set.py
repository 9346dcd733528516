"""The definition of a data set of the field. Each data set has one file beside this one."""

from dataclasses import dataclass, field
from typing import Callable, Mapping, Optional, Tuple

from mlr.data.listing import Listing
from mlr.data.manifest import FOLDS

# {split or fold: fraction of each class}, for data sets without lists of their own.
# The protocol of FI (You et al., AAAI 2016).
FRACTIONS: Mapping[str, float] = {"train": 0.80, "valid": 0.05, "test": 0.15}
# The protocol of EmotionROI.
FRACTIONS_WITHOUT_VALID: Mapping[str, float] = {"train": 0.70, "test": 0.30}
FIVE_FOLDS: Mapping[str, float] = {fold: 0.2 for fold in FOLDS}  # for the small data sets


@dataclass(frozen=True)
class ReadingOption:
    """An option of `mlr prepare` that only one or a few data sets have.

    If it is given, it is passed to the data set's `read` as an argument of the same name. choices:
    the allowed words, or () for any text. metavar: the placeholder for the text in the help.
    """

    name: str
    choices: Tuple[str, ...]
    help: str
    metavar: Optional[str] = None


@dataclass(frozen=True)
class DataSet:
    """A data set that `mlr prepare` reads.

    name: for --dataset. title: its usual name. layout: the files in its folder, in words, for
    --help. read: a function that makes a Listing of the user's folder; it leaves out every row or
    file that it does not use, with a reason, and raises InputError for a folder of another layout.
    fractions: {split or fold: fraction of each class}, used if the layout has no lists of its own.
    offered: where its authors offer it. restricted: whether they give it out on request only.
    options: those that only this and a few other data sets have. has_released_rule: whether it may
    be split by the rule of the released code. accuracies_published: whether the paper's table of
    results is about it. published: the number of images that its authors state, 0 if unknown.
    published_classes: {class: number of images that they state}, empty if unknown.
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
        """Where to get it, "" for the user's own images."""
        return self.offered + (", on request" if self.restricted else "")

    @property
    def split(self) -> str:
        """How each class is split, in words."""
        if self.fractions == FIVE_FOLDS:
            return "five folds"
        return "/".join(f"{fraction:.0%}"[:-1] for fraction in self.fractions.values()) + " %"
