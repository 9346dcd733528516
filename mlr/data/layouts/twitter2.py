"""twitter2"""

from pathlib import Path

from mlr.data.emotions import SENTIMENTS
from mlr.data.layouts.finding import _top
from mlr.data.listing import Listing, csv_rows


def read_twitter2(root):
    """Twitter II (Borth, Ji, Chen, Breuel, Chang, ACM MM 2013), as repackaged: groundTruthLabel.txt
    and partition{1..5}/<n>.jpg.

    Columns Image and Sentiment, with a header. Most rows have no image in the copies that are
    about.
    """
    top = _top(root, "groundTruthLabel.txt", "groundTruthLabel.txt and partition1/ to partition5/")
    listing = Listing(root)
    images = {}
    for path in listing.walk(top, used=[top / "groundTruthLabel.txt"]):
        images.setdefault(Path(path).name, []).append(path)
    for row in csv_rows(top / "groundTruthLabel.txt", delimiter="\t"):
        text = "\t".join(row)
        if row == ["Image", "Sentiment"]:
            continue
        if len(row) != 2 or row[1].lower() not in SENTIMENTS:
            listing.leave_out(text, "not a file and positive or negative")
        elif len(images.get(row[0], ())) > 1:
            listing.leave_out(text, "several images of one name")
        else:
            listing.add(images.get(row[0], [row[0]])[0], sentiment=row[1].lower(), listed=text)
    return listing
