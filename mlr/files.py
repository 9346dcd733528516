"""Files that are either whole or not there."""

import os
from pathlib import Path

STAGED = ".new"


def write_file(path, content):
    """Write a file so that a stop at any moment leaves the old one or the new one; create its folder if need be.

    content: bytes, text, or a function that writes a file, given its path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(stage(path, content), path)
    sync(path.parent)


def stage(path, content):
    """Write <path>.new, to be renamed to `path` when all else is ready, and return its path; content as in `write_file`.

    Where that fails, or is interrupted, nothing is left of it.
    """
    staged = path.with_name(path.name + STAGED)
    try:
        if callable(content):
            content(str(staged))
        else:
            staged.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(staged)
    except BaseException:
        if staged.is_file():
            staged.unlink()
        raise
    return staged


def sync(path):
    """Have a file, or a folder's list of files, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
