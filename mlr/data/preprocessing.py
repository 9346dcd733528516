"""What an image goes through before a network: for training, for evaluation, and in words."""

from typing import Any, Callable, Dict, Mapping

import cv2
import numpy as np

from mlr import paper
from mlr.data import augmentation
from mlr.data.resizing import caffe_resize, resized, training_resize

RULES = {
    "decoded": "8 bits RGB, EXIF orientation ignored",
    "interpolation": (
        "bilinear, half-pixel centres, no antialiasing: OpenCV's INTER_LINEAR; rounded to whole "
        "grey levels"
    ),
    "crop": "centre",
    "formula": "(pixels * scale - mean) / std",
    "layout": "NCHW",
}


class Preprocessing:
    """The released code's, of ImageNet's mean and deviation.

    Attributes: `size`, of the square that the network sees, in pixels; `cached_edge`, of the square
    to which the training preset resizes first, before anything random.
    """

    in_numpy = True  # whether mlr.data.augmentation does the same to cached pixels

    def __init__(self, size: int):
        self.size = size
        self.cached_edge = training_resize(size)

    def training(self, augmentation: str) -> Callable:
        """Return the preset for training: (H, W, 3) uint8 RGB -> (3, S, S) float32, random."""
        from mlr.data.transforms import training_transform

        return training_transform(self.size, augmentation)

    def evaluation(self) -> Callable:
        """Return the preset for evaluation: (H, W, 3) uint8 RGB -> (3, S, S) float32."""
        from mlr.data.transforms import evaluation_transform

        return evaluation_transform(self.size)

    def network_input(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `evaluation` makes of an image, to the bit, without MXNet: pixels (H, W, 3)
        uint8 RGB as (3, S, S) float32.
        """
        return self.normalized(resized(pixels, self.size))

    def normalized(self, pixels: np.ndarray) -> np.ndarray:
        """Return the end of `network_input`: pixels (S, S, 3) uint8 RGB as (3, S, S) float32."""
        out = np.empty((3, *pixels.shape[:2]), np.float32)
        augmentation.to_network(cv2.split(pixels), augmentation.LEVELS, out)
        return out

    def steps(self) -> Dict[str, Any]:
        """Return the evaluation preset as numbers and words, for exported models.

        In this order: the image, RGB, is resized to a square of `resize` pixels, its aspect ratio
        lost; rounded to whole grey levels; where `image_size` is less, the square of that size in
        the middle is taken; channels are put into `channel_order`, which mean and std have, too;
        then (pixels * scale - mean) / std, channels first.
        """
        return {
            "image_size": self.size,
            "resize": self.size,
            "channel_order": "RGB",
            "scale": 1 / 255,
            "mean": list(paper.PIXEL_MEAN),
            "std": list(paper.PIXEL_STD),
            **RULES,
        }


class CaffePreprocessing(Preprocessing):
    """Caffe's, for a CaffeNet: BGR, 0 to 255 less a mean."""

    in_numpy = False

    def __init__(self, size: int):
        super().__init__(size)
        self.cached_edge = caffe_resize(size)

    def training(self, augmentation: str) -> Callable:
        """Return Caffe's preset for training; it has one augmentation, whatever is asked."""
        from mlr.data.transforms import caffe_transform

        return caffe_transform(self.size, train=True)

    def evaluation(self) -> Callable:
        """Return Caffe's preset for evaluation: (H, W, 3) uint8 RGB -> (3, S, S) float32 BGR."""
        from mlr.data.transforms import caffe_transform

        return caffe_transform(self.size)

    def network_input(self, pixels: np.ndarray) -> np.ndarray:
        """Return what `evaluation` makes of an image, to the bit, without MXNet."""
        start = (self.cached_edge - self.size) // 2
        crop = slice(start, start + self.size)
        return self.normalized(resized(pixels, self.cached_edge)[crop, crop])

    def normalized(self, pixels: np.ndarray) -> np.ndarray:
        """Return the end of `network_input`: pixels (S, S, 3) uint8 RGB as (3, S, S) float32,
        BGR.
        """
        values = pixels[:, :, ::-1].astype(np.float32) - np.array(paper.CAFFE_MEAN, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def steps(self) -> Dict[str, Any]:
        """Return Caffe's evaluation preset as numbers and words."""
        return {
            "image_size": self.size,
            "resize": self.cached_edge,
            "channel_order": "BGR",
            "scale": 1.0,
            "mean": list(paper.CAFFE_MEAN),
            "std": [1.0] * 3,
            **RULES,
        }


def preprocessing_of(config: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing of a run, by its config.json."""
    caffe = config["network"]["kind"] == "caffenet"
    return (CaffePreprocessing if caffe else Preprocessing)(config["preprocessing"]["image_size"])
