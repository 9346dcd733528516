"""The results of all folds together: mean and standard deviation."""

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Dict, List, Mapping, Sequence, Union

from mlr.runs.committed import SUMS
from mlr.runtime.files import write_file

OF = "split", "fold", "sha256", "parameters", "files"  # what a fold's metrics were measured on


def fold_folder(folder: Union[str, Path], fold: int) -> Path:
    """Return the run folder of a fold in the folder of a training with --folds all."""
    return Path(folder) / f"fold-{fold}"


def fold_folders(folder: Union[str, Path]) -> List[Path]:
    """Return the run folders of the folds that exist."""
    return sorted(path for path in Path(folder).glob("fold-*") if (path / SUMS).is_file())


def save_folds(results: Sequence[Mapping[str, Any]], folder: Path, stem: str = "test") -> None:
    """Print and write the mean and the sample standard deviation of the folds' metrics.

    The file also has the metrics of each fold, and what they were measured on. results: one
    evaluation per fold. stem: "test" for folds.json, otherwise as in evaluation_<stem>.json.
    """
    summary: Dict[str, Any] = {"of": [{name: result[name] for name in OF} for result in results]}
    for name in ("accuracy", "balanced_accuracy"):
        values = [result[name] for result in results]
        deviation = stdev(values) if len(values) > 1 else None
        summary[name] = {"mean": mean(values), "std": deviation, "folds": values}
        print(
            f"{name.replace('_', ' ')} of {len(values)} folds: mean {mean(values):.3f}, standard "
            f"deviation {'-' if deviation is None else f'{deviation:.3f}'}"
        )
    path = Path(folder) / ("folds.json" if stem == "test" else f"folds_{stem}.json")
    write_file(path, json.dumps(summary, indent=2) + "\n")
    print(f"written: {path}")
