"""The metrics of predictions: accuracy, calibration, and distance from votes."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from numpy.typing import ArrayLike

from mlr.data.labelled import distributions

BINS = 15  # bins of the confidence, as in Guo et al.
LEAST = np.finfo(np.float64).tiny  # 2.2e-308, so that the logarithm of a probability is finite


def classification_metrics(
    labels: ArrayLike, predictions: ArrayLike, classes: Sequence[str]
) -> Dict[str, Any]:
    """Return the metrics of predictions as plain numbers, ready for JSON.

    labels, predictions: (N,) integers. classes: K names. Returns images, accuracy,
    balanced_accuracy (the mean recall of the classes that have images), macro_f1 (the mean F1 score
    of the same classes; 0 for a class without a correct prediction), worst_recall, majority_rate
    (the accuracy of always predicting the most frequent class), recall and precision by class (None
    without images, or without predictions), and confusion, a K x K list with true classes as rows
    and predicted ones as columns.
    """
    confusion = np.zeros((len(classes), len(classes)), int)
    # labels from several workers are whole numbers in float32
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
    """Return the calibration of probabilities as plain numbers, ready for JSON.

    labels: (N,) integers. probabilities: (N, K), float64. Returns expected_calibration_error (Guo
    et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3): the mean over the
    images of the difference between accuracy and mean confidence in the image's bin; confidence is
    the probability of the predicted class. There are 15 bins of equal width; the m-th has the
    confidences above (m - 1) / 15 up to m / 15. negative_log_likelihood: the mean, in nats; a
    probability below 2.2e-308 counts as 2.2e-308. reliability: images, mean confidence and accuracy
    of each bin; both means are None for a bin without images.
    """
    labels = np.asarray(labels)
    # rounding can make a probability slightly larger than 1
    probabilities = np.clip(probabilities, LEAST, 1)
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
    """Return the distances between predicted distributions and those of votes, as plain numbers.

    votes: (N, K) numbers from 0 up, with at least one above 0 in each row; d are their shares.
    probabilities: (N, K), p. The measures are those of X. Geng, "Label distribution learning", IEEE
    TKDE 28:1734-1748, 2016, table 1, not divided by K or its root; the result has their means over
    the images. chebyshev: max |d - p|. clark: root of the sum of (d - p)^2 / (d + p)^2. canberra:
    sum of |d - p| / (d + p). kullback_leibler: sum of d ln(d / p), in nats. cosine: of the angle
    between d and p. intersection: sum of min(d, p). The first four are 0 where d = p, the others 1.

    Zeros: a class adds 0 to the sums of clark and canberra if d and p are both 0, and 1 if only one
    of them is. In kullback_leibler d = 0 adds 0, and p below 2.2e-308 counts as 2.2e-308.
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
