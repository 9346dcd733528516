"""Ctrl-C, SIGTERM and SIGHUP, as of a terminal that closes, at a moment of the program's choice."""

import os
import signal
import threading
from contextlib import suppress
from typing import Any, Callable, Dict, Iterable, NoReturn, Optional, TypeVar

from mlr.errors import Interrupted
from mlr.runtime.output import flush

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
NAMES: Dict[int, str] = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "hung up",
}
# of a process that has saved and stopped: the signal
CODES = {128 + number: number for number in SIGNALS}

H = TypeVar("H", bound="Handled")


class Handled:
    """Within it, a handler takes signals, but those that the process was started to ignore, as a
    shell's background job ignores SIGINT, and what nohup starts SIGHUP.

    Outside of Python's main thread, which alone may handle signals, it does nothing.
    """

    def __init__(
        self, handler: Callable[[int, Any], None], numbers: Iterable[int] = SIGNALS
    ) -> None:
        """handler: as of `signal.signal`."""
        self._handler, self._numbers = handler, numbers
        self._before: Dict[int, Any] = {}

    def __enter__(self: H) -> H:
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.getsignal(number)
                for number in self._numbers
                if signal.getsignal(number) != signal.SIG_IGN
            }
        for number in self._before:
            signal.signal(number, self._handler)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Postponed(Handled):
    """Within it, the first of SIGNALS is only remembered, as `signal`, and the next ends the
    process at once, but for SIGHUP.

    A terminal that closes sends SIGHUP twice, by its shell and by the kernel.
    """

    def __init__(self, says: Optional[str]) -> None:
        """says: what is printed when the first one comes, or None."""
        super().__init__(self._remember)
        self.signal: Optional[int] = None
        self._says = says

    def _remember(self, number: int, _: Any) -> None:
        self.signal = number
        for each in self._before:
            # The system's own does not wait for MXNet to come back to Python.
            signal.signal(each, signal.SIG_IGN if each == signal.SIGHUP else signal.SIG_DFL)
        if self._says:
            with suppress(OSError):  # the terminal may be what has gone
                os.write(2, (f"\n{self._says}\n").encode())  # print() may be what was interrupted


def terminable() -> Handled:
    """Return a context in which SIGTERM and SIGHUP, where nobody else handles them, end what is
    done as Ctrl-C does, by an exception: so nothing half-written is left.
    """

    def terminate(number: int, _: Any) -> None:
        if signal.SIGHUP in numbers:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # see Postponed
        raise Interrupted(NAMES[number], number)

    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) == signal.SIG_DFL
    ]
    return Handled(terminate, numbers)


def leave(code: int) -> NoReturn:
    """End the process at once, without waiting for what other threads of it are at."""
    flush()
    os._exit(code)
