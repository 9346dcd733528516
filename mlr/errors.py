"""The ways in which a command ends early, told apart by its exit code."""

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
    """Ctrl-C or another `signal`, exit code 128 and its number: the message says what was saved and
    how to go on.
    """

    def __init__(self, message: str = "interrupted", signal: int = SIGINT) -> None:
        super().__init__(message)
        self.signal = signal


def shown(text: str, longest: int = 200) -> str:
    """Return a text from somebody's file as one line for an error's message: what can't be printed
    escaped, and cut off where it is long.
    """
    text = text if len(text) <= longest else text[:longest] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]
