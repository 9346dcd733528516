"""What a set of predictions is worth."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from numpy.typing import ArrayLike

from mlr.data.labelled import distributions

BINS = 15  # of the confidence, as in Guo et al.
LEAST = np.finfo(np.float64).tiny  # 2.2e-308, so that the logarithm of a probability is finite


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
    confusion = np.zeros((len(classes), len(classes)), int)
    # whole numbers in float32, where several workers have exchanged them
    np.add.at(confusion, (np.asarray(labels, int), np.asarray(predictions, int)), 1)
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


def calibration_metrics(labels: ArrayLike, probabilities: ArrayLike) -> Dict[str, Any]:
    """Return what probabilities are worth, as plain numbers, ready for JSON.

    labels: (N,) integers. probabilities: (N, K), float64. Returns expected_calibration_error
    (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3): the mean over
    the images of the difference between accuracy and mean confidence, the probability of the
    predicted class, in the bin that the image is in. The bins are 15 of equal width, the m-th of
    confidences above (m - 1) / 15, up to m / 15. negative_log_likelihood: the mean, in nats; a
    probability below 2.2e-308 counts as that. reliability: images, confidence and accuracy of each
    bin, the means None where there are no images.
    """
    labels = np.asarray(labels)
    probabilities = np.clip(probabilities, LEAST, 1)  # rounding can leave one just above 1
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence)
    images = np.bincount(bins, minlength=BINS)
    confident = np.bincount(bins, confidence, BINS)
    correct = np.bincount(bins, right, BINS)
    of_true = probabilities[np.arange(len(labels)), labels]
    return {
        "expected_calibration_error": float(np.abs(correct - confident).sum() / len(labels)),
        "negative_log_likelihood": float(np.log(1 / of_true).mean()),
        "reliability": {
            "images": images.tolist(),
            "confidence": _means(confident, images),
            "accuracy": _means(correct, images),
        },
    }


def distribution_metrics(votes: ArrayLike, probabilities: ArrayLike) -> Dict[str, float]:
    """Return how far predicted distributions are from those of votes, as plain numbers.

    votes: (N, K) numbers from 0 up, some above 0 in each row; d are their shares. probabilities:
    (N, K), p. The measures are those of X. Geng, "Label distribution learning", IEEE TKDE
    28:1734-1748, 2016, table 1, not divided by K or its root, their means over the images.
    chebyshev: max |d - p|. clark: root of the sum of (d - p)^2 / (d + p)^2. canberra: sum of
    |d - p| / (d + p). kullback_leibler: sum of d ln(d / p), in nats. cosine: of the angle between
    d and p. intersection: sum of min(d, p). The first four are 0 where d = p, the others 1.

    Zeros: a class for which d and p are both 0 adds 0 to clark and canberra, and 1 where only one
    is; d = 0 adds 0 to kullback_leibler; p below 2.2e-308 counts as that in it.
    """
    p, d = np.asarray(probabilities, np.float64), distributions(votes)
    apart, both = np.abs(d - p), d + p
    relative = np.divide(apart, both, out=np.zeros_like(both), where=both > 0)
    ratio = np.where(d > 0, d, 1) / np.where(d > 0, np.maximum(p, LEAST), 1)
    lengths = np.linalg.norm(d, axis=1) * np.linalg.norm(p, axis=1)
    measures = {
        "chebyshev": apart.max(axis=1),
        "clark": np.sqrt((relative**2).sum(axis=1)),
        "canberra": relative.sum(axis=1),
        "kullback_leibler": (d * np.log(ratio)).sum(axis=1),
        "cosine": (d * p).sum(axis=1) / lengths,
        "intersection": np.minimum(d, p).sum(axis=1),
    }
    return {name: float(values.mean()) for name, values in measures.items()}


def _means(totals: np.ndarray, images: np.ndarray) -> List[Optional[float]]:
    return [float(total / count) if count else None for total, count in zip(totals, images)]
