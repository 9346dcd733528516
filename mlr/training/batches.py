"""The batches of a training and of its evaluations."""

from mlr.data import augmentation
from mlr.data.loader import CachedBatches, GluonBatches
from mlr.data.pixels import CachedImages
from mlr.data.transforms import caffe_resize, training_resize
from mlr.inference.predictor import evaluation_transform, training_transform
from mlr.model.networks import CAFFENETS

EVALUATION_BATCH = 64


def training_batches(config, preset, split, part=None):
    """Return the batches of a training set, in a new order for each pass, by the preset's pipeline.
    part: as in `mlr.data.loader.Batches`.
    """
    size = config["preprocessing"]["image_size"]
    return _batches(
        preset,
        split,
        size,
        training_transform(config, preset.augmentation),
        training_resize(size),
        augmentation.Augmentation(size, preset.augmentation),
        preset.batch_size,
        True,
        part,
    )


def evaluation_batches(config, preset, split):
    """Return the batches of a split to look at after each epoch, by the preset's pipeline."""
    size = config["preprocessing"]["image_size"]
    return _batches(
        preset,
        split,
        size,
        evaluation_transform(config),
        size,
        augmentation.evaluation,
        EVALUATION_BATCH,
    )


def _batches(preset, split, size, transform, resize, finish, batch_size, *order_and_part):
    """transform: gluon's whole preset. resize, finish: what it begins with, the edge of a square,
    and the rest of it.
    """
    if preset.pipeline == "released":
        return GluonBatches(split, transform, batch_size, *order_and_part)
    if preset.backbone in CAFFENETS:  # Caffe's own preset, whose resize has nothing left to do
        return GluonBatches(
            CachedImages(split, caffe_resize(size)), transform, batch_size, *order_and_part
        )
    return CachedBatches(CachedImages(split, resize), finish, size, batch_size, *order_and_part)
