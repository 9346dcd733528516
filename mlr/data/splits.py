"""Reads the splits of a data set: of an image folder, or of a data set that `mlr prepare` wrote."""

import hashlib
import math
import os
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from mlr.data.emotions import SENTIMENTS, sentiment_of
from mlr.data.folder import read_image_folder, read_image_folders
from mlr.data.images import read_bytes
from mlr.data.labelled import LabelledImages, Subset
from mlr.data.manifest import (
    DESCRIPTION,
    MANIFEST,
    SPLITS,
    VOTES,
    Entry,
    folds_of,
    read_entries,
)
from mlr.errors import InputError, shown
from mlr.formats.json import read_json

Splits = Mapping[str, LabelledImages]  # {name: split} for those of train, valid and test that exist


class ManifestSplit(LabelledImages):
    """The images of one split of a prepared data set, in the order of the manifest."""

    def __init__(
        self,
        source: str,
        root: Path,
        classes: Sequence[str],
        entries: Sequence[Entry],
        labels: List[int],
        votes: Optional[np.ndarray] = None,
    ) -> None:
        names = [entry.path for entry in entries]
        paths = [root / name for name in names]
        super().__init__(source, classes, paths, labels, names, votes=votes)
        self.attributes = [entry.attributes for entry in entries]
        self._sha256 = [entry.sha256 for entry in entries]

    def checked_sha256(self, index: int) -> str:
        """Return the SHA-256 of an image's file.

        Raises InputError if it differs from the one in the manifest.
        """
        digest = hashlib.sha256(read_bytes(self.paths[index])).hexdigest()
        if digest != self._sha256[index]:
            raise InputError(
                f"{self.paths[index]} has changed since mlr prepare: restore it, or prepare the "
                "data set again"
            )
        return digest


def read_splits(
    root: Union[str, Path], labels: str = "emotion", fold: Optional[int] = None
) -> Splits:
    """Return the splits of a data set, an image folder or a prepared one.

    labels: "emotion" or "sentiment". fold: for a data set in folds, the number of the fold that is
    test. Raises InputError if the folder is not a data set, or lacks such labels or folds.
    """
    if (Path(root) / MANIFEST).is_file():
        return read_manifest(root, labels, fold)
    if fold is not None and Path(root).is_dir():
        raise InputError(f"{root} is an image folder, which has no folds: leave out --fold")
    return read_image_folders(root, labels)


def read_manifest(
    folder: Union[str, Path], labels: str = "emotion", fold: Optional[int] = None
) -> Splits:
    """Return the splits of a prepared data set.

    fold: for a data set in folds, the number of the fold that becomes `test`; the others become
    `train`. Raises InputError if the data set is damaged, or lacks such folds or labels.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    entries = read_entries(path)
    root = _root_of(folder)
    for entry in entries:
        if not getattr(entry, labels):
            raise InputError(
                f"{entry.path} in {path} has no {labels}: use --labels "
                f"{'sentiment' if labels == 'emotion' else 'emotion'}"
            )
    voted = _voted(entries)
    emotions = {*voted, *(entry.emotion for entry in entries)}
    classes = sorted(emotions) if labels == "emotion" else list(SENTIMENTS)
    if fold is not None and entries[0].split not in SPLITS and fold not in folds_of(folder):
        raise InputError(
            f"{folder} has no fold {fold:d}: it has {', '.join(map(str, folds_of(folder)))}"
        )
    chosen: Dict[str, List[Entry]] = {}
    for entry in entries:
        chosen.setdefault(_split_of(entry, fold, folder), []).append(entry)
    return {
        name: ManifestSplit(
            f"{path}, {f'split {name}' if fold is None else f'{name} of fold {fold:d}'}",
            root,
            classes,
            chosen[name],
            [classes.index(getattr(entry, labels)) for entry in chosen[name]],
            _votes(chosen[name], voted, classes, path) if voted else None,
        )
        for name in SPLITS
        if name in chosen
    }


def _voted(entries: Sequence[Entry]) -> List[str]:
    """Return the emotions for which people voted, [] for a data set without votes."""
    return [name[len(VOTES) :] for name in entries[0].attributes if name.startswith(VOTES)]


def _votes(
    entries: Sequence[Entry], voted: Sequence[str], classes: Sequence[str], path: Path
) -> np.ndarray:
    """Return the number of votes for each class, (N, K). If the classes are sentiments, the votes
    for their emotions are added.

    Raises InputError if the manifest has values other than numbers of votes, or a row without
    votes.
    """
    votes = np.zeros((len(entries), len(classes)))
    try:
        for name in voted:
            column = np.array([int(entry.attributes[VOTES + name]) for entry in entries], np.int64)
            votes[:, classes.index(name if name in classes else sentiment_of(name))] += column
        if votes.min() < 0 or not votes.sum(axis=1).all():
            raise ValueError
    except (ValueError, OverflowError):
        raise InputError(f"{path} is damaged: prepare the data set again") from None
    return votes


def read_training_splits(
    root: Union[str, Path],
    labels: str = "emotion",
    fold: Optional[int] = None,
    targets: str = "labels",
) -> Tuple[Splits, str]:
    """Return the splits of a data set, and the name of the split that is evaluated after each
    epoch.

    That is valid; if there is no valid, test, because the released code has only one folder for
    evaluation. targets: "labels", or "votes" to train on votes. Raises InputError if there is no
    split to train on or to evaluate on, if there is only one class, if a class has no training
    image, or if votes are wanted and the data set has none.
    """
    return trainable(read_splits(root, labels, fold), root, labels, targets)


def trainable(
    splits: Splits, root: Union[str, Path], labels: str, targets: str
) -> Tuple[Splits, str]:
    """Check splits before training. Return them, and the name of the split that is evaluated after
    each epoch.

    root: their folder, for the error. Raises InputError as `read_training_splits`.
    """
    if "train" not in splits or len(splits) < 2:
        raise InputError(
            f"{root} has only the split {', '.join(splits)}: training needs train, and valid or "
            "test"
        )
    train, evaluated = splits["train"], "valid" if "valid" in splits else "test"
    if targets == "votes":
        if train.votes is None:
            raise InputError(
                f"{train.source} has no votes, but --targets votes trains on votes: leave out "
                "--targets votes, or prepare a data set that has votes, such as Flickr_LDL"
            )
        return splits, evaluated
    present = [name for name, count in zip(train.classes, train.counts) if count]
    if len(train.classes) < 2 or labels == "sentiment" and len(present) < 2:
        raise InputError(
            f"all training images of {train.source} have the same class, {present[0]}, so there is "
            "nothing to learn: add the folder or the rows of another "
            f"class{', or use --labels emotion' if labels == 'sentiment' else ''}"
        )
    for name, count in zip(train.classes, train.counts):
        if not count:
            raise InputError(
                f"class {name} has no image in {train.source}: add some, or remove the class "
                f"from every split{'' if train.votes is None else ', or use --targets votes'}"
            )
    return splits, evaluated


def part_of_classes(split: LabelledImages, part: float) -> LabelledImages:
    """Return a part of the images of each class, at least one image; the split itself if part is 1.

    Images are chosen in the order of the SHA-256 of their names, so a smaller part is a subset of a
    larger one.
    """
    if part == 1:
        return split
    order = sorted(
        range(len(split)),
        key=lambda index: hashlib.sha256(os.fsencode(split.names[index])).digest(),
    )
    kept: List[int] = []
    for label, count in enumerate(split.counts):
        of_class = [index for index in order if split.labels[index] == label]
        kept += of_class[: math.ceil(part * count)]
    smaller = Subset(split, sorted(kept))
    smaller.left_out = split.left_out
    return smaller


def read_split(
    root: Union[str, Path], name: str, labels: str = "emotion", fold: Optional[int] = None
) -> LabelledImages:
    """Return one split of a data set. Raises InputError if the data set has no such split."""
    if not (Path(root) / MANIFEST).is_file() and fold is None:
        return read_image_folder(root, name, labels)
    splits = read_splits(root, labels, fold)
    if name not in splits:
        raise InputError(f"{Path(root) / MANIFEST} has no split {name}: it has {', '.join(splits)}")
    return splits[name]


def labels_in(root: Union[str, Path], labels: str) -> str:
    """Return the labels with which a data set can be read: "sentiment" for a prepared data set
    without emotions, else `labels`.
    """
    path = Path(root) / MANIFEST
    if labels == "emotion" and path.is_file():
        return labels if any(entry.emotion for entry in read_entries(path)) else "sentiment"
    return labels


def manifest_sha256(root: Union[str, Path]) -> Optional[str]:
    """Return the SHA-256 of a prepared data set's manifest, None for an image folder."""
    path = Path(root) / MANIFEST
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def fingerprint(splits: Splits) -> str:
    """Check every image of the splits, and return the SHA-256 of all file names, contents and
    votes.

    Raises InputError for the first image that is empty, truncated or damaged, so that training does
    not stop at it after hours.
    """
    total = hashlib.sha256()
    for name, split in splits.items():
        for image, digest in zip(split.names, split.digests):
            total.update((f"{name}/{image} {digest}\n").encode("utf-8", "surrogateescape"))
        if split.votes is not None:
            total.update(split.votes.astype("<f8").tobytes())
    return total.hexdigest()


def _root_of(folder: Path) -> Path:
    """Return the root of a prepared data set, the folder of its images. Raises InputError if it is
    unknown or does not exist.
    """
    try:
        root = Path(read_json(folder / DESCRIPTION)["root"])
        there = root.is_dir()
    except (InputError, KeyError, TypeError, OSError):
        raise InputError(
            f"{folder / DESCRIPTION} is missing or damaged: prepare the data set again"
        ) from None
    if not there:
        raise InputError(
            f"the images of {folder} are gone, there is no folder {shown(str(root))}: restore that "
            "folder, or run mlr prepare again for the folder in which the images are now, and use "
            "its output for --data"
        )
    return root


def _split_of(entry: Entry, fold: Optional[int], folder: Path) -> str:
    if entry.split in SPLITS:
        if fold is not None:
            raise InputError(
                f"{folder} is divided into train, valid and test, not into folds: leave out --fold"
            )
        return entry.split
    if fold is None:
        raise InputError(
            f"{folder} is divided into folds: choose the fold to test on with --fold, or use "
            "--folds all"
        )
    return "test" if int(entry.split) == fold else "train"
