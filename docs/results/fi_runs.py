"""The runs behind a table of FI.md as CSV, a line for each: what `mlr reproduce` writes into
results.csv, the accuracy on valid after the last epoch, and on test the recall of each class and
the accuracy by sentiment, which takes a prediction for right if its sentiment is.

.venv/bin/python docs/results/fi_runs.py runs/claims-2 > docs/results/fi-claims-2.csv
"""

import sys
from pathlib import Path
from typing import Any, Dict, List

from mlr.data.emotions import sentiment_of
from mlr.runs.folder import Run
from mlr.runs.results import csv_table, outcome, own_evaluation


def main(folder: Path) -> None:
    """Print the runs in a folder of `mlr reproduce` that are trained and measured."""
    measured = [path.parent for path in folder.glob("*-seed*/evaluation_test.json")]
    if not measured:
        sys.exit(f"{folder} holds no run that was measured on test: run mlr reproduce first")
    print(csv_table({"": [line(Run.open(each)) for each in sorted(measured)]}), end="")


def line(run: Run) -> Dict[str, Any]:
    """Return {column: value} of a run."""
    measured, valid = own_evaluation(run), run.metrics[-1]
    return {
        **outcome(run.folder),
        **{name: valid[name] for name in ("valid_accuracy", "valid_balanced_accuracy")},
        **{f"recall_{name}": recall for name, recall in measured["recall"].items()},
        "sentiment_accuracy": sentiment_accuracy(measured["confusion"], run.classes),
    }


def sentiment_accuracy(confusion: List[List[int]], classes: List[str]) -> float:
    """Return the fraction of images whose prediction has the sentiment of their class. confusion:
    K x K, with true classes as rows.
    """
    sentiments = [sentiment_of(name) for name in classes]
    right = sum(
        images
        for true, row in zip(sentiments, confusion)
        for predicted, images in zip(sentiments, row)
        if true == predicted
    )
    return right / sum(map(sum, confusion))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
