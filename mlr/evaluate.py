"""python -m mlr.evaluate: measure a run on a split of the data."""

import json
import sys
from pathlib import Path

from mlr import command
from mlr.errors import InputError
from mlr.files import write_file
from mlr.folds import save_folds
from mlr.installation import require_mxnet

BATCH = 64


def parser():
    parser = command.Parser("evaluate", __doc__)
    command.add_run(parser)
    parser.add_argument("--data", metavar="DIR|demo", help="folder with <split>/<class>/<image> (default: that of the training)")
    parser.add_argument("--split", choices=("train", "valid", "test"), default="test", help="which part of the data (default: test)")
    command.add_folds(parser)
    command.add_context(parser)
    return parser


def evaluate(options):
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


def evaluate_run(folder, options, ctx):
    """Measure one run, print and write the result, and return its metrics."""
    from mlr import engine
    from mlr.checkpoint import Run
    from mlr.data.demo import data_folder
    from mlr.data.loader import batches
    from mlr.data.splits import fingerprint, read_split
    from mlr.figures import save_confusion
    from mlr.metrics import classification_metrics
    from mlr.transforms import evaluation_transform

    run = Run.open(folder)
    trained = run.config["options"]
    data = data_folder(options.data or ("demo" if trained["data"] == "demo" else run.config["data"]["folder"]))
    fold = options.fold or (None if options.data else trained["fold"])
    split = read_split(data, options.split, trained["labels"], fold)
    if split.classes != run.classes:
        raise InputError("%s has the classes %s, but the run was trained on %s: give the folder of the same classes" % (
            split.source, ", ".join(split.classes), ", ".join(run.classes)))
    sha256 = fingerprint({options.split: split})
    net = run.load_network(ctx, options.parameters)
    transform = evaluation_transform(run.config["preprocessing"]["image_size"])
    logits, labels = engine.predict(net, batches(split, transform, BATCH), ctx)
    result = classification_metrics(labels, logits.argmax(axis=1), run.classes)

    print("%-14s %8s %8s %9s" % ("class", "images", "recall", "precision"))
    for name, images in zip(run.classes, split.counts):
        print("%-14s %8d %8s %9s" % (name, images, _rate(result["recall"][name]), _rate(result["precision"][name])))
    print("accuracy %.3f, balanced accuracy %.3f on %d images of %s" % (
        result["accuracy"], result["balanced_accuracy"], result["images"], split.source))
    report, picture = run.folder / ("evaluation_%s.json" % options.split), run.folder / ("confusion_%s.png" % options.split)
    write_file(report, json.dumps({
        "data": split.source, "sha256": sha256, "fold": fold, "parameters": options.parameters, **result}, indent=2) + "\n")
    save_confusion(result, run.classes, "%s, %d images" % (options.split, result["images"]), picture)
    print("written: %s, %s" % (report, picture))
    return result


def _rate(value):
    return "-" if value is None else "%.3f" % value


def main(argv=None):
    return command.run(parser(), evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
