"""The two presets of the released code (model/train.py), side by side, built from gluon's own transforms."""

import mxnet as mx
from mxnet.gluon import nn
from mxnet.gluon.data.vision import transforms

from mlr import paper


# Crop area, as a part of the image, and jitter of brightness, contrast and saturation.
AUGMENTATIONS = {"released": (paper.CROP_AREA, paper.COLOR_JITTER), "gentle": ((.75, 1.0), .1)}


def training_resize(size=paper.IMAGE_SIZE):
    """Return the edge of the square, in pixels, to which the preset for training resizes first, before anything random."""
    return round(size * paper.RESIZE / paper.IMAGE_SIZE)


def training_transform(size=paper.IMAGE_SIZE, augmentation="released"):
    """Return the preset for training: (H, W, 3) uint8 RGB -> (3, size, size) float32, random.

    The aspect ratio of the image is not kept. For another size than the released 224 the first resize is scaled with it.
    augmentation: "released"; "gentle", which crops less and changes colours less: for pictures whose line width and
    colour are what matters; or "crop", a square anywhere in the image, mirrored or not, as Caffe does it.
    """
    if augmentation == "crop":
        return transforms.Compose([
            transforms.Resize((training_resize(size),) * 2),
            random_crop(size),
            transforms.RandomFlipLeftRight(),
            *_to_network(),
        ])
    crop_area, jitter = AUGMENTATIONS[augmentation]
    return transforms.Compose([
        transforms.Resize((training_resize(size),) * 2),
        transforms.RandomResizedCrop(size, scale=crop_area, ratio=paper.CROP_RATIO),
        transforms.RandomFlipLeftRight(),
        transforms.RandomColorJitter(*(jitter,) * 3),
        transforms.RandomLighting(paper.LIGHTING),
        *_to_network(),
    ])


def evaluation_transform(size=paper.IMAGE_SIZE):
    """Return the preset for evaluation and prediction: (H, W, 3) uint8 RGB -> (3, size, size) float32.

    The aspect ratio of the image is not kept.
    """
    return transforms.Compose([
        transforms.Resize((size, size)),
        *_to_network(),
    ])


def random_crop(size):
    """Return the transform that takes a square of `size` pixels anywhere in an image, (H, W, C) -> (size, size, C)."""
    return nn.Lambda(lambda image: mx.image.random_crop(image, (size, size))[0])


def normalized(images):
    """Return images (N, S, S, 3), uint8 RGB, as the network takes them, (N, 3, S, S) float32: the end of both presets."""
    for step in _to_network():
        images = step(images)
    return images


def to_pixels(image):
    """Return an image as the network sees it, (3, S, S), to be looked at: (S, S, 3), RGB, 0 to 1."""
    return (image.transpose((1, 2, 0)) * mx.nd.array(paper.PIXEL_STD) + mx.nd.array(paper.PIXEL_MEAN)).clip(0, 1)


def _to_network():
    return [transforms.ToTensor(), transforms.Normalize(paper.PIXEL_MEAN, paper.PIXEL_STD)]
