"""IAPSa: J. A. Mikels et al., "Emotional category data on images from the International Affective
Picture System", Behavior Research Methods 37:626-630, 2005. 395 photographs of the IAPS, whose
authors give it out on request only.

    <table>.csv     rows file,emotion, with or without a header file,emotion or file,label
    <file>          a path relative to the table's folder, or to another folder below the root
"""

from pathlib import Path

from mlr.data.emotions import MIKELS, emotion_named
from mlr.data.layouts.data_set import FIVE_FOLDS, DataSet
from mlr.data.layouts.finding import csv_files, leave_out_unlisted, prefix_of_names
from mlr.data.listing import Listing, csv_rows
from mlr.errors import InputError

HEADERS = (["file", "label"], ["file", "emotion"])


def read_iapsa(root: Path) -> Listing:
    """Return the images that the only CSV file in a folder names, each with its emotion."""
    tables = csv_files(root)
    if len(tables) != 1:
        raise InputError(
            f"{root} has {len(tables):d} CSV files: expected one, with rows file,emotion"
        )
    listing, prefix = Listing(root), None
    for number, row in enumerate(csv_rows(tables[0])):
        emotion = emotion_named(row[1]) if len(row) == 2 else ""
        if emotion in MIKELS:
            if prefix is None:
                prefix = prefix_of_names(root, tables[0].parent, [row[0]])
            listing.add(prefix + row[0], emotion, listed=",".join(row))
        elif number or [field.lower() for field in row] not in HEADERS:
            listing.leave_out(",".join(row), "not file,emotion", (prefix or "") + row[0])
    leave_out_unlisted(listing, root, used=tables)
    return listing


IAPSA = DataSet(
    name="iapsa",
    title="IAPSa",
    layout="images and a CSV file with rows file,emotion",
    read=read_iapsa,
    fractions=FIVE_FOLDS,
    offered="the IAPS's authors",
    restricted=True,
    published=395,
)
