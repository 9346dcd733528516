import hashlib

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlr.data.drawn.objects import CLASSES, draw_objects, paint_object
from mlr.data.drawn.paintings import MANNERS, draw_demo_data, paint
from mlr.data.emotions import MIKELS
from mlr.errors import InputError
from mlr.paper import FI_COUNTS
from mlr.prepare import main

# SHA-256 of the files of seed 7 and 16 training images, in the order of their paths.
GOLDEN = "edac2bc40ef670205960cfd539b42735ad22f867dc4313b7f77c17334dc71d98"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "demo"
    draw_demo_data(folder)
    return folder


def read(folder, split):
    paths = sorted((folder / split).glob("*/*.jpg"))
    return [cv2.imread(str(path)) for path in paths], [path.parent.name for path in paths]


def test_train_is_imbalanced_like_fi_and_the_rest_is_balanced(demo):
    counts = {
        split: [len(list((demo / split / emotion).iterdir())) for emotion in MIKELS]
        for split in ("train", "valid", "test")
    }
    total = sum(FI_COUNTS.values())
    assert counts["train"] == [round(2400 * FI_COUNTS[emotion] / total) for emotion in MIKELS]
    assert counts["valid"] == [20] * 8 and counts["test"] == [60] * 8


def test_the_files_are_the_same_on_every_machine(tmp_path):
    draw_demo_data(tmp_path, seed=7, train=16)
    digest = hashlib.sha256()
    for path in sorted(tmp_path.rglob("*.jpg")):
        digest.update(path.read_bytes())
    assert digest.hexdigest() == GOLDEN


def test_another_seed_draws_other_paintings():
    first, again, other = (paint(MANNERS["awe"], np.random.RandomState(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.shape == (96, 96, 3) and first.dtype == np.uint8


def test_splits_share_no_painting(demo):
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in demo.rglob("*.jpg")]
    assert len(set(digests)) == len(digests)


def test_mean_colour_is_not_enough(demo):
    """A linear classifier on mean colour tells some emotions, but stays under 0.65: the lines are
    needed.
    """
    means = {}
    for split in ("train", "test"):
        images, labels = read(demo, split)
        means[split] = np.array([image.mean(axis=(0, 1)) for image in images]), labels
    for class_weight in (None, "balanced"):
        model = make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=2000, class_weight=class_weight)
        ).fit(*means["train"])
        score = balanced_accuracy_score(means["test"][1], model.predict(means["test"][0]))
        assert 0.30 < score < 0.65


def test_a_finished_set_is_left_as_it_is(demo):
    before = {path: path.stat().st_mtime_ns for path in demo.rglob("*")}
    draw_demo_data(demo)
    assert {path: path.stat().st_mtime_ns for path in demo.rglob("*")} == before


def test_another_set_is_not_overwritten(demo, tmp_path):
    with pytest.raises(InputError, match="drawn with other options"):
        draw_demo_data(demo, seed=8)
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(
        InputError,
        match="is not a demo data set, not even part of one: .*mine.txt does not belong to it",
    ):
        draw_demo_data(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "x"


def test_objects_are_the_same_for_the_same_seed_and_another_task():
    """Twelve objects, whose colours say nothing: mean colour tells them apart hardly better than
    chance, 0.083.
    """
    assert len(CLASSES) == 12 and not set(CLASSES) & set(MIKELS)
    colors, labels = [], []
    for label, name in enumerate(CLASSES):
        for number in range(60):
            pixels = paint_object(name, np.random.RandomState(1000 * label + number))
            assert pixels.shape == (96, 96, 3) and pixels.dtype == np.uint8
            colors.append(pixels.mean(axis=(0, 1)))
            labels.append(label)
    assert (
        paint_object("dotted_star", np.random.RandomState(5))
        == paint_object("dotted_star", np.random.RandomState(5))
    ).all()
    train = np.arange(len(labels)) % 2 == 0
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        np.array(colors)[train], np.array(labels)[train]
    )
    assert (
        balanced_accuracy_score(
            np.array(labels)[~train], classifier.predict(np.array(colors)[~train])
        )
        < 0.17
    )


def test_drawing_objects_overwrites_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("mlr.data.drawn.objects.COUNTS", {"train": 2, "valid": 1})
    draw_objects(tmp_path / "objects")
    files = {path: path.read_bytes() for path in (tmp_path / "objects").rglob("*.jpg")}
    assert len(files) == 12 * 3
    draw_objects(tmp_path / "objects")
    assert {path: path.read_bytes() for path in (tmp_path / "objects").rglob("*.jpg")} == files
    with pytest.raises(InputError, match="holds a demo data set that was drawn with other options"):
        draw_objects(tmp_path / "objects", seed=8)


def test_an_object_is_its_shape_and_its_surface():
    """Of a class, two seeds paint different pictures; the same seed paints all classes with the
    same background.
    """
    plain, again = (paint_object("plain_disc", np.random.RandomState(seed)) for seed in (1, 2))
    assert not np.array_equal(plain, again)
    pictures = {name: paint_object(name, np.random.RandomState(3)) for name in CLASSES}
    assert len({picture.tobytes() for picture in pictures.values()}) == 12
    # a corner of the wash
    assert len({picture[0, 0].tobytes() for picture in pictures.values()}) == 1
    assert len(np.unique(pictures["plain_box"].reshape(-1, 3), axis=0)) < len(
        np.unique(pictures["dotted_box"].reshape(-1, 3), axis=0)
    )


def test_another_seed_draws_other_objects(tmp_path, monkeypatch):
    monkeypatch.setattr("mlr.data.drawn.objects.COUNTS", {"train": 1, "valid": 1})
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        draw_objects(tmp_path / name, seed)
    a, b, c = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.jpg")
        }
        for name in "abc"
    )
    assert a == b and set(a) == set(c) and not any(a[path] == c[path] for path in a)
    # train and valid share none
    assert len(set(a.values())) == 24


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr("mlr.data.drawn.objects.COUNTS", {"train": 2, "valid": 1})


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("stopped", ["between", "within", "marker"])
def test_an_interrupted_drawing_is_finished(tmp_path, monkeypatch, few, stopped):
    """Between two files, within one or within the last, by this version or by one that wrote them
    in place.
    """
    draw_objects(tmp_path / "whole")
    drawn = []

    def interrupted(name, random):
        if len(drawn) == 20:
            raise KeyboardInterrupt
        drawn.append(name)
        return paint_object(name, random)

    with monkeypatch.context() as patch:
        patch.setattr("mlr.data.drawn.objects.paint_object", interrupted)
        with pytest.raises(KeyboardInterrupt):
            draw_objects(tmp_path / "objects")
    assert not (tmp_path / "objects" / "demo.json").exists()
    if stopped == "within":
        path = next((tmp_path / "objects").rglob("*.jpg"))
        path.write_bytes(path.read_bytes()[:300])
    elif stopped == "marker":
        draw_objects(tmp_path / "objects")
        (tmp_path / "objects" / "demo.json").write_bytes(b"")
    (tmp_path / "objects" / ".DS_Store").write_bytes(b"Bud1")
    draw_objects(tmp_path / "objects")
    (tmp_path / "objects" / ".DS_Store").unlink()
    assert contents(tmp_path / "objects") == contents(tmp_path / "whole")


def test_two_may_draw_at_once(tmp_path, monkeypatch, few):
    """The second finds some files of the first, and ends before it."""
    draw_objects(tmp_path / "whole")
    drawn = []

    def met(name, random):
        drawn.append(name)
        if len(drawn) == 10:
            draw_objects(tmp_path / "objects")
        return paint_object(name, random)

    monkeypatch.setattr("mlr.data.drawn.objects.paint_object", met)
    draw_objects(tmp_path / "objects")
    assert contents(tmp_path / "objects") == contents(tmp_path / "whole")


def test_a_file_of_the_user_under_a_drawings_name_stays(tmp_path, few):
    path = tmp_path / "train" / "plain_disc" / "0001.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(
        InputError,
        match=(
            "is not a demo data set, not even part of one: .*0001.jpg does not belong to it; give "
            "another folder"
        ),
    ):
        draw_objects(tmp_path)
    assert contents(tmp_path) == {path.relative_to(tmp_path): b"mine"}


def test_a_contact_sheet_beside_hidden_files(tmp_path, few):
    draw_objects(tmp_path / "objects")
    for path in (tmp_path / "objects" / "valid", tmp_path / "objects" / "valid" / "plain_box"):
        (path / ".DS_Store").write_bytes(b"Bud1")
    assert (
        main(
            [
                "--dataset",
                "demo-objects",
                "--out",
                str(tmp_path / "objects"),
                "--sheet",
                str(tmp_path / "sheet.png"),
            ]
        )
        == 0
    )
    assert (tmp_path / "sheet.png").stat().st_size > 0
