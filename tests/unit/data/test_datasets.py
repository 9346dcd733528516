"""Every data set's command on small files of its layout, as a real process, and what hostile label
files do to it.
"""

import csv
import json
import os
import re
import shutil
import struct
import zlib
from collections import Counter

import cv2
import numpy as np
import pytest
from conftest import TINY

from mlr.data import examine, manifest
from mlr.data.emotions import EKMAN, MIKELS
from mlr.data.layouts import DATASETS
from mlr.data.layouts.fi import read_fi
from mlr.data.listing import Listing
from mlr.data.manifest import Entry, read_entries, write_prepared
from mlr.data.preparation import PLACEHOLDER_ROWS
from mlr.data.splits import read_splits, read_training_splits
from mlr.errors import InputError
from mlr.prepare import main

SHORT = {"amusement": "amuse", "contentment": "content", "excitement": "excit", "sadness": "sad"}
SHORT_IN_ARTPHOTO = {"sadness": "sad", "contentment": "content"}
NUMBER = iter(range(10**9))


def picture(path, seed=None):
    """Write a small picture unlike any other, or the one of a seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(next(NUMBER) if seed is None else seed)
    path.write_bytes(
        cv2.imencode(".jpg", random.randint(0, 256, (24, 32, 3)).astype(np.uint8))[1].tobytes()
    )


def text(path, content, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))


def entries(out):
    return read_entries(out / "manifest.csv")


def left_out(out):
    with open(out / "left_out.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        return {(row["what"], row["reason"].partition(":")[0]) for row in csv.DictReader(file)}


def prepare(dataset, root, out, *options):
    return main(["--dataset", dataset, "--root", str(root), "--out", str(out), *options])


def emotion_folders(root, emotions=MIKELS, count=20, names=lambda emotion: emotion):
    for emotion in emotions:
        for number in range(count):
            picture(root / names(emotion) / (f"{number:d}.jpg"))


def fi_folders(root):
    emotion_folders(root / "emotion_dataset")
    return {
        (emotion, split): n
        for emotion in MIKELS
        for split, n in (("train", 16), ("valid", 1), ("test", 3))
    }


def fi_split_folders(root):
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        emotion_folders(
            root / "FI" / split, count=count, names=lambda emotion: SHORT.get(emotion, emotion)
        )
    return {
        (emotion, split): n
        for emotion in MIKELS
        for split, n in (("train", 3), ("valid", 1), ("test", 2))
    }


def fi_number_lists(root, suffix="", classes=8):
    for split, count in (("train", 16), ("val", 8), ("test", 8)):
        lines = []
        for number in range(count):
            name = f"{MIKELS[number % 8]}/{split} image {number:d}.jpg"
            picture(root / "Fi" / "fi" / name)
            lines.append(
                f"{name} {number % 8 if classes == 8 else int(number % 8 in (0, 2, 3, 5)):d}"
            )
        text(root / (f"fi_{split}img_label{suffix}.txt"), "\r\n".join(lines))
    return {
        (emotion, split): n
        for emotion in MIKELS
        for split, n in (("train", 2), ("valid", 1), ("test", 1))
    }


def fi_binary_lists(root):
    fi_number_lists(root, "_c2", 2)
    return {
        (sentiment, split): n
        for sentiment in ("negative", "positive")
        for split, n in (("train", 8), ("valid", 4), ("test", 4))
    }


def fi_name_lists(root):
    for split, count in (("Train", 16), ("Test", 8)):
        for number in range(count):
            picture(root / "FI" / "Images" / (f"{split}{number:d}.jpg"))
        text(
            root / "FI" / (f"{split}Images.txt"),
            "".join(f"{MIKELS[n % 8]}/{split}{n:d}.jpg\n" for n in range(count)),
        )
    return {(emotion, split): n for emotion in MIKELS for split, n in (("train", 2), ("test", 1))}


def fi_label_csv(root):
    for number in range(160):
        picture(root / "images" / (f"{number:d}.jpg"))
    text(
        root / "label.csv",
        "".join(
            f"{number:d},{SHORT.get(MIKELS[number % 8], MIKELS[number % 8])}\n"
            for number in range(160)
        ),
    )
    return {
        (emotion, split): n
        for emotion in MIKELS
        for split, n in (("train", 16), ("valid", 1), ("test", 3))
    }


def fi_tables(root):
    for split, count in (("train", 16), ("val", 8), ("test", 8)):
        rows = []
        for number in range(count):
            picture(root / "pictures" / (f"{split}{number:d}.jpg"))
            rows.append(f"{split}{number:d}.jpg,{number % 8:d},{number % 2:d}\n")
        text(root / (f"fi_{split}.csv"), "".join(rows))
    return {
        (emotion, split): n
        for emotion in MIKELS
        for split, n in (("train", 2), ("valid", 1), ("test", 1))
    }


def emotionroi_lists(root):
    emotion_folders(root / "EmotionROI" / "images", EKMAN, 4)
    # stimuli maps, no images of the set
    emotion_folders(root / "EmotionROI" / "ground_truth", EKMAN, 4)
    for name, numbers in (("training", (0, 1, 2)), ("testing", (3,))):
        text(
            root / "EmotionROI" / "training_testing_split" / (name + ".txt"),
            "".join(f"{emotion}/{number:d}.jpg\n" for emotion in EKMAN for number in numbers),
        )
    return {(emotion, split): n for emotion in EKMAN for split, n in (("train", 3), ("test", 1))}


def emotionroi_folders(root):
    emotion_folders(root / "EmotionROI" / "images", EKMAN, 10)
    return {(emotion, split): n for emotion in EKMAN for split, n in (("train", 7), ("test", 3))}


def emotion6(root):
    rows = [
        "\t".join(
            ["[image_filename]", "[valence]", "[arousal]", *(f"[prob. {n:d}]" for n in range(7))]
        )
    ]
    for emotion in EKMAN:
        for number in range(10):
            picture(root / "Emotion6" / "images" / emotion / (f"{number:d}.jpg"))
            shares = [0.6 if name == emotion else 0.1 for name in (*EKMAN, "neutral")]
            rows.append(
                "{}/{:d}.jpg\t5.1\t4.2\t{}".format(emotion, number, "\t".join(map(str, shares)))
            )
    rows += [
        "anger/neutral.jpg\t5\t4\t0\t0\t0\t0\t0\t0\t1",
        "anger/tie.jpg\t5\t4\t.5\t0\t0\t.5\t0\t0\t0",
    ]
    text(root / "Emotion6" / "ground_truth.txt", "\n".join(rows))
    return {(emotion, split): n for emotion in EKMAN for split, n in (("train", 7), ("test", 3))}


def twitter1(root):
    lines = []
    for number in range(20):
        picture(root / "Agg_AMT_Candidates" / (f"{number:d}.jpg"))
        lines.append(f"{number:d}.jpg {number % 2:d}")
    text(root / "twitter_three_agrees.txt", "\n".join(lines))
    text(root / "twitter_five_agrees.txt", "\n".join(lines[:5]))
    return {
        (sentiment, str(fold)): 2 for sentiment in ("negative", "positive") for fold in range(1, 6)
    }


def twitter1_folds(root):
    twitter1(root)
    for fold in range(1, 6):
        text(
            root / "ground_truth" / "three_agrees" / (f"test{fold:d}") / "test.txt",
            "".join(
                f"/somewhere/{number:d}.jpg {number % 2:d}\n"
                for number in range(20)
                if number // 4 + 1 == fold
            ),
        )
    return {
        (sentiment, str(fold)): 2 for sentiment in ("negative", "positive") for fold in range(1, 6)
    }


def twitter2(root):
    lines = ["Image\tSentiment"]
    for number in range(1, 31):
        if number <= 20:
            picture(root / "twitter" / (f"partition{number % 5 + 1:d}") / (f"{number:d}.jpg"))
        lines.append(f"{number:d}.jpg\t{'positive' if number % 2 else 'negative'}")
    text(root / "twitter" / "groundTruthLabel.txt", "\r\n".join(lines) + "\r\n")
    return {
        (sentiment, str(fold)): 2 for sentiment in ("negative", "positive") for fold in range(1, 6)
    }


def artphoto(root):
    for emotion in MIKELS:
        for number in range(5):
            name = SHORT_IN_ARTPHOTO.get(emotion, emotion)
            picture(root / "testImages_artphoto" / f"{name}_{number:04d}.jpg")
    return {(emotion, str(fold)): 1 for emotion in MIKELS for fold in range(1, 6)}


def abstract(root):
    names = ["Amusement", "Anger", "Awe", "Content", "Disgust", "Excitement", "Fear", "Sad"]
    rows = ["'',{}".format(",".join(f"'{name}'" for name in names))]
    for column, emotion in enumerate(MIKELS):
        for number in range(5):
            name = f"abstract_{emotion}{number:d}.jpg"
            picture(root / "testImages_abstract" / name)
            rows.append(f"'{name}',{','.join(str(7 if n == column else n % 3) for n in range(8))}")
    picture(root / "testImages_abstract" / "tie.jpg")
    rows.append("'tie.jpg',3,3,0,0,0,0,0,0")
    text(root / "ABSTRACT_groundTruth.csv", "\r\n".join(rows))
    return {(emotion, str(fold)): 1 for emotion in MIKELS for fold in range(1, 6)}


def iapsa(root):
    rows = ["file,label"]
    for emotion in MIKELS:
        for number in range(5):
            picture(root / "images" / (f"{emotion}{number:d}.JPG"))
            rows.append(f"{emotion}{number:d}.JPG,{emotion.title()}")
    text(root / "labels.csv", "\ufeff" + "\r\n".join(rows))
    return {(emotion, str(fold)): 1 for emotion in MIKELS for fold in range(1, 6)}


LDL_ORDER = (
    "amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness",
)  # fmt: skip


def votes_row(name, emotion, order=LDL_ORDER):
    return " ".join([name, *(str(6 if each == emotion else 1) for each in order)])


def ldl_table(root):
    rows = ["images " + " ".join(name.title() for name in LDL_ORDER)]
    for emotion in MIKELS:
        for number in range(5):
            picture(root / "Flickr_LDL" / "images" / f"{emotion}{number}.jpg")
            rows.append(votes_row(f"{emotion}{number}.jpg", emotion))
    text(root / "Flickr_LDL" / "ground_truth.txt", "\r\n".join(rows))
    return {(emotion, str(fold)): 1 for emotion in MIKELS for fold in range(1, 6)}


def ldl_lists(root, test="val", suffix=".csv"):
    rows = []
    for number in range(5):
        for emotion in MIKELS:
            picture(root / "flickr" / f"{emotion}{number}.jpg")
            rows.append(votes_row(f"{emotion}{number}.jpg", emotion) + " \n")
    for fold in range(5):
        of_fold = slice(8 * fold, 8 * fold + 8)
        text(root / "train_val" / f"{test}{fold + 1}{suffix}", "".join(rows[of_fold]))
        train = rows[: of_fold.start] + rows[of_fold.stop :]
        text(root / "train_val" / f"train{fold + 1}{suffix}", "".join(train))
    return {(emotion, str(fold)): 1 for emotion in MIKELS for fold in range(1, 6)}


def ldl_test_lists(root):
    return ldl_lists(root, "test", ".txt")


def mvsa(root):
    rows = ["ID\ttext,image"]
    for number in range(1, 31):
        picture(root / "MVSA_Single" / "data" / f"{number}.jpg")
        text(root / "MVSA_Single" / "data" / f"{number}.txt", "a tweet")
        of_image = ("positive", "negative", "neutral")[number % 3]
        rows.append(f"{number}\t{('neutral', 'positive')[number % 2]},{of_image}")
    text(root / "MVSA_Single" / "labelResultAll.txt", "\r\n".join(rows) + "\r\n")
    return {
        (sentiment, split): n
        for sentiment in ("negative", "positive")
        for split, n in (("train", 8), ("valid", 1), ("test", 1))
    }


# what its authors have in their README, and what their EmoSet.py reads
ANNOTATED = {
    "brightness": 0.6,
    "colorfulness": 1,
    "scene": "sky, cloudy",
    "object": ["Person", 'Sign "stop"; größer'],
    "facial_expression": "happiness",
    "human_action": "dancing",
}
COLUMNS = {
    **ANNOTATED,
    "brightness": "0.6",
    "colorfulness": "1.0",
    "object": json.dumps(ANNOTATED["object"]),
}


def emoset(root, images="", with_id=True):
    lists = {"train": [], "val": [], "test": []}
    for number, split in enumerate(("train", "train", "val", "test")):
        # not in alphabetical order, as its own numbers
        for emotion in ("sadness", *MIKELS[:-1]):
            name = f"{emotion}_{number:05d}"
            image, annotation = f"image/{emotion}/{name}.jpg", f"annotation/{emotion}/{name}.json"
            picture(root / images / image)
            annotated = {"image_id": name, "emotion": emotion, **ANNOTATED}
            text(root / images / annotation, json.dumps(annotated))
            lists[split].append([emotion, *[name] * with_id, image, annotation])
    for split, rows in lists.items():
        text(root / f"{split}.json", json.dumps(rows, indent=2))
    text(root / "info.json", json.dumps({"emotion": {"label2idx": {"amusement": 0, "awe": 1}}}))
    return {
        (emotion, split): n
        for emotion in MIKELS
        for split, n in (("train", 2), ("valid", 1), ("test", 1))
    }


def emoset_below(root):
    return emoset(root, "EmoSet-118K", with_id=False)


LAYOUTS = [
    ("emoset", emoset),
    ("emoset", emoset_below),
    ("fi", fi_folders),
    ("fi", fi_split_folders),
    ("fi", fi_number_lists),
    ("fi", fi_binary_lists),
    ("fi", fi_name_lists),
    ("fi", fi_label_csv),
    ("fi", fi_tables),
    ("emotionroi", emotionroi_lists),
    ("emotionroi", emotionroi_folders),
    ("emotion6", emotion6),
    ("twitter1", twitter1),
    ("twitter1", twitter1_folds),
    ("twitter2", twitter2),
    ("artphoto", artphoto),
    ("abstract", abstract),
    ("iapsa", iapsa),
    ("flickr_ldl", ldl_table),
    ("flickr_ldl", ldl_lists),
    ("twitter_ldl", ldl_test_lists),
    ("mvsa", mvsa),
]


@pytest.mark.parametrize("dataset, write", LAYOUTS, ids=[write.__name__ for _, write in LAYOUTS])
def test_layout(tmp_path, command, dataset, write):
    expected = write(tmp_path / "root")
    before = {path: path.read_bytes() for path in (tmp_path / "root").rglob("*") if path.is_file()}
    done = command(
        "prepare", "--dataset", dataset, "--root", tmp_path / "root", "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    rows = entries(tmp_path / "out")
    assert Counter((row.emotion or row.sentiment, row.split) for row in rows) == expected
    assert all((tmp_path / "root" / row.path).is_file() and row.sentiment for row in rows)
    described = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert described["dataset"] == dataset and described["root"] == str(tmp_path / "root")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "left_out.csv",
        "manifest.csv",
        "prepared.json",
    ]
    assert {
        path: path.read_bytes() for path in (tmp_path / "root").rglob("*") if path.is_file()
    } == before


def test_every_data_set_is_read_here():
    # which test_prepare.py has
    assert {dataset for dataset, _ in LAYOUTS} == set(DATASETS) - {"csv", "folders"}


def test_lists_are_followed_image_by_image(tmp_path):
    for write, dataset in (
        (fi_number_lists, "fi"),
        (emotionroi_lists, "emotionroi"),
        (twitter1_folds, "twitter1"),
    ):
        write(tmp_path / dataset)
        assert prepare(dataset, tmp_path / dataset, tmp_path / (dataset + "-out")) == 0
    rows = {row.path: row for row in entries(tmp_path / "fi-out")}
    assert rows["Fi/fi/anger/val image 1.jpg"][1:4] == ("anger", "negative", "valid")
    rows = {row.path: row for row in entries(tmp_path / "emotionroi-out")}
    assert rows["EmotionROI/images/joy/3.jpg"][1:4] == ("joy", "positive", "test")
    rows = {row.path: row for row in entries(tmp_path / "twitter1-out")}
    assert rows["Agg_AMT_Candidates/7.jpg"][1:4] == ("", "positive", "2")


def test_what_each_layout_leaves_out(tmp_path):
    emotion6(tmp_path / "a")
    prepare("emotion6", tmp_path / "a", tmp_path / "a-out")
    assert {reason for _, reason in left_out(tmp_path / "a-out")} == {
        "neutral",
        "tie",
        "not a file with valence, arousal and seven shares",
    }
    abstract(tmp_path / "b")
    prepare("abstract", tmp_path / "b", tmp_path / "b-out")
    assert left_out(tmp_path / "b-out") == {("tie.jpg,3,3,0,0,0,0,0,0", "tie")}
    twitter2(tmp_path / "c")
    prepare("twitter2", tmp_path / "c", tmp_path / "c-out")
    assert left_out(tmp_path / "c-out") == {
        (f"{number:d}.jpg\t{'positive' if number % 2 else 'negative'}", "no image")
        for number in range(21, 31)
    }


# In the others the folder of an image names its class.
WITH_LISTS = [
    (dataset, write)
    for dataset, write in LAYOUTS
    if write is not artphoto and not write.__name__.endswith("folders")
]


@pytest.mark.parametrize(
    "dataset, write", WITH_LISTS, ids=[write.__name__ for _, write in WITH_LISTS]
)
def test_no_image_is_skipped_in_silence(tmp_path, dataset, write):
    root = tmp_path / "root"
    write(root)
    pictures = [path for path in root.rglob("*.[jJ][pP][gG]") if "ground_truth" not in path.parts]
    extra = min(pictures).with_name("extra.jpg")
    picture(extra)
    assert prepare(dataset, root, tmp_path / "out") == 0
    found = dict(left_out(tmp_path / "out"))
    assert re.match("in no list|no row (in|of) ", found[str(extra.relative_to(root))])


def test_agreement_of_twitter1(tmp_path):
    twitter1(tmp_path / "root")
    assert prepare("twitter1", tmp_path / "root", tmp_path / "five", "--agree", "five") == 0
    assert len(entries(tmp_path / "five")) == 5
    assert prepare("twitter1", tmp_path / "root", tmp_path / "four", "--agree", "four") == 2


def test_fi_layouts_are_told_apart(tmp_path):
    """Lists win over folders, as they say more."""
    fi_number_lists(tmp_path)
    emotion_folders(tmp_path / "emotion_dataset", count=1)
    assert {row.split for row in read_fi(tmp_path).rows} == {"train", "valid", "test"}


def test_nothing_that_looks_like_fi(tmp_path, capsys):
    picture(tmp_path / "root" / "holiday" / "1.jpg")
    assert prepare("fi", tmp_path / "root", tmp_path / "out") == 2
    assert "have none of the layouts of FI" in capsys.readouterr().err


@pytest.mark.parametrize(
    "dataset, message",
    [
        ("emotionroi", "there is no images below"),
        ("emotion6", "there is no ground_truth.txt below"),
        ("twitter1", "there is no Agg_AMT_Candidates below"),
        ("twitter2", "there is no groundTruthLabel.txt below"),
        ("artphoto", "there is no testImages_artphoto below"),
        ("abstract", "is not a folder of Abstract"),
        ("iapsa", "has 0 CSV files: expected one"),
        ("flickr_ldl", "there is no ground_truth.txt, and no val1.csv or test1.csv, below"),
        ("twitter_ldl", "there is no ground_truth.txt, and no val1.csv or test1.csv, below"),
        ("mvsa", "there is no labelResultAll.txt below"),
        ("emoset", "there is no train.json below"),
    ],
)
def test_an_empty_root(tmp_path, capsys, dataset, message):
    (tmp_path / "root").mkdir()
    assert prepare(dataset, tmp_path / "root", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_placeholders_copies_and_damage_are_left_out(tmp_path):
    root = tmp_path / "root"
    fi_split_folders(root)
    for number in range(PLACEHOLDER_ROWS):
        picture(root / "FI" / "train" / "awe" / (f"banned{number:d}.jpg"), seed=2**31)
    for split, emotion in (("train", "fear"), ("val", "anger"), ("test", "awe")):
        picture(root / "FI" / split / emotion / "copy.jpg", seed=2**31 + 1)
    (root / "FI" / "val" / "fear" / "cut.jpg").write_bytes(
        (root / "FI" / "train" / "fear" / "0.jpg").read_bytes()[:200]
    )
    (root / "FI" / "train" / "fear" / "text.png").write_text("no image")
    assert prepare("fi", root, tmp_path / "out") == 0
    assert left_out(tmp_path / "out") == {
        *(
            (f"FI/train/awe/banned{number:d}.jpg", "placeholder")
            for number in range(PLACEHOLDER_ROWS)
        ),
        ("FI/train/fear/copy.jpg", "duplicate across splits"),
        ("FI/val/anger/copy.jpg", "duplicate across splits"),
        ("FI/val/fear/cut.jpg", "unreadable"),
        ("FI/train/fear/text.png", "unreadable"),
    }
    assert "FI/test/awe/copy.jpg" in {row.path for row in entries(tmp_path / "out")}


def test_pictures_are_counted_by_their_pixels(tmp_path, capsys):
    """Copies in other formats are one picture, be they of one class or two; a placeholder is none,
    and neither is what has the same thumbnail alone.
    """
    root = tmp_path / "root" / "emotion_dataset"
    emotion_folders(root, count=3)

    def written(name, pixels):
        assert cv2.imwrite(str(root / name), pixels)

    one, other = np.random.RandomState(0).randint(0, 256, (2, 128, 128, 3)).astype(np.uint8)
    for name in ("awe/copy.png", "awe/copy.bmp", "fear/copy.bmp"):
        written(name, one)
    for name in ("anger/twice.png", "anger/twice.bmp"):
        written(name, other)
    # each pixel of the 64 x 64 is the mean of 2 x 2: another order in these squares, one thumbnail
    written("anger/moved.png", other[[row ^ 1 for row in range(128)]])
    for number in range(PLACEHOLDER_ROWS):
        picture(root / "joyless" / f"{number:d}.jpg", seed=2**31)
        (root / "joyless" / f"{number:d}.jpg").rename(root / "sadness" / f"banned{number:d}.jpg")
    assert prepare("fi", tmp_path / "root", tmp_path / "out") == 0
    out = capsys.readouterr().out
    # 24 of the folders, and 3, 2 and 1 copies
    assert (
        "30 images show 27 different pictures (compared by their pixels), 1 of them with several "
        "classes, such as emotion_dataset/awe/copy.bmp and emotion_dataset/awe/copy.png and "
        "emotion_dataset/fear/copy.bmp\n"
    ) in out
    assert "found 30 of the 23308 published images: amusement 3 of 4942, anger 6 of 1266," in out
    assert f"{PLACEHOLDER_ROWS:d} placeholder" in out
    described = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert (described["different_images"], described["with_several_classes"]) == (27, 1)


def test_two_classes_are_counted_across_splits_too(tmp_path, capsys):
    """Of a data set with its own lists, whose copies are left out of the manifest."""
    fi_split_folders(tmp_path / "root")
    for split, emotion in (("train", "fear"), ("test", "awe")):
        picture(tmp_path / "root" / "FI" / split / emotion / "copy.jpg", seed=2**31)
    assert prepare("fi", tmp_path / "root", tmp_path / "out") == 0
    assert len(entries(tmp_path / "out")) == 49
    assert (
        "50 images show 49 different pictures (compared by their pixels), 1 of them with several "
        "classes, such as FI/test/awe/copy.jpg and FI/train/fear/copy.jpg"
    ) in capsys.readouterr().out


def test_published_counts(tmp_path, capsys):
    """By class where these are known and the images have them, and of no data set of one's own."""
    fi, roi = DATASETS["fi"], DATASETS["emotionroi"]
    assert fi.published == sum(fi.published_classes.values()) == 23308
    assert roi.published == sum(roi.published_classes.values()) == 1980
    assert not DATASETS["csv"].published and not DATASETS["folders"].published
    for dataset, write, line in (
        ("fi", fi_binary_lists, "found 32 of the 23308 published images"),
        ("artphoto", artphoto, "found 40 of the 806 published images"),
    ):
        write(tmp_path / dataset)
        assert prepare(dataset, tmp_path / dataset, tmp_path / f"out-{dataset}") == 0
        assert line in capsys.readouterr().out.splitlines()


def test_near_duplicates_stay_on_one_side(tmp_path):
    """The same pixels in another file: PNG and JPEG of one quality differ in bytes, not at 64 x
    64.
    """
    root = tmp_path / "root"
    for emotion in MIKELS:
        for number in range(10):
            shade = next(NUMBER)
            pixels = np.full(
                (64, 64, 3), (shade % 251, shade // 251 % 251, 7 * shade % 251), np.uint8
            )
            for copy, compression in enumerate((0, 9)):
                path = root / emotion / (f"{number:d}-{copy:d}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), pixels, [cv2.IMWRITE_PNG_COMPRESSION, compression])
    assert prepare("fi", root, tmp_path / "out") == 0
    splits = {row.path: row.split for row in entries(tmp_path / "out")}
    assert len(splits) == 160 and set(splits.values()) == {"train", "valid", "test"}
    assert all(splits[path] == splits[path.replace("-0", "-1")] for path in splits)
    assert len({row.sha256 for row in entries(tmp_path / "out")}) == 160


def test_the_same_seed_gives_the_same_split(tmp_path):
    artphoto(tmp_path / "root")
    for out, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert prepare("artphoto", tmp_path / "root", tmp_path / out, "--seed", seed) == 0
    a, b, c = ((tmp_path / out / "manifest.csv").read_bytes() for out in "abc")
    assert a == b != c


HOSTILE = {
    "../outside.jpg": "its path leaves the root",
    "/etc/passwd": "its path leaves the root",
    "link.jpg": "a link out of the root",
    "linked/outside.jpg": "a link out of the root",
    "x" * 5000 + ".jpg": "no image",
    "": "no image",
    ".": "no image",
}


def test_hostile_paths_are_listed_and_not_followed(tmp_path):
    root, good = tmp_path / "root", 'images/good file\'s "name", größe.JPEG'
    picture(tmp_path / "outside.jpg")
    picture(root / "within.jpg", seed=5)
    picture(root / good)
    picture(root / "fear.jpg")
    (root / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (root / "linked").symlink_to(tmp_path)
    (root / "link within.jpg").symlink_to(root / good)
    with open(root / "table.csv", "w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([name, "awe", 1] for name in (*HOSTILE, "link within.jpg", good))
        file.write("fear.jpg,fear,0\n")
    assert prepare("fi", root, tmp_path / "out") == 0
    assert left_out(tmp_path / "out") == {
        *((f"{name},awe,1", reason) for name, reason in HOSTILE.items()),
        ("within.jpg", "in no list"),
        ("linked", "folder that is read already"),
    }
    assert sorted(row.path for row in entries(tmp_path / "out")) == [
        "fear.jpg",
        good,
        "link within.jpg",
    ]


def test_a_label_file_that_is_no_text(tmp_path, capsys):
    picture(tmp_path / "root" / "a.jpg")
    (tmp_path / "root" / "label.csv").write_bytes(b"a,awe\n\0\0\0\n")
    assert prepare("csv", tmp_path / "root", tmp_path / "out") == 2
    assert "label.csv is not a text file" in capsys.readouterr().err


def test_a_name_in_another_encoding(tmp_path):
    """Latin-1, in the file system and in the list."""
    root = tmp_path / "root"
    picture(root / os.fsdecode(b"gr\xf6\xdfe.jpg"))
    for number in range(3):
        picture(root / (f"{number:d}.jpg"))
    (root / "table.csv").write_bytes(
        b"gr\xf6\xdfe.jpg,awe,1\n0.jpg,awe,1\n1.jpg,fear,0\n2.jpg,fear,0\n"
    )
    assert prepare("fi", root, tmp_path / "out") == 0
    assert os.fsdecode(b"gr\xf6\xdfe.jpg") in {row.path for row in entries(tmp_path / "out")}


def test_strict_makes_any_of_it_fatal(tmp_path, capsys):
    twitter2(tmp_path / "root")
    assert prepare("twitter2", tmp_path / "root", tmp_path / "out", "--strict") == 2
    message = capsys.readouterr().err
    assert (
        "10 rows and files of" in message
        and "leave out --strict; the first:\n21.jpg\tpositive: no image" in message
    )
    assert not (tmp_path / "out" / "manifest.csv").exists()


def png_that_claims(width, height):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(40000, 40000), (2**31 - 1, 2**31 - 1), (12000, 12000)])
def test_a_decompression_bomb(tmp_path, size):
    fi_split_folders(tmp_path / "root")
    (tmp_path / "root" / "FI" / "train" / "awe" / "bomb.png").write_bytes(png_that_claims(*size))
    assert prepare("fi", tmp_path / "root", tmp_path / "out") == 0
    with open(tmp_path / "out" / "left_out.csv") as file:
        assert "claims more than 134 million pixels" in file.read()


def interrupt_at(image, chunk, monkeypatch):
    """Let a preparation be interrupted at an image, counted from 1; return what examines one
    otherwise, and the list of those that were begun.
    """
    whole, seen = examine.examine_image, []

    def interrupted(path):
        seen.append(path)
        if len(seen) == image:
            raise KeyboardInterrupt
        return whole(path)

    monkeypatch.setattr(examine, "CHUNK", chunk)
    monkeypatch.setattr(examine, "examine_image", interrupted)
    return whole, seen


def test_an_interrupted_preparation_goes_on(tmp_path, monkeypatch, capsys):
    fi_folders(tmp_path / "root")
    whole, seen = interrupt_at(100, 16, monkeypatch)
    assert prepare("fi", tmp_path / "root", tmp_path / "out") == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["examined.csv"]
    with open(tmp_path / "out" / "examined.csv", "a") as file:
        # the line that was being written
        file.write("emotion_dataset/awe/0.jpg,torn")
    seen.clear()
    monkeypatch.setattr(examine, "examine_image", lambda path: seen.append(path) or whole(path))
    assert prepare("fi", tmp_path / "root", tmp_path / "out") == 0
    # 160 less the six chunks of 16 that were done
    assert 60 <= len(seen) <= 80
    assert prepare("fi", tmp_path / "root", tmp_path / "fresh") == 0
    assert (tmp_path / "out" / "manifest.csv").read_bytes() == (
        tmp_path / "fresh" / "manifest.csv"
    ).read_bytes()


def test_a_file_that_changed_is_examined_again(tmp_path):
    picture(tmp_path / "a.jpg")
    first = list(examine.examine_images(tmp_path, ["a.jpg"], tmp_path / "journal"))
    picture(tmp_path / "a.jpg")
    os.utime(str(tmp_path / "a.jpg"), ns=(1, 1))
    assert list(examine.examine_images(tmp_path, ["a.jpg"], tmp_path / "journal")) != first


def test_what_could_not_be_read_is_examined_again(tmp_path, monkeypatch):
    """A decoder may have been installed since, which does not change the file."""
    picture(tmp_path / "a.jpg")
    whole = examine.examine_image
    monkeypatch.setattr(examine, "examine_image", lambda path: examine.Examined(fault="no decoder"))
    (fault,) = examine.examine_images(tmp_path, ["a.jpg"], tmp_path / "journal")
    monkeypatch.setattr(examine, "examine_image", whole)
    (read,) = examine.examine_images(tmp_path, ["a.jpg"], tmp_path / "journal")
    assert fault.fault and not read.fault and read.width


def test_an_interruption_while_the_manifest_is_written(tmp_path, monkeypatch):
    fi_folders(tmp_path / "root")
    assert prepare("fi", tmp_path / "root", tmp_path / "whole") == 0
    write = manifest.write_file

    def interrupted(path, content):
        write(path, content)
        if path.name == "prepared.json":
            raise KeyboardInterrupt

    monkeypatch.setattr(manifest, "write_file", interrupted)
    assert prepare("fi", tmp_path / "root", tmp_path / "out") == 130
    assert not (tmp_path / "out" / "manifest.csv").exists()
    monkeypatch.setattr(manifest, "write_file", write)
    assert prepare("fi", tmp_path / "root", tmp_path / "out") == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()
    }


def test_images_that_no_list_puts_into_a_split(tmp_path, capsys):
    """The lists name 8 of 10 images; one of the others shows the same as an image of train."""
    root = tmp_path / "root"
    for number in range(10):
        picture(root / f"{number}.jpg")
    (root / "9.jpg").write_bytes((root / "0.jpg").read_bytes())
    named = [f"{number}.jpg,{('awe', 'fear')[number % 2]},{number % 2}" for number in range(10)]
    (root / "fi_train.csv").write_text("\n".join(named[:6]) + "\n")
    (root / "fi_test.csv").write_text("\n".join(named[6:8]) + "\n")
    (root / "others.csv").write_text("\n".join(named[8:]) + "\n")
    assert prepare("fi", root, tmp_path / "out") == 0
    splits = {row.path: row.split for row in entries(tmp_path / "out")}
    assert splits == {
        **{f"{number}.jpg": "train" for number in range(6)},
        **{f"{number}.jpg": "test" for number in (6, 7)},
    }
    with open(tmp_path / "out" / "left_out.csv") as file:
        assert file.read().count("in none of the data set's own lists of the splits") == 2
    assert "2 left out, see" in capsys.readouterr().out


def test_a_seed_without_effect(tmp_path, capsys):
    fi_split_folders(tmp_path / "root")
    assert prepare("fi", tmp_path / "root", tmp_path / "out", "--seed", "5") == 2
    assert "--seed is for data without lists of splits" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_long_list(tmp_path):
    """A hundred thousand rows without an image: counted and listed."""
    twitter2(tmp_path / "root")
    with open(tmp_path / "root" / "twitter" / "groundTruthLabel.txt", "a") as file:
        file.writelines(f"none{number:d}.jpg\tpositive\n" for number in range(100000))
    assert prepare("twitter2", tmp_path / "root", tmp_path / "out") == 0
    described = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert described["left_out"] == {"no image": 100010}


def test_folds_of_a_manifest(tmp_path):
    artphoto(tmp_path / "root")
    prepare("artphoto", tmp_path / "root", tmp_path / "data")
    tests = set()
    for fold in range(1, 6):
        splits, evaluated = read_training_splits(tmp_path / "data", fold=fold)
        assert evaluated == "test" and (len(splits["train"]), len(splits["test"])) == (32, 8)
        assert not set(splits["train"].names) & set(splits["test"].names)
        tests |= set(splits["test"].names)
    # every image is tested once
    assert len(tests) == 40
    with pytest.raises(InputError, match="has no fold 6: it has 1, 2, 3, 4, 5"):
        read_training_splits(tmp_path / "data", fold=6)
    with pytest.raises(
        InputError, match="is divided into folds: choose the fold to test on with --fold"
    ):
        read_training_splits(tmp_path / "data")
    fi_split_folders(tmp_path / "fi")
    prepare("fi", tmp_path / "fi", tmp_path / "fi-data")
    with pytest.raises(InputError, match="is divided into train, valid and test, not into folds"):
        read_training_splits(tmp_path / "fi-data", fold=1)


@pytest.mark.slow
def test_folds_train_and_evaluate(tmp_path, command):
    twitter2(tmp_path / "root")
    assert prepare("twitter2", tmp_path / "root", tmp_path / "data") == 0
    done = command(
        "train",
        "--data",
        tmp_path / "data",
        "--labels",
        "sentiment",
        "--out",
        tmp_path / "all",
        "--folds",
        "all",
        *TINY,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "16 training and 4 test images of 2 classes" in done.stdout
        and "there is no split valid" in done.stdout
    )
    assert "accuracy of 5 folds: mean" in done.stdout
    summary = json.loads((tmp_path / "all" / "folds.json").read_text())
    assert len(summary["accuracy"]["folds"]) == 5
    np.testing.assert_allclose(summary["accuracy"]["mean"], np.mean(summary["accuracy"]["folds"]))
    np.testing.assert_allclose(
        summary["accuracy"]["std"], np.std(summary["accuracy"]["folds"], ddof=1)
    )
    configs = [
        json.loads((tmp_path / "all" / (f"fold-{fold:d}") / "config.json").read_text())
        for fold in range(1, 6)
    ]
    assert [config["options"]["fold"] for config in configs] == [1, 2, 3, 4, 5]
    assert len({config["data"]["manifest"] for config in configs}) == 1
    assert not (tmp_path / "all" / "fold-1" / "best.params").exists()
    done = command("evaluate", "--run", tmp_path / "all", "--folds", "all")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "all" / "folds.json").read_text()) == summary
    done = command("evaluate", "--run", tmp_path / "all", "--fold", "2")
    assert done.returncode == 0 and "test of fold 2" in done.stdout
    for arguments, message in (
        (
            ("train", "--data", tmp_path / "data", "--labels", "sentiment", "--pretrained", "none"),
            "is divided into folds: choose the fold to test on with --fold",
        ),
        (
            ("train", "--data", tmp_path / "data", "--fold", 1, "--pretrained", "none"),
            "has no emotion: use --labels sentiment",
        ),
        (("evaluate", "--run", tmp_path / "all"), "holds the runs of 5 folds: choose one"),
        (
            ("evaluate", "--run", tmp_path / "all" / "fold-1", "--parameters", "best"),
            "has no split valid to choose the best epoch",
        ),
    ):
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 2 and message in done.stderr, done.stderr


def test_emosets_images_beside_its_annotations(tmp_path):
    for emotion in MIKELS:
        text(tmp_path / "root" / "annotation" / emotion / "0.json", "{}")
    emotion_folders(tmp_path / "root" / "image", count=3)
    assert {row.path.split("/")[0] for row in read_fi(tmp_path / "root").rows} == {"image"}


def test_emotion_folders_in_any_form(tmp_path):
    emotion_folders(tmp_path, ("Amusements", "angry", "AWED", "fearful"), 1)
    assert [row.emotion for row in read_fi(tmp_path).rows] == ["awe", "amusement", "anger", "fear"]


def test_folders_of_any_classes(tmp_path):
    """Also in subfolders of a class, which training leaves out; splits where there are some."""
    emotion_folders(tmp_path / "a" / "pets", ("cat", "dog/2019", "dog/2020"), 10)
    text(tmp_path / "a" / "pets" / "cat" / "notes.txt", "x")
    assert prepare("folders", tmp_path / "a", tmp_path / "out") == 0
    assert Counter((row.emotion, row.sentiment) for row in entries(tmp_path / "out")) == {
        ("cat", ""): 10,
        ("dog", ""): 20,
    }
    assert {row.split for row in entries(tmp_path / "out")} == {"train", "valid", "test"}
    assert left_out(tmp_path / "out") == {("pets/cat/notes.txt", "file that is not an image")}
    for split in ("Train", "val"):
        emotion_folders(tmp_path / "b" / split, ("positive", "negative"), 2)
    assert Counter(row[1:4] for row in DATASETS["folders"].read(tmp_path / "b").rows) == {
        (name, name, split): 2 for name in ("positive", "negative") for split in ("train", "valid")
    }
    picture(tmp_path / "c" / "one" / "a.jpg")
    with pytest.raises(InputError, match="does not contain two folders of images"):
        DATASETS["folders"].read(tmp_path / "c")


@pytest.mark.parametrize(
    "stem, split",
    [
        ("interval", ""),
        ("contest", ""),
        ("constraints", ""),
        ("fi_train", "train"),
        ("ValImages", "valid"),
        ("fi_testimg_label", "test"),
        ("test2016", "test"),
        ("FI-VAL", "valid"),
        ("trainset", "train"),
        ("train_test_split", ""),
        ("labels", ""),
    ],
)
def test_a_split_is_told_by_the_words_of_a_files_name(tmp_path, stem, split):
    picture(tmp_path / "a.jpg")
    text(tmp_path / (stem + ".CSV"), "a.jpg,awe,1\n")
    assert [row.split for row in read_fi(tmp_path).rows] == [split]


def test_tabs_are_read_where_blanks_are(tmp_path):
    expected = fi_number_lists(tmp_path / "fi")
    twitter1_folds(tmp_path / "twitter1")
    for path in (*tmp_path.glob("fi/*.txt"), *tmp_path.glob("twitter1/*.txt")):
        lines = [line.rpartition(" ") for line in path.read_text().splitlines()]
        path.write_text("".join(f"{name}\t{number}\n" for name, _, number in lines))
    assert Counter((row.emotion, row.split) for row in read_fi(tmp_path / "fi").rows) == expected
    assert len(DATASETS["twitter1"].read(tmp_path / "twitter1").rows) == 20


@pytest.mark.parametrize("mark", "\t;")
def test_tables_of_a_spreadsheet(tmp_path, mark):
    iapsa(tmp_path)
    path = tmp_path / "labels.csv"
    path.write_text(path.read_text(encoding="utf-8-sig").replace(",", mark))
    assert len(DATASETS["iapsa"].read(tmp_path).rows) == 40


def test_companions_of_macos_are_no_data(tmp_path, capsys):
    """Of every image and every table there is a ._ file, which is neither."""
    emotionroi_folders(tmp_path / "roi")
    artphoto(tmp_path / "artphoto")
    iapsa(tmp_path / "iapsa")
    fi_tables(tmp_path / "fi")
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.with_name("._" + path.name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    for dataset, root, count in (
        ("emotionroi", "roi", 60),
        ("artphoto", "artphoto", 40),
        ("iapsa", "iapsa", 40),
        ("fi", "fi", 32),
    ):
        assert len(DATASETS[dataset].read(tmp_path / root).rows) == count
    assert prepare("artphoto", tmp_path / "artphoto", tmp_path / "out", "--strict") == 0
    assert (
        "40 hidden or system files, such as testImages_artphoto/._amusement_0000.jpg"
        in capsys.readouterr().out
    )
    text(tmp_path / "fi" / "fi_train.csv", "train0.jpg,0,0\n._train1.jpg,1,0\n")
    assert ("._train1.jpg,1,0", "hidden or system file") in read_fi(tmp_path / "fi").left_out


def test_a_data_set_of_one_class(tmp_path, capsys):
    emotion_folders(tmp_path / "root", ("awe",), 3)
    text(tmp_path / "root" / "label.csv", "".join(f"{number:d},awe\n" for number in range(3)))
    assert prepare("csv", tmp_path / "root", tmp_path / "out") == 2
    assert (
        f"all 3 images below {tmp_path / 'root'} have the same class, "
        "awe" in capsys.readouterr().err
    )


def test_counts_of_sentiments(tmp_path, capsys):
    twitter1(tmp_path / "root")
    assert prepare("twitter1", tmp_path / "root", tmp_path / "out") == 0
    # what has no emotions, and is in folds, can't be trained on without saying so
    said = f"train with mlr train --data {tmp_path / 'out'} --labels sentiment --folds all\n"
    assert capsys.readouterr().out.endswith(said)
    assert json.loads((tmp_path / "out" / "prepared.json").read_text())["counts"] == {
        str(fold): {"negative": 2, "positive": 2} for fold in range(1, 6)
    }


def reasons(out, what):
    """The reasons for which the rows of a label file were left out that hold a text."""
    with open(out / "left_out.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [row["reason"] for row in csv.DictReader(file) if what in row["what"]]


def test_attributes_of_emoset_are_columns(tmp_path):
    emoset(tmp_path / "root")
    path = tmp_path / "root" / "annotation" / "awe" / "awe_00000.json"
    path.write_text(json.dumps({"brightness": 0.0, "colorfulness": 0.3, "object": []}))
    assert prepare("emoset", tmp_path / "root", tmp_path / "out") == 0
    found = {row.path: row.attributes for row in entries(tmp_path / "out")}
    absent = {**dict.fromkeys(COLUMNS, ""), "brightness": "0.0", "colorfulness": "0.3"}
    assert found.pop("image/awe/awe_00000.jpg") == absent
    assert len(found) == 31 and all(attributes == COLUMNS for attributes in found.values())
    assert not left_out(tmp_path / "out")
    splits = read_splits(tmp_path / "out")
    assert [len(splits[name]) for name in ("train", "valid", "test")] == [16, 8, 8]


def test_a_manifest_without_attributes_is_as_it_was(tmp_path):
    entry = Entry("a, b.jpg", "awe", "positive", "train", 32, 24, "0" * 64)
    write_prepared(tmp_path, {}, [entry], [])
    written = (tmp_path / "manifest.csv").read_bytes()
    assert written == (
        b"path,emotion,sentiment,split,width,height,sha256\n"
        b'"a, b.jpg",awe,positive,train,32,24,' + b"0" * 64 + b"\n"
    )


@pytest.mark.parametrize(
    "more, fields", [(",", ",x"), (",scene,scene", ",x,y"), (",sha256", ",x"), (",scene", "")]
)
def test_attributes_that_are_damaged(tmp_path, more, fields):
    header = ",".join(Entry._fields[:7])
    text(tmp_path / "manifest.csv", f"{header}{more}\na.jpg,awe,positive,train,3,2,0{fields}\n")
    with pytest.raises(InputError, match="manifest.csv is damaged: prepare the data set again"):
        read_entries(tmp_path / "manifest.csv")


BROKEN = {  # what is in an annotation: what is said of it
    "": "is not JSON, or is damaged",
    '{"brightness": 0.5': "is not JSON, or is damaged",
    "[1]": "not a JSON object",
    '{"emotion": "fear"}': "of another emotion, 'fear'",
    '{"emotion": 3}': "of another emotion, 3",
    '{"brightness": 1.5}': "brightness is 1.5",
    '{"brightness": true}': "brightness is True",
    '{"colorfulness": "bright"}': "colorfulness is 'bright'",
    '{"colorfulness": NaN}': "NaN is not a valid number",
    '{"scene": ["sky"]}': "scene is ['sky']",
    '{"scene": "\\ud800"}': "scene is '\\ud800'",
    '{"object": "tree"}': "object is 'tree'",
    '{"object": [1]}': "object is [1]",
}


def test_annotations_that_are_broken_cost_no_image(tmp_path, capsys):
    root = tmp_path / "root"
    emoset(root)
    rows = []
    for number, content in enumerate(BROKEN):
        picture(root / "image" / "awe" / f"broken{number:02d}.jpg")
        text(root / "annotation" / "awe" / f"broken{number:02d}.json", content)
        rows.append(f"annotation/awe/broken{number:02d}.json")
    (root / "annotation" / "link.json").symlink_to(tmp_path / "outside.json")
    text(tmp_path / "outside.json", "{}")
    odd = {
        "annotation/awe/none.json": "no such file",
        "annotation/awe": "no such file",
        "../outside.json": "its path leaves the root",
        "annotation/link.json": "a link out of the root",
        "annotation/\ud800.json": "no such file",
    }
    for number in range(len(odd)):
        picture(root / "image" / "awe" / f"broken{len(rows) + number:02d}.jpg")
    listed = json.loads((root / "val.json").read_text()) + [
        ["awe", "id", f"image/awe/broken{number:02d}.jpg", annotation]
        for number, annotation in enumerate((*rows, *odd))
    ]
    text(root / "val.json", json.dumps(listed))
    assert prepare("emoset", root, tmp_path / "out") == 0
    kept = [row for row in entries(tmp_path / "out") if "broken" in row.path]
    assert len(kept) == len(BROKEN) + len(odd)
    assert {value for row in kept for value in row.attributes.values()} == {""}
    for number, said in enumerate((*BROKEN.values(), *odd.values())):
        (reason,) = reasons(tmp_path / "out", f"broken{number:02d}.jpg")
        assert reason.startswith("annotation left out, its image is kept: ")
        assert said in reason
    assert "18 annotation left out, its image is kept, such as" in capsys.readouterr().out
    assert prepare("emoset", root, tmp_path / "strict", "--strict") == 2
    assert "18 rows and files of" in capsys.readouterr().err


def test_entries_of_emoset_that_are_none(tmp_path):
    root, shape = tmp_path / "root", "not [emotion, id, image, annotation]"
    emoset(root)
    picture(root / "image" / "awe" / "unlisted.jpg")
    picture(root / "image" / "joy" / "a.jpg")
    picture(tmp_path / "outside.jpg")
    (root / "image" / "awe" / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    listed = json.loads((root / "train.json").read_text())
    wrong = {
        "[1, 2, 3, 4]": shape,
        '["awe", "two"]': shape,
        '["awe", "five", "a", "b", "c"]': shape,
        '"text"': shape,
        '["joy", "image/joy/a.jpg", "a.json"]': "its emotion is none of Mikels' eight",
        '["0", "image/joy/a.jpg", "a.json"]': "its emotion is none of Mikels' eight",
        '["awe", "image/awe/none.jpg", "a.json"]': "no image",
        '["awe", "../outside.jpg", "a.json"]': "its path leaves the root",
        '["awe", "image/awe/link.jpg", "a.json"]': "a link out of the root",
        '["awe", "image/\\ud800.jpg", "a.json"]': "no image",
        json.dumps(listed[0]): "listed twice",
    }
    text(root / "train.json", json.dumps(listed + [json.loads(row) for row in wrong]))
    assert prepare("emoset", root, tmp_path / "out") == 0
    assert left_out(tmp_path / "out") == {
        *wrong.items(),
        ("image/awe/unlisted.jpg", "in no list"),
    }
    assert len(entries(tmp_path / "out")) == 32


@pytest.mark.parametrize(
    "content, message",
    [
        ("[", "train.json is not JSON, or is damaged"),
        (
            "{}",
            r"train.json holds no entries \[emotion, id, image, annotation\]: expected "
            r"train.json",
        ),
        ("[]", r"train.json holds no entries \[emotion, id, image, annotation\]"),
    ],
)
def test_lists_of_emoset_that_are_none(tmp_path, content, message):
    emoset(tmp_path)
    text(tmp_path / "train.json", content)
    with pytest.raises(InputError, match=message):
        DATASETS["emoset"].read(tmp_path)


def test_emoset_without_its_annotations(tmp_path):
    emoset(tmp_path / "root")
    shutil.rmtree(tmp_path / "root" / "annotation")
    (tmp_path / "root" / "val.json").unlink()
    assert prepare("emoset", tmp_path / "root", tmp_path / "out") == 0
    rows = entries(tmp_path / "out")
    assert len(rows) == 24 and not any(row.attributes for row in rows)
    assert left_out(tmp_path / "out") == {
        ("annotation", "no such folder, so images have no attributes"),
        ("val.json", "no such list, so its split is missing"),
        *((f"image/{emotion}/{emotion}_00002.jpg", "in no list") for emotion in MIKELS),
    }


def test_an_interrupted_preparation_of_emoset_goes_on(tmp_path, monkeypatch):
    emoset(tmp_path / "root")
    whole, seen = interrupt_at(20, 8, monkeypatch)
    assert prepare("emoset", tmp_path / "root", tmp_path / "out") == 130
    seen.clear()
    monkeypatch.setattr(examine, "examine_image", lambda path: seen.append(path) or whole(path))
    assert prepare("emoset", tmp_path / "root", tmp_path / "out") == 0
    assert len(seen) <= 16
    assert prepare("emoset", tmp_path / "root", tmp_path / "fresh") == 0
    for name in ("manifest.csv", "left_out.csv", "prepared.json"):
        one, other = ((tmp_path / out / name).read_bytes() for out in ("out", "fresh"))
        assert one == other


def ldl(root, *rows, images=None, header=None):
    """Write a table of votes, and an image for each row or name."""
    for name in images or [row.split()[0] for row in rows]:
        picture(root / "images" / name)
    text(root / "ground_truth.txt", "\n".join([*([header] if header else []), *rows]))
    return root


def test_votes_stand_in_the_manifest(tmp_path, capsys):
    """By the header's order, which another than the published form's may be."""
    order = LDL_ORDER[::-1]
    rows = [votes_row(f"{name}.jpg", name, order) for name in ("awe", "fear", "anger")]
    root = ldl(tmp_path / "root", *rows, header="name " + " ".join(order))
    assert prepare("flickr_ldl", root, tmp_path / "out") == 0
    assert f"columns of votes are {', '.join(order)}, as the header says" in capsys.readouterr().out
    found = entries(tmp_path / "out")
    assert [row.emotion for row in found] == ["awe", "fear", "anger"]
    assert list(found[0].attributes) == ["votes_" + name for name in order]
    for row in found:
        assert row.attributes["votes_" + row.emotion] == "6"
        assert sum(map(int, row.attributes.values())) == 13


@pytest.mark.parametrize("order", [None, LDL_ORDER[::-1]], ids=["published", "given"])
def test_the_order_without_a_header(tmp_path, capsys, order):
    rows = [votes_row(f"{name}.jpg", name, order or LDL_ORDER) for name in ("awe", "fear")]
    root = ldl(tmp_path / "root", *rows)
    option = ("--order", ",".join(name.title() for name in order)) if order else ()
    assert prepare("twitter_ldl", root, tmp_path / "out", *option) == 0
    assert [row.emotion for row in entries(tmp_path / "out")] == ["awe", "fear"]
    said = "as --order says" if order else "which is assumed, because there is no header"
    assert f"are {', '.join(order or LDL_ORDER)}, {said}" in capsys.readouterr().out
    described = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert described["order"] == (option[1] if order else None)


def test_ties_of_votes(tmp_path):
    rows = (
        "a.jpg 9 0 0 0 0 0 0 0", "b.jpg 0 0 0 0 0 0 9 0",
        "tie.jpg 0 4 3 0 0 0 0 4", "none.jpg 0 0 0 0 0 0 0 0",
    )  # fmt: skip
    root = ldl(tmp_path / "root", *rows)
    assert prepare("flickr_ldl", root, tmp_path / "out") == 0
    assert left_out(tmp_path / "out") == {(rows[2], "tie"), (rows[3], "no votes")}
    assert prepare("flickr_ldl", root, tmp_path / "first", "--ties", "first") == 0
    assert {row.path: row.emotion for row in entries(tmp_path / "first")} == {
        "images/a.jpg": "amusement",
        "images/b.jpg": "fear",
        "images/tie.jpg": "awe",
    }
    assert prepare("flickr_ldl", root, tmp_path / "strict", "--strict") == 2


def test_what_the_tables_of_votes_leave_out(tmp_path):
    twice = "sad.jpg 0 0 0 0 0 0 0 9", "sad.jpg 0 0 0 0 0 0 1 8"
    root = ldl(
        tmp_path / "root",
        *(votes_row(f"{name}.jpg", name) for name in ("awe", "fear")),
        *twice,
        images=["awe.jpg", "fear.jpg", "sad.jpg"],
    )
    picture(tmp_path / "outside.jpg")
    picture(root / "images" / "unlisted.jpg")
    picture(root / "train" / "twice.jpg")
    picture(root / "test" / "twice.jpg")
    rows = [votes_row(name, "awe") for name in ("../outside.jpg", "gone.jpg", "twice.jpg")]
    with open(root / "ground_truth.txt", "a") as file:
        file.write("\n" + "\n".join(rows) + "\n" + votes_row("fear.jpg", "awe") + "\n")
    assert prepare("flickr_ldl", root, tmp_path / "out") == 2  # of one class is left
    with open(root / "ground_truth.txt", "a") as file:
        file.write(votes_row("a b.jpg", "anger"))
    picture(root / "images" / "a b.jpg")
    assert prepare("flickr_ldl", root, tmp_path / "out") == 0
    assert left_out(tmp_path / "out") == {
        (rows[0], "its path leaves the root"),
        (rows[1], "no image"),
        (rows[2], "several images of one name"),
        ("images/fear.jpg", "two labels for one image"),
        (votes_row("fear.jpg", "awe"), "two labels for one image"),
        ("images/sad.jpg", "two labels for one image"),
        (twice[1], "two labels for one image"),
        ("images/unlisted.jpg", "no row of votes"),
    }


def test_an_image_in_no_list_of_a_fold(tmp_path):
    """As two of Twitter_LDL's are, whose number five does not divide."""
    ldl_lists(tmp_path / "root")
    last = votes_row("last.jpg", "awe")
    picture(tmp_path / "root" / "flickr" / "last.jpg")
    for path in (tmp_path / "root").rglob("train?.csv"):
        path.write_text(path.read_text() + last + " \n")
    assert prepare("flickr_ldl", tmp_path / "root", tmp_path / "out") == 0
    assert left_out(tmp_path / "out") == {(last + " ", "in none of the lists of the folds")}
    assert len(entries(tmp_path / "out")) == 40


@pytest.mark.parametrize(
    "row, found",
    [
        ("b.jpg 0 -1 6 0 0 1 0 0", "-1, which is not a number of votes"),
        ("b.jpg 0 .5 .5 0 0 0 0 0", ".5, which is not a number of votes"),
        ("b.jpg 0 4 6 0 0 1 0 0 1", "9 numbers"),
        ("b.jpg 0 4 6 0 0 1 0", "7 numbers"),
        ("b.jpg 0 4 6 0 0 1 0 1e999", "1e999, which is not a number of votes"),
        (f"b.jpg 0 4 6 0 0 1 0 {'9' * 60}", f"{'9' * 40}..., which is not a number of votes"),
        ("b.jpg 0 4 6 0 0 1 x 0", "1 numbers"),
        ("0 4 6 0 0 1 0 0", "8 numbers"),
    ],
)
def test_rows_that_are_no_votes(tmp_path, capsys, row, found):
    root = ldl(tmp_path / "root", "a.jpg 0 4 6 0 0 1 0 0", row, images=["a.jpg", "b.jpg"])
    assert prepare("flickr_ldl", root, tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert f"ground_truth.txt, line '{row}': it has {found}" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "header, order, message",
    [
        ("name a b c d e f g h", None, "a,b,c,d,e,f,g,h is not an order of the columns of votes"),
        (
            "name awe awe contentment excitement anger disgust fear sadness",
            None,
            "is not an order of the columns",
        ),
        ("a.jpg,0,9,0,0,0,0,0,0", None, "each once, or a file and eight numbers of votes"),
        (None, "awe,fear", "--order: awe,fear is not an order"),
        ("name " + " ".join(LDL_ORDER), ",".join(MIKELS), "leave --order out"),
    ],
)
def test_unknown_orders_of_votes(tmp_path, capsys, header, order, message):
    root = ldl(tmp_path / "root", votes_row("a.jpg", "awe"), header=header)
    option = ("--order", order) if order else ()
    assert prepare("flickr_ldl", root, tmp_path / "out", *option) == 2
    assert message in capsys.readouterr().err


def test_mvsa_takes_the_labels_of_the_images(tmp_path):
    mvsa(tmp_path / "root")
    top = tmp_path / "root" / "MVSA_Single"
    picture(top / "data" / "99.jpg")
    with open(top / "labelResultAll.txt", "a", newline="") as file:
        file.write("98\tpositive,negative\r\n97\tpositive\r\n96\tpositive,joy\r\n")
    assert prepare("mvsa", tmp_path / "root", tmp_path / "out") == 0
    bad = "not an id and two of positive, neutral and negative"
    assert left_out(tmp_path / "out") == {
        *((f"{n}\t{('neutral', 'positive')[n % 2]},neutral", "neutral") for n in range(2, 31, 3)),
        ("98\tpositive,negative", "no image"),
        ("97\tpositive", bad),
        ("96\tpositive,joy", bad),
        ("MVSA_Single/data/99.jpg", "no row in labelResultAll.txt"),
    }
    found = {row.path: row for row in entries(tmp_path / "out")}
    assert found["MVSA_Single/data/1.jpg"][1:3] == ("", "negative")
    assert found["MVSA_Single/data/3.jpg"][1:3] == ("", "positive")
    assert prepare("mvsa", tmp_path / "root", tmp_path / "3", "--labels", "sentiment3") == 0
    assert Counter((row.emotion, row.sentiment) for row in entries(tmp_path / "3")) == {
        ("neutral", ""): 10,
        ("positive", "positive"): 10,
        ("negative", "negative"): 10,
    }
    splits, evaluated = read_training_splits(tmp_path / "3")
    assert evaluated == "valid" and splits["train"].classes == ["negative", "neutral", "positive"]


def test_one_image_under_two_spellings_of_its_path(tmp_path):
    picture(tmp_path / "pics" / "a.jpg")
    picture(tmp_path / "pics" / "b.jpg")
    listing = Listing(tmp_path)
    assert listing.add("pics/a.jpg", "awe", listed="pics/a.jpg,awe")
    assert not listing.add("./pics/a.jpg", "fear", listed="./pics/a.jpg,fear")
    assert listing.add("./pics//b.jpg", "awe")
    assert [row.path for row in listing.rows] == ["pics/b.jpg"]
    assert listing.named == {"pics/a.jpg", "pics/b.jpg"}
    assert listing.left_out == [
        ("pics/a.jpg", "two labels for one image"),
        ("./pics/a.jpg,fear", "two labels for one image"),
    ]


@pytest.mark.parametrize(
    "splits, kept, left_out",
    [
        (["train", "test"], "test", ("a.jpg", "duplicate across splits: it stays in test")),
        (["valid", "train"], "valid", ("row 2", "duplicate across splits: it stays in valid")),
        (["4", "1"], "1", ("a.jpg", "duplicate across splits: it stays in 1")),
        (["", "train"], "train", ("a.jpg", "listed twice")),
        (["train", "train"], "train", ("row 2", "listed twice")),
    ],
)
def test_one_image_in_two_splits_of_one_label(tmp_path, splits, kept, left_out):
    picture(tmp_path / "a.jpg")
    listing = Listing(tmp_path)
    for number, split in enumerate(splits, start=1):
        listing.add("a.jpg", "awe", split=split, listed=f"row {number}")
    assert [row.split for row in listing.rows] == [kept]
    assert listing.left_out == [left_out]


def test_lists_with_a_dot_before_each_path(tmp_path):
    fi_number_lists(tmp_path / "root")
    for path in (tmp_path / "root").glob("*.txt"):
        path.write_text("".join(f"./{line}\n" for line in path.read_text().splitlines()))
    assert prepare("fi", tmp_path / "root", tmp_path / "out", "--strict") == 0
    assert left_out(tmp_path / "out") == set()


def test_votes_that_name_the_folder_of_the_images(tmp_path):
    ldl_table(tmp_path / "root")
    path = tmp_path / "root" / "Flickr_LDL" / "ground_truth.txt"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"images/{row}" for row in rows)]))
    assert prepare("flickr_ldl", path.parent, tmp_path / "out") == 0
    assert left_out(tmp_path / "out") == set()


def test_an_image_in_two_folds_stays_in_the_first(tmp_path):
    ldl_lists(tmp_path / "root")
    first = (tmp_path / "root" / "train_val" / "val1.csv").read_text().splitlines()[0]
    with open(tmp_path / "root" / "train_val" / "val4.csv", "a") as file:
        file.write(first + "\n")
    assert prepare("flickr_ldl", tmp_path / "root", tmp_path / "out") == 0
    name = first.split()[0]
    assert [row.split for row in entries(tmp_path / "out") if row.path.endswith(name)] == ["1"]


def test_splits_without_train_are_no_classes(tmp_path, capsys):
    for split in ("val", "test"):
        for emotion in ("awe", "fear"):
            for number in range(3):
                picture(tmp_path / "root" / split / emotion / f"{number}.jpg")
    assert prepare("folders", tmp_path / "root", tmp_path / "out") == 2
    assert "has the folders test, val of splits, but no folder train" in capsys.readouterr().err
