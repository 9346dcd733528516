"""Emotion6: K.-C. Peng, T. Chen, A. Sadovnik, A. Gallagher, "A mixed bag of emotions: model,
predict, and transfer emotion distributions", CVPR 2015. 1,980 images from Flickr.

    images/<keyword>/<file>
    ground_truth.txt     <keyword>/<file>, valence, arousal, and the fractions of votes for Ekman's
                         six emotions and neutral, separated by tabs

The emotion is the one with the most votes; ties and neutral images are left out.
"""

import math
from pathlib import Path
from typing import List

from mlr.data.emotions import EKMAN
from mlr.data.layouts.data_set import FRACTIONS_WITHOUT_VALID, DataSet
from mlr.data.layouts.finding import TIE, folder_with, leave_out_unlisted, most_voted, prefix_of
from mlr.data.listing import Listing, csv_rows

LAYOUT = "images/<emotion>/<file> and ground_truth.txt"
NEUTRAL = "neutral"
NAMES = (*EKMAN, NEUTRAL)


def read_emotion6(root: Path) -> Listing:
    """Return the images of Emotion6, each with the emotion that got the most votes."""
    top = folder_with(root, "ground_truth.txt", LAYOUT)
    listing = Listing(root)
    for row in csv_rows(top / "ground_truth.txt", delimiter="\t"):
        text, votes = "\t".join(row), _votes(row)
        image = prefix_of(root, top / "images") + row[0].lstrip("/")
        emotion = most_voted(NAMES, votes) if votes else ""
        if not emotion:
            listing.leave_out(text, "not a file with valence, arousal and seven shares", image)
        elif emotion in (TIE, NEUTRAL):
            listing.leave_out(text, emotion, image)
        else:
            listing.add(image, emotion, listed=text)
    leave_out_unlisted(listing, top / "images")
    return listing


def _votes(row: List[str]) -> List[float]:
    """Return the seven fractions of votes in a row, [] if it does not have them."""
    try:
        votes = [float(field) for field in row[3:]]
    except ValueError:
        return []
    return votes if len(votes) == len(NAMES) and all(map(math.isfinite, votes)) else []


EMOTION6 = DataSet(
    name="emotion6",
    title="Emotion6",
    layout=LAYOUT,
    read=read_emotion6,
    fractions=FRACTIONS_WITHOUT_VALID,
    offered="its authors, Cornell",
    restricted=True,
    published=1980,
)
