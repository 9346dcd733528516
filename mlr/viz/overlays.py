"""Maps of an image above it, for a page: Grad-CAM, and the strongest filter of each block."""

from typing import Iterator, Sequence, Tuple

import cv2
import numpy as np
from mxnet import nd

from mlr.model.network import MultiLevelNet
from mlr.viz.attribution import grad_cam
from mlr.viz.filters import activation_maps, strongest_filters
from mlr.viz.images import shrunk

LONGEST = 512  # pixels of a side
OPACITY = 0.6


def overlay(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return an image under a translucent map, (H, W, 3) uint8 RGB; dark is low, yellow is high.

    image: (H, W, 3) uint8 RGB. values: (h, w).
    """
    height, width = image.shape[:2]
    upsampled = cv2.resize(
        np.asarray(values, np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    grey = cv2.normalize(upsampled, np.empty_like(upsampled), 0, 255, cv2.NORM_MINMAX).astype(
        np.uint8
    )
    coloured = cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[:, :, ::-1]
    return cv2.addWeighted(coloured, OPACITY, image, 1 - OPACITY, 0)


def overlays(
    net: MultiLevelNet, image: np.ndarray, seen: nd.NDArray, classes: Sequence[str]
) -> Iterator[Tuple[str, str, np.ndarray]]:
    """Yield the views of an image, (view, title, (h, w, 3) uint8 RGB): grad-cam for its most
    probable class, and filter for each block.

    image: (H, W, 3) uint8 RGB. seen: the same as the network sees it, (1, 3, S, S). classes: K
    names.
    """
    small = shrunk(image, LONGEST)
    label = int(net(seen).argmax(axis=1).asscalar())
    yield (
        "grad-cam",
        f"Grad-CAM for {classes[label]}",
        overlay(small, grad_cam(net, seen, [label])[0]),
    )
    for number, (block, maps) in enumerate(activation_maps(net, seen).items(), 1):
        filters, activations = strongest_filters(maps)
        yield (
            "filter",
            f"block {number} ({block}): filter {filters[0, 0]}, mean {activations[0, 0]:.2f}",
            overlay(small, maps[0, filters[0, 0]]),
        )
