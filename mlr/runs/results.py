"""From run folders to the table of results."""

import csv
import io
import math
import shlex
from pathlib import Path
from statistics import mean, stdev
from typing import Union

from mlr.data.drawn import DRAWN
from mlr.data.layouts import DATASETS
from mlr.data.manifest import DESCRIPTION
from mlr.errors import InputError
from mlr.formats.json import read_json
from mlr.runs.folder import Run
from mlr.runs.schema import REMEASURE, checked_evaluation

# of the demo, made by make results
SHIPPED_RESULTS = Path(__file__).parents[2] / "docs" / "results"

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "worst_recall": "worst class recall",
}


def measured_on(config: dict) -> str:
    """Return which of a run's data sets it is measured on: "target", if it had one, else "data"."""
    return "target" if config["options"].get("target") else "data"


def of_own_images(config: dict, evaluation: dict) -> bool:
    """Tell whether an evaluation is of the images that were this split when the run was trained."""
    described, options = config[measured_on(config)], config["options"]
    if evaluation["manifest"] != described["manifest"]:
        return False
    if "splits" in described:
        return evaluation["sha256"] == described["splits"].get(evaluation["split"])
    # Runs from before config.json had each split's SHA-256 tell the folder, or what was drawn.
    drawn = DRAWN.get(options[measured_on(config)])
    folder = str(drawn[0].resolve()) if drawn else described["folder"]
    fold = options["fold"] if described["manifest"] else None
    return (evaluation["folder"], evaluation["fold"]) == (folder, fold)


def stem_of(evaluation: dict, own_images: bool) -> str:
    """Return what the files of an evaluation are called after.

    That is the split alone where it is the run's own result, by its last parameters.
    """
    parts = [evaluation["split"]]
    if evaluation["parameters"] != "last":
        parts.append(evaluation["parameters"])
    if not own_images:
        parts.append(evaluation["sha256"][:8])
    return "-".join(parts)


def own_evaluation(run: Run, split: str = "test") -> dict:
    """Return what evaluation_<split>.json holds.

    Raises InputError where it is missing, damaged, or not of the run as it is now.
    """
    path = run.folder / (f"evaluation_{split}.json")
    if not path.exists():
        raise InputError(
            f"{run.folder} has no {path.name}, which mlr evaluate writes of the images that were "
            f"{split} in the training: measure the run, and where these images have changed since, "
            "restore them before"
        )
    evaluation = checked_evaluation(read_json(path, REMEASURE), path)
    if stem_of(evaluation, of_own_images(run.config, evaluation)) != split:
        raise InputError(f"{path} is of other images or parameters than the run's own: {REMEASURE}")
    if evaluation["files"] != run.files_of("last"):
        raise InputError(
            f"{path} is of parameters that the run no longer has, likely as its training "
            f"went on: {REMEASURE}"
        )
    return evaluation


def outcome(folder, split="test"):
    """Return what a finished and evaluated run says of itself, a dict of plain values. Raises
    InputError where a file of it is missing or damaged.
    """
    run = Run.open(folder)
    evaluation = own_evaluation(run, split)
    if not all("seconds" in line for line in run.metrics):
        raise InputError(
            f"{run.folder / 'metrics.jsonl'} tells no epoch's seconds: restore it from a copy, "
            "or train again"
        )
    return {
        "run": run.folder.name,
        "seed": run.config["options"]["seed"],
        **{name: evaluation[name] for name in (*METRICS, "majority_rate", "images")},
        "classes": len(run.classes),
        "seconds": sum(line["seconds"] for line in run.metrics),
        "parameters": run.parameters(),
        "command": command_line(run.config["argv"]),
        "data_sha256": run.config["data"]["sha256"],
        "evaluated_sha256": evaluation["sha256"],
        "manifest_sha256": run.config["data"]["manifest"] or "",
        "weights_sha256": run.sha256("last.params"),
        "pretrained_sha256": run.config["pretrained"].get("sha256", ""),
        "threads": run.config["threads"],
        "versions": run.config["versions"],
    }


def of_the_papers_data(folder: Union[str, Path]) -> bool:
    """Tell whether a data folder was prepared from what the published accuracies are of."""
    path = Path(folder) / DESCRIPTION
    described = read_json(path) if path.is_file() else None
    name = described.get("dataset") if isinstance(described, dict) else None
    return isinstance(name, str) and name in DATASETS and DATASETS[name].accuracies_published


def command_line(argv):
    """Return a process's arguments as a person types them."""
    return shlex.join(["mlr", *argv[1:]])


def summary(outcomes):
    """Return {metric: (mean, standard deviation of a sample, None of one)} of the outcomes of one
    system's seeds.
    """
    found = {}
    for name in (*METRICS, "seconds"):
        values = [result[name] for result in outcomes]
        found[name] = mean(values), stdev(values) if len(values) > 1 else None
    return found


def markdown(tables, outcomes, heading, comparable):
    """Return RESULTS.md. tables: {name: (title, {system's title: its run's name}, {system's title:
    the paper's accuracy in %})}.

    outcomes: {run's name: outcomes of its seeds}. heading: lines above. comparable: whether the
    paper's figures are of the same data.
    """
    lines = [*heading, ""]
    for title, systems, cited in tables.values():
        lines += [f"## {title}", ""]
        columns = ["system", *METRICS.values(), "training, s", "parameters, million"]
        if cited:
            columns.insert(
                1,
                "paper, accuracy on FI"
                if comparable
                else "paper, accuracy on FI (other data: not comparable)",
            )
        lines += [_row(columns), _row(["---"] * len(columns))]
        for system, name in systems.items():
            found = summary(outcomes[name])
            cells = [
                system,
                *(_spread(*found[metric], "%.3f") for metric in METRICS),
                _spread(*found["seconds"], "%.0f"),
                f"{outcomes[name][0]['parameters'] / 1e6:.2f}",
            ]
            if cited:
                cells.insert(1, f"{cited[system]:.2f} %")
            lines.append(_row(cells))
        lines.append("")
    lines += [
        "## Commands",
        "",
        _row(["run", "command", "data", "manifest", "pretrained", "weights"]),
        _row(["---"] * 6),
    ]
    for name in outcomes:
        for result in outcomes[name]:
            lines.append(
                _row(
                    [
                        result["run"],
                        f"`{result['command']}`",
                        *(
                            result[key][:12] or "-"
                            for key in (
                                "data_sha256",
                                "manifest_sha256",
                                "pretrained_sha256",
                                "weights_sha256",
                            )
                        ),
                    ]
                )
            )
    return "\n".join(lines) + "\n"


def csv_table(outcomes):
    """Return results.csv: a line a run, all columns of `outcome` that are plain."""
    rows = [result for results in outcomes.values() for result in results]
    columns = [name for name in rows[0] if name != "versions"]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_csv(path):
    """Return what `csv_table` wrote, {run's name: outcomes of its seeds}, with the numbers that
    `summary` needs.

    Raises InputError where it is damaged.
    """
    outcomes = {}
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file, strict=True):
                numbers = {
                    name: float(line[name]) for name in (*METRICS, "seconds", "majority_rate")
                }
                if not all(map(math.isfinite, numbers.values())):
                    raise ValueError
                outcomes.setdefault(line["run"].rpartition("-seed")[0], []).append(
                    {**line, **numbers}
                )
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error):
        raise InputError(
            f"{path} is damaged, or no table of results: make it again, with mlr reproduce"
        ) from None
    return outcomes


def _row(cells):
    return f"| {' | '.join(cells)} |"


def _spread(middle, deviation, form):
    return form % middle if deviation is None else f"{form % middle} +- {form % deviation}"
