"""A prepared data set: which images of somebody's folder make which split. The images themselves
stay where they are.

manifest.csv     a line an image: path below the root, emotion, sentiment, split or fold, width,
                 height (pixels), sha256
left_out.csv     what of the root is in no split, and why
prepared.json    the root, how the splits were made, and counts
"""

import csv
import io
import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mlr.data.emotions import SENTIMENTS
from mlr.data.partition import FIVE_FOLDS
from mlr.data.walk import LeftOut
from mlr.errors import InputError
from mlr.runtime.files import write_file

SPLITS = ("train", "valid", "test")
MANIFEST, LEFT_OUT, DESCRIPTION = "manifest.csv", "left_out.csv", "prepared.json"


class Entry(NamedTuple):
    """A line of manifest.csv. path: below the root, with forward slashes. emotion and sentiment: ""
    where there is none.

    split: train, valid or test, or the number of a fold from 1 up.
    """

    path: str
    emotion: str
    sentiment: str
    split: str
    width: int
    height: int
    sha256: str


def write_prepared(folder, description, entries, left_out):
    """Write a prepared data set. description: a dict for prepared.json, to which the counts are
    added.
    """
    folder = Path(folder)
    counts = {}
    for entry in entries:
        counts.setdefault(entry.split, Counter())[entry.emotion or entry.sentiment] += 1
    write_file(folder / LEFT_OUT, _csv(LeftOut, left_out))
    write_file(
        folder / DESCRIPTION,
        json.dumps(
            {**description, "counts": counts, "left_out": Counter(row.reason for row in left_out)},
            indent=2,
            sort_keys=True,
        )
        + "\n",
    )
    write_file(folder / MANIFEST, _csv(Entry, entries))


def folds_of(folder):
    """Return the numbers of the folds of a prepared data set, [] where it has splits instead, or is
    an image folder.
    """
    path = Path(folder) / MANIFEST
    return (
        sorted({int(entry.split) for entry in read_entries(path) if entry.split not in SPLITS})
        if path.is_file()
        else []
    )


def read_entries(path):
    """Return the lines of a manifest. Raises InputError where it is none, or is damaged."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = list(csv.reader(file, strict=True))
        if tuple(rows[0]) != Entry._fields:
            raise ValueError
        entries = [Entry(*row) for row in rows[1:]]
        for entry in entries:
            parts = PurePosixPath(entry.path)
            if (
                parts.is_absolute()
                or ".." in parts.parts
                or "\0" in entry.path
                or entry.sentiment not in ("", *SENTIMENTS)
                or not (entry.split in SPLITS or entry.split in FIVE_FOLDS)
            ):
                raise ValueError
        if not entries or len({entry.split in SPLITS for entry in entries}) > 1:
            raise ValueError
    except (IndexError, TypeError, ValueError, csv.Error):
        raise InputError(f"{path} is damaged: prepare the data set again") from None
    return entries


def _csv(kind, rows):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([kind._fields, *rows])
    return text.getvalue().encode("utf-8", "surrogateescape")
