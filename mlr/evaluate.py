"""python -m mlr.evaluate: measure a run on a split of the data."""

import json
import os
import sys
from pathlib import Path

from mlr import command
from mlr.errors import InputError
from mlr.files import write_file
from mlr.folds import save_folds
from mlr.installation import require_mxnet

def parser():
    parser = command.Parser("evaluate", __doc__)
    command.add_run(parser)
    parser.add_argument("--data", metavar="DIR|demo", help="folder with <split>/<class>/<image> (default: that of the training, its --target if it had one)")
    parser.add_argument("--split", choices=("train", "valid", "test"), default="test", help="which part of the data (default: test)")
    parser.add_argument("--report", nargs="?", const=False, metavar="FILE.html", help=(
        "write a page of options, curves, confusion, pictures and filters that opens without network (default: <run>/report_<split>.html); "
        "its patterns take a minute on a CPU for the demo, some minutes at 224 px"))
    command.add_folds(parser)
    command.add_context(parser)
    return parser


def evaluate(options):
    if options.report:
        check_page(Path(options.report), options.folds)
    require_mxnet()
    from mlr.checkpoint import fold_folder, fold_folders
    from mlr.context import parse_context

    ctx, run = parse_context(options.ctx), Path(options.run)
    folds = fold_folders(run)
    if options.folds and not folds:
        raise InputError("%s holds no runs of folds (fold-1, ...): leave out --folds, or give the --out of mlr train --folds all" % run)
    if options.folds:
        save_folds([evaluate_run(folder, options, ctx) for folder in folds], run)
    elif folds and options.fold is None:
        raise InputError("%s holds the runs of %d folds: choose one with --fold, or take --folds all" % (run, len(folds)))
    else:
        evaluate_run(fold_folder(run, options.fold) if folds else run, options, ctx)


def check_page(path, folds):
    """Raise InputError, before hours of work, where the report can't be written into a file of that name."""
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise InputError("--report %s: the page needs the name of a file that ends with .html" % path)
    if folds:
        raise InputError("--report %s is one page, but each fold gets its own: give --report alone, which writes into their run folders" % path)
    above = next(folder for folder in path.resolve().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError("--report %s can't be written: %s is no folder, or not one that you may write to" % (path, above))


def evaluate_run(folder, options, ctx):
    """Measure one run, print and write the result, and return its metrics."""
    from mlr.checkpoint import Run
    from mlr.data.drawn import DRAWN, data_folder
    from mlr.data.splits import fingerprint, read_split
    from mlr.data.walk import words_on
    from mlr.figures import save_confusion
    from mlr.metrics import classification_metrics
    from mlr.prediction import Predictor
    from mlr.report import class_rows, most_confident, save_report, save_sheet

    run = Run.open(folder)
    trained = run.config["options"]
    aim, described = (trained["target"], "target") if trained.get("target") else (trained["data"], "data")
    data = data_folder(options.data or (aim if aim in DRAWN else run.config[described]["folder"]))
    fold = options.fold or (None if options.data else trained["fold"])
    split = read_split(data, options.split, trained["labels"], fold)
    if split.classes != run.classes:
        raise InputError("%s has the classes %s, but the run was trained on %s: give the folder of the same classes" % (
            split.source, ", ".join(split.classes), ", ".join(run.classes)))
    if split.left_out:
        print(words_on(split.left_out))
    sha256 = fingerprint({options.split: split})
    predictor, labels = Predictor.of_run(run, ctx, options.parameters), split.labels
    probabilities = predictor.of_files(split.paths, split.names)
    result = classification_metrics(labels, probabilities.argmax(axis=1), run.classes)

    evaluation = {"data": split.source, "sha256": sha256, "fold": fold, "parameters": options.parameters, **result}
    title = "%s, %d images" % (options.split, result["images"])
    right, wrong = most_confident(probabilities, labels, split.paths, run.classes)
    written = [run.folder / (name % options.split) for name in ("evaluation_%s.json", "confusion_%s.png", "predictions_%s.png")]
    write_file(written[0], json.dumps(evaluation, indent=2) + "\n")
    print("%-14s %8s %8s %9s" % ("class", "images", "recall", "precision"))
    for row in class_rows(result):
        print("%-14s %8s %8s %9s" % row)
    print("accuracy %.3f, balanced accuracy %.3f on %d images of %s" % (
        result["accuracy"], result["balanced_accuracy"], result["images"], split.source))
    save_confusion(result, run.classes, title, written[1])
    save_sheet(right, wrong, title + ": the most confident predictions", written[2])
    print("written: %s" % ", ".join(map(str, written)), flush=True)
    if options.report is not None:
        page = Path(options.report or run.folder / ("report_%s.html" % options.split))
        save_report(page, run, predictor.net, options.split, evaluation, right, wrong)
        print("written: %s" % page)
    return result


def main(argv=None):
    return command.run(parser(), evaluate, argv)


if __name__ == "__main__":
    sys.exit(command.leave_if_stopped(main()))
