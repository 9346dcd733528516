"""The two ways in which a command ends early, told apart by its exit code."""


class InputError(ValueError):
    """Wrong usage or input, exit code 2: the message says what was found, the likely cause and what to do."""


class RunError(RuntimeError):
    """The work itself failed, exit code 1: the message says what was found, the likely cause and what to do."""
