"""FI, Flickr and Instagram: Q. You, J. Luo, H. Jin, J. Yang, "Building a large scale dataset for
image emotion recognition: the fine print and the benchmark", AAAI 2016. 23,308 images of Mikels'
eight emotions.

Copies of it have many layouts. The first of these that is found is read:

- fi_{train,val,test}img_label.txt, lines `<path> <number>`, with the emotions in alphabetical
  order (inferred); if there are only the binary lists fi_{train,val,test}img_label_c2.txt, 0 is
  negative and 1 positive
- Images/<name> and {Train,Val,Test}Images.txt, lines `<label>/<name>`
- {train,val,test}/<emotion>/<image>; the emotions may have the short names amuse, content, excit,
  sad
- <emotion>/<image>, the release of its authors; the folders may also be in emotion_dataset/, or in
  image/ beside annotation/ as in EmoSet
- label.csv with rows `id,label`, as in the released code
- CSV files with rows `name,emotion,sentiment` without a header; if the names of the files contain a
  split, each file is that split

A number for an emotion is its place in alphabetical order, from 0 (inferred).
"""

import re
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence

from mlr import paper
from mlr.data.class_folders import SPLIT_NAMES, beside, folder_of_classes, split_folders
from mlr.data.emotions import MIKELS, SENTIMENTS, emotion_named
from mlr.data.layouts.csv import LABEL_FILE, read_label_csv
from mlr.data.layouts.data_set import FRACTIONS, DataSet
from mlr.data.layouts.finding import (
    add_class_folders,
    csv_files,
    leave_out_unlisted,
    name_and_number,
    nearest,
    prefix_of,
    prefix_of_names,
)
from mlr.data.listing import Listing, csv_rows, text_lines
from mlr.data.walk import subfolders
from mlr.errors import InputError

NUMBER = re.compile("[0-9]{1,9}")
# A word in a file's name, as in fi_trainimg, ValImages, test2016.
WORD = re.compile("[A-Z]*[a-z]+|[A-Z]+")
SPLIT_WORD = re.compile(f"({'|'.join(SPLIT_NAMES)})(set|lists?|img|images?|data|labels?|split)?")


def read_fi(root: Path) -> Listing:
    """Return the images of FI, in the first of LAYOUTS that is found."""
    for read in LAYOUTS.values():
        listing = read(Path(root))
        if listing:
            return listing
    expected = "\n".join(f"- {layout}" for layout in LAYOUTS)
    raise InputError(
        f"{root} and its subfolders have none of the layouts of FI: expected one of\n{expected}"
    )


def _emotion_numbers(root: Path) -> Optional[Listing]:
    return _number_lists(root, "fi_%simg_label.txt", MIKELS)


def _sentiment_numbers(root: Path) -> Optional[Listing]:
    return _number_lists(root, "fi_%simg_label_c2.txt", SENTIMENTS)


def _number_lists(root: Path, pattern: str, labels: Sequence[str]) -> Optional[Listing]:
    lists = _lists(root, pattern, {"train": "train", "val": "valid", "test": "test"})
    if not lists:
        return None
    kind = "sentiment" if labels is SENTIMENTS else "emotion"
    listing = Listing(root)
    for split, path in lists.items():
        names = (name_and_number(line)[0] for line in text_lines(path))
        prefix = prefix_of_names(root, path.parent, names)
        for line in text_lines(path):
            name, number = name_and_number(line)
            if NUMBER.fullmatch(number) and int(number) < len(labels):
                label: Dict[str, Any] = {kind: labels[int(number)]}
                listing.add(prefix + name, split=split, listed=line, **label)
            else:
                reason = f"not <path> <0 to {len(labels) - 1:d}>"
                listing.leave_out(line, reason, prefix + name)
    leave_out_unlisted(listing, root, used=lists.values())
    return listing


def _name_lists(root: Path) -> Optional[Listing]:
    lists = _lists(root, "%sImages.txt", {"Train": "train", "Val": "valid", "Test": "test"})
    if not lists:
        return None
    listing = Listing(root)
    for split, path in lists.items():
        prefix = prefix_of(root, path.parent / "Images")
        for line in text_lines(path):
            label, _, name = line.strip().partition("/")
            emotion = _emotion(label)
            if emotion and name:
                listing.add(prefix + name, emotion, split=split, listed=line)
            else:
                listing.leave_out(line, "not <emotion>/<name>")
    leave_out_unlisted(listing, path.parent / "Images")
    return listing


def _lists(root: Path, pattern: str, splits: Dict[str, str]) -> Dict[str, Path]:
    """Return the lists that exist, {split: path}. splits: {word in the file's name: split}."""
    found = {split: nearest(root, pattern % word) for word, split in splits.items()}
    return {split: path for split, path in found.items() if path}


def _split_folders(root: Path) -> Optional[Listing]:
    splits = split_folders(root)
    if not splits or not all(
        any(emotion_named(path.name) for path in subfolders(folder)) for folder in splits.values()
    ):
        return None
    listing = Listing(root)
    for split, folder in splits.items():
        add_class_folders(listing, folder, split)
    listing.leave_out_all(beside(splits.values()))
    return listing


def _emotion_folders(root: Path) -> Optional[Listing]:
    top = folder_of_classes(root, emotion_named)
    if not top:
        return None
    listing = Listing(root)
    add_class_folders(listing, top)
    return listing


def _label_csv(root: Path) -> Optional[Listing]:
    path = nearest(root, LABEL_FILE)
    if not path:
        return None
    listing = Listing(root)
    labelled = read_label_csv(path.parent)
    for row in labelled.rows:
        emotion = _emotion(row.emotion)
        if emotion:
            listing.add(prefix_of(root, path.parent) + row.path, emotion)
        else:
            listing.leave_out(f"{row.path},{row.emotion}", "no emotion of FI")
    listing.left_out += labelled.left_out
    return listing


def _tables(root: Path) -> Optional[Listing]:
    listing, tables = Listing(root), csv_files(root)
    for path in tables:
        split, prefix = _split_named(path.stem), None
        for row in csv_rows(path):
            emotion = _emotion(row[1]) if len(row) == 3 else ""
            if not emotion:
                image = (prefix or "") + row[0]
                listing.leave_out(",".join(row), "not name,emotion,sentiment", image)
                continue
            if prefix is None:
                prefix = prefix_of_names(root, path.parent, [row[0]])
            listing.add(prefix + row[0], emotion, split=split, listed=",".join(row))
    if not listing.rows:
        return None
    leave_out_unlisted(listing, root, used=tables)
    return listing


def _emotion(text: str) -> str:
    """Return Mikels' emotion that a label names, or gives the number of; "" if it does neither."""
    text = text.strip()
    if NUMBER.fullmatch(text):
        return MIKELS[int(text)] if int(text) < len(MIKELS) else ""
    emotion = emotion_named(text)
    return emotion if emotion in MIKELS else ""


def _split_named(stem: str) -> str:
    """Return the split that the words of a file's name contain, "" if they contain none or
    several.
    """
    words = [SPLIT_WORD.fullmatch(word.lower()) for word in WORD.findall(stem)]
    splits = {SPLIT_NAMES[word.group(1)] for word in words if word}
    return splits.pop() if len(splits) == 1 else ""


# The layouts with more information come first.
LAYOUTS: Dict[str, Callable[[Path], Optional[Listing]]] = {
    "fi_{train,val,test}img_label.txt with lines <path> <number>": _emotion_numbers,
    "fi_{train,val,test}img_label_c2.txt, where 0 is negative and 1 positive": _sentiment_numbers,
    "Images/<name> and {Train,Val,Test}Images.txt with lines <label>/<name>": _name_lists,
    "{train,val,test}/<emotion>/<image>": _split_folders,
    "<emotion>/<image>, also in emotion_dataset/": _emotion_folders,
    "label.csv with rows id,label": _label_csv,
    "CSV files with rows name,emotion,sentiment, without a header": _tables,
}

FI = DataSet(
    name="fi",
    title="FI, Flickr and Instagram",
    layout="lists, folders or tables, in any layout of its copies",
    read=read_fi,
    fractions=FRACTIONS,
    offered="qzyou.github.io",
    restricted=True,
    accuracies_published=True,
    published=sum(paper.FI_COUNTS.values()),
    published_classes=paper.FI_COUNTS,
)
