"""The console command: `mlr train ...` is `python -m mlr.train ...`."""

import sys
from importlib import import_module

from mlr.cli import ended, leave_if_stopped
from mlr.errors import InputError

COMMANDS = {
    "prepare": "make a data set ready for training, or draw the demo's",
    "train": "train the network on a data folder",
    "launch": "run a command as several workers on this machine, with MXNet's parameter servers",
    "evaluate": "measure a run on a split of the data",
    "predict": "tell the emotion of images",
    "visualize": "draw what the filters of a run respond to, or what weighs for a class",
    "benchmark": "measure the speed against the released style, PyTorch and ONNX Runtime",
    "compare": "compare this package with the released network on one's own weights and images",
    "export": (
        "write a run's network for programs without this package: ONNX, MXNet's symbol, NumPy's "
        "arrays"
    ),
    "reproduce": "train every system of the results table, and write the table",
    "doctor": "look at this machine and this installation, and say what to do about what is not right",
}


def main():
    """Run the command that sys.argv names, and return the exit code."""
    name, *arguments = sys.argv[1:] or [None]
    if name not in COMMANDS:
        return ended("mlr", lambda: answer(name))
    return leave_if_stopped(import_module("mlr." + name).main(arguments))


def answer(name):
    """Answer to what is no command."""
    if name == "--version":
        from mlr import __version__

        print("mlr", __version__)
    elif name in (None, "-h", "--help"):
        print(
            (
                "usage: mlr COMMAND [OPTIONS]\n\n{}\n\nmlr COMMAND --help shows the options of a "
                "command"
            ).format("\n".join("  {!s:<10} {}".format(*item) for item in COMMANDS.items()))
        )
        sys.exit(0 if name else 2)
    else:
        raise InputError(f"unknown command {name}: choose one of {', '.join(COMMANDS)}")


if __name__ == "__main__":
    sys.exit(main())
