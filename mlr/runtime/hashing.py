"""Digests of files."""

import hashlib
from pathlib import Path
from typing import Union

from mlr.errors import InputError

CHECKSUM = ".sha256"  # appended to a file's name: a line as sha256sum writes it


def verify_checksum(path: Union[str, Path]) -> None:
    """Raise InputError if <path>.sha256 exists and does not match the file."""
    listed = Path(f"{path}{CHECKSUM}")
    if not listed.is_file() or not Path(path).is_file():
        return
    digest = listed.read_bytes()[:64].decode("ascii", "replace").lower()
    if digest != sha256_of(path):
        raise InputError(
            f"{path} is damaged or changed: its SHA-256 is not the one in {listed}; restore it "
            "from a copy"
        )


def sha256_of(path: Union[str, Path]) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return digest_of(path, "sha256")


def digest_of(path: Union[str, Path], kind: str) -> str:
    """Return a file's digest in hexadecimal. kind: a name of hashlib, such as "sha256"."""
    digest = hashlib.new(kind)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
