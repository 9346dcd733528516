"""JSON from elsewhere, read safely: it may be damaged, or made by somebody who means harm."""

import json
import math
from pathlib import Path
from typing import Any, List, Union

from mlr.errors import InputError

MOST_BYTES = 2**26


def read_json(path: Union[str, Path], remedy: str = "restore it from a copy") -> Any:
    """Return what a JSON file holds. Raises InputError, with what to do, where it is absent,
    damaged, or no JSON that a person would write.
    """
    return parse_json(_text(path, remedy), path, remedy)


def read_json_lines(path: Union[str, Path], remedy: str = "restore it from a copy") -> List[Any]:
    """Return what the lines of a file hold, as `read_json`."""
    return [parse_json(line, path, remedy) for line in _text(path, remedy).splitlines()]


def parse_json(text: str, source: Union[str, Path], remedy: str = "restore it from a copy") -> Any:
    """Return what a JSON text holds. source: where it comes from, for the InputError. NaN and
    infinity are no JSON.
    """
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite, parse_int=_short)
    except (ValueError, RecursionError) as error:
        raise _damaged(source, error, remedy) from None


def _text(path: Union[str, Path], remedy: str) -> str:
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise InputError(
                f"{path} has more than {MOST_BYTES >> 20:d} MiB, likely another file under its "
                f"name: {remedy}"
            )
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}; {remedy}") from None
    except UnicodeDecodeError as error:
        raise _damaged(path, error, remedy) from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text!s:.40} is no number")
    return number


def _short(text: str) -> int:
    """Python 3.8 takes an hour for a number of a million digits."""
    if len(text) > 40:
        raise ValueError(f"{text!s:.40}... is no number")
    return int(text)


def _damaged(source: Union[str, Path], error: Exception, remedy: str) -> InputError:
    return InputError(f"{source} is no JSON, or damaged ({error}): {remedy}")
