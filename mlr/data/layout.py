"""Data sets in folders, <split>/<class>/<image>: which folder is which split, and what is in it, for training and for `mlr prepare`."""

from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional

from mlr.data.walk import HIDDEN, NO_CLASS, NO_SPLIT, SUBFOLDER, LeftOut, content_of, folders_below, subfolders, walk
from mlr.errors import InputError

SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "valid", "valid": "valid", "validation": "valid", "test": "test", "testing": "test"}


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
    classes = Classes([], content.left_out + [LeftOut(str(path), NO_CLASS) for path in content.images])
    for folder in content.folders:
        images, left_out = walk(folder)
        classes.folders.append(ClassFolder(
            folder, [path for path in images if path.parent == folder], [path for path in images if path.parent != folder]))
        classes.left_out.extend(left_out)
    return classes


def in_subfolders(classes: Classes) -> List[LeftOut]:
    """Return the images that only `mlr prepare` takes, as those left out."""
    return [LeftOut(str(path), SUBFOLDER) for folder in classes.folders for path in folder.below]


def split_folders(root: Path, needed: str = "train") -> Optional[Dict[str, Path]]:
    """Return {split: folder} of the folder nearest to the root that has a folder of the split `needed`, or None.

    Upper and lower case are the same, and so are val, valid and validation. Raises InputError where there is no telling which is meant.
    """
    for level in folders_below(root):
        found = {}
        for top in level:
            for folder in subfolders(top):
                split = SPLIT_NAMES.get(folder.name.lower())
                if split:
                    found.setdefault(top, {}).setdefault(split, []).append(folder)
        found = {top: splits for top, splits in found.items() if needed in splits}
        if found:
            top = the_only(found, "data set", root)
            return {split: the_only(folders, "split %s" % split, top) for split, folders in found[top].items()}
    return None


def beside(folders: Iterable[Path]) -> List[LeftOut]:
    """Return what lies beside the folders of the splits and may be taken for data: other folders, images, and what is hidden."""
    folders = list(folders)
    content = content_of(folders[0].parent)
    return [
        *(row for row in content.left_out if row.reason == HIDDEN), *(LeftOut(str(path), NO_CLASS) for path in content.images),
        *(LeftOut(str(path), NO_SPLIT) for path in content.folders if path not in folders)]


def the_only(folders, what, root):
    """Return the only one of some folders. Raises InputError where there are several."""
    first, *others = folders
    if others:
        raise InputError("%s has several folders that may be its %s: %s; give the folder of one, or rename the others" % (
            root, what, ", ".join(map(str, folders))))
    return first


def folder_of_classes(root: Path, is_class: Callable[[str], object] = lambda name: True) -> Optional[Path]:
    """Return the folder nearest to the root that has two or more folders of images, or None.

    is_class: tells of a folder's name whether it may be one. Raises InputError where there are several such folders.
    """
    for level in folders_below(root):
        found = [top for top in level if sum(bool(walk(folder)[0]) for folder in subfolders(top) if is_class(folder.name)) > 1]
        if found:
            return the_only(found, "folder of classes", root)
    return None
