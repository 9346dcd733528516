"""The splits of a data set, be it an image folder or one that `mlr prepare` wrote."""

import hashlib
from pathlib import Path

from mlr.data.folder import read_folder, read_folders
from mlr.data.images import read_bytes
from mlr.data.labelled import LabelledImages
from mlr.data.manifest import DESCRIPTION, MANIFEST, SPLITS, folds_of, read_entries
from mlr.emotions import SENTIMENTS
from mlr.errors import InputError
from mlr.json_file import read_json
from mlr.weights import shown


class ManifestSplit(LabelledImages):
    """The images of one split of a prepared data set, in the order of the manifest."""

    def __init__(self, source, root, classes, entries, labels):
        names = [entry.path for entry in entries]
        super().__init__(source, classes, [root / name for name in names], labels, names)
        self._sha256 = [entry.sha256 for entry in entries]

    def checked_sha256(self, index):
        """Return the SHA-256 of an image's file. Raises InputError where it is not the one that was decoded and listed."""
        digest = hashlib.sha256(read_bytes(self.paths[index])).hexdigest()
        if digest != self._sha256[index]:
            raise InputError("%s has changed since mlr prepare: restore it, or prepare the data set again" % self.paths[index])
        return digest


def read_splits(root, labels="emotion", fold=None):
    """Return the splits of a data set, {name: LabelledImages}, of train, valid and test those that it has.

    labels: "emotion" or "sentiment". fold: of a data set in folds, the one that is test. Raises InputError where it is none.
    """
    if (Path(root) / MANIFEST).is_file():
        return read_manifest(root, labels, fold)
    if fold is not None and Path(root).is_dir():
        raise InputError("%s is an image folder, which has no folds: leave out --fold" % root)
    return read_folders(root, labels)


def read_manifest(folder, labels="emotion", fold=None):
    """Return the splits of a prepared data set, {name: ManifestSplit}, of train, valid and test those that it has.

    fold: of a data set in folds, the number of the one that is `test`, the others being `train`. Raises InputError where it is
    none, or is damaged, or doesn't have such folds or labels.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    entries = read_entries(path)
    try:
        root = Path(read_json(folder / DESCRIPTION)["root"])
        there = root.is_dir()
    except (InputError, KeyError, TypeError, OSError):
        raise InputError("%s is missing or damaged: prepare the data set again" % (folder / DESCRIPTION)) from None
    if not there:
        raise InputError(f"the images of {folder} are gone, there is no folder {shown(str(root))}: "
                         "restore it, or prepare the data set again, from where they are now, for --data")
    for entry in entries:
        if not getattr(entry, labels):
            raise InputError("%s in %s has no %s: use --labels %s" % (
                entry.path, path, labels, "sentiment" if labels == "emotion" else "emotion"))
    classes = sorted({entry.emotion for entry in entries}) if labels == "emotion" else list(SENTIMENTS)
    if fold is not None and entries[0].split not in SPLITS and fold not in folds_of(folder):
        raise InputError("%s has no fold %d: it has %s" % (folder, fold, ", ".join(map(str, folds_of(folder)))))
    chosen = {}
    for entry in entries:
        chosen.setdefault(_split_of(entry, fold, folder), []).append(entry)
    return {
        name: ManifestSplit("%s, %s" % (path, "split %s" % name if fold is None else "%s of fold %d" % (name, fold)), root, classes,
                            chosen[name], [classes.index(getattr(entry, labels)) for entry in chosen[name]])
        for name in SPLITS if name in chosen}


def read_training_splits(root, labels="emotion", fold=None):
    """Return the splits of a data set, as `read_splits`, and the one that is looked at after each epoch.

    That is valid; where there is none, test, as the released code has but one evaluation folder. Raises InputError where there is
    nothing to train on or to evaluate on, and where a class has no training image, or there is but one.
    """
    splits = read_splits(root, labels, fold)
    if "train" not in splits or len(splits) < 2:
        raise InputError("%s has only the split %s: training needs train, and valid or test" % (root, ", ".join(splits)))
    train = splits["train"]
    present = [name for name, count in zip(train.classes, train.counts) if count]
    if len(train.classes) < 2 or labels == "sentiment" and len(present) < 2:
        raise InputError("all training images of %s are of one class, %s: there is nothing to tell apart; add the folder or the rows of "
                         "another class%s" % (train.source, present[0], ", or use --labels emotion" if labels == "sentiment" else ""))
    for name, count in zip(train.classes, train.counts):
        if not count:
            raise InputError("class %s has no image in %s: add some, or remove the class from every split" % (name, train.source))
    return splits, "valid" if "valid" in splits else "test"


def read_split(root, name, labels="emotion", fold=None):
    """Return one split of a data set. Raises InputError where there is no such split."""
    if not (Path(root) / MANIFEST).is_file() and fold is None:
        return read_folder(root, name, labels)
    splits = read_splits(root, labels, fold)
    if name not in splits:
        raise InputError("%s has no split %s: it has %s" % (Path(root) / MANIFEST, name, ", ".join(splits)))
    return splits[name]


def manifest_sha256(root):
    """Return the SHA-256 of a prepared data set's manifest, None for an image folder."""
    path = Path(root) / MANIFEST
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def fingerprint(splits):
    """Return the SHA-256 of the splits' file names and contents, having checked every image.

    splits: {name: LabelledImages}. Raises InputError for the first image that is empty, truncated or damaged: better now than
    after hours of training.
    """
    total = hashlib.sha256()
    for name, split in splits.items():
        for image, digest in zip(split.names, split.digests):
            total.update(("%s/%s %s\n" % (name, image, digest)).encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _split_of(entry, fold, folder):
    if entry.split in SPLITS:
        if fold is not None:
            raise InputError("%s is in train, valid and test, not in folds: leave out --fold" % folder)
        return entry.split
    if fold is None:
        raise InputError("%s is in folds: choose with --fold which one is the test, or take --folds all" % folder)
    return "test" if int(entry.split) == fold else "train"
