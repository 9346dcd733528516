"""The batches for training and for the evaluation after each epoch."""

from typing import Callable, Optional, Sequence

import mxnet as mx

from mlr.data import augmentation
from mlr.data.labelled import LabelledImages, OnVotes
from mlr.data.loader import Batches, CachedBatches, GluonBatches
from mlr.data.pixels import resized_images
from mlr.data.preprocessing import Preprocessing
from mlr.options.training import TrainingOptions
from mlr.runtime.cpu import usable_cores

EVALUATION_BATCH = 64


def training_batches(
    preprocessing: Preprocessing,
    options: TrainingOptions,
    split: LabelledImages,
    part: Optional[Callable[[int], slice]] = None,
    threads: int = 1,
) -> Batches:
    """Return the batches of a training set, in a new order for each pass, from the run's pipeline.

    part, threads: as for `mlr.data.loader.CachedBatches`.
    """
    transform, size = preprocessing.training(options.augmentation), preprocessing.size
    if options.targets == "votes":
        split = OnVotes(split)
    if options.pipeline == "released":
        return GluonBatches(split, transform, options.batch_size, True, part)
    images = resized_images(split, preprocessing.cached_edge)
    if not preprocessing.in_numpy:  # the cached images already have its size
        return GluonBatches(images, transform, options.batch_size, True, part)
    finish = augmentation.Augmentation(size, options.augmentation)
    return CachedBatches(images, finish, size, options.batch_size, True, part, threads)


def evaluation_batches(
    preprocessing: Preprocessing, options: TrainingOptions, split: LabelledImages, threads: int = 1
) -> Batches:
    """Return the batches of the split that is evaluated after each epoch, from the run's
    pipeline. threads: as for `mlr.data.loader.CachedBatches`.
    """
    transform, size = preprocessing.evaluation(), preprocessing.size
    if options.pipeline == "released":
        return GluonBatches(split, transform, EVALUATION_BATCH)
    if not preprocessing.in_numpy:
        images = resized_images(split, preprocessing.cached_edge)
        return GluonBatches(images, transform, EVALUATION_BATCH)
    images = resized_images(split, size)
    return CachedBatches(images, augmentation.evaluation, size, EVALUATION_BATCH, threads=threads)


def threads_beside(ctx: Sequence[mx.Context]) -> int:
    """Return how many threads make the batches for a network on these contexts: one for each core
    if it computes on GPUs, and one if it needs the cores itself.
    """
    return usable_cores() if all(each.device_type == "gpu" for each in ctx) else 1
