"""Runs side by side on one HTML page that needs no other file and no network connection. A script
sorts its table of results; without JavaScript the table keeps its order.
"""

import base64
import hashlib
from collections import Counter
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from mlr.errors import shown
from mlr.runs.folder import Run
from mlr.runs.results import METRICS, measured_on
from mlr.runs.schema import plain
from mlr.runtime.files import write_file
from mlr.viz.figures import new_figure, plot_confusion, plot_runs
from mlr.viz.report import POLICY, Shown, png_uri, template

GENERATOR = "mlr report"  # marks pages that this module wrote
SCRIPT = Path(__file__).with_name("sorting.js")
MEASURES = {**METRICS, "expected_calibration_error": "calibration error"}
COLUMNS = ["run", *MEASURES.values(), "split", "images", "epochs", "training, s"]
LONGEST = 30  # characters of a class in a figure


class Compared(NamedTuple):
    """A run in a comparison. epochs: its number of epochs when it is finished. evaluation: the
    content of evaluation_<split>.json, None if there is none for the run as it is now.
    """

    name: str
    run: Run
    epochs: int
    evaluation: Optional[Dict[str, Any]]


def is_comparison(path: Path) -> bool:
    """Tell whether a file is a page that `save_comparison` wrote."""
    mark = f'<meta name="generator" content="{GENERATOR}">'
    return path.is_file() and mark.encode() in path.read_bytes()


def names_of(folders: Sequence[Path]) -> List[str]:
    """Return the names of the runs in different folders: the folder's name, for a fold after the
    name of the folder around it; or the path, if several runs would have the same name.
    """
    names = [
        "/".join(folder.resolve().parts[-2 if folder.name.startswith("fold-") else -1 :])
        for folder in folders
    ]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else str(folder.resolve()) for name, folder in zip(names, folders)
    ]


def differences(runs: Sequence[Compared]) -> List[str]:
    """Return a sentence for each reason why the runs can't be compared: other images, other
    classes.
    """
    found = []
    for what, groups in (
        ("were trained on different images", _grouped(runs, _trained_on)),
        ("were measured on different images", _grouped(runs, _evaluated_on)),
        ("have different classes", _grouped(runs, _classes)),
    ):
        if len(groups) > 1:
            listed = "; ".join(f"{', '.join(names)}: {of}" for of, names in groups.items())
            found.append(f"the runs {what}, so their results can't be compared: {listed}")
    return found


def save_comparison(path: Path, runs: Sequence[Compared], notes: Iterable[str]) -> None:
    """Write the page; if writing fails, an existing file stays as it was. notes: sentences for the
    top of the page.
    """
    script = SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    options, same = option_rows(runs)
    page = template("comparison.html").render(
        title=f"{len(runs):d} run{'s' if len(runs) > 1 else ''} side by side",
        policy=f"{POLICY}; script-src 'sha256-{digest}'",
        generator=GENERATOR,
        notes=list(notes),
        about_results=(
            "Measured on each run's own images with its last parameters. Calibration error is the "
            "expected calibration error. Lower calibration errors and fewer seconds are better."
        ),
        columns=COLUMNS,
        results=[_result(each) for each in runs],
        names=[each.name for each in runs],
        options=options,
        same=same,
        curves=_curves(runs),
        confusions=[_confusion(each) for each in runs if _counts(each)],
        script=script,
    )
    # File names need not be UTF-8: characters that can't be encoded become question marks.
    write_file(path, page.encode("utf-8", "replace"))


def option_rows(runs: Sequence[Compared]) -> Tuple[List[List[Any]], int]:
    """Return a row for each option that differs, with its name and each run's value (None if the
    run's method does not have the option), and the number of equal options.
    """
    of_runs = [each.run.config["options"] for each in runs]
    names = list(dict.fromkeys(name for options in of_runs for name in options))
    rows = []
    for name in names:
        values = [plain(options.get(name)) for options in of_runs]
        if any(value != values[0] for value in values):
            rows.append([name, *values])
    return rows, len(names) - len(rows)


def _grouped(
    runs: Sequence[Compared], described: Callable[[Compared], Optional[Tuple[Any, str]]]
) -> Dict[str, List[str]]:
    """Return {words on a group: names of its runs}. described: returns what the runs of a group
    have in common, and the words on a run; None leaves a run out.
    """
    words: Dict[Any, str] = {}
    groups: Dict[str, List[str]] = {}
    for each in runs:
        found = described(each)
        if found is not None:
            groups.setdefault(words.setdefault(*found), []).append(each.name)
    return groups


def _trained_on(each: Compared) -> Tuple[str, str]:
    # The images count and not their folder: another checkout has the same ones elsewhere.
    described = each.run.config["data"]
    digest = described["sha256"]
    return digest, f"{described['folder']} (SHA-256 {digest[:8]})"


def _evaluated_on(each: Compared) -> Optional[Tuple[Tuple[str, str], str]]:
    if each.evaluation is None:
        return None
    folder = each.run.config[measured_on(each.run.config)]["folder"]
    split, digest = each.evaluation["split"], each.evaluation["sha256"]
    return (split, digest), f"{split} of {folder} (SHA-256 {digest[:8]})"


def _classes(each: Compared) -> Tuple[str, str]:
    names = ", ".join(each.run.classes)
    return names, names


def _result(each: Compared) -> List[Any]:
    """Return a row of the table, with the COLUMNS."""
    evaluation: Mapping[str, Any] = each.evaluation or {}
    metrics = each.run.metrics
    seconds = [line["seconds"] for line in metrics if "seconds" in line]
    return [
        each.name,
        *(f"{evaluation[key]:.3f}" if key in evaluation else None for key in MEASURES),
        *(evaluation.get(key) for key in ("split", "images")),
        f"{len(metrics):d}" if len(metrics) >= each.epochs else f"{len(metrics)} of {each.epochs}",
        f"{sum(seconds):.0f}" if metrics and len(seconds) == len(metrics) else None,
    ]


def _curves(runs: Sequence[Compared]) -> List[Shown]:
    losses = {each.name: _points(each.run.metrics, "loss") for each in runs}
    accuracies = {
        each.name: _points(each.run.metrics, f"{split}_balanced_accuracy")
        for each in runs
        for split in ("test", "valid")  # if a run has both, as after a transfer, valid
        if _points(each.run.metrics, f"{split}_balanced_accuracy")
    }
    kinds = {_loss(each) for each in runs if losses[each.name]}
    warning = (
        "; the runs have different losses, whose values can't be compared" if len(kinds) > 1 else ""
    )
    figures = []
    for label, curves, caption in (
        ("training loss", losses, f"training loss by epoch{warning}"),
        (
            "balanced accuracy",
            accuracies,
            "balanced accuracy by epoch on valid, or on test if there is no valid",
        ),
    ):
        there = {name: points for name, points in curves.items() if points}
        if there:
            figure, axes = new_figure(5, 3.5 + 0.22 * ((len(there) + 1) // 2))
            plot_runs(there, label, axes)
            figures.append(Shown(png_uri(figure), f"Curves: {label} by epoch", caption))
    return figures


def _loss(each: Compared) -> Tuple[Any, ...]:
    """Return the options that the loss depends on."""
    options = each.run.config["options"]
    weighted = ("loss_form", "gamma") if options.get("loss") == "class_imbalance" else ()
    return tuple(options.get(name) for name in ("loss", "targets", *weighted))


def _points(metrics: Sequence[Mapping[str, Any]], key: str) -> List[Tuple[float, float]]:
    return [(line["epoch"], line[key]) for line in metrics if key in line]


def _counts(each: Compared) -> Optional[List[List[int]]]:
    """Return the confusion matrix of a run's classes, None if it is missing or malformed."""
    counts = (each.evaluation or {}).get("confusion")
    size = len(each.run.classes)
    if not isinstance(counts, list) or len(counts) != size:
        return None
    for row in counts:
        if not isinstance(row, list) or len(row) != size:
            return None
        if not all(type(count) is int and count >= 0 for count in row):
            return None
    return counts


def _confusion(each: Compared) -> Shown:
    classes = [shown(name, LONGEST) for name in each.run.classes]
    size = 2.5 + 0.45 * len(classes)
    figure, axes = new_figure(size, size)
    plot_confusion(_counts(each) or [], classes, axes)
    return Shown(png_uri(figure), f"Confusion matrix of {each.name}", each.name)
