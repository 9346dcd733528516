"""Measures of an image's looks, and a run's accuracy as a function of them: brightness, colours and
edges are what the paper's shallow branches are said to see.

Images are first scaled down to at most 256 pixels on the longest side, so that the edges of small
and large images can be compared.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import cv2
import numpy as np

from mlr.data.labelled import LabelledImages
from mlr.runtime.cpu import usable_cores
from mlr.runtime.progress import progress_over
from mlr.viz.images import thumbnail

LONGEST = 256  # pixels
QUANTILES = 10
# EmoSet's levels: 0.0, 0.1, ... 1.0
LEVELS = 11
ATTRIBUTES = ("brightness", "colorfulness")
EDGES = 100, 200  # Canny's thresholds, in levels of grey


class Bin(NamedTuple):
    """Images with similar looks. name: the range of the measure. accuracy: None without images."""

    name: str
    images: int
    accuracy: Optional[float]


class Look(NamedTuple):
    """Accuracy by one measure of an image's looks. definition: the measure in words."""

    name: str
    definition: str
    bins: List[Bin]


def brightness(pixels: np.ndarray) -> float:
    """Return the mean luma, 0 to 1, of an image (H, W, 3), uint8 RGB.

    That is mean(0.299 R + 0.587 G + 0.114 B) / 255, by ITU-R BT.601.
    """
    return float(np.mean(pixels @ np.array((0.299, 0.587, 0.114))) / 255)


def colourfulness(pixels: np.ndarray) -> float:
    """Return the colourfulness of an image (H, W, 3), uint8 RGB: 0 for grey, more than 100 for
    extreme colours.

    That is sqrt(s(rg)^2 + s(yb)^2) + 0.3 sqrt(m(rg)^2 + m(yb)^2), with m the mean over pixels, s
    the standard deviation, rg = R - G and yb = (R + G) / 2 - B: D. Hasler, S. Suesstrunk,
    "Measuring colourfulness in natural images", Human Vision and Electronic Imaging 2003.
    """
    red, green, blue = np.moveaxis(pixels.astype(float), 2, 0)
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    means, deviations = opponents.mean(axis=(1, 2)), opponents.std(axis=(1, 2))
    return float(np.hypot(*deviations) + 0.3 * np.hypot(*means))


def edge_density(pixels: np.ndarray) -> float:
    """Return the share of edge pixels, 0 to 1, of an image (H, W, 3), uint8 RGB.

    That is |E| / (H W), with E the pixels that Canny's detector marks in the luma: J. Canny, "A
    computational approach to edge detection", PAMI 1986; gradients by Sobel's 3 x 3, |dx| + |dy|,
    thresholds 100 and 200.
    """
    edges = cv2.Canny(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), *EDGES)
    return float(np.count_nonzero(edges) / edges.size)


MEASURES: Dict[Callable[[np.ndarray], float], str] = {
    brightness: "mean luma, 0 to 1",
    colourfulness: "by Hasler and Suesstrunk, 2003: 0 for grey, 109 for extreme colours",
    edge_density: "share of the pixels that Canny's detector marks",
}


def looks_of(split: LabelledImages, right: Sequence[bool]) -> List[Look]:
    """Return the accuracy by the manifest's attributes, if it has any, and by each measure of the
    images themselves.

    right: whether the prediction for each image is right. Raises InputError if an image is missing
    or damaged.
    """
    rights = np.asarray(right, bool)
    looks = []
    for name in ATTRIBUTES:
        levels = [_level(attributes.get(name, "")) for attributes in split.attributes]
        if any(level is not None for level in levels):
            found = (
                f"from the manifest, which has it for {len(levels) - levels.count(None):d} images"
            )
            looks.append(Look(f"{name} of the manifest", found, by_level(levels, rights)))
    with ThreadPoolExecutor(usable_cores()) as workers:
        values = list(
            progress_over(
                workers.map(_measured, split.paths), "measuring looks", len(split), "images"
            )
        )
    for (measure, definition), column in zip(MEASURES.items(), np.transpose(values)):
        name = measure.__name__.replace("_", " ")
        looks.append(Look(name, definition, by_quantile(column, rights)))
    return looks


def by_level(levels: Sequence[Optional[int]], right: np.ndarray) -> List[Bin]:
    """Return a bin for each of the eleven levels. levels: for each image 0 to 10, or None."""
    chosen = [np.array([each == level for each in levels], bool) for level in range(LEVELS)]
    return [
        _bin(f"{level / (LEVELS - 1):.1f}", right[images]) for level, images in enumerate(chosen)
    ]


def by_quantile(values: np.ndarray, right: np.ndarray) -> List[Bin]:
    """Return at most ten bins with about the same number of images, lowest values first.

    values: (N,), one for each image. Images with the same value share a bin, so there may be fewer
    bins.
    """
    parts = np.array_split(np.sort(values), QUANTILES)
    starts = np.unique([part[0] for part in parts if len(part)])
    numbers = np.searchsorted(starts, values, "right") - 1
    bins = []
    for number in range(len(starts)):
        inside = numbers == number
        low, high = values[inside].min(), values[inside].max()
        bins.append(_bin(f"{low:.3g} to {high:.3g}", right[inside]))
    return bins


def _bin(name: str, right: np.ndarray) -> Bin:
    return Bin(name, len(right), float(right.mean()) if len(right) else None)


def _level(text: str) -> Optional[int]:
    try:
        value = float(text)
    except ValueError:
        return None
    return round(value * (LEVELS - 1)) if 0 <= value <= 1 else None


def _measured(path: Path) -> List[float]:
    pixels = thumbnail(path, LONGEST)
    return [measure(pixels) for measure in MEASURES]
