"""iapsa"""

from mlr.data.emotions import MIKELS, emotion_named
from mlr.data.layouts.finding import _base, _tables
from mlr.data.listing import Listing, csv_rows
from mlr.errors import InputError


def read_iapsa(root):
    """IAPSa (Mikels et al. 2005), which is given out on request only: a CSV file of rows
    `file,emotion`, files below its folder.
    """
    tables = _tables(root)
    if len(tables) != 1:
        raise InputError(
            f"{root} has {len(tables):d} CSV files: expected one, of rows file,emotion"
        )
    listing = Listing(root)
    base = None
    for number, row in enumerate(csv_rows(tables[0])):
        emotion = emotion_named(row[1]) if len(row) == 2 else ""
        if emotion in MIKELS:
            if base is None:
                base = _base(root, tables[0].parent, [row[0]])
            listing.add(base + row[0], emotion, listed=",".join(row))
        elif number or [field.lower() for field in row] not in (
            ["file", "label"],
            ["file", "emotion"],
        ):
            listing.leave_out(",".join(row), "not file,emotion")
    return listing
