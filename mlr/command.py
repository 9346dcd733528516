"""What the commands share: one-line errors, exit codes and the types of options."""

import argparse
import math
import os
import sys
from pathlib import Path

from mlr.errors import InputError, Interrupted, RunError
from mlr.interruption import terminable

DRAWN = ("demo", "demo-objects")  # the names in mlr.data.drawn, which --help does not load
SHIPPED_RUN = Path(__file__).parents[1] / "checkpoints" / "demo"
if not SHIPPED_RUN.is_dir():  # not a checkout, but installed from a wheel
    SHIPPED_RUN = Path(__file__).parent / "shipped"


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def __init__(self, command, description):
        super().__init__(prog="mlr " + command, description=description, allow_abbrev=False)

    def error(self, message):
        self.exit(2, "%s: error: %s (see %s --help)\n" % (self.prog, message, self.prog))


def run(parser, work, argv=None):
    """Parse `argv`, do `work(options)` and return the exit code: 0 done, 2 wrong usage or input, 1 failed, 130 interrupted, 143 terminated."""
    options = parser.parse_args(argv)
    try:
        with terminable():
            work(options)
    except InputError as error:
        return _fail(parser, error, 2)
    except RunError as error:
        return _fail(parser, error, 1)
    except BrokenPipeError:
        # The reader of a pipe, say `| head`, has gone; Python would complain once more when it flushes at its end.
        sys.stdout = None
        return 1
    except OSError as error:
        return _fail(parser, "%s%s" % (error.strerror or error, ": %s" % error.filename if error.filename else ""), 1)
    except Exception as error:
        # MXNet's own, as of a device without memory; it is not imported here, as --help needs to answer without it.
        if type(error).__name__ != "MXNetError":
            raise
        return _fail(parser, "MXNet failed: %s" % next(line for line in str(error).splitlines() if line.strip()), 1)
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Interrupted) else Interrupted()
        return _fail(parser, stopped, 128 + stopped.signal)
    return 0


def number(kind, lowest, highest=math.inf, above=False):
    """Return an option type: an int or float from `lowest`, or above it, to `highest`; no infinity, no NaN."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not (lowest < value if above else lowest <= value) or value > highest or value == math.inf:
            raise argparse.ArgumentTypeError("%r is not %s %s %s%s" % (
                text, {int: "a whole number", float: "a number"}[kind], "above" if above else "from", lowest,
                "" if highest == math.inf else " to %s" % highest))
        return value
    return parse


def refuse_existing(out):
    """Raise InputError where there is something at the path of --out already, be it a link to nothing."""
    if os.path.lexists(out):
        raise InputError("%s exists already: give another --out, or remove it" % out)


def add_run(parser, shipped=False):
    """shipped: the run in checkpoints/ is the default."""
    parser.add_argument("--run", required=not shipped, default=SHIPPED_RUN if shipped else None, metavar="DIR", help=(
        "the run folder, the --out of a training" + (" (default: checkpoints/demo, the demo's)" if shipped else "")))
    parser.add_argument("--parameters", choices=("last", "best"), default="last", help=(
        "those after the last epoch, as in the released code, or of the best balanced accuracy on valid (default: last)"))


def add_context(parser):
    parser.add_argument("--ctx", metavar="DEVICES", help=(
        'cpu, "gpu(0)", or several as "gpu(0),gpu(1)" (default: the first GPU that MXNet sees, else the CPU)'))


def add_folds(parser):
    one_or_all = parser.add_mutually_exclusive_group()
    one_or_all.add_argument("--fold", type=number(int, 1), metavar="K", help="of data in folds: test on fold K, train on the others")
    one_or_all.add_argument("--folds", choices=("all",), help="all: every fold in turn, <run>/fold-K each; mean and standard deviation")


def _fail(parser, error, code):
    # What can't be printed may come from a file's name, and would be taken by the terminal as a command.
    text = "".join(character if character.isprintable() or character in "\n\t" else ascii(character)[1:-1] for character in str(error))
    print("%s: error: %s" % (parser.prog, text), file=sys.stderr)
    return code
