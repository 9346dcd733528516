"""python -m mlr.benchmark: compare the speed and memory of this package with the released code,
PyTorch and ONNX Runtime, as ratios measured in one run.
"""

import json
import sys
import tempfile
from argparse import Namespace
from datetime import date
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence

from mlr import __version__, cli, paper
from mlr.benchmarking.busy import busy_lines, busy_times
from mlr.benchmarking.changes import changes, read_benchmark
from mlr.benchmarking.comparisons import Key, comparisons, line, measure, ratios, table
from mlr.benchmarking.contestants import CHECKOUT, CONTESTANTS, NAMED
from mlr.benchmarking.machine import this_machine
from mlr.benchmarking.roofline import roof, roof_line
from mlr.benchmarking.start import start_lines, start_times
from mlr.errors import InputError
from mlr.runtime.files import write_file
from mlr.runtime.installation import require_mxnet

WHAT = ("training", "inference", "pipeline", "start", "busy")
ALONE = {"start", "busy"}  # what the sizes and the other environments have no effect on


def parser() -> cli.Parser:
    """Return the parser of the command line."""
    parser = cli.Parser("benchmark", __doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=WHAT,
        default=list(WHAT[:-1]),
        help=(
            "what to measure; busy: commands beside processes that keep the cores busy (default: "
            "all but busy)"
        ),
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="compare only with what this environment has: the released style and its loader",
    )
    parser.add_argument(
        "--batch-size",
        type=cli.number(int, 1, 2**16),
        default=paper.BATCH_SIZE,
        metavar="N",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--image-size",
        type=cli.number(int, 64, 2048),
        default=paper.IMAGE_SIZE,
        metavar="PX",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=cli.number(int, 1),
        default=3,
        metavar="N",
        help=(
            "in each round every contestant runs once, in a fresh process; the table shows the "
            "medians (default: %(default)s)"
        ),
    )
    parser.add_argument(
        "--builds",
        type=Path,
        default=CHECKOUT / ".builds",
        metavar="DIR",
        help=(
            "the folder of the contestants' environments, which make benchmark installs; a "
            "contestant whose environment is missing is left out (default: .builds)"
        ),
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="OLD.json",
        help=(
            "an earlier --out: print which ratios changed since then beyond the spread of the "
            "rounds"
        ),
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmark.json"),
        metavar="FILE",
        help="the file to write every figure to (default: %(default)s)",
    )
    return parser


def benchmark(options: Namespace) -> None:
    """Measure, write every figure to --out and print the table.

    Raises InputError if this is no checkout or --out exists, RunError if the package's own part
    fails.
    """
    require_mxnet()
    if not CONTESTANTS.is_dir():
        raise InputError(
            f"there is no folder {CONTESTANTS}: the benchmark needs a checkout of the project, "
            "not only the package"
        )
    cli.refuse_existing(options.out)
    cli.refuse_unwritable("--out", options.out)
    before = read_benchmark(options.compare) if options.compare else None
    if before:
        _refuse_other_sizes(before, options)
    if ALONE.issuperset(options.only):
        without = f"--only {' '.join(options.only)}"
        _refuse_without_effect(
            options, without, ("batch_size", "image_size", "builds", "quick", "compare")
        )
    if options.quick:
        _refuse_without_effect(options, "--quick", ("builds",))
    figures = measured(options)
    write_file(options.out, json.dumps(figures, indent=2) + "\n")
    machine = figures["machine"]
    print(
        f"{machine['processor']}, {machine['threads']:d} threads, batch {options.batch_size:d}, "
        f"{options.image_size:d} px, medians of {options.rounds:d} rounds"
    )
    print(table(figures["table"]))
    for name, versions in sorted(figures["versions"].items()):
        print(
            f"{name}: {', '.join(f'{package} {version}' for package, version in versions.items())}"
        )
    if before:
        print("\n".join(changes(before, figures, options.compare)))


def measured(options: Namespace) -> Dict[str, Any]:
    """Measure what is asked for; return every figure, and the cells of the table."""
    compared = [
        row
        for row in comparisons(options.batch_size)
        if row.task in options.only and not (options.quick and NAMED[row.peer].build)
    ]
    with tempfile.TemporaryDirectory(prefix="mlr-benchmark-") as name:
        folder = Path(name)
        results, left_out = measure(compared, folder, options)
        training = "training" in options.only
        roofs = roof(folder, options) if training and not options.quick else []
        start = start_times(options.rounds, list(cli.COMMANDS)) if "start" in options.only else {}
        busy = busy_times(folder, options.rounds) if "busy" in options.only else {}
    lines = [line(row, results, left_out) for row in compared]
    if roofs:
        lines.append(roof_line(results, roofs, options))
    return {
        "version": __version__,
        "date": date.today().isoformat(),
        "machine": this_machine(),
        "batch_size": options.batch_size,
        "image_size": options.image_size,
        "rounds": options.rounds,
        "results": _with_text_keys(results),
        "left_out": _with_text_keys(left_out),
        "ratios": {
            f"{row.what}, against {row.peer}": {
                "rounds": ratios(row, results),
                "lower_is_better": row.lower_is_better,
            }
            for row in compared
            if (row.task, row.batch, row.peer) in results
        },
        "roof": roofs,
        "start": start,
        "busy": busy,
        "versions": {name: runs[0]["versions"] for (_, _, name), runs in results.items()},
        "table": [*lines, *start_lines(start), *busy_lines(busy)],
    }


def _refuse_without_effect(options: Namespace, on: str, names: Sequence[str]) -> None:
    """Raise InputError if one of the named options was given, which has no effect. on: the option
    that leaves it without effect.
    """
    for name in names:
        if getattr(options, name) != parser().get_default(name):
            raise InputError(f"--{name.replace('_', '-')} has no effect on {on}: leave it out")


def _refuse_other_sizes(before: Mapping[str, Any], options: Namespace) -> None:
    """Raise InputError if an earlier benchmark had other batches or images."""
    for name in ("batch_size", "image_size"):
        value = getattr(options, name)
        if before.get(name, value) != value:
            raise InputError(
                f"--compare {options.compare}: it was measured with --{name.replace('_', '-')} "
                f"{before[name]}, not {value}, so its ratios can't be compared: give the same"
            )


def _with_text_keys(figures: Mapping[Key, Any]) -> Dict[str, Any]:
    """Return the same values under text keys, "task / batch / contestant", as JSON needs them."""
    return {" / ".join(map(str, key)): value for key, value in figures.items()}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command; return its exit code."""
    return cli.run(parser(), benchmark, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
