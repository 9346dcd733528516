"""The application of mlr serve, in this process."""

import asyncio
import base64
import io
import random
import re
import struct
import threading
from pathlib import Path
from tempfile import SpooledTemporaryFile

import httpx
import numpy as np
import pytest
from conftest import png_header
from PIL import Image
from reliability.mutations import mutated
from starlette.testclient import TestClient

import mlr
from mlr.errors import InputError
from mlr.inference.predictor import Prediction
from mlr.runs.shipped import DEMO_RUN
from mlr.serve import views_of
from mlr.serving import uploads
from mlr.serving.app import Served, app_of

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "mlr" / "serving"
PHOTO = (ROOT / "imgs" / "photos" / "cat.jpg").read_bytes()
FIELD_WITH_TEXT = b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\na\r\n--x--'
ADDRESS = "http://127.0.0.1:8000"


def each(images):
    """Answer as a predictor does, without a network."""
    for image in images:
        content = image.read()
        yield (
            Prediction("awe", {"awe": 0.75, "fear": 0.25})
            if content.startswith(b"\xff\xd8")
            else InputError(f"{image.name} can't be decoded: replace it")
        )


def app(each=each, views=None, host="127.0.0.1"):
    return app_of(Served("mine", ["awe", "fear"], each, views), "1.2", host)


def client(application=None):
    return TestClient(application or app(), base_url=ADDRESS, raise_server_exceptions=False)


def form(*contents, field="images", name="photo.jpg"):
    return [(field, (name, content, "image/jpeg")) for content in contents]


def refused(answer, status, error, cause):
    assert answer.status_code == status
    assert answer.json()["error"] == error
    assert cause in answer.json()["cause"]


@pytest.fixture(scope="module")
def predictor():
    return mlr.load(DEMO_RUN, ctx="cpu")


@pytest.fixture(scope="module")
def serving(predictor):
    return client(
        app_of(Served("demo", predictor.classes, predictor.each, views_of(predictor)), "1.2")
    )


def jpeg(width, height):
    """Return a JPEG whose header claims so many pixels."""
    start = PHOTO.index(b"\xff\xc0") + 5
    return PHOTO[:start] + struct.pack(">HH", height, width) + PHOTO[start + 4 :]


def test_the_answer_is_the_predictors(serving, predictor):
    answer = serving.post("/predict", files=form(PHOTO))
    said = predictor(PHOTO)
    assert answer.status_code == 200
    assert answer.json() == {
        "images": [{"image": "photo.jpg", "label": said.label, "probabilities": said.probabilities}]
    }
    assert list(answer.json()["images"][0]["probabilities"]) == list(said.probabilities)


@pytest.mark.parametrize(
    "content, cause",
    [
        (PHOTO[: len(PHOTO) // 2], "photo.jpg is truncated"),
        (b"%PDF-1.4 no photograph", "photo.jpg can't be decoded"),
        (b"", "photo.jpg is empty"),
        (png_header(40_000, 40_000), "photo.jpg claims more than 134 million pixels"),
        (jpeg(40_000, 40_000), "photo.jpg claims more than 134 million pixels"),
    ],
    ids=["truncated", "another type", "empty", "huge png", "huge jpeg"],
)
@pytest.mark.parametrize("path", ["/predict", "/views"])
def test_what_is_no_image_is_answered_with_its_cause(serving, path, content, cause):
    answer = serving.post(path, files=form(content))
    assert answer.status_code == 200
    said = answer.json()["images"][0] if path == "/predict" else answer.json()
    assert (said["image"], said["error"]) == ("photo.jpg", "unreadable image")
    assert cause in said["cause"]


def test_a_broken_image_does_not_take_the_others_with_it(serving, predictor):
    said = serving.post("/predict", files=form(PHOTO, b"broken", PHOTO)).json()["images"]
    assert [each.get("label") for each in said] == [predictor(PHOTO).label, None, said[0]["label"]]


def test_views_are_pictures_of_the_predicted_class_and_of_each_block(serving, predictor):
    said = serving.post("/views", files=form(PHOTO)).json()
    assert [each["view"] for each in said["views"]] == ["grad-cam", *["filter"] * 4]
    assert said["views"][0]["title"] == f"Grad-CAM for {predictor(PHOTO).label}"
    for each_view in said["views"]:
        kind, _, content = each_view["picture"].partition(",")
        image = Image.open(io.BytesIO(base64.b64decode(content)))
        image.load()
        assert kind == "data:image/jpeg;base64" and max(image.size) <= 512


def test_a_predictor_without_maps_has_no_views():
    assert client().get("/about").json()["has_views"] is False
    refused(client().post("/views", files=form(PHOTO)), 404, "no views", "use only POST /predict")


def test_a_model_of_onnx_has_grad_cam_alone():
    predictor = mlr.load(ROOT / "checkpoints" / "photos" / "model.onnx")
    (view,) = views_of(predictor)(io.BytesIO(PHOTO))
    assert view[:2] == ("grad-cam", f"Grad-CAM for {predictor(PHOTO).label}")
    assert views_of(mlr.load(ROOT / "tests" / "portable" / "small.onnx")) is None  # in 8 bits


def test_views_are_of_one_image(serving):
    answer = serving.post("/views", files=form(PHOTO, PHOTO))
    refused(answer, 400, "too many images", "send each in its own request")


@pytest.mark.parametrize(
    "sent, status, error, cause",
    [
        ({"files": form(PHOTO, field="other")}, 400, "no images", "curl -F images=@photo.jpg"),
        ({"files": form(*[PHOTO] * 17)}, 400, "malformed", "Maximum number of files is 16"),
        ({"json": {"images": ["a"]}}, 415, "wrong type", "multipart/form-data"),
        ({"content": PHOTO, "headers": {"Content-Type": "image/jpeg"}}, 415, "wrong type", "curl"),
        (
            {"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            400,
            "no images",
            "one or more",
        ),
        (
            {"content": b"no form", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            400,
            "malformed",
            "can't be read",
        ),
        (
            {"content": b"--x--", "headers": {"Content-Type": "multipart/form-data"}},
            400,
            "malformed",
            "boundary",
        ),
        (
            {
                "content": FIELD_WITH_TEXT,
                "headers": {"Content-Type": "multipart/form-data; boundary=x"},
            },
            400,
            "no images",
            "with the @",
        ),
    ],
    ids=["field", "many", "json", "bare", "nothing", "damaged", "no boundary", "text"],
)
def test_a_request_without_images_is_refused(sent, status, error, cause):
    refused(client().post("/predict", **sent), status, error, cause)


def test_a_truncated_form_is_an_error_of_its_image():
    sent = httpx.Request("POST", ADDRESS, files=form(PHOTO)).read()
    answer = client().post(
        "/predict",
        content=sent[: len(sent) // 2],
        headers={"Content-Type": "multipart/form-data; boundary=" + sent[2:34].decode()},
    )
    assert answer.status_code in (200, 400) and "awe" not in answer.text


def test_damaged_forms_and_images_are_never_a_failure(serving, seed, capsys):
    chance = random.Random(seed)
    request = httpx.Request("POST", ADDRESS, files=form(PHOTO[:3000], png_header(8, 8)))
    sent, kind = request.read(), request.headers["Content-Type"]
    statuses = set()
    for _ in range(200):
        damaged, _ = mutated(sent, chance, [PHOTO, sent])
        answer = serving.post("/predict", content=damaged, headers={"Content-Type": kind})
        statuses.add(answer.status_code)
        assert answer.json().keys() in ({"images"}, {"error", "cause"})
    assert statuses == {200, 400}
    assert "failed" not in capsys.readouterr().err


def asked(application, messages, headers=()):
    """Send a request by hand; return the status, and how many of its messages were taken."""
    taken, statuses = [], []

    async def receive():
        message = next(messages)
        taken.append(message)
        if message is None:  # it never comes
            await asyncio.Event().wait()
        return message

    async def send(message):
        statuses.append(message.get("status"))

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"content-type", b"multipart/form-data; boundary=x"),
            *headers,
        ],
    }
    asyncio.run(application(scope, receive, send))
    return statuses[0] if statuses else None, len(taken)


def body(parts, size):
    """Yield the messages of a form with a file of so many parts."""
    head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
    yield {"type": "http.request", "body": head, "more_body": True}
    for _ in range(parts):
        yield {"type": "http.request", "body": b"\xff" * size, "more_body": True}
    yield {"type": "http.request", "body": b"\r\n--x--\r\n", "more_body": False}


def test_the_media_type_in_capitals():
    content = b"".join(message["body"] for message in body(1, 0))
    headers = {"Content-Type": "Multipart/Form-Data; boundary=x"}
    answer = client().post("/predict", content=content, headers=headers)
    assert answer.status_code != 415


def test_a_large_request_is_refused_while_it_comes():
    assert asked(app(), body(1000, uploads.MIB)) == (413, 21)


def test_a_request_that_says_it_is_large_is_not_read_at_all():
    assert asked(app(), body(1000, 1), [(b"content-length", b"20971521")]) == (413, 0)


def test_what_all_requests_hold_is_bounded(monkeypatch):
    monkeypatch.setattr(uploads, "MOST_HELD", 3 * uploads.MIB)
    application = app()
    assert asked(application, body(10, uploads.MIB)) == (503, 4)
    # nothing of it is held any longer
    assert client(application).post("/predict", files=form(PHOTO)).status_code == 200


def test_a_request_that_stalls_loses_its_place(monkeypatch):
    monkeypatch.setattr(uploads, "MOST_SECONDS", 1)
    monkeypatch.setattr(uploads, "MOST_WAITING", 1)
    application = app()
    assert asked(application, iter([next(body(1, 1)), None])) == (408, 2)
    monkeypatch.setattr(uploads, "MOST_SECONDS", 30)
    assert client(application).post("/predict", files=form(PHOTO)).status_code == 200


def test_a_client_that_goes_leaves_nothing(monkeypatch, capsys):
    monkeypatch.setattr(uploads, "MOST_WAITING", 1)
    application = app()
    gone = iter([next(body(1, 1)), {"type": "http.disconnect"}])
    assert asked(application, gone) == (None, 2)
    assert client(application).post("/predict", files=form(PHOTO)).status_code == 200
    assert capsys.readouterr().err == ""


def test_a_full_queue_is_busy_and_then_free_again(monkeypatch):
    monkeypatch.setattr(uploads, "MOST_WAITING", 2)
    released = threading.Event()

    def slow(images):
        assert released.wait(60)
        return each(images)

    application = app(slow)

    async def ask():
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as asking:
            waiting = {
                asyncio.ensure_future(asking.post("/predict", files=form(PHOTO))) for _ in range(4)
            }
            refusals = []
            while len(refusals) < 2:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                refusals += [task.result() for task in done]
            released.set()
            answers = await asyncio.gather(*waiting)
            return refusals, answers, await asking.post("/predict", files=form(PHOTO))

    refusals, answers, later = asyncio.run(ask())
    for answer in refusals:
        refused(answer, 503, "busy", "Retry-After")
        assert answer.headers["Retry-After"] == "2"
    assert [answer.status_code for answer in [*answers, later]] == [200, 200, 200]


def test_images_are_never_on_the_disk(monkeypatch):
    def rollover(self):
        raise AssertionError("an image was written to the disk")

    monkeypatch.setattr(SpooledTemporaryFile, "rollover", rollover)
    large = PHOTO + bytes(5 * uploads.MIB)
    assert client().post("/predict", files=form(large, large)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/../../../../etc/passwd",
        "/..%2f..%2fsetup.py",
        "/page.js/../app.py",
        "/app.py",
        "/docs",
        "/redoc",
    ],
)
def test_no_file_of_the_server_can_be_read(path):
    refused(client().get(path), 404, "not found", "GET /openapi.json")


def test_a_name_is_only_a_name():
    said = client().post("/predict", files=form(b"x", name="/etc/passwd")).json()["images"]
    assert said == [
        {
            "image": "/etc/passwd",
            "error": "unreadable image",
            "cause": "/etc/passwd can't be decoded: replace it",
        }
    ]


@pytest.mark.parametrize("path", ["/predict", "/about", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "a:b:c"])
def test_another_hosts_name_is_refused(path, host):
    answer = client().post(path, files=form(PHOTO), headers={"Host": host})
    refused(answer, 400, "unknown host", "the address that mlr serve printed")


@pytest.mark.parametrize(
    "host", ["localhost:8000", "LOCALHOST", "127.0.0.1", "[::1]:8000", "10.0.0.7"]
)
def test_the_servers_own_host_is_taken(host):
    assert client().get("/about", headers={"Host": host}).status_code == 200


def test_a_host_that_was_given_is_taken():
    given = client(app(host="Laboratory"))
    assert given.get("/about", headers={"Host": "laboratory:8000"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9000", "null"])
def test_pages_of_other_sites_may_not_ask(origin):
    answer = client().post("/predict", files=form(PHOTO), headers={"Origin": origin})
    refused(answer, 403, "other site", "may not send requests")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_its_own_page_may_ask():
    answer = client().post("/predict", files=form(PHOTO), headers={"Origin": ADDRESS})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/about", "/nothing"])
def test_every_answer_has_a_strict_policy(path):
    headers = client().get(path).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_what_fails_is_a_line_and_json(capsys):
    def failing(images):
        raise RuntimeError("no memory\nStack trace: ...")

    application = app(failing)
    for _ in range(uploads.MOST_WAITING + 1):  # places are given back
        answer = client(application).post("/predict", files=form(PHOTO))
    refused(answer, 500, "failed", "RuntimeError: no memory")
    assert capsys.readouterr().err.splitlines()[0] == (
        "warning: POST /predict failed: RuntimeError: no memory"
    )


def test_the_page_is_whole_and_fetches_from_nowhere_else():
    page = client().get("/")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sorted(named) == ["/openapi.json", "/page.css", "/page.js", "data:,"]
    for name in named[:-1]:
        if name.startswith("/"):
            assert client().get(name).status_code == 200
    for file in PAGE.glob("page.*"):
        assert "//" not in re.sub(r"(?m)(^|\s)// .*$", "", file.read_text()), file
    assert "style=" not in page.text and "onclick" not in page.text  # which the policy refuses


def test_the_description_tells_what_a_program_needs():
    said = client().get("/openapi.json").json()
    assert said["info"]["version"] == "1.2"
    predict = said["paths"]["/predict"]["post"]
    schema = predict["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["images"]["items"] == {"type": "string", "format": "binary"}
    assert {"200", "400", "404", "413", "415", "503"} <= set(predict["responses"])
    assert {"Answer", "Unread", "Refused"} <= set(said["components"]["schemas"])


def test_about_tells_the_limits():
    assert client().get("/about").json() == {
        "run": "mine",
        "classes": ["awe", "fear"],
        "has_views": False,
        "most_images": 16,
        "most_bytes": 20 * 2**20,
    }


def test_pixels_are_given_as_they_are():
    shown = np.zeros((4, 6, 3), np.uint8)
    shown[..., 0] = 200
    said = client(app(views=lambda image: [("grad-cam", "red", shown)])).post(
        "/views", files=form(PHOTO)
    )
    (view,) = said.json()["views"]
    image = Image.open(io.BytesIO(base64.b64decode(view["picture"].partition(",")[2])))
    assert image.size == (6, 4)
    # JPEG rounds its levels
    np.testing.assert_allclose(np.asarray(image), shown, atol=4)
