"""What follows the first resize in the presets, on NumPy arrays: the same steps as gluon's, an
order of magnitude faster.

A pixel has 256 values, so brightness, contrast, lighting and normalisation change a table of 256
numbers, and the image goes through it once. Given the same draws the steps equal MXNet's operators
pixel for pixel but for one grey level in a few of a thousand, as the mean brightness is summed more
precisely here, and saturation is rounded otherwise. The draws have gluon's distributions, but are
others.
"""

import math
from typing import Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from mlr import paper

# of an image: R, G and B, (H, W) uint8 each
Planes = Sequence[np.ndarray]

# Crop area, as a part of the image, and jitter of brightness, contrast and saturation.
AUGMENTATIONS = {"released": (paper.CROP_AREA, paper.COLOR_JITTER), "gentle": ((0.75, 1.0), 0.1)}

LEVELS = np.arange(256, dtype=np.float32)
GREY = (0.299, 0.587, 0.114)  # of R, G, B, as in MXNet
ATTEMPTS = 10  # at a crop that fits, before the central one is taken
# MXNet drops fractions where OpenCV rounds; the first number is above rounding in float32
CUT = 1e-4 - 0.5
# Of ImageNet's colours, the principal components (columns) times their deviations, as in MXNet.
LIGHTING = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
) * [55.46, 4.794, 1.148]


class Augmentation:
    """The rest of `mlr.data.transforms.training_transform`, random: (H, W, 3) uint8 RGB -> (3,
    size, size) float32.

    size, augmentation: as there. Call it with the pixels, a NumPy RandomState, and the array to
    write into.
    """

    def __init__(self, size: int, augmentation: str = "released") -> None:
        self._size = size
        self._area: Optional[Tuple[float, float]] = None
        self._jitter = 0.0
        if augmentation != "crop":
            self._area, self._jitter = AUGMENTATIONS[augmentation]

    def __call__(self, pixels: np.ndarray, rng: np.random.RandomState, out: np.ndarray) -> None:
        """Write an image, augmented as `rng` draws it, into `out`, (3, size, size) float32."""
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
    """Return the rectangle (x, y, width, height), in pixels, that gluon's RandomResizedCrop draws:
    all but rarely of `area`.

    area: lowest and highest part of the image's. size: of the central square that is taken where
    ten draws don't fit.
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
    """The rest of `mlr.data.transforms.evaluation_transform`: (S, S, 3) uint8 RGB -> (3, S, S)
    float32, written into `out`. Draws nothing.
    """
    to_network(cv2.split(pixels), LEVELS, out)


def brightness(planes: Planes, levels: np.ndarray, factor: float) -> Tuple[Planes, np.ndarray]:
    """Multiply an image by a factor.

    planes: R, G and B, (H, W) uint8 each. levels: (256,) float32, whole numbers, what each value in
    them stands for by now. Return both.
    """
    return planes, _cut(levels * np.float32(factor))


def contrast(planes: Planes, levels: np.ndarray, factor: float) -> Tuple[Planes, np.ndarray]:
    """Multiply the differences of an image, as for `brightness`, from its mean brightness by a
    factor.
    """
    grey = sum(cv2.mean(plane)[0] * part for plane, part in zip(_applied(planes, levels), GREY))
    return planes, _cut(levels * np.float32(factor) + np.float32((1 - factor) * grey))


def saturation(planes: Planes, levels: np.ndarray, factor: float) -> Tuple[Planes, np.ndarray]:
    """Mix an image, as for `brightness`, with what MXNet takes for its grey, which is 0.114 of blue
    alone.
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
    """Write an image, as for `brightness`, as the network takes it, normalised, into (3, S, S)
    float32.

    lighting: so many deviations along each principal component of ImageNet's colours are added
    first.
    """
    for plane, channel, shift, mean, std in zip(
        planes, out, LIGHTING @ lighting, paper.PIXEL_MEAN, paper.PIXEL_STD
    ):
        cv2.LUT(
            plane,
            (_cut(levels + np.float32(shift)) / 255 - np.float32(mean)) / np.float32(std),
            dst=channel,
        )


def _applied(planes: Planes, levels: np.ndarray) -> Planes:
    return (
        planes
        if levels is LEVELS
        else [cv2.LUT(plane, levels.astype(np.uint8)) for plane in planes]
    )


def _cut(values: np.ndarray) -> np.ndarray:
    # As MXNet turns them into 8 bits: cut off at both ends, the fraction dropped.
    return np.floor(np.minimum(np.maximum(values, 0), 255))
