"""Makes the manifest of a data set from its rows: decodes every image, leaves out those that can't
be used, and splits the others.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

from mlr.data.examine import Examined, examine_images, pixels_sha256
from mlr.data.listing import Listing, Row, place
from mlr.data.manifest import DESCRIPTION, LEFT_OUT, MANIFEST, Entry, write_prepared
from mlr.data.partition import released_partition, stratified_partition
from mlr.data.walk import BESIDE, NO_SPLIT, LeftOut, walk
from mlr.errors import InputError
from mlr.runtime.files import STAGED

JOURNAL = "examined.csv"  # in the output folder until it is finished
# From this number of rows with the same image on, it counts as a placeholder, for example for a
# photo that was removed.
PLACEHOLDER_ROWS = 5
NAMED_BY_STRICT = 10

Images = List[Tuple[Row, Examined]]


class SplitRule(NamedTuple):
    """How to split images for which the data set has no lists.

    released: use the rule of the released code, which is not random. Otherwise each split or fold
    gets its part of each class by `fractions`, {split or fold: fraction}, drawn with `seed`.
    """

    fractions: Mapping[str, float]
    released: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        """The name of the rule in prepared.json and for --rule."""
        return "released" if self.released else "stratified"


class Prepared(NamedTuple):
    """The result of preparing a data set.

    entries: the lines of its manifest. left_out: with the reasons. pictures: the rows of all
    readable images that are not placeholders; rows whose images have the same pixels are in one
    list.
    """

    entries: List[Entry]
    left_out: List[LeftOut]
    pictures: List[List[Row]]

    @property
    def contradictory(self) -> List[List[Row]]:
        """The pictures whose rows have different classes."""
        return [rows for rows in self.pictures if len({_label(row) for row in rows}) > 1]


def was_interrupted(out: Path) -> bool:
    """Tell whether a folder holds an interrupted preparation, and nothing else."""
    made = (JOURNAL, MANIFEST, LEFT_OUT, DESCRIPTION)
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    return JOURNAL in names and names <= {*made, *(name + STAGED for name in made)}


def prepare_images(
    listing: Listing, out: Path, rule: SplitRule, description: Dict[str, Any], strict: bool = False
) -> Prepared:
    """Examine the images of a Listing, write the prepared data set, and return the result.

    out: a folder that does not exist yet, or holds the journal of an interrupted preparation.
    description: for prepared.json. strict: raise InputError if a row or an image is left out. Also
    raises InputError if no image can be used, or if all have the same class.
    """
    rows, left_out = listing.rows, listing.left_out
    refuse_one_class(rows, listing.root)
    out.mkdir(parents=True, exist_ok=True)
    journal = out / JOURNAL
    found = examine_images(listing.root, [row.path for row in rows], journal)
    images = _without_placeholders(_without_unreadable(zip(rows, found), left_out), left_out)
    pictures = _pictures(images, listing.root)
    if listing.has_splits:
        images = _without_copies_across_splits(_in_a_split(images, left_out), left_out)
    if not images:
        raise InputError(
            f"none of the {len(rows)} images below {listing.root} can be used; the first one left "
            f"out is {left_out[0].what}: {left_out[0].reason}"
        )
    splits = [row.split for row, _ in images] if listing.has_splits else _split(images, rule)
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
        "seed": None if listing.has_splits or rule.released else rule.seed,
        "split": "the data set's own lists" if listing.has_splits else rule.name,
    }
    write_prepared(out, {**description, **made}, entries, left_out)
    journal.unlink()
    return prepared


def refuse_one_class(rows: Sequence[Row], root: Path) -> None:
    """Raise InputError if all images have the same label."""
    labels = {_label(row) for row in rows}
    if len(labels) == 1:
        raise InputError(
            f"all {len(rows):d} images below {root} have the same class, {labels.pop()}, so there "
            "is nothing to learn: add the folder or the rows of another class"
        )


def _refuse_left_out(left_out: Iterable[LeftOut], root: Path) -> None:
    missed = [
        row
        for row in left_out
        if row.reason not in BESIDE and (row.reason != NO_SPLIT or walk(root / row.what)[0])
    ]
    if missed:
        first = "\n".join(f"{row.what}: {row.reason}" for row in missed[:NAMED_BY_STRICT])
        raise InputError(
            f"{len(missed)} rows and files of {root} would be left out, which --strict does not "
            f"allow: correct them, or leave out --strict; the first:\n{first}"
        )


def _split(images: Images, rule: SplitRule) -> List[str]:
    """Return the split of each image. Near-duplicates go to the same split, unless the released
    rule is used.
    """
    if rule.released:
        return released_partition([row.emotion for row, _ in images])
    labels = [_label(row) for row, _ in images]
    thumbnails = [image.thumbnail for _, image in images]
    return stratified_partition(labels, rule.seed, rule.fractions, thumbnails)


def _label(row: Row) -> str:
    return row.emotion or row.sentiment


def _pictures(images: Images, root: Path) -> List[List[Row]]:
    """Return the rows in lists; rows whose images have the same pixels are in the same list.

    Images with the same pixels also have the same thumbnail, so only few must be decoded again.
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


def _in_a_split(images: Images, left_out: List[LeftOut]) -> Images:
    """Leave out images that no list of the data set puts into a split."""
    kept = []
    for row, image in images:
        if row.split:
            kept.append((row, image))
        else:
            left_out.append(LeftOut(row.path, "in none of the data set's own lists of the splits"))
    return kept


def _without_copies_across_splits(images: Images, left_out: List[LeftOut]) -> Images:
    """Leave out images of train that are also in valid or test, and images of valid that are also
    in test.

    If an image is in several folds, the fold with the lowest number keeps it.
    """
    first: Dict[str, Row] = {}
    for row, image in images:
        if image.thumbnail not in first or place(row.split) < place(first[image.thumbnail].split):
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
