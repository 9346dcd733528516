"""A folder of files that change together: whole after a stop at any moment, verified when read.

Files are staged as <name>.new and synced; the new SHA256SUMS is the commit: from then on a staged
file whose hash it lists is the file, and renaming it is only tidying up.
"""

import fcntl
import os
import re
import socket
import weakref
from functools import partial
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Optional, Union

from mlr.errors import InputError
from mlr.runtime.files import STAGED, Content, link, remove, stage, sync
from mlr.runtime.hashing import sha256_of

SUMS = "SHA256SUMS"
LOCK = "lock"
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # a name that can't lead out of the folder


class CommittedFolder:
    """The files of a folder that its SHA256SUMS lists, and no other."""

    def __init__(self, path: Union[str, "os.PathLike[str]"]) -> None:
        self.path = Path(path)

    def has(self, name: str) -> bool:
        """Tell whether a file was committed."""
        return name in self.sums()

    def sums(self) -> Dict[str, str]:
        """Return {name: SHA-256} of the files that were committed. Raises InputError where the list
        is damaged, or names a file elsewhere.
        """
        try:
            lines = (self.path / SUMS).read_text().splitlines()
            sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        except ValueError:
            raise InputError(
                f"{self.path / SUMS} is damaged: restore it from a copy, or train again"
            ) from None
        for name in sums:
            if not PLAIN.fullmatch(name) or name.endswith(STAGED) or name in (SUMS, LOCK):
                raise InputError(
                    f"{self.path / SUMS} lists {name!r}, which is no file of this folder: it was "
                    "not written by this package, or is damaged"
                )
        return sums

    def find(self, name: str) -> Optional[Path]:
        """Return the path of a file whose content is the one that was committed, None where it is
        missing, damaged or a link.
        """
        digest = self.sums().get(name)
        for path in (self.path / name, self.path / (name + STAGED)):
            if digest and path.is_file() and not path.is_symlink() and sha256_of(path) == digest:
                return path
        return None

    def commit(
        self,
        contents: Mapping[str, Content],
        moved: Optional[Mapping[str, str]] = None,
        removed: Iterable[str] = (),
    ) -> None:
        """Write files together.

        contents: {name: content, as of `mlr.runtime.files.write_file`}. moved: {name: the name that
        its present content goes on under}. removed: names that are listed no more, but for those
        just written.
        """
        sums = self.sums() if (self.path / SUMS).is_file() else {}
        self._tidy(sums)
        staged: List[Path] = []
        moved = moved or {}
        try:
            for name, kept in moved.items():
                staged.append(stage(self.path / kept, partial(link, self.path / name)))
                sums[kept] = sums[name]
            for name, content in contents.items():
                staged.append(stage(self.path / name, content))
                sums[name] = sha256_of(staged[-1])
            removed = set(removed) - set(contents) - set(moved.values())
            new_sums = stage(
                self.path / SUMS,
                "".join(
                    f"{digest}  {name}\n"
                    for name, digest in sorted(sums.items())
                    if name not in removed
                ),
            )
        except BaseException:
            for path in staged:
                remove(path)
            raise
        os.replace(new_sums, self.path / SUMS)
        self._tidy(sums)
        for name in removed:
            remove(self.path / name)

    def _tidy(self, sums: Mapping[str, str]) -> None:
        """Finish an interrupted commit: put staged files that it lists in their place."""
        sync(self.path)
        for name, digest in sums.items():
            staged = self.path / (name + STAGED)
            if staged.is_file() and not staged.is_symlink() and sha256_of(staged) == digest:
                os.replace(staged, self.path / name)
        sync(self.path)

    def lock(self) -> None:
        """Keep all others from locking the folder until `unlock`, or this object's or the process's
        end. Raises InputError where another was first.
        """
        descriptor = os.open(str(self.path / LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        self._unlock = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 200).decode("ascii", "replace").strip()
            raise InputError(
                f"another training ({owner}) is at work in {self.path}: wait until it ends, or "
                "stop it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, (f"process {os.getpid():d} on {socket.gethostname()}\n").encode())

    def unlock(self) -> None:
        """Let others lock the folder: an exception's traceback may keep this object alive for
        long.
        """
        self._unlock()
