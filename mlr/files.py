"""Files that are either whole or not there."""

import os
from pathlib import Path

STAGED = ".new"


def write_file(path, content):
    """Write bytes or text so that a stop at any moment leaves the old file or the new one; create its folder if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(path.name + STAGED)
    staged.write_bytes(content.encode() if isinstance(content, str) else content)
    sync(staged)
    os.replace(staged, path)
    sync(path.parent)


def sync(path):
    """Have a file, or a folder's list of files, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
