"""Debian's Chromium, driven as its developer tools do, by the DevTools protocol."""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from html import unescape

import pytest
from websocket import create_connection

CHROMIUM = shutil.which("chromium")
in_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="there is no chromium to open the page in: apt-get install chromium"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 60  # until something that is waited for must have come


class Browser:
    """A page. Attribute: `said`, the lines of the console, and exceptions."""

    def __init__(self, address):
        self._socket = create_connection(address, timeout=SECONDS, suppress_origin=True)
        self._asked, self.said = 0, []
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        """Send a command of the protocol, and return its result."""
        self._asked += 1
        self._socket.send(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("method") in (
                "Runtime.exceptionThrown",
                "Runtime.consoleAPICalled",
                "Log.entryAdded",
            ):
                self.said.append(message["params"])
            if message.get("id") == self._asked:
                assert "error" not in message, message
                return message["result"]

    def value(self, expression):
        """Return what an expression of JavaScript is, a promise's result where it is one."""
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression):
        """Wait until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.value(expression):
            assert time.monotonic() < end, f"{expression} did not become true: {self.said}"
            time.sleep(0.05)

    def open(self, address):
        self.ask("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def choose(self, selector, paths):
        """Choose files in an <input type=file>."""
        root = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def drop(self, paths):
        """Drag files over the page from outside, and drop them."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.ask("Input.dispatchDragEvent", type=kind, x=100, y=100, data=data)


def probed(page, *flags):
    """Open a file, 600 pixels wide; return the JSON that a script of its own leaves in an element
    `probe`, and the lines of the browser's own console.
    """
    done = subprocess.run(
        [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={page.parent / 'profile'}",
            "--window-size=600,800",
            *flags,
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    answer = re.search('<pre id="probe">(.*?)</pre>', done.stdout)
    assert answer, f"Chromium did not load the page:\n{done.stderr}"
    return json.loads(unescape(answer.group(1))), done.stderr


@contextmanager
def browsing(folder):
    """Return a context with a Browser, whose profile is below a folder."""
    profile = folder / "profile"
    process = subprocess.Popen(
        [
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={profile}",
            "--window-size=1200,900",
            "--remote-debugging-port=0",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Browser(_page_of(profile / "DevToolsActivePort"))
    finally:
        process.terminate()
        process.wait(SECONDS)


def _page_of(file):
    end = time.monotonic() + SECONDS
    while not (file.is_file() and file.read_text().strip()):
        assert time.monotonic() < end, "Chromium did not start"
        time.sleep(0.05)
    port = file.read_text().split()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        (page,) = [each for each in json.load(answer) if each["type"] == "page"]
    return page["webSocketDebuggerUrl"]
