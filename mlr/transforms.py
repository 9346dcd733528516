"""The two presets of the released code (model/train.py), side by side, built from gluon's own transforms."""

from mxnet.gluon.data.vision import transforms

from mlr import paper


# Crop area, as a part of the image, and jitter of brightness, contrast and saturation.
AUGMENTATIONS = {"released": (paper.CROP_AREA, paper.COLOR_JITTER), "gentle": ((.75, 1.0), .1)}


def training_transform(size=paper.IMAGE_SIZE, augmentation="released"):
    """Return the preset for training: (H, W, 3) uint8 RGB -> (3, size, size) float32, random.

    The aspect ratio of the image is not kept. For another size than the released 224 the first resize is scaled with it.
    augmentation: "released", or "gentle", which crops less and changes colours less: for pictures whose line width and
    colour are what matters.
    """
    crop_area, jitter = AUGMENTATIONS[augmentation]
    return transforms.Compose([
        transforms.Resize((round(size * paper.RESIZE / paper.IMAGE_SIZE),) * 2),
        transforms.RandomResizedCrop(size, scale=crop_area, ratio=paper.CROP_RATIO),
        transforms.RandomFlipLeftRight(),
        transforms.RandomColorJitter(*(jitter,) * 3),
        transforms.RandomLighting(paper.LIGHTING),
        transforms.ToTensor(),
        transforms.Normalize(paper.PIXEL_MEAN, paper.PIXEL_STD),
    ])


def evaluation_transform(size=paper.IMAGE_SIZE):
    """Return the preset for evaluation and prediction: (H, W, 3) uint8 RGB -> (3, size, size) float32.

    The aspect ratio of the image is not kept.
    """
    return transforms.Compose([
        transforms.Resize((size, size)),
        transforms.ToTensor(),
        transforms.Normalize(paper.PIXEL_MEAN, paper.PIXEL_STD),
    ])
