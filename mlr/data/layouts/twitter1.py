"""Twitter I: Q. You, J. Luo, H. Jin, J. Yang, "Robust image sentiment analysis using progressively
trained and domain transferred deep networks", AAAI 2015. 1,269 images, labelled by five people.

    Agg_AMT_Candidates/<file>
    twitter_{three,four,five}_agrees.txt                    lines <file> <0|1>, 1 is positive
    {three,four,five}_agrees/test{1..5}/test.txt            five folds

With `--agree four` the images are those on whose label at least four of the five people agree. The
folds are those of github.com/imatge-upc/sentiment-2017-imavis, and are used if they exist. The
label file may also be called <agree>_agree.txt or <agree>_agrees.txt.
"""

from pathlib import Path
from typing import Dict

from mlr.data.emotions import SENTIMENTS
from mlr.data.layouts.data_set import FIVE_FOLDS, DataSet, ReadingOption
from mlr.data.layouts.finding import (
    folder_with,
    leave_out_unlisted,
    name_and_number,
    nearest,
    prefix_of,
)
from mlr.data.listing import Listing, text_lines
from mlr.data.manifest import FOLDS
from mlr.errors import InputError


def read_twitter1(root: Path, agree: str = "three") -> Listing:
    """Return the images of Twitter I, each with its sentiment.

    agree: "three", "four" or "five", how many of the five people must agree on the label.
    """
    top = folder_with(
        root, "Agg_AMT_Candidates", f"Agg_AMT_Candidates/ and twitter_{agree}_agrees.txt"
    )
    names = [f"twitter_{agree}_agrees.txt", f"{agree}_agree.txt", f"{agree}_agrees.txt"]
    path = next((top / name for name in names if (top / name).is_file()), None)
    if not path:
        raise InputError(
            f"{top} has none of the label files {', '.join(names)}: add one, or give another "
            "--agree"
        )
    folds, images = _folds(root, agree), top / "Agg_AMT_Candidates"
    listing = Listing(root)
    for line in text_lines(path):
        name, number = name_and_number(line)
        image = prefix_of(root, images) + name
        if number not in ("0", "1"):
            listing.leave_out(line, "not <file> <0|1>", image)
        elif folds and name not in folds:
            listing.leave_out(line, "in none of the fold lists", image)
        else:
            sentiment = SENTIMENTS[int(number)]
            listing.add(image, sentiment=sentiment, split=folds.get(name, ""), listed=line)
    leave_out_unlisted(listing, images)
    return listing


def _folds(root: Path, agree: str) -> Dict[str, str]:
    """Return {file name: fold}; {} if there are no lists of folds."""
    folds = {}
    for fold in FOLDS:
        of_fold = nearest(root, f"{agree}_agrees/test{fold}/test.txt") or nearest(
            root, f"{agree}_agrees/test{fold}.txt"
        )
        for line in text_lines(of_fold) if of_fold else ():
            folds[name_and_number(line)[0].rpartition("/")[2]] = fold
    return folds


TWITTER1 = DataSet(
    name="twitter1",
    title="Twitter I",
    layout="Agg_AMT_Candidates/<file> and twitter_<agree>_agrees.txt",
    read=read_twitter1,
    fractions=FIVE_FOLDS,
    published=1269,
    offered="its host is gone; mirror in github.com/imatge-upc/sentiment-2017-imavis",
    options=(
        ReadingOption(
            "agree",
            ("three", "four", "five"),
            "Twitter I: how many of the five people must agree on a label (default: three)",
        ),
    ),
)
