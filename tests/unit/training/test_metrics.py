import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
)

from mlr.training.metrics import classification_metrics

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
