import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from mlr.runs.schema import TEMPERATURES
from mlr.training.calibration import fitted_temperature, negative_log_likelihood


@pytest.mark.parametrize("margin, right, images", [(2, 3, 4), (0.5, 3, 4), (8, 9, 10), (1, 6, 10)])
def test_temperature_by_hand(margin, right, images):
    """Of two classes and one margin the likelihood is highest where the confidence is the accuracy,
    1 / (1 + exp(-margin / T)) = right / images.
    """
    logits, labels = [[margin, 0]] * images, [0] * right + [1] * (images - right)
    expected = margin / np.log(right / (images - right))
    # the root's tolerance of 2e-12 in 1 / T
    temperature = fitted_temperature(logits, labels)
    assert_allclose(temperature, expected, rtol=1e-9)
    accuracy = right / images
    entropy = -accuracy * np.log(accuracy) - (1 - accuracy) * np.log(1 - accuracy)
    assert_allclose(negative_log_likelihood(logits, labels, temperature), entropy, rtol=1e-12)


def test_likelihood_by_hand():
    """ln(1 + 2 e^-2) and 2 + that, without and then with a temperature of 2."""
    logits = np.array([[2, 0, 0], [2, 0, 0]], np.float32)
    for temperature, top in ((1, 2), (2, 1)):
        rest = np.log(1 + 2 * np.exp(-top))
        assert_allclose(
            negative_log_likelihood(logits, [0, 1], temperature), rest + top / 2, rtol=1e-15
        )


@pytest.mark.parametrize("scale", [0.3, 5, 200])
def test_against_another_minimiser(scale):
    """Labels drawn by the softmax of logits that are then scaled; the bounded Brent search is good
    to about 1e-8 of the logarithm, as a minimum is flat.
    """
    logits = np.random.randn(500, 8)
    labels = (logits + np.random.gumbel(size=logits.shape)).argmax(axis=1)
    logits = (scale * logits).astype(np.float32)
    found = minimize_scalar(
        lambda power: negative_log_likelihood(logits, labels, np.exp(power)),
        bounds=np.log((0.01, 1000)),
        method="bounded",
        options={"xatol": 1e-10},
    )
    expected = np.exp(found.x)
    if expected > TEMPERATURES[1]:
        assert fitted_temperature(logits, labels) is None
    else:
        assert_allclose(fitted_temperature(logits, labels), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]],
    ids=["all right", "all wrong", "by chance"],
)
def test_no_temperature_is_the_best(labels):
    assert fitted_temperature([[2, 0]] * 4, labels) is None
    # so large that exp overflows
    assert fitted_temperature(np.array([[3e4, 0]] * 4, np.float32), labels) is None
