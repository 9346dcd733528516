"""The console command: `mlr train ...` is `python -m mlr.train ...`."""

import sys
from importlib import import_module
from typing import Optional

from mlr.cli import COMMANDS, ended, leave_if_stopped
from mlr.errors import InputError


def main() -> int:
    """Run the command that sys.argv names, and return the exit code."""
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name not in COMMANDS:
        return ended("mlr", lambda: answer(name))
    # Importing takes long enough to be interrupted.
    code = ended(f"mlr {name}", lambda: import_module(f"mlr.{name}"))
    return leave_if_stopped(code or import_module(f"mlr.{name}").main(sys.argv[2:]))


def answer(name: Optional[str]) -> None:
    """Print the version or the help, or raise InputError for an unknown command."""
    if name == "--version":
        from mlr import __version__

        print("mlr", __version__)
    elif name in (None, "-h", "--help"):
        listed = "\n".join(f"  {each:<10} {says}" for each, says in COMMANDS.items())
        print(
            f"usage: mlr COMMAND [OPTIONS]\n\n{listed}\n\n"
            "mlr COMMAND --help shows the options of a command"
        )
        sys.exit(0 if name else 2)
    else:
        raise InputError(f"unknown command {name}: choose one of {', '.join(COMMANDS)}")


if __name__ == "__main__":
    sys.exit(main())
