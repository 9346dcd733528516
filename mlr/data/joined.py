"""Joins several data sets into one. Files with the same content count once."""

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from mlr.data.emotions import emotion_named, sentiment_of
from mlr.data.labelled import LabelledImages
from mlr.data.listing import COPIES_STAY_IN, TWO_LABELS
from mlr.data.manifest import SPLITS, folds_of
from mlr.data.splits import Splits, read_splits
from mlr.data.walk import COPY, LeftOut
from mlr.errors import InputError

# the number of a data set, from 1; one of its splits; the index of an image in the split
Place = Tuple[int, LabelledImages, int]


class Joined(LabelledImages):
    """The images of one split of several data sets. A name that occurs in several of them is
    written <number of the data set>/<name>.
    """

    def __init__(self, places: Sequence[Place], left_out: Sequence[LeftOut]) -> None:
        parts = list({id(split): split for _, split, _ in places}.values())
        names = [split.names[index] for _, split, index in places]
        several = Counter(names)
        votes = [split.votes[index] for _, split, index in places if split.votes is not None]
        super().__init__(
            " and ".join(split.source for split in parts),
            parts[0].classes,
            [split.paths[index] for _, split, index in places],
            [split.labels[index] for _, split, index in places],
            [
                f"{number:d}/{name}" if several[name] > 1 else name
                for name, (number, _, _) in zip(names, places)
            ],
            left_out,
            np.array(votes) if len(votes) == len(places) else None,
        )
        self.attributes = [split.attributes[index] for _, split, index in places]
        self._places = places

    @cached_property
    def digests(self) -> List[str]:
        """The SHA-256 of each image's file, as its own data set checked it."""
        return [split.digests[index] for _, split, index in self._places]


def read_sets(
    folders: Sequence[Path], labels: str = "emotion", fold: Optional[int] = None
) -> List[Splits]:
    """Return the splits of each of several data sets, with the same order of classes.

    labels: "emotion" or "sentiment". fold: for data sets in folds, the number of the fold that is
    test. Raises InputError if a folder is not a data set, or if the data sets don't have the same
    emotions as classes.
    """
    in_folds = [bool(folds_of(folder)) for folder in folders]
    sets = [
        read_splits(folder, labels, fold if own or not any(in_folds) else None)
        for folder, own in zip(folders, in_folds)
    ]
    first, *others = (next(iter(splits.values())).classes for splits in sets)
    if any(classes != first for classes in others):
        _rename(sets, folders, labels)
    return sets


def read_together(
    folders: Sequence[Path], labels: str = "emotion", fold: Optional[int] = None
) -> Splits:
    """Return the splits of one data set, or of several joined; arguments as of `read_sets`."""
    if len(folders) == 1:
        return read_splits(folders[0], labels, fold)
    return join(read_sets(folders, labels, fold))


def _rename(sets: Sequence[Splits], folders: Sequence[Path], labels: str) -> None:
    """Rename the classes of all data sets to their emotions, in alphabetical order."""
    emotions = [
        [emotion_named(name) or name for name in next(iter(splits.values())).classes]
        for splits in sets
    ]
    for folder, names in zip(folders, emotions):
        if sorted(names) != sorted(set(emotions[0])):
            helps = labels == "emotion" and all(map(sentiment_of, [*names, *emotions[0]]))
            other = ", or use --labels sentiment" if helps else ""
            raise InputError(
                f"{folder} has the classes {', '.join(sorted(names))}, but {folders[0]} has "
                f"{', '.join(sorted(emotions[0]))}: to train on several data sets together, give "
                f"those with the same classes{other}"
            )
    for splits, names in zip(sets, emotions):
        for split in splits.values():
            split.rename(names)


def join(sets: Sequence[Splits]) -> Splits:
    """Join the splits of several data sets.

    Of files with the same content only one is kept: the first in test, else the first in valid,
    else the first in train. Files that one split has with several labels are left out.
    """
    taken: Dict[str, str] = {}  # by SHA-256
    found = {}
    for name in COPIES_STAY_IN:
        parts = [
            (number, splits[name]) for number, splits in enumerate(sets, start=1) if name in splits
        ]
        labels: Dict[str, Set[int]] = {}
        for _, split in parts:
            for digest, label in zip(split.digests, split.labels):
                labels.setdefault(digest, set()).add(label)
        places: List[Place] = []
        left_out = [row for _, split in parts for row in split.left_out]
        for number, split in parts:
            for index, digest in enumerate(split.digests):
                path = str(split.paths[index])
                if len(labels[digest]) > 1:
                    left_out.append(LeftOut(path, TWO_LABELS))
                elif digest in taken:
                    left_out.append(LeftOut(path, f"{COPY}: of {taken[digest]}"))
                else:
                    places.append((number, split, index))
                taken.setdefault(digest, path)
        if places:
            found[name] = Joined(places, left_out)
    return {name: found[name] for name in SPLITS if name in found}
