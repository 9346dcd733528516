"""The transforms after the first resize, on NumPy arrays: the same steps as Gluon's, about ten
times as fast.

A channel of a pixel has 256 possible values. So brightness, contrast, lighting and normalisation
only change a table of 256 numbers, which is applied to the image once. With the same random numbers
the results equal those of MXNet's operators, except for a difference of one grey level in a few of
a thousand pixels: the mean brightness is summed more precisely here, and saturation is rounded
differently. The random numbers have the same distributions as Gluon's, but are not the same
numbers.
"""

import math
from typing import Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from mlr import paper

# the R, G and B planes of an image, (H, W) uint8 each
Planes = Sequence[np.ndarray]

# Range of the crop's area, as a fraction of the image, and jitter of brightness, contrast and
# saturation.
AUGMENTATIONS = {"released": (paper.CROP_AREA, paper.COLOR_JITTER), "gentle": ((0.75, 1.0), 0.1)}

LEVELS = np.arange(256, dtype=np.float32)
MEAN, STD = np.array([paper.PIXEL_MEAN, paper.PIXEL_STD], np.float32)[:, :, None]  # (3, 1) each
GREY = (0.299, 0.587, 0.114)  # weights of R, G, B, as in MXNet
ATTEMPTS = 10  # to draw a crop that fits, before the central crop is taken
# MXNet drops the fraction, but OpenCV rounds. 1e-4 is larger than the rounding error in float32.
CUT = 1e-4 - 0.5
# The principal components (columns) of ImageNet's colours times their standard deviations, as in
# MXNet.
LIGHTING = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
) * [55.46, 4.794, 1.148]


class Augmentation:
    """The steps of `mlr.data.transforms.training_transform` after its first resize, with random
    draws: (H, W, 3) uint8 RGB -> (3, size, size) float32.

    size, augmentation: as there.
    """

    def __init__(self, size: int, augmentation: str = "released") -> None:
        self._size = size
        self._area: Optional[Tuple[float, float]] = None
        self._jitter = 0.0
        if augmentation != "crop":
            self._area, self._jitter = AUGMENTATIONS[augmentation]

    def __call__(self, pixels: np.ndarray, rng: np.random.RandomState, out: np.ndarray) -> None:
        """Augment an image with random numbers from `rng`, and write it into `out`, (3, size, size)
        float32.
        """
        image = self._crop(pixels, rng)
        if rng.random_sample() < 0.5:
            image = cv2.flip(image, 1)
        planes, levels = cv2.split(image), LEVELS
        if self._area is None:
            return to_network(planes, levels, out)
        factors = 1 + rng.uniform(-self._jitter, self._jitter, 3)
        for step in rng.permutation(3):
            planes, levels = (brightness, contrast, saturation)[step](planes, levels, factors[step])
        to_network(planes, levels, out, rng.normal(0, paper.LIGHTING, 3))

    def _crop(self, pixels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        height, width = pixels.shape[:2]
        if self._area is None:
            x, y, w, h = (
                rng.randint(width - self._size + 1),
                rng.randint(height - self._size + 1),
                self._size,
                self._size,
            )
        else:
            x, y, w, h = draw_crop(width, height, self._size, self._area, rng)
        part = pixels[y : y + h, x : x + w]
        return (
            part
            if (w, h) == (self._size,) * 2
            else cv2.resize(part, (self._size,) * 2, interpolation=cv2.INTER_LINEAR)
        )


def draw_crop(
    width: int, height: int, size: int, area: Tuple[float, float], rng: np.random.RandomState
) -> Tuple[int, int, int, int]:
    """Draw the rectangle (x, y, width, height), in pixels, of a random crop, as Gluon's
    RandomResizedCrop does.

    area: lowest and highest area of the crop, as a fraction of the image's. size: side of the
    central square that is returned, whatever its area, if ten draws don't fit into the image.
    """
    for _ in range(ATTEMPTS):
        pixels = rng.uniform(*area) * width * height
        narrowest, widest = map(math.log, paper.CROP_RATIO)
        ratio = math.exp(rng.uniform(narrowest, widest))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if w <= width and h <= height:
            return rng.randint(width - w + 1), rng.randint(height - h + 1), w, h
    return (width - size) // 2, (height - size) // 2, size, size


def evaluation(pixels: np.ndarray, rng: np.random.RandomState, out: np.ndarray) -> None:
    """Apply the steps of `mlr.data.transforms.evaluation_transform` after its resize: (S, S, 3)
    uint8 RGB -> (3, S, S) float32, written into `out`. `rng` is not used.
    """
    to_network(cv2.split(pixels), LEVELS, out)


def brightness(planes: Planes, levels: np.ndarray, factor: float) -> Tuple[Planes, np.ndarray]:
    """Multiply an image by a factor.

    planes: R, G and B, (H, W) uint8 each. levels: (256,) float32, whole numbers: the present grey
    level of each value in the planes. Returns both.
    """
    return planes, _cut(levels * np.float32(factor))


def contrast(planes: Planes, levels: np.ndarray, factor: float) -> Tuple[Planes, np.ndarray]:
    """Multiply the differences of an image from its mean brightness by a factor. Arguments and
    result are those of `brightness`.
    """
    grey = sum(cv2.mean(plane)[0] * part for plane, part in zip(_applied(planes, levels), GREY))
    return planes, _cut(levels * np.float32(factor) + np.float32((1 - factor) * grey))


def saturation(planes: Planes, levels: np.ndarray, factor: float) -> Tuple[Planes, np.ndarray]:
    """Mix an image with its grey version as MXNet computes it, which is only 0.114 times blue.
    Arguments and result are those of `brightness`.
    """
    planes = _applied(planes, levels)
    return [
        cv2.addWeighted(plane, factor, planes[2], (1 - factor) * GREY[2], CUT) for plane in planes
    ], LEVELS


def to_network(
    planes: Planes,
    levels: np.ndarray,
    out: np.ndarray,
    lighting: Union[np.ndarray, Sequence[float]] = (0, 0, 0),
) -> None:
    """Normalise an image, given as for `brightness`, and write it into `out`, (3, S, S) float32,
    the network's input.

    lighting: a shift along each principal component of ImageNet's colours, in standard deviations,
    which is added first.
    """
    shifts = (LIGHTING @ lighting).astype(np.float32)[:, None]
    tables = (_cut(levels + shifts) / 255 - MEAN) / STD  # (3, 256)
    for plane, table, channel in zip(planes, tables, out):
        cv2.LUT(plane, table, dst=channel)


def _applied(planes: Planes, levels: np.ndarray) -> Planes:
    return (
        planes
        if levels is LEVELS
        else [cv2.LUT(plane, levels.astype(np.uint8)) for plane in planes]
    )


def _cut(values: np.ndarray) -> np.ndarray:
    # As in MXNet's conversion to 8 bits: limited to 0 to 255, the fraction dropped.
    return np.floor(np.minimum(np.maximum(values, 0), 255))
