"""EmoSet-118K: J. Yang, Q. Huang, T. Ding, D. Lischinski, D. Cohen-Or, H. Huang, "EmoSet: A
large-scale visual emotion dataset with rich attributes", ICCV 2023. 118,102 images.

    {train,val,test}.json               lists of [emotion, id, image, annotation], its splits
    image/<emotion>/<id>.jpg
    annotation/<emotion>/<id>.json      image_id, emotion, and the attributes

This layout is from its authors' README and EmoSet.py (github.com/JingyuanYY/EmoSet); we did not
have the images. Lists without the id are read, too, because two programs of other people read such
lists. Emotions are identified by name: their numbers in info.json are not in alphabetical order.

The attributes become columns of the manifest: brightness and colorfulness, 0.0 to 1.0 in eleven
levels; scene, facial_expression and human_action, names; object, a JSON list of names. An image
whose annotation is missing or broken is kept, and the annotation is listed in left_out.csv.
"""

import json
import sys
from pathlib import Path
from typing import Any, Dict, List

from mlr.data.emotions import MIKELS, emotion_named
from mlr.data.layouts.data_set import FRACTIONS, DataSet
from mlr.data.layouts.finding import (
    folder_with,
    leave_out_unlisted,
    plain_path,
    prefix_of,
    prefix_of_names,
)
from mlr.data.listing import Listing
from mlr.errors import InputError
from mlr.formats.json import read_json

LAYOUT = "train.json, val.json, test.json, image/<emotion>/<file> and annotation/<emotion>/<file>"
LISTS = {"train": "train.json", "valid": "val.json", "test": "test.json"}
LEVELS = ("brightness", "colorfulness")
ATTRIBUTES = (*LEVELS, "scene", "object", "facial_expression", "human_action")


def read_emoset(root: Path) -> Listing:
    """Return the images of EmoSet, each with its emotion, split and attributes."""
    top = folder_with(root, LISTS["train"], LAYOUT)
    listing, folder, annotated = Listing(root), "", False
    for split, name in LISTS.items():
        if not (top / name).is_file():
            listing.leave_out(prefix_of(root, top) + name, "no such list, so its split is missing")
            continue
        entries = _entries(listing, top / name)
        if split == "train":
            folder = prefix_of_names(root, top, (entry[-2] for entry in entries))
            annotated = (root / folder / "annotation").is_dir()
        for entry in entries:
            row, emotion = json.dumps(entry), emotion_named(entry[0])
            image, annotation = (folder + path for path in entry[-2:])
            if emotion not in MIKELS:
                listing.leave_out(row, "its emotion is none of Mikels' eight", image)
            elif listing.add(image, emotion, split=split, listed=row) and annotated:
                listing.attributes[image] = _attributes(listing, annotation, emotion, row)
    if not annotated:
        listing.leave_out(f"{folder}annotation", "no such folder, so images have no attributes")
    leave_out_unlisted(listing, root / folder / "image")
    return listing


def _entries(listing: Listing, path: Path) -> List[List[str]]:
    """Return the entries of a list, [emotion, image, annotation] or [emotion, id, image,
    annotation], with paths as on disk. Raises InputError if the list has no such entry.
    """
    entries = []
    found = read_json(path)
    for entry in found if isinstance(found, list) else [found]:
        if isinstance(entry, list) and all(isinstance(field, str) for field in entry):
            if len(entry) in (3, 4):
                entries.append([*entry[:-2], *map(plain_path, entry[-2:])])
                continue
        listing.leave_out(json.dumps(entry), "not [emotion, id, image, annotation]")
    if not entries:
        raise InputError(
            f"{path} holds no entries [emotion, id, image, annotation]: expected {LAYOUT}, as "
            "EmoSet's authors publish them"
        )
    return entries


def _attributes(listing: Listing, path: str, emotion: str, row: str) -> Dict[str, str]:
    """Return the attributes in an annotation, "" for those that it lacks. If the annotation has a
    fault, adds the fault and the row that names the annotation to left_out.csv.
    """
    attributes, found = dict.fromkeys(ATTRIBUTES, ""), {}
    fault = listing.fault(path, absent="no such file")
    if not fault:
        try:
            found = read_json(listing.root / path)
        except InputError as error:
            fault = str(error)
    if not isinstance(found, dict):
        fault, found = "not a JSON object", {}
    elif emotion_named(str(found.get("emotion", emotion))) != emotion:
        fault, found = f"of another emotion, {found['emotion']!a:.40}", {}
    for name in ATTRIBUTES:
        try:
            attributes[name] = sys.intern(_text(name, found.get(name)))
        except ValueError:
            fault = f"{name} is {found[name]!a:.40}"
    if fault:
        listing.leave_out(row, f"annotation left out, its image is kept: {fault}")
    return attributes


def _text(name: str, value: Any) -> str:
    """Return an attribute as text for the manifest. Raises ValueError for an impossible value."""
    if value is None or value == []:
        return ""
    if name in LEVELS:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError
        return str(float(value))
    if name == "object":
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError
        return json.dumps(value)
    if not isinstance(value, str):
        raise ValueError
    value.encode()  # raises for a lone surrogate, which JSON can hold but a UTF-8 file can't
    return value


EMOSET = DataSet(
    name="emoset",
    title="EmoSet-118K",
    layout=LAYOUT,
    read=read_emoset,
    fractions=FRACTIONS,
    offered="jingyuanyy.github.io",
    published=118102,
)
