"""Data on which people voted: training on the distributions, and an evaluation against them."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import write_images
from numpy.testing import assert_allclose

import mlr.evaluate
import mlr.train
from mlr.data.augmentation import evaluation
from mlr.data.labelled import OnVotes, Subset
from mlr.data.loader import CachedBatches, GluonBatches
from mlr.data.manifest import Entry, write_prepared
from mlr.data.pixels import CachedImages
from mlr.data.splits import fingerprint, read_splits, read_training_splits
from mlr.data.transforms import evaluation_transform
from mlr.errors import InputError, Interrupted
from mlr.methods import load
from mlr.runs.folder import Run
from mlr.runs.writing import RunWriter
from mlr.runtime.hashing import sha256_of
from mlr.training.metrics import distribution_metrics

EMOTIONS = ("amusement", "awe", "fear")
NETWORK = (
    "--method", "vgg16", "--backbone", "vgg16_slim", "--pretrained", "none", "--image-size", "64",
    "--batch-size", "4", "--epochs", "1", "--learning-rate", "0.01", "--ctx", "cpu",
)  # fmt: skip


def voted(folder, votes_of, train=2):
    """Write a prepared data set of three emotions.

    votes_of: the number of an image's emotion, and its own number -> its votes, None for none.
    """
    root = write_images(folder / "images", EMOTIONS, train, valid=1, test=1)
    entries = []
    for number, path in enumerate(sorted(root.rglob("*.jpg"))):
        split, emotion = path.parts[-3:-1]
        votes = votes_of(EMOTIONS.index(emotion), number)
        columns = {} if votes is None else dict(zip(map("votes_{}".format, EMOTIONS), votes))
        name = path.relative_to(root).as_posix()
        sentiment = "negative" if emotion == "fear" else "positive"
        digest = sha256_of(path)
        entries.append(Entry(name, emotion, sentiment, split, 80, 64, digest, columns))
    write_prepared(folder / "data", {"root": str(root), "dataset": "csv"}, entries, [])
    return folder / "data"


def all_for_one(emotion, number):
    return [11 * (each == emotion) for each in range(3)]


def divided(emotion, number):
    return [6 if each == emotion else 1 + (number + each) % 3 for each in range(3)]


def train(data, out, *options):
    return mlr.train.main(["--data", str(data), "--out", str(out), *NETWORK, *options])


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    """They take longer than these trainings, and are not the point."""
    for name in ("save_curves", "save_confusion"):
        monkeypatch.setattr(f"mlr.training.run.{name}", lambda *arguments: None)


def parameters(run):
    return (Path(run) / "last.params").read_bytes()


def test_votes_by_class_and_by_sentiment(tmp_path):
    data = voted(tmp_path, divided)
    train = read_splits(data)["train"]
    assert train.classes == list(EMOTIONS)
    of_path = {entry: row for entry, row in zip(train.names, train.votes.tolist())}
    # the first in the order of the paths has number 3: behind one of each class in test
    assert of_path["train/amusement/00.jpg"] == [6, 2, 3]
    two = read_splits(data, "sentiment")["train"]
    assert two.classes == ["negative", "positive"]
    assert_allclose(two.votes, np.stack([train.votes[:, 2], train.votes[:, :2].sum(axis=1)], 1))
    part = Subset(train, [4, 1])
    assert_allclose(part.votes, train.votes[[4, 1]])
    soft = OnVotes(part)
    assert soft.indices == [4, 1] and soft.whole is train
    # shares in float32
    assert_allclose(soft.labels[1], train.votes[1] / train.votes[1].sum(), rtol=1e-6)


def test_classes_are_those_that_were_voted_for(tmp_path):
    """Though none of them has most votes for any image: the votes for it count."""
    data = voted(tmp_path, lambda emotion, number: [9, 0, 2] if emotion < 2 else [2, 0, 9])
    text = (data / "manifest.csv").read_text().replace(",awe,", ",amusement,")
    (data / "manifest.csv").write_text(text)
    assert read_splits(data)["test"].classes == list(EMOTIONS)
    with pytest.raises(InputError, match="class awe has no image .* or use --targets votes"):
        read_training_splits(data)
    splits, evaluated = read_training_splits(data, targets="votes")
    assert evaluated == "valid" and splits["train"].counts == [4, 0, 2]


def test_a_class_without_a_column_of_votes(tmp_path):
    data = voted(tmp_path, all_for_one)
    text = (data / "manifest.csv").read_text().replace(",fear,", ",anger,")
    (data / "manifest.csv").write_text(text)
    train = read_splits(data)["train"]
    assert train.classes == ["amusement", "anger", "awe", "fear"]
    assert not train.votes[:, 1].any() and train.counts == [2, 2, 2, 0]


@pytest.mark.parametrize("damage", ["-1", "1.5", "many", "9" * 30])
def test_damaged_votes(tmp_path, damage):
    data = voted(tmp_path, all_for_one)
    text = (data / "manifest.csv").read_text().replace(",11,0,0\n", f",{damage},0,0\n", 1)
    (data / "manifest.csv").write_text(text)
    with pytest.raises(InputError, match="manifest.csv is damaged: prepare the data set again"):
        read_splits(data)


def test_other_votes_are_other_data(tmp_path):
    """Or a training would go on with other targets than it began with."""
    first, second = voted(tmp_path / "a", all_for_one), voted(tmp_path / "b", divided)
    prints = [fingerprint(read_splits(data)) for data in (first, second)]
    assert prints[0] != prints[1]
    plain = voted(tmp_path / "c", lambda emotion, number: None)
    # an image folder's SHA-256 has the same names in it
    assert fingerprint(read_splits(plain)) not in prints


def test_batches_have_the_shares(tmp_path):
    train = read_splits(voted(tmp_path, divided))["train"]
    soft = OnVotes(train)
    for batches in (
        GluonBatches(soft, evaluation_transform(64), 4),
        CachedBatches(CachedImages(soft, 64), evaluation, 64, 4),
    ):
        labels = np.concatenate([labels.asnumpy() for _, labels in batches])
        assert_allclose(labels, train.votes / train.votes.sum(axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("pipeline", ["cached", pytest.param("released", marks=pytest.mark.slow)])
def test_votes_that_agree_are_labels(tmp_path, pipeline):
    """The same bits as by the labels, in the same order of images; votes that differ train
    otherwise. A training that is stopped within an epoch goes on to the same bits.
    """
    soft = ("--targets", "votes", "--pipeline", pipeline, "--loss", "cross_entropy")
    data = voted(tmp_path / "one", all_for_one)
    assert train(data, tmp_path / "votes", *soft) == 0
    assert train(data, tmp_path / "labels", *soft[2:]) == 0
    assert parameters(tmp_path / "votes") == parameters(tmp_path / "labels")
    mixed = voted(tmp_path / "mixed", divided)
    assert train(mixed, tmp_path / "mixed-run", *soft) == 0
    assert parameters(tmp_path / "mixed-run") != parameters(tmp_path / "labels")
    assert Run.open(tmp_path / "mixed-run").config["options"]["targets"] == "votes"

    save = RunWriter.save_step

    def stopped(run, state, progress):
        save(run, state, progress)
        if progress["step"] == 1:
            raise Interrupted("stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunWriter, "save_step", stopped)
        out = tmp_path / "resumed"
        assert train(mixed, out, *soft, "--checkpoint-every", "1") == 130
    assert (out / "step.json").exists()
    assert mlr.train.main(["--resume", "--out", str(out), "--ctx", "cpu"]) == 0
    assert parameters(out) == parameters(tmp_path / "mixed-run")


def test_what_can_not_be_trained_on_votes(tmp_path, capsys):
    data = voted(tmp_path, lambda emotion, number: None)
    run = tmp_path / "run"
    arguments = ["--data", str(data), "--out", str(run), "--targets", "votes"]
    for more in ([], ["--print-config"]):
        assert mlr.train.main([*arguments, *more]) == 2
        assert capsys.readouterr().err == (
            "mlr train: error: --targets votes is not for --loss class_imbalance, which needs one "
            "label for each image: add --loss cross_entropy\n"
        )
    assert mlr.train.main([*arguments, "--loss", "cross_entropy", "--ctx", "cpu"]) == 2
    assert "split train has no votes, but --targets votes trains" in capsys.readouterr().err
    assert not run.exists()
    assert mlr.train.main([*arguments, "--method", "deepsentibank"]) == 2
    assert "--targets is not for --method deepsentibank" in capsys.readouterr().err


def test_an_evaluation_on_votes(tmp_path, capsys):
    data = voted(tmp_path, divided)
    assert train(data, tmp_path / "run") == 0
    capsys.readouterr()
    assert mlr.evaluate.main(["--run", str(tmp_path / "run"), "--ctx", "cpu"]) == 0
    evaluation = json.loads((tmp_path / "run" / "evaluation_test.json").read_text())
    test = read_splits(data)["test"]
    predictor = load(tmp_path / "run", "cpu")
    expected = distribution_metrics(test.votes, predictor.of_files(test.paths, test.names))
    assert set(expected) == set(evaluation["distribution"])
    for name, value in expected.items():
        # the same network on the same images; MXNet may sum in another order
        assert_allclose(evaluation["distribution"][name], value, rtol=1e-5)
    assert (
        f"between probabilities and votes: Chebyshev {expected['chebyshev']:.3f}, Clark "
        in capsys.readouterr().out
    )
