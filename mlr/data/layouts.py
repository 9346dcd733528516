"""How data sets lie on disk: from somebody's folder to rows of path and emotion."""

import csv
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from mlr.data.folder import EXTENSIONS
from mlr.data.manifest import LeftOut
from mlr.errors import InputError

LABEL_FILE = "label.csv"


class Row(NamedTuple):
    """An image and what its data set says of it. path: below the root, with forward slashes."""

    path: str
    emotion: str


def read_label_csv(root):
    """Return the rows, in the order of their paths, and what was left out, of the layout of the released model/DataPrepare.py.

    label.csv has rows `id,label` without a header; the images are <id>.<extension>, anywhere below the root. An id may also be
    given with its extension. Raises InputError where there is no label file, or none of its rows has an image.
    """
    labels, left_out = _read_labels(Path(root) / LABEL_FILE)
    rows, found = [], set()
    stems = Counter()
    images = [path for path in walk(root) if os.path.splitext(path)[1].lower() in EXTENSIONS]
    for path in images:
        stems[_id(path, labels)] += 1
    for path in images:
        name = _id(path, labels)
        if name not in labels:
            left_out.append(LeftOut(path, "no row in %s" % LABEL_FILE))
        elif stems[name] > 1:
            left_out.append(LeftOut(path, "several images of one id"))
            found.add(name)
        else:
            rows.append(Row(path, labels[name]))
            found.add(name)
    left_out += [LeftOut("%s,%s" % item, "no image") for item in labels.items() if item[0] not in found]
    if not rows:
        raise InputError("no row of %s has an image below %s: expected rows id,label and images <id>.jpg (%s)" % (
            Path(root) / LABEL_FILE, root, ", ".join(EXTENSIONS)))
    return rows, left_out


def walk(root):
    """Yield the paths of all files below a folder, relative to it, in alphabetical order."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            yield Path(folder, name).relative_to(root).as_posix()


def _id(path, labels):
    name = path.rsplit("/", 1)[-1]
    return name if name in labels else os.path.splitext(name)[0]


def _read_labels(path):
    labels, left_out = {}, []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [[field.strip() for field in row] for row in csv.reader(file) if row]
    except OSError as error:
        raise InputError("can't read %s: %s; expected rows id,label without a header" % (path, error.strerror)) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("%s is no CSV file in UTF-8 (%s): save it as one" % (path, error)) from None
    contradictory = set()
    for row in rows:
        text = ",".join(row)
        if len(row) != 2 or not all(row):
            left_out.append(LeftOut(text, "not id,label"))
        elif row[0] not in labels:
            labels[row[0]] = row[1]
        elif labels[row[0]] == row[1]:
            left_out.append(LeftOut(text, "row given before"))
        else:
            left_out.append(LeftOut(text, "two labels for one image"))
            contradictory.add(row[0])
    for name in contradictory:
        left_out.append(LeftOut("%s,%s" % (name, labels.pop(name)), "two labels for one image"))
    return labels, left_out
