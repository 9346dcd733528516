"""Several data sets together: each image once, each set measured apart, and a run on the images of
a set with other classes.
"""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import run_config, write_images
from numpy.testing import assert_allclose
from test_export import run_of
from test_votes import EMOTIONS, NETWORK, all_for_one, voted, without_figures  # noqa: F401

import mlr.evaluate
import mlr.train
from mlr.data.joined import join, read_sets
from mlr.data.manifest import Entry, write_prepared
from mlr.data.splits import fingerprint, read_splits
from mlr.errors import InputError
from mlr.methods import METHODS, load
from mlr.options.command_line import read_options
from mlr.runs.folder import Run
from mlr.runs.measured_images import fitted_classes
from mlr.runs.schema import Refused, checked_config
from mlr.runtime.hashing import sha256_of

ADJECTIVES = ("fearful", "awesome", "amused")  # of the same emotions, in another order


def other_images(root, classes):
    """Write a data folder whose images differ from those of write_images."""
    write_images(root, classes, train=2, valid=1, test=1)
    for number, path in enumerate(sorted(Path(root).rglob("*.jpg"))):
        cv2.imwrite(str(path), np.full((64, 80, 3), 7 * number, np.uint8))
    return Path(root)


@pytest.fixture
def two(tmp_path):
    """Two data sets of the same emotions under other names, without an image in common."""
    first = write_images(tmp_path / "first", EMOTIONS, train=2, valid=1, test=1)
    return first, other_images(tmp_path / "second", ADJECTIVES)


def train(folders, out, *options):
    data = [word for folder in folders for word in ("--data", str(folder))]
    return mlr.train.main([*data, "--out", str(out), *NETWORK, *options])


def evaluate(run, *options):
    return mlr.evaluate.main(["--run", str(run), "--ctx", "cpu", *map(str, options)])


def test_classes_agree_by_emotion(two):
    sets = read_sets(two)
    train = join(sets)["train"]
    assert train.classes == list(EMOTIONS) and train.counts == [4, 4, 4] and len(train) == 12
    for name, label in zip(train.names, train.labels):
        folder = name.split("/")[-2]
        emotion = dict(zip(ADJECTIVES, EMOTIONS[::-1])).get(folder, folder)
        assert train.classes[label] == emotion
    # as its own data set has them, whatever it is together with
    assert sorted(train.digests) == sorted(
        digest for folder in two for digest in read_splits(folder)["train"].digests
    )


def test_classes_that_do_not_agree(two, tmp_path):
    six = other_images(tmp_path / "six", ("anger", "joy"))
    with pytest.raises(InputError, match="anger, joy, but .*first has amusement, awe, fear.*label"):
        read_sets([two[0], six])
    train = join(read_sets([two[0], six], "sentiment"))["train"]
    assert train.classes == ["negative", "positive"] and train.counts == [4, 6]
    three = other_images(tmp_path / "three", ("negative", "neutral", "positive"))
    with pytest.raises(
        InputError, match="give those with the same classes$"
    ):  # neutral has no sentiment
        read_sets([two[0], three])
    nameless = other_images(tmp_path / "nameless", ("cat", "dog"))
    assert join(read_sets([nameless, nameless]))["train"].classes == ["cat", "dog"]


def test_each_image_is_there_once(two):
    """In the split that is looked at last, and of one split in the first data set."""
    first, second = two

    def copy(source, *target):
        shutil.copyfile(first.joinpath(*source), second.joinpath(*target))

    copy(("train", "awe", "00.jpg"), "train", "awesome", "again.jpg")
    copy(("train", "awe", "01.jpg"), "test", "awesome", "from train.jpg")
    copy(("test", "awe", "00.jpg"), "valid", "awesome", "from test.jpg")
    copy(("train", "fear", "00.jpg"), "train", "amused", "contradicts.jpg")
    found = join(read_sets(two))
    assert {name: len(split) for name, split in found.items()} == {
        "train": 12 - 1 - 1,  # without what is in test now, and what has two labels
        "valid": 2 * 3,
        "test": 2 * 3 + 1,
    }
    left_out = {(Path(row.what).name, row.reason) for row in found["train"].left_out}
    assert left_out == {
        ("again.jpg", f"copy of another image: of {first / 'train' / 'awe' / '00.jpg'}"),
        ("01.jpg", f"copy of another image: of {second / 'test' / 'awesome' / 'from train.jpg'}"),
        ("00.jpg", "two labels for one image"),
        ("contradicts.jpg", "two labels for one image"),
    }
    digests = [digest for split in found.values() for digest in split.digests]
    assert len(set(digests)) == len(digests)


def test_votes_of_several_sets(tmp_path):
    one, other = voted(tmp_path / "one", all_for_one), voted(tmp_path / "other", all_for_one)
    plain = other_images(tmp_path / "plain", EMOTIONS)
    train = join(read_sets([one, plain]))["train"]
    assert train.votes is None
    train = join(read_sets([other, one]))["train"]
    assert (train.votes.argmax(axis=1) == train.labels).all() and len(train) == 6  # all are copies


def test_a_run_of_two_sets(two, tmp_path, capsys):
    """Trained, measured on both and on each, resumed where they have moved; its options are read
    again.
    """
    run = tmp_path / "run"
    assert train(two, run, "--checkpoint-every", "1") == 0
    out = capsys.readouterr().out
    assert "12 training and 6 validation images of 3 classes from " in out
    for folder in two:
        assert f"valid of {folder / 'valid'}: accuracy " in out
    config = Run.open(run).config
    assert config["options"]["data"] == [str(folder) for folder in two]
    assert config["data"]["folder"] == " and ".join(map(str, two))
    for described, folder in zip(config["data"]["sets"], two):
        assert described["folder"] == str(folder)
        assert described["counts"]["train"] == [2, 2, 2]
    assert read_options(run / "config.json")["data"] == tuple(map(str, two))

    assert evaluate(run) == 0
    out = capsys.readouterr().out
    assert "these are not exactly the images" not in out
    together = json.loads((run / "evaluation_test.json").read_text())
    apart = [json.loads(path.read_text()) for path in run.glob("evaluation_test-*.json")]
    assert together["images"] == 6 and [each["images"] for each in apart] == [3, 3]
    assert {each["folder"] for each in apart} == set(map(str, two))
    right = sum(each["accuracy"] * each["images"] for each in apart)
    assert_allclose(together["accuracy"] * 6, right)


@pytest.mark.slow
def test_two_sets_that_moved(two, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(two, run) == 0
    moved = [folder.rename(tmp_path / f"moved-{folder.name}") for folder in two]
    assert evaluate(run) == 2
    error = capsys.readouterr().err
    assert f"{two[0]}, the folder of the images of the training, is not there" in error
    resume = ["--resume", "--out", str(run), "--ctx", "cpu"]
    assert mlr.train.main([*resume, "--data", str(moved[0])]) == 2
    assert "give as many folders, in the same order" in capsys.readouterr().err
    swapped = [word for folder in moved[::-1] for word in ("--data", str(folder))]
    assert mlr.train.main([*resume, *swapped]) == 2
    assert "are not those that" in capsys.readouterr().err
    there = [word for folder in moved for word in ("--data", str(folder))]
    assert mlr.train.main([*resume, *there]) == 0
    sets = Run.open(run).config["data"]["sets"]
    assert [each["folder"] for each in sets] == list(map(str, moved))


def test_options_of_several_sets(two, tmp_path, capsys):
    first, second = map(str, two)
    assert mlr.train.main(["--data", first, "--data", second, "--print-config"]) == 0
    (tmp_path / "options.yaml").write_text(capsys.readouterr().out)
    assert read_options(tmp_path / "options.yaml")["data"] == (first, second)
    assert mlr.train.main(["--data", first, "--print-config"]) == 0
    assert f"data: {first}\n" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        mlr.train.main(["--data", first, "--data", first])
    assert f"argument --data: {first} is given twice" in capsys.readouterr().err
    boxes = ("--method", "ar", "--proposals", "boxes.npz")
    assert mlr.train.main(["--data", first, "--data", second, *boxes]) == 2
    assert "is not for several data sets" in capsys.readouterr().err
    assert mlr.train.main(["--data", first, "--data", second, "--folds", "all"]) == 2
    assert "is not split into folds: leave out --folds" in capsys.readouterr().err
    for wrong in ("[]", f"[{first}, {first}]", f"[{first}, 3]", f"[[{first}], {second}]"):
        (tmp_path / "options.yaml").write_text(f"data: {wrong}\n")
        with pytest.raises(InputError, match="data is .* or a list of several"):
            read_options(tmp_path / "options.yaml")


def sentiments(folder):
    """Write a prepared data set that has sentiments alone, in folds; return its folder."""
    root = other_images(folder / "images", ("pos", "neg"))
    entries = []
    for number, path in enumerate(sorted(root.rglob("*.jpg"))):
        name = path.relative_to(root).as_posix()
        sentiment = "negative" if path.parent.name == "neg" else "positive"
        fold, digest = str(number % 2 + 1), sha256_of(path)
        entries.append(Entry(name, "", sentiment, fold, 80, 64, digest))
    write_prepared(folder / "data", {"root": str(root), "dataset": "csv"}, entries, [])
    return folder / "data"


def test_emotions_are_summed_to_sentiments(two, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(two[:1], run) == 0
    capsys.readouterr()
    other = sentiments(tmp_path / "other")
    assert evaluate(run, "--data", other, "--fold", 1) == 0
    out = capsys.readouterr().out
    assert (
        "has only the classes negative and positive: the probabilities of the run's 3 classes are "
        "summed, negative of fear; positive of amusement, awe\n"
    ) in out
    split = read_splits(other, "sentiment", 1)["test"]
    (path,) = run.glob(f"evaluation_test-{fingerprint({'test': split})[:8]}.json")
    evaluation = json.loads(path.read_text())
    assert evaluation["mapped"] == {
        "amusement": "positive",
        "awe": "positive",
        "fear": "negative",
    }
    probabilities = load(run, "cpu").of_files(split.paths, split.names)
    positive = probabilities[:, :2].sum(axis=1) > 0.5
    assert_allclose(evaluation["accuracy"], np.mean(positive == split.labels))
    assert list(evaluation["recall"]) == ["negative", "positive"]
    assert evaluate(run, "--data", other, "--fold", 1, "--report") == 2
    assert "are for the run's own classes" in capsys.readouterr().err


def test_which_classes_fit(two, tmp_path):
    own = list(EMOTIONS)
    split = read_splits(two[1])["test"]  # the same emotions in another order
    assert fitted_classes(own, split) == {} and split.classes == own
    assert [Path(path).parent.name for path in split.paths] == sorted(ADJECTIVES)
    assert split.labels == [own.index("amusement"), own.index("awe"), own.index("fear")]
    signs = read_splits(other_images(tmp_path / "signs", ("Pos", "neg")))["test"]
    mapped = fitted_classes(own, signs)
    assert mapped == {"amusement": "positive", "awe": "positive", "fear": "negative"}
    assert signs.classes == ["negative", "positive"]
    assert [(path.parent.name, label) for path, label in zip(signs.paths, signs.labels)] == [
        ("Pos", 1),
        ("neg", 0),
    ]
    for number, (run, others) in enumerate(
        [(own, ("cat", "dog")), (["awe", "joy"], ("neg", "pos")), (own, ("awe", "fear"))]
    ):
        split = read_splits(other_images(tmp_path / str(number), others))["test"]
        with pytest.raises(InputError, match="has the classes .* but the run was trained on"):
            fitted_classes(run, split)


def test_8_bits_are_calibrated_on_all_sets(two, tmp_path, monkeypatch):
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "cache"))
    seen, data = [], run_config_of_two(two)["data"]
    run = run_of(METHODS["alexnet"].demo, tmp_path / "run", EMOTIONS, data=data)

    class Seen(Exception):
        pass

    def calibration_images(train, transform):
        seen.append((train.source, train.counts))
        raise Seen

    monkeypatch.setattr("mlr.exporting.int8.calibration_images", calibration_images)
    with pytest.raises(Seen):
        load(run.folder, engine="onnx-int8")
    assert seen == [(" and ".join(f"{folder}/train" for folder in two), [4, 4, 4])]
    two[1].rename(tmp_path / "moved")
    with pytest.raises(InputError, match="second, the folder of the training's images, is not th"):
        load(run.folder, engine="onnx-int8")


def test_sets_of_a_damaged_config(two, tmp_path):
    config = json.loads(json.dumps(run_config_of_two(two)))
    assert checked_config(config, "config.json") == config
    for damage in (None, [], [config["data"]["sets"][0]], "no list", [{}, {}]):
        config["data"]["sets"] = damage
        with pytest.raises(Refused, match="config.json: data.sets"):
            checked_config(config, "config.json")
    config["options"]["data"] = str(two[0])
    with pytest.raises(Refused, match="data.sets is .* expected none, because options.data is one"):
        checked_config(config, "config.json")


def run_config_of_two(two):
    of_one = run_config(METHODS["vgg16"].demo, 3)["data"]
    sets = [{**of_one, "folder": str(folder)} for folder in two]
    return run_config(METHODS["vgg16"].demo, 3, data={**of_one, "sets": sets})
