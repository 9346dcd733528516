import csv
import hashlib
import json
import re
import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
from conftest import TINY

from mlr.data.layouts.csv import read_label_csv
from mlr.data.manifest import Entry, LeftOut
from mlr.data.partition import released_partition, stratified_partition
from mlr.data.splits import fingerprint, read_split, read_training_splits
from mlr.errors import InputError
from mlr.paper import FI_COUNTS
from mlr.prepare import main


def write_picture(path, seed=0, size=(48, 64)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (*size, 3)).astype(np.uint8)
    path.write_bytes(cv2.imencode(path.suffix.lower(), pixels)[1].tobytes())


# Eleven images in the order of the folder: 4 of awe, 6 of fear, 1 of joy. N = 11, K = 3: n =
# floor(8.8) // 3 = 2.
HAND_WORKED = ["awe", "fear", "fear", "joy", "awe", "fear", "awe", "fear", "fear", "awe", "fear"]
HAND_SPLIT = [
    "train",
    "train",
    "train",
    "train",
    "train",
    "valid",
    "valid",
    "valid",
    "valid",
    "valid",
    "valid",
]


def label_csv(root, labels=HAND_WORKED):
    """A folder as the released code takes it; the ids are not in the order of the rows."""
    names = [f"{number:02d}" for number in range(len(labels))]
    for number, name in enumerate(names):
        write_picture(root / "images" / (name + ".jpg"), number, (40 + number, 64))
    rows = ["{},{}".format(*row) for row in zip(names, labels)]
    (root / "label.csv").write_text("\n".join(rows[::-1]) + "\n")
    return root


def manifest(folder):
    with open(folder / "manifest.csv", newline="", encoding="utf-8") as file:
        return [Entry(**row) for row in csv.DictReader(file)]


def left_out(folder):
    with open(folder / "left_out.csv", newline="", encoding="utf-8") as file:
        return [LeftOut(**row) for row in csv.DictReader(file)]


def test_the_released_rule_by_hand():
    """joy has fewer images than the cap: all of them train, none is in valid."""
    assert released_partition(HAND_WORKED) == HAND_SPLIT


@pytest.mark.parametrize("images, cap", [(5, 2), (10, 4), (15, 6), (23, 9), (35, 14)])
def test_the_cap_of_the_released_rule(images, cap):
    """floor(0.8 N) // 2, where 0.8 N is whole or just below."""
    splits = released_partition(["a", "b"] * (images // 2) + ["a"] * (images % 2))
    assert splits.count("train") == 2 * cap


def test_prepare_by_the_released_rule(tmp_path, command):
    root = label_csv(tmp_path / "mine")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    done = command(
        "prepare",
        "--dataset",
        "csv",
        "--root",
        root,
        "--out",
        tmp_path / "out",
        "--rule",
        "released",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:4] == [
        "class            train   valid",
        "awe                  2       2",
        "fear                 2       4",
        "joy                  1       0",
    ]
    entries = manifest(tmp_path / "out")
    assert [entry.path for entry in entries] == [f"images/{number:02d}.jpg" for number in range(11)]
    assert [entry.emotion for entry in entries] == HAND_WORKED
    assert [entry.split for entry in entries] == HAND_SPLIT
    assert [entry.sentiment for entry in entries[:2]] == ["positive", "negative"]
    assert (entries[3].width, entries[3].height) == ("64", "43")
    assert (
        entries[3].sha256 == hashlib.sha256((root / "images" / "03.jpg").read_bytes()).hexdigest()
    )
    described = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert (
        described["split"] == "released"
        and described["seed"] is None
        and described["left_out"] == {}
    )
    assert described["counts"] == {
        "train": {"awe": 2, "fear": 2, "joy": 1},
        "valid": {"awe": 2, "fear": 4},
    }
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_the_default_is_stratified_and_seeded(tmp_path):
    root = label_csv(tmp_path / "mine", ["awe", "fear"] * 20)
    splits = {}
    for name, options in (("a", ()), ("b", ("--seed", 0)), ("c", ("--seed", 1))):
        prepare(root, tmp_path / name, *options)
        splits[name] = [entry.split for entry in manifest(tmp_path / name)]
        counts = Counter((entry.emotion, entry.split) for entry in manifest(tmp_path / name))
        assert counts == {
            (emotion, split): n
            for emotion in ("awe", "fear")
            for split, n in (("train", 16), ("valid", 1), ("test", 3))
        }
    assert splits["a"] == splits["b"] != splits["c"]


@pytest.mark.parametrize(
    "count, sizes",
    [
        (1, (1, 0, 0)),
        (2, (2, 0, 0)),
        (3, (1, 1, 1)),
        (7, (5, 1, 1)),
        (10, (8, 1, 1)),
        (20, (16, 1, 3)),
        (2000, (1600, 100, 300)),
    ],
)
def test_shares_of_a_class(count, sizes):
    counts = Counter(stratified_partition(["a"] * count + ["b"] * 20, 3)[:count])
    assert tuple(counts[split] for split in ("train", "valid", "test")) == sizes


def test_the_protocol_of_fi():
    """22,720 images split 80/5/15, as the counts of 18,176, 1,136 and 3,408 that later work reports
    suggest; each class rounds by itself.
    """
    labels = [
        name for name, count in FI_COUNTS.items() for _ in range(round(count * 22720 / 23308))
    ]
    counts = Counter(stratified_partition(labels, 0))
    for split, expected in (("train", 18176), ("valid", 1136), ("test", 3408)):
        assert abs(counts[split] - expected) <= len(FI_COUNTS)


def test_train_and_evaluate_through_the_manifest(tmp_path, command):
    root = label_csv(tmp_path / "mine", ["awe", "fear"] * 10)
    prepare(root, tmp_path / "out")
    run = tmp_path / "run"
    done = command("train", "--data", tmp_path / "out", "--out", run, *TINY)
    assert done.returncode == 0, done.stderr
    assert "16 training and 2 validation images of 2 classes" in done.stdout
    config = json.loads((run / "config.json").read_text())
    assert (
        config["data"]["manifest"]
        == hashlib.sha256((tmp_path / "out" / "manifest.csv").read_bytes()).hexdigest()
    )
    done = command("evaluate", "--run", run)
    assert done.returncode == 0, done.stderr
    assert f"on 2 images of {tmp_path / 'out' / 'manifest.csv'}, split test" in done.stdout


def prepare(root, out, *options):
    assert (
        main(["--dataset", "csv", "--root", str(root), "--out", str(out), *map(str, options)]) == 0
    )


@pytest.fixture
def prepared(tmp_path):
    prepare(label_csv(tmp_path / "mine", ["awe", "fear"] * 10), tmp_path / "out")
    return tmp_path / "out"


def test_splits_of_a_manifest(prepared):
    splits, evaluated = read_training_splits(prepared)
    assert evaluated == "valid"
    assert [(name, split.classes, split.counts) for name, split in splits.items()] == [
        ("train", ["awe", "fear"], [8, 8]),
        ("valid", ["awe", "fear"], [1, 1]),
        ("test", ["awe", "fear"], [1, 1]),
    ]
    sentiments = read_split(prepared, "train", "sentiment")
    assert sentiments.classes == ["negative", "positive"]
    emotions = read_split(prepared, "train")
    # awe is positive, fear negative
    assert [1 - label for label in emotions.labels] == sentiments.labels
    image, _ = emotions[0]
    assert image.shape == (
        int(manifest(prepared)[emotions.names[0] != "images/00.jpg"].height),
        64,
        3,
    )
    assert len(fingerprint(splits)) == 64


def test_a_split_that_is_not_there(tmp_path):
    prepare(label_csv(tmp_path / "mine"), tmp_path / "out", "--rule", "released")
    with pytest.raises(InputError, match="has no split test: it has train, valid"):
        read_split(tmp_path / "out", "test")


def test_an_image_that_changed_since(prepared):
    splits, _ = read_training_splits(prepared)
    write_picture(splits["train"].paths[3], seed=99)
    with pytest.raises(InputError, match="has changed since mlr prepare: restore it, or prepare"):
        fingerprint(splits)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    "damage, message",
    [
        (
            lambda out: replace(out / "manifest.csv", "images/03.jpg", "../images/03.jpg"),
            "manifest.csv is damaged",
        ),
        (
            lambda out: replace(out / "manifest.csv", "images/03.jpg", "/etc/passwd"),
            "manifest.csv is damaged",
        ),
        (
            lambda out: replace(out / "manifest.csv", ",train,", ",trian,"),
            "manifest.csv is damaged",
        ),
        (
            lambda out: replace(out / "manifest.csv", "path,emotion", "emotion,path"),
            "manifest.csv is damaged",
        ),
        (lambda out: (out / "manifest.csv").write_text(""), "manifest.csv is damaged"),
        (lambda out: (out / "prepared.json").unlink(), "prepared.json is missing or damaged"),
        (
            lambda out: (out / "prepared.json").write_text("{"),
            "prepared.json is missing or damaged",
        ),
        (
            lambda out: (out.parent / "mine").rename(out.parent / "moved"),
            "the images of .*out are gone, there is no folder .*mine",
        ),
    ],
)
def test_manifests_that_do_not_fit(prepared, damage, message):
    damage(prepared)
    with pytest.raises(InputError, match=message):
        read_training_splits(prepared)


def test_sentiment_of_unknown_emotions(tmp_path):
    prepare(label_csv(tmp_path / "mine", ["cats", "dogs"] * 10), tmp_path / "out")
    with pytest.raises(InputError, match="has no sentiment: use --labels emotion"):
        read_training_splits(tmp_path / "out", "sentiment")


def test_what_is_left_out_is_listed(tmp_path, command):
    root = label_csv(tmp_path / "mine")
    (root / "images" / "00.jpg").write_bytes((root / "images" / "00.jpg").read_bytes()[:300])
    (root / "images" / "01.jpg").unlink()
    (root / "images" / "extra.jpg").write_bytes((root / "images" / "02.jpg").read_bytes())
    write_picture(root / "02.png")
    write_picture(root / 'photo, "größe".JPG')
    with open(root / "label.csv", "a", encoding="utf-8", newline="") as file:
        file.write('03,joy\r\n04,fear\r\njust one field\r\n,awe\r\n"photo, ""größe""",awe\r\n')
    done = command(
        "prepare",
        "--dataset",
        "csv",
        "--root",
        root,
        "--out",
        tmp_path / "out",
        "--rule",
        "released",
    )
    assert done.returncode == 0, done.stderr
    assert "10 left out, see" in done.stdout
    reasons = {(row.what, row.reason.split(":")[0]) for row in left_out(tmp_path / "out")}
    assert reasons == {
        ("images/00.jpg", "unreadable"),
        ("01,fear", "no image"),
        ("images/extra.jpg", "no row in label.csv"),
        ("02.png", "several images of one id"),
        ("images/02.jpg", "several images of one id"),
        ("03,joy", "listed twice"),
        ("04,fear", "two labels for one image"),
        ("images/04.jpg", "two labels for one image"),
        ("just one field", "not id,label"),
        (",awe", "not id,label"),
    }
    assert [entry.path for entry in manifest(tmp_path / "out")] == ['photo, "größe".JPG'] + [
        f"images/{number:02d}.jpg" for number in (3, 5, 6, 7, 8, 9, 10)
    ]


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "can't read .*label.csv: No such file"),
        (b"\xff\xfe1\x00", "label.csv is not a text file"),
        (
            b"",
            (
                "mine holds no image of csv .*11 rows and files left out: 11 no row in label.csv, "
                "such as images/00.jpg"
            ),
        ),
        (b"id,label\n", "mine holds no image of csv .*12 rows and files left out"),
    ],
)
def test_label_files_that_do_not_fit(tmp_path, capsys, content, message):
    root = label_csv(tmp_path / "mine")
    (root / "label.csv").unlink()
    if content is not None:
        (root / "label.csv").write_bytes(content)
    assert main(["--dataset", "csv", "--root", str(root), "--out", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_byte_order_mark_is_no_part_of_an_id(tmp_path):
    root = label_csv(tmp_path)
    (root / "label.csv").write_bytes(b"\xef\xbb\xbf" + (root / "label.csv").read_bytes())
    assert len(read_label_csv(root).rows) == 11


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--dataset", "csv", "--out", "x"), "needs --root"),
        (
            ("--dataset", "csv", "--out", "x", "--root", "nowhere"),
            "--root nowhere does not exist or is not a folder",
        ),
        (
            ("--dataset", "csv", "--out", "mine", "--root", "mine"),
            "mine exists already: give another --out",
        ),
        (
            (
                "--dataset",
                "csv",
                "--out",
                "x",
                "--root",
                "mine",
                "--rule",
                "released",
                "--seed",
                "1",
            ),
            "--seed is not for --dataset csv --rule released",
        ),
        (
            ("--dataset", "csv", "--out", "x", "--root", "mine", "--sheet", "a.png"),
            "--sheet is not for --dataset csv",
        ),
        (
            ("--dataset", "fi", "--out", "x", "--root", "mine", "--rule", "released"),
            "--rule is not for --dataset fi",
        ),
        (
            ("--dataset", "demo", "--out", "x", "--sheet", "a.txt"),
            "--sheet a.txt: give the name of a file that ends with .png or .svg or .pdf",
        ),
        (
            ("--dataset", "csv", "--out", "mine/label.csv/x", "--root", "mine"),
            "--out mine/label.csv/x can't be written",
        ),
        (("--dataset", "demo", "--out", "x", "--strict"), "--strict is not for --dataset demo"),
        (("--dataset", "demo", "--out", "x", "--root", "mine"), "--root is not for --dataset demo"),
    ],
)
def test_wrong_usage(tmp_path, command, arguments, message):
    label_csv(tmp_path / "mine")
    done = command("prepare", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x").exists()


def test_ids_that_are_paths(tmp_path):
    """Below the folder, with and without the extension, and as Windows writes them; two images of
    one name are told apart.
    """
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/3.jpg"):
        write_picture(tmp_path / "images" / name)
    (tmp_path / "label.csv").write_text(
        "images/a/1.jpg,awe\n./images/b/1,fear\nimages\\a\\2.jpg,awe\n3,fear\n"
    )
    listing = read_label_csv(tmp_path)
    assert [(row.path, row.emotion) for row in listing.rows] == [
        ("images/a/1.jpg", "awe"),
        ("images/a/2.jpg", "awe"),
        ("images/b/1.jpg", "fear"),
        ("images/b/3.jpg", "fear"),
    ] and not listing.left_out


def test_companions_and_other_files_beside_a_label_file(tmp_path, capsys):
    """They cost no image, are told by kind, and are nothing that --strict is about."""
    root = label_csv(tmp_path / "mine", ["awe", "fear"] * 3)
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.with_name("._" + path.name).write_bytes(b"\0\5\x16\7")
    (root / "notes.txt").write_text("x")
    prepare(root, tmp_path / "out", "--strict")
    assert len(manifest(tmp_path / "out")) == 6
    assert (
        f"8 left out, see {tmp_path / 'out' / 'left_out.csv'}\n  7 hidden or system files, such "
        "as ._label.csv\n  1 file that is not an image, such as notes.txt\n"
    ) in capsys.readouterr().out


def test_the_largest_seed(tmp_path, capsys):
    root = label_csv(tmp_path / "mine")
    prepare(root, tmp_path / "out", "--seed", 2**32 - 1)
    with pytest.raises(SystemExit) as end:
        prepare(root, tmp_path / "other", "--seed", 2**32)
    assert (
        end.value.code == 2
        and "'4294967296' is not a whole number from 0 to 4294967295" in capsys.readouterr().err
    )


def test_strict_counts_images_beside_the_splits(tmp_path, capsys):
    """A folder without images may lie beside them."""
    root = tmp_path / "root"
    for number, path in enumerate(("train/a", "train/b", "valid/a", "valid/b", "dev/a")):
        write_picture(root / path / "1.png", number)
    given = ("--dataset", "folders", "--root", str(root), "--strict", "--out")
    assert main([*given, str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "1 rows and files of" in error and "dev: folder that is not a split" in error
    shutil.rmtree(root / "dev" / "a")
    (root / "dev" / "notes.txt").write_text("x")
    shutil.rmtree(tmp_path / "out")
    assert main([*given, str(tmp_path / "out")]) == 0


def test_a_folder_with_a_file_of_that_name_is_no_interrupted_preparation(tmp_path, capsys):
    root, mine = label_csv(tmp_path / "root"), tmp_path / "mine"
    mine.mkdir()
    for name in ("examined.csv", "my notes.txt"):
        (mine / name).write_text("mine")
    assert main(["--dataset", "csv", "--root", str(root), "--out", str(mine)]) == 2
    assert f"{mine} exists already: give another --out" in capsys.readouterr().err
    assert {path.name: path.read_text() for path in mine.iterdir()} == {
        "examined.csv": "mine",
        "my notes.txt": "mine",
    }


def test_a_link_to_itself(tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    given = ["--dataset", "csv", "--root", str(label_csv(tmp_path / "root"))]
    assert main([*given, "--out", str(tmp_path / "loop" / "x")]) == 2
    assert f"{tmp_path / 'loop'} is not a folder, or you may not write" in capsys.readouterr().err


def test_drawn_data_in_the_place_of_a_file(tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    assert main(["--dataset", "demo", "--out", str(tmp_path / "mine")]) == 2
    assert "mine exists already: give another --out" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "mine"
