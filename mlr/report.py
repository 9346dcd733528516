"""python -m mlr.report: compare runs side by side on one page.

The page shows the options that differ, the learning curves in one figure, a table of results that a
click sorts, and the confusion matrices. It opens in a browser without a network connection. The
results come from mlr evaluate. To compare this package with the authors' weights, see mlr compare.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple

from mlr import cli
from mlr.errors import InputError
from mlr.runtime.installation import require_mxnet
from mlr.runtime.output import warn

if TYPE_CHECKING:
    from mlr.viz.comparison import Compared


def parser() -> cli.Parser:
    """Return the parser of this command's options."""
    parser = cli.Parser("report", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help=(
            "run folders, such as runs/*; a training with --folds all counts as one run for each "
            "fold"
        ),
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("report.html"),
        metavar="FILE.html",
        help=(
            "the page; an existing file is replaced only if this command wrote it (default: "
            "report.html)"
        ),
    )
    return parser


def report(options: argparse.Namespace) -> None:
    """Write the page, and warn about everything that is wrong with the runs."""
    cli.refuse_wrong_file("--out", options.out, cli.PAGES)
    require_mxnet()
    from mlr.viz.comparison import differences, is_comparison, save_comparison

    if not is_comparison(options.out):
        cli.refuse_existing(options.out)
    # the page itself may be among runs/*
    page = os.path.realpath(options.out)
    given = [each for each in options.runs if os.path.realpath(each) != page]
    if not given:
        raise InputError(f"{options.out} is the page itself: name the run folders to compare")
    runs, notes = read_runs(run_folders(given))
    if not runs:
        raise InputError(
            f"none of the {len(given):d} folders holds a run that can be read: {'; '.join(notes)}"
        )
    notes += differences(runs)
    for note in notes:
        warn(note)
    save_comparison(options.out, runs, notes)
    print(f"{len(runs):d} runs side by side: {options.out}")


def run_folders(given: Sequence[Path]) -> List[Path]:
    """Return the given run folders, each once; a folder of folds is replaced by its folds."""
    from mlr.runs.folds import fold_folders

    found: Dict[str, Path] = {}
    for folder in given:
        for each in fold_folders(folder) or [folder]:
            found.setdefault(os.path.realpath(each), each)
    return list(found.values())


def read_runs(folders: Sequence[Path]) -> "Tuple[List[Compared], List[str]]":
    """Return the runs that can be read, and a sentence for everything that is wrong with the
    folders.
    """
    from mlr.methods import epochs_of, open_run_folder
    from mlr.runs.results import latest_evaluation
    from mlr.viz.comparison import Compared, names_of

    runs, notes = [], []
    for folder, name in zip(folders, names_of(folders)):
        try:
            run = open_run_folder(folder)
        except InputError as error:
            notes.append(f"left out: {error}")
            continue
        epochs = epochs_of(run)
        evaluation, is_finished = None, len(run.metrics) >= epochs
        if not is_finished:
            notes.append(
                f"{folder} is not finished, with {len(run.metrics)} of {epochs} epochs: continue "
                f"it with mlr train --resume --out {shlex.quote(str(folder))}"
            )
        try:
            if run.metrics:
                run.verified("last.params")
            evaluation = latest_evaluation(run)
            if is_finished and evaluation is None:
                notes.append(
                    f"{folder} has no results yet: measure them with mlr evaluate --run "
                    f"{shlex.quote(str(folder))}"
                )
        except InputError as error:
            notes.append(f"without results: {error}")
        runs.append(Compared(name, run, epochs, evaluation))
    return runs, notes


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command and return its exit code."""
    return cli.run(parser(), report, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
