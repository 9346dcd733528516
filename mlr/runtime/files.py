"""Files that are either whole or not there."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Union

from mlr.errors import InputError, RunError

STAGED = ".new"
# of a file, or what writes it to the path that it is given
Content = Union[bytes, str, Callable[[str], object]]


def write_file(path: Union[str, Path], content: Content) -> None:
    """Write a file so that a stop at any moment leaves the old one or the new one; create its
    folder if need be.

    content: bytes, text, or a function that writes a file, given its path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(stage(path, content), path)
    sync(path.parent)


def stage(path: Path, content: Content) -> Path:
    """Write <path>.new, to be renamed to `path` when all else is ready, and return its path;
    content as in `write_file`.

    Where that fails, or is interrupted, nothing is left of it. Raises OSError with the path in it.
    """
    staged = path.with_name(path.name + STAGED)
    try:
        remove(staged)  # what is there may be a link to somewhere else
        if callable(content):
            content(str(staged))
        else:
            staged.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(staged)
    except BaseException as error:
        remove(staged)
        # as of a write that finds no room
        if isinstance(error, OSError) and error.errno and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    return staged


@contextmanager
def new_folder(path: Union[str, Path]) -> Iterator[Path]:
    """Return a context with <path>.new, a folder to fill, which is renamed to `path` at its end, or
    removed where that is not reached.

    Raises InputError where the rest of an interrupted command is there, and RunError where it can't
    be written.
    """
    path = Path(path)
    staged = path.with_name(path.name + STAGED)
    if staged.exists():
        raise InputError(
            f"{staged} exists already, likely the rest of an interrupted export: remove it"
        )
    try:
        staged.mkdir(parents=True)
        yield staged
        for each in (*staged.iterdir(), staged):
            sync(each)
        os.rename(staged, path)
        sync(path.parent)
    except OSError as error:
        raise RunError(
            f"{path} can't be written, likely for want of room: {error.strerror or error}"
        ) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file or a link, if it is there."""
    if os.path.lexists(path) and not (path.is_dir() and not path.is_symlink()):
        path.unlink()


def link(source: Union[str, Path], path: Union[str, Path]) -> None:
    """Have a file under a second name, which must be free: without a copy where the file system
    knows links.

    Both go on as they are when one is replaced, as `write_file` does it.
    """
    try:
        os.link(str(source), str(path))
    except OSError:
        shutil.copyfile(str(source), str(path))


def sync(path: Union[str, Path]) -> None:
    """Have a file, or a folder's list of files, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
