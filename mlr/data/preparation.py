"""From the rows of a data set to its manifest: every image decoded, what can't be used left out,
the rest split.
"""

from collections import Counter
from pathlib import Path

from mlr.data.examine import examine_all
from mlr.data.manifest import Entry, LeftOut, write_prepared
from mlr.data.partition import released_partition, stratified_partition
from mlr.data.walk import BESIDE
from mlr.errors import InputError

JOURNAL = "examined.csv"  # in the folder to write, as long as it is not finished
# rows that share one picture, from which on it is a placeholder, as for a banned photo
PLACEHOLDER_ROWS = 5
STRICTNESS = ("test", "valid", "train")


def prepare_images(listing, out, shares, rule, seed, strict, description):
    """Examine the images of a Listing and write the prepared data set; return its entries and what
    was left out.

    out: a folder that is not there yet, or holds the journal of an interrupted preparation. shares,
    rule, seed: of the split, where the rows have none of their own. strict: raise InputError where
    anything is left out. description: for prepared.json.
    """
    rows, left_out = listing.rows, listing.left_out
    refuse_one_class(rows, listing.root)
    out.mkdir(parents=True, exist_ok=True)
    journal = out / JOURNAL
    images = list(zip(rows, examine_all(listing.root, [row.path for row in rows], journal)))
    left_out += [
        LeftOut(row.path, "unreadable: " + image.fault) for row, image in images if image.fault
    ]
    images = _without_placeholders(
        [(row, image) for row, image in images if not image.fault], left_out
    )
    own_lists = any(row.split for row, _ in images)
    if own_lists:
        images = _without_copies_across_splits(images, left_out)
        splits = [row.split for row, _ in images]
    elif rule == "released":
        splits = released_partition([row.emotion for row, _ in images])
    else:
        splits = stratified_partition(
            [row.emotion or row.sentiment for row, _ in images],
            seed,
            shares,
            [image.thumbnail for _, image in images],
        )
    if not images:
        raise InputError(
            "none of the {:d} images below {} can be used, the first: {}: {}".format(
                len(rows), listing.root, *left_out[0]
            )
        )
    refuse_one_class([row for row, _ in images], listing.root)
    missed = [row for row in left_out if row.reason not in BESIDE]
    if strict and missed:
        raise InputError(
            "{:d} rows and files of {} would be left out, and --strict is given; the first:\n{}".format(
                len(missed), listing.root, "\n".join("{}: {}".format(*row) for row in missed[:10])
            )
        )
    entries = [
        Entry(row.path, row.emotion, row.sentiment, split, image.width, image.height, image.sha256)
        for (row, image), split in zip(images, splits)
    ]
    drawn = not own_lists and rule != "released"
    write_prepared(
        out,
        {
            **description,
            "root": str(Path(listing.root).resolve()),
            "seed": seed if drawn else None,
            "split": "the data set's own lists" if own_lists else rule,
        },
        entries,
        left_out,
    )
    journal.unlink()
    return entries, left_out


def refuse_one_class(rows, root):
    """Raise InputError where all images have the same label."""
    labels = {row.emotion or row.sentiment for row in rows}
    if len(labels) == 1:
        raise InputError(
            f"all {len(rows):d} images below {root} are of one class, {labels.pop()}: there is "
            "nothing to tell apart; add the folder or the rows of another class"
        )


def _without_placeholders(images, left_out):
    shared = Counter(image.thumbnail for _, image in images)
    kept = []
    for row, image in images:
        if shared[image.thumbnail] < PLACEHOLDER_ROWS:
            kept.append((row, image))
        else:
            left_out.append(
                LeftOut(
                    row.path, f"placeholder: {shared[image.thumbnail]:d} rows share this picture"
                )
            )
    return kept


def _without_copies_across_splits(images, left_out):
    """Leave out of train what is in valid or test, too, and of valid what is in test; folds in the
    order of their numbers.
    """

    def place(row):
        return STRICTNESS.index(row.split) if row.split in STRICTNESS else int(row.split)

    first = {}
    for row, image in images:
        if image.thumbnail not in first or place(row) < place(first[image.thumbnail]):
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
