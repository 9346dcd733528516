"""Flickr_LDL: J. Yang, M. Sun, X. Sun, "Learning visual sentiment distributions via augmented
conditional probability neural network", AAAI 2017. 11,150 images from Flickr; each of eleven people
voted for one of Mikels' eight emotions.

Its copies have one of these forms:

- ground_truth.txt, a header that ends with the eight emotions, and rows
  `<file> <votes for each of the eight>`; images/<file>. This form is inferred from the code of
  others
- {train,val}{1..5}.csv, five folds of such rows without a header, in the order amusement, awe,
  contentment, excitement, anger, disgust, fear, sadness (inferred from the code beside them). Names
  with test for val, or with .txt, are read, too (inferred). The fold of an image is the number of
  the val list that has it. The images may be anywhere below the root. We tried this on the lists in
  github.com/hsiehjackson/Affective-Image, without the images: each image has 11 votes, and 1,030
  are ties

If both forms exist, the votes come from ground_truth.txt and the folds from the lists. The emotion
is the one with the most votes; ties are left out, or count for the first emotion in the order of
the columns. Twitter_LDL has the same forms.
"""

import re
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from mlr.data.emotions import MIKELS, emotion_named
from mlr.data.layouts.data_set import FIVE_FOLDS, DataSet, ReadingOption
from mlr.data.layouts.finding import TIE, most_voted, nearest
from mlr.data.listing import Listing, text_lines
from mlr.data.manifest import FOLDS, VOTES
from mlr.errors import InputError, shown

TABLE = "ground_truth.txt"
ORDER = (
    "amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness",
)  # fmt: skip
OPTIONS = (
    ReadingOption(
        "order",
        (),
        "Flickr and Twitter LDL: order of the columns of votes, eight emotions separated by commas "
        f"(default: that of the header; without a header {','.join(ORDER)})",
        "NAMES",
    ),
    ReadingOption(
        "ties",
        ("out", "first"),
        "Flickr and Twitter LDL: what to do with images for which several emotions have the most "
        "votes. out: leave them out; first: use the first of these emotions in the order of the "
        "columns (default: out)",
    ),
)
FOLD_LISTS = ("val", "test")
LAYOUT = f"{TABLE} and images/<file>, or <file> and {{train,val or test}}{{1..5}}.csv or .txt"
ROW = ", or a file and eight numbers of votes, separated by blanks"
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
COUNT = re.compile(r"(\d{1,6})(\.0*)?")


def read_votes(root: Path, order: Optional[str] = None, ties: str = "out") -> Listing:
    """Return the images of Flickr or Twitter LDL, each with the emotion that got the most votes,
    and with all votes as attributes.

    order: the order of the columns of votes, names separated by commas. ties: "out" or "first".
    """
    table, train, test = nearest(root, TABLE), _lists(root, ("train",)), _lists(root, FOLD_LISTS)
    if not table and not test:
        raise InputError(
            f"there is no {TABLE}, and no val1.csv or test1.csv, below {root}: expected {LAYOUT}"
        )
    files = [table] if table else [*test.values(), *train.values()]
    listing, wanted = Listing(root), _order(order.split(","), "--order") if order else None
    folds: Dict[str, str] = {}
    for fold, path in test.items():
        for line in text_lines(path):
            folds.setdefault(_parted(line)[0], fold)  # an image stays in the first of its folds
    images = _by_name(listing.walk(used=[*files, *train.values(), *test.values()]))
    seen = set()
    for path in files:
        emotions, lines = _rows(path, wanted, listing)
        for line in lines:
            name, votes = _votes(line, path)
            if path in train.values() and (name in seen or name in folds):
                continue  # each training list repeats most rows of the other four
            seen.add(name)
            fault = _fault(name, votes, folds, images, ties)
            if fault:
                listing.leave_out(line, fault)
                continue
            image, emotion = images.get(name, [name])[0], emotions[votes.index(max(votes))]
            columns = {VOTES + each: str(count) for each, count in zip(emotions, votes)}
            if listing.attributes.get(image, columns) != columns:
                listing.contradict(image, line)
            elif listing.add(image, emotion, split=folds.get(name, ""), listed=line):
                listing.attributes[image] = columns
    listing.leave_out_unlisted(images, seen, "no row of votes")
    return listing


def _by_name(paths: Iterable[str]) -> Dict[str, List[str]]:
    """Return {file name: paths of the images with this name}."""
    images: Dict[str, List[str]] = {}
    for path in paths:
        images.setdefault(Path(path).name, []).append(path)
    return images


def _lists(root: Path, stems: Sequence[str]) -> Dict[str, Path]:
    """Return the list of each fold, {fold: path}; {} if there are none."""
    names = [f"{stem}%s{suffix}" for stem in stems for suffix in (".csv", ".txt")]
    found = {fold: [nearest(root, name % fold) for name in names] for fold in FOLDS}
    return {fold: path for fold, paths in found.items() for path in paths if path}


def _rows(path: Path, wanted: Optional[List[str]], listing: Listing) -> Tuple[List[str], List[str]]:
    """Return the order of the columns of a file, and its rows without the header.

    wanted: the order given by --order. Adds a note to the listing that says where the order comes
    from.
    """
    lines = list(text_lines(path))
    order = list(wanted or ORDER)
    said = (
        "as --order says"
        if wanted
        else "which is assumed, because there is no header; --order gives another order"
    )
    if lines and not _parted(lines[0])[1]:
        order = _order(lines[0].split()[-len(MIKELS) :], f"{path}, first line", ROW)
        said = "as the header says"
        if wanted and wanted != order:
            raise InputError(
                f"--order is {','.join(wanted)}, but the header of {path} says {','.join(order)}: "
                "leave --order out, or correct the header"
            )
        lines = lines[1:]
    note = f"the columns of votes are {', '.join(order)}, {said}"
    if note not in listing.notes:
        listing.notes.append(note)
    return order, lines


def _order(names: Sequence[str], where: str, otherwise: str = "") -> List[str]:
    """Return the order of the columns, as emotions. Raises InputError unless it names each of the
    eight emotions once.

    where: where the names are from, for the error. otherwise: what else is allowed there.
    """
    order = [emotion_named(name) for name in names]
    if sorted(order) != sorted(MIKELS):
        raise InputError(
            f"{where}: {shown(','.join(names), 200)} is not an order of the columns of votes: "
            f"expected the eight emotions {', '.join(MIKELS)}, each once{otherwise}"
        )
    return order


def _parted(line: str) -> Tuple[str, List[str]]:
    """Return the name in a row, which may contain blanks, and the numbers after it."""
    fields: List[str] = line.split()
    numbers: List[str] = []
    while fields and NUMBER.fullmatch(fields[-1]):
        numbers.insert(0, fields.pop())
    name = line.strip()
    return name.rsplit(None, len(numbers))[0] if fields else "", numbers


def _votes(line: str, path: Path) -> Tuple[str, List[int]]:
    """Return the name and the votes in a row. Raises InputError if it does not have them."""
    name, numbers = _parted(line)
    counts = [COUNT.fullmatch(number) for number in numbers]
    if not name or len(numbers) != len(MIKELS):
        found = f"{len(numbers)} numbers"
    elif not all(counts):
        found = next(number for number, count in zip(numbers, counts) if not count)
        found = f"{shown(found, 40)}, which is not a number of votes"
    else:
        return name, [int(count.group(1)) for count in counts if count]
    raise InputError(
        f"{path}, line {shown(ascii(line.strip()), 120)}: it has {found}; expected a file and "
        "eight numbers of votes, which are whole numbers from 0: correct the line"
    )


def _fault(
    name: str,
    votes: List[int],
    folds: Dict[str, str],
    images: Dict[str, List[str]],
    ties: str,
) -> str:
    """Return the reason why a row must be left out, "" if it need not."""
    if len(images.get(name, ())) > 1:
        return "several images of one name"
    if folds and name not in folds:
        return "in none of the lists of the folds"
    if not any(votes):
        return "no votes"
    return TIE if ties == "out" and most_voted(ORDER, votes) == TIE else ""


FLICKR_LDL = DataSet(
    name="flickr_ldl",
    title="Flickr_LDL",
    layout=LAYOUT,
    read=read_votes,
    fractions=FIVE_FOLDS,
    offered="its authors, Nankai University",
    options=OPTIONS,
    published=11150,
)
