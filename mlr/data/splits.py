"""The splits of a data set, be it an image folder or one that `mlr prepare` wrote."""

import hashlib
from pathlib import Path

from tqdm import tqdm

from mlr.data.folder import ImageFolder, read_folders
from mlr.data.manifest import MANIFEST, read_manifest
from mlr.errors import InputError


def read_training_splits(root, labels="emotion"):
    """Return the splits of a data set, {"train": LabelledImages, "valid": ...} and "test" where there is one.

    labels: "emotion" or "sentiment". Raises InputError where train or valid is missing, and where a class has no training image.
    """
    splits = read_manifest(root, labels) if (Path(root) / MANIFEST).is_file() else read_folders(root, labels)
    train = splits["train"]
    for name, count in zip(train.classes, train.counts):
        if not count:
            raise InputError("class %s has no image in %s: add some, or remove the class from every split" % (name, train.source))
    return splits


def read_split(root, name, labels="emotion"):
    """Return one split of a data set. Raises InputError where there is no such split."""
    if not (Path(root) / MANIFEST).is_file():
        return ImageFolder(Path(root) / name, labels)
    splits = read_manifest(root, labels)
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
    files = [(name, split, index) for name, split in splits.items() for index in range(len(split))]
    for name, split, index in tqdm(files, desc="checking images", unit=" files", leave=False, disable=None):
        total.update(("%s/%s %s\n" % (name, split.names[index], split.checked_sha256(index))).encode("utf-8", "surrogateescape"))
    return total.hexdigest()
