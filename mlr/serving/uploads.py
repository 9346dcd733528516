"""The images of a request: bounded in bytes and in number, held in memory, never on the disk."""

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
MOST_IMAGES = 16  # of a request: the network sees as many together
MOST_WAITING = 64  # requests
MOST_HELD = 256 * MIB  # of the bodies of all requests
MOST_SECONDS = 30  # for a request's body to come; one that stalls would keep its place
RETRY_AFTER = 2  # seconds

# what it warns of is in the answer, and whoever asks could fill a log with it
logging.getLogger("python_multipart").setLevel(logging.ERROR)


class InMemory(MultiPartParser):
    """Starlette's parser, which never writes an image to the disk."""

    # its name in Starlette 0.44, and in 0.50
    max_file_size = spool_max_size = MOST_BYTES


def refusal(
    status: int, error: str, cause: str, headers: Optional[Dict[str, str]] = None
) -> HTTPException:
    """Return what refuses a request with JSON. error: for programs. cause: for persons, with what
    to do.
    """
    return HTTPException(status, {"error": error, "cause": cause}, headers)


def _busy() -> HTTPException:
    return refusal(
        503,
        "busy",
        "too many images wait for their answer: ask again, as soon as Retry-After says",
        {"Retry-After": str(RETRY_AFTER)},
    )


class Place:
    """A request's place in the queue, and the bytes that it holds."""

    def __init__(self, queue: "Queue") -> None:
        self._queue, self.held = queue, 0

    def hold(self, size: int) -> None:
        """Hold so many bytes more. Raises HTTPException where that are too many."""
        self.held += size
        self._queue.held += size
        refuse_large(self.held)
        if self._queue.held > MOST_HELD:
            raise _busy()


class Queue:
    """The requests that came and are not answered, of a bounded number and size. It is used in one
    thread, the event loop's.
    """

    def __init__(self) -> None:
        self.waiting = self.held = 0

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Return a context with a Place. Raises HTTPException where there is none."""
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
    """Raise HTTPException where a request has more bytes than it may."""
    if size > MOST_BYTES:
        raise refusal(
            413,
            "too large",
            f"a request may have {MOST_BYTES // MIB} MiB, and this one has more: send fewer "
            "images in a request, or make them smaller; the network sees some hundred pixels of "
            "a side",
        )


async def images_of(request: Request, place: Place) -> List[BinaryIO]:
    """Return the images of a request, files in memory whose names are those that the client gave
    them.

    Raises HTTPException for a request that is too large, too slow or malformed, or has no image or
    too many. It is raised as soon as that is known, not after the whole request has come.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip() != "multipart/form-data":
        raise refusal(
            415,
            "wrong type",
            f"images are sent as multipart/form-data: curl -F {FIELD}=@photo.jpg",
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
            f"the request did not come within {MOST_SECONDS} seconds: send it again, with fewer "
            "images",
        ) from None
    except (MultiPartException, ValueError) as error:
        said = error.message if isinstance(error, MultiPartException) else error
        raise refusal(
            400, "malformed", f"the request's multipart/form-data can't be read: {said}"
        ) from None
    return [await _file(value, number) for number, value in enumerate(_uploads(form), 1)]


def _uploads(form: Any) -> List[UploadFile]:
    """Return a form's images. Raises HTTPException where it has none, or something else."""
    found = form.multi_items()
    if not found or any(
        name != FIELD or not isinstance(value, UploadFile) for name, value in found
    ):
        raise refusal(
            400,
            "no images",
            f"a request has files in the field {FIELD}, one or more, and nothing else: curl -F "
            f"{FIELD}=@photo.jpg, with the @",
        )
    return [value for _, value in found]


async def _file(upload: UploadFile, number: int) -> BinaryIO:
    file = io.BytesIO(await upload.read())
    await upload.close()
    file.name = upload.filename or f"image {number}"
    return file
