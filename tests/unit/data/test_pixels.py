import errno
import json
import os
import random
import resource
import shutil
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest
from conftest import OF_TRAINED
from numpy.testing import assert_allclose, assert_array_equal

from mlr.data import augmentation, pixels
from mlr.data.images import is_for_mxnet, read_image
from mlr.data.labelled import Subset
from mlr.data.loader import CachedBatches, GluonBatches
from mlr.data.pixels import CachedImages, DecodedImages, NoRoom, cache_folder, resized_images
from mlr.data.preprocessing import preprocessing_of
from mlr.data.resizing import training_resize
from mlr.data.splits import read_splits
from mlr.data.transforms import caffe_transform, evaluation_transform
from mlr.errors import InputError
from mlr.methods import METHODS
from mlr.train import main as train_command
from mlr.training import batches


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def split(data):
    return read_splits(data)["train"]


def test_pixels_are_those_of_the_resize(cache, split):
    images = CachedImages(split, 73)
    assert (
        len(images) == 12
        and images.pixels().shape == (12, 73, 73, 3)
        and list(cache.iterdir()) == [images.path]
    )
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
    names = {CachedImages(split, 64).path, CachedImages(split, 65).path}
    cv2.imwrite(str(split.paths[3]), np.zeros((50, 50, 3), np.uint8))
    names.add(CachedImages(read_splits(data)["train"], 64).path)
    assert len(names) == 3


def test_a_subset_shares_the_file(cache, split):
    part = CachedImages(Subset(Subset(split, [1, 3, 8, 11]), [3, 0]), 64)
    assert part.path == CachedImages(split, 64).path
    made, labels = next(iter(CachedBatches(part, augmentation.evaluation, 64, 5)))
    for row, image, label, (item, _) in zip((11, 1), made, labels.asnumpy(), part):
        expected = evaluation_transform(64)(read_image(split.paths[row])).asnumpy()
        # the last digit of float32, see below
        assert_allclose(image.asnumpy(), expected, rtol=0, atol=3e-7)
        assert label == split.labels[row]
        assert_array_equal(item.asnumpy(), part.pixels()[row])


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
    return data[:byte] + bytes([data[byte] ^ 1 << bit]) + data[byte + 1 :]


def test_pixels_that_changed_are_found_when_they_are_first_used(cache, split):
    path = CachedImages(split, 64).path
    whole = path.read_bytes()
    start = len(whole) - 12 * 64 * 64 * 3 - 4 * 13
    for way in (
        lambda images: list(CachedBatches(images, augmentation.evaluation, 64, 5)),
        lambda images: [images[index] for index in range(12)],
    ):
        path.write_bytes(flipped(whole, start + 7 * 64 * 64 * 3 + 1000, 3))
        images = CachedImages(split, 64)
        with pytest.raises(
            InputError,
            match=(
                "pixel cache .* has changed .* pixels of fear/01.jpg, .*; it has been removed. "
                "Start the command again"
            ),
        ):
            way(images)
        assert (
            not path.exists() and len(CachedImages(split, 64)) == 12 and path.read_bytes() == whole
        )


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda path: path.write_text("x\n"), lambda path: os.truncate(path, 900)],
)
def test_a_file_that_is_removed_or_cut_short_while_it_is_used(cache, split, damage):
    images = CachedImages(split, 64)
    damage(images.path)
    with pytest.raises(
        InputError, match="cache .* was removed or cut short .*: start the command again"
    ):
        list(CachedBatches(images, augmentation.evaluation, 64, 5))
    assert len(list(CachedBatches(CachedImages(split, 64), augmentation.evaluation, 64, 5))) == 3


def test_a_sum_is_taken_once(cache, split, monkeypatch):
    taken, crc32 = [], pixels.zlib.crc32
    images = CachedImages(split, 64)
    monkeypatch.setattr(pixels.zlib, "crc32", lambda data: taken.append(1) or crc32(data))
    for _ in range(3):
        list(CachedBatches(images, augmentation.evaluation, 64, 5))
    assert len(taken) == 12


def test_a_cache_of_before_there_were_sums_is_made_anew(cache, split):
    path = CachedImages(split, 64).path
    whole = path.read_bytes()
    path.write_bytes(whole[: -4 * 13])
    CachedImages(split, 64)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: flipped(data, len(data) - 30, 0),
        lambda data: flipped(data, len(data) - 1, 7),
        lambda data: b"",
        lambda data: b"x" + data[1:],
        lambda data: data + b"x",
        lambda data: b"PK\3\4" + data[4:],
        lambda data: flipped(data, 8, 1),
        lambda data: flipped(data, 8, 6),
    ],
)
def test_a_damaged_file_is_made_anew(cache, split, damage):
    path = CachedImages(split, 64).path
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    CachedImages(split, 64)
    assert path.read_bytes() == whole


def test_what_a_killed_process_left_is_removed(cache, split):
    path = CachedImages(split, 64).path
    path.unlink()
    old, fresh = (cache / (f"pixels-{'0' * 64}.npy.{name}") for name in ("old", "fresh"))
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


@pytest.fixture
def fill_the_disk(monkeypatch):
    """Return a function after which there is no room for a cache of 12 images of 64 px."""
    monkeypatch.setattr(pixels, "SAID", set())
    usage = namedtuple("Usage", "free")(12 * 64 * 64 * 3 - 1)
    return lambda: monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_no_room(cache, split, fill_the_disk):
    fill_the_disk()
    with pytest.raises(
        NoRoom,
        match=("pixel cache of .* needs 0.0 GB, but .* has only 0.0 GB free: make room"),
    ):
        CachedImages(split, 64)


@pytest.fixture
def photographs(tmp_path):
    """12 pictures of several sizes and formats; one JPEG, of chroma of half the height, only MXNet
    decodes as released.
    """
    draw = np.random.RandomState(0)
    for number in range(12):
        width, height = draw.randint(30, 400, 2)
        small = draw.randint(0, 256, (1 + height // 8, 1 + width // 8, 3)).astype(np.uint8)
        folder = tmp_path / "photographs" / "train" / ("awe", "fear")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        kind, options = (".jpg", ".png", ".webp", ".jpg", ".jpg")[number % 5], []
        if number == 3:
            options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440]
        image = cv2.resize(small, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(folder / f"{number:d}{kind}"), image, options)
    split = read_splits(tmp_path / "photographs")["train"]
    assert [is_for_mxnet(path.read_bytes()) for path in split.paths].count(True) == 1
    return split


@pytest.mark.parametrize(
    "method, backbone", [("l_cil", "resnet18_v2_slim"), ("alexnet", "caffenet_slim")]
)
def test_without_room_images_are_the_same_to_the_bit(
    cache, photographs, fill_the_disk, capfd, method, backbone
):
    """For training and evaluation, and of a part of the images, as with several workers."""
    options = replace(METHODS[method].demo, backbone=backbone, batch_size=5)
    preprocessing = METHODS[method].preprocessing(
        {"preprocessing": {"image_size": 64}, "network": METHODS[method].network(options, 2)}
    )

    def made():
        arrays = []
        for split in (photographs, Subset(photographs, [1, 3, 8, 11, 0])):
            training = batches.training_batches(preprocessing, options, split)
            evaluation = batches.evaluation_batches(preprocessing, options, split)
            for each in (training, training, evaluation):
                random.seed(0), np.random.seed(0), mx.random.seed(0)
                arrays += [array.asnumpy() for batch in each for array in batch]
        return arrays

    cached = made()
    shutil.rmtree(cache)
    fill_the_disk()
    decoded = made()
    assert not list(cache.iterdir()) and len(cached) == len(decoded) == 2 * (3 + 3 + 1 + 1 + 1 + 1)
    for expected, array in zip(cached, decoded):
        assert_array_equal(array, expected)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "0.0 GB free: make room, or set the variable MLR_CACHE to another" in lines[0]


def test_a_disk_that_fills_up_while_the_cache_is_written(cache, split, monkeypatch, capfd):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pixels, "SAID", set())
    monkeypatch.setattr(CachedImages, "_write_images", full)
    assert isinstance(resized_images(split, 64), DecodedImages)
    assert list(cache.iterdir()) == []
    assert "No space left on device; make room" in capfd.readouterr().err


def test_an_image_that_is_damaged_when_it_is_decoded(cache, split, fill_the_disk):
    fill_the_disk()
    images = resized_images(split, 64)
    split.paths[7].write_bytes(split.paths[7].read_bytes()[:300])
    with pytest.raises(InputError, match="fear/01.jpg is truncated"):
        list(CachedBatches(images, augmentation.evaluation, 64, 5))


def test_a_training_without_room(trained, cache, tmp_path, fill_the_disk, capfd):
    """Asked for the cache by name, it does without, and keeps that in its options."""
    fill_the_disk()
    run, data = tmp_path / "run", trained[1]
    arguments = ["--data", str(data), "--out", str(run), "--pipeline", "cached", *OF_TRAINED]
    assert train_command(arguments) == 0
    err = capfd.readouterr().err
    assert err.count("make room, or set the variable MLR_CACHE to another folder; until then") == 1
    assert json.loads((run / "config.json").read_text())["options"]["pipeline"] == "cached"
    assert (run / "last.params").read_bytes() == (trained[0] / "last.params").read_bytes()
    assert len(list(cache.iterdir())) == 1  # of valid, of 4 images


def test_a_folder_that_can_not_be_written(cache, split, data, command):
    cache.write_text("a file")
    done = command(
        "train",
        "--data",
        data,
        "--out",
        data.parent / "run",
        "--backbone",
        "resnet18_v2_slim",
        "--pretrained",
        "none",
        "--ctx",
        "cpu",
    )
    # which would keep its pipeline
    assert done.returncode == 2 and not (data.parent / "run").exists()
    assert (
        "can't write the pixel cache" in done.stderr
        and "--pipeline released" in done.stderr
        and "Traceback" not in done.stderr
    )


def test_batches_equal_the_presets(cache, split):
    fast = list(CachedBatches(CachedImages(split, 64), augmentation.evaluation, 64, 5))
    slow = list(GluonBatches(split, evaluation_transform(64), 5))
    assert len(fast) == len(slow) == 3
    for (images, labels), (expected, expected_labels) in zip(fast, slow):
        # The last digit of float32: a quotient by a table, or by MXNet's loop.
        assert_allclose(images.asnumpy(), expected.asnumpy(), rtol=0, atol=3e-7)
        assert_array_equal(labels.asnumpy(), expected_labels.asnumpy())
        assert (images.dtype, labels.dtype) == (expected.dtype, expected_labels.dtype)


def test_order_and_draws_follow_numpys_generator(cache, split):
    def passes(seed):
        made = CachedBatches(
            CachedImages(split, training_resize(64)),
            augmentation.Augmentation(64),
            64,
            5,
            shuffle=True,
        )
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
    assert not np.array_equal(first[0][0][0], first[1][0][0]) and not np.array_equal(
        first[0][0][0], other[0][0][0]
    )


def test_memory_does_not_hold_the_file(cache, split):
    """What one batch maps is given back with it."""
    # kept, as a training does
    batches_of_five = CachedBatches(CachedImages(split, 64), augmentation.evaluation, 64, 5)
    made = iter(batches_of_five)
    next(made)
    made.close()
    with open("/proc/self/maps") as maps:
        assert not [line for line in maps if str(cache) in line]


def test_every_batch_and_pass_has_draws_of_its_own(cache, split):
    images = CachedImages(Subset(split, [0] * 10), 73)  # one image, so that only the draws differ

    def first(seed):
        np.random.seed(seed)
        return [
            batch.asnumpy()
            for batch, _ in CachedBatches(images, augmentation.Augmentation(64), 64, 5)
        ]

    one, other = first(0), first(1)
    assert not np.array_equal(one[0], one[1]) and not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("threads", [2, 5, 16])
@pytest.mark.parametrize("images", [CachedImages, DecodedImages])
def test_batches_are_the_same_with_any_number_of_threads(cache, split, images, threads):
    def made(threads):
        np.random.seed(0)
        made_of = CachedBatches(
            images(split, 73), augmentation.Augmentation(64), 64, 5, shuffle=True, threads=threads
        )
        return [(pixels.asnumpy(), labels.asnumpy()) for pixels, labels in made_of]

    for one, several in zip(made(1), made(threads)):
        assert_array_equal(one[0], several[0])
        assert_array_equal(one[1], several[1])


def test_a_network_on_the_cpu_keeps_its_cores(monkeypatch):
    monkeypatch.setattr(batches, "usable_cores", lambda: 6)
    assert batches.threads_beside([mx.cpu(0), mx.cpu(1)]) == 1
    assert batches.threads_beside([mx.gpu(0), mx.gpu(1)]) == 6


def test_only_some_batches_are_made_ahead(cache, split):
    taken = []
    made = iter(
        CachedBatches(CachedImages(split, 64), lambda pixels, rng, out: taken.append(1), 64, 1)
    )
    next(made)
    made.close()
    assert len(taken) <= 3


def test_training_is_shuffled_and_asks_for_the_resize_before_the_crop(cache, split, monkeypatch):
    options = replace(METHODS["l_cil"].demo, batch_size=4)
    preprocessing = preprocessing_of(
        {"preprocessing": {"image_size": 64}, "network": {"kind": "multi_level"}}
    )
    made = batches.training_batches(preprocessing, options, split)
    np.random.seed(0)
    orders = {tuple(np.concatenate([labels.asnumpy() for _, labels in made])) for _ in range(3)}
    assert len(orders) > 1 and {tuple(sorted(order)) for order in orders} == {tuple(split.labels)}
    assert made._images.pixels().shape == (12, training_resize(64), training_resize(64), 3)
    released = batches.training_batches(preprocessing, replace(options, pipeline="released"), split)
    assert isinstance(released, GluonBatches) and len(list(cache.iterdir())) == 1


@pytest.mark.parametrize(
    "method, backbone", [("l_cil", "resnet18_v2_slim"), ("alexnet", "caffenet_slim")]
)
def test_evaluation_after_an_epoch_is_the_networks_own_preset(cache, split, method, backbone):
    options = replace(METHODS[method].demo, backbone=backbone)
    network = METHODS[method].network(options, 2)
    preprocessing = METHODS[method].preprocessing(
        {"preprocessing": {"image_size": 64}, "network": network}
    )
    images, _ = next(iter(batches.evaluation_batches(preprocessing, options, split)))
    transform = caffe_transform if backbone == "caffenet_slim" else evaluation_transform
    expected = np.stack([transform(64)(read_image(path)).asnumpy() for path in split.paths])
    assert_allclose(images.asnumpy(), expected, rtol=0, atol=3e-7)  # as above


def test_the_cache_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.delenv("MLR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "mlr"


def test_a_finished_run_is_resumed_without_its_cache(trained, monkeypatch, tmp_path, command):
    """Nothing is decoded for epochs that are not trained."""
    run = shutil.copytree(trained[0], tmp_path / "run")
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "cache"))
    done = command("train", "--resume", "--out", run, "--ctx", "cpu")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("images", [CachedImages, DecodedImages])
def test_mxnet_is_used_by_the_consumer_alone(cache, split, monkeypatch, images):
    used = set()

    def recorded(function):
        def call(*arguments, **options):
            used.add(threading.current_thread())
            return function(*arguments, **options)

        return call

    made = CachedBatches(images(split, 64), augmentation.evaluation, 64, 5)
    for name in ("empty", "array"):
        monkeypatch.setattr(mx.nd, name, recorded(getattr(mx.nd, name)))
    assert len(list(made)) == 3
    assert used == {threading.current_thread()}


def test_batches_reuse_memory(cache, split):
    """Else the system would fill nearly every page of a batch with zeros, every time."""
    batches = CachedBatches(CachedImages(split, 224), augmentation.evaluation, 224, len(split))

    def faults(passes):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(passes):
            for images, _ in batches:
                images.wait_to_read()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults(5)
    pages = 4 * len(split) * 3 * 224 * 224 / resource.getpagesize()
    assert faults(20) < 20 * pages / 10
