"""The data sets of the field, as their authors and those who pass them on lay them out on disk.

Every reader takes the folder that the user has and returns a Listing. What is marked inferred was
seen in the code of others or follows from counts, and is not documented by a data set's authors.
"""

import os
from pathlib import Path

from mlr.data.class_folders import read_classes
from mlr.data.emotions import emotion_named
from mlr.data.walk import folders_below, is_hidden
from mlr.errors import InputError


def _elected(names, votes):
    """Return the name with the most votes, or "tie"."""
    most = max(votes)
    return "tie" if votes.count(most) > 1 else names[votes.index(most)]


def _plain(name):
    """Return an image's path as label files may have it, with slashes and without ./ before it."""
    name = name.replace("\\", "/")
    return name[2:] if name.startswith("./") else name


def _name_and_number(line):
    """Return the two of a line `<name> <number>`, between which there are blanks or tabs; the name
    may have blanks, too.
    """
    name, *number = line.strip().rsplit(None, 1)
    return name, "".join(number)


def _folders(root):
    """Yield a folder and those below it, the nearest first, as far down as a layout may lie."""
    for level in folders_below(root):
        yield from level


def _tables(root):
    """Return the CSV files as far down as a layout may lie."""
    return sorted(
        path
        for folder in _folders(root)
        for path in folder.iterdir()
        if path.suffix.lower() == ".csv" and not is_hidden(path.name)
    )


def _find(root, name):
    """Return where a file or folder of that name lies, nearest to the root first, or None."""
    return next((folder / name for folder in _folders(root) if (folder / name).exists()), None)


def _top(root, name, expected):
    found = _find(root, name)
    if not found:
        raise InputError(f"there is no {name} below {root}: expected {expected}")
    return found.parent


def _below(root, folder):
    """Return a folder's path below the root with a slash at its end, "" for the root itself."""
    path = folder.relative_to(root).as_posix()
    return "" if path == "." else path + "/"


def _base(root, folder, names):
    """Return below which folder, relative to the root, the first of the names that exists anywhere
    lies; `folder` where none does.
    """
    candidates = [folder, *(path for path in _folders(root) if path != folder)]
    for _, name in zip(range(20), names):
        for candidate in candidates:
            # False of a name that is too long, too
            if not Path(name).is_absolute() and os.path.isfile(candidate / name.strip()):
                return _below(root, candidate)
    return _below(root, folder)


def _add_folders(listing, top, split="", name_of=emotion_named):
    """Add the images in and below <top>/<class>/. name_of: makes the label of a folder's name, ""
    where it is to be left out.
    """
    classes = read_classes(top)
    for folder in classes.folders:
        for path in map(listing.below, folder.images + folder.below):
            if name_of(folder.path.name):
                listing.add(path, name_of(folder.path.name), split=split)
            else:
                listing.leave_out(path, "its folder names no emotion")
    listing.leave_out_all(classes.left_out)


def _leave_out_unlisted(listing, folder):
    listed = {row.path for row in listing.rows} | {row.what for row in listing.left_out}
    if folder.is_dir():
        for path in listing.walk(folder):
            if path not in listed:
                listing.leave_out(path, "in no list")
