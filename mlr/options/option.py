"""What an option is: its values, its words, and the checks that follow from them."""

import argparse
import math
from dataclasses import dataclass, field
from typing import Any, Optional, Tuple

from mlr.errors import shown

LONGEST = 4096  # characters of a path or a name: Linux's own limit
LARGEST = 1e300  # of a number that has no other bounds
SECTIONS = ("data", "network", "loss", "optimisation", "run", "machine")


@dataclass(frozen=True)
class Option:
    """The definition of one option. Its name and default are those of the dataclass field.

    kind: str, int, float or bool. choices: the words that it takes, or () for any. parts: words of
    which it also takes a list, different ones with commas between.
    lowest, highest: bounds of a number, themselves allowed; above: `lowest` itself is not.
    several: it also takes a list of such values, different ones, and is given once for each on the
    command line. nullable: None is a value.
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
        """The values that the option takes, in words."""
        if self.choices:
            words = "one of " + ", ".join(self.choices)
            if self.parts:
                words += f", or some of {', '.join(self.parts)} with commas between"
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
        """Tell whether a value, as JSON or YAML has it, is one of the option's."""
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
        """Return a value of a file as this option's: YAML takes 1e-4, without a dot, for text, and
        what has several values has a tuple of them, or the one.
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
        """Return the value of a word of the command line. Raises argparse.ArgumentTypeError."""
        try:
            value = given(text) if self.kind is str else self.kind(text)
        except ValueError:
            value = math.nan
        if not self.holds(value):
            raise argparse.ArgumentTypeError(f"{shown(repr(text), 80)} is not {self.expected}")
        return value


def given(text: str) -> str:
    """Return a word of the command line. Raises argparse.ArgumentTypeError where it is empty."""
    if not text:
        raise argparse.ArgumentTypeError(
            "it is empty, likely a variable of the shell that is not set: give a value, or leave "
            "it out"
        )
    return text


def option(default: Any, kind: type, section: str, help: str, **others: Any) -> Any:
    """Return the dataclass field of an option; arguments as of `Option`."""
    return field(
        default=default,
        metadata={"option": Option(kind, section, help, nullable=default is None, **others)},
    )


def each_of(value: Any) -> Tuple[Any, ...]:
    """Return the values of an option that takes several."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def in_words(value: Any) -> str:
    """Return a value of an option for a line of text."""
    return " and ".join(map(str, each_of(value)))


def flag(name: str) -> str:
    """Return an option's name on the command line."""
    return "--" + name.replace("_", "-")
