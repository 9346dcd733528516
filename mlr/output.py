"""What a command prints: escaped where a terminal can't show it or would obey it, and what becomes of it where nobody takes it."""

import errno
import os
import re
import signal
import sys
from contextlib import contextmanager, suppress

from mlr.errors import Interrupted, RunError

# Control characters but tab and newline, separators of lines, what turns the direction of reading, and surrogates.
UNSHOWN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NO_TEXT = range(0xdc80, 0xdd00)  # by which Python stands for the bytes of a file's name that are no text


class ReaderGone(Interrupted):
    """Nobody reads the output any more, as behind `| head`."""

    def __init__(self) -> None:
        super().__init__("the reader of its output has gone; what was saved before is kept", signal.SIGPIPE)


def printable(text: object) -> str:
    """Return a text in which what can't be shown is escaped: a name may hold what a terminal takes for a command."""
    return UNSHOWN.sub(_escaped, str(text))


def in_a_line(text: object) -> str:
    """Return a text of one line, as `printable`: a name may hold newlines, too."""
    return printable(text).replace("\n", "\\n")


def _escaped(found):
    number = ord(found[0])
    return f"\\x{number - 0xdc00:02x}" if number in NO_TEXT else ascii(found[0])[1:-1]


def warn(text: str) -> None:
    """Print a warning to the standard error, in a line; from Python, too, where nothing guards it."""
    if sys.stderr:  # None where it was closed from the beginning
        with suppress(OSError, RunError, ReaderGone):
            print("warning: " + in_a_line(text), file=sys.stderr, flush=True)


@contextmanager
def guarded_streams():
    """Return a context in which sys.stdout and sys.stderr take every text, and tell what can't be written.

    Raises, where something is printed or flushed, ReaderGone, or RunError as of a full disk; what sys.stderr can't take is dropped.
    """
    for number in range(3):  # a file that is opened later would get the number of a closed one, and what MXNet prints
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = _Guarded(sys.stdout or nowhere, _tell), _Guarded(sys.stderr or nowhere, lambda error: None)
        try:
            yield
        finally:
            flush()
            sys.stdout, sys.stderr = before


def flush() -> None:
    """Have what was printed written as far as it can be."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, RunError, ReaderGone):
            if stream:  # None where it was closed from the beginning
                stream.flush()


def _tell(error):
    if error.errno == errno.EPIPE:
        raise ReaderGone() from None
    raise RunError(f"what it prints can't be written: {error.strerror or error}; see to where its output goes. "
                   "What was saved before is kept") from None


class _Guarded:
    """A stream whose errors go to a function."""

    def __init__(self, stream, failed):
        self._stream, self._failed = stream, failed

    def __getattr__(self, name):
        return getattr(self._stream, name)

    @property
    def buffer(self):
        return _Guarded(self._stream.buffer, self._failed)

    def write(self, content):
        if isinstance(content, str):
            begins = content[:1] == "\r"  # a bar of progress, which is drawn over the one before
            content = content[:begins] + printable(content[begins:])
            if self.encoding:
                content = content.encode(self.encoding, "backslashreplace").decode(self.encoding)
        return self._try(self._stream.write, content)

    def flush(self):
        self._try(self._stream.flush)

    def _try(self, function, *arguments):
        try:
            return function(*arguments)
        except OSError as error:
            with suppress(OSError):  # or Python would try again at its end, complain, and exit with 120
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            self._failed(error)
