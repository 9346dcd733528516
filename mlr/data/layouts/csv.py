"""The user's own images with a label file, in the layout of the released model/DataPrepare.py.

    label.csv                     rows id,label without a header
    <anywhere>/<id>.<extension>

An id may include the extension, and may be a path relative to the folder. The labels are used
unchanged.
"""

import os
from pathlib import Path
from typing import Dict, List

from mlr.data.layouts.data_set import FRACTIONS, DataSet
from mlr.data.layouts.finding import plain_path
from mlr.data.listing import Listing, csv_rows

LABEL_FILE = "label.csv"


def read_label_csv(root: Path) -> Listing:
    """Return the images that the label file in a folder names, each with its label."""
    listing = Listing(root)
    labels = _labels(listing)
    images = _images(listing, labels)
    for name, paths in images.items():
        for path in paths:
            if name not in labels:
                listing.leave_out(path, f"no row in {LABEL_FILE}")
            elif len(paths) > 1:
                listing.leave_out(path, "several images of one id")
            else:
                for label in labels[name]:
                    listing.add(path, label, listed=f"{name},{label}")
    for name in labels:
        if name not in images:
            listing.leave_out(f"{name},{labels[name][0]}", "no image")
    return listing


def _labels(listing: Listing) -> Dict[str, List[str]]:
    """Return the labels that the label file has for each id."""
    labels: Dict[str, List[str]] = {}
    for row in csv_rows(listing.root / LABEL_FILE):
        if len(row) != 2 or not all(row):
            listing.leave_out(",".join(row), "not id,label")
        else:
            labels.setdefault(plain_path(row[0]), []).append(row[1])
    return labels


def _images(listing: Listing, labels: Dict[str, List[str]]) -> Dict[str, List[str]]:
    """Return {id: paths of its images}. For an image without a label the id is its name."""
    images: Dict[str, List[str]] = {}
    for path in listing.walk(used=[listing.root / LABEL_FILE]):
        plain = plain_path(path)
        ids = [plain, os.path.splitext(plain)[0], Path(path).name, Path(path).stem]
        images.setdefault(next((name for name in ids if name in labels), ids[-1]), []).append(path)
    return images


CSV = DataSet(
    name="csv",
    title="yours, with a label.csv of rows id,label",
    layout="<id>.<extension> anywhere beside or below the label.csv",
    read=read_label_csv,
    fractions=FRACTIONS,
    has_released_rule=True,
)
