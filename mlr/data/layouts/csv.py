"""csv"""

import os
from pathlib import Path

from mlr.data.layouts.finding import _plain
from mlr.data.listing import Listing, csv_rows

LABEL_FILE = "label.csv"


def read_csv(root):
    """label.csv of rows `id,label` without a header, images <id>.<extension> anywhere below
    (released model/DataPrepare.py).

    An id may be given with its extension, and as a path below the folder. The labels are taken as
    they stand.
    """
    listing = Listing(root)
    labels = {}
    for row in csv_rows(root / LABEL_FILE):
        if len(row) != 2 or not all(row):
            listing.leave_out(",".join(row), "not id,label")
        else:
            labels.setdefault(_plain(row[0]), []).append(row[1])
    images = {}
    for path in listing.walk(used=[root / LABEL_FILE]):
        plain = _plain(path)
        ids = [plain, os.path.splitext(plain)[0], Path(path).name, Path(path).stem]
        images.setdefault(next((name for name in ids if name in labels), ids[-1]), []).append(path)
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
