import numpy as np
import pytest
from mxnet import MXNetError, autograd, nd
from numpy.testing import assert_allclose

import mlr
from mlr import paper
from mlr.errors import InputError
from mlr.training.loss import SoftCrossEntropyLoss


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def reference(logits, labels, weights, gamma, as_released):
    """The formulas of the docstring in NumPy."""
    p, rows = softmax(logits), np.arange(len(labels))
    q = softmax(p) if as_released else p
    return weights[labels] * (1 - p[rows, labels]) ** gamma * -np.log(q[rows, labels])


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("as_released", [True, False])
@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-6), ("float64", 1e-13)])  # some ulps
def test_class_imbalance_loss_is_its_formula(hybrid, as_released, gamma, dtype, tolerance):
    weights = np.array([0.2, 0.5, 0.3])
    loss = mlr.ClassImbalanceLoss(weights, gamma, as_released)
    if hybrid:
        loss.hybridize(static_alloc=True, static_shape=True)
    logits, labels = np.random.normal(0, 2, (6, 3)).astype(dtype), np.array([0, 1, 2, 2, 1, 0])
    result = loss(nd.array(logits, dtype=dtype), nd.array(labels))
    assert result.shape == (6,) and result.dtype == np.dtype(dtype)
    assert_allclose(
        result.asnumpy(),
        reference(logits.astype("float64"), labels, weights, gamma, as_released),
        rtol=tolerance,
        atol=tolerance / 3,
    )


def test_a_hand_worked_table():
    """Two classes with probabilities 1/4 and 3/4: logits 0 and ln 3."""
    logits, labels = nd.array([[0, np.log(3)], [0, np.log(3)]], dtype="float64"), nd.array([0, 1])
    written = mlr.ClassImbalanceLoss([0.8, 0.2], as_released=False)(logits, labels)
    assert_allclose(
        written.asnumpy(), [0.8 * 0.75 * np.log(4), 0.2 * 0.25 * np.log(4 / 3)], rtol=1e-12
    )
    # softmax of (1/4, 3/4): e^.5 apart
    released = mlr.ClassImbalanceLoss([0.8, 0.2])(logits, labels)
    assert_allclose(
        released.asnumpy(),
        [0.8 * 0.75 * np.log(1 + np.exp(0.5)), 0.2 * 0.25 * np.log(1 + np.exp(-0.5))],
        rtol=1e-12,
    )


def test_class_weights_keep_double_precision():
    loss = mlr.ClassImbalanceLoss([1 / 3, 2 / 3], gamma=0, as_released=False)
    # one ulp
    assert_allclose(
        loss(nd.zeros((1, 2), dtype="float64"), nd.zeros(1)).asnumpy(), [np.log(2) / 3], rtol=1e-15
    )


@pytest.mark.parametrize("as_released", [True, False])
@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
def test_gradient_against_finite_differences(as_released, gamma):
    weights, labels = np.array([0.1, 0.6, 0.3]), np.array([0, 2, 1, 1])
    values = np.random.normal(size=(4, 3))
    logits = nd.array(values, dtype="float64")
    logits.attach_grad()
    loss = mlr.ClassImbalanceLoss(weights, gamma, as_released)
    with autograd.record():
        total = loss(logits, nd.array(labels)).sum()
    total.backward()
    step, numeric = 1e-6, np.zeros_like(values)
    for index in np.ndindex(values.shape):
        shift = np.zeros_like(values)
        shift[index] = step
        numeric[index] = (
            reference(values + shift, labels, weights, gamma, as_released).sum()
            - reference(values - shift, labels, weights, gamma, as_released).sum()
        ) / (2 * step)
    # A central difference of step h errs by h^2 plus rounding over h: about 1e-10.
    assert_allclose(logits.grad.asnumpy(), numeric, atol=1e-8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlr.ClassImbalanceLoss([0.5, 0.25, 0.25]),
        lambda: mlr.ClassImbalanceLoss(as_released=False),
        lambda: mlr.ClassImbalanceLoss(gamma=0.5),
        lambda: mlr.ClassImbalanceLoss(gamma=2),
        lambda: mlr.ClassImbalanceLoss(gamma=0),
        lambda: mlr.CrossEntropyLoss(),
        lambda: mlr.CrossEntropyLoss(vote=0.3),
        lambda: mlr.VoteLoss(),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_stay_finite(make, dtype):
    logits = nd.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [-1e4, -1e4, -1e4], [0, 0, 0]], dtype=dtype)
    logits.attach_grad()
    with autograd.record():
        loss = make()(logits, nd.array([0, 1, 2, 0]))
    loss.backward()
    assert np.isfinite(loss.asnumpy()).all()
    assert np.isfinite(logits.grad.asnumpy()).all()


def test_cross_entropy_and_vote():
    logits, labels = nd.array([[0, np.log(3)], [2, 0]], dtype="float64"), nd.array([1, 0])
    cross_entropy = np.array([np.log(4 / 3), np.log(1 + np.exp(-2))])
    vote = (np.log(3) - 1) ** 2 + (2 - 1) ** 2
    assert_allclose(mlr.CrossEntropyLoss()(logits, labels).asnumpy(), cross_entropy, rtol=1e-12)
    assert_allclose(mlr.VoteLoss()(logits, labels).asnumpy(), [vote], rtol=1e-12)
    assert_allclose(
        mlr.CrossEntropyLoss(vote=0.5)(logits, labels).asnumpy(),
        cross_entropy + vote / 2,
        rtol=1e-12,
    )


@pytest.mark.parametrize("hybrid", [False, True])
def test_weights_of_other_classes_are_refused(hybrid):
    loss = mlr.ClassImbalanceLoss([0.3, 0.7])
    if hybrid:
        loss.hybridize(static_alloc=True, static_shape=True)
    with pytest.raises(MXNetError, match=r"expected \[2,2\], got \[2,8\]"):
        loss(nd.ones((2, 8)), nd.array([1, 7])).wait_to_read()


def test_a_class_of_weight_zero_does_not_count():
    loss = mlr.ClassImbalanceLoss([0, 1])(nd.array([[1, 2], [1, 2]]), nd.array([0, 1])).asnumpy()
    assert loss[0] == 0 and loss[1] > 0


@pytest.mark.parametrize("kind", [mlr.ClassImbalanceLoss, mlr.CrossEntropyLoss, mlr.VoteLoss])
def test_a_loss_is_a_block_with_its_prefix(kind):
    assert kind(prefix="mine_").prefix == "mine_"


def test_weights_of_float32_counts_are_in_double_precision():
    weights = mlr.inverse_frequency_weights(np.array([1, 2, 4], np.float32))
    assert weights.dtype == np.float64
    assert_allclose(weights, [4 / 7, 2 / 7, 1 / 7], rtol=1e-15)


def test_inverse_frequency_weights():
    assert_allclose(mlr.inverse_frequency_weights([1, 2, 4]), [4 / 7, 2 / 7, 1 / 7], rtol=1e-15)


def test_weights_of_fi_are_the_released_ones():
    weights = mlr.inverse_frequency_weights(list(paper.FI_COUNTS.values()))
    # The released weights have three digits and came from the authors' own, slightly smaller
    # counts.
    assert_allclose(weights, list(paper.FI_CLASS_WEIGHTS.values()), atol=0.0035)


@pytest.mark.parametrize("counts", [[], [3, 0], [3, -1], [[1, 2]]])
def test_counts_that_give_no_weights(counts):
    with pytest.raises(InputError, match="every class needs a training image"):
        mlr.inverse_frequency_weights(counts)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"gamma": -1}, "gamma must be"),
        ({"gamma": float("nan")}, "gamma must be"),
        ({"gamma": float("inf")}, "gamma must be"),
        ({"class_weights": [1, -1]}, "class weights must be"),
        ({"class_weights": [1, float("inf")]}, "class weights must be"),
        ({"class_weights": []}, "class weights must be"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        mlr.ClassImbalanceLoss(**options)


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-6), ("float64", 1e-13)])  # some ulps
def test_cross_entropy_of_distributions(hybrid, dtype, tolerance):
    loss = SoftCrossEntropyLoss()
    if hybrid:
        loss.hybridize(static_alloc=True, static_shape=True)
    logits = np.random.normal(0, 2, (6, 3)).astype(dtype)
    shares = np.random.dirichlet([1, 1, 1], 6)
    shares[0] = 0, 1, 0
    z = nd.array(logits, dtype=dtype)
    z.attach_grad()
    with autograd.record():
        result = loss(z, nd.array(shares, dtype=dtype))
    result.backward()
    p = softmax(logits.astype("float64"))
    assert result.shape == (6,) and result.dtype == np.dtype(dtype)
    assert_allclose(result.asnumpy(), -(shares * np.log(p)).sum(axis=1), rtol=tolerance)
    # of -sum d ln softmax(z), as the shares sum to 1
    assert_allclose(z.grad.asnumpy(), p - shares, rtol=tolerance, atol=tolerance)
    one = mlr.CrossEntropyLoss()(z, nd.array([1] * 6, dtype=dtype)).asnumpy()
    assert result.asnumpy()[0] == one[0]
