"""mlr serve: its process, and its page in a browser as a person uses it."""

import errno
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import browsing, in_chromium
from conftest import TINY, png_header
from starlette.testclient import TestClient

from mlr.errors import Interrupted, RunError
from mlr.runs.shipped import DEMO_RUN
from mlr.runtime.signals import NAMES, SIGNALS, Handled
from mlr.serve import main
from mlr.serving import server

PHOTOS = sorted((Path(__file__).parents[2] / "imgs" / "photos").glob("*.jpg"))


@contextmanager
def started():
    """Return a context with the process of mlr serve, on a free port, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mlr", "serve", "--run", DEMO_RUN, "--ctx", "cpu", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("demo is served at http://127.0.0.1:"), line + process.stderr.read()
        yield process, line.split()[4]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "number, word",
    [
        (signal.SIGTERM, "terminated"),
        pytest.param(signal.SIGINT, "interrupted", marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, "hung up", marks=pytest.mark.slow),
    ],
)
def test_it_answers_until_a_signal_ends_it(number, word):
    with started() as (process, address):
        with urllib.request.urlopen(address + "/about") as answer:
            assert json.load(answer)["run"] == "demo"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (128 + number, "", f"mlr serve: error: {word}\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_within_a_request_ends_the_server_after_the_answer(number):
    async def app(scope, receive, send):
        # As at any moment of a request, but always the same one.
        signal.raise_signal(number)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})

    def outside(received, _):
        raise Interrupted(NAMES[received], received)

    with ThreadPoolExecutor(1) as pool, Handled(outside):
        with server.listen("127.0.0.1", 0) as listening:
            address = server.address_of(listening)
            answer = pool.submit(lambda: urllib.request.urlopen(address, timeout=60).read())
            with pytest.raises(Interrupted, match=NAMES[number]):
                server.serve(app, listening)
            assert answer.result() == b"whole"


def test_a_port_in_use_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"can't listen on 127.0.0.1, port {port}: Address already in use" in line
    assert "give another --port" in line


@pytest.mark.parametrize(
    "host, says",
    [
        ("no host", "there is no host no host: give --host an address of this machine"),
        # of the addresses that are for documents alone
        ("192.0.2.1", "192.0.2.1 is not an address of this machine: give --host an address"),
    ],
)
def test_a_host_that_is_not_this_machine_is_one_line(host, says, capsys):
    assert main(["--host", host, "--port", "0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_a_port_that_is_the_systems_is_said_so(monkeypatch):
    def forbidden(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "create_server", forbidden)
    with pytest.raises(
        RunError, match="Permission denied; ports below 1024 are reserved for the system"
    ):
        server.listen("127.0.0.1", 80)


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "python_multipart"])
def test_without_the_extra_it_is_named(package, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    assert main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"mlr serve: error: mlr serve needs the package {package}: pip install 'mlr[web]'"
    )


@pytest.mark.parametrize("host, warns", [("127.0.0.1", False), ("127.1", False), ("0.0.0.0", True)])
def test_another_host_is_warned_of(host, warns, monkeypatch, capsys):
    monkeypatch.setattr(server, "serve", lambda app, listening: None)
    assert main(["--run", str(DEMO_RUN), "--ctx", "cpu", "--host", host, "--port", "0"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"demo is served at http://{host.replace('127.1', '127.0.0.1')}:")
    assert (
        "everyone who can reach this machine over the network can use the server" in err
    ) == warns


@pytest.mark.parametrize(
    "host, loopback",
    [("localhost", True), ("127.0.0.2", True), ("::1", True), ("192.168.0.1", False), ("a", False)],
)
def test_what_only_this_machine_reaches(host, loopback):
    assert server.is_loopback(host) == loopback


def test_an_address_can_be_typed_into_a_browser():
    with server.listen("127.0.0.1", 0) as listening:
        assert server.address_of(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"
    if has_ipv6():
        with server.listen("::1", 0) as listening:
            assert server.address_of(listening).startswith("http://[::1]:")


def has_ipv6():
    """Tell whether this machine has IPv6, which containers often lack though Python has it."""
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


ANSWERED = "document.querySelectorAll('#photographs > li[aria-busy=false]').length"
# The policy does not let the page fetch its own previews.
PHOTO = """const shown = document.querySelector('.answer > img');
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [shown.naturalWidth, shown.naturalHeight];
  canvas.getContext('2d').drawImage(shown, 0, 0);
  const photo = await new Promise(resolve => canvas.toBlob(resolve, 'image/jpeg'));"""
FIFTY = f"""(async () => {{
  {PHOTO}
  const answers = await Promise.all(Array.from({{length: 50}}, async (_, number) => {{
    const form = new FormData();
    form.append('images', photo, `${{number}}.jpg`);
    const answer = await fetch('/predict', {{method: 'POST', body: form}});
    return [answer.status, (await answer.json()).images[0].label];
  }}));
  return answers.map(each => each.join(' '));
}})()"""
PASTE = f"""(async () => {{
  {PHOTO}
  const data = new DataTransfer();
  data.items.add(new File([photo], 'pasted.jpg', {{type: 'image/jpeg'}}));
  dispatchEvent(new ClipboardEvent('paste', {{clipboardData: data}}));
}})()"""


@in_chromium
@pytest.mark.slow
def test_the_page_in_a_browser(tmp_path):
    broken, huge = tmp_path / "broken.jpg", tmp_path / "huge.png"
    broken.write_bytes(PHOTOS[0].read_bytes()[:1000])
    huge.write_bytes(png_header(40_000, 40_000))
    with started() as (_, address), browsing(tmp_path) as browser:
        browser.open(address)
        browser.wait("document.querySelector('#about').textContent.includes('amusement')")

        browser.drop(PHOTOS[:2])
        browser.wait(f"{ANSWERED} === 2")
        assert browser.value(
            "[...document.querySelectorAll('li:first-child progress')].map(bar => bar.value)"
            ".reduce((sum, value) => sum + value)"
        ) == pytest.approx(1)
        assert browser.value("document.querySelectorAll('figure img').length") == 2 * 5
        # of all pictures; one that the policy refuses, or that can't be decoded, has no width
        browser.wait("[...document.images].every(image => image.naturalWidth > 0)")
        assert browser.value("document.querySelector('#status').textContent") == "2 of 2 answered"

        browser.choose("#files", [broken, huge])
        browser.wait(f"{ANSWERED} === 4")
        told = browser.value(
            "[...document.querySelectorAll('[role=alert]')].map(each => each.textContent)"
        )
        assert "claims more than 134 million pixels" in told[0]
        assert "broken.jpg is truncated" in told[1]

        browser.value(PASTE)
        browser.wait(f"{ANSWERED} === 5")
        assert browser.value("document.querySelector('li h2').textContent") == "pasted.jpg"

        answers = browser.value(FIFTY)
        assert len(answers) == 50 and len(set(answers)) == 1 and answers[0].startswith("200 ")

        browser.value("document.querySelector('#clear').click()")
        assert browser.value("document.querySelectorAll('#photographs > li').length") == 0
        assert browser.value("document.activeElement.id") == "files"
        many = []
        for number in range(50):
            many.append(tmp_path / f"{number}.jpg")
            many[-1].write_bytes(PHOTOS[number % len(PHOTOS)].read_bytes())
        browser.choose("#files", many)
        browser.wait(f"{ANSWERED} === 50")
        assert browser.value("document.querySelectorAll('[role=alert]').length") == 0
        assert browser.value("document.querySelectorAll('table').length") == 50

        for width in (1200, 400):
            browser.ask(
                "Emulation.setDeviceMetricsOverride",
                width=width,
                height=900,
                deviceScaleFactor=1,
                mobile=width == 400,
            )
            # no need to scroll sideways
            assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.said == []


@in_chromium
@pytest.mark.slow
def test_the_page_by_keyboard_and_without_its_server(tmp_path):
    with started() as (process, address), browsing(tmp_path) as browser:
        browser.open(address)
        browser.wait("document.querySelector('#about').textContent.includes('amusement')")
        for kind in ("keyDown", "keyUp"):
            browser.ask("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)
        assert browser.value("document.activeElement.id") == "files"
        assert browser.value("document.querySelector('label').htmlFor") == "files"
        process.terminate()
        process.wait(60)
        browser.drop(PHOTOS[:1])
        browser.wait(f"{ANSWERED} === 1")
        assert "is mlr serve still running?" in browser.value(
            "document.querySelector('[role=alert]').textContent"
        )


@pytest.mark.slow
def test_a_method_without_maps_is_served_without_views(command, data, tmp_path, monkeypatch):
    done = command(
        *("train", "--data", data, "--out", tmp_path / "run", "--method", "finetuned"),
        *TINY[:10],
        *TINY[-4:],
    )
    assert done.returncode == 0, done.stderr
    applications = []
    monkeypatch.setattr(server, "serve", lambda app, listening: applications.append(app))
    assert main(["--run", str(tmp_path / "run"), "--ctx", "cpu", "--port", "0"]) == 0
    client = TestClient(applications[0], base_url="http://127.0.0.1")
    assert client.get("/about").json()["has_views"] is False
    with open(PHOTOS[0], "rb") as photo:
        said = client.post("/predict", files={"images": photo}).json()
    assert said["images"][0]["label"] in ("awe", "fear")
