"""How far work has come: a bar with the time that is left on a terminal, a line now and then in a
log. Both go to the standard error; work goes on where nobody takes them.
"""

import os
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Iterable, Iterator, Optional, Type, TypeVar

from tqdm import tqdm

from mlr.runtime.output import in_a_line

T = TypeVar("T")

REDRAWN = 0.25  # seconds between two states of a bar, at least
WIDTH = 80  # columns, where the terminal doesn't say, as in containers
LOGGED = 60.0  # seconds between two lines of a log, at least; shorter work leaves none


class Bar:
    """A context in which work tells how far it has come.

    what: the work, in a few words. total: how much there is, None where that is not known. unit: of
    that, in the plural; "B" for bytes. done: before now. shown: False for work that is told of
    elsewhere, as by the first of several workers.
    """

    def __init__(
        self, what: str, total: Optional[int], unit: str, done: int = 0, shown: bool = True
    ) -> None:
        self._what, self._total, self._unit, self._done = in_a_line(what), total, unit, done
        self._before = done
        self._bar: Optional[tqdm] = None
        self._began = self._logged = time.monotonic()
        self._in_log = shown and not _is_terminal(sys.stderr)
        if shown and not self._in_log:
            self._bar = self._new_bar(_Forgiving(sys.stderr))

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def over(self, things: Iterable[T]) -> Iterator[T]:
        """Yield things, each of which is done when the next one is asked for."""
        for thing in things:
            yield thing
            self.update()

    def update(self, number: int = 1) -> None:
        """Tell that so much more is done."""
        self._done += number
        if self._bar is not None:
            self._bar.update(number)
        elif self._in_log and time.monotonic() >= self._logged + LOGGED:
            self._logged = time.monotonic()
            print(self._line(), file=_Forgiving(sys.stderr), flush=True)

    def refresh(self) -> None:
        """Draw the bar again, whose times go on while nothing is done."""
        if self._bar is not None:
            self._bar.refresh()

    def print(self, text: str) -> None:
        """Print a line to the standard output, above the bar."""
        if self._bar is not None:
            self._bar.clear()
        print(text, flush=True)
        self.refresh()

    def _new_bar(self, stream: "_Forgiving") -> tqdm:
        in_bytes = self._unit == "B"
        return tqdm(
            file=stream,
            desc=self._what,
            total=self._total,
            initial=self._done,
            unit=self._unit if in_bytes else f" {self._unit}",
            unit_scale=in_bytes,
            mininterval=REDRAWN,
            leave=False,
            **({"dynamic_ncols": True} if _has_width(stream) else {"ncols": WIDTH}),
        )

    def _line(self) -> str:
        done, total = (
            tqdm.format_sizeof(number, "B") if self._unit == "B" else str(number)
            for number in (self._done, self._total or 0)
        )
        unit = "" if self._unit == "B" else f" {self._unit}"
        if self._total is None:
            return f"{self._what}: {done}{unit}"
        line = f"{self._what}: {done} of {total}{unit}"
        left = max(0, self._total - self._done)
        return f"{line}, {time_left(self._began, self._done - self._before, left)}"


class _Forgiving:
    """A stream, perhaps None, that drops what can't be written.

    An error that came out of it would leave tqdm's lock taken: the next bar of another thread would
    wait for it without end.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        self._try("write", text)

    def flush(self) -> None:
        self._try("flush")

    def _try(self, method: str, *arguments: Any) -> None:
        with suppress(AttributeError, OSError, ValueError):  # of None, a broken one, a closed one
            getattr(self._stream, method)(*arguments)


def progress_over(
    things: Iterable[T], what: str, total: Optional[int], unit: str, shown: bool = True
) -> Iterator[T]:
    """Yield things, and tell how many are done; the others as of `Bar`."""
    with Bar(what, total, unit, shown=shown) as bar:
        yield from bar.over(things)


def _has_width(terminal: Any) -> bool:
    """Tell whether a terminal says how wide it is."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns > 0
    except (AttributeError, OSError, ValueError):
        return False


def time_left(began: float, done: int, left: int) -> str:
    """Return in words how long the rest takes, at the pace until now. began: by `time.monotonic`.
    done: more than 0.
    """
    return f"{tqdm.format_interval((time.monotonic() - began) * left / done)} left"


def _is_terminal(stream: Any) -> bool:
    """Tell whether a stream is a terminal. It may be None, or closed."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, OSError, ValueError):
        return False
