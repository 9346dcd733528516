"""The squares to which the presets resize an image first, before anything random."""

import cv2
import numpy as np

from mlr import paper


def training_resize(size: int = paper.IMAGE_SIZE) -> int:
    """Return the edge of the square, in pixels, to which the preset for training resizes first,
    before anything random.
    """
    return round(size * paper.RESIZE / paper.IMAGE_SIZE)


def caffe_resize(size: int) -> int:
    """Return the edge of the square, in pixels, to which Caffe's preset resizes first: 256 for 227,
    in proportion for other sizes.
    """
    return round(size * paper.CAFFE_RESIZE / paper.CAFFE_SIZE)


def resized(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return an image (H, W, C) uint8 as a square (side, side, C), by the function that MXNet's
    resize calls.
    """
    if pixels.shape[:2] == (side, side):
        return pixels
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR)
