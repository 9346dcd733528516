"""What a set of predictions is worth."""

from typing import Any, Dict, Sequence

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix


def classification_metrics(
    labels: ArrayLike, predictions: ArrayLike, classes: Sequence[str]
) -> Dict[str, Any]:
    """Return the metrics of predictions as plain numbers, ready for JSON.

    labels, predictions: (N,) integers. classes: K names. Returns images, accuracy,
    balanced_accuracy (the mean recall of the classes that have images), macro_f1 (the mean over
    these of the F1 score, 0 without a correct prediction), worst_recall, majority_rate (the
    accuracy of always saying the most frequent class), recall and precision by class (None without
    images, or without predictions), and confusion, a K x K list, rows true and columns predicted.
    """
    confusion = confusion_matrix(labels, predictions, labels=range(len(classes)))
    correct, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    there = true > 0
    return {
        "images": int(true.sum()),
        "accuracy": float(correct.sum() / true.sum()),
        "balanced_accuracy": float(np.mean(correct[there] / true[there])),
        "macro_f1": float(np.mean(2 * correct[there] / (true + predicted)[there])),
        "worst_recall": float(np.min(correct[there] / true[there])),
        "majority_rate": float(true.max() / true.sum()),
        "recall": {
            name: float(right / count) if count else None
            for name, right, count in zip(classes, correct, true)
        },
        "precision": {
            name: float(right / count) if count else None
            for name, right, count in zip(classes, correct, predicted)
        },
        "confusion": confusion.tolist(),
    }
