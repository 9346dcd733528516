"""Ctrl-C and SIGTERM, at a moment of the program's choice."""

import os
import signal
import sys
import threading
from contextlib import contextmanager

from mlr.errors import Interrupted

SIGNALS = signal.SIGINT, signal.SIGTERM
NAMES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
CODES = {128 + number for number in SIGNALS}


class Postponed:
    """Within it, the first of SIGINT and SIGTERM is only remembered, as `signal`, and the next ends the process at once.

    A signal that the process was started to ignore, as a shell's background job ignores SIGINT, stays ignored. Outside of Python's
    main thread, which alone may handle signals, it does nothing.
    """

    def __init__(self, says):
        """says: what is printed when the first one comes, or None."""
        self.signal, self._says, self._before = None, says, {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._remember)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number, _):
        self.signal = number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)  # the system's own, which does not wait for MXNet to come back to Python
        if self._says:
            os.write(2, ("\n%s\n" % self._says).encode())  # print() may be what was interrupted


@contextmanager
def terminable():
    """Within it, SIGTERM ends what is done as Ctrl-C does, by an exception, so that nothing half-written is left."""
    def terminate(number, _):
        raise Interrupted(NAMES[number], number)

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def leave(code):
    """End the process at once, without waiting for what other threads of it are at."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
