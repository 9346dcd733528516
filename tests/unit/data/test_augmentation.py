import random

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd
from mxnet.gluon.data.vision import transforms as gluon_transforms
from numpy.testing import assert_allclose
from scipy.stats import ks_2samp
from sklearn.datasets import load_sample_images

from mlr import paper
from mlr.data import augmentation
from mlr.data.augmentation import LEVELS, Augmentation, draw_crop, to_network
from mlr.data.transforms import AUGMENTATIONS, evaluation_transform, training_transform

PHOTOS = load_sample_images().images
DRAWS = 3000
# Of a two-sample test on fixed seeds: far above what chance would make of the number of tests here.
UNLIKELY = 1e-3


def resized(size, photo=0):
    return mx.image.imresize(nd.array(PHOTOS[photo], dtype="uint8"), size, size, interp=1)


def planes(image):
    return [np.ascontiguousarray(image.asnumpy()[:, :, channel]) for channel in range(3)]


@pytest.mark.parametrize("step", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.6, 0.83, 1, 1.17, 1.4])
def test_jitter_equals_gluons(step, factor):
    image = resized(224)
    expected = getattr(nd.image, "random_" + step)(image, factor, factor).asnumpy().astype(int)
    changed, levels = getattr(augmentation, step)(planes(image), LEVELS, factor)
    difference = abs(np.stack([levels[plane] for plane in changed], axis=2) - expected)
    # Contrast's mean brightness and saturation's cut are rounded otherwise, as the module says;
    # nothing is where nothing is changed.
    assert difference.max() <= (step != "brightness" and factor != 1)
    assert (difference > 0).mean() < 0.005


def test_jitter_after_jitter():
    """Each step sees what the ones before it have made of the image, be it in the pixels or in the
    table.
    """
    expected = image = resized(224)
    changed, levels = planes(image), LEVELS
    for step, factor in (
        ("brightness", 1.3),
        ("contrast", 0.7),
        ("saturation", 1.4),
        ("brightness", 0.8),
    ):
        expected = getattr(nd.image, "random_" + step)(expected, factor, factor)
        changed, levels = getattr(augmentation, step)(changed, levels, factor)
    difference = np.stack([levels[plane] for plane in changed], axis=2) - expected.asnumpy()
    # One level more or less before the last two steps is at most two after them.
    assert abs(difference).max() <= 2 and (abs(difference) > 0).mean() < 0.05


@pytest.mark.parametrize("lighting", [(0, 0, 0), (0.1, -0.2, 0.05), (-0.31, 0.02, 0.17)])
def test_lighting_and_normalisation_equal_gluons(lighting):
    image = resized(224)
    expected = gluon_transforms.Normalize(paper.PIXEL_MEAN, paper.PIXEL_STD)(
        gluon_transforms.ToTensor()(nd.image.adjust_lighting(image, alpha=lighting))
    )
    out = np.empty((3, 224, 224), np.float32)
    to_network(planes(image), LEVELS, out, lighting)
    # The last digit of float32: a quotient by a table, or by MXNet's loop.
    assert_allclose(out, expected.asnumpy(), rtol=0, atol=3e-7)


@pytest.mark.parametrize("photo", [0, 1])
@pytest.mark.parametrize("size", [64, 224])
def test_evaluation_equals_the_preset(photo, size):
    out = np.empty((3, size, size), np.float32)
    augmentation.evaluation(resized(size, photo).asnumpy(), None, out)
    # as above
    assert_allclose(
        out,
        evaluation_transform(size)(nd.array(PHOTOS[photo], dtype="uint8")).asnumpy(),
        rtol=0,
        atol=3e-7,
    )


class Fixed:
    """A generator whose draws are given: what is random is off, or chosen."""

    def __init__(self, crop, flip):
        self._crop, self._flip = list(crop), flip

    def uniform(self, low, high, size=None):
        return np.zeros(size) if size else self._crop.pop(0)

    def randint(self, stop):
        return self._crop.pop(0)

    def random_sample(self):
        return 0.0 if self._flip else 1.0

    def permutation(self, number):
        return range(number)

    def normal(self, mean, deviation, size):
        return np.zeros(size)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    "area, log_ratio, x, y", [(0.3, 0.1, 20, 60), (0.9, -0.05, 5, 2), (224**2 / 256**2, 0, 17, 3)]
)
def test_pixels_are_equal_where_nothing_is_random(area, log_ratio, x, y, flip):
    image = resized(256)
    width, height = (
        int(round(np.sqrt(area * 256**2 * np.exp(sign * log_ratio)))) for sign in (1, -1)
    )
    expected = mx.image.fixed_crop(image, x, y, width, height, (224, 224), interp=1)
    expected = evaluation_transform(224)(expected.flip(axis=1) if flip else expected).asnumpy()
    out = np.empty((3, 224, 224), np.float32)
    Augmentation(224)(image.asnumpy(), Fixed([area, log_ratio, x, y], flip), out)
    assert_allclose(out, expected, rtol=0, atol=3e-7)  # as above


@pytest.mark.parametrize(
    "width, height, area", [(256, 256, (0.08, 1)), (73, 73, (0.75, 1)), (300, 90, (0.5, 1))]
)
def test_crops_have_gluons_distribution(width, height, area):
    """The last is too flat for most draws, so that the central crop is often taken."""
    image, size = nd.zeros((height, width, 3), dtype="uint8"), 64
    random.seed(0)
    theirs = np.array(
        [
            mx.image.random_size_crop(image, (size, size), area, paper.CROP_RATIO, 1)[1]
            for _ in range(DRAWS)
        ]
    )
    rng = np.random.RandomState(0)
    ours = np.array([draw_crop(width, height, size, area, rng) for _ in range(DRAWS)])
    for of_ours, of_theirs in zip(ours.T, theirs.T):
        assert ks_2samp(of_ours, of_theirs).pvalue > UNLIKELY
    assert_alike(ours, theirs)


def augmented(name, jitter=None, size=32):
    """Return of many augmentations of one photograph what tells them apart, (DRAWS, 12): by gluon,
    and by this package.
    """
    area, given = AUGMENTATIONS.get(name, (None, 0))
    source = resized(round(size * paper.RESIZE / paper.IMAGE_SIZE))
    random.seed(1)
    np.random.seed(1)
    mx.random.seed(1)
    transform = training_transform(size, name)  # whose resize changes nothing here
    theirs = np.stack([transform(source).asnumpy() for _ in range(DRAWS)])
    ours, rng, pixels = np.empty_like(theirs), np.random.RandomState(2), source.asnumpy()
    augment = Augmentation(size, name)
    augment._jitter = given if jitter is None else jitter
    for out in ours:
        augment(pixels, rng, out)
    return [
        np.concatenate(
            [
                images.mean(axis=(2, 3)),
                images.std(axis=(2, 3)),
                images[:, :, 3, 5],
                images[:, 0, :3, 30],
            ],
            axis=1,
        )
        for images in (ours, theirs)
    ]


def assert_alike(ours, theirs):
    """Mean and variance of each column within five standard errors."""
    error = np.sqrt(ours.var(axis=0) / DRAWS + theirs.var(axis=0) / DRAWS)
    assert np.all(abs(ours.mean(axis=0) - theirs.mean(axis=0)) <= 5 * error)
    squares = [(draws - draws.mean(axis=0)) ** 2 for draws in (ours, theirs)]
    error = np.sqrt(sum(square.var(axis=0) for square in squares) / DRAWS)
    assert np.all(abs(squares[0].mean(axis=0) - squares[1].mean(axis=0)) <= 5 * error)


@pytest.mark.parametrize("name", ["released", "gentle", "crop"])
def test_augmented_images_have_gluons_distribution(name):
    ours, theirs = augmented(name)
    for of_ours, of_theirs in zip(ours.T, theirs.T):
        assert ks_2samp(of_ours, of_theirs).pvalue > UNLIKELY
    assert_alike(ours, theirs)


def test_another_distribution_is_told_apart():
    ours, theirs = augmented("released", jitter=0.32)
    assert min(ks_2samp(*columns).pvalue for columns in zip(ours.T, theirs.T)) < UNLIKELY
