"""A look at every image of a data set before it is used."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from tqdm import tqdm

from mlr.data.images import decode, read_bytes
from mlr.errors import InputError
from mlr.threads import usable_cores

CHUNK = 256  # images at once, so that memory does not grow with their number


class Examined(NamedTuple):
    """What an image is, or why it can't be read. width, height: pixels, before any EXIF orientation."""

    width: int = 0
    height: int = 0
    sha256: str = ""
    fault: str = ""


def examine(path):
    """Decode an image file; return what was found as Examined."""
    try:
        data = read_bytes(path)
        height, width, _ = decode(data, path).shape
    except InputError as error:
        return Examined(fault=str(error))
    return Examined(width, height, hashlib.sha256(data).hexdigest())


def examine_all(paths):
    """Yield an Examined for each path, in order, on all cores."""
    paths = iter(tqdm(paths, desc="reading images", unit=" images", leave=False, disable=None))
    with ThreadPoolExecutor(usable_cores()) as pool:
        while True:
            chunk = list(islice(paths, CHUNK))
            if not chunk:
                return
            yield from pool.map(examine, chunk)
