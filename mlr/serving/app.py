"""The page and `POST /predict`: a FastAPI application around a given predictor."""

import asyncio
import base64
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import (
    Any,
    BinaryIO,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from mlr.errors import InputError
from mlr.serving.guard import Guard
from mlr.serving.uploads import FIELD, MOST_BYTES, MOST_IMAGES, Queue, images_of, refusal

DESCRIPTION = (
    "Predicts which emotion photographs evoke. Images stay in memory and are never stored."
)
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
# The server reads one request while the network works on another. A higher number would keep more
# decoded images in memory.
AT_ONCE = 2
# a view of an image: (kind, title for the page, pixels (H, W, 3) uint8 RGB)
View = Tuple[str, str, np.ndarray]


class Served(NamedTuple):
    """The run that is served. run: its name. classes: K names. each: as `Predictor.each`. views: a
    function that draws what the network sees in an image, or None; it raises InputError for a file
    that is not an image.
    """

    run: str
    classes: Sequence[str]
    each: Callable[[Iterable[BinaryIO]], Iterator[Any]]
    views: Optional[Callable[[BinaryIO], Sequence[View]]] = None


class About(BaseModel):
    """The run that is served, and the limits of a request."""

    run: str
    classes: List[str]
    has_views: bool
    most_images: int
    most_bytes: int


class Answer(BaseModel):
    """The probabilities of the classes for an image, highest first; they sum to 1."""

    image: str
    label: str
    probabilities: Dict[str, float]


class Unread(BaseModel):
    """An image that could not be read, and why."""

    image: str
    error: str
    cause: str


class Answers(BaseModel):
    """The answers for the images, in the order of the request."""

    images: List[Union[Answer, Unread]]


class Picture(BaseModel):
    """A view of an image: its kind, its title, and a JPEG as a data: URL."""

    view: str
    title: str
    picture: str


class Pictures(BaseModel):
    """The views of an image."""

    image: str
    views: List[Picture]


class Refused(BaseModel):
    """Why a request is refused. error: for programs; cause: for people, with what to do."""

    error: str
    cause: str


REFUSALS: Dict[Union[int, str], Dict[str, Any]] = {
    400: {"model": Refused, "description": "no images, a malformed request, or an unknown host"},
    403: {"model": Refused, "description": "a page of another web site sent the request"},
    404: {"model": Refused, "description": "no such address, or no views of this run"},
    408: {"model": Refused, "description": "the request took too long to arrive"},
    413: {"model": Refused, "description": f"more than {MOST_BYTES} bytes"},
    415: {"model": Refused, "description": "not multipart/form-data"},
    500: {"model": Refused, "description": "the prediction failed"},
    503: {
        "model": Refused,
        "description": "too many requests are waiting; Retry-After says when to send it again",
    },
}


def _body(most: int) -> Dict[str, Any]:
    """Return the OpenAPI description of a form with images. most: the highest number of images."""
    files = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "maxItems": most,
    }
    form = {"type": "object", "properties": {FIELD: files}, "required": [FIELD]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


def app_of(served: Served, version: str, host: str = "127.0.0.1") -> FastAPI:
    """Return the application. host: the address that it is served on, which requests may name."""
    # docs_url is None, as FastAPI's page for the description loads its script from another host.
    app = FastAPI(
        title="mlr", version=version, description=DESCRIPTION, docs_url=None, redoc_url=None
    )
    app.add_middleware(Guard, host=host)
    app.add_exception_handler(HTTPException, _refuse)
    queue, threads = Queue(), ThreadPoolExecutor(AT_ONCE, thread_name_prefix="mlr-serve")

    async def answered(request: Request, work: Callable[[List[BinaryIO]], Any]) -> Any:
        with queue.place() as place:
            images = await images_of(request, place)
            return await asyncio.get_running_loop().run_in_executor(threads, work, images)

    for path, (name, kind) in PAGE.items():
        content = (Path(__file__).parent / name).read_bytes()
        app.add_api_route(path, _constant(content, kind), include_in_schema=False)

    @app.get("/about")
    async def about() -> About:
        return About(
            run=served.run,
            classes=list(served.classes),
            has_views=served.views is not None,
            most_images=MOST_IMAGES,
            most_bytes=MOST_BYTES,
        )

    @app.post("/predict", responses=REFUSALS, openapi_extra=_body(MOST_IMAGES))
    async def predict(request: Request) -> Answers:
        return await answered(request, lambda images: _answers(served, images))

    @app.post("/views", responses=REFUSALS, openapi_extra=_body(1))
    async def views(request: Request) -> Union[Pictures, Unread]:
        return await answered(request, lambda images: _pictures(served, images))

    return app


def _constant(content: bytes, kind: str) -> Callable[[], Any]:
    async def answer() -> Response:
        return Response(content, media_type=kind)

    return answer


async def _refuse(_: Request, error: Any) -> JSONResponse:
    """Return a JSON answer to a request that FastAPI or `refusal` refused."""
    said = error.detail
    if not isinstance(said, dict):  # raised by FastAPI
        said = {
            "error": str(said).lower(),
            "cause": (
                "this server only has GET /, GET /about, GET /openapi.json, POST /predict and "
                "POST /views: request one of these"
            ),
        }
    return JSONResponse(said, error.status_code, error.headers)


def _unread(image: BinaryIO, error: InputError) -> Unread:
    return Unread(image=image.name, error="unreadable image", cause=str(error))


def _answers(served: Served, images: List[BinaryIO]) -> Answers:
    answers: List[Union[Answer, Unread]] = []
    for image, answer in zip(images, served.each(images)):
        if isinstance(answer, InputError):
            answers.append(_unread(image, answer))
        else:
            answers.append(Answer(image=image.name, **answer._asdict()))
    return Answers(images=answers)


def _pictures(served: Served, images: List[BinaryIO]) -> Union[Pictures, Unread]:
    if served.views is None:
        raise refusal(404, "no views", f"{served.run} has no maps to draw: use only POST /predict")
    if len(images) > 1:
        raise refusal(
            400, "too many images", "POST /views takes one image: send each in its own request"
        )
    (image,) = images
    try:
        drawn = served.views(image)
    except InputError as error:
        return _unread(image, error)
    return Pictures(
        image=image.name,
        views=[
            Picture(view=view, title=title, picture=_as_url(pixels))
            for view, title, pixels in drawn
        ],
    )


def _as_url(pixels: np.ndarray) -> str:
    """Return an image, (H, W, 3) uint8 RGB, as a JPEG in a data: URL."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
