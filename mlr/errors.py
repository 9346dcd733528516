"""The ways in which a command ends early; each has its own exit code."""

from signal import SIGINT


class InputError(ValueError):
    """Wrong usage or input, exit code 2: the message says what was found, the likely cause and what
    to do.
    """


class RunError(RuntimeError):
    """The work itself failed, exit code 1: the message says what was found, the likely cause and
    what to do.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or another `signal`, exit code 128 plus the signal's number: the message says what was
    saved and how to go on.
    """

    def __init__(self, message: str = "interrupted", signal: int = SIGINT) -> None:
        super().__init__(message)
        self.signal = signal


def as_interrupted(error: KeyboardInterrupt) -> Interrupted:
    """Return the error itself, or for Python's own KeyboardInterrupt, by Ctrl-C, an Interrupted."""
    return error if isinstance(error, Interrupted) else Interrupted()


def shown(text: str, longest: int = 200) -> str:
    """Return text from a file of unknown origin as one line for an error message: cut off after
    `longest` characters, and with unprintable characters escaped.
    """
    text = text if len(text) <= longest else text[:longest] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]
