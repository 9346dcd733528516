import random

import cv2
import mxnet as mx
import numpy as np
import pytest
from mxnet import nd
from numpy.testing import assert_allclose, assert_array_equal

from mlr import paper
from mlr.data.preprocessing import CaffePreprocessing, Preprocessing
from mlr.data.transforms import evaluation_transform, random_crop, to_pixels, training_transform


def picture(height, width):
    return nd.array(np.random.randint(0, 256, (height, width, 3)), dtype="uint8")


def normalized(pixels):
    """Reference: (H, W, 3) in 0..255 -> (3, H, W)."""
    return ((pixels / 255 - paper.PIXEL_MEAN) / paper.PIXEL_STD).transpose(2, 0, 1)


@pytest.mark.parametrize("height, width", [(224, 224), (300, 100), (1, 1), (37, 513)])
def test_evaluation_is_a_square_resize_and_a_normalization(height, width):
    image = picture(height, width)
    result = evaluation_transform()(image)
    assert result.shape == (3, 224, 224) and result.dtype == np.float32
    expected = mx.image.imresize(image, 224, 224, 1).asnumpy()
    # float32 of numbers up to 3
    assert_allclose(result.asnumpy(), normalized(expected), atol=1e-6)


def test_resize_is_bilinear_as_in_opencv():
    image = picture(50, 70)
    result = evaluation_transform(64)(image).asnumpy()
    # Builds of OpenCV round the interpolation differently: a grey level is 1 / 255 / 0.224 =
    # 0.0175.
    assert_allclose(
        result,
        normalized(cv2.resize(image.asnumpy(), (64, 64), interpolation=cv2.INTER_LINEAR)),
        atol=0.018,
    )


@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("augmentation", ["released", "gentle", "crop"])
def test_training_is_random_and_repeatable(size, augmentation):
    transform, image = training_transform(size, augmentation), picture(90, 120)

    def draw(seed):
        random.seed(seed)
        np.random.seed(seed)
        mx.random.seed(seed)
        return transform(image).asnumpy()

    assert draw(1).shape == (3, size, size)
    assert_array_equal(draw(1), draw(1))
    assert np.abs(draw(1) - draw(2)).max() > 0.1


def test_training_flips_half_of_the_images():
    """A picture that is black on the left and white on the right: a crop shows which side is
    which.
    """
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    transform = training_transform(64, "gentle")
    flipped = 0
    for _ in range(100):
        left, right = np.split(
            transform(nd.array(pixels, dtype="uint8")).asnumpy().mean(axis=(0, 1)), 2
        )
        flipped += left.mean() > right.mean()
    # five standard deviations about 50
    assert 25 <= flipped <= 75


def test_the_end_of_both_presets_and_back():
    pixels = np.random.randint(0, 256, (8, 8, 3)).astype(np.uint8)
    result = Preprocessing(8).normalized(pixels)
    assert result.shape == (3, 8, 8)
    # float32 of numbers up to 3
    assert_allclose(result, normalized(pixels), atol=1e-6)
    assert_allclose(to_pixels(nd.array(result)).asnumpy(), pixels / 255, atol=1e-6)


def test_a_square_anywhere():
    """Each pixel of the picture is its place, so that a crop tells where it was taken; all places
    are equally likely.
    """
    pixels = np.stack(np.meshgrid(range(12), range(12)), axis=-1)
    corners = set()
    for _ in range(300):
        crop = random_crop(10)(
            nd.array(np.dstack([pixels, pixels[..., :1]]), dtype="uint8")
        ).asnumpy()[..., :2]
        x, y = crop[0, 0]
        assert_array_equal(crop, pixels[y : y + 10, x : x + 10])
        corners.add((x, y))
    assert corners == {(x, y) for x in range(3) for y in range(3)}


@pytest.mark.parametrize("size, resized", [(64, 73), (224, 256)])
def test_crop_changes_no_colour(size, resized):
    """What it returns is a square of the resized image as the evaluation normalizes it, mirrored or
    not, both of them often.
    """
    image = picture(resized, resized)
    whole, mirrored = normalized(image.asnumpy()), normalized(image.asnumpy()[:, ::-1])
    transform, seen = training_transform(size, "crop"), []
    for _ in range(30):
        result = transform(image).asnumpy()
        places = [
            (flipped, y, x)
            for flipped, square in ((False, whole), (True, mirrored))
            for y, x in np.argwhere(np.abs(square[0] - result[0, 0, 0]) < 1e-5)
            if y + size <= resized
            and x + size <= resized
            # float32 of numbers up to 3
            and np.allclose(square[:, y : y + size, x : x + size], result, atol=1e-5)
        ]
        assert len(places) == 1
        seen += places
    assert {flipped for flipped, _, _ in seen} == {False, True} and len(
        {place[1:] for place in seen}
    ) > 15


@pytest.mark.parametrize(
    "kind, size",
    [
        (Preprocessing, 64),
        (Preprocessing, 67),
        (CaffePreprocessing, 227),
        (CaffePreprocessing, 99),
    ],
)
def test_what_the_network_sees_is_the_same_to_the_bit_without_mxnet(kind, size):
    """Of odd sizes, of one pixel, and of the size that needs no resize."""
    preprocessing, draw = kind(size), np.random.RandomState(0)
    edge = preprocessing.cached_edge
    for sides in ((1, 1), (1, 7), (size, size), (edge, edge), (edge, 3), (161, 333), (500, 77)):
        pixels = draw.randint(0, 256, (*sides, 3)).astype(np.uint8)
        expected = preprocessing.evaluation()(mx.nd.array(pixels, dtype="uint8")).asnumpy()
        seen = preprocessing.network_input(pixels)
        assert seen.dtype == np.float32 and seen.flags.c_contiguous
        assert_array_equal(seen, expected, err_msg=str(sides))
