"""Reads JSON files safely: they may be damaged, or made by an attacker."""

import json
import math
from pathlib import Path
from typing import Any, List, Union

from mlr.errors import InputError

MOST_BYTES = 2**26


def read_json(path: Union[str, Path], remedy: str = "restore it from a copy") -> Any:
    """Return what a JSON file holds.

    remedy: what the error tells the user to do. Raises InputError if the file is absent, damaged,
    larger than MOST_BYTES, or not JSON.
    """
    return parse_json(_text(path, remedy), path, remedy)


def read_json_lines(path: Union[str, Path], remedy: str = "restore it from a copy") -> List[Any]:
    """Return what each line of a file of JSON lines holds; errors as of `read_json`."""
    return [parse_json(line, path, remedy) for line in _text(path, remedy).splitlines()]


def parse_json(text: str, source: Union[str, Path], remedy: str = "restore it from a copy") -> Any:
    """Return what a JSON text holds.

    source: where the text comes from, for the error. Raises InputError if it is not JSON. NaN,
    infinity and integers of more than 40 characters are refused.
    """
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite, parse_int=_short)
    except (ValueError, RecursionError) as error:
        raise _damaged(source, error, remedy) from None


def _text(path: Union[str, Path], remedy: str) -> str:
    try:
        if Path(path).stat().st_size > MOST_BYTES:
            raise InputError(
                f"{path} has more than {MOST_BYTES >> 20:d} MiB, likely because another file has "
                f"taken its name: {remedy}"
            )
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}; {remedy}") from None
    except UnicodeDecodeError as error:
        raise _damaged(path, error, remedy) from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text!s:.40} is not a valid number")
    return number


def _short(text: str) -> int:
    """Refuse long integers: Python 3.8 takes an hour to convert a million digits."""
    if len(text) > 40:
        raise ValueError(f"{text!s:.40}... is not a valid number")
    return int(text)


def _damaged(source: Union[str, Path], error: Exception, remedy: str) -> InputError:
    return InputError(f"{source} is not JSON, or is damaged ({error}): {remedy}")
