from dataclasses import replace

import pytest
from numpy.testing import assert_allclose

from mlr import paper, train
from mlr.data import drawn
from mlr.options.presets import BY_GRADIENTS, DEMO, ROWS, SLIM, Preset, rows_of
from mlr.options.presets import L_CIL as RELEASED
from mlr.options.presets import RELEASED as RECIPES


def test_the_released_schedule_epoch_by_epoch():
    rates = [RELEASED.learning_rate_at(epoch) for epoch in range(RELEASED.epochs)]
    expected = (
        [1e-4] * 10
        + [5e-5] * 10
        + [2.5e-5] * 10
        + [1.25e-5] * 10
        + [6.25e-6] * 10
        + [3.125e-6] * 10
    )
    assert_allclose(rates, expected, rtol=1e-15)  # halving is exact


def test_cosine_warms_up_and_ends_near_zero():
    preset = replace(RELEASED, schedule="cosine", epochs=12, learning_rate=3.0)
    rates = [preset.learning_rate_at(epoch) for epoch in range(12)]
    assert_allclose(rates[:2], [1.5, 3], rtol=1e-12)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert 0 < rates[-1] < 0.1


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_cosine_of_a_short_run(epochs):
    preset = replace(RELEASED, schedule="cosine", epochs=epochs)
    assert all(preset.learning_rate_at(epoch) > 0 for epoch in range(epochs))


def test_the_solver_of_ar():
    """base_lr 1e-4, a tenth every 4,000 of 20,000 steps of 32 images: at 18,176 images (568 steps
    an epoch) 7 epochs of 35.
    """
    recipe = RECIPES["ar"]
    assert (recipe.batch_size, recipe.epochs, recipe.weight_decay, recipe.new_layers_rate) == (
        32,
        35,
        5e-4,
        10,
    )
    assert round(20000 / 568) == 35 and round(4000 / 568) == 7
    rates = [recipe.learning_rate_at(epoch) for epoch in range(35)]
    assert_allclose(rates, sum(([1e-4 * 0.1**step] * 7 for step in range(5)), []), rtol=1e-12)


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


@pytest.mark.parametrize(
    "row, recipe",
    [
        (
            "l_cil",
            ("resnet50_v2", 224, "released", "class_imbalance", 16, 60, 1e-4, 1e-4, 1, "step"),
        ),
        (
            "shallow",
            ("resnet50_v2", 224, "released", "class_imbalance", 16, 60, 1e-4, 1e-4, 1, "step"),
        ),
        ("alexnet", ("alexnet", 224, "released", "cross_entropy", 16, 60, 1e-4, 1e-4, 1, "step")),
        (
            "resnet50",
            ("resnet50_v2", 224, "released", "cross_entropy", 16, 60, 1e-4, 1e-4, 1, "step"),
        ),
        ("vgg16", ("vgg16", 224, "crop", "cross_entropy", 32, 35, 1e-4, 5e-4, 10, "step-ar")),
        ("pcnn", ("vgg16", 224, "crop", "cross_entropy", 32, 35, 1e-4, 5e-4, 10, "step-ar")),
        ("ar", ("vgg16", 224, "crop", "cross_entropy", 32, 35, 1e-4, 5e-4, 10, "step-ar")),
    ],
)
def test_the_recipe_of_every_row(row, recipe):
    names = (
        "backbone",
        "image_size",
        "augmentation",
        "loss",
        "batch_size",
        "epochs",
        "learning_rate",
        "weight_decay",
        "new_layers_rate",
        "schedule",
    )
    options = RECIPES[row].options()
    assert tuple(options[name] for name in names) == recipe
    assert (
        options["optimizer"],
        options["pretrained"],
        options["gamma"],
        options["loss_form"],
    ) == ("sgd", "zoo", 1, "released")


def test_what_deepsentibank_adds():
    options = RECIPES["deepsentibank"].options()
    assert (options["backbone"], options["image_size"]) == ("caffenet", 227)
    assert [options[name] for name in ("svm_kernel", "svm_c", "svm_class_weight")] == [
        "linear",
        1,
        "balanced",
    ]


def test_the_demos_rows_share_a_solver():
    for row in ROWS:
        demo = DEMO[row]
        assert demo.backbone == SLIM[RECIPES[row].backbone] and demo.loss == RECIPES[row].loss
        assert (
            demo.image_size,
            demo.optimizer,
            demo.batch_size,
            demo.learning_rate,
            demo.schedule,
            demo.pretrained,
        ) == (64, "adam", 32, 7e-4, "cosine", "none")
    assert {preset.epochs for row, preset in DEMO.items() if row != "deepsentibank"} == {10}


@pytest.mark.parametrize(
    "name, rows",
    [
        ("image_size", ROWS),
        ("epochs", BY_GRADIENTS),
        ("taps", ("l_cil", "shallow")),
        ("fusion", ("l_cil",)),
        ("rounds", ("pcnn",)),
        ("target", ("pcnn",)),
        ("proposals", ("ar",)),
        ("svm_c", ("deepsentibank",)),
    ],
)
def test_rows_of_an_option(name, rows):
    assert rows_of(name) == rows
    for row in ROWS:
        assert (name in RECIPES[row].options()) == (row in rows)


def test_a_run_from_before_there_were_rows_is_l_cils():
    old = {
        name: value
        for name, value in RELEASED.options().items()
        if name not in ("row", "fusion", "gram_scale", "new_layers_rate")
    }
    assert (
        Preset.of_run({**old, "data": "demo", "labels": "emotion", "fold": None, "seed": 0})
        == RELEASED
    )


def test_a_round_of_pcnn_has_a_schedule_of_its_own():
    """Cosine over the epochs of the round, not of the whole training: warm-up, then down near 0."""
    preset = replace(DEMO["pcnn"], epochs=12)
    first, second = preset.stages()
    assert (len(first), len(second)) == (12, 4)
    rates = [preset.learning_rate_at(epoch - second.start, len(second)) for epoch in second]
    # (1 + cos(k pi / 3)) / 2 of k = 0, 1, 2
    assert_allclose(rates, [3.5e-4, 7e-4, 7e-4 * 0.75, 7e-4 * 0.25], rtol=1e-12)


def test_train_knows_the_drawn_data_by_name():
    """It lists them itself, as --help has to answer without NumPy."""
    assert set(train.DRAWN) == set(drawn.DRAWN)


def test_every_option_of_the_preset_is_one_of_the_command():
    given = train.parser().parse_args([])
    assert all(
        hasattr(given, name) and getattr(given, name) is None
        for name in Preset.__dataclass_fields__
    )
    resolved = train.resolve(given)
    assert Preset.of_run(resolved) == DEMO["l_cil"]
    given = train.parser().parse_args(
        ["--data", "x", "--row", "pcnn", "--rounds", "3", "--schedule", "cosine"]
    )
    assert Preset.of_run(train.resolve(given)) == replace(
        RECIPES["pcnn"], rounds=3, schedule="cosine"
    )
    assert paper.ROWS.keys() | {"shallow"} == set(ROWS)


def test_runs_from_before_the_pixel_cache_keep_their_pipeline():
    old = RELEASED.options()
    del old["pipeline"]
    assert Preset.of_run(old).pipeline == "released"
