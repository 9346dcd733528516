import shutil

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from conftest import write_images
from mlr.data.folder import ImageFolder
from mlr.data.images import checked_bytes, read_bytes, read_image
from mlr.data.loader import GluonBatches
from mlr.data.splits import fingerprint, read_splits, read_training_splits
from mlr.errors import InputError
from mlr.transforms import evaluation_transform


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
    with pytest.raises(InputError, match="boredom is none of the emotions that have a known sentiment"):
        ImageFolder(tmp_path / "train", labels="sentiment")


def test_files_that_are_no_images_are_counted(data):
    (data / "train" / "awe" / "notes.txt").write_text("x")
    folder = ImageFolder(data / "train")
    assert len(folder) == 12 and [path.name for path in folder.left_out] == ["notes.txt"]


def test_splits(data):
    splits, evaluated = read_training_splits(data)
    assert evaluated == "valid"
    assert {name: len(split) for name, split in splits.items()} == {"train": 12, "valid": 4, "test": 4}
    shutil.rmtree(data / "test")
    assert sorted(read_training_splits(data)[0]) == ["train", "valid"]


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("damage, message", [
    (lambda data: shutil.rmtree(data), "train does not exist: expected"),
    (lambda data: shutil.rmtree(data / "valid"), "valid does not exist: expected"),
    (lambda data: [shutil.rmtree(data / "train" / name) for name in ("awe", "fear")], "train has no class folders"),
    (lambda data: shutil.rmtree(data / "valid" / "fear"), r"class folder fear is in .*train but not in .*valid"),
    (lambda data: (data / "test" / "joy").mkdir(), r"class folder joy is in .*test but not in .*train"),
    (lambda data: empty(data / "train" / "fear"), "class fear has no image in .*train"),
    (lambda data: [empty(data / "valid" / name) for name in ("awe", "fear")], "valid holds no images"),
])
def test_folders_that_do_not_fit(data, damage, message):
    damage(data)
    with pytest.raises(InputError, match=message):
        read_training_splits(data)


def test_a_class_may_be_empty_in_valid(data):
    empty(data / "valid" / "fear")
    assert read_training_splits(data)[0]["valid"].counts == [2, 0]


def encoded(extension, *options, shape=(40, 60, 3)):
    return cv2.imencode(extension, np.random.randint(0, 256, shape).astype(np.uint8), options)[1].tobytes()


@pytest.mark.parametrize("extension, options", [
    (".jpg", ()), (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), (".jpg", (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)), (".png", ()),
])
@pytest.mark.parametrize("part", [.02, .3, .6, .99])
def test_a_truncated_image_is_found(tmp_path, extension, options, part):
    content = encoded(extension, *options)
    path = tmp_path / ("whole" + extension)
    path.write_bytes(content)
    assert read_image(path).shape == (40, 60, 3)
    path.write_bytes(content[:int(len(content) * part)])
    with pytest.raises(InputError, match="whole.* is truncated, likely an interrupted download"):
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


@pytest.mark.parametrize("content, message", [
    (b"", "a.jpg is empty"), (b"just text", "a.jpg can't be decoded"), (b"\xff\xd8\xff\xd9", "a.jpg can't be decoded"),
    (None, "can't read image .*a.jpg: No such file"),
])
def test_a_file_that_is_no_image(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("extension, mark, offset", [(".jpg", b"\xff\xc4", 5), (".png", b"IDAT", 20)])
def test_damage_inside_of_a_whole_file_is_found_at_once(tmp_path, extension, mark, offset):
    """A broken Huffman table, a wrong checksum: the header is good, the structure too, and there are no pixels."""
    content = bytearray(encoded(extension))
    position = content.index(mark) + offset
    content[position:position + 12] = b"\xfe" * 12
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
    shapes, labels = zip(*[(x.shape, y.asnumpy().tolist()) for x, y in GluonBatches(folder, evaluation_transform(64), 5)])
    assert shapes == ((5, 3, 64, 64), (5, 3, 64, 64), (2, 3, 64, 64))
    assert sum(labels, []) == folder.labels


def test_shuffled_batches_hold_every_image_once(data):
    folder = ImageFolder(data / "train")
    loader = GluonBatches(folder, evaluation_transform(64), 12, shuffle=True)
    orders = []
    for _ in range(2):
        (images, labels), = loader
        assert sorted(labels.asnumpy()) == folder.labels
        orders.append(images.asnumpy())
    assert not np.array_equal(*orders)
