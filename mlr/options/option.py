"""The definition of an option: its values, its help text, and the checks that follow from them."""

import argparse
import math
from dataclasses import dataclass, field
from typing import Any, Optional, Tuple

from mlr.errors import shown

LONGEST = 4096  # characters of a path or a name: Linux's own limit
LARGEST = 1e300  # the bound of a number that has no other
SECTIONS = ("data", "network", "loss", "optimisation", "run", "machine")


@dataclass(frozen=True)
class Option:
    """The definition of one option. Its name and default are those of the dataclass field.

    kind: str, int, float or bool. choices: the allowed words, or () for any. parts: words that may
    also be combined in a list, each at most once, separated by commas.
    lowest, highest: inclusive bounds of a number. above: excludes `lowest` itself.
    several: the option also takes a list of different values; on the command line it is given once
    for each value. nullable: None is allowed.
    """

    kind: type
    section: str
    help: str
    choices: Tuple[str, ...] = ()
    parts: Tuple[str, ...] = ()
    lowest: float = -LARGEST
    highest: float = LARGEST
    above: bool = False
    metavar: Optional[str] = None
    several: bool = False
    nullable: bool = False

    @property
    def expected(self) -> str:
        """The allowed values, in words."""
        if self.choices:
            words = "one of " + ", ".join(self.choices)
            if self.parts:
                words += f", or some of {', '.join(self.parts)}, separated by commas"
        elif self.kind is str:
            words = f"text of up to {LONGEST} characters"
        elif self.kind is bool:
            words = "true or false"
        else:
            kind, form = ("a whole number", "d") if self.kind is int else ("a number", "g")
            end = "" if self.highest == LARGEST else f" to {self.highest:{form}}"
            words = f"{kind} {'above' if self.above else 'from'} {self.lowest:{form}}{end}"
        words += ", or a list of several" if self.several else ""
        return words + (", or null" if self.nullable else "")

    def holds(self, value: Any) -> bool:
        """Tell whether the option allows a value that came from JSON or YAML."""
        if value is None:
            return self.nullable
        if self.several and isinstance(value, (list, tuple)):
            hold = all(not isinstance(each, (list, tuple)) and self.holds(each) for each in value)
            return hold and len(set(value)) == len(value) > 1
        if self.choices:
            return value in self.choices or self._is_list(value)
        if self.kind is str:
            return isinstance(value, str) and 0 < len(value) <= LONGEST and "\0" not in value
        if self.kind is bool:
            return type(value) is bool
        if type(value) is not int and (self.kind is int or type(value) is not float):
            return False
        return self.lowest <= value <= self.highest and not (self.above and value == self.lowest)

    def _is_list(self, value: Any) -> bool:
        parts = value.split(",") if isinstance(value, str) else []
        return bool(parts) and len(set(parts)) == len(parts) and set(parts) <= set(self.parts)

    def read(self, value: Any) -> Any:
        """Return a value from a file in the form that the option has in Python.

        YAML reads 1e-4, without a dot, as text; it becomes a number here. A list becomes a tuple,
        and a list of one value becomes that value.
        """
        if self.several and isinstance(value, (list, tuple)):
            return value[0] if len(value) == 1 else tuple(value)
        if self.kind is float and isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                return value
        return value

    def parse(self, text: str) -> Any:
        """Return the value that a word of the command line stands for.

        Raises argparse.ArgumentTypeError if the option does not allow it.
        """
        try:
            value = given(text) if self.kind is str else self.kind(text)
        except ValueError:
            value = math.nan
        if not self.holds(value):
            raise argparse.ArgumentTypeError(f"{shown(repr(text), 80)} is not {self.expected}")
        return value


def given(text: str) -> str:
    """Return a word of the command line. Raises argparse.ArgumentTypeError if it is empty."""
    if not text:
        raise argparse.ArgumentTypeError(
            "it is empty, likely because a shell variable is not set: give a value, or leave the "
            "option out"
        )
    return text


def option(default: Any, kind: type, section: str, help: str, **others: Any) -> Any:
    """Return the dataclass field of an option; the arguments are those of `Option`."""
    return field(
        default=default,
        metadata={"option": Option(kind, section, help, nullable=default is None, **others)},
    )


def each_of(value: Any) -> Tuple[Any, ...]:
    """Return the values of an option that takes several, as a tuple."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def in_words(value: Any) -> str:
    """Return the value of an option as words in a line of text."""
    return " and ".join(map(str, each_of(value)))


def flag(name: str) -> str:
    """Return an option's name on the command line."""
    return "--" + name.replace("_", "-")
