"""abstract"""

import re

from mlr.data.emotions import MIKELS, emotion_named
from mlr.data.layouts.finding import _below, _elected, _find
from mlr.data.listing import Listing, csv_rows
from mlr.errors import InputError


def read_abstract(root):
    """Abstract (Machajdik, Hanbury, ACM MM 2010): testImages_abstract/ and
    ABSTRACT_groundTruth.csv, votes for eight emotions.

    Every name in the file stands in single quotes. The emotion is the one with the most votes; ties
    are left out, 280 -> 228.
    """
    path = _find(root, "ABSTRACT_groundTruth.csv")
    images = path and _find(root, "testImages_abstract")
    if not images:
        raise InputError(
            f"{root} is no folder of Abstract: expected testImages_abstract/ and "
            "ABSTRACT_groundTruth.csv"
        )
    listing = Listing(root)
    rows = csv_rows(path, quotechar="'")
    emotions = [emotion_named(name) for name in next(rows, [])[1:]]
    if sorted(emotions) != sorted(MIKELS):
        raise InputError(f"the first line of {path} does not name the eight emotions")
    for row in rows:
        text = ",".join(row)
        if len(row) != 1 + len(MIKELS) or not all(
            re.fullmatch(r"\d+(\.\d*)?", field) for field in row[1:]
        ):
            listing.leave_out(text, "not a file and eight counts")
            continue
        emotion = _elected(emotions, [float(field) for field in row[1:]])
        if emotion == "tie":
            listing.leave_out(text, emotion)
        else:
            listing.add(_below(root, images) + row[0], emotion, listed=text)
    return listing
