"""Files from the network: taken up where they broke off, and never waited for without end."""

import socket
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any, Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mlr.errors import InputError, shown
from mlr.runtime.progress import Bar

TIMEOUT = 30.0  # seconds
LEAST_RATE = 1000  # bytes a second, over that time; what is slower counts as stalled
MOST_BYTES = 2**30  # of a file; the largest of the zoos' has 553 million
BLOCK = 1 << 16  # bytes
HAS_NO_MORE = 416  # HTTP's status where nothing lies behind the bytes that one has


class DownloadError(InputError):
    """A file can't be had from an address: the message says why, as the end of a sentence."""


def download(url: str, path: Path, timeout: float = TIMEOUT) -> None:
    """Bring what an address has into a file, and go on at its end where a part is there already.

    timeout: seconds in which a connection, an answer, and then LEAST_RATE bytes for each of them
    have to come. Raises DownloadError where they don't, with the part that came in the file.
    Whether that is what it should be only a checksum can tell.
    """
    there = path.stat().st_size if path.is_file() else 0
    headers = {"Range": f"bytes={there:d}-"} if there else {}
    try:
        answer = urlopen(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        if error.code == HAS_NO_MORE and there:
            return
        raise DownloadError(f"it answers {error.code:d} {shown(str(error.reason))}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise DownloadError(_reason(error)) from None
    with answer:
        resumed = answer.getcode() == 206
        there = there if resumed else 0
        length = getattr(answer, "length", None)  # None of what is no HTTP, too
        total = None if length is None else there + length
        with open(path, "ab" if resumed else "wb") as file, Bar(
            path.name, total, "B", there
        ) as bar:
            for block in _blocks(answer, timeout):
                file.write(block)
                there += len(block)
                bar.update(len(block))
                if there > MOST_BYTES:
                    raise DownloadError(f"it sends more than {MOST_BYTES / 2**30:g} GiB")
    if total is not None and there < total:
        raise DownloadError(f"it ended after {there:d} of {total:d} bytes")


def _blocks(answer: Any, timeout: float) -> Iterator[bytes]:
    """Yield what comes, as it comes."""
    began, came = time.monotonic(), 0
    while True:
        try:
            block = answer.read1(BLOCK)
        except (OSError, HTTPException) as error:
            raise DownloadError(f"it broke off: {_reason(error)}") from None
        if not block:
            return
        yield block
        came += len(block)
        passed = time.monotonic() - began
        if passed > timeout:
            if came < LEAST_RATE * passed:
                raise DownloadError(f"it stalled: {came:d} bytes in {passed:.0f} seconds")
            began, came = time.monotonic(), 0


def _reason(error: Exception) -> str:
    """Return what an error of the network says, in a line."""
    reason = getattr(error, "reason", error)  # of a URLError, what it was raised for
    if isinstance(reason, socket.timeout):
        return "no answer within the time limit"
    return shown(getattr(reason, "strerror", None) or str(reason)) or type(reason).__name__
