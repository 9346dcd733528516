"""The results of all folds, in figures."""

import json
from pathlib import Path
from statistics import mean, stdev

from mlr.runs.committed import SUMS
from mlr.runtime.files import write_file


def fold_folder(folder, fold):
    """Return the run folder of a fold in the folder of a training with --folds all."""
    return Path(folder) / (f"fold-{fold:d}")


def fold_folders(folder):
    """Return the run folders of all folds that are there."""
    return sorted(path for path in Path(folder).glob("fold-*") if (path / SUMS).is_file())


OF = "split", "fold", "sha256", "parameters", "files"  # what a fold's metrics are of


def save_folds(results: list, folder: Path, stem: str = "test") -> None:
    """Print and write mean and standard deviation (of a sample) of the folds' metrics.

    With them go each fold's, and what it is of. results: evaluations, one a fold. stem: "test" for
    folds.json, otherwise as in evaluation_<stem>.json.
    """
    summary = {"of": [{name: result[name] for name in OF} for result in results]}
    for name in ("accuracy", "balanced_accuracy"):
        values = [result[name] for result in results]
        summary[name] = {
            "mean": mean(values),
            "std": stdev(values) if len(values) > 1 else None,
            "folds": values,
        }
        print(
            "{} of {:d} folds: mean {:.3f}, standard deviation {}".format(
                name.replace("_", " "),
                len(values),
                summary[name]["mean"],
                "-" if len(values) == 1 else f"{summary[name]['std']:.3f}",
            )
        )
    path = Path(folder) / ("folds.json" if stem == "test" else f"folds_{stem}.json")
    write_file(path, json.dumps(summary, indent=2) + "\n")
    print(f"written: {path}")
