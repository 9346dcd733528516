"""The files that --pretrained zoo takes: fetched from servers on this machine, checked, cached."""

import hashlib
import io
import socket
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from mxnet.gluon.model_zoo import model_store
from served import serving

from mlr.errors import InputError
from mlr.model import zoo_files as zoo
from mlr.model.zoo_files import cached_file, zoo_file
from mlr.runtime import files

NETWORK = "squeezenet1.1"
PARAMS, ONNX = b"the Gluon zoo's" * 5000, b"the ONNX model zoo's" * 5000
SHA1 = hashlib.sha1(PARAMS).hexdigest()
GLUON_NAME = f"squeezenet1.1-{SHA1[:8]}.params"
GLUON_PATH = f"/gluon/models/squeezenet1.1-{SHA1[:8]}.zip"
ONNX_PATH = f"/{zoo.ONNX_FOLDER}/squeezenet/model/squeezenet1.1-7.onnx"
SOON, LATE = 1.5, 30  # seconds, of what must end, and of what may be slow on a busy machine


def zipped(content, name=GLUON_NAME):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """MXNet's cache, empty."""
    monkeypatch.setenv("MXNET_HOME", str(tmp_path))
    return tmp_path / "models"


@pytest.fixture
def servers(cache, monkeypatch):
    """A server in place of each zoo's, which has the network's file."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setitem(model_store._model_sha1, NETWORK, SHA1)
    sha256 = hashlib.sha256(ONNX).hexdigest()
    place = zoo.ONNX_FILES[NETWORK][0]
    monkeypatch.setitem(zoo.ONNX_FILES, NETWORK, (place, len(ONNX), ("0" * 64, sha256)))
    with serving({GLUON_PATH: zipped(PARAMS)}) as gluon, serving({ONNX_PATH: ONNX}) as hub:
        monkeypatch.setenv("MXNET_GLUON_REPO", gluon.address + "/")
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield gluon, hub


def names(cache):
    return sorted(path.name for path in cache.iterdir() if path.name != zoo.LOCK)


def test_the_gluon_zoos_file_is_fetched_once(servers, cache, capsys):
    assert cached_file(NETWORK) is None
    path = zoo_file(NETWORK, LATE)
    assert path == cache / GLUON_NAME and path.read_bytes() == PARAMS
    assert zoo_file(NETWORK, LATE) == cached_file(NETWORK) == path
    assert servers[0].requests == [(GLUON_PATH, None)] and not servers[1].requests
    assert names(cache) == [GLUON_NAME] and not capsys.readouterr().err


def test_what_came_is_gone_on_with(servers, cache):
    gluon, hub = servers
    hub.files, gluon.fails = {}, "truncates"
    with pytest.raises(InputError, match="ended after .*try again, which continues the download"):
        zoo_file(NETWORK, LATE)
    assert names(cache) == [GLUON_NAME.replace("params", "zip.part")]
    gluon.fails = None
    assert zoo_file(NETWORK, LATE).read_bytes() == PARAMS
    assert gluon.requests[1:] == [(GLUON_PATH, f"bytes={len(zipped(PARAMS)) // 2}-")]
    assert names(cache) == [GLUON_NAME]


@pytest.mark.parametrize("fails", ["stalls", "is mute"])
def test_a_host_that_stalls_is_left_for_the_other(servers, cache, fails, capsys):
    servers[0].fails = fails
    assert zoo_file(NETWORK, SOON).read_bytes() == ONNX
    assert "in place of the Gluon zoo's" in capsys.readouterr().err


def test_a_host_that_is_not_there_is_left_for_the_other(servers, cache, monkeypatch, capsys):
    """The other's weights are of another training, which is said, also where they are cached."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MXNET_GLUON_REPO", f"http://127.0.0.1:{free.getsockname()[1]}")
        for _ in range(2):
            path = zoo_file(NETWORK, LATE)
            assert path == cache / "squeezenet1.1-7.onnx" and path.read_bytes() == ONNX
            assert capsys.readouterr().err == (
                "warning: using squeezenet1.1-7.onnx from the ONNX model zoo in place of the "
                f"Gluon zoo's {GLUON_NAME}: the same network, but weights from another training\n"
            )
    assert servers[1].requests == [(ONNX_PATH, None)]
    assert names(cache) == ["squeezenet1.1-7.onnx"]


@pytest.mark.parametrize(
    "sent, message",
    [
        (
            zipped(b"another"),
            (f"the answer is not {GLUON_NAME}, .*: its hash is not SHA-1 {SHA1}, but "),
        ),
        (zipped(PARAMS, "other.params"), f"the answer is not a .zip file with {GLUON_NAME}"),
        (b"<html>log in first</html>", f"the answer is not a .zip file with {GLUON_NAME}"),
        (zipped(PARAMS).replace(PARAMS[:50], b"!" * 50), "the answer is not a .zip file"),
    ],
    ids=["another", "of another name", "a page", "damaged"],
)
def test_a_file_that_is_not_what_it_should_be_gets_no_name(servers, cache, sent, message):
    gluon, hub = servers
    gluon.files, hub.files = {GLUON_PATH: sent}, {ONNX_PATH: ONNX[:-1] + b"!"}
    with pytest.raises(InputError, match=message) as raised:
        zoo_file(NETWORK, LATE)
    assert "the answer is not squeezenet1.1-7.onnx, or was damaged" in str(raised.value)
    assert names(cache) == []


def test_an_archive_of_too_much_is_not_unpacked(servers, cache, monkeypatch):
    monkeypatch.setattr(zoo, "MOST_BYTES", len(PARAMS) - 1)
    servers[1].files = {}
    with pytest.raises(InputError, match="the answer is not a .zip file"):
        zoo_file(NETWORK, LATE)
    assert names(cache) == []


def test_without_a_network_the_error_has_the_way_by_hand(servers, cache):
    for server in servers:
        server.files = {}
    gluon, hub = servers
    with pytest.raises(InputError) as raised:
        zoo_file(NETWORK, LATE)
    text = str(raised.value)
    for part in (
        f"weights of {NETWORK} can't be downloaded",
        f"{gluon.address}{GLUON_PATH}: it answers 404 Not Found",
        f"{hub.address}{ONNX_PATH}: it answers 404 Not Found",
        f"put {GLUON_NAME} (SHA-1 {SHA1}) or squeezenet1.1-7.onnx (SHA-256 {'0' * 64}), unzipped, "
        f"into {cache}",
        "--pretrained FILE",
        "--pretrained none",
    ):
        assert part in text


def test_a_damaged_file_in_the_cache_is_replaced(servers, cache):
    cache.mkdir()
    (cache / GLUON_NAME).write_bytes(PARAMS[:-1])
    assert cached_file(NETWORK) is None
    assert zoo_file(NETWORK, LATE).read_bytes() == PARAMS


def test_a_network_that_no_zoo_has(servers, cache):
    with pytest.raises(
        InputError, match="no zoo has ImageNet weights for vgg16_slim: .*--pretrained none"
    ):
        zoo_file("vgg16_slim", LATE)
    assert not cache.exists()


def test_processes_that_want_one_file_fetch_it_once(servers, cache):
    """As workers of one training do on one machine; the lock holds between threads, too."""
    with ThreadPoolExecutor(4) as threads:
        paths = list(threads.map(lambda _: zoo_file(NETWORK, LATE), range(4)))
    assert set(paths) == {cache / GLUON_NAME} and len(servers[0].requests) == 1


def test_a_full_disk_keeps_what_came(servers, cache, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync", full)
        with pytest.raises(OSError, match="No space left"):
            zoo_file(NETWORK, LATE)
    assert names(cache) == [GLUON_NAME.replace("params", "zip.part")]
    assert zoo_file(NETWORK, LATE).read_bytes() == PARAMS
    assert servers[0].requests[1:] == [(GLUON_PATH, f"bytes={len(zipped(PARAMS))}-")]


def test_every_hash_in_the_table_is_one():
    every = [digest for _, _, digests in zoo.ONNX_FILES.values() for digest in digests]
    assert len(set(every)) == len(every)
    assert all(len(digest) == 64 and int(digest, 16) for digest in every)
    assert all(
        place.endswith(".onnx") and size > 10**6 for place, size, _ in zoo.ONNX_FILES.values()
    )
