"""python -m mlr.evaluate: measure a run on a split of the data."""

import hashlib
import json
import os
import shlex
import sys
from pathlib import Path

from mlr import cli
from mlr.errors import InputError
from mlr.runs.folds import save_folds
from mlr.runtime.files import write_file
from mlr.runtime.installation import require_mxnet


def parser():
    parser = cli.Parser("evaluate", __doc__)
    cli.add_run(parser)
    parser.add_argument(
        "--data",
        metavar="DIR|demo",
        help=(
            "folder with <split>/<class>/<image> (default: that of the training, its --target if "
            "it had "
            "one); what is written of other images than the training's has a part of their "
            "SHA-256 in its name"
        ),
    )
    parser.add_argument(
        "--split",
        choices=("train", "valid", "test"),
        default="test",
        help="which part of the data (default: test)",
    )
    parser.add_argument(
        "--report",
        nargs="?",
        const=False,
        metavar="FILE.html",
        help=(
            "write a page of options, curves, confusion, pictures and filters that opens without "
            "network (default: <run>/report_<split>.html); "
            "its patterns take a minute on a CPU for the demo, some minutes at 224 px"
        ),
    )
    cli.add_folds(parser)
    cli.add_context(parser)
    return parser


def evaluate(options):
    if options.report:
        check_page(Path(options.report), options.folds)
    require_mxnet()
    from mlr.runs.folds import fold_folder, fold_folders
    from mlr.runs.results import stem_of
    from mlr.runtime.context import parse_context

    ctx, run = parse_context(options.ctx), Path(options.run)
    folds = fold_folders(run)
    if options.folds and not folds:
        raise InputError(
            f"{run} holds no runs of folds (fold-1, ...): leave out --folds, or give the --out "
            "of mlr train --folds all"
        )
    if options.folds:
        refuse_unfinished(run, folds, options)
        evaluations, own = zip(*[evaluate_run(folder, options, ctx) for folder in folds])
        digests = "".join(evaluation["sha256"] for evaluation in evaluations)
        together = {**evaluations[0], "sha256": hashlib.sha256(digests.encode()).hexdigest()}
        save_folds(evaluations, run, stem_of(together, all(own)))
    elif folds and options.fold is None:
        raise InputError(
            f"{run} holds the runs of {len(folds):d} folds: choose one with --fold, or take "
            "--folds all"
        )
    elif folds:
        evaluate_run(fold_folder(run, options.fold), options, ctx)
    else:
        evaluate_run(run, options, ctx, options.fold)


def check_page(path, folds):
    """Raise InputError, before hours of work, where the report can't be written into a file of that
    name.
    """
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise InputError(f"--report {path}: the page needs the name of a file that ends with .html")
    if folds:
        raise InputError(
            f"--report {path} is one page, but each fold gets its own: give --report alone, "
            "which writes into their run folders"
        )
    above = next(folder for folder in path.resolve().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(
            f"--report {path} can't be written: {above} is no folder, or not one that you may "
            "write to"
        )


def refuse_unfinished(run, folders, options):
    """Raise InputError where there are folds of the data whose training has not ended.

    folders: the run folders that are there.
    """
    from mlr.data.manifest import folds_of
    from mlr.runs.folder import Run

    runs = [Run.open(folder) for folder in folders]
    finished = {found.config["options"]["fold"]: found.finished for found in runs}
    folds = {*finished, *folds_of(images_folder(runs[0].config, options))}
    left = [str(fold) for fold in sorted(folds) if not finished.get(fold)]
    if left:
        raise InputError(
            f"the training of {run} is not at its end, fold {', '.join(left)} is missing: go on, "
            f"by mlr train --resume --out {shlex.quote(str(run))}, or choose a fold with --fold"
        )


def images_folder(config, options):
    """Return the folder of the images to measure a run on: --data, or that of its training."""
    from mlr.data.drawn import DRAWN, data_folder
    from mlr.runs.results import measured_on

    name = measured_on(config)
    if options.data or config["options"][name] in DRAWN:
        return data_folder(options.data or config["options"][name])
    folder = Path(config[name]["folder"])
    if not folder.is_dir():
        raise InputError(
            f"{folder}, the folder of the images of the training, is not there: give "
            "--data, the folder where they are now"
        )
    return folder


def evaluate_run(folder, options, ctx, fold=None):
    """Measure one run, print and write the result; return it, and whether it is of the run's
    images.

    fold: of the data, None for the one that the run was trained for.
    """
    from mlr.data.manifest import folds_of
    from mlr.data.splits import fingerprint, manifest_sha256, read_split
    from mlr.data.walk import words_on
    from mlr.inference.predictor import Predictor
    from mlr.runs.folder import Run
    from mlr.runs.results import of_own_images, stem_of
    from mlr.runs.schema import checked_evaluation
    from mlr.training.metrics import classification_metrics
    from mlr.viz.figures import save_confusion
    from mlr.viz.report import class_rows, most_confident, save_report, save_sheet

    run = Run.open(folder)
    trained, data = run.config["options"], images_folder(run.config, options)
    fold = fold or (trained["fold"] if folds_of(data) else None)
    split = read_split(data, options.split, trained["labels"], fold)
    if split.classes != run.classes:
        raise InputError(
            f"{split.source} has the classes {', '.join(split.classes)}, but the run was trained "
            f"on {', '.join(run.classes)}: give the folder of the same classes"
        )
    if split.left_out:
        print(words_on(split.left_out))
    sha256 = fingerprint({options.split: split})
    predictor, labels = Predictor.of_run(run, ctx, options.parameters), split.labels
    probabilities = predictor.of_files(split.paths, split.names)
    result = classification_metrics(labels, probabilities.argmax(axis=1), run.classes)

    evaluation = {
        "data": split.source,
        "folder": str(data.resolve()),
        "split": options.split,
        "sha256": sha256,
        "manifest": manifest_sha256(data),
        "fold": fold,
        "parameters": options.parameters,
        "files": run.files_of(options.parameters),
        **result,
    }
    own = of_own_images(run.config, evaluation)
    stem = stem_of(evaluation, own)
    title = f"{options.split}, {result['images']:d} images"
    right, wrong = most_confident(probabilities, labels, split.paths, run.classes)
    written = [
        run.folder / (name % stem)
        for name in ("evaluation_%s.json", "confusion_%s.png", "predictions_%s.png")
    ]
    write_file(written[0], json.dumps(checked_evaluation(evaluation, written[0]), indent=2) + "\n")
    print(f"{'class'!s:<14} {'images'!s:>8} {'recall'!s:>8} {'precision'!s:>9}")
    for row in class_rows(result):
        print("{!s:<14} {!s:>8} {!s:>8} {!s:>9}".format(*row))
    print(
        f"accuracy {result['accuracy']:.3f}, balanced accuracy {result['balanced_accuracy']:.3f} "
        f"on {result['images']:d} images of {split.source}"
    )
    if not own:
        print(
            f"these are not the images that were {options.split} in the training: what is said of "
            "them is kept apart"
        )
    save_confusion(result, run.classes, title, written[1])
    save_sheet(right, wrong, title + ": the most confident predictions", written[2])
    print(f"written: {', '.join(map(str, written))}", flush=True)
    if options.report is not None:
        page = Path(options.report or run.folder / (f"report_{stem}.html"))
        save_report(page, run, predictor.net, options.split, evaluation, right, wrong)
        print(f"written: {page}")
    return evaluation, own


def main(argv=None):
    return cli.run(parser(), evaluate, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
