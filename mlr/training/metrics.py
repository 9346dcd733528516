"""What a set of predictions is worth."""

import numpy as np
from sklearn.metrics import confusion_matrix


def classification_metrics(labels, predictions, classes):
    """Return the metrics of predictions as plain numbers, ready for JSON.

    labels, predictions: (N,) integers. classes: K names. Returns images, accuracy,
    balanced_accuracy (the mean recall of the classes that have images), macro_f1 (the mean over
    these of the F1 score, 0 without a hit), worst_recall, majority_rate (the accuracy of always
    saying the most frequent class), recall and precision by class (None without images, or without
    predictions), and confusion, a K x K list, rows true and columns predicted.
    """
    confusion = confusion_matrix(labels, predictions, labels=range(len(classes)))
    hits, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    there = true > 0
    return {
        "images": int(true.sum()),
        "accuracy": float(hits.sum() / true.sum()),
        "balanced_accuracy": float(np.mean(hits[there] / true[there])),
        "macro_f1": float(np.mean(2 * hits[there] / (true + predicted)[there])),
        "worst_recall": float(np.min(hits[there] / true[there])),
        "majority_rate": float(true.max() / true.sum()),
        "recall": {
            name: float(hit / count) if count else None
            for name, hit, count in zip(classes, hits, true)
        },
        "precision": {
            name: float(hit / count) if count else None
            for name, hit, count in zip(classes, hits, predicted)
        },
        "confusion": confusion.tolist(),
    }
