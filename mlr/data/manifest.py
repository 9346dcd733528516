"""Reads and writes a prepared data set: a list that assigns the images of a folder to splits.

The images themselves stay where they are, in a folder called the root.

manifest.csv     one line per image: path relative to the root, emotion, sentiment, split or fold,
                 width, height (pixels), sha256, and the attributes that the data set has
left_out.csv     the files of the root that are in no split, and the reasons
prepared.json    the root, how the splits were made, and counts
"""

import csv
import json
import sys
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Union

from mlr.data.emotions import SENTIMENTS
from mlr.data.walk import LeftOut
from mlr.errors import InputError
from mlr.runtime.files import write_file

SPLITS = ("train", "valid", "test")
FOLDS = ("1", "2", "3", "4", "5")
MANIFEST, LEFT_OUT, DESCRIPTION = "manifest.csv", "left_out.csv", "prepared.json"
VOTES = "votes_"  # votes_<emotion> is the column with the number of people who voted for it


class Entry(NamedTuple):
    """A line of manifest.csv.

    path: relative to the root, with forward slashes. emotion and sentiment: "" if there is none.
    split: train, valid or test, or the number of a fold, from 1. attributes: what else the data set
    says about the image, {column: text}, "" if it says nothing.
    """

    path: str
    emotion: str
    sentiment: str
    split: str
    width: Union[int, str]  # text, as read
    height: Union[int, str]
    sha256: str
    attributes: Mapping[str, str] = {}


COLUMNS = Entry._fields[:-1]  # the columns that every manifest has


def write_prepared(
    folder: Union[str, Path],
    description: Mapping[str, Any],
    entries: Sequence[Entry],
    left_out: Sequence[LeftOut],
) -> None:
    """Write a prepared data set. description: the content of prepared.json, without the counts."""
    folder = Path(folder)
    counts: Dict[str, Counter] = {}
    for entry in entries:
        counts.setdefault(entry.split, Counter())[entry.emotion or entry.sentiment] += 1
    attributes = list(dict.fromkeys(name for entry in entries for name in entry.attributes))
    lines = (
        (*entry[:-1], *(entry.attributes.get(name, "") for name in attributes)) for entry in entries
    )
    _write_csv(folder / LEFT_OUT, LeftOut._fields, left_out)
    reasons = Counter(row.reason for row in left_out)
    described = {**description, "counts": counts, "left_out": reasons}
    write_file(folder / DESCRIPTION, json.dumps(described, indent=2, sort_keys=True) + "\n")
    _write_csv(folder / MANIFEST, (*COLUMNS, *attributes), lines)


def folds_of(folder: Union[str, Path]) -> List[int]:
    """Return the numbers of the folds of a prepared data set; [] if it has splits instead, or if
    the folder is an image folder.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        return []
    return sorted({int(entry.split) for entry in read_entries(path) if entry.split not in SPLITS})


def read_entries(path: Path) -> List[Entry]:
    """Return the lines of a manifest. Raises InputError if it is damaged."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [sys.intern(name) for name in next(rows)]
            if tuple(header[: len(COLUMNS)]) != COLUMNS or len({*header, ""}) <= len(header):
                raise ValueError
            entries = [_entry(row, header) for row in rows]
        if not entries or not all(map(_holds, entries)):
            raise ValueError
        if len({entry.split in SPLITS for entry in entries}) > 1:
            raise ValueError
    except (StopIteration, ValueError, csv.Error):
        raise InputError(f"{path} is damaged: prepare the data set again") from None
    return entries


def _entry(row: List[str], header: List[str]) -> Entry:
    if len(row) != len(header):
        raise ValueError
    path, emotion, sentiment, split, width, height, sha256, *others = row
    attributes = dict(zip(header[len(COLUMNS) :], others))
    return Entry(path, emotion, sentiment, split, width, height, sha256, attributes)


def _holds(entry: Entry) -> bool:
    path = PurePosixPath(entry.path)
    return (
        not path.is_absolute()
        and ".." not in path.parts
        and "\0" not in entry.path
        and entry.sentiment in ("", *SENTIMENTS)
        and entry.split in (*SPLITS, *FOLDS)
    )


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    def write(staged: str) -> None:
        with open(staged, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)

    write_file(path, write)
