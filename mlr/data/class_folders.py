"""Data sets in folders, <split>/<class>/<image>: which folder is which split, and what is in it.

For training and for `mlr prepare` alike.
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
    """A folder of one class. images: directly in it; below: in its subfolders; both in order."""

    path: Path
    images: List[Path]
    below: List[Path]


class Classes(NamedTuple):
    """The class folders of a split by name, and what is no image of a class."""

    folders: List[ClassFolder]
    left_out: List[LeftOut]


def read_classes(root: Path) -> Classes:
    """Return what is in <root>/<class>/. Raises InputError where a folder can't be read."""
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
    """Return the images that only `mlr prepare` takes, as those left out."""
    return [LeftOut(str(path), SUBFOLDER) for folder in classes.folders for path in folder.below]


def split_folders(root: Path, needed: str = "train") -> Optional[Dict[str, Path]]:
    """Return {split: folder} of the folder nearest to the root that has the split `needed`.

    None where there is none. Case does not matter, and val, valid and validation are the same.
    Raises InputError where there is no telling which folder is meant.
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
    """Return what lies beside the folders of the splits and may be taken for data.

    That is other folders, images, and what is hidden.
    """
    folders = list(folders)
    content = content_of(folders[0].parent)
    return [
        *(row for row in content.left_out if row.reason == HIDDEN),
        *(LeftOut(str(path), NO_CLASS) for path in content.images),
        *(LeftOut(str(path), NO_SPLIT) for path in content.folders if path not in folders),
    ]


def the_only(folders: Iterable[Path], what: str, root: Path) -> Path:
    """Return the only one of some folders. Raises InputError where there are several."""
    first, *others = folders
    if others:
        raise InputError(
            f"{root} has several folders that may be its {what}: "
            f"{', '.join(map(str, (first, *others)))}; give the folder of one, or "
            "rename the others"
        )
    return first


def folder_of_classes(
    root: Path, is_class: Callable[[str], object] = lambda name: True
) -> Optional[Path]:
    """Return the folder nearest to the root that has two or more folders of images, or None.

    is_class: tells of a folder's name whether it may be one. Raises InputError where there are
    several such folders.
    """

    def classes_in(top: Path) -> int:
        return sum(bool(walk(path)[0]) for path in subfolders(top) if is_class(path.name))

    for level in folders_below(root):
        found = [top for top in level if classes_in(top) > 1]
        if found:
            return the_only(found, "folder of classes", root)
    return None
