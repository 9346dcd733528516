"""emotion6"""

import math

from mlr.data.emotions import EKMAN
from mlr.data.layouts.finding import _below, _elected, _top
from mlr.data.listing import Listing, csv_rows


def read_emotion6(root):
    """Emotion6 (Peng, Chen, Sadovnik, Gallagher, CVPR 2015): images/<keyword>/<file>, and
    ground_truth.txt.

    Its columns: file, valence, arousal, and the shares of votes for Ekman's six and neutral. The
    emotion is the one with the most votes; ties and neutral images are left out.
    """
    top = _top(root, "ground_truth.txt", "images/<emotion>/<file> and ground_truth.txt")
    listing = Listing(root)
    names = [*EKMAN, "neutral"]
    for row in csv_rows(top / "ground_truth.txt", delimiter="\t"):
        text = "\t".join(row)
        try:
            votes = [float(field) for field in row[3:]]
        except ValueError:
            votes = []
        if len(votes) != len(names) or not all(map(math.isfinite, votes)):
            listing.leave_out(text, "not a file with valence, arousal and seven shares")
        elif _elected(names, votes) in ("tie", "neutral"):
            listing.leave_out(text, _elected(names, votes))
        else:
            listing.add(
                _below(root, top / "images") + row[0].lstrip("/"),
                _elected(names, votes),
                listed=text,
            )
    return listing
