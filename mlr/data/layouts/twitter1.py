"""twitter1"""

from mlr.data.emotions import SENTIMENTS
from mlr.data.layouts.finding import _below, _find, _name_and_number, _top
from mlr.data.listing import Listing, text_lines
from mlr.data.partition import FIVE_FOLDS
from mlr.errors import InputError


def read_twitter1(root, agree="three"):
    """Twitter I (You, Luo, Jin, Yang, AAAI 2015): Agg_AMT_Candidates/<file>, and
    twitter_<agree>_agrees.txt with lines `<file> <0|1>`.

    agree: three, four or five of the five who labelled an image; 1 is positive. Five-fold lists
    <agree>_agrees/test<k>/test.txt, as of github.com/imatge-upc/sentiment-2017-imavis, are used
    where they are there.
    """
    top = _top(root, "Agg_AMT_Candidates", f"Agg_AMT_Candidates/ and twitter_{agree}_agrees.txt")
    names = [f"twitter_{agree}_agrees.txt", f"{agree}_agree.txt", f"{agree}_agrees.txt"]
    path = next((top / name for name in names if (top / name).is_file()), None)
    if not path:
        raise InputError(f"{top} has none of {', '.join(names)}")
    folds = {}
    for fold in FIVE_FOLDS:
        of_fold = _find(root, f"{agree}_agrees/test{fold}/test.txt") or _find(
            root, f"{agree}_agrees/test{fold}.txt"
        )
        for line in text_lines(of_fold) if of_fold else ():
            folds[_name_and_number(line)[0].rpartition("/")[2]] = fold
    listing = Listing(root)
    for line in text_lines(path):
        name, number = _name_and_number(line)
        if number not in ("0", "1"):
            listing.leave_out(line, "not <file> <0|1>")
        elif folds and name not in folds:
            listing.leave_out(line, "in none of the fold lists")
        else:
            listing.add(
                _below(root, top / "Agg_AMT_Candidates") + name,
                sentiment=SENTIMENTS[int(number)],
                split=folds.get(name, ""),
                listed=line,
            )
    return listing
