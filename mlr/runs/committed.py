"""A folder whose files change together: a stop at any moment leaves it consistent, and every file
is verified when it is read.

Files are first written as <name>.new and synced. Replacing SHA256SUMS commits them: from then on a
<name>.new whose hash is listed counts as the file, and renaming it only tidies up.
"""

import fcntl
import os
import re
import socket
import weakref
from functools import partial
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Optional, Tuple, Union

from mlr.errors import InputError
from mlr.runtime.files import STAGED, Content, link, remove, stage, sync
from mlr.runtime.hashing import sha256_of

SUMS = "SHA256SUMS"
LOCK = "lock"
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")  # a name that can't lead out of the folder


class CommittedFolder:
    """The files that the SHA256SUMS of a folder lists; other files in it are ignored."""

    def __init__(self, path: Union[str, "os.PathLike[str]"]) -> None:
        self.path = Path(path)
        self._digests: Dict[Tuple[int, ...], str] = {}

    def has(self, name: str) -> bool:
        """Tell whether SHA256SUMS lists a file."""
        return name in self.sums()

    def sums(self) -> Dict[str, str]:
        """Return {name: SHA-256} of the committed files. Raises InputError if SHA256SUMS is
        damaged, or lists a name that can't be a file of this folder.
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
                    f"{self.path / SUMS} lists {name!r}, which can't be a file of this folder: "
                    "another program wrote the list, or it is damaged; restore it from a copy, or "
                    "train again"
                )
        return sums

    def find(self, name: str) -> Optional[Path]:
        """Return the path of a committed file after verifying its content; None if it is missing,
        damaged or a link.
        """
        for _ in range(2):  # while one file is hashed, a training may rename the other to it
            digest = self.sums().get(name)
            for path in (self.path / name, self.path / (name + STAGED)):
                is_plain = path.is_file() and not path.is_symlink()
                if digest and is_plain and self._sha256(path) == digest:
                    return path
        return None

    def commit(
        self,
        contents: Mapping[str, Content],
        moved: Optional[Mapping[str, str]] = None,
        removed: Iterable[str] = (),
    ) -> None:
        """Write files together.

        contents: {name: content as `mlr.runtime.files.write_file` takes it}. moved: {name: a second
        name, under which its present content is kept}. removed: names of files to remove, except
        those in contents and the second names.
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
                sums[name] = self._sha256(staged[-1])
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
        """Finish a commit: rename the staged files whose hashes `sums` lists."""
        sync(self.path)
        for name, digest in sums.items():
            staged = self.path / (name + STAGED)
            if staged.is_file() and not staged.is_symlink() and self._sha256(staged) == digest:
                os.replace(staged, self.path / name)
        sync(self.path)

    def _sha256(self, path: Path) -> str:
        """Return the SHA-256 of a file. It is read again only if it has changed since this object
        read it, as the files of a checkpoint may have gigabytes.
        """
        status = path.stat()
        content = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        if content not in self._digests:
            self._digests[content] = sha256_of(path)
        return self._digests[content]

    def lock(self) -> None:
        """Lock the folder against other processes until `unlock`, or until this object or the
        process ends. Raises InputError if another process holds the lock.
        """
        descriptor = os.open(str(self.path / LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        self._unlock = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 200).decode("ascii", "replace").strip()
            raise InputError(
                f"another training ({owner}) is running in {self.path}: wait until it ends, or "
                "stop it"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, (f"process {os.getpid():d} on {socket.gethostname()}\n").encode())

    def unlock(self) -> None:
        """Let others lock the folder. It is needed because an exception's traceback may keep this
        object, and so the lock, alive for long.
        """
        self._unlock()
