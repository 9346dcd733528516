"""The images of a request: limited in bytes and number, kept in memory, never written to the
disk.
"""

import asyncio
import io
import logging
from contextlib import contextmanager
from typing import Any, AsyncIterator, BinaryIO, Dict, Iterator, List, Optional

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

FIELD = "images"
MIB = 2**20
MOST_BYTES = 20 * MIB  # of a request
MOST_IMAGES = 16  # of a request: one batch of the network
MOST_WAITING = 64  # requests
MOST_HELD = 256 * MIB  # of the bodies of all waiting requests together
MOST_SECONDS = 30  # for a request's body to arrive, as one that stalls keeps its place in the queue
RETRY_AFTER = 2  # seconds

# The answer contains what this logger warns of, and a client could fill a log file with its
# warnings.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class InMemory(MultiPartParser):
    """Starlette's parser, which never writes an image to the disk."""

    # the names of this limit in Starlette 0.44 and 0.50
    max_file_size = spool_max_size = MOST_BYTES


def refusal(
    status: int, error: str, cause: str, headers: Optional[Dict[str, str]] = None
) -> HTTPException:
    """Return the exception that refuses a request with JSON. error: for programs. cause: for
    people, with what to do.
    """
    return HTTPException(status, {"error": error, "cause": cause}, headers)


def _busy() -> HTTPException:
    return refusal(
        503,
        "busy",
        "too many images are waiting for their answer: send the request again after the seconds "
        "in Retry-After",
        {"Retry-After": str(RETRY_AFTER)},
    )


class Place:
    """A request's place in the queue, and the bytes that it holds."""

    def __init__(self, queue: "Queue") -> None:
        self._queue, self.held = queue, 0

    def hold(self, size: int) -> None:
        """Count `size` more bytes. Raises HTTPException if there are too many."""
        self.held += size
        self._queue.held += size
        refuse_large(self.held)
        if self._queue.held > MOST_HELD:
            raise _busy()


class Queue:
    """The requests that are not answered yet, limited in number and size. Only the event loop's
    thread uses it.
    """

    def __init__(self) -> None:
        self.waiting = self.held = 0

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Return a context with a Place. Raises HTTPException if the queue is full."""
        if self.waiting >= MOST_WAITING:
            raise _busy()
        self.waiting += 1
        place = Place(self)
        try:
            yield place
        finally:
            self.waiting -= 1
            self.held -= place.held


def refuse_large(size: int) -> None:
    """Raise HTTPException if a request has too many bytes."""
    if size > MOST_BYTES:
        raise refusal(
            413,
            "too large",
            f"a request may have {MOST_BYTES // MIB} MiB, and this one has more: send fewer "
            "images in a request, or smaller ones; the network only sees a few hundred pixels on "
            "each side",
        )


async def images_of(request: Request, place: Place) -> List[BinaryIO]:
    """Return the images of a request, as files in memory with the client's file names.

    Raises HTTPException for a request that is too large, too slow or malformed, or has no image or
    too many, as soon as this is known, without waiting for the whole request.
    """
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise refusal(
            415,
            "wrong type",
            f"send images as multipart/form-data: curl -F {FIELD}=@photo.jpg",
        )
    length = request.headers.get("Content-Length", "")
    refuse_large(int(length) if length.isdecimal() else 0)

    async def body() -> AsyncIterator[bytes]:
        async for part in request.stream():
            place.hold(len(part))
            yield part

    parser = InMemory(
        request.headers,
        body(),
        max_files=MOST_IMAGES,
        max_fields=MOST_IMAGES,
    )
    try:
        form = await asyncio.wait_for(parser.parse(), MOST_SECONDS)
    except asyncio.TimeoutError:
        raise refusal(
            408,
            "too slow",
            f"the request did not arrive within {MOST_SECONDS} seconds: send it again, with fewer "
            "images",
        ) from None
    except (MultiPartException, ValueError) as error:
        said = error.message if isinstance(error, MultiPartException) else error
        raise refusal(
            400, "malformed", f"the request's multipart/form-data can't be read: {said}"
        ) from None
    return [await _file(value, number) for number, value in enumerate(_uploads(form), 1)]


def _uploads(form: Any) -> List[UploadFile]:
    """Return a form's images. Raises HTTPException if it has none, or contains something else."""
    found = form.multi_items()
    if not found or any(
        name != FIELD or not isinstance(value, UploadFile) for name, value in found
    ):
        raise refusal(
            400,
            "no images",
            f"a request must have one or more files in the field {FIELD}, and nothing else: curl "
            f"-F {FIELD}=@photo.jpg, with the @",
        )
    return [value for _, value in found]


async def _file(upload: UploadFile, number: int) -> BinaryIO:
    file = io.BytesIO(await upload.read())
    await upload.close()
    name = upload.filename or f"image {number}"
    file.name = name.encode("utf-8", "replace").decode()  # JSON in UTF-8 can't have surrogates
    return file
