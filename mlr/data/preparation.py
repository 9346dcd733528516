"""From the rows of a data set to its manifest: every image decoded, what can't be used left out,
the rest split.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

from mlr.data.examine import Examined, examine_images, pixels_sha256
from mlr.data.listing import Listing, Row
from mlr.data.manifest import Entry, write_prepared
from mlr.data.partition import released_partition, stratified_partition
from mlr.data.walk import BESIDE, LeftOut
from mlr.errors import InputError

JOURNAL = "examined.csv"  # in the folder to write, as long as it is not finished
# rows that share one image, from which on it is a placeholder, as for a banned photo
PLACEHOLDER_ROWS = 5
COPIES_STAY_IN = ("test", "valid", "train")  # the first of these that has one
NAMED_BY_STRICT = 10

Images = List[Tuple[Row, Examined]]


class SplitRule(NamedTuple):
    """How images are split that have no lists of their own.

    released: by the rule of the released code, which draws nothing; else drawn by `seed`, the
    `fractions`, {split or fold: fraction}, of each class.
    """

    fractions: Mapping[str, float]
    released: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        """What prepared.json and --rule call it."""
        return "released" if self.released else "stratified"


class Prepared(NamedTuple):
    """What came of a data set. entries: of its manifest. left_out: with the reasons.

    pictures: of what can be read and is no placeholder, the rows that show the same pixels
    together.
    """

    entries: List[Entry]
    left_out: List[LeftOut]
    pictures: List[List[Row]]

    @property
    def contradictory(self) -> List[List[Row]]:
        """Those of the pictures that have several classes."""
        return [rows for rows in self.pictures if len({_label(row) for row in rows}) > 1]


def prepare_images(
    listing: Listing, out: Path, rule: SplitRule, description: Dict[str, Any], strict: bool = False
) -> Prepared:
    """Examine the images of a Listing, write the prepared data set, and return what came of it.

    out: a folder that is not there yet, or holds the journal of an interrupted preparation.
    description: for prepared.json. strict: raise InputError where anything is left out. Raises
    InputError, too, where no image can be used, or all are of one class.
    """
    rows, left_out = listing.rows, listing.left_out
    refuse_one_class(rows, listing.root)
    out.mkdir(parents=True, exist_ok=True)
    journal = out / JOURNAL
    found = examine_images(listing.root, [row.path for row in rows], journal)
    images = _without_placeholders(_without_unreadable(zip(rows, found), left_out), left_out)
    pictures = _pictures(images, listing.root)
    own_lists = any(row.split for row, _ in images)
    if own_lists:
        images = _without_copies_across_splits(images, left_out)
    if not images:
        raise InputError(
            f"none of the {len(rows)} images below {listing.root} can be used, the first: "
            f"{left_out[0].what}: {left_out[0].reason}"
        )
    splits = [row.split for row, _ in images] if own_lists else _split(images, rule)
    refuse_one_class([row for row, _ in images], listing.root)
    if strict:
        _refuse_left_out(left_out, listing.root)
    entries = [
        Entry(
            row.path,
            row.emotion,
            row.sentiment,
            split,
            image.width,
            image.height,
            image.sha256,
            listing.attributes.get(row.path, {}),
        )
        for (row, image), split in zip(images, splits)
    ]
    prepared = Prepared(entries, left_out, pictures)
    made = {
        "different_images": len(pictures),
        "with_several_classes": len(prepared.contradictory),
        "root": str(Path(listing.root).resolve()),
        "seed": None if own_lists or rule.released else rule.seed,
        "split": "the data set's own lists" if own_lists else rule.name,
    }
    write_prepared(out, {**description, **made}, entries, left_out)
    journal.unlink()
    return prepared


def refuse_one_class(rows: Sequence[Row], root: Path) -> None:
    """Raise InputError where all images have the same label."""
    labels = {_label(row) for row in rows}
    if len(labels) == 1:
        raise InputError(
            f"all {len(rows):d} images below {root} are of one class, {labels.pop()}: there is "
            "nothing to tell apart; add the folder or the rows of another class"
        )


def _refuse_left_out(left_out: Iterable[LeftOut], root: Path) -> None:
    missed = [row for row in left_out if row.reason not in BESIDE]
    if missed:
        first = "\n".join(f"{row.what}: {row.reason}" for row in missed[:NAMED_BY_STRICT])
        raise InputError(
            f"{len(missed)} rows and files of {root} would be left out, and --strict is given; "
            f"the first:\n{first}"
        )


def _split(images: Images, rule: SplitRule) -> List[str]:
    """Return the split of each image, near-duplicates in one."""
    if rule.released:
        return released_partition([row.emotion for row, _ in images])
    labels = [_label(row) for row, _ in images]
    thumbnails = [image.thumbnail for _, image in images]
    return stratified_partition(labels, rule.seed, rule.fractions, thumbnails)


def _label(row: Row) -> str:
    return row.emotion or row.sentiment


def _pictures(images: Images, root: Path) -> List[List[Row]]:
    """Return the rows, those whose images have the same pixels together.

    The same pixels have the same thumbnail, so that only few images are decoded once more.
    """
    alike: Dict[Tuple[int, int, str], Images] = {}
    for row, image in images:
        key = image.width, image.height, image.thumbnail
        alike.setdefault(key, []).append((row, image))
    pictures: List[List[Row]] = []
    for several in alike.values():
        one_file = len({image.sha256 for _, image in several}) == 1
        same: Dict[str, List[Row]] = {}
        for row, _ in several:
            same.setdefault("" if one_file else pixels_sha256(root / row.path), []).append(row)
        pictures += same.values()
    return pictures


def _without_unreadable(images: Iterable[Tuple[Row, Examined]], left_out: List[LeftOut]) -> Images:
    kept = []
    for row, image in images:
        if image.fault:
            left_out.append(LeftOut(row.path, f"unreadable: {image.fault}"))
        else:
            kept.append((row, image))
    return kept


def _without_placeholders(images: Images, left_out: List[LeftOut]) -> Images:
    rows_with = Counter(image.thumbnail for _, image in images)
    kept = []
    for row, image in images:
        count = rows_with[image.thumbnail]
        if count < PLACEHOLDER_ROWS:
            kept.append((row, image))
        else:
            left_out.append(LeftOut(row.path, f"placeholder: {count} rows share this picture"))
    return kept


def _without_copies_across_splits(images: Images, left_out: List[LeftOut]) -> Images:
    """Leave out of train what is in valid or test, too, and of valid what is in test.

    Of folds that with the lowest number keeps it.
    """
    first: Dict[str, Row] = {}
    for row, image in images:
        if image.thumbnail not in first or _place(row) < _place(first[image.thumbnail]):
            first[image.thumbnail] = row
    kept = []
    for row, image in images:
        other = first[image.thumbnail]
        if other.split == row.split:
            kept.append((row, image))
        else:
            left_out.append(
                LeftOut(
                    row.path,
                    f"duplicate across splits: {other.path} in {other.split} shows the same",
                )
            )
    return kept


def _place(row: Row) -> int:
    return COPIES_STAY_IN.index(row.split) if row.split in COPIES_STAY_IN else int(row.split)
