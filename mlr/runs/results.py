"""Makes the table of results from run folders."""

import csv
import io
import math
import shlex
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from mlr.data.drawn import DRAWN
from mlr.data.layouts import DATASETS
from mlr.data.manifest import DESCRIPTION
from mlr.errors import InputError
from mlr.formats.json import read_json
from mlr.runs.folder import Run
from mlr.runs.schema import REMEASURE, checked_evaluation

# the demo's results, which `make results` writes
SHIPPED_RESULTS = Path(__file__).parents[2] / "docs" / "results"

Outcome = Dict[str, Any]  # what `outcome` returns
Outcomes = Mapping[str, Sequence[Outcome]]  # {run's name: the outcome of each seed}
# Title, {system's title: its run's name}, and {system's title: the paper's accuracy in %} or None.
Table = Tuple[str, Mapping[str, str], Optional[Mapping[str, Optional[float]]]]

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "worst_recall": "worst class recall",
}


def measured_on(config: dict) -> str:
    """Return on which of its data sets a run is measured: "target" if it has one, else "data"."""
    return "target" if config["options"].get("target") else "data"


def folders_of(described: Mapping[str, Any]) -> List[Path]:
    """Return the folders of a run's images, one per data set. described: `data` or `target` of
    config.json.
    """
    return [Path(each["folder"]) for each in described.get("sets", [described])]


def of_own_images(config: dict, evaluation: dict) -> bool:
    """Tell whether an evaluation used the images that were in this split when the run was
    trained.
    """
    described, options = config[measured_on(config)], config["options"]
    if evaluation["manifest"] != described["manifest"]:
        return False
    if "splits" in described:
        return evaluation["sha256"] == described["splits"].get(evaluation["split"])
    # Older runs have no SHA-256 of each split in config.json: compare the folder instead.
    drawn = DRAWN.get(options[measured_on(config)])
    folder = str(drawn[0].resolve()) if drawn else described["folder"]
    fold = options["fold"] if described["manifest"] else None
    return (evaluation["folder"], evaluation["fold"]) == (folder, fold)


def stem_of(evaluation: dict, own_images: bool) -> str:
    """Return the stem of the names of an evaluation's files.

    It is the split alone for the run's own result: its own images, last parameters, and MXNet.
    """
    parts = [evaluation["split"]]
    if evaluation["parameters"] != "last":
        parts.append(evaluation["parameters"])
    if not own_images:
        parts.append(evaluation["sha256"][:8])
    if "engine" in evaluation:
        parts.append(evaluation["engine"])
    return "-".join(parts)


def own_evaluation(run: Run, split: str = "test") -> dict:
    """Return what evaluation_<split>.json holds.

    Raises InputError if it is missing, damaged, or does not belong to the run as it is now.
    """
    path = run.folder / (f"evaluation_{split}.json")
    if not path.exists():
        raise InputError(
            f"{run.folder} has no {path.name}: measure the run with mlr evaluate on the images "
            f"that were its split {split} in the training; if these images have changed since, "
            "restore them first"
        )
    evaluation = checked_evaluation(read_json(path, REMEASURE), path)
    if stem_of(evaluation, of_own_images(run.config, evaluation)) != split:
        raise InputError(
            f"{path} was measured on other images or with other parameters than the run's own: "
            f"{REMEASURE}"
        )
    if evaluation["files"] != run.files_of("last"):
        raise InputError(
            f"{path} was measured with parameters that the run no longer has, likely because its "
            f"training continued: {REMEASURE}"
        )
    if "temperature" in evaluation and evaluation["temperature"] != run.temperature("last"):
        raise InputError(
            f"{path} was measured with another temperature than the run has now: {REMEASURE}"
        )
    return evaluation


def latest_evaluation(run: Run) -> Optional[dict]:
    """Return the run's own evaluation on test; if it has no such file, the one on valid, or None.

    Raises InputError as `own_evaluation`.
    """
    for split in ("test", "valid"):
        if (run.folder / f"evaluation_{split}.json").exists():
            return own_evaluation(run, split)
    return None


def outcome(folder: Union[str, Path], split: str = "test") -> Outcome:
    """Return the results and the origin of a finished and evaluated run, a dict of plain values.

    Raises InputError if a file of the run is missing or damaged.
    """
    run = Run.open(folder)
    evaluation = own_evaluation(run, split)
    if not all("seconds" in line for line in run.metrics):
        raise InputError(
            f"{run.folder / 'metrics.jsonl'} lacks the seconds of an epoch, so it is damaged: "
            "restore it from a copy, or train again"
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
    """Tell whether a data folder was prepared from a data set that the published accuracies are
    about.
    """
    path = Path(folder) / DESCRIPTION
    described = read_json(path) if path.is_file() else None
    name = described.get("dataset") if isinstance(described, dict) else None
    return isinstance(name, str) and name in DATASETS and DATASETS[name].accuracies_published


def command_line(argv: Sequence[str]) -> str:
    """Return the arguments of a process as a person would type them."""
    return shlex.join(["mlr", *argv[1:]])


def summary(outcomes: Sequence[Outcome]) -> Dict[str, Tuple[float, Optional[float]]]:
    """Return {metric: (mean, sample standard deviation)} over the seeds of one system.

    The standard deviation is None if there is only one seed.
    """
    found: Dict[str, Tuple[float, Optional[float]]] = {}
    for name in (*METRICS, "seconds"):
        values = [result[name] for result in outcomes]
        found[name] = mean(values), stdev(values) if len(values) > 1 else None
    return found


def markdown(
    tables: Mapping[str, Table], outcomes: Outcomes, heading: Sequence[str], comparable: bool
) -> str:
    """Return the text of RESULTS.md.

    tables: {name: `Table`}. outcomes: {run's name: the outcome of each seed}. heading: the lines
    above the tables. comparable: whether the paper's figures are for the same data.
    """
    lines = [*heading, ""]
    for table in tables.values():
        lines += [*_table_lines(table, outcomes, comparable), ""]
    hashes = "data", "manifest", "pretrained", "weights"
    lines += ["## Commands", "", _line(["run", "command", *hashes]), _line(["---"] * 6)]
    for results in outcomes.values():
        for result in results:
            digests = [result[f"{name}_sha256"][:12] or "-" for name in hashes]
            lines.append(_line([result["run"], f"`{result['command']}`", *digests]))
    return "\n".join(lines) + "\n"


def _table_lines(table: Table, outcomes: Outcomes, comparable: bool) -> List[str]:
    """Return the lines of a table with its title; the arguments are those of `markdown`."""
    title, systems, cited = table
    columns = ["system", *METRICS.values(), "training, s", "parameters, million"]
    if cited:
        other = "" if comparable else " (other data: not comparable)"
        columns.insert(1, f"paper, accuracy on FI{other}")
    lines = [f"## {title}", "", _line(columns), _line(["---"] * len(columns))]
    for system, name in systems.items():
        found = summary(outcomes[name])
        cells = [
            system,
            *(_spread(*found[metric], 3) for metric in METRICS),
            _spread(*found["seconds"], 0),
            f"{outcomes[name][0]['parameters'] / 1e6:.2f}",
        ]
        if cited:
            cells.insert(1, f"{cited[system]:.2f} %")
        lines.append(_line(cells))
    return lines


def csv_table(outcomes: Outcomes) -> str:
    """Return the text of results.csv: one line per run, with all of `outcome` except the
    versions.
    """
    of_all = [result for results in outcomes.values() for result in results]
    columns = [name for name in of_all[0] if name != "versions"]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(of_all)
    return text.getvalue()


def read_csv(path: Union[str, Path]) -> Dict[str, List[Outcome]]:
    """Return what `csv_table` wrote, {run's name: the outcome of each seed}. The metrics and the
    seconds, which `summary` needs, are numbers; all else is text.

    Raises InputError if the file is damaged.
    """
    outcomes: Dict[str, List[Outcome]] = {}
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
            f"{path} is damaged, or is not a table of results: make it again, with mlr reproduce"
        ) from None
    return outcomes


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(middle: float, deviation: Optional[float], digits: int) -> str:
    """Return a mean and its standard deviation with `digits` digits after the point."""
    if deviation is None:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} +- {deviation:.{digits}f}"
