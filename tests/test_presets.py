import pytest
from numpy.testing import assert_allclose

from dataclasses import replace

from mlr.presets import L_CIL as RELEASED


def test_the_released_schedule_epoch_by_epoch():
    rates = [RELEASED.learning_rate_at(epoch) for epoch in range(RELEASED.epochs)]
    expected = [1e-4] * 10 + [5e-5] * 10 + [2.5e-5] * 10 + [1.25e-5] * 10 + [6.25e-6] * 10 + [3.125e-6] * 10
    assert_allclose(rates, expected, rtol=1e-15)                                  # halving is exact


def test_cosine_warms_up_and_ends_near_zero():
    preset = replace(RELEASED, schedule="cosine", epochs=12, learning_rate=3.0)
    rates = [preset.learning_rate_at(epoch) for epoch in range(12)]
    assert_allclose(rates[:2], [1.5, 3], rtol=1e-12)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert 0 < rates[-1] < .1


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_cosine_of_a_short_run(epochs):
    preset = replace(RELEASED, schedule="cosine", epochs=epochs)
    assert all(preset.learning_rate_at(epoch) > 0 for epoch in range(epochs))
