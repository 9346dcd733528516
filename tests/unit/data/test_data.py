import errno
import io
import os
import shlex
import shutil
import struct
import subprocess
import sys
import threading
import types
import zlib

import cv2
import numpy as np
import pytest
from conftest import write_images
from numpy.testing import assert_array_equal
from PIL import Image, JpegImagePlugin

import mlr.prepare
import mlr.train
from mlr.data import images
from mlr.data.emotions import emotion_named, sentiment_of
from mlr.data.examine import examine_image
from mlr.data.folder import ImageFolder
from mlr.data.images import checked_bytes, read_bytes, read_image
from mlr.data.layouts.csv import read_label_csv
from mlr.data.layouts.folders import read_class_folders
from mlr.data.loader import GluonBatches
from mlr.data.splits import (
    fingerprint,
    part_of_classes,
    read_split,
    read_splits,
    read_training_splits,
)
from mlr.data.transforms import evaluation_transform
from mlr.data.walk import by_kind, words_on
from mlr.errors import InputError
from mlr.inference.reading import find_images
from mlr.methods import METHODS


def test_folders_are_classes_in_order(data):
    folder = ImageFolder(data / "train")
    assert folder.classes == ["awe", "fear"] and folder.counts == [6, 6] and len(folder) == 12
    assert folder.labels == [0] * 6 + [1] * 6
    assert [path.name for path in folder.paths[:2]] == ["00.jpg", "01.jpg"]
    image, label = folder[7]
    assert image.shape == (64, 80, 3) and image.dtype == np.uint8 and label == 1


def test_pixels_are_rgb_and_exact(tmp_path):
    pixels = np.random.randint(0, 256, (5, 7, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels[:, :, ::-1])
    assert_array_equal(read_image(tmp_path / "a.png").asnumpy(), pixels)


def test_sentiment_labels(tmp_path):
    data = write_images(tmp_path, classes=("anger", "awe", "joy", "sadness"), train=2)
    folder = ImageFolder(data / "train", labels="sentiment")
    assert folder.classes == ["negative", "positive"] and folder.counts == [4, 4]
    assert folder.labels == [0, 0, 1, 1, 1, 1, 0, 0]


def test_sentiment_of_an_unknown_class(tmp_path):
    write_images(tmp_path, classes=("anger", "boredom"))
    with pytest.raises(
        InputError, match="boredom does not have the name of an emotion with a known sentiment"
    ):
        ImageFolder(tmp_path / "train", labels="sentiment")


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match="absent is not a folder: give one that has a folder for"):
        ImageFolder(tmp_path / "absent")


def test_files_that_are_no_images_are_counted(data):
    (data / "train" / "awe" / "notes.txt").write_text("x")
    folder = ImageFolder(data / "train")
    assert len(folder) == 12 and folder.left_out == [
        (str(data / "train" / "awe" / "notes.txt"), "file that is not an image")
    ]


def test_splits(data):
    splits, evaluated = read_training_splits(data)
    assert evaluated == "valid"
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 12,
        "valid": 4,
        "test": 4,
    }
    shutil.rmtree(data / "test")
    assert sorted(read_training_splits(data)[0]) == ["train", "valid"]


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: shutil.rmtree(data), "train does not exist: expected"),
        (
            lambda data: [shutil.rmtree(data / name) for name in ("valid", "test")],
            "has only the split train: training needs train, and valid or",
        ),
        (
            lambda data: [shutil.rmtree(data / "train" / name) for name in ("awe", "fear")],
            "train has no class folders",
        ),
        (
            lambda data: shutil.rmtree(data / "valid" / "fear"),
            r"class folder fear is in .*train but not in .*valid",
        ),
        (
            lambda data: (data / "test" / "joy").mkdir(),
            r"class folder joy is in .*test but not in .*train",
        ),
        (lambda data: empty(data / "train" / "fear"), "class fear has no image in .*train"),
        (
            lambda data: [empty(data / "valid" / name) for name in ("awe", "fear")],
            "valid holds no images",
        ),
    ],
)
def test_folders_that_do_not_fit(data, damage, message):
    damage(data)
    with pytest.raises(InputError, match=message):
        read_training_splits(data)


def test_a_part_of_each_class(tmp_path):
    """A tenth is within three tenths, and no class loses its last image."""
    folder = write_images(tmp_path, classes=("anger", "awe"), train=20, valid=1, test=1)
    for path in sorted((folder / "train" / "awe").iterdir())[4:]:
        path.unlink()
    train = read_splits(folder)["train"]
    tenth, third = (part_of_classes(train, part) for part in (0.1, 0.3))
    assert (tenth.counts, third.counts) == ([2, 1], [6, 2])
    assert set(tenth.names) < set(third.names) < set(train.names)
    assert part_of_classes(train, 1.0) is train
    assert [train.names[index] for index in third.indices] == third.names
    assert third.labels == [train.labels[index] for index in third.indices]


def test_a_class_may_be_empty_in_valid(data):
    empty(data / "valid" / "fear")
    assert read_training_splits(data)[0]["valid"].counts == [2, 0]


def encoded(extension, *options, shape=(40, 60, 3)):
    return cv2.imencode(extension, np.random.randint(0, 256, shape).astype(np.uint8), options)[
        1
    ].tobytes()


@pytest.mark.parametrize(
    "extension, options",
    [
        (".jpg", ()),
        (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        (".jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)),
        (".png", ()),
    ],
)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_image_is_found(tmp_path, extension, options, part):
    content = encoded(extension, *options)
    path = tmp_path / ("whole" + extension)
    path.write_bytes(content)
    assert read_image(path).shape == (40, 60, 3)
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(
        InputError, match="whole.* is truncated, likely because its download was interrupted"
    ):
        read_bytes(path)


def test_bytes_after_the_end_do_no_harm(tmp_path):
    """Cameras append previews and metadata to their JPEG files."""
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg") + b"trailer")
    assert read_image(tmp_path / "a.jpg").shape == (40, 60, 3)


def test_an_end_inside_of_metadata_is_not_the_end(tmp_path):
    """The thumbnail in a photo's metadata has an end marker of its own."""
    content = encoded(".jpg")
    thumbnail = b"\xff\xe1" + (2 + len(content)).to_bytes(2, "big") + content
    photo = content[:2] + thumbnail + content[2:]
    (tmp_path / "a.jpg").write_bytes(photo)
    assert read_image(tmp_path / "a.jpg").shape == (40, 60, 3)
    (tmp_path / "a.jpg").write_bytes(photo[:-100])
    with pytest.raises(InputError, match="truncated"):
        read_bytes(tmp_path / "a.jpg")


def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "a.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(
        InputError,
        match="a.jpg: it is a link to a missing file: restore the file",
    ):
        read_bytes(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "a.jpg is empty"),
        (b"just text", "a.jpg can't be decoded"),
        (b"\xff\xd8\xff\xd9", "a.jpg can't be decoded"),
        (None, "can't read image .*a.jpg: No such file"),
    ],
)
def test_a_file_that_is_no_image(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "extension, mark, offset", [(".jpg", b"\xff\xc4", 5), (".png", b"IDAT", 20)]
)
def test_damage_inside_of_a_whole_file_is_found_at_once(tmp_path, extension, mark, offset):
    """A broken Huffman table, a wrong checksum: the header is good, the structure too, and there
    are no pixels.
    """
    content = bytearray(encoded(extension))
    position = content.index(mark) + offset
    content[position : position + 12] = b"\xfe" * 12
    path = tmp_path / ("damaged" + extension)
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged.* can't be decoded"):
        checked_bytes(path)


def test_fingerprint_is_of_names_and_contents(data, tmp_path):
    first = fingerprint(read_splits(data))
    moved = shutil.copytree(data, tmp_path / "elsewhere")
    assert fingerprint(read_splits(moved)) == first
    path = moved / "train" / "awe" / "00.jpg"
    path.rename(path.with_name("zz.jpg"))
    renamed = fingerprint(read_splits(moved))
    path.with_name("zz.jpg").write_bytes(encoded(".jpg"))
    assert len({first, renamed, fingerprint(read_splits(moved))}) == 3


def test_fingerprint_finds_a_truncated_image(data):
    path = data / "valid" / "awe" / "01.jpg"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="01.jpg is truncated"):
        fingerprint(read_splits(data))


def test_batches_keep_the_last_images_and_the_order(data):
    folder = ImageFolder(data / "train")
    shapes, labels = zip(
        *[
            (x.shape, y.asnumpy().tolist())
            for x, y in GluonBatches(folder, evaluation_transform(64), 5)
        ]
    )
    assert shapes == ((5, 3, 64, 64), (5, 3, 64, 64), (2, 3, 64, 64))
    assert sum(labels, []) == folder.labels


def test_shuffled_batches_hold_every_image_once(data):
    folder = ImageFolder(data / "train")
    loader = GluonBatches(folder, evaluation_transform(64), 12, shuffle=True)
    orders = []
    for _ in range(2):
        ((images, labels),) = loader
        assert sorted(labels.asnumpy()) == folder.labels
        orders.append(images.asnumpy())
    assert not np.array_equal(*orders)


def photograph(path, extension=".jpg"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(extension))


def test_hidden_and_system_files_are_no_data(data):
    """A checkpoint folder of Jupyter with a copy of an image, thumbnails of a NAS, macOS's
    companion of every file.
    """
    for name in (
        ".ipynb_checkpoints/00-checkpoint.jpg",
        "@eaDir/00.jpg",
        "__MACOSX/00.jpg",
        "awe/.thumbnails/00.jpg",
        "awe/@eaDir/00.jpg",
        "fear/._00.jpg",
        "fear/.DS_Store",
    ):
        photograph(data / "train" / name)
    photograph(data / "__MACOSX" / "train" / "joy" / "._00.jpg")
    splits, _ = read_training_splits(data)
    assert splits["train"].classes == ["awe", "fear"] and splits["train"].counts == [6, 6]
    assert by_kind(splits["train"].left_out) == [
        f"8 hidden or system files, such as {data / 'train' / '.ipynb_checkpoints'}"
    ]
    assert len(find_images(data / "train")) == 12 and len(read_class_folders(data).rows) == 20


def test_what_is_left_out_is_said_by_kind(data):
    for number in range(3):
        photograph(data / "train" / "fear" / "2019" / (f"{number:d}.jpg"))
    photograph(data / "train" / "beside.jpg")
    (data / "train" / "fear" / "notes.txt").write_text("x")
    (data / "train" / "fear" / "photo.NEF").write_bytes(b"II*\0" + bytes(100))
    os.mkfifo(str(data / "train" / "awe" / "pipe.jpg"))
    (data / "unlabelled").mkdir()
    train = read_splits(data)["train"]
    assert train.counts == [6, 6]
    assert words_on(train.left_out) == (
        f"left out: 3 images in subfolders, such as {data}/train/fear/2019/0.jpg; 1 image in no "
        f"class folder, such as {data}/train/beside.jpg; 1 pipe or device, such as "
        f"{data}/train/awe/pipe.jpg; 1 file that is not an image, such as "
        f"{data}/train/fear/notes.txt; 1 raw file of a camera, such as "
        f"{data}/train/fear/photo.NEF; 1 folder that is not a split, such as {data}/unlabelled"
    )


def test_contents_tell_an_image_and_a_usual_name_that_it_should_be_one(data):
    photograph(data / "train" / "awe" / "no-extension", ".png")
    photograph(data / "train" / "awe" / "named.dat")
    (data / "train" / "awe" / "page.webp").write_text("<html>not found</html>")
    train = ImageFolder(data / "train")
    assert [path.name for path in train.paths[6:9]] == [
        "named.dat",
        "no-extension",
        "page.webp",
    ] and not train.left_out
    with pytest.raises(InputError, match="page.webp"):
        fingerprint({"train": train})


@pytest.mark.parametrize(
    "names",
    [
        {"valid": "val"},
        {"train": "Train", "valid": "Validation", "test": "TEST"},
        {"train": "FI/train", "valid": "FI/val", "test": "FI/test"},
    ],
)
def test_names_of_splits(data, names):
    plain = fingerprint(read_splits(data))
    for split, name in names.items():
        (data / name).parent.mkdir(exist_ok=True)
        (data / split).rename(data / name)
    splits, evaluated = read_training_splits(data)
    assert evaluated == "valid" and fingerprint(splits) == plain
    assert read_split(data, "valid").paths == splits["valid"].paths


def test_a_set_without_valid_is_evaluated_on_test(data):
    shutil.rmtree(data / "valid")
    splits, evaluated = read_training_splits(data)
    assert evaluated == "test" and sorted(splits) == ["test", "train"]


def test_two_folders_of_one_split(data):
    shutil.copytree(data / "valid", data / "val")
    with pytest.raises(
        InputError, match="several folders that may be its split valid: .*val, .*valid; give"
    ):
        read_splits(data)
    (data.parent / "all").mkdir()
    data.rename(data.parent / "all" / "one")
    shutil.copytree(data.parent / "all" / "one", data.parent / "all" / "two")
    with pytest.raises(
        InputError, match="several folders that may be its data set: .*one, .*two; give"
    ):
        read_splits(data.parent / "all")


def test_a_folder_that_is_not_split(data, tmp_path, monkeypatch, capsys):
    """The command that the message gives makes of it what trains."""
    monkeypatch.chdir(tmp_path)
    (data / "train").rename(tmp_path / "my photos")
    with pytest.raises(
        InputError, match="my photos is not split: it has folders of images .awe, fear."
    ) as error:
        read_training_splits("my photos")
    _, given, then = str(error.value).split("\n")
    assert (
        shlex.split(given)[:2] == ["mlr", "prepare"]
        and mlr.prepare.main(shlex.split(given)[2:]) == 0
    )
    splits, _ = read_training_splits(shlex.split(then)[-1])
    assert {name: split.counts for name, split in splits.items()} == {
        "train": [4, 4],
        "valid": [1, 1],
        "test": [1, 1],
    }


@pytest.mark.parametrize("method", METHODS)
def test_one_class_is_refused_before_anything_is_made(tmp_path, capsys, method):
    data = write_images(tmp_path / "data", classes=("awe",))
    assert (
        mlr.train.main(
            [
                "--data",
                str(data),
                "--method",
                method,
                "--out",
                str(tmp_path / "run"),
                "--pretrained",
                "none",
                "--ctx",
                "cpu",
            ]
        )
        == 2
    )
    assert (
        "have the same class, awe, so there is nothing to learn" in capsys.readouterr().err
        and not (tmp_path / "run").exists()
    )


@pytest.mark.parametrize("option", [(), ("--fold", "1"), ("--folds", "all")])
def test_a_data_folder_that_is_not_there(tmp_path, capsys, option):
    assert (
        mlr.train.main(["--data", str(tmp_path / "no"), "--out", str(tmp_path / "run"), *option])
        == 2
    )
    assert (
        f"data folder {tmp_path / 'no'}"
        in capsys.readouterr().err.partition(" does not exist: ")[0]
    )


def test_emotions_of_one_sentiment(tmp_path):
    data = write_images(tmp_path / "data", classes=("anger", "fear"))
    with pytest.raises(
        InputError, match="have the same class, negative, .*, or use --labels emotion"
    ):
        read_training_splits(data, "sentiment")
    assert read_training_splits(data)[0]["train"].classes == ["anger", "fear"]


def test_sentiment_of_folders_in_any_form(tmp_path):
    data = write_images(tmp_path / "a", classes=("Amusements", "awed", "fearful", "SAD"), train=1)
    folder = ImageFolder(data / "train", labels="sentiment")
    assert folder.folders == ["Amusements", "SAD", "awed", "fearful"] and folder.labels == [
        1,
        0,
        1,
        0,
    ]
    data = write_images(tmp_path / "b", classes=("Negative", "positive"), train=1)
    assert ImageFolder(data / "train", labels="sentiment").labels == [0, 1]
    assert ImageFolder(data / "train").classes == ["Negative", "positive"]


@pytest.mark.parametrize(
    "text, emotion, sentiment",
    [
        ("Amusements", "amusement", "positive"),
        ("amuse", "amusement", "positive"),
        ("amused", "amusement", "positive"),
        ("angry", "anger", "negative"),
        ("awed", "awe", "positive"),
        ("content", "contentment", "positive"),
        ("disgusted", "disgust", "negative"),
        ("excit", "excitement", "positive"),
        ("EXCITED", "excitement", "positive"),
        ("fearful", "fear", "negative"),
        ("sad", "sadness", "negative"),
        ("happy", "joy", "positive"),
        ("surprised", "surprise", "positive"),
        ("positive", "", "positive"),
        ("Negative", "", "negative"),
        ("awful", "", ""),
        ("", "", ""),
    ],
)
def test_forms_of_emotions(text, emotion, sentiment):
    assert (emotion_named(text), sentiment_of(text)) == (emotion, sentiment)


@pytest.mark.parametrize("read", [read_splits, find_images, read_class_folders, read_label_csv])
def test_a_folder_that_can_not_be_read(data, monkeypatch, read):
    """By root it can, so the operating system's answer is put in its place."""
    (data / "label.csv").write_text("00,awe\n")
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("train/fear"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(
        InputError,
        match="can't read folder .*train/fear, so its images would be missing: Permission denied",
    ):
        read(data)


def test_links_are_followed_by_every_command(data, tmp_path):
    """To a file and a folder within the data and elsewhere; a circle, a folder above and one that
    is read already are not walked again.
    """
    photograph(tmp_path / "elsewhere" / "joy" / "a.jpg")
    train = data / "train"
    (train / "joy").symlink_to(tmp_path / "elsewhere" / "joy")
    (train / "awe" / "linked.jpg").symlink_to(tmp_path / "elsewhere" / "joy" / "a.jpg")
    (train / "awe" / "within.jpg").symlink_to(train / "fear" / "00.jpg")
    (train / "awe" / "circle").symlink_to(train / "awe")
    (train / "awe" / "above").symlink_to(data)
    for split in ("valid", "test"):
        (data / split / "joy").mkdir()
    expected = [
        *(
            train / "awe" / name
            for name in (
                "00.jpg",
                "01.jpg",
                "02.jpg",
                "03.jpg",
                "04.jpg",
                "05.jpg",
                "linked.jpg",
                "within.jpg",
            )
        ),
        *(train / "fear" / (f"{number:02d}.jpg") for number in range(6)),
        train / "joy" / "a.jpg",
    ]
    splits = read_splits(data)
    assert splits["train"].paths == expected
    assert by_kind(splits["train"].left_out) == [
        f"2 folders that are read already, such as {train / 'awe' / 'above'}"
    ]
    assert find_images(train) == expected
    assert [
        data / row.path for row in read_class_folders(data).rows if row.split == "train"
    ] == expected


# Formats. All of these lose nothing, so that the pixels are known.
LOSSLESS = {
    "BMP": {},
    "GIF": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
    "JPEG2000": {},
    "PPM": {},
    "PNG": {},
}


def saved(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def few_colours(height=24, width=36):
    """As many as a GIF has."""
    return np.random.randint(0, 256, (200, 3), dtype=np.uint8)[
        np.random.randint(0, 200, (height, width))
    ]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_contents_decide_how_a_file_is_read(tmp_path, kind):
    pixels, path = few_colours(), tmp_path / "a.jpg"
    path.write_bytes(saved(Image.fromarray(pixels), kind, **LOSSLESS[kind]))
    assert_array_equal(read_image(path).asnumpy(), pixels)
    assert_array_equal(images.decode(checked_bytes(path), path), pixels)
    found = examine_image(path)
    assert (found.fault, found.width, found.height) == ("", 36, 24)


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
def test_every_format_is_refused_where_it_is_truncated(tmp_path, kind, part):
    content = saved(Image.fromarray(few_colours()), kind, **LOSSLESS[kind])
    (tmp_path / "half.jpg").write_bytes(content[: int(len(content) * part)])
    for read in (checked_bytes, read_image):
        with pytest.raises(
            InputError,
            match="half.jpg (is|can't be decoded, likely because the [^|]* is|can't be decoded.*) ?"
            "(truncated|damaged)",
        ):
            read(tmp_path / "half.jpg")


@pytest.mark.parametrize(
    "kind, options", [("GIF", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("PNG", {})]
)
def test_of_several_frames_or_pages_the_first_is_the_image(tmp_path, kind, options):
    first, second = few_colours(), few_colours()
    (tmp_path / "a").write_bytes(
        saved(
            Image.fromarray(first),
            kind,
            save_all=True,
            append_images=[Image.fromarray(second)],
            **options,
        )
    )
    assert_array_equal(read_image(tmp_path / "a").asnumpy(), first)


@pytest.mark.parametrize(
    "kind, options",
    [("TIFF", {}), ("WEBP", {"lossless": True, "exact": True}), ("JPEG2000", {}), ("PNG", {})],
)
def test_transparency_is_ignored(tmp_path, kind, options):
    pixels = few_colours()
    picture = Image.fromarray(
        np.dstack([pixels, np.random.randint(0, 256, (24, 36), dtype=np.uint8)])
    )
    (tmp_path / "a").write_bytes(saved(picture, kind, **options))
    assert_array_equal(read_image(tmp_path / "a").asnumpy(), pixels)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_of_16_bits_the_upper_8_stay(tmp_path, kind):
    grey = np.random.randint(0, 2**16, (24, 36)).astype(np.uint16)
    (tmp_path / "a").write_bytes(
        saved(Image.fromarray(grey.astype(np.int32) if kind == "PPM" else grey), kind)
    )
    assert_array_equal(
        read_image(tmp_path / "a").asnumpy(), np.repeat((grey >> 8)[:, :, None], 3, axis=2)
    )


def test_pillow_does_not_warn_of_a_large_picture(tmp_path):
    """In a process of its own, as pytest has its own filters of warnings."""
    for kind in ("TIFF", "GIF"):
        (tmp_path / kind).write_bytes(saved(Image.fromarray(few_colours()), kind))
    code = (
        "from PIL import Image; from mlr.data.images import checked_bytes\n"
        "Image.MAX_IMAGE_PIXELS = 24 * 36 - 1; checked_bytes('TIFF'); checked_bytes('GIF')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=str(tmp_path), stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_the_orientation_of_a_tiff_is_ignored(tmp_path, orientation, compression):
    pixels = few_colours()
    (tmp_path / "a").write_bytes(
        saved(Image.fromarray(pixels), "TIFF", compression=compression, tiffinfo={274: orientation})
    )
    assert_array_equal(read_image(tmp_path / "a").asnumpy(), pixels)


def test_numbers_that_are_no_levels_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(
        saved(Image.fromarray(np.random.rand(8, 8).astype(np.float32)), "TIFF")
    )
    with pytest.raises(
        InputError, match="a.tif is a TIFF of the mode F, .*: save it with 8 or 16 bits"
    ):
        checked_bytes(tmp_path / "a.tif")


HEIC, AVIF = (
    b"\0\0\0\x18ftyp" + brands for brands in (b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1avif")
)


@pytest.mark.parametrize(
    "content, message",
    [
        (HEIC, "a.jpg is a HEIC, which .* pip install pillow-heif, or convert it to JPEG"),
        (AVIF, "a.jpg is an AVIF, which .* pip install pillow-avif-plugin, or convert it to JPEG"),
    ],
)
def test_a_format_without_its_plugin_is_named(tmp_path, monkeypatch, content, message):
    for module in (
        "pillow_heif",
        "pillow_avif",
        "pillow_avif.AvifImagePlugin",
        "PIL.AvifImagePlugin",
    ):
        monkeypatch.setitem(sys.modules, module, None)
    images._plugin.cache_clear()
    (tmp_path / "a.jpg").write_bytes(content)
    assert message.split(", ")[0] in examine_image(tmp_path / "a.jpg").fault
    with pytest.raises(InputError, match=message):
        read_image(tmp_path / "a.jpg")


def test_a_format_with_its_plugin_is_read(tmp_path, monkeypatch):
    """In its place one that reads the JPEG behind the brands."""
    plugin = types.ModuleType("pillow_heif")
    plugin.HeifImageFile = lambda file: JpegImagePlugin.JpegImageFile(
        io.BytesIO(file.read()[len(HEIC) :])
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    images._plugin.cache_clear()
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg"))
    (tmp_path / "a.heic").write_bytes(HEIC + (tmp_path / "a.jpg").read_bytes())
    assert_array_equal(
        read_image(tmp_path / "a.heic").asnumpy(), read_image(tmp_path / "a.jpg").asnumpy()
    )
    images._plugin.cache_clear()


# JPEGs without their last bytes.


@pytest.mark.parametrize(
    "options",
    [
        (),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
    ],
)
def test_a_jpeg_that_lacks_its_end_marker_alone_is_read(tmp_path, capfd, options):
    # It is said once of a path, so each case has its own.
    content, path = encoded(".jpg", *options), tmp_path / f"{len(options)}{sum(options)}a.jpg"
    path.write_bytes(content)
    whole = read_image(path).asnumpy()
    # 100: as where a download reserved the room
    for behind in (b"", b"\xff", bytes(100)):
        path.write_bytes(content[:-2] + behind)
        assert_array_equal(read_image(path).asnumpy(), whole)
        assert checked_bytes(path) == content[:-2] + behind
    assert capfd.readouterr().err == (
        f"warning: image {path} has no end marker, but has all its pixels, so it is used: to "
        "repair it, save it again\n"
    )
    last_scan = content.rindex(b"\xff\xda")
    for end in [
        *range(last_scan, len(content) - 2, 37),
        *range(len(content) - 12, len(content) - 2),
    ]:
        for behind in (b"", bytes(len(content) - end), b"\xff" * 20):
            path.write_bytes(content[:end] + behind)
            with pytest.raises(InputError, match="a.jpg is truncated"):
                read_bytes(path)


def test_a_progressive_jpeg_without_its_last_scan_is_truncated(tmp_path):
    content = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    (tmp_path / "a.jpg").write_bytes(content[: content.rindex(b"\xff\xc4")])
    with pytest.raises(InputError, match="a.jpg is truncated"):
        read_bytes(tmp_path / "a.jpg")


def png_chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def test_decoders_say_nothing_without_a_name(tmp_path, capfd):
    """OpenCV's and MXNet's libjpeg and libpng would write of each of these to the standard
    error.
    """
    jpeg, png = encoded(".jpg"), encoded(".png")
    tables, scan = jpeg.index(b"\xff\xdb"), jpeg.index(b"\xff\xda") + 40
    for name, content in (
        ("before.jpg", jpeg[:tables] + b"\0" + jpeg[tables:]),
        ("inside.jpg", jpeg[:scan] + b"\xa5" * 30 + jpeg[scan + 30 :]),
        ("early.jpg", jpeg[:-200] + b"\xff\xd9"),
        ("profile.png", png[:33] + png_chunk(b"iCCP", b"a\0\0x") + png[33:]),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        assert read_image(path).shape == (40, 60, 3)
        assert checked_bytes(path) == content and not examine_image(path).fault
    assert capfd.readouterr() == ("", "")


# What is no regular file.


def test_a_pipe_is_read_once(tmp_path):
    content, pipe = encoded(".jpg"), tmp_path / "pipe"
    os.mkfifo(str(pipe))
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    pixels = read_image(pipe)
    writer.join()
    (tmp_path / "a.jpg").write_bytes(content)
    assert_array_equal(pixels.asnumpy(), read_image(tmp_path / "a.jpg").asnumpy())


def test_a_device_without_an_end_is_left(monkeypatch):
    monkeypatch.setattr(images, "MOST_BYTES", 2**22)
    with pytest.raises(InputError, match="image /dev/zero has more than 4 MiB"):
        read_image("/dev/zero")


def test_without_mxnet_what_only_it_decodes_as_released_is_named(tmp_path, monkeypatch, capsys):
    pixels = np.random.randint(0, 256, (40, 60, 3)).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440]
    cv2.imwrite(str(tmp_path / "turned.jpg"), pixels, options)
    cv2.imwrite(str(tmp_path / "usual.jpg"), pixels)
    monkeypatch.setattr(images, "is_installed", lambda package: package != "mxnet")
    for name, warned in (("turned.jpg", True), ("usual.jpg", False)):
        data = read_bytes(tmp_path / name)
        assert_array_equal(images.pixels_of(data, tmp_path / name), images.decode(data, name))
        assert (
            f"{name} is a JPEG that MXNet decodes with less" in capsys.readouterr().err
        ) is warned
