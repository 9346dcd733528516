"""The two presets of the released code (model/train.py), side by side, built from gluon's own
transforms.
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
    """Return Caffe's preset: (H, W, 3) uint8 RGB -> (3, size, size) float32 BGR, 0 to 255 less a
    mean.

    The image is resized to a square of `resize` pixels (default: 256 for 227, in proportion for
    other sizes), bilinear, its aspect ratio lost; then comes the central crop or, to train, a
    random one that is mirrored every other time. That the authors' images were resized bilinear,
    Caffe's own way, is inferred.
    mean_image: a .npy file of ImageNet's mean image, (3, 256, 256) BGR, which the released
    DeepSentiBank subtracts; resized like the image. Default: the mean of each channel. Raises
    InputError for a file that holds no such image, or a resize below the size.
    """
    resize = caffe_resize(size) if resize is None else resize
    if resize < size:
        raise InputError(
            f"a crop of {size:d} pixels can't be taken from images that are resized to "
            f"{resize:d}: give a resize of at least the size"
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
    """Return a mean image (resize, resize, 3) BGR, an NDArray."""
    shape = (3, paper.CAFFE_RESIZE, paper.CAFFE_RESIZE)
    if not Path(path).is_file():
        raise InputError(f"there is no mean image {path}")
    try:
        mean = np.load(str(path), allow_pickle=False)
    except Exception as error:  # of a damaged file NumPy raises nearly everything
        raise InputError(
            f"mean image {path} is no .npy file, a damaged one, or holds pickled objects, which "
            f"are not read ({error})"
        ) from None
    if (
        not isinstance(mean, np.ndarray)
        or mean.shape != shape
        or mean.dtype.kind not in "fiu"
        or not np.isfinite(mean).all()
    ):
        raise InputError(
            f"mean image {path} holds {_described(mean)}: expected finite numbers of shape "
            f"{shape}, channels B, G, R, as Caffe's blobproto_to_array makes it of "
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
    """Return the preset for training: (H, W, 3) uint8 RGB -> (3, size, size) float32, random.

    The aspect ratio of the image is not kept. For another size than the released 224 the first
    resize is scaled with it.
    augmentation: "released"; "gentle", which crops less and changes colours less: for images
    whose line width and colour are what matters; or "crop", a square anywhere in the image,
    mirrored or not, as Caffe does it.
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
    """Return the preset for evaluation and prediction: (H, W, 3) uint8 RGB -> (3, size, size)
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
    """Return the transform that takes a square of `size` pixels anywhere in an image, (H, W, C) ->
    (size, size, C).
    """
    return nn.Lambda(lambda image: mx.image.random_crop(image, (size, size))[0])


def to_pixels(image: mx.nd.NDArray) -> mx.nd.NDArray:
    """Return an image as the network sees it, (3, S, S), to be looked at: (S, S, 3), RGB, 0 to
    1.
    """
    return (
        image.transpose((1, 2, 0)) * mx.nd.array(paper.PIXEL_STD) + mx.nd.array(paper.PIXEL_MEAN)
    ).clip(0, 1)


def _to_network() -> List[Any]:
    return [transforms.ToTensor(), transforms.Normalize(paper.PIXEL_MEAN, paper.PIXEL_STD)]


def preprocessing(image_size: int) -> Dict[str, Any]:
    """Return, for config.json, what an image goes through before the network."""
    return {
        "image_size": image_size,
        "keep_aspect_ratio": False,
        "mean": paper.PIXEL_MEAN,
        "std": paper.PIXEL_STD,
    }
