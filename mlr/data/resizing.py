"""The squares to which the transforms resize an image first, before all random steps."""

import cv2
import numpy as np

from mlr import paper


def training_resize(size: int = paper.IMAGE_SIZE) -> int:
    """Return the side of the square, in pixels, to which the training transform resizes first,
    before all random steps.
    """
    return round(size * paper.RESIZE / paper.IMAGE_SIZE)


def caffe_resize(size: int) -> int:
    """Return the side of the square, in pixels, to which Caffe's transform resizes first: 256 for
    size 227, and in proportion for other sizes.
    """
    return round(size * paper.CAFFE_RESIZE / paper.CAFFE_SIZE)


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    """Resize an image (H, W, C) uint8 to a square (side, side, C), with the function that MXNet's
    resize calls.
    """
    if pixels.shape[:2] == (side, side):
        return pixels
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR)
