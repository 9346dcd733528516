import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mlr.errors import InputError
from mlr.formats.params import read_params
from mlr.inference.support_vectors import SupportVectorMachine, fit

EIGHT, TWO = 8, 2


def clouds(classes, images=160, features=12):
    """Features (N, D) float32, as a network has them, of unequal classes that overlap, one feature
    constant; and labels (N,).
    """
    labels = np.concatenate(
        [
            np.arange(classes),
            np.random.choice(
                classes, images, p=np.arange(1, classes + 1) * 2 / classes / (classes + 1)
            ),
        ]
    )
    vectors = (
        np.random.normal(size=(classes, features))[labels] * 20
        + np.random.normal(0, 25, (len(labels), features))
        + 50
    )
    vectors[:, 3] = 7
    return vectors.astype(np.float32), labels


def scikit_learns(features, labels, kernel, c=1.0, class_weight="balanced"):
    """Return scikit-learn's own machine, and the function that standardises features for it."""
    scaler = StandardScaler().fit(features.astype(float))
    machine = SVC(
        C=c, kernel=kernel, gamma=1 / features.shape[1], class_weight=class_weight, break_ties=True
    )
    return machine.fit(
        scaler.transform(features.astype(float)), labels
    ), lambda vectors: scaler.transform(vectors.astype(float))


@pytest.mark.parametrize(
    "options", [{}, {"c": 0.05, "class_weight": None}], ids=["default", "options"]
)
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("classes", [TWO, 3, EIGHT])
def test_scores_are_scikit_learns_also_after_saving(tmp_path, classes, kernel, options):
    features, labels = clouds(classes)
    machine = fit(features, labels, kernel, **options)
    path = str(tmp_path / "svm.params")
    mx.nd.save(
        path,
        {name: mx.nd.array(array, dtype=array.dtype) for name, array in machine.arrays().items()},
    )
    restored = SupportVectorMachine.from_arrays(read_params(path), path)
    reference, standardised = scikit_learns(features, labels, kernel, **options)
    unseen = np.concatenate([clouds(classes)[0], features])
    expected = reference.decision_function(standardised(unseen))
    if classes == TWO:
        expected = np.stack([-expected, expected], axis=1)
    assert machine.scores(unseen).shape == (len(unseen), classes) and machine.classes == classes
    # float64, sums of hundreds of terms in another order
    assert_allclose(machine.scores(unseen), expected, rtol=0, atol=1e-11)
    # the same numbers: saved as float64
    assert_array_equal(restored.scores(unseen), machine.scores(unseen))
    assert_array_equal(
        restored.scores(unseen).argmax(axis=1), reference.predict(standardised(unseen))
    )


def test_many_rows_are_taken_in_parts(monkeypatch):
    features, labels = clouds(3)
    machine = fit(features, labels, "rbf")
    whole = machine.scores(features)
    monkeypatch.setattr("mlr.inference.support_vectors.ROWS_AT_ONCE", 7)
    # float64, another blocking of the same sums
    assert_allclose(machine.scores(features), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes", [TWO, EIGHT])
def test_probabilities_rank_as_the_scores_do(classes):
    features, labels = clouds(classes)
    machine = fit(features, labels)
    probabilities = machine.probabilities(features)
    assert probabilities.shape == (len(features), classes)
    assert_allclose(probabilities.sum(axis=1), 1, rtol=0, atol=1e-12)  # float64
    assert_array_equal(probabilities.argmax(axis=1), machine.scores(features).argmax(axis=1))
    ratio = np.log(probabilities[:, 0] / probabilities[:, 1])
    # a quotient and a logarithm
    assert_allclose(
        ratio, machine.scores(features)[:, 0] - machine.scores(features)[:, 1], rtol=0, atol=1e-9
    )


def test_probabilities_of_a_high_score():
    arrays = {
        "mean": np.zeros(1),
        "scale": np.ones(1),
        "intercepts": np.zeros(1),
        "weights": np.ones((1, 1)),
    }
    assert_array_equal(SupportVectorMachine.from_arrays(arrays).probabilities([[5000.0]]), [[1, 0]])


def test_the_votes_of_three_by_hand():
    """Pairs (0, 1), (0, 2), (1, 2) with decisions 1, -2, 3: a vote each, and sums -1, 2, -1."""
    arrays = {
        "mean": np.zeros(1),
        "scale": np.ones(1),
        "intercepts": np.array([1.0, -2, 3]),
        "weights": np.zeros((3, 1)),
    }
    scores = SupportVectorMachine.from_arrays(arrays).scores([[0.0]])
    assert_allclose(scores, [[1 - 1 / 6, 1 + 2 / 9, 1 - 1 / 6]], rtol=1e-15, atol=0)  # float64


def test_a_decision_of_zero_is_for_the_first_class():
    arrays = {
        "mean": np.zeros(1),
        "scale": np.ones(1),
        "intercepts": np.zeros(3),
        "weights": np.zeros((3, 1)),
    }
    assert_array_equal(SupportVectorMachine.from_arrays(arrays).scores([[0.0]]), [[2, 1, 0]])


@pytest.mark.parametrize(
    "changed",
    [
        {"scale": np.full(1, 1e-300)},  # the scaled features overflow
        {"weights": np.full((1, 1), 1e308)},  # the decisions overflow
    ],
)
@pytest.mark.filterwarnings("error")
def test_an_answer_that_is_not_finite_is_refused(changed):
    arrays = {
        "mean": np.zeros(1),
        "scale": np.ones(1),
        "intercepts": np.zeros(1),
        "weights": np.ones((1, 1)),
        **changed,
    }
    machine = SupportVectorMachine.from_arrays(arrays, "svm.params")
    with pytest.raises(
        InputError,
        match="^svm.params does not hold a support vector machine, or is damaged: it answers with "
        "NaN or infinity",
    ):
        machine.scores([[1e10]])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kernel": "poly"}, "unknown kernel poly: choose one of linear, rbf"),
        ({"c": 0}, "must be above 0, not 0"),
        ({"c": np.inf}, "not inf"),
        (
            {"labels": np.zeros(4, int)},
            r"6 feature vectors need the same number of labels, .* "
            r"shape \(4,\)",
        ),
        (
            {"labels": np.zeros(6, int)},
            "^a support .* needs images of at least two classes, .* labels 0$",
        ),
        ({"labels": np.array([0, 0, 2, 2, 3, 3])}, "there are images with the labels 0, 2, 3$"),
        ({"labels": np.array([1, 1, 1, 2, 2, 2])}, "there are images with the labels 1, 2$"),
        ({"features": np.ones(6)}, r"features have the shape \(6,\), not \(N, D\)"),
        ({"features": np.ones((6, 0))}, r"shape \(6, 0\)"),
        ({"features": np.full((6, 2), np.nan)}, "NaN or infinite"),
    ],
)
def test_what_can_not_be_trained_on(change, message):
    given = {
        "features": np.random.normal(size=(6, 2)),
        "labels": np.array([0, 1, 0, 1, 0, 1]),
        **change,
    }
    with pytest.raises(InputError, match=message):
        fit(**given)


@pytest.mark.parametrize(
    "features, message",
    [
        (np.ones((3, 5)), r"shape \(3, 5\), not \(N, 12\)"),
        (np.full((3, 12), np.inf), "NaN or infinite"),
        (np.ones(12), r"shape \(12,\)"),
    ],
)
def test_features_of_another_network(features, message):
    machine = fit(*clouds(TWO))
    for method in (machine.scores, machine.probabilities):
        with pytest.raises(InputError, match=message):
            method(features)


@pytest.mark.parametrize(
    "kernel, name, value, message",
    [
        (
            "linear",
            "weights",
            None,
            "lacks coefficients, gamma, support_vectors, and has nothing in addition",
        ),
        ("rbf", "gamma", None, "lacks gamma, and has nothing in addition"),
        ("linear", "gamma", np.ones(1), "lacks nothing, and has gamma in addition"),
        ("linear", "mean", np.ones(11), r"scale is float64 of shape \(12,\)"),
        ("linear", "weights", np.ones((2, 12)), r"weights is float64 of shape \(2, 12\)"),
        ("rbf", "coefficients", np.ones((3, 2)), r"coefficients is float64 of shape \(3, 2\)"),
        ("rbf", "gamma", np.ones(2), r"gamma is float64 of shape \(2,\)"),
        ("rbf", "gamma", np.array(0.1), r"gamma is float64 of shape \(\)"),
        ("rbf", "gamma", np.zeros(1), "gamma holds a value that is not finite, or not above 0"),
        ("linear", "scale", np.zeros(12), "scale holds a value that is not finite, or not above 0"),
        (
            "linear",
            "intercepts",
            np.array([1, np.nan, 1]),
            "intercepts holds a value that is not finite;",
        ),
        ("linear", "intercepts", np.ones(3, int), r"intercepts is int64 of shape \(3,\)"),
        ("linear", "intercepts", np.ones((3, 1)), r"intercepts is float64 of shape \(3, 1\)"),
        ("linear", "intercepts", np.ones(0), r"intercepts is float64 of shape \(0,\)"),
    ],
)
def test_hostile_arrays(kernel, name, value, message):
    arrays = fit(*clouds(3), kernel).arrays()
    arrays[name] = value
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(
        InputError,
        match="svm.params does not hold a support vector machine, or is damaged: .*" + message,
    ):
        SupportVectorMachine.from_arrays(arrays, "svm.params")


def test_a_number_of_decisions_that_no_number_of_classes_has():
    arrays = {
        "mean": np.zeros(1),
        "scale": np.ones(1),
        "intercepts": np.ones(5),
        "weights": np.ones((5, 1)),
    }
    with pytest.raises(InputError, match="no number of classes has 5 pairs"):
        SupportVectorMachine.from_arrays(arrays)


def test_arrays_are_the_callers_own():
    machine = fit(*clouds(TWO))
    machine.arrays().clear()
    assert set(machine.arrays()) == {"mean", "scale", "intercepts", "weights"}
