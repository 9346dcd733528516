"""python -m mlr.evaluate: measure a run on a split of the data."""

import argparse
import hashlib
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, Union

from mlr import cli
from mlr.errors import InputError, RunError
from mlr.runs.folds import save_folds
from mlr.runtime.cpu import compute_beside_others
from mlr.runtime.files import write_file
from mlr.runtime.installation import require_package

if TYPE_CHECKING:
    import numpy as np

    from mlr.data.labelled import LabelledImages
    from mlr.inference.predictor import Predictor
    from mlr.runs.exported import ExportedRun
    from mlr.runs.folder import Run
    from mlr.runs.measured_images import Images

    AnyRun = Union[Run, ExportedRun]


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.Parser("evaluate", __doc__)
    cli.add_run(parser, exported=True)
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
        "--fit-temperature",
        action="store_true",
        help=(
            "with --split valid: fit the temperature by which the logits are divided before the "
            "softmax, so that the probabilities are of the highest likelihood there; the run keeps "
            "it, and no class changes"
        ),
    )
    parser.add_argument(
        "--report",
        nargs="?",
        const=False,
        metavar="FILE.html",
        help=(
            "write a page of options, curves, confusion, accuracy by the images' brightness, "
            "colours and edges, pictures and filters that opens without network (default: "
            "<run>/report_<split>.html); takes seconds for the demo, some minutes at "
            "224 px on a CPU"
        ),
    )
    cli.add_folds(parser)
    cli.add_engine(parser)
    cli.add_context(parser)
    return parser


def evaluate(options: argparse.Namespace) -> None:
    """Measure a run, or each of its folds."""
    if options.fit_temperature and options.split != "valid":
        raise InputError(
            f"--fit-temperature is not for --split {options.split}, which it would have seen: add "
            "--split valid"
        )
    if options.report:
        check_page(Path(options.report), options.folds)
    from mlr.runs.folds import fold_folder, fold_folders
    from mlr.runs.results import stem_of

    run = Path(options.run)
    folds = fold_folders(run)
    if options.folds and not folds:
        raise InputError(
            f"{run} holds no runs of folds (fold-1, ...): leave out --folds, or give the --out "
            "of mlr train --folds all"
        )
    if options.folds:
        refuse_unfinished(run, folds, options)
        evaluations, own = zip(*[evaluate_run(folder, options) for folder in folds])
        digests = "".join(evaluation["sha256"] for evaluation in evaluations)
        together = {**evaluations[0], "sha256": hashlib.sha256(digests.encode()).hexdigest()}
        save_folds(evaluations, run, stem_of(together, all(own)))
    elif folds and options.fold is None:
        raise InputError(
            f"{run} holds the runs of {len(folds):d} folds: choose one with --fold, or take "
            "--folds all"
        )
    elif folds:
        evaluate_run(fold_folder(run, options.fold), options)
    else:
        evaluate_run(run, options, options.fold)


def check_page(path: Path, folds: Optional[str]) -> None:
    """Raise InputError, before hours of work, where the report can't be written into a file of that
    name, or would replace a file that is no page of this package.
    """
    if folds:
        raise InputError(
            f"--report {path} is one page, but each fold gets its own: give --report alone, "
            "which writes into their run folders"
        )
    cli.refuse_wrong_file("--report", path, cli.PAGES)
    # what all pages of this package have in their head
    if path.exists() and b"<title>mlr: " not in path.read_bytes():
        raise InputError(
            f"--report {path} exists already and is no page of this package: give another name, or "
            "remove it"
        )


def refuse_unfinished(run: Path, folders: List[Path], options: argparse.Namespace) -> None:
    """Raise InputError where there are folds of the data whose training has not ended.

    folders: the run folders that are there.
    """
    from mlr.data.manifest import folds_of
    from mlr.methods import finished, open_run_folder
    from mlr.runs.measured_images import measured_folders

    runs = [open_run_folder(folder) for folder in folders]
    done = {found.config["options"]["fold"]: finished(found) for found in runs}
    of_data = measured_folders(runs[0].config, options.data)
    folds = {*done, *(fold for folder in of_data for fold in folds_of(folder))}
    left = [str(fold) for fold in sorted(folds) if not done.get(fold)]
    if left:
        raise InputError(
            f"the training of {run} is not at its end, fold {', '.join(left)} is missing: go on, "
            f"by mlr train --resume --out {shlex.quote(str(run))}, or choose a fold with --fold"
        )


def evaluate_run(
    folder: Path, options: argparse.Namespace, fold: Optional[int] = None
) -> Tuple[Dict[str, Any], bool]:
    """Measure one run, print and write the result; return it, and whether it is of the run's
    images.

    A run of several data sets is also measured on each apart. fold: of the data, None for the one
    that the run was trained for.
    """
    from mlr.methods import answering, open_run
    from mlr.runs.exported import ExportedRun
    from mlr.runs.measured_images import read_images

    run = open_run(folder)
    images, *apart = read_images(run, options.data, options.split, fold)
    if images.mapped and (options.fit_temperature or options.report is not None):
        raise InputError(
            f"--fit-temperature and --report are for the run's own classes, and {options.data} has "
            f"{', '.join(images.classes)}: leave it out"
        )
    if options.fit_temperature and isinstance(run, ExportedRun):
        raise InputError(
            f"--fit-temperature is kept in a run folder, and {folder} is a model: fit it to the "
            "run, and export that again"
        )
    if options.fit_temperature:
        require_package("scipy.optimize", "regions", "--fit-temperature")
    tempered = not options.fit_temperature
    compute_beside_others()
    files = run.files_of(options.parameters)
    predictor = answering(run, options.ctx, options.parameters, options.engine, tempered)
    if isinstance(run, ExportedRun):
        options = argparse.Namespace(**{**vars(options), "parameters": run.of_parameters})
    if options.fit_temperature and not predictor.classifier.is_of_logits:
        raise InputError(
            f"--fit-temperature is not for --method {run.config['options']['method']}, whose "
            "probabilities are not the softmax of one image's logits: leave it out"
        )
    result = evaluate_images(run, files, predictor, images, options)
    for each in apart:
        print(f"{each.described['folder']} alone:")
        evaluate_images(run, files, predictor, each, options, part=True)
    return result


def evaluate_images(
    run: "AnyRun",
    files: Dict[str, str],
    predictor: "Predictor",
    images: "Images",
    options: argparse.Namespace,
    part: bool = False,
) -> Tuple[Dict[str, Any], bool]:
    """Measure a run on images, print and write the result; return it, and whether they are the
    run's.

    files: the parameters that the predictor has, {name: SHA-256}. part: whether the images are one
    of the run's several data sets.
    """
    from mlr.runs.results import of_own_images, stem_of
    from mlr.runs.schema import checked_evaluation
    from mlr.viz.figures import save_confusion, save_reliability
    from mlr.viz.report import most_confident, save_report, save_sheet

    fit = options.fit_temperature and not part
    evaluation, probabilities = measured(run, files, predictor, images, options, fit)
    own = of_own_images(run.config, evaluation)
    stem, split, classes = stem_of(evaluation, own), images.split, images.classes
    title = f"{options.split}, {evaluation['images']} images"
    right, wrong = most_confident(probabilities, split.labels, split.paths, classes)
    result, confusion, reliability, sheet = (
        run.folder / name
        for name in (
            f"evaluation_{stem}.json",
            f"confusion_{stem}.png",
            f"reliability_{stem}.png",
            f"predictions_{stem}.png",
        )
    )
    write_file(result, json.dumps(checked_evaluation(evaluation, result), indent=2) + "\n")
    print_result(evaluation, own or part)
    save_confusion(evaluation, classes, title, confusion)
    save_reliability(evaluation, title, reliability)
    save_sheet(right, wrong, f"{title}: the most confident predictions", sheet)
    print(f"written: {result}, {confusion}, {reliability}, {sheet}", flush=True)
    if options.report is not None and not part:
        from mlr.viz.looks import looks_of

        page = Path(options.report or run.folder / f"report_{stem}.html")
        looks = looks_of(split, probabilities.argmax(axis=1) == split.labels)
        net = getattr(predictor.classifier, "net", None)
        save_report(page, run, net, options.split, evaluation, right, wrong, looks)
        print(f"written: {page}")
    return evaluation, own


def measured(
    run: "AnyRun",
    files: Dict[str, str],
    predictor: "Predictor",
    images: "Images",
    options: argparse.Namespace,
    fit: bool,
) -> "Tuple[Dict[str, Any], np.ndarray]":
    """Return the evaluation of a run on images, and the probabilities (N, K) that it is of.

    files: as in `evaluate_images`. fit: the temperature, to these images. Raises RunError if the
    run has other parameters now.
    """
    import numpy as np

    from mlr.training.metrics import (
        calibration_metrics,
        classification_metrics,
        distribution_metrics,
    )

    classifier, split, described = predictor.classifier, images.split, images.described
    classifier.refuse_without_proposals(split.names)
    answers = (predictor.logits_of_files if fit else predictor.of_files)(split.paths, split.names)
    if run.files_of(options.parameters) != files:
        raise RunError(
            f"{run.folder} got other parameters while it was measured, likely as it is still being "
            "trained: measure it again when the training has ended"
        )
    if fit:
        classifier.temperature = fit_temperature(run, options.parameters, answers, split, described)
    probabilities = classifier.softmax(answers) if fit else answers
    if images.mapped:
        sums = np.array(
            [[images.mapped[own] == name for name in images.classes] for own in run.classes]
        )
        probabilities = probabilities @ sums  # (N, K) to (N, 2)
    result = classification_metrics(split.labels, probabilities.argmax(axis=1), images.classes)
    result.update(calibration_metrics(split.labels, probabilities))
    if split.votes is not None:
        result["distribution"] = distribution_metrics(split.votes, probabilities)
    parameters = {"parameters": options.parameters, "files": files}
    tempered = {"temperature": classifier.temperature}
    engine = {} if classifier.engine == "mxnet" else {"engine": classifier.engine}
    return {**described, **parameters, **engine, **tempered, **result}, probabilities


def fit_temperature(
    run: "AnyRun",
    parameters: str,
    logits: "np.ndarray",
    split: "LabelledImages",
    described: Dict[str, Any],
) -> Optional[float]:
    """Fit a temperature to the logits (N, K) of images, save it in the run, and return it; None
    where the run is better without.
    """
    from mlr.runs.folder import Run
    from mlr.runs.writing import RunWriter
    from mlr.training.calibration import fitted_temperature, negative_log_likelihood

    assert isinstance(run, Run)  # as evaluate_run made sure
    temperature, fitted = fitted_temperature(logits, split.labels), None
    said = f"no temperature fits these {len(split)} images better than none: the run has none"
    if temperature is not None:
        before, after = (
            negative_log_likelihood(logits, split.labels, each) for each in (1.0, temperature)
        )
        said = (
            f"temperature {temperature:.3f}, kept in {run.folder}: negative log-likelihood "
            f"{after:.3f}, without it {before:.3f}"
        )
        fitted = {
            "temperature": temperature,
            **{name: described[name] for name in ("split", "sha256")},
            "images": len(split),
            "negative_log_likelihood": {"before": before, "after": after},
        }
    writer = RunWriter(run.folder, run.config, run.classes, run.metrics)
    writer.lock()
    try:
        writer.save_temperature(parameters, fitted)
    finally:
        writer.unlock()
    print(said)
    return temperature


def print_result(evaluation: Dict[str, Any], own: bool) -> None:
    """Print recall and precision of each class, accuracy and calibration."""
    from mlr.viz.report import calibration_line, class_rows

    print(f"{'class':<14} {'images':>8} {'recall':>8} {'precision':>9}")
    for name, images, recall, precision in class_rows(evaluation):
        print(f"{name:<14} {images:>8} {recall:>8} {precision:>9}")
    print(
        f"accuracy {evaluation['accuracy']:.3f}, balanced accuracy "
        f"{evaluation['balanced_accuracy']:.3f} on {evaluation['images']} images of "
        f"{evaluation['data']}"
    )
    print(calibration_line(evaluation))
    if "distribution" in evaluation:
        print(distribution_line(evaluation["distribution"]))
    if not own:
        print(
            f"these are not exactly the images that were {evaluation['split']} in the training, so "
            "the results have names of their own"
        )


def distribution_line(measures: Dict[str, float]) -> str:
    """Return the measures of `mlr.training.metrics.distribution_metrics` in one line."""
    return (
        "between probabilities and votes: Chebyshev {chebyshev:.3f}, Clark {clark:.3f}, Canberra "
        "{canberra:.3f}, Kullback-Leibler {kullback_leibler:.3f} (0 is best), cosine {cosine:.3f}, "
        "intersection {intersection:.3f} (1 is best)"
    ).format(**measures)


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; return the exit code."""
    return cli.run(parser(), evaluate, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
