"""Images under translucent maps, for a page: Grad-CAM, and the strongest filter of each block."""

from typing import Any, Iterator, Sequence, Tuple

import cv2
import numpy as np

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
    classifier: Any, image: np.ndarray, classes: Sequence[str]
) -> Iterator[Tuple[str, str, np.ndarray]]:
    """Yield the views of an image, (view, title, (h, w, 3) uint8 RGB): grad-cam for its most
    probable class and, if MXNet runs the network, filter for each block. Call this in the thread of
    networks.

    classifier: a `mlr.inference.classifier.Classifier`. image: (H, W, 3) uint8 RGB. classes: K
    names.
    """
    small = shrunk(image, LONGEST)
    seen = classifier.preprocessing.network_input(image)[None]  # (1, 3, S, S)
    maps, (label,) = classifier.grad_cam(seen)
    yield "grad-cam", f"Grad-CAM for {classes[label]}", overlay(small, maps[0])
    net = getattr(classifier, "net", None)
    if net is None:  # ONNX Runtime does not give the maps of the blocks
        return
    from mxnet import nd

    from mlr.viz.filters import activation_maps, strongest_filters

    inputs = nd.array(seen, classifier.ctx[0])
    for number, (block, activations) in enumerate(activation_maps(net, inputs).items(), 1):
        filters, means = strongest_filters(activations)
        yield (
            "filter",
            f"block {number} ({block}): filter {filters[0, 0]}, mean {means[0, 0]:.2f}",
            overlay(small, activations[0, filters[0, 0]]),
        )
