"""Twitter II: D. Borth, R. Ji, T. Chen, T. Breuel, S.-F. Chang, "Large-scale visual sentiment
ontology and detectors using adjective noun pairs", ACM MM 2013. 603 images of tweets.

    groundTruthLabel.txt       a header Image, Sentiment, and rows <n>.jpg, positive or negative,
                               separated by tabs
    partition{1..5}/<n>.jpg

This is its repackaged form. In the copies that can be found, most rows have no image.
"""

from pathlib import Path
from typing import Dict, List

from mlr.data.emotions import SENTIMENTS
from mlr.data.layouts.data_set import FIVE_FOLDS, DataSet
from mlr.data.layouts.finding import folder_with
from mlr.data.listing import Listing, csv_rows

LABEL_FILE = "groundTruthLabel.txt"
LAYOUT = f"{LABEL_FILE} and partition1/ to partition5/"


def read_twitter2(root: Path) -> Listing:
    """Return the images of Twitter II, each with its sentiment."""
    top = folder_with(root, LABEL_FILE, LAYOUT)
    listing, seen = Listing(root), set()
    images: Dict[str, List[str]] = {}
    for path in listing.walk(top, used=[top / LABEL_FILE]):
        images.setdefault(Path(path).name, []).append(path)
    for row in csv_rows(top / LABEL_FILE, delimiter="\t"):
        text = "\t".join(row)
        if row == ["Image", "Sentiment"]:
            continue
        seen.add(row[0])
        if len(row) != 2 or row[1].lower() not in SENTIMENTS:
            listing.leave_out(text, "not a file and positive or negative")
        elif len(images.get(row[0], ())) > 1:
            listing.leave_out(text, "several images of one name")
        else:
            listing.add(images.get(row[0], [row[0]])[0], sentiment=row[1].lower(), listed=text)
    listing.leave_out_unlisted(images, seen, f"no row in {LABEL_FILE}")
    return listing


TWITTER2 = DataSet(
    name="twitter2",
    title="Twitter II",
    layout=LAYOUT,
    read=read_twitter2,
    fractions=FIVE_FOLDS,
    offered="ee.columbia.edu/ln/dvmm/vso",
    published=603,
)
