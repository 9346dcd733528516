"""Collects the images that the rows of label files name, and a reason for each row or image that is
left out.
"""

import csv
import os
import posixpath
import sys
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import (
    Any,
    Container,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Union,
)

from mlr.data.emotions import sentiment_of
from mlr.data.walk import HIDDEN, LeftOut, is_hidden, walk
from mlr.errors import InputError

TWO_LABELS = "two labels for one image"
COPIES_STAY_IN = ("test", "valid", "train")  # a copy is kept in the first of these that has it


def place(split: str) -> int:
    """Return the place of a split among those that have a copy of an image; the first keeps it. Of
    several folds it is the one with the lowest number. "", no split, comes last.
    """
    if split in COPIES_STAY_IN:
        return COPIES_STAY_IN.index(split)
    return int(split) if split else sys.maxsize


class Row(NamedTuple):
    """An image and what its data set says about it; "" if it says nothing.

    path: relative to the root, with forward slashes.
    """

    path: str
    emotion: str
    sentiment: str
    split: str


class Listing:
    """The images of a data set as its label files or folders list them.

    Attributes: `root`, its folder; `rows`; `left_out`, with the reasons; `attributes`, what the
    data set says about an image besides its label, {path: {column of the manifest: text}}; `named`,
    all paths that rows name, including those of images that are left out; `notes`, sentences that
    tell the user how the folder was read.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._real_root = os.path.realpath(root)
        self._real_folder = lru_cache(maxsize=4096)(os.path.realpath)
        self.left_out: List[LeftOut] = []
        self.notes: List[str] = []
        self.attributes: Dict[str, Mapping[str, str]] = {}
        self.named: Set[str] = set()
        self._rows: Dict[str, Optional[Row]] = {}

    @property
    def rows(self) -> List[Row]:
        """The images that exist and have one label, in the order in which they were added."""
        return [row for row in self._rows.values() if row]

    @property
    def has_splits(self) -> bool:
        """Whether the data set has its own lists of splits or folds."""
        return any(row.split for row in self.rows)

    def add(
        self,
        path: str,
        emotion: str = "",
        sentiment: Optional[str] = None,
        split: str = "",
        listed: Optional[str] = None,
    ) -> bool:
        """Add an image, or leave it out if it has a fault, or if it was added before. Return
        whether it was added. If it was added in another split, it stays in one of the two.

        path: relative to the root; ./a.jpg and a.jpg are one image. sentiment: by default that of
        the emotion. listed: the row of the label file that names the image, for left_out.csv. Label
        files are not trusted: an image that they name must be inside the root.
        """
        fault = self.fault(path, listed is not None)
        path = posixpath.normpath(path)
        self.named.add(path)
        row = Row(path, emotion, sentiment_of(emotion) if sentiment is None else sentiment, split)
        listed = path if listed is None else listed
        before = self._rows.get(path)
        if fault:
            self.leave_out(listed, fault)
        elif path not in self._rows:
            self._rows[path] = row
            return True
        elif before == row:
            self.leave_out(listed, "listed twice")
        elif before and before._replace(split=split) == row:
            kept, other = sorted((before, row), key=lambda each: place(each.split))
            self._rows[path] = kept
            across = f"duplicate across splits: it stays in {kept.split}"
            self.leave_out(
                path if other is before else listed, across if other.split else "listed twice"
            )
            return kept is row
        else:
            self.contradict(path, listed)
        return False

    def contradict(self, path: str, listed: str) -> None:
        """Leave out an image that was added, and a row that contradicts its label."""
        if self._rows[path]:
            self.leave_out(path, TWO_LABELS)
        self.leave_out(listed, TWO_LABELS)
        self._rows[path] = None

    def leave_out(self, what: str, reason: str, image: Optional[str] = None) -> None:
        """Leave out a path or a row of a label file. image: the path that the row names."""
        self.left_out.append(LeftOut(what, reason))
        if image is not None:
            self.named.add(posixpath.normpath(image))

    def leave_out_unlisted(
        self, images: Mapping[str, Sequence[str]], listed: Set[str], reason: str
    ) -> None:
        """Leave out the images that no row names. images: {name in a row: paths}. listed: the names
        in all rows.
        """
        others = {path for name in images.keys() - listed for path in images[name]}
        for path in sorted(others - self.named):
            self.leave_out(path, reason)

    def walk(self, folder: Optional[Path] = None, used: Container[Path] = ()) -> List[str]:
        """Return the paths, relative to the root, of the images in a folder and its subfolders.

        folder: by default the root. Everything else in it is left out, except `used`: files that
        the data set needs, such as its label file.
        """
        images, left_out = walk(folder or self.root)
        self.leave_out_all(row for row in left_out if Path(row.what) not in used)
        return [self.below(path) for path in images]

    def below(self, path: Union[str, Path]) -> str:
        """Return a path relative to the root, as a manifest has it."""
        return Path(path).relative_to(self.root).as_posix()

    def leave_out_all(self, left_out: Iterable[LeftOut]) -> None:
        """Add all that a walk left out."""
        self.left_out += [LeftOut(self.below(what), reason) for what, reason in left_out]

    def fault(self, path: str, inside: bool = True, absent: str = "no image") -> str:
        """Return the reason why a file must be left out, "" if it need not.

        inside: whether links out of the root are refused. absent: the reason if there is no such
        file.
        """
        if "\0" in path or os.path.isabs(path) or ".." in Path(path).parts:
            return "its path leaves the root"
        file = self.root / path
        try:
            if not file.is_file():
                return absent
        except OSError:
            return absent  # for example for a name that is too long
        if any(map(is_hidden, Path(path).parts)):
            return HIDDEN
        real = os.path.realpath(file) if file.is_symlink() else self._real_folder(file.parent)
        if inside and os.path.commonpath([self._real_root, real]) != self._real_root:
            return "a link out of the root"
        return ""


def text_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file that are not blank.

    It may have any line ends, and a byte order mark. Bytes that are not UTF-8 become surrogates, as
    in Python's file names. Raises InputError if the file can't be read or is not a text file.
    """
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            for line in file:
                if "\0" in line:
                    raise InputError(f"{path} is not a text file: save it as UTF-8")
                if line.strip():
                    yield line.rstrip("\r\n")
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None


def csv_rows(path: Path, **dialect: Any) -> Iterator[List[str]]:
    """Yield the rows of a CSV file, with blanks around the fields removed.

    Fields are separated by commas or, if the first line has no comma, by tabs or semicolons, as
    some spreadsheets write them. dialect: arguments of csv.reader, which take precedence. Raises
    InputError if the file can't be read as CSV.
    """
    lines = text_lines(path)
    first = next(lines, "")
    delimiter = next((mark for mark in ",\t;" if mark in first), ",")
    try:
        for row in csv.reader(
            chain([first] if first else (), lines), **{"delimiter": delimiter, **dialect}
        ):
            yield [field.strip() for field in row]
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file ({error}): save it as CSV, in UTF-8") from None
