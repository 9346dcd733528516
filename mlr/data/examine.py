"""Examines every image of a data set before it is used: whether it can be decoded, its size, and
hashes that show duplicates.
"""

import csv
import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Sequence, Tuple

import cv2

from mlr.data.images import decode, read_bytes
from mlr.errors import InputError
from mlr.runtime.cpu import usable_cores
from mlr.runtime.progress import progress_over

CHUNK = 256  # images examined at once, so that memory does not grow with the data set
SIDE = re.compile("[0-9]{1,9}")
THUMBNAIL = 64  # pixels; images with the same thumbnail are near-duplicates


class Examined(NamedTuple):
    """The properties of an image, or the reason why it can't be read.

    width, height: in pixels, with the EXIF orientation ignored. thumbnail: a hash of its thumbnail.
    fault: the reason, "" if the image can be read.
    """

    width: int = 0
    height: int = 0
    sha256: str = ""
    thumbnail: str = ""
    fault: str = ""


def examine_image(path: Path) -> Examined:
    """Decode an image file, and return its properties or the fault."""
    try:
        data = read_bytes(path)
        pixels = decode(data, path)
    except InputError as error:
        return Examined(fault=str(error))
    height, width, _ = pixels.shape
    # BGR, so that hashes in the journals of older versions still match
    thumbnail = cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)[:, :, ::-1]
    return Examined(
        width,
        height,
        hashlib.sha256(data).hexdigest(),
        hashlib.sha256(thumbnail.tobytes()).hexdigest()[:32],
    )


def pixels_sha256(path: Path) -> str:
    """Return the SHA-256 of an image's decoded pixels. Lossless formats of the same pixels have the
    same hash.

    Raises InputError if the image can't be read.
    """
    return hashlib.sha256(decode(read_bytes(path), path).tobytes()).hexdigest()


def examine_images(root: Path, names: Sequence[str], journal: Path) -> Iterator[Examined]:
    """Yield an Examined for each image, in order. All cores work on it.

    names: paths relative to `root`. journal: a file to which every image that can be read is
    added, so that after an interruption only the remaining ones are decoded. An entry is used only
    if the size and the modification time of the image file are still the same.
    """
    known = _read_journal(journal)
    left = progress_over(names, "reading images", len(names), "images")
    with ThreadPoolExecutor(usable_cores()) as pool, open(
        journal, "a", newline="", encoding="utf-8", errors="surrogateescape"
    ) as file:
        writer = csv.writer(file, lineterminator="\n")
        while True:
            chunk = [(name, root / name, _stamp(root / name)) for name in islice(left, CHUNK)]
            if not chunk:
                return
            new = [(name, path, stamp) for name, path, stamp in chunk if (name, stamp) not in known]
            for (name, _, stamp), image in zip(
                new, pool.map(examine_image, [path for _, path, _ in new])
            ):
                known[name, stamp] = image
                # A fault may end although the file stays the same: a decoder is installed, or
                # reading is allowed. The empty last field: the line was written completely.
                if not image.fault:
                    writer.writerow([name, stamp, *image, ""])
            file.flush()
            for name, _, stamp in chunk:
                yield known.pop((name, stamp))


def _stamp(path: Path) -> str:
    """Return a file's size and modification time as text, "-" if they can't be read."""
    try:
        status = os.stat(path)
    except OSError:
        return "-"
    return f"{status.st_size:d}:{status.st_mtime_ns:d}"


def _read_journal(path: Path) -> Dict[Tuple[str, str], Examined]:
    """Return the results in the journal, {(name, stamp): Examined}."""
    known: Dict[Tuple[str, str], Examined] = {}
    if path.is_file():
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            try:
                for row in csv.reader(file):
                    if (
                        len(row) == 3 + len(Examined._fields)
                        and SIDE.fullmatch(row[2])
                        and SIDE.fullmatch(row[3])
                    ):
                        known[row[0], row[1]] = Examined(int(row[2]), int(row[3]), *row[4:-1])
            except csv.Error:  # damaged: the images of the following lines are examined again
                pass
    return known
