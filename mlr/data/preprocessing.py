"""The preprocessing of images for a network: for training, for evaluation, and as a description."""

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
    """The released code's preprocessing, with ImageNet's mean and standard deviation.

    Attributes: `size`, the side of the network's input, in pixels; `cached_edge`, the side of the
    square to which the training transform resizes first, before all random steps.
    """

    in_numpy = True  # whether mlr.data.augmentation can do it on cached pixels

    def __init__(self, size: int):
        self.size = size
        self.cached_edge = training_resize(size)

    def training(self, augmentation: str) -> Callable:
        """Return the random transform for training: (H, W, 3) uint8 RGB -> (3, S, S) float32."""
        from mlr.data.transforms import training_transform

        return training_transform(self.size, augmentation)

    def evaluation(self) -> Callable:
        """Return the transform for evaluation: (H, W, 3) uint8 RGB -> (3, S, S) float32."""
        from mlr.data.transforms import evaluation_transform

        return evaluation_transform(self.size)

    def network_input(self, pixels: np.ndarray) -> np.ndarray:
        """Apply the evaluation transform without MXNet, with the same result to the bit: (H, W, 3)
        uint8 RGB -> (3, S, S) float32.
        """
        return self.normalized(resized(pixels, self.size))

    def normalized(self, pixels: np.ndarray) -> np.ndarray:
        """Apply the last step of `network_input`, after resizing: (S, S, 3) uint8 RGB -> (3, S, S)
        float32.
        """
        out = np.empty((3, *pixels.shape[:2]), np.float32)
        augmentation.to_network(cv2.split(pixels), augmentation.LEVELS, out)
        return out

    def steps(self) -> Dict[str, Any]:
        """Return the evaluation transform as numbers and words, for exported models.

        The steps, in this order: resize the RGB image to a square of `resize` pixels, without
        keeping its aspect ratio; round to whole grey levels; if `image_size` is smaller, take the
        central square of that size; put the channels into `channel_order`, in which mean and std
        are given; compute (pixels * scale - mean) / std; put the channels first.
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
    """Caffe's preprocessing, for a CaffeNet: BGR, levels from 0 to 255 minus a mean."""

    in_numpy = False

    def __init__(self, size: int):
        super().__init__(size)
        self.cached_edge = caffe_resize(size)

    def training(self, augmentation: str) -> Callable:
        """Return Caffe's transform for training. There is only one; `augmentation` is ignored."""
        from mlr.data.transforms import caffe_transform

        return caffe_transform(self.size, train=True)

    def evaluation(self) -> Callable:
        """Return Caffe's transform for evaluation: (H, W, 3) uint8 RGB -> (3, S, S) float32 BGR."""
        from mlr.data.transforms import caffe_transform

        return caffe_transform(self.size)

    def network_input(self, pixels: np.ndarray) -> np.ndarray:
        """Apply the evaluation transform without MXNet, with the same result to the bit."""
        start = (self.cached_edge - self.size) // 2
        crop = slice(start, start + self.size)
        return self.normalized(resized(pixels, self.cached_edge)[crop, crop])

    def normalized(self, pixels: np.ndarray) -> np.ndarray:
        """Apply the last step of `network_input`, after the crop: (S, S, 3) uint8 RGB -> (3, S, S)
        float32 BGR.
        """
        values = pixels[:, :, ::-1].astype(np.float32) - np.array(paper.CAFFE_MEAN, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def steps(self) -> Dict[str, Any]:
        """Return Caffe's evaluation transform as numbers and words."""
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
    """Return the preprocessing of a run. config: its config.json."""
    caffe = config["network"]["kind"] == "caffenet"
    return (CaffePreprocessing if caffe else Preprocessing)(config["preprocessing"]["image_size"])
