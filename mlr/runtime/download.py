"""Downloads files: an interrupted download is continued, and a stalled one ends with an error."""

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
LEAST_RATE = 1000  # bytes per second, on average over TIMEOUT; slower downloads count as stalled
MOST_BYTES = 2**30  # of a file; the largest file of the model zoos has 553 million
BLOCK = 1 << 16  # bytes
HAS_NO_MORE = 416  # the HTTP status if the local part is already the whole file


class DownloadError(InputError):
    """A file can't be downloaded from an address. The message gives the reason, as the end of a
    sentence.
    """


def download(url: str, path: Path, timeout: float = TIMEOUT) -> None:
    """Download an address into a file. If the file exists, it counts as the first part, and the
    rest is added.

    timeout: seconds to wait for the connection and for an answer, and then for each timeout *
    LEAST_RATE bytes. Raises DownloadError if they don't come; the part that came stays in the file.
    Only a checksum can tell whether the content is right.
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
        length = getattr(answer, "length", None)  # addresses other than HTTP have none
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
    """Yield the bytes of an answer as they arrive. Raises DownloadError if they stop."""
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
    """Return the reason of a network error in one line."""
    reason = getattr(error, "reason", error)  # a URLError wraps the error that caused it
    if isinstance(reason, socket.timeout):
        return "no answer within the time limit"
    return shown(getattr(reason, "strerror", None) or str(reason)) or type(reason).__name__
