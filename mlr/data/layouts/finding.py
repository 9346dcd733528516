"""Functions that the readers of the data sets share: they find files in the user's folder, and
parse label files.
"""

import os
from pathlib import Path
from typing import Callable, Container, Iterable, Iterator, List, Optional, Sequence, Tuple

from mlr.data.class_folders import read_classes
from mlr.data.emotions import emotion_named
from mlr.data.listing import Listing
from mlr.data.walk import folders_below, is_hidden
from mlr.errors import InputError

TIE = "tie"
NAMES_LOOKED_FOR = 20  # names of a list that are tried, to find the folder of its images


def most_voted(names: Sequence[str], votes: Sequence[float]) -> str:
    """Return the name with the most votes, or TIE."""
    most = max(votes)
    return TIE if votes.count(most) > 1 else names[votes.index(most)]


def plain_path(name: str) -> str:
    """Return an image's path from a label file, with forward slashes and without a leading ./"""
    name = name.replace("\\", "/")
    return name[2:] if name.startswith("./") else name


def name_and_number(line: str) -> Tuple[str, str]:
    """Return the name and the number of a line `<name> <number>`, separated by blanks or tabs.

    The name may contain blanks.
    """
    name, *number = line.strip().rsplit(None, 1)
    return name, "".join(number)


def nearest_first(root: Path) -> Iterator[Path]:
    """Yield a folder and its subfolders, the nearest first, down to the deepest level at which a
    layout is searched for.
    """
    for level in folders_below(root):
        yield from level


def csv_files(root: Path) -> List[Path]:
    """Return the CSV files in a folder and the subfolders in which a layout is searched for."""
    return sorted(
        path
        for folder in nearest_first(root)
        for path in folder.iterdir()
        if path.suffix.lower() == ".csv" and not is_hidden(path.name)
    )


def nearest(root: Path, name: str) -> Optional[Path]:
    """Return the path of the file or folder of this name that is nearest to the root, or None."""
    return next((folder / name for folder in nearest_first(root) if (folder / name).exists()), None)


def folder_with(root: Path, name: str, expected: str) -> Path:
    """Return the folder that contains a file or folder of this name.

    expected: the layout in words, for the InputError that is raised if there is none.
    """
    found = nearest(root, name)
    if not found:
        raise InputError(f"there is no {name} below {root}: expected {expected}")
    return found.parent


def prefix_of(root: Path, folder: Path) -> str:
    """Return a folder's path relative to the root, with a slash at its end; "" for the root
    itself.
    """
    path = folder.relative_to(root).as_posix()
    return "" if path == "." else path + "/"


def prefix_of_names(root: Path, folder: Path, names: Iterable[str]) -> str:
    """Find the folder to which the names in a list are relative, and return its prefix.

    It is the folder that contains the first name that is found at all. folder: is searched first;
    its prefix is returned if none of the names is found.
    """
    candidates = [folder, *(path for path in nearest_first(root) if path != folder)]
    for _, name in zip(range(NAMES_LOOKED_FOR), names):
        for candidate in candidates:
            # isfile is also False for a name that is too long
            if not Path(name).is_absolute() and os.path.isfile(candidate / name.strip()):
                return prefix_of(root, candidate)
    return prefix_of(root, folder)


def add_class_folders(
    listing: Listing,
    top: Path,
    split: str = "",
    label_of: Callable[[str], str] = emotion_named,
) -> None:
    """Add the images in the folders <top>/<class>/ and their subfolders.

    label_of: a function that returns the label for a folder's name, "" to leave the folder out.
    """
    classes = read_classes(top)
    for folder in classes.folders:
        label = label_of(folder.path.name)
        for path in map(listing.below, folder.images + folder.below):
            if label:
                listing.add(path, label, split=split)
            else:
                listing.leave_out(path, "its folder names no emotion")
    listing.leave_out_all(classes.left_out)


def leave_out_unlisted(listing: Listing, folder: Path, used: Container[Path] = ()) -> None:
    """Leave out the images in a folder and its subfolders that no list names. used: files of the
    data set that are not images, such as the lists.
    """
    listed = listing.named | {row.what for row in listing.left_out}
    if folder.is_dir():
        for path in listing.walk(folder, used):
            if path not in listed:
                listing.leave_out(path, "in no list")
