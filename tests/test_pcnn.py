import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from conftest import write_images
from mlr.data.labelled import LabelledImages
from mlr import training
from mlr.rows.pcnn import removal_probabilities, select
from mlr.training import kept_images


def two_classes(difference):
    return [(1 + difference) / 2, (1 - difference) / 2]


@pytest.mark.parametrize("difference, probability", [(0, 1), (.3, 2 - np.exp(.3)), (.5, 2 - np.exp(.5)), (np.log(2), 0), (.9, 0), (1, 0)])
def test_the_formula(difference, probability):
    assert_allclose(removal_probabilities([two_classes(difference), two_classes(-difference)]), [probability] * 2, atol=1e-12)  # float64


def test_of_more_classes_the_highest_two_count():
    assert_allclose(removal_probabilities([[.1, .5, .15, .25]]), [2 - np.exp(.25)], rtol=1e-12)


def test_as_many_are_kept_as_the_formula_says():
    """Seeded, so that a test of 10,000 draws can't fail by chance; five standard deviations of the binomial distribution."""
    probability = 2 - np.exp(.3)
    kept = select([two_classes(.3)] * 10000, [0] * 10000, seed=3)
    assert abs(len(kept) / 10000 - (1 - probability)) < 5 * np.sqrt(probability * (1 - probability) / 10000)


def test_the_same_seed_keeps_the_same_images_and_the_label_makes_no_difference():
    probabilities = np.random.dirichlet([1, 1], 200)
    kept = select(probabilities, [0] * 200, seed=1)
    assert_array_equal(select(probabilities, [0] * 100 + [1] * 100, seed=1), kept)
    assert select(probabilities, [0] * 200, seed=2).tolist() != kept.tolist()
    decided = np.flatnonzero(np.abs(probabilities[:, 0] - probabilities[:, 1]) >= np.log(2))
    assert set(decided) <= set(kept)


def test_the_round_after_the_highest_seed():
    """A run's seed may be NumPy's highest, and a round draws with the seed and its number."""
    probabilities, saved = np.random.dirichlet([1, 1], 200), {}
    run = SimpleNamespace(has=lambda name: False, config={"options": {"seed": 2 ** 32 - 1}}, save_files=saved.update, folder=Path("run"))
    names = ["%d.jpg" % number for number in range(200)]
    split = LabelledImages("train", ["awe", "fear"], names, [0, 1] * 100, names)
    for round_ in (1, 2):
        kept_images(run, round_, SimpleNamespace(of_files=lambda *files: probabilities), split)
        assert json.loads(saved["kept_%d.json" % round_])["kept"] == select(probabilities, split.labels, round_ - 1).tolist()


def test_a_class_keeps_its_most_decided_image():
    probabilities = [[.5, .5], [.5, .5], [1, 0], [.5, .5], [.52, .48]]
    assert_array_equal(select(probabilities, [0, 1, 0, 1, 1], seed=0)[-1], 4)       # of class 1, whose others are ties
    assert 2 in select(probabilities, [0, 1, 0, 1, 1], seed=0)


@pytest.mark.parametrize("difference, probability", [(0, 1), (.3, .65), (.5, .35), (.6931, 0), (.7, 0)])
def test_the_formula_in_figures(difference, probability):
    assert_allclose(removal_probabilities([two_classes(difference)]), [probability], atol=.0015)     # two decimals


def test_no_class_vanishes_of_ties():
    """However the draw falls, and though all of them are to be left out, something of every class is kept, and no more."""
    labels = [4, 0, 0, 7, 4, 0]
    for seed in range(50):
        kept = select([[.5, .5]] * 6, labels, seed)
        assert {labels[index] for index in kept} == {0, 4, 7} and len(kept) == 3


def test_what_is_kept_comes_in_order_and_nothing_is_changed():
    probabilities = np.random.dirichlet([1, 1, 1], 100)
    before = probabilities.copy()
    kept = select(probabilities, np.arange(100) % 3, seed=5)
    assert kept.tolist() == sorted(set(kept.tolist())) and 0 < len(kept) < 100
    assert_array_equal(probabilities, before)


def test_what_is_left_out_of_data_and_target_is_said(tmp_path, capsys):
    for name in ("data", "target"):
        (write_images(tmp_path / name) / "train" / "awe" / "notes.txt").write_text("x")
    (splits, evaluated), target = [training.read_training_splits(tmp_path / name) for name in ("data", "target")]
    training.announce(splits, evaluated, target, ["awe", "fear"], tmp_path / "data", {}, [], tmp_path / "run")
    said = capsys.readouterr().out
    for name in ("data", "target"):
        assert "left out: 1 file that is no image, such as %s/%s/train/awe/notes.txt\n" % (tmp_path, name) in said


class Undecided:
    """Stands in for a predictor, a training split and a run: of 40 images half of each class, all of which may be left out."""

    labels, paths, names, source, classes = [0, 1] * 20, list("x" * 40), list("x" * 40), "x", ["awe", "fear"]
    folder, whole, rows = Path("x"), None, range(40)

    def __init__(self, seed):
        self.config = {"options": {"seed": seed}}

    def __len__(self):
        return 40

    def of_files(self, paths, names):
        return np.array([two_classes(.3)] * len(paths))

    def has(self, name):
        return False

    def save_files(self, contents):
        self.kept = json.loads(contents.popitem()[1])["kept"]


@pytest.mark.parametrize("seed, draws", [(0, 1), (7, 8), (2 ** 32 - 2, 2 ** 32 - 1), (2 ** 32 - 1, 0)])
def test_the_highest_seed_draws_after_the_first_stage(seed, draws):
    """A round's seed is the training's, and its number; above the highest that NumPy takes it begins anew."""
    run = Undecided(seed)
    training.kept_images(run, 1, run, run)
    assert run.kept == select(run.of_files(run.paths, run.names), run.labels, draws).tolist()
    assert 2 < len(run.kept) < 40
