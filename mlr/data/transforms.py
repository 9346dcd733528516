"""The transforms for training and for evaluation of the released code (model/train.py), side by
side, and Caffe's, all built from Gluon's own transforms.
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import mxnet as mx
import numpy as np
from mxnet.gluon import nn
from mxnet.gluon.data.vision import transforms

from mlr import paper
from mlr.data.augmentation import AUGMENTATIONS
from mlr.data.resizing import caffe_resize, training_resize
from mlr.errors import InputError


def caffe_transform(
    size: int = paper.CAFFE_SIZE,
    resize: Optional[int] = None,
    train: bool = False,
    mean_image: Optional[Union[str, Path]] = None,
) -> transforms.Compose:
    """Return Caffe's transform: (H, W, 3) uint8 RGB -> (3, size, size) float32 BGR, levels from 0
    to 255 minus a mean.

    The image is resized to a square of `resize` pixels (default: 256 for size 227, in proportion
    for other sizes), bilinear, without keeping its aspect ratio. Then the central square is taken,
    or for training a random square, mirrored with probability 1/2. We infer that the authors'
    images were resized bilinear, as Caffe does it.
    mean_image: a .npy file with ImageNet's mean image, (3, 256, 256) BGR, which the released
    DeepSentiBank subtracts; it is resized like the image. Default: the mean of each channel. Raises
    InputError if the file does not hold such an image, or if `resize` is less than `size`.
    """
    resize = caffe_resize(size) if resize is None else resize
    if resize < size:
        raise InputError(
            f"a crop of {size:d} pixels can't be taken from images that are resized to "
            f"{resize:d} pixels: give a `resize` of at least {size:d}"
        )
    mean = (
        mx.nd.array(paper.CAFFE_MEAN)
        if mean_image is None
        else _read_mean_image(mean_image, resize)
    )
    crops = [transforms.CenterCrop(size)]
    if train:
        crops = [random_crop(size), transforms.RandomFlipLeftRight()]
    return transforms.Compose(
        [
            transforms.Resize((resize, resize)),
            nn.Lambda(lambda image: image.astype("float32").flip(axis=2) - mean),  # RGB -> BGR
            *crops,
            nn.Lambda(lambda image: image.transpose((2, 0, 1))),
        ]
    )


def _read_mean_image(path: Union[str, Path], resize: int) -> mx.nd.NDArray:
    """Return a mean image as NDArray (resize, resize, 3), BGR. Raises InputError if the file does
    not hold one.
    """
    shape = (3, paper.CAFFE_RESIZE, paper.CAFFE_RESIZE)
    if not Path(path).is_file():
        raise InputError(f"there is no mean image {path}: give the path of a .npy file")
    try:
        mean = np.load(str(path), allow_pickle=False)
    except Exception as error:  # NumPy raises nearly everything on damaged files
        raise InputError(
            f"mean image {path} is not a .npy file, is damaged, or holds pickled objects, which "
            f"are not read ({error}): save it again with numpy.save"
        ) from None
    if (
        not isinstance(mean, np.ndarray)
        or mean.shape != shape
        or mean.dtype.kind not in "fiu"
        or not np.isfinite(mean).all()
    ):
        raise InputError(
            f"mean image {path} holds {_described(mean)}: expected finite numbers of shape "
            f"{shape}, channels B, G, R, as Caffe's blobproto_to_array makes them from "
            "imagenet_mean.binaryproto"
        )
    return mx.image.imresize(mx.nd.array(mean.transpose(1, 2, 0), dtype="float32"), resize, resize)


def _described(loaded: Any) -> str:
    return (
        f"{loaded.dtype} of shape {loaded.shape}"
        if isinstance(loaded, np.ndarray)
        else "several arrays"
    )


def training_transform(
    size: int = paper.IMAGE_SIZE, augmentation: str = "released"
) -> transforms.Compose:
    """Return the random transform for training: (H, W, 3) uint8 RGB -> (3, size, size) float32.

    The aspect ratio of the image is not kept. If size is not the released 224, the first resize is
    scaled with it.
    augmentation: "released"; "gentle", which crops less and changes colours less, for images in
    which line width and colour matter; or "crop", a square at a random place, mirrored with
    probability 1/2, as in Caffe.
    """
    if augmentation == "crop":
        return transforms.Compose(
            [
                transforms.Resize((training_resize(size),) * 2),
                random_crop(size),
                transforms.RandomFlipLeftRight(),
                *_to_network(),
            ]
        )
    crop_area, jitter = AUGMENTATIONS[augmentation]
    return transforms.Compose(
        [
            transforms.Resize((training_resize(size),) * 2),
            transforms.RandomResizedCrop(size, scale=crop_area, ratio=paper.CROP_RATIO),
            transforms.RandomFlipLeftRight(),
            transforms.RandomColorJitter(*(jitter,) * 3),
            transforms.RandomLighting(paper.LIGHTING),
            *_to_network(),
        ]
    )


def evaluation_transform(size: int = paper.IMAGE_SIZE) -> transforms.Compose:
    """Return the transform for evaluation and prediction: (H, W, 3) uint8 RGB -> (3, size, size)
    float32.

    The aspect ratio of the image is not kept.
    """
    return transforms.Compose(
        [
            transforms.Resize((size, size)),
            *_to_network(),
        ]
    )


def random_crop(size: int) -> nn.Lambda:
    """Return the transform that crops a square of `size` pixels at a random place: (H, W, C) ->
    (size, size, C).
    """
    return nn.Lambda(lambda image: mx.image.random_crop(image, (size, size))[0])


def to_pixels(image: mx.nd.NDArray) -> mx.nd.NDArray:
    """Return the network's input (3, S, S) as an image to display: (S, S, 3), RGB, 0 to 1."""
    return (
        image.transpose((1, 2, 0)) * mx.nd.array(paper.PIXEL_STD) + mx.nd.array(paper.PIXEL_MEAN)
    ).clip(0, 1)


def _to_network() -> List[Any]:
    return [transforms.ToTensor(), transforms.Normalize(paper.PIXEL_MEAN, paper.PIXEL_STD)]


def preprocessing(image_size: int) -> Dict[str, Any]:
    """Return a description of the preprocessing, for config.json."""
    return {
        "image_size": image_size,
        "keep_aspect_ratio": False,
        "mean": paper.PIXEL_MEAN,
        "std": paper.PIXEL_STD,
    }
