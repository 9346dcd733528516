"""Finds the splits and classes of data sets in folders, <split>/<class>/<image>.

Training and `mlr prepare` both use it.
"""

from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional

from mlr.data.walk import (
    HIDDEN,
    NO_CLASS,
    NO_SPLIT,
    SUBFOLDER,
    LeftOut,
    content_of,
    folders_below,
    subfolders,
    walk,
)
from mlr.errors import InputError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}


class ClassFolder(NamedTuple):
    """A folder of one class. images: those directly in it. below: those in its subfolders. Both are
    sorted.
    """

    path: Path
    images: List[Path]
    below: List[Path]


class Classes(NamedTuple):
    """The class folders of a split, sorted by name, and all that is not an image of a class."""

    folders: List[ClassFolder]
    left_out: List[LeftOut]


def read_classes(root: Path) -> Classes:
    """Return the content of the folders <root>/<class>/. Raises InputError if a folder can't be
    read.
    """
    content = content_of(root)
    classes = Classes([], content.left_out)
    classes.left_out.extend(LeftOut(str(path), NO_CLASS) for path in content.images)
    for folder in content.folders:
        images, left_out = walk(folder)
        direct = [path for path in images if path.parent == folder]
        below = [path for path in images if path.parent != folder]
        classes.folders.append(ClassFolder(folder, direct, below))
        classes.left_out.extend(left_out)
    return classes


def in_subfolders(classes: Classes) -> List[LeftOut]:
    """Return the images in subfolders of classes, as left out. Only `mlr prepare` uses them."""
    return [LeftOut(str(path), SUBFOLDER) for folder in classes.folders for path in folder.below]


def split_folders(root: Path, needed: str = "train") -> Optional[Dict[str, Path]]:
    """Return {split: folder} for the folder nearest to the root that has the split `needed`, or
    None if there is none.

    Case does not matter, and val, valid and validation are the same. Raises InputError if several
    folders could be the data set or one of its splits.
    """
    for level in folders_below(root):
        found = {}
        for top in level:
            splits: Dict[str, List[Path]] = {}
            for folder in subfolders(top):
                split = SPLIT_NAMES.get(folder.name.lower())
                if split:
                    splits.setdefault(split, []).append(folder)
            if needed in splits:
                found[top] = splits
        if found:
            top = the_only(found, "data set", root)
            return {
                split: the_only(folders, f"split {split}", top)
                for split, folders in found[top].items()
            }
    return None


def beside(folders: Iterable[Path]) -> List[LeftOut]:
    """Return what lies beside the folders of the splits and could be taken for data: other folders,
    images and hidden files.
    """
    folders = list(folders)
    content = content_of(folders[0].parent)
    return [
        *(row for row in content.left_out if row.reason == HIDDEN),
        *(LeftOut(str(path), NO_CLASS) for path in content.images),
        *(LeftOut(str(path), NO_SPLIT) for path in content.folders if path not in folders),
    ]


def the_only(folders: Iterable[Path], what: str, root: Path) -> Path:
    """Return the only folder of `folders`. Raises InputError if there are several."""
    first, *others = folders
    if others:
        raise InputError(
            f"{root} has several folders that may be its {what}: "
            f"{', '.join(map(str, (first, *others)))}; give one of these folders, or rename the "
            "others"
        )
    return first


def folder_of_classes(
    root: Path, is_class: Callable[[str], object] = lambda name: True
) -> Optional[Path]:
    """Return the folder nearest to the root that has two or more folders of images, or None.

    is_class: tells whether a folder of this name can be a class. Raises InputError if several
    folders are equally near.
    """

    def classes_in(top: Path) -> int:
        return sum(bool(walk(path)[0]) for path in subfolders(top) if is_class(path.name))

    for level in folders_below(root):
        found = [top for top in level if classes_in(top) > 1]
        if found:
            return the_only(found, "folder of classes", root)
    return None
