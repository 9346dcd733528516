import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import write_images
from mxnet.gluon import nn
from numpy.testing import assert_allclose, assert_array_equal

from mlr.data.labelled import LabelledImages
from mlr.data.splits import read_training_splits
from mlr.methods.pcnn import removal_probabilities, select
from mlr.model.finetuned import FineTuned
from mlr.model.lrn import LocalResponseNorm
from mlr.runs.folder import Run
from mlr.training.distributed import Workers
from mlr.training.fitting import kept_images
from mlr.training.run import announce
from mlr.training.session import Machine, Source


def test_the_layers_of_the_network_of_pcnns_authors():
    """As `_small_network` recalls it."""
    net = FineTuned(2, "pcnn_small", 227)
    found = [
        (
            type(layer).__name__,
            getattr(layer, "_units", None) or layer._kwargs["num_filter"],
            *(
                (layer._kwargs["kernel"], layer._kwargs["stride"], layer._kwargs["pad"])
                if isinstance(layer, nn.Conv2D)
                else ()
            ),
            layer.act._act_type,
        )
        for layer in net.features
        if isinstance(layer, (nn.Conv2D, nn.Dense))
    ]
    assert found == [
        ("Conv2D", 96, (11, 11), (4, 4), (0, 0), "relu"),
        ("Conv2D", 256, (5, 5), (2, 2), (2, 2), "relu"),
        ("Dense", 512, "relu"),
        ("Dense", 512, "relu"),
        ("Dense", 24, "relu"),
    ]
    pools = [layer._kwargs for layer in net.features if isinstance(layer, nn.MaxPool2D)]
    assert [(each["kernel"], each["stride"]) for each in pools] == [((3, 3), (2, 2))] * 2
    assert sum(isinstance(layer, LocalResponseNorm) for layer in net.features) == 2
    assert net.output.act is None


def two_classes(difference):
    return [(1 + difference) / 2, (1 - difference) / 2]


@pytest.mark.parametrize(
    "difference, probability",
    [(0, 1), (0.3, 2 - np.exp(0.3)), (0.5, 2 - np.exp(0.5)), (np.log(2), 0), (0.9, 0), (1, 0)],
)
def test_the_formula(difference, probability):
    # float64
    assert_allclose(
        removal_probabilities([two_classes(difference), two_classes(-difference)]),
        [probability] * 2,
        atol=1e-12,
    )


def test_of_more_classes_the_highest_two_count():
    assert_allclose(removal_probabilities([[0.1, 0.5, 0.15, 0.25]]), [2 - np.exp(0.25)], rtol=1e-12)


def test_as_many_are_kept_as_the_formula_says():
    """Seeded, so that a test of 10,000 draws can't fail by chance; five standard deviations of the
    binomial distribution.
    """
    probability = 2 - np.exp(0.3)
    kept = select([two_classes(0.3)] * 10000, [0] * 10000, seed=3)
    assert abs(len(kept) / 10000 - (1 - probability)) < 5 * np.sqrt(
        probability * (1 - probability) / 10000
    )


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
    names = [f"{number:d}.jpg" for number in range(200)]
    split = LabelledImages("train", ["awe", "fear"], names, [0, 1] * 100, names)
    training = SimpleNamespace(
        run=SimpleNamespace(has=lambda name: False, folder=Path("run")),
        options=SimpleNamespace(seed=2**32 - 1),
        predictor=SimpleNamespace(of_files=lambda *files: probabilities),
        source=SimpleNamespace(train=split),
        write=saved.update,
    )
    for round_ in (1, 2):
        kept_images(training, round_, select)
        assert (
            json.loads(saved[f"kept_{round_:d}.json"])["kept"]
            == select(probabilities, split.labels, round_ - 1).tolist()
        )


def test_a_class_keeps_its_most_decided_image():
    probabilities = [[0.5, 0.5], [0.5, 0.5], [1, 0], [0.5, 0.5], [0.52, 0.48]]
    # of class 1, whose others are ties
    assert_array_equal(select(probabilities, [0, 1, 0, 1, 1], seed=0)[-1], 4)
    assert 2 in select(probabilities, [0, 1, 0, 1, 1], seed=0)


@pytest.mark.parametrize(
    "difference, probability", [(0, 1), (0.3, 0.65), (0.5, 0.35), (0.6931, 0), (0.7, 0)]
)
def test_the_formula_in_figures(difference, probability):
    # two decimals
    assert_allclose(removal_probabilities([two_classes(difference)]), [probability], atol=0.0015)


def test_no_class_vanishes_of_ties():
    """However the draw falls, and though all of them are to be left out, something of every class
    is kept, and no more.
    """
    labels = [4, 0, 0, 7, 4, 0]
    for seed in range(50):
        kept = select([[0.5, 0.5]] * 6, labels, seed)
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
    source, target = (Source(*read_training_splits(tmp_path / name)) for name in ("data", "target"))
    run = Run(tmp_path / "run", {"options": {}}, ["awe", "fear"])
    announce(
        SimpleNamespace(source=source, target=target, run=run, machine=Machine([], Workers())),
        tmp_path / "data",
    )
    said = capsys.readouterr().out
    for name in ("data", "target"):
        assert (
            "left out: 1 file that is not an image, such as "
            f"{tmp_path}/{name}/train/awe/notes.txt\n" in said
        )


class Undecided:
    """Stands in for a training, its run, its predictor and its images: of 40 images half of each
    class, all of which may be left out.
    """

    labels, paths, names, classes = (
        [0, 1] * 20,
        list("x" * 40),
        list("x" * 40),
        ["awe", "fear"],
    )
    folder, whole, indices, votes, attributes = Path("x"), None, range(40), None, [{}] * 40

    def __init__(self, seed):
        self.options = SimpleNamespace(seed=seed)
        self.run = self.predictor = self.train = self.source = self

    def __len__(self):
        return 40

    def of_files(self, paths, names):
        return np.array([two_classes(0.3)] * len(paths))

    def has(self, name):
        return False

    def write(self, contents):
        self.kept = json.loads(contents.popitem()[1])["kept"]


@pytest.mark.parametrize("seed, draws", [(0, 1), (7, 8), (2**32 - 2, 2**32 - 1), (2**32 - 1, 0)])
def test_the_highest_seed_draws_after_the_first_stage(seed, draws):
    """A round's seed is the training's, and its number; above the highest that NumPy takes it
    begins anew.
    """
    training = Undecided(seed)
    kept_images(training, 1, select)
    probabilities = training.of_files(training.paths, training.names)
    assert training.kept == select(probabilities, training.labels, draws).tolist()
    assert 2 < len(training.kept) < 40
