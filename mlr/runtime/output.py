"""Prints the output of a command safely: escapes what a terminal can't show or would obey as a
command, and handles output that can't be written.
"""

import errno
import os
import re
import signal
import sys
from contextlib import contextmanager, suppress
from typing import Any, Callable, Iterator, NoReturn, Union

from mlr.errors import Interrupted, RunError

# Control characters except tab and newline, Unicode's line separators, characters that change the
# reading direction, and surrogates.
UNSHOWN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# the surrogates with which Python represents bytes of a file name that are not text
NO_TEXT = range(0xDC80, 0xDD00)


class ReaderGone(Interrupted):
    """Nobody reads the output any more, for example after `| head` has ended."""

    def __init__(self) -> None:
        super().__init__(
            "the program that reads its output has ended; what was saved before is kept",
            signal.SIGPIPE,
        )


def printable(text: object) -> str:
    """Return a text with everything escaped that can't be shown: a file name may hold characters
    that a terminal would obey as a command.
    """
    return UNSHOWN.sub(_escaped, str(text))


def in_a_line(text: object) -> str:
    """Return a text in one line, escaped as by `printable`: a file name may hold newlines, too."""
    return printable(text).replace("\n", "\\n")


def _escaped(found: "re.Match[str]") -> str:
    number = ord(found[0])
    return f"\\x{number - 0xDC00:02x}" if number in NO_TEXT else ascii(found[0])[1:-1]


def warn(text: str) -> None:
    """Print a warning to the standard error, in one line. Errors in writing it are ignored, also if
    the package is used from Python, without `guarded_streams`.
    """
    if sys.stderr:  # None if it was closed before Python started
        with suppress(OSError, RunError, ReaderGone):
            print("warning: " + in_a_line(text), file=sys.stderr, flush=True)


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Return a context in which sys.stdout and sys.stderr accept every text, and errors in writing
    are handled.

    If sys.stdout can't be written, printing or flushing raises ReaderGone, or RunError, for example
    for a full disk. Text that sys.stderr can't write is dropped.
    """
    # If one is closed, a file that is opened later would get its number, and MXNet would print
    # into that file.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = (
            _Guarded(sys.stdout or nowhere, _tell),
            _Guarded(sys.stderr or nowhere, lambda error: None),
        )
        try:
            yield
        finally:
            flush()
            sys.stdout, sys.stderr = before


def flush() -> None:
    """Write out what was printed so far, and ignore errors."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, RunError, ReaderGone):
            if stream:  # None if it was closed before Python started
                stream.flush()


def _tell(error: OSError) -> NoReturn:
    if error.errno == errno.EPIPE:
        raise ReaderGone() from None
    raise RunError(
        f"the output of the command can't be written: {error.strerror or error}; check the file or "
        "terminal that its output goes to. What was saved before is kept"
    ) from None


class _Guarded:
    """A stream that passes its errors to a function."""

    def __init__(self, stream: Any, failed: Callable[[OSError], None]) -> None:
        self._stream, self._failed = stream, failed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def buffer(self) -> "_Guarded":
        return _Guarded(self._stream.buffer, self._failed)

    def write(self, content: Union[bytes, str]) -> Any:
        if isinstance(content, str):
            begins = content[:1] == "\r"  # a progress bar, drawn over the one before
            content = content[:begins] + printable(content[begins:])
            if self.encoding:
                content = content.encode(self.encoding, "backslashreplace").decode(self.encoding)
        return self._try(self._stream.write, content)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except OSError as error:
            # Otherwise Python would write it again at exit, print an error and exit with 120.
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            self._failed(error)
