"""Writes files so that each is either complete or absent."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Union

from mlr.errors import InputError, RunError

STAGED = ".new"
# the content of a file, or a function that writes it to the path that it is given
Content = Union[bytes, str, Callable[[str], object]]


def write_file(path: Union[str, Path], content: Content) -> None:
    """Write a file, and create its folder if it does not exist. A stop at any moment leaves either
    the old file or the new one.

    content: bytes, text, or a function that writes a file, given its path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(stage(path, content), path)
    sync(path.parent)


def stage(path: Path, content: Content) -> Path:
    """Write <path>.new, and return its path. The caller renames it to `path` when all else is
    ready.

    content: as in `write_file`. If writing fails or is interrupted, <path>.new is removed. Raises
    OSError, which names the path.
    """
    staged = path.with_name(path.name + STAGED)
    try:
        remove(staged)  # it may be a link to another place
        if callable(content):
            content(str(staged))
        else:
            staged.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(staged)
    except BaseException as error:
        remove(staged)
        # for example if the disk is full
        if isinstance(error, OSError) and error.errno and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    return staged


@contextmanager
def new_folder(path: Union[str, Path]) -> Iterator[Path]:
    """Return a context with a folder to fill, <path>.new. It is renamed to `path` at the end of the
    context, or removed if the context ends early.

    Raises InputError if <path>.new exists, left by an interrupted command, and RunError if the
    folder can't be written.
    """
    path = Path(path)
    staged = path.with_name(path.name + STAGED)
    try:
        staged.mkdir(parents=True)
    except FileExistsError:
        raise InputError(
            f"{staged} exists already, likely left by an interrupted export: remove it"
        ) from None
    try:
        yield staged
        for each in (*staged.iterdir(), staged):
            sync(each)
        os.rename(staged, path)
        sync(path.parent)
    except OSError as error:
        raise RunError(
            f"{path} can't be written, likely because the disk is full: {error.strerror or error}"
        ) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file or a link, if it is there."""
    if os.path.lexists(path) and not (path.is_dir() and not path.is_symlink()):
        path.unlink()


def link(source: Union[str, Path], path: Union[str, Path]) -> None:
    """Give a file a second name, which must be free: by a hard link if the file system has them,
    else by a copy.

    If `write_file` later replaces one of the two, the other keeps its content.
    """
    try:
        os.link(str(source), str(path))
    except OSError:
        shutil.copyfile(str(source), str(path))


def sync(path: Union[str, Path]) -> None:
    """Make sure that a file, or the list of files of a folder, is written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
