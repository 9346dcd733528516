import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial import distance
from scipy.stats import entropy
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
)

from mlr.training.metrics import (
    BINS,
    LEAST,
    calibration_metrics,
    classification_metrics,
    distribution_metrics,
)

CLASSES = ["anger", "awe", "fear", "joy"]


def test_against_scikit_learn():
    labels, predictions = np.random.randint(0, 4, (2, 300))
    result = classification_metrics(labels, predictions, CLASSES)
    # float64 sums of a few hundred terms
    assert_allclose(result["accuracy"], accuracy_score(labels, predictions), rtol=1e-12)
    assert_allclose(
        result["balanced_accuracy"], balanced_accuracy_score(labels, predictions), rtol=1e-12
    )
    assert_allclose(result["macro_f1"], f1_score(labels, predictions, average="macro"), rtol=1e-12)
    assert_allclose(
        result["worst_recall"], recall_score(labels, predictions, average=None).min(), rtol=1e-12
    )
    assert_allclose(result["majority_rate"], np.bincount(labels).max() / 300, rtol=1e-12)
    assert_allclose(
        [result["precision"][name] for name in CLASSES],
        precision_score(labels, predictions, average=None),
        rtol=1e-12,
    )


def test_a_class_without_images_does_not_count():
    result = classification_metrics([0, 0, 0, 1], [0, 0, 3, 2], CLASSES)
    assert result["recall"] == {"anger": pytest.approx(2 / 3), "awe": 0, "fear": None, "joy": None}
    assert_allclose(
        [
            result[name]
            for name in ("accuracy", "balanced_accuracy", "worst_recall", "majority_rate")
        ],
        [0.5, 1 / 3, 0, 0.75],
    )
    assert result["images"] == 4
    assert result["precision"] == {"anger": 1, "awe": None, "fear": 0, "joy": 0}
    # of anger 2 * 2 / (3 + 2), of awe 0
    assert_allclose(result["macro_f1"], (0.8 + 0) / 2)


@pytest.mark.parametrize("there", [[0, 2], [1, 2, 3], [3]])
def test_of_the_classes_that_have_images(there):
    """Against scikit-learn, told which classes count; the predictions are of all, so that images
    are lost to classes without any.
    """
    labels, predictions = np.random.choice(there, 200), np.random.randint(0, 4, 200)
    result = classification_metrics(labels, predictions, CLASSES)
    options = dict(labels=there, average="macro", zero_division=0)
    # float64 sums of a few hundred terms
    assert_allclose(result["macro_f1"], f1_score(labels, predictions, **options), rtol=1e-12)
    assert_allclose(
        result["balanced_accuracy"], recall_score(labels, predictions, **options), rtol=1e-12
    )
    assert_allclose(
        result["worst_recall"],
        recall_score(labels, predictions, labels=there, average=None).min(),
        rtol=1e-12,
    )
    assert_allclose(
        result["majority_rate"], max(np.mean(labels == label) for label in there), rtol=1e-12
    )
    assert [name for name, recall in result["recall"].items() if recall is not None] == [
        CLASSES[label] for label in there
    ]


def test_always_saying_one_class():
    result = classification_metrics([0, 0, 0, 1, 2], [0] * 5, CLASSES)
    assert_allclose(
        [
            result[name]
            for name in ("accuracy", "majority_rate", "balanced_accuracy", "worst_recall")
        ],
        [0.6, 0.6, 1 / 3, 0],
    )
    assert_allclose(result["macro_f1"], (2 * 3 / (3 + 5) + 0 + 0) / 3)


def test_the_confusion_has_a_row_and_a_column_for_every_class():
    result = classification_metrics([0, 0, 1], [0, 1, 1], CLASSES)
    assert result["confusion"] == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_metrics_are_ready_for_json():
    result = classification_metrics(np.array([0, 1, 1]), np.array([1, 1, 0]), CLASSES)
    assert json.loads(json.dumps(result)) == result


def test_calibration_by_hand():
    """Six images of two classes. Bins are a fifteenth wide: 0.6 is the upper edge of the ninth,
    0.65 is in the tenth, 0.9 in the fourteenth, 1 in the last.
    """
    first = np.array([0.6, 0.6, 0.35, 0.9, 0.9, 1])  # the probability of class 0
    labels = [0, 1, 1, 0, 0, 1]
    result = calibration_metrics(labels, np.stack([first, 1 - first], axis=1))
    images, confidence, accuracy = [0] * BINS, [None] * BINS, [None] * BINS
    images[8], confidence[8], accuracy[8] = 2, pytest.approx(0.6), 0.5
    images[9], confidence[9], accuracy[9] = 1, pytest.approx(0.65), 1
    images[13], confidence[13], accuracy[13] = 2, pytest.approx(0.9), 1
    images[14], confidence[14], accuracy[14] = 1, 1, 0
    assert result["reliability"] == {
        "images": images,
        "confidence": confidence,
        "accuracy": accuracy,
    }
    # sums of six terms in float64
    assert_allclose(
        result["expected_calibration_error"],
        (2 * 0.1 + 1 * 0.35 + 2 * 0.1 + 1 * 1) / 6,
        rtol=1e-12,
    )
    # the last image's probability is 0, and counts as the smallest normal number, 2^-1022
    assert_allclose(
        result["negative_log_likelihood"],
        -(np.log(0.6) + np.log(0.4) + np.log(0.65) + 2 * np.log(0.9) - 1022 * np.log(2)) / 6,
        rtol=1e-12,
    )


@pytest.mark.parametrize("edge", range(1, BINS + 1))
def test_a_bin_has_its_upper_edge(edge):
    """As the intervals of Guo et al., ((m - 1) / 15, m / 15]; 16 classes, as one is the highest."""
    rest = (1 - edge / BINS) / 15
    for confidence, number in ((edge / BINS, edge - 1), (np.nextafter(edge / BINS, 2), edge)):
        probabilities = [[confidence] + [rest] * 15]
        images = calibration_metrics([0], probabilities)["reliability"]["images"]
        # what is above 1 by rounding is 1
        assert images.index(1) == min(number, BINS - 1)


def test_perfect_and_worst_calibration():
    """Right with probability 1; wrong with probability 1; and always guessing."""
    for labels, probabilities, error, likelihood in (
        ([0, 1], [[1, 0], [0, 1]], 0, 0),
        ([1, 0], [[1, 0], [0, 1]], 1, 1022 * np.log(2)),
        ([0, 1, 2, 3], np.full((4, 4), 0.25), 0, np.log(4)),
    ):
        result = calibration_metrics(labels, probabilities)
        assert_allclose(result["expected_calibration_error"], error, rtol=0, atol=1e-15)
        assert_allclose(result["negative_log_likelihood"], likelihood, rtol=1e-12)
        assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_likelihood_against_scikit_learn():
    logits, labels = 3 * np.random.randn(200, 5), np.random.randint(0, 5, 200)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    # float64 sums of 200 terms
    assert_allclose(
        calibration_metrics(labels, probabilities)["negative_log_likelihood"],
        log_loss(labels, probabilities, labels=range(5)),
        rtol=1e-12,
    )


# Votes, probabilities, and by hand: Chebyshev, Clark, Canberra, Kullback-Leibler, cosine,
# intersection. With d = (3/4, 1/4, 0) and p = (1/4, 1/4, 1/2): |d - p| is 1/2, 0, 1/2, d + p is 1,
# 1/2, 1/2, and their ratio 1/2, 0, 1.
BY_HAND = {
    "equal": ([2, 1, 1], [0.5, 0.25, 0.25], (0, 0, 0, 0, 1, 1)),
    "a zero of the votes": (
        [3, 1, 0],
        [0.25, 0.25, 0.5],
        (
            1 / 2,
            np.sqrt(1 / 4 + 1),
            3 / 2,
            3 / 4 * np.log(3),
            (3 / 16 + 1 / 16) / (np.sqrt(10) / 4 * np.sqrt(6) / 4),
            1 / 4 + 1 / 4,
        ),
    ),
    "both zero": ([1, 0, 1], [0.25, 0, 0.75], (1 / 4, np.sqrt(1 / 9 + 1 / 25), 1 / 3 + 1 / 5,
        np.log(2) / 2 + np.log(2 / 3) / 2, (1 / 2) / (np.sqrt(1 / 2) * np.sqrt(10) / 4), 3 / 4)),
    "nothing in common": (
        [0, 5],
        [1, 0],
        (1, np.sqrt(2), 2, -np.log(LEAST), 0, 0),
    ),
}  # fmt: skip
MEASURES = "chebyshev", "clark", "canberra", "kullback_leibler", "cosine", "intersection"


@pytest.mark.parametrize("case", BY_HAND)
def test_distributions_by_hand(case):
    votes, probabilities, expected = BY_HAND[case]
    measures = distribution_metrics([votes], [probabilities])
    assert tuple(measures) == MEASURES
    # a few roundings of float64
    assert_allclose([measures[name] for name in MEASURES], expected, rtol=1e-12, atol=1e-15)


def test_distributions_against_scipy():
    votes = np.random.multinomial(11, [0.4, 0.3, 0.2, 0.05, 0.05], 200)
    probabilities = np.random.dirichlet([0.5] * 5, 200)
    shares = votes / 11
    assert (votes == 0).any()
    pairs = list(zip(shares, probabilities))
    relative = [np.abs(d - p) / (d + p) for d, p in pairs]
    expected = {
        "chebyshev": [distance.chebyshev(d, p) for d, p in pairs],
        "clark": [distance.euclidean(ratios, 0 * ratios) for ratios in relative],
        "canberra": [distance.canberra(d, p) for d, p in pairs],
        "kullback_leibler": [entropy(d, p) for d, p in pairs],
        "cosine": [1 - distance.cosine(d, p) for d, p in pairs],
        # of distributions: 1 less half of the city block distance
        "intersection": [1 - distance.cityblock(d, p) / 2 for d, p in pairs],
    }
    measures = distribution_metrics(votes, probabilities)
    for name, values in expected.items():
        # float64 sums of a few hundred terms
        assert_allclose(measures[name], np.mean(values), rtol=1e-12)
    json.dumps(measures, allow_nan=False)
