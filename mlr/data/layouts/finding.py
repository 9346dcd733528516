"""What the readers of the data sets share: to find files in the folder that a user has, and to
read the forms of label files.
"""

import os
from pathlib import Path
from typing import Callable, Iterable, Iterator, List, Optional, Sequence, Tuple

from mlr.data.class_folders import read_classes
from mlr.data.emotions import emotion_named
from mlr.data.listing import Listing
from mlr.data.walk import folders_below, is_hidden
from mlr.errors import InputError

TIE = "tie"
NAMES_LOOKED_FOR = 20  # of a list, to find the folder that they are in


def most_voted(names: Sequence[str], votes: Sequence[float]) -> str:
    """Return the name with the most votes, or TIE."""
    most = max(votes)
    return TIE if votes.count(most) > 1 else names[votes.index(most)]


def plain_path(name: str) -> str:
    """Return an image's path as label files may have it, with slashes and without ./ before it."""
    name = name.replace("\\", "/")
    return name[2:] if name.startswith("./") else name


def name_and_number(line: str) -> Tuple[str, str]:
    """Return the two of a line `<name> <number>`, between which there are blanks or tabs.

    The name may have blanks, too.
    """
    name, *number = line.strip().rsplit(None, 1)
    return name, "".join(number)


def nearest_first(root: Path) -> Iterator[Path]:
    """Yield a folder and those below it, the nearest first, as far down as a layout may lie."""
    for level in folders_below(root):
        yield from level


def csv_files(root: Path) -> List[Path]:
    """Return the CSV files as far down as a layout may lie."""
    return sorted(
        path
        for folder in nearest_first(root)
        for path in folder.iterdir()
        if path.suffix.lower() == ".csv" and not is_hidden(path.name)
    )


def nearest(root: Path, name: str) -> Optional[Path]:
    """Return where a file or folder of that name lies, nearest to the root first, or None."""
    return next((folder / name for folder in nearest_first(root) if (folder / name).exists()), None)


def folder_with(root: Path, name: str, expected: str) -> Path:
    """Return the folder in which a file or folder of that name lies.

    expected: the layout in words, for the InputError where there is none.
    """
    found = nearest(root, name)
    if not found:
        raise InputError(f"there is no {name} below {root}: expected {expected}")
    return found.parent


def prefix_of(root: Path, folder: Path) -> str:
    """Return a folder's path below the root with a slash at its end, "" for the root itself."""
    path = folder.relative_to(root).as_posix()
    return "" if path == "." else path + "/"


def prefix_of_names(root: Path, folder: Path, names: Iterable[str]) -> str:
    """Return the prefix of the folder in which the first of the names lies that lies anywhere.

    folder: is looked into first, and its prefix returned where none of the names lies anywhere.
    """
    candidates = [folder, *(path for path in nearest_first(root) if path != folder)]
    for _, name in zip(range(NAMES_LOOKED_FOR), names):
        for candidate in candidates:
            # False of a name that is too long, too
            if not Path(name).is_absolute() and os.path.isfile(candidate / name.strip()):
                return prefix_of(root, candidate)
    return prefix_of(root, folder)


def add_class_folders(
    listing: Listing,
    top: Path,
    split: str = "",
    label_of: Callable[[str], str] = emotion_named,
) -> None:
    """Add the images in and below <top>/<class>/.

    label_of: makes the label of a folder's name, "" where it is to be left out.
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


def leave_out_unlisted(listing: Listing, folder: Path) -> None:
    """Leave out the images in and below a folder that no list has named."""
    listed = listing.named | {row.what for row in listing.left_out}
    if folder.is_dir():
        for path in listing.walk(folder):
            if path not in listed:
                listing.leave_out(path, "in no list")
