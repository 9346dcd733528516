"""What images look like, in numbers, against values by hand."""

import cv2
import numpy as np
import pytest
from conftest import write_images
from numpy.testing import assert_allclose

from mlr.data.manifest import Entry, write_prepared
from mlr.data.splits import read_split
from mlr.errors import InputError
from mlr.runtime.hashing import sha256_of
from mlr.viz.looks import (
    Bin,
    brightness,
    by_level,
    by_quantile,
    colourfulness,
    edge_density,
    looks_of,
)

RED, BLUE, GREY, WHITE = (255, 0, 0), (0, 0, 255), (128, 128, 128), (255, 255, 255)


def halves(left, right, size=64):
    image = np.zeros((size, size, 3), np.uint8)
    image[:, : size // 2], image[:, size // 2 :] = left, right
    return image


@pytest.mark.parametrize(
    "image, expected",
    [
        (halves(RED, RED), 0.299),
        (halves(BLUE, BLUE), 0.114),
        (halves((0, 255, 0), (0, 0, 0)), 0.587 / 2),
        (halves(WHITE, WHITE), 1),
        (halves(GREY, GREY), 128 / 255),
    ],
)
def test_brightness_by_hand(image, expected):
    assert_allclose(brightness(image), expected, rtol=1e-12)  # sums of float64


@pytest.mark.parametrize(
    "image, expected",
    [
        (halves(GREY, WHITE), 0),
        # rg = 255 and yb = 127.5 everywhere, without deviation
        (halves(RED, RED), 0.3 * np.hypot(255, 127.5)),
        # rg = 255 and 0, so 127.5 +- 127.5; yb = 127.5 and -255, so -63.75 +- 191.25
        (halves(RED, BLUE), np.hypot(127.5, 191.25) + 0.3 * np.hypot(127.5, 63.75)),
    ],
)
def test_colourfulness_by_hand(image, expected):
    assert_allclose(colourfulness(image), expected, rtol=1e-12, atol=1e-12)  # as above


def test_edges_by_hand():
    assert edge_density(halves(GREY, GREY)) == 0
    # one of two columns, whichever of the two at the border is taken for the edge
    assert edge_density(halves((0, 0, 0), WHITE)) == 1 / 64
    # a step of 20 levels: its gradient, of 4 times that, is below the lower threshold of 100
    assert edge_density(halves((100,) * 3, (120,) * 3)) == 0


def test_levels():
    right = np.array([True, False, True, True])
    bins = by_level([0, 0, 10, None], right)
    assert [each.name for each in bins] == [f"{level / 10:.1f}" for level in range(11)]
    assert (bins[0], bins[10]) == (Bin("0.0", 2, 0.5), Bin("1.0", 1, 1.0))
    assert all(each[1:] == (0, None) for each in bins[1:10])


def test_quantiles():
    values = np.random.RandomState(0).permutation(40) / 40
    bins = by_quantile(values, values >= 0.5)
    assert [each.images for each in bins] == [4] * 10
    assert [each.accuracy for each in bins] == [0] * 5 + [1] * 5
    assert bins[0].name == "0 to 0.075" and bins[9].name == "0.9 to 0.975"


def test_quantiles_of_few_or_equal_values():
    assert by_quantile(np.array([2.0, 1.0]), np.array([True, False])) == [
        Bin("1 to 1", 1, 0.0),
        Bin("2 to 2", 1, 1.0),
    ]
    bins = by_quantile(np.array([1.0] * 13 + [0.0] * 27), np.arange(40) < 13)
    assert bins == [Bin("0 to 0", 27, 0.0), Bin("1 to 1", 13, 1.0)]


def prepared(folder, attributes):
    """A prepared data set of 4 images of test, with attributes."""
    data = write_images(folder / "images", train=0, valid=0)
    paths = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.jpg"))
    entries = [
        Entry(path, path.split("/")[1], "", "test", 80, 64, sha256_of(data / path), found)
        for path, found in zip(paths, attributes)
    ]
    write_prepared(folder / "prepared", {"root": str(data)}, entries, [])
    return read_split(folder / "prepared", "test")


def test_looks_of_a_manifest(tmp_path):
    attributes = [
        {"brightness": "0.0", "scene": "sky"},
        {"brightness": "0.3", "scene": ""},
        {"brightness": "nan"},
        {"brightness": "", "colorfulness": "bright"},
    ]
    split = prepared(tmp_path, attributes)
    looks = looks_of(split, [True, False, True, True])
    assert [look.name for look in looks] == [
        "brightness of the manifest",
        "brightness",
        "colourfulness",
        "edge density",
    ]
    assert looks[0].definition == "from the manifest, which has it for 2 images"
    assert {each for each in looks[0].bins if each.images} == {
        Bin("0.0", 1, 1.0),
        Bin("0.3", 1, 0.0),
    }
    for look in looks[1:]:
        assert sum(each.images for each in look.bins) == 4
    measured = sorted(brightness(cv2.imread(str(path))[:, :, ::-1]) for path in split.paths)
    assert [each.name for each in looks[1].bins] == [
        f"{value:.3g} to {value:.3g}" for value in measured
    ]


def test_looks_of_large_images_are_those_of_small_ones(tmp_path, data):
    """At most 256 pixels a side, so that a picture and its enlargement have the same edges."""
    split = read_split(data, "test")
    small = cv2.resize(
        np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8),
        (256, 128),
        interpolation=cv2.INTER_NEAREST,
    )
    for path, times in zip(split.paths, (1, 2, 4, 1)):
        large = cv2.resize(small, None, fx=times, fy=times, interpolation=cv2.INTER_NEAREST)
        path.unlink()
        assert cv2.imwrite(str(path), large, [cv2.IMWRITE_JPEG_QUALITY, 100])
    edges = looks_of(split, [True] * 4)[-1].bins
    low, high = (float(edges[place].name.split(" to ")[place]) for place in (0, -1))
    assert low > 0.05
    assert_allclose(high, low, rtol=0.02)  # JPEG's noise at another scale


def test_an_image_that_is_gone(data):
    split = read_split(data, "test")
    split.paths[1].unlink()
    with pytest.raises(InputError, match="can't read image .*01.jpg: No such file"):
        looks_of(split, [True] * 4)
