"""Finds the images in a folder and its subfolders, and lists all other files. All commands use this
search.

Symbolic links to files and folders are followed, wherever they lead. Each folder is read only once,
and a link to a folder above the start is not followed, so that cycles of links end.
"""

import os
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from mlr.data.formats import format_of_file
from mlr.errors import InputError
from mlr.runtime.output import in_a_line

# A file with one of these extensions counts as an image, whatever its content. So a damaged image
# is reported by name, and not skipped.
EXTENSIONS = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".dib",
    ".tif",
    ".tiff",
    ".gif",
    ".heic",
    ".heif",
    ".avif",
    ".jp2",
    ".j2k",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
)
# Camera raw files start like TIFF and often lie beside the JPEG of the same photograph, but no
# decoder here can read them.
RAW_EXTENSIONS = (
    ".3fr",
    ".arw",
    ".cr2",
    ".dng",
    ".erf",
    ".iiq",
    ".kdc",
    ".nef",
    ".nrw",
    ".pef",
    ".sr2",
    ".srw",
)
# System folders of Synology, macOS, Linux and Windows.
SYSTEM_NAMES = ("@eaDir", "__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information")
DEPTH = 3  # levels of folders, the root included, in which a layout is searched for
LONGEST_EXAMPLE = 200

HIDDEN, NO_IMAGE, RAW = "hidden or system file", "file that is not an image", "raw file of a camera"
UNREADABLE, BROKEN_LINK = "file that can't be read", "link that leads nowhere"
DEVICE, READ_ALREADY = "pipe or device", "folder that is read already"
SUBFOLDER, NO_CLASS = "image in a subfolder", "image in no class folder"
NO_SPLIT = "folder that is not a split"
COPY = "copy of another image"
SEVERAL = {
    HIDDEN: "hidden or system files",
    NO_IMAGE: "files that are not images",
    RAW: "raw files of a camera",
    UNREADABLE: "files that can't be read",
    BROKEN_LINK: "links that lead nowhere",
    DEVICE: "pipes or devices",
    READ_ALREADY: "folders that are read already",
    SUBFOLDER: "images in subfolders",
    NO_CLASS: "images in no class folder",
    NO_SPLIT: "folders that are not a split",
    COPY: "copies of other images",
}
# Reasons for leaving out files that may lie beside the images of any data set.
BESIDE = (HIDDEN, NO_IMAGE, RAW, BROKEN_LINK, DEVICE, READ_ALREADY)


class LeftOut(NamedTuple):
    """A line of left_out.csv.

    what: a path, or a row of a label file. reason: the kind of reason, and after a colon its
    details.
    """

    what: str
    reason: str


class Content(NamedTuple):
    """The content of a folder without its subfolders, sorted by name."""

    folders: List[Path]
    images: List[Path]
    left_out: List[LeftOut]


def content_of(folder: Path) -> Content:
    """Return the content of a folder without its subfolders. Raises InputError if it can't be
    read.
    """
    content = Content([], [], [])
    for entry in _entries(folder):
        path = Path(folder, entry.name)
        if is_hidden(entry.name):
            content.left_out.append(LeftOut(str(path), HIDDEN))
        elif _is(entry.is_dir):
            content.folders.append(path)
        else:
            fault = _fault(entry)
            if fault:
                content.left_out.append(LeftOut(str(path), fault))
            else:
                content.images.append(path)
    return content


def subfolders(folder: Path) -> List[Path]:
    """Return the folders in a folder, sorted by name, without reading its files.

    Raises InputError if the folder can't be read.
    """
    return [
        Path(folder, entry.name)
        for entry in _entries(folder)
        if not is_hidden(entry.name) and _is(entry.is_dir)
    ]


def walk(folder: Path) -> Tuple[List[Path], List[LeftOut]]:
    """Return the images in a folder and its subfolders, and what is left out.

    The images of a folder come before those of its subfolders. Raises InputError if a folder can't
    be read.
    """
    found, left_out, real_root, seen = [], [], os.path.realpath(folder), set()
    folders = [Path(folder)]
    links: List[Path] = []
    while folders or links:
        # Follow links last, so that files that can be reached without links keep their own path.
        here = folders.pop() if folders else links.pop(0)
        real = os.path.realpath(here)
        above = real != real_root and real_root.startswith(os.path.join(real, ""))
        if real in seen or above:
            left_out.append(LeftOut(str(here), READ_ALREADY))
            continue
        seen.add(real)
        content = content_of(here)
        found.append((here.parts, content.images))
        left_out += content.left_out
        for path in content.folders:
            (links if path.is_symlink() else folders).append(path)
    # sort by folder: sort keys of all images would take more memory than their paths
    return [path for _, images in sorted(found) for path in images], sorted(left_out)


def folders_below(root: Path) -> Iterator[List[Path]]:
    """Yield for each level, starting with [root], the folders of that level, down to DEPTH levels.

    Each folder comes once. Raises InputError if one can't be read.
    """
    seen, level = set(), [Path(root)]
    for _ in range(DEPTH):
        new = []
        for folder in level:
            real = os.path.realpath(folder)
            if real not in seen:
                seen.add(real)
                new.append(folder)
        yield new
        level = [path for folder in new for path in subfolders(folder)]


def is_hidden(name: str) -> bool:
    """Tell whether the name is that of a hidden or system file or folder."""
    return name.startswith(".") or name in SYSTEM_NAMES


def by_kind(left_out: Iterable[LeftOut]) -> List[str]:
    """Return a phrase for each kind of reason, with the number of files and an example, the most
    frequent first.
    """
    kinds: Dict[str, List[str]] = {}
    for row in left_out:
        kinds.setdefault(row.reason.partition(":")[0], []).append(row.what)
    return [
        f"{len(found)} {kind if len(found) == 1 else SEVERAL.get(kind, kind)}, "
        f"such as {in_a_line(found[0][:LONGEST_EXAMPLE])}"
        for kind, found in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]


def words_on(left_out: Sequence[LeftOut]) -> str:
    """Return one line about what was left out of a folder, "" if nothing was."""
    return "left out: " + "; ".join(by_kind(left_out)) if left_out else ""


def _entries(folder: Path) -> "List[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            f"can't read folder {folder}, so its images would be missing: {error.strerror}; get "
            "permission to read the folder, or move it to another place"
        ) from None


def _fault(entry: "os.DirEntry[str]") -> str:
    """Return the reason why a file is not an image, "" for an image.

    A broken link with an image's extension counts as an image: reading it raises an error that
    names it.
    """
    extension = os.path.splitext(entry.name)[1].lower()
    if not _is(entry.is_file):
        if os.path.exists(entry.path):
            return DEVICE
        return "" if extension in EXTENSIONS else BROKEN_LINK
    if extension in EXTENSIONS:
        return ""
    if extension in RAW_EXTENSIONS:
        return RAW
    try:
        return "" if format_of_file(entry.path) else NO_IMAGE
    except OSError:
        return UNREADABLE


def _is(kind: Callable[[], bool]) -> bool:
    """Return the result of `kind`, False if it fails.

    kind: is_dir or is_file of an os.DirEntry; both fail for circular links.
    """
    try:
        return kind()
    except OSError:
        return False
