"""fi"""

import re
from pathlib import Path

from mlr.data.class_folders import SPLIT_NAMES, beside, folder_of_classes, split_folders
from mlr.data.emotions import MIKELS, SENTIMENTS, emotion_named
from mlr.data.layouts.csv import LABEL_FILE, read_csv
from mlr.data.layouts.finding import (
    _add_folders,
    _base,
    _below,
    _find,
    _leave_out_unlisted,
    _name_and_number,
    _tables,
)
from mlr.data.listing import Listing, csv_rows, text_lines
from mlr.data.walk import subfolders
from mlr.errors import InputError

NUMBER = re.compile("[0-9]{1,9}")
# A word of a file's name: fi_trainimg, ValImages, test2016.
WORD = re.compile("[A-Z]*[a-z]+|[A-Z]+")
SPLIT_WORD = re.compile(f"({'|'.join(SPLIT_NAMES)})(set|lists?|img|images?|data|labels?|split)?")


def read_fi(root):
    """Flickr and Instagram (You, Luo, Jin, Yang, AAAI 2016), in whichever of these layouts is found
    first:

    - fi_{train,val,test}img_label.txt with lines `<path> <number>`, emotions in alphabetical order
      (inferred); where there are only the binary lists fi_{train,val,test}img_label_c2.txt, 0 is
      negative and 1 positive
    - Images/<name> and {Train,Val,Test}Images.txt with lines `<label>/<name>`
    - {train,val,test}/<emotion>/<image>, emotions also by the short names amuse, content, excit,
      sad
    - <emotion>/<image>, the release of its authors, also inside of emotion_dataset/, or as EmoSet's
      image/ beside its annotation/
    - label.csv with rows `id,label`, as of the released code
    - a CSV file of rows `name,emotion,sentiment` without a header, one for each split where their
      names say so
    """
    for read in (
        _fi_number_lists,
        _fi_name_lists,
        _fi_split_folders,
        _fi_folders,
        _fi_label_csv,
        _fi_tables,
    ):
        listing = read(Path(root))
        if listing:
            return listing
    raise InputError(
        "none of the layouts of FI is below {}: expected one of\n{}".format(
            root, read_fi.__doc__.split("\n\n")[1]
        )
    )


def _fi_number_lists(root):
    for pattern, two in (("fi_%simg_label.txt", False), ("fi_%simg_label_c2.txt", True)):
        lists = {
            split: _find(root, pattern % name)
            for name, split in (("train", "train"), ("val", "valid"), ("test", "test"))
        }
        lists = {split: path for split, path in lists.items() if path}
        if not lists:
            continue
        listing = Listing(root)
        for split, path in lists.items():
            base = _base(
                root, path.parent, (_name_and_number(line)[0] for line in text_lines(path))
            )
            for line in text_lines(path):
                name, number = _name_and_number(line)
                names = SENTIMENTS if two else MIKELS
                if not NUMBER.fullmatch(number) or int(number) >= len(names):
                    listing.leave_out(line, f"not <path> <0 to {len(names) - 1:d}>")
                elif two:
                    listing.add(base + name, sentiment=names[int(number)], split=split, listed=line)
                else:
                    listing.add(base + name, names[int(number)], split=split, listed=line)
        return listing
    return None


def _fi_name_lists(root):
    lists = {
        split: _find(root, f"{name}Images.txt")
        for name, split in (("Train", "train"), ("Val", "valid"), ("Test", "test"))
    }
    lists = {split: path for split, path in lists.items() if path}
    if not lists:
        return None
    listing = Listing(root)
    for split, path in lists.items():
        base = _below(root, path.parent / "Images")
        for line in text_lines(path):
            label, _, name = line.strip().partition("/")
            emotion = _emotion(label)
            if emotion and name:
                listing.add(base + name, emotion, split=split, listed=line)
            else:
                listing.leave_out(line, "not <emotion>/<name>")
    _leave_out_unlisted(listing, path.parent / "Images")
    return listing


def _fi_split_folders(root):
    splits = split_folders(root)
    if not splits or not all(
        any(emotion_named(path.name) for path in subfolders(folder)) for folder in splits.values()
    ):
        return None
    listing = Listing(root)
    for split, folder in splits.items():
        _add_folders(listing, folder, split)
    listing.leave_out_all(beside(splits.values()))
    return listing


def _fi_folders(root):
    top = folder_of_classes(root, emotion_named)
    if not top:
        return None
    listing = Listing(root)
    _add_folders(listing, top)
    return listing


def _fi_label_csv(root):
    path = _find(root, LABEL_FILE)
    if not path:
        return None
    listing = Listing(root)
    raw = read_csv(path.parent)
    for row in raw.rows:
        emotion = _emotion(row.emotion)
        if emotion:
            listing.add(_below(root, path.parent) + row.path, emotion)
        else:
            listing.leave_out(f"{row.path},{row.emotion}", "no emotion of FI")
    listing.left_out += raw.left_out
    return listing


def _fi_tables(root):
    listing = Listing(root)
    for path in _tables(root):
        split, base = _split_named(path.stem), None
        for row in csv_rows(path):
            emotion = _emotion(row[1]) if len(row) == 3 else ""
            if not emotion:
                listing.leave_out(",".join(row), "not name,emotion,sentiment")
                continue
            if base is None:
                base = _base(root, path.parent, [row[0]])
            listing.add(base + row[0], emotion, split=split, listed=",".join(row))
    return listing if listing.rows else None


def _emotion(text):
    """Return the emotion of Mikels that a label names, or counts in alphabetical order from 0
    (inferred), "" for none.
    """
    text = text.strip()
    if NUMBER.fullmatch(text):
        return MIKELS[int(text)] if int(text) < len(MIKELS) else ""
    emotion = emotion_named(text)
    return emotion if emotion in MIKELS else ""


def _split_named(stem):
    """Return the split that the words of a file's name tell, "" where they tell none or several."""
    words = [SPLIT_WORD.fullmatch(word.lower()) for word in WORD.findall(stem)]
    splits = {SPLIT_NAMES[word.group(1)] for word in words if word}
    return splits.pop() if len(splits) == 1 else ""
