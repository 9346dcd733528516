"""Abstract: J. Machajdik, A. Hanbury, "Affective image classification using features inspired by
psychology and art theory", ACM MM 2010. 280 abstract paintings, rated on the web.

    testImages_abstract/<file>
    ABSTRACT_groundTruth.csv      a header, and rows <file>,<votes for each of Mikels' eight>

Every name in the table is in single quotes. The emotion is the one with the most votes; ties are
left out, so 228 of the 280 images remain.
"""

import re
from pathlib import Path
from typing import List

from mlr.data.emotions import MIKELS, emotion_named
from mlr.data.layouts.data_set import FIVE_FOLDS, DataSet
from mlr.data.layouts.finding import TIE, leave_out_unlisted, most_voted, nearest, prefix_of
from mlr.data.listing import Listing, csv_rows
from mlr.errors import InputError

COUNT = re.compile(r"\d+(\.\d*)?")


def read_abstract(root: Path) -> Listing:
    """Return the images of Abstract, each with the emotion that got the most votes."""
    path = nearest(root, "ABSTRACT_groundTruth.csv")
    images = path and nearest(root, "testImages_abstract")
    if not path or not images:
        raise InputError(
            f"{root} is not a folder of Abstract: expected testImages_abstract/ and "
            "ABSTRACT_groundTruth.csv"
        )
    listing = Listing(root)
    rows = csv_rows(path, quotechar="'")
    emotions = [emotion_named(name) for name in next(rows, [])[1:]]
    if sorted(emotions) != sorted(MIKELS):
        raise InputError(
            f"the first line of {path} does not name the eight emotions, likely because the file "
            "was changed: restore the header"
        )
    for row in rows:
        text, image = ",".join(row), prefix_of(root, images) + row[0]
        if not _is_name_and_votes(row):
            listing.leave_out(text, "not a file and eight counts", image)
            continue
        emotion = most_voted(emotions, [float(field) for field in row[1:]])
        if emotion == TIE:
            listing.leave_out(text, emotion, image)
        else:
            listing.add(image, emotion, listed=text)
    leave_out_unlisted(listing, images)
    return listing


def _is_name_and_votes(row: List[str]) -> bool:
    return len(row) == 1 + len(MIKELS) and all(COUNT.fullmatch(field) for field in row[1:])


ABSTRACT = DataSet(
    name="abstract",
    title="Abstract",
    layout="testImages_abstract/<file> and ABSTRACT_groundTruth.csv",
    read=read_abstract,
    fractions=FIVE_FOLDS,
    offered="imageemotion.org",
    published=280,
)
