"""Files fetched from a server on this machine that fails in every way that servers do."""

import errno
import os
import socket
from types import SimpleNamespace

import pytest
from served import serving

from mlr.runtime import download as downloads
from mlr.runtime.download import DownloadError, download

CONTENT = bytes(range(256)) * 1000
SOON, LATE = 1.5, 30  # seconds, of what must end, and of what may be slow on a busy machine


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    """No proxy between."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    with serving({"/file": CONTENT}) as server:
        yield server


def fetched(server, tmp_path, path="/file", timeout=LATE):
    download(server.address + path, tmp_path / "file", timeout)
    return (tmp_path / "file").read_bytes()


def test_a_file_is_fetched_whole(server, tmp_path):
    assert fetched(server, tmp_path) == CONTENT
    assert server.requests == [("/file", None)]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_part_is_gone_on_with_where_the_server_can(server, tmp_path, ranges):
    server.ranges, server.fails = ranges, "truncates"
    with pytest.raises(DownloadError, match="it ended after 128000 of 256000 bytes"):
        fetched(server, tmp_path)
    assert (tmp_path / "file").read_bytes() == CONTENT[:128000]
    server.fails = None
    assert fetched(server, tmp_path) == CONTENT
    assert server.requests[1:] == [("/file", "bytes=128000-")]


def test_a_part_that_is_all_of_it(server, tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    assert fetched(server, tmp_path) == CONTENT


@pytest.mark.parametrize(
    "fails, message",
    [
        ("stalls", "it broke off: no answer within the time limit"),
        ("drips", r"it stalled: \d+ bytes in \d+ seconds"),
    ],
)
def test_a_server_that_stalls_is_left_with_what_came(server, tmp_path, fails, message, monkeypatch):
    # what comes at first is not to count as a good rate
    monkeypatch.setattr(downloads, "LEAST_RATE", 10**7)
    server.fails = fails
    with pytest.raises(DownloadError, match=message):
        fetched(server, tmp_path, timeout=SOON)
    assert (tmp_path / "file").read_bytes()[:128000] == CONTENT[:128000]


def test_a_server_that_does_not_answer(server, tmp_path):
    server.fails = "is mute"
    with pytest.raises(DownloadError, match="no answer within the time limit"):
        fetched(server, tmp_path, timeout=SOON)
    assert not (tmp_path / "file").exists()


def test_a_slow_server_that_sends_is_waited_for(server, tmp_path, monkeypatch):
    """The time limit is none of the whole file."""
    read = downloads._blocks

    def slowly(answer, timeout):
        for block in read(answer, timeout):
            now[0] += 10 * timeout
            yield block

    now = [0.0]
    monkeypatch.setattr(downloads, "LEAST_RATE", 1)
    monkeypatch.setattr(downloads, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(downloads, "_blocks", slowly)
    assert fetched(server, tmp_path) == CONTENT


def test_a_server_without_the_file(server, tmp_path):
    (tmp_path / "file").write_bytes(b"part")
    with pytest.raises(DownloadError, match="it answers 404 Not Found"):
        fetched(server, tmp_path, "/other")
    assert (tmp_path / "file").read_bytes() == b"part"


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    "url, message",
    [
        ("http://127.0.0.1:{port}/file", "Connection refused"),
        ("mirror/file", "unknown url type"),
        ("http://[/file", "Invalid IPv6 URL"),
        ("http://127.0.0.1:x/file", "nonnumeric port"),
    ],
)
def test_no_server(tmp_path, url, message):
    url = url.format(port=closed_port())
    with pytest.raises(DownloadError, match=message):
        download(url, tmp_path / "file", LATE)
    assert not (tmp_path / "file").exists()


def test_a_file_of_this_machine(tmp_path):
    (tmp_path / "mirrored").write_bytes(CONTENT)
    download((tmp_path / "mirrored").as_uri(), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_an_answer_without_end(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_BYTES", 100000)
    with pytest.raises(DownloadError, match="it sends more than"):
        fetched(server, tmp_path)
    assert (tmp_path / "file").stat().st_size < len(CONTENT)


def test_what_the_disk_refuses_is_no_fault_of_the_server(server, tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    (tmp_path / "file").symlink_to("/dev/full")
    with pytest.raises(OSError) as raised:
        fetched(server, tmp_path)
    assert raised.value.errno == errno.ENOSPC and not isinstance(raised.value, DownloadError)
