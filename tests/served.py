"""A server of files on this machine, with the ways in which servers fail."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """What the tests say of the server. Attributes: `address`; `files`, {path: bytes}; `ranges`,
    whether it goes on in the middle of a file; `fails`, None, or how an answer fails: "truncates"
    after half of it, "stalls" there or "drips" from there, for 5 seconds, or "is mute" before it;
    `requests`, the (path, range) that were asked for.
    """

    def __init__(self, address, files, stopped):
        self.address, self.files, self.stopped = address, files, stopped
        self.ranges, self.fails, self.requests = True, None, []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server.said
        asked = self.headers.get("Range")
        server.requests.append((self.path, asked))
        if server.fails == "is mute":
            server.stopped.wait()
            return
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(asked[len("bytes=") : -1]) if asked and server.ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.send(content[start:])

    def send(self, content):
        server = self.server.said
        half = len(content) // 2 if server.fails else len(content)
        self.wfile.write(content[:half])
        if server.fails == "truncates":
            self.close_connection = True
        for _ in range(250 if server.fails in ("stalls", "drips") else 0):
            if server.stopped.wait(0.02):
                break
            if server.fails == "drips":
                self.wfile.write(b"x")

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(files):
    """Return a context with a `Server` of files, {path: bytes}."""
    stopped = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *arguments: None  # of a client that has gone
    server.said = Server(f"http://127.0.0.1:{server.server_port}", files, stopped)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.said
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
