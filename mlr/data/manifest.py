"""A prepared data set: which images of somebody's folder make which split. The images themselves stay where they are.

    manifest.csv     a line an image: path below the root, emotion, sentiment, split, width, height (pixels), sha256
    left_out.csv     what of the root is in no split, and why
    prepared.json    the root, how the splits were made, and counts
"""

import csv
import hashlib
import io
import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mlr.data.images import read_bytes
from mlr.data.labelled import LabelledImages
from mlr.emotions import SENTIMENTS
from mlr.errors import InputError
from mlr.files import write_file

MANIFEST, LEFT_OUT, DESCRIPTION = "manifest.csv", "left_out.csv", "prepared.json"


class Entry(NamedTuple):
    """A line of manifest.csv. path: below the root, with forward slashes. sentiment: "" where the emotion has none."""

    path: str
    emotion: str
    sentiment: str
    split: str
    width: int
    height: int
    sha256: str


class LeftOut(NamedTuple):
    """A line of left_out.csv. what: a path below the root, or a row of a label file."""

    what: str
    reason: str


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


def write_prepared(folder, description, entries, left_out):
    """Write a prepared data set. description: a dict for prepared.json, to which the counts are added."""
    folder = Path(folder)
    counts = {}
    for entry in entries:
        counts.setdefault(entry.split, Counter())[entry.emotion] += 1
    write_file(folder / LEFT_OUT, _csv(LeftOut, left_out))
    write_file(folder / DESCRIPTION, json.dumps(
        {**description, "counts": counts, "left_out": Counter(row.reason for row in left_out)}, indent=2, sort_keys=True) + "\n")
    write_file(folder / MANIFEST, _csv(Entry, entries))


def read_manifest(folder, labels="emotion"):
    """Return the splits of a prepared data set, {name: ManifestSplit}. Raises InputError where it is none, or is damaged."""
    folder = Path(folder)
    entries = _entries(folder / MANIFEST)
    try:
        root = Path(json.loads((folder / DESCRIPTION).read_text())["root"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError("%s is missing or damaged: prepare the data set again" % (folder / DESCRIPTION)) from None
    if not root.is_dir():
        raise InputError("the images of %s are gone, there is no folder %s: restore it, or prepare the data set again" % (folder, root))
    classes = sorted({entry.emotion for entry in entries}) if labels == "emotion" else list(SENTIMENTS)
    splits = {}
    for name in sorted({entry.split for entry in entries}, key=("train", "valid", "test").index):
        chosen = [entry for entry in entries if entry.split == name]
        splits[name] = ManifestSplit("%s, split %s" % (folder / MANIFEST, name), root, classes, chosen, [
            _label(classes, getattr(entry, labels), folder / MANIFEST, entry) for entry in chosen])
    for name in ("train", "valid"):
        if name not in splits:
            raise InputError("%s has no image in split %s: prepare the data set with more images" % (folder / MANIFEST, name))
    return splits


def _entries(path):
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.reader(file, strict=True))
        if tuple(rows[0]) != Entry._fields:
            raise ValueError
        entries = [Entry(*row) for row in rows[1:]]
        for entry in entries:
            parts = PurePosixPath(entry.path)
            if parts.is_absolute() or ".." in parts.parts or "\0" in entry.path or entry.split not in ("train", "valid", "test"):
                raise ValueError
    except (IndexError, TypeError, ValueError, csv.Error):
        raise InputError("%s is damaged: prepare the data set again" % path) from None
    return entries


def _label(classes, name, path, entry):
    if name not in classes:
        raise InputError("%s in %s has the emotion %s, whose sentiment is not known: use --labels emotion" % (entry.path, path, entry.emotion))
    return classes.index(name)


def _csv(kind, rows):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([kind._fields, *rows])
    return text.getvalue().encode("utf-8", "surrogateescape")
