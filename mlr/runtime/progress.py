"""Shows progress: a bar with the remaining time on a terminal, a line now and then in a log.

Both go to the standard error. If that can't be written, the work continues without them.
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

REDRAWN = 0.25  # the least number of seconds between two states of a bar
WIDTH = 80  # columns if the terminal doesn't tell its width, as in some containers
LOGGED = 60.0  # the least number of seconds between two lines of a log; shorter work logs nothing


class Bar:
    """A context in which work reports its progress.

    what: the work, in a few words. total: the number of units of work, or None if unknown. unit:
    the name of a unit, in the plural; "B" for bytes. done: the number done before now. shown: False
    if another process shows the same progress, as the first of several workers does.
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
        """Yield things. Each counts as done when the caller asks for the next one."""
        for thing in things:
            yield thing
            self.update()

    def update(self, number: int = 1) -> None:
        """Report that `number` more units are done."""
        self._done += number
        if self._bar is not None:
            self._bar.update(number)
        elif self._in_log and time.monotonic() >= self._logged + LOGGED:
            self._logged = time.monotonic()
            print(self._line(), file=_Forgiving(sys.stderr), flush=True)

    def refresh(self) -> None:
        """Draw the bar again, so that its times advance although no unit is done."""
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
    """A stream that drops what can't be written. The stream inside may be None.

    If it raised an error, tqdm's lock would stay locked, and the next bar of another thread would
    wait for it forever.
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
        with suppress(AttributeError, OSError, ValueError):  # None, broken or closed stream
            getattr(self._stream, method)(*arguments)


def progress_over(
    things: Iterable[T], what: str, total: Optional[int], unit: str, shown: bool = True
) -> Iterator[T]:
    """Yield things, and show how many are done; the other arguments are those of `Bar`."""
    with Bar(what, total, unit, shown=shown) as bar:
        yield from bar.over(things)


def _has_width(terminal: Any) -> bool:
    """Tell whether a terminal tells its width."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns > 0
    except (AttributeError, OSError, ValueError):
        return False


def time_left(began: float, done: int, left: int) -> str:
    """Return in words how long the rest will take at the average speed so far.

    began: start time by `time.monotonic`. done: units done since then, more than 0. left: units
    left.
    """
    return f"{tqdm.format_interval((time.monotonic() - began) * left / done)} left"


def _is_terminal(stream: Any) -> bool:
    """Tell whether a stream is a terminal. It may be None, or closed."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, OSError, ValueError):
        return False
