"""Handles Ctrl-C, SIGTERM and SIGHUP (a terminal that closes) at a moment that the program
chooses.
"""

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
# {exit code of a process that has saved and stopped: the signal}
CODES = {128 + number: number for number in SIGNALS}

H = TypeVar("H", bound="Handled")


def signal_name(number: int) -> str:
    """Return a signal's name, or its number if Python has no name for it, as for most real-time
    signals.
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


class Handled:
    """A context in which a handler receives signals.

    Signals that the process was started to ignore stay ignored: a background job of a shell ignores
    SIGINT, a command under nohup ignores SIGHUP. Only Python's main thread may handle signals; in
    other threads the context does nothing.
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
    """A context in which the first of SIGNALS is only stored, in the attribute `signal`.

    The next signal ends the process at once, unless it is SIGHUP: a closing terminal sends SIGHUP
    twice, once from its shell and once from the kernel.
    """

    def __init__(self, says: Optional[str]) -> None:
        """says: text to print at the first signal, or None."""
        super().__init__(self._remember)
        self.signal: Optional[int] = None
        self._says = says

    def _remember(self, number: int, _: Any) -> None:
        self.signal = number
        for each in self._before:
            # Unlike a handler in Python, the system's does not wait until MXNet returns to Python.
            signal.signal(each, signal.SIG_IGN if each == signal.SIGHUP else signal.SIG_DFL)
        if self._says:
            with suppress(OSError):  # the terminal may have been closed
                # not print(): the signal may have interrupted a print()
                os.write(2, (f"\n{self._says}\n").encode())


def terminable() -> Handled:
    """Return a context in which SIGTERM and SIGHUP raise an exception, as Ctrl-C does, so that no
    half-written file is left. Signals that already have another handler keep it.
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
    """End the process at once, without waiting for its other threads."""
    flush()
    os._exit(code)
