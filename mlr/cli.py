"""What the commands share: one-line errors, exit codes and the types of options."""

import argparse
import errno
import math
import os
import sys
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional, Sequence, Type, TypeVar, Union

from mlr.errors import InputError, RunError, as_interrupted
from mlr.options.option import given
from mlr.runs.shipped import SHIPPED_RUN
from mlr.runtime.output import ReaderGone, flush, guarded_streams
from mlr.runtime.signals import leave, terminable

Number = TypeVar("Number", int, float)

FIGURES = (".png", ".svg", ".pdf")
PAGES = (".html", ".htm")

COMMANDS = {
    "prepare": "make a data set ready for training, or draw the demo's",
    "train": "train the network on a data folder",
    "launch": "run a command as several workers on this machine, with MXNet's parameter servers",
    "evaluate": "measure a run on a split of the data",
    "predict": "predict the emotion that images evoke",
    "serve": "predict emotions on a web page of this machine, and for programs over HTTP",
    "visualize": (
        "draw what the filters of a trained network respond to, or which evidence it uses for a "
        "class"
    ),
    "benchmark": "compare the speed with the released code's style, PyTorch and ONNX Runtime",
    "compare": (
        "check on your weights and images that this package computes what the released network does"
    ),
    "export": (
        "write a run's network for programs without this package: ONNX, PyTorch, MXNet's symbol, "
        "NumPy's arrays"
    ),
    "report": "compare runs side by side on one page: options, curves, results",
    "weights": "list, download and check the backbones' ImageNet weights",
    "reproduce": "train every system of the results table, and write the table",
    "doctor": "check this machine and this installation, and tell how to mend each problem",
}


class Parser(argparse.ArgumentParser):
    """An argument parser that prints errors in one line and refuses empty arguments."""

    def __init__(self, command: str, description: Optional[str]) -> None:
        super().__init__(prog="mlr " + command, description=description, allow_abbrev=False)
        self.register("type", None, given)
        self.register("type", Path, lambda text: Path(given(text)))

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace], Any],
    argv: Optional[Sequence[str]] = None,
) -> int:
    """Parse `argv`, do `work(options)` and return the exit code, as `ended` does."""
    return ended(parser.prog, lambda: work(parser.parse_args(argv)))


def ended(program: str, work: Callable[[], Any]) -> int:
    """Do `work()` and return the exit code: 0 done, 2 wrong usage or input, 1 failed, 129, 130 and
    143 stopped by SIGHUP, Ctrl-C and SIGTERM, 141 (as if by SIGPIPE) because the reader of the
    output, such as `head`, has gone. All output of `work` goes through `mlr.runtime.output`.
    """
    with guarded_streams():
        try:
            with terminable():
                try:
                    work()
                except SystemExit:  # raised by --help, or for wrong usage
                    sys.stdout.flush()
                    raise
                sys.stdout.flush()
            return 0
        except InputError as error:
            return _fail(program, error, 2)
        except RunError as error:
            return _fail(program, error, 1)
        except OSError as error:
            return _fail(
                program,
                f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}",
                2 if error.errno == errno.ENAMETOOLONG else 1,
            )
        except MemoryError:
            return _fail(
                program, "there is not enough memory: end other programs, or take fewer images", 1
            )
        except Exception as error:
            runtime = _runtime_of(error)
            if runtime is None:
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            return _fail(program, f"{runtime} failed: {reason}", 1)
        except ReaderGone as gone:
            return 128 + gone.signal
        except KeyboardInterrupt as error:
            stopped = as_interrupted(error)
            return _fail(program, stopped, 128 + stopped.signal)


def leave_if_stopped(code: int) -> int:
    """Return an exit code; after a signal end the process instead: a thread may still wait for
    input that never comes, such as a pipe that is read as an image.
    """
    if code > 128:
        leave(code)
    return code


def number(
    kind: Type[Number], lowest: float, highest: float = math.inf, above: bool = False
) -> Callable[[str], Number]:
    """Return an option type: an int or float from `lowest` (or above it, if `above`) to `highest`;
    infinity and NaN are refused.
    """

    def parse(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError:
            pass
        else:
            inside = lowest < value if above else lowest <= value
            if inside and value <= highest and value != math.inf:
                return value
        raise argparse.ArgumentTypeError(
            f"{text!r} is not {'a whole number' if kind is int else 'a number'} "
            f"{'above' if above else 'from'} "
            f"{lowest}{'' if highest == math.inf else f' to {highest}'}"
        )

    return parse


def refuse_existing(out: Union[str, Path]) -> None:
    """Raise InputError if anything exists at the path of --out, even a broken link."""
    if os.path.lexists(out):
        raise InputError(f"{out} exists already: give another --out, or remove it")


def refuse_unwritable(option: str, path: Path) -> None:
    """Raise InputError, before any work, if no file can be created at the path of an option such as
    --out.
    """
    above = next(filter(os.path.lexists, Path(os.path.realpath(path)).parents))
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(
            f"{option} {path} can't be written: {above} is not a folder, or you may not write to "
            "it: give another path"
        )


def refuse_wrong_file(option: str, path: Path, endings: Sequence[str]) -> None:
    """Raise InputError, before any work, if no file with one of the endings can be created at the
    path of an option.
    """
    if path.suffix.lower() not in endings or path.is_dir():
        raise InputError(
            f"{option} {path}: give the name of a file that ends with {' or '.join(endings)}"
        )
    refuse_unwritable(option, path)


def add_run(parser: argparse.ArgumentParser, shipped: bool = False, exported: bool = False) -> None:
    """Add --run and --parameters. shipped: the run in checkpoints/ is the default. exported: --run
    also takes a file of `mlr export`.
    """
    parser.add_argument(
        "--run",
        required=not shipped,
        default=SHIPPED_RUN if shipped else None,
        metavar="DIR",
        help=(
            "the run folder, which mlr train wrote to its --out"
            + (", or an .onnx file of mlr export" if exported else "")
            + (" (default: checkpoints/photos, trained on photographs)" if shipped else "")
        ),
    )
    parser.add_argument(
        "--parameters",
        choices=("last", "best"),
        default="last",
        help=(
            "last: the parameters after the last epoch, as in the released code; best: those of "
            "the epoch with the best balanced accuracy on valid (default: last)"
        ),
    )


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add --engine, the library that runs the network."""
    parser.add_argument(
        "--engine",
        choices=("mxnet", "onnx", "onnx-int8"),
        help=(
            "the library that runs the network: MXNet, or ONNX Runtime, for which the run is "
            "exported once into the cache; onnx-int8 is quantized to 8 bits and needs the "
            "training's images (default: mxnet for a run folder, onnx for an .onnx file)"
        ),
    )


def add_context(parser: argparse.ArgumentParser) -> None:
    """Add --ctx, the devices."""
    parser.add_argument(
        "--ctx",
        metavar="DEVICES",
        help=(
            'cpu, "gpu(0)", or several, such as "gpu(0),gpu(1)"; ONNX Runtime takes one device '
            "(default: the first GPU that MXNet or ONNX Runtime sees, else the CPU)"
        ),
    )


def add_folds(parser: argparse.ArgumentParser) -> None:
    """Add --fold and --folds, one fold or all."""
    one_or_all = parser.add_mutually_exclusive_group()
    one_or_all.add_argument(
        "--fold",
        type=number(int, 1),
        metavar="K",
        help="for data in folds: measure on fold K (default: the fold that the run tests on)",
    )
    one_or_all.add_argument(
        "--folds",
        choices=("all",),
        help="all: every fold in turn, each in <run>/fold-K; prints mean and standard deviation",
    )


def print_error(program: str, error: object) -> None:
    """Print an error to the standard error."""
    flush()  # so that in a file of both streams the error comes after the output
    print(f"{program}: error: {error}", file=sys.stderr)


def _runtime_of(error: Exception) -> Optional[str]:
    """Return the name of the runtime whose own error this is, such as for a device without free
    memory; None for other errors.
    """
    # Compared by name, as --help must not import either.
    if type(error).__name__ == "MXNetError":
        return "MXNet"
    return "ONNX Runtime" if type(error).__module__.startswith("onnxruntime.") else None


def _fail(program: str, error: object, code: int) -> int:
    print_error(program, error)
    return code
