"""The results of all folds, in figures."""

import json
from pathlib import Path
from statistics import mean, stdev

from mlr.files import write_file

RESULT = "folds.json"


def save_folds(results, folder):
    """Print mean and standard deviation (of a sample) of the folds' metrics and write them with each fold's to folds.json."""
    summary = {}
    for name in ("accuracy", "balanced_accuracy"):
        values = [result[name] for result in results]
        summary[name] = {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None, "folds": values}
        print("%s of %d folds: mean %.3f, standard deviation %s" % (
            name.replace("_", " "), len(values), summary[name]["mean"], "-" if len(values) == 1 else "%.3f" % summary[name]["std"]))
    write_file(Path(folder) / RESULT, json.dumps(summary, indent=2) + "\n")
