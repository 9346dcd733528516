"""The console command: `mlr train ...` is `python -m mlr.train ...`."""

import sys
from importlib import import_module

from mlr.interruption import CODES, leave

COMMANDS = {
    "prepare": "make a data set ready for training, or draw the demo's",
    "train": "train the network on a data folder",
    "launch": "run a command as several workers on this machine, with MXNet's parameter servers",
    "evaluate": "measure a run on a split of the data",
    "predict": "tell the emotion of images",
    "visualize": "draw what the filters of a run respond to, or what weighs for a class",
    "benchmark": "measure the speed against the released style, PyTorch and ONNX Runtime",
    "export": "write a run's network for programs without this package: ONNX, MXNet's symbol, NumPy's arrays",
    "reproduce": "train every system of the results table, and write the table",
    "doctor": "look at this machine and this installation, and say what to do about what is not right",
}


def main():
    usage = "usage: mlr COMMAND [OPTIONS]\n\n%s\n\nmlr COMMAND --help shows the options of a command" % "\n".join(
        "  %-10s %s" % item for item in COMMANDS.items())
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from mlr import __version__

        print("mlr", __version__)
        return 0
    if arguments[0] not in COMMANDS:
        print("mlr: error: unknown command %s: choose one of %s" % (arguments[0], ", ".join(COMMANDS)), file=sys.stderr)
        return 2
    code = import_module("mlr." + arguments[0]).main(arguments[1:])
    if code in CODES:
        leave(code)  # a thread may be waiting for what never comes, as for a pipe that is read as an image
    return code


if __name__ == "__main__":
    sys.exit(main())
