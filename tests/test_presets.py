from dataclasses import replace

import pytest
from numpy.testing import assert_allclose

from mlr.presets import DEMO, L_CIL as RELEASED, RELEASED as RECIPES, ROWS, Preset, rows_of


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


def test_the_solver_of_ar():
    """base_lr 1e-4, a tenth every 4,000 of 20,000 steps of 32 images: at 18,176 images (568 steps an epoch) 7 epochs of 35."""
    recipe = RECIPES["ar"]
    assert (recipe.batch_size, recipe.epochs, recipe.weight_decay, recipe.new_layers_rate) == (32, 35, 5e-4, 10)
    assert round(20000 / 568) == 35 and round(4000 / 568) == 7
    rates = [recipe.learning_rate_at(epoch) for epoch in range(35)]
    assert_allclose(rates, sum(([1e-4 * .1 ** step] * 7 for step in range(5)), []), rtol=1e-12)


def test_every_row_has_recipes_and_only_its_own_options():
    assert set(RECIPES) == set(DEMO) == set(ROWS)
    for row in ROWS:
        assert RECIPES[row].row == DEMO[row].row == row
        options = RECIPES[row].options()
        assert all(row in rows_of(name) for name in options)
        assert Preset.of_run(options) == RECIPES[row]
    assert "taps" not in RECIPES["vgg16"].options() and "rounds" in RECIPES["pcnn"].options()


def test_the_stages_of_pcnn():
    """A third as many epochs in each round as before the first, and as many for the target."""
    assert RECIPES["vgg16"].stages() == [range(35)]
    pcnn = replace(RECIPES["pcnn"], epochs=9, rounds=2)
    assert pcnn.stages() == [range(9), range(9, 12), range(12, 15)]
    assert replace(pcnn, target="somewhere").stages()[-1] == range(15, 18)
    assert replace(pcnn, epochs=1, rounds=1).stages() == [range(1), range(1, 2)]
