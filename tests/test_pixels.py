import os
import shutil
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import cv2
import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mlr import augmentation
from mlr.data import pixels
from mlr.data.images import read_image
from mlr.data.labelled import Subset
from mlr.data.loader import CachedBatches, batches
from mlr.data.pixels import CachedImages
from mlr.data.splits import read_splits
from mlr.errors import InputError
from mlr.transforms import evaluation_transform, training_resize


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def split(data):
    return read_splits(data)["train"]


def test_pixels_are_those_of_the_resize(cache, split):
    images = CachedImages(split, 73)
    assert len(images) == 12 and images.pixels().shape == (12, 73, 73, 3) and list(cache.iterdir()) == [images.path]
    for index in range(12):
        expected = mx.image.imresize(read_image(split.paths[index]), 73, 73, interp=1).asnumpy()
        image, label = images[index]
        assert_array_equal(image.asnumpy(), expected)
        assert image.dtype == np.uint8 and label == split.labels[index]


def test_an_image_takes_at_most_200_kB(cache, split):
    assert CachedImages(split, training_resize()).path.stat().st_size <= 200e3 * len(split)


def test_images_are_decoded_once(cache, split, data, monkeypatch):
    first = CachedImages(split, 64)
    made = first.path.stat().st_mtime_ns
    monkeypatch.setattr(CachedImages, "_write", lambda *_: pytest.fail("written again"))
    moved = shutil.copytree(data, data.parent / "moved")
    assert CachedImages(read_splits(moved)["train"], 64).path == first.path
    assert first.path.stat().st_mtime_ns == made


def test_other_images_have_another_file(cache, split, data):
    names = {CachedImages(split, 64).path, CachedImages(split, 65).path, CachedImages(Subset(split, range(11)), 64).path,
             CachedImages(Subset(split, [1, 0, *range(2, 12)]), 64).path}
    cv2.imwrite(str(split.paths[3]), np.zeros((50, 50, 3), np.uint8))
    names.add(CachedImages(read_splits(data)["train"], 64).path)
    assert len(names) == 5


def test_an_interruption_leaves_nothing(cache, split, monkeypatch):
    decode, decoded = pixels.transforms.Resize.forward, []

    def interrupted(self, image):
        decoded.append(image)
        if len(decoded) == 7:
            raise KeyboardInterrupt
        return decode(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(pixels.transforms.Resize, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            CachedImages(split, 64)
    assert list(cache.iterdir()) == []
    assert CachedImages(split, 64).pixels().shape == (12, 64, 64, 3)


def flipped(data, byte, bit):
    return data[:byte] + bytes([data[byte] ^ 1 << bit]) + data[byte + 1:]


@pytest.mark.parametrize("damage", [
    lambda data: data[:-1], lambda data: b"", lambda data: b"x" + data[1:], lambda data: data + b"x", lambda data: b"PK\3\4" + data[4:],
    lambda data: flipped(data, 8, 1), lambda data: flipped(data, 8, 6)])
def test_a_damaged_file_is_made_anew(cache, split, damage):
    path = CachedImages(split, 64).path
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    CachedImages(split, 64)
    assert path.read_bytes() == whole


def test_what_a_killed_process_left_is_removed(cache, split):
    path = CachedImages(split, 64).path
    path.unlink()
    old, fresh = (cache / ("pixels-%s.npy.%s" % ("0" * 64, name)) for name in ("old", "fresh"))
    for partial in (old, fresh):
        partial.write_bytes(b"half")
    hours_ago = time.time() - 2 * 3600
    os.utime(str(old), (hours_ago, hours_ago))
    CachedImages(split, 64)
    assert sorted(cache.iterdir()) == sorted([path, fresh])  # another process may be at it


def test_two_processes_make_one_whole_file(cache, split):
    """As threads, which have one process number, like processes in two containers."""
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: CachedImages(split, 64), range(2))
    assert list(cache.iterdir()) == [first.path] and first.path == second.path
    assert_array_equal(first.pixels()[11], CachedImages(split, 64)[11][0].asnumpy())
    assert all(image.any() for image in first.pixels())


def test_no_room(cache, split, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(12 * 64 * 64 * 3 - 1))
    with pytest.raises(InputError, match="pixel cache of .* needs 0.0 GB, and .* has 0.0: make room, name another folder in MLR_CACHE, or"):
        CachedImages(split, 64)


def test_a_folder_that_can_not_be_written(cache, split, data, command):
    cache.write_text("a file")
    done = command("train", "--data", data, "--out", data.parent / "run", "--backbone", "resnet18_v2", "--pretrained", "none", "--ctx", "cpu")
    assert done.returncode == 2 and not (data.parent / "run").exists()  # which would keep its pipeline
    assert "can't write the pixel cache" in done.stderr and "--pipeline released" in done.stderr and "Traceback" not in done.stderr


def test_batches_equal_the_presets(cache, split):
    fast = list(CachedBatches(CachedImages(split, 64), augmentation.evaluation, 64, 5))
    slow = list(batches(split, evaluation_transform(64), 5))
    assert len(fast) == len(slow) == 3
    for (images, labels), (expected, expected_labels) in zip(fast, slow):
        # The last digit of float32: a quotient by a table, or by MXNet's loop.
        assert_allclose(images.asnumpy(), expected.asnumpy(), rtol=0, atol=3e-7)
        assert_array_equal(labels.asnumpy(), expected_labels.asnumpy())
        assert (images.dtype, labels.dtype) == (expected.dtype, expected_labels.dtype)


def test_order_and_draws_follow_numpys_generator(cache, split):
    def passes(seed):
        made = CachedBatches(CachedImages(split, training_resize(64)), augmentation.Augmentation(64), 64, 5, shuffle=True)
        assert len(made) == 3
        np.random.seed(seed)
        return [[(images.asnumpy(), labels.asnumpy()) for images, labels in made] for _ in range(2)]

    first, again, other = passes(0), passes(0), passes(1)
    for one, same in zip(sum(first, []), sum(again, [])):
        assert_array_equal(one[0], same[0])
        assert_array_equal(one[1], same[1])
    assert [len(images) for images, _ in first[0]] == [5, 5, 2]
    for labels in (np.concatenate([labels for _, labels in one]) for one in first):
        assert np.bincount(labels).tolist() == [6, 6]
    assert not np.array_equal(first[0][0][0], first[1][0][0]) and not np.array_equal(first[0][0][0], other[0][0][0])


def test_memory_does_not_hold_the_file(cache, split):
    """What one batch maps is given back with it."""
    made = iter(CachedBatches(CachedImages(split, 64), augmentation.evaluation, 64, 5))
    next(made)
    made.close()
    with open("/proc/self/maps") as maps:
        assert not [line for line in maps if str(cache) in line]
