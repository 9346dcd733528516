"""MVSA-Single: T. Niu, S. Zhu, L. Pang, A. El Saddik, "Sentiment analysis on multi-view social
data", MMM 2016. 4,869 tweets with an image; text and image have separate labels.

    data/<id>.jpg             and the tweet's text, <id>.txt
    labelResultAll.txt        a header `ID<tab>text,image`, and rows `<id><tab><label>,<label>`, the
                              labels positive, neutral or negative

The label that is used is that of the image. Neutral images are left out, or form a third class. As
neutral has no sentiment, the three classes are then in the manifest's column for emotions. The
fractions of the split are those that other papers use (inferred).
"""

from pathlib import Path
from typing import Dict, List

from mlr.data.emotions import SENTIMENTS
from mlr.data.layouts.data_set import DataSet, ReadingOption
from mlr.data.layouts.finding import folder_with, prefix_of
from mlr.data.listing import Listing, csv_rows

LABEL_FILE = "labelResultAll.txt"
LAYOUT = f"{LABEL_FILE} and data/<id>.jpg"
NEUTRAL = "neutral"


def read_mvsa(root: Path, labels: str = "sentiment") -> Listing:
    """Return the images of MVSA-Single, each with the label of the image.

    labels: "sentiment", or "sentiment3", with neutral as a third class.
    """
    top = folder_with(root, LABEL_FILE, LAYOUT)
    listing, seen = Listing(root), set()
    images: Dict[str, List[str]] = {}
    texts = set((top / "data").glob("*.txt"))  # the texts of the tweets, which are not used
    for path in listing.walk(top / "data", used=texts) if (top / "data").is_dir() else ():
        images.setdefault(Path(path).stem, []).append(path)
    for row in csv_rows(top / LABEL_FILE, delimiter="\t"):
        text, label = "\t".join(row), _label(row)
        if row[0] == "ID":
            continue
        seen.add(row[0])
        if not label:
            listing.leave_out(text, "not an id and two of positive, neutral and negative")
        elif label == NEUTRAL and labels == "sentiment":
            listing.leave_out(text, NEUTRAL)
        elif len(images.get(row[0], ())) > 1:
            listing.leave_out(text, "several images of one id")
        else:
            path = images.get(row[0], [f"{prefix_of(root, top)}data/{row[0]}.jpg"])[0]
            emotion = label if labels == "sentiment3" else ""
            sentiment = label if label in SENTIMENTS else ""
            listing.add(path, emotion, sentiment, listed=text)
    listing.leave_out_unlisted(images, seen, f"no row in {LABEL_FILE}")
    return listing


def _label(row: List[str]) -> str:
    """Return the image's label in a row, "" if the row does not have two labels."""
    labels = row[1].lower().split(",") if len(row) == 2 else []
    known = all(label.strip() in (*SENTIMENTS, NEUTRAL) for label in labels)
    return labels[1].strip() if known and len(labels) == 2 else ""


MVSA = DataSet(
    name="mvsa",
    title="MVSA-Single",
    layout=LAYOUT,
    read=read_mvsa,
    fractions={"train": 0.8, "valid": 0.1, "test": 0.1},
    offered="mcrlab.net/research/mvsa-sentiment-analysis-on-multi-view-social-data",
    options=(
        ReadingOption(
            "labels",
            ("sentiment", "sentiment3"),
            "MVSA-Single: sentiment: leave out neutral images; sentiment3: use them as a third "
            "class (default: sentiment)",
        ),
    ),
    published=4869,
    published_classes={"negative": 1223, "neutral": 938, "positive": 2708},
)
