"""The package itself, as `mlr train` and `mlr predict` run it. A contestant of `mlr benchmark`."""

import os

import mlr  # before MXNet, whose threads it sets

# isort: split

import contestant
import cv2
import mxnet as mx
import numpy as np
from mxnet import nd

from mlr.data.augmentation import Augmentation
from mlr.data.labelled import LabelledImages
from mlr.data.loader import CachedBatches, GluonBatches
from mlr.data.pixels import CachedImages
from mlr.data.resizing import training_resize
from mlr.data.transforms import training_transform
from mlr.inference.fused_graph import fused
from mlr.model.parameters import infer_shapes, set_parameters
from mlr.training import loop
from mlr.training.optimizer import new_trainer

GEMM = 4096


def network(given):
    net = mlr.MultiLevelNet(classes=given.logits.shape[1])
    infer_shapes(net)
    set_parameters(net._collect_params_with_prefix(), given.parameters, "given.npz")
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def training(given, options):
    net, loss = (
        network(given),
        mlr.ClassImbalanceLoss([contestant.CLASS_WEIGHT] * given.logits.shape[1]),
    )
    loss.hybridize(static_alloc=True, static_shape=True)
    trainer = new_trainer(net, "sgd", contestant.SGD)
    batch = nd.array(given.images), nd.array(given.labels)
    learner = loop.Learner(net, loss, trainer, [mx.cpu()])
    return lambda: loop.train_epoch(learner, [batch])


def inference(given, options):
    net, images = fused(network(given)), nd.array(given.images)
    return lambda: net(images).asnumpy()


def pipeline(given, options):
    """A pass over photographs on one core, from files by the released loader, or from the pixel
    cache, made before, by ours.
    """
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
    cv2.setNumThreads(1)
    paths = sorted((given.folder / "photos").iterdir())
    split = LabelledImages(
        "photos", ["any"], paths, [0] * len(paths), [path.name for path in paths]
    )
    size, batch = given.images.shape[2], len(given.images)
    if options.released:
        made = GluonBatches(split, training_transform(size), batch, shuffle=True)
    else:
        made = CachedBatches(
            CachedImages(split, training_resize(size)),
            Augmentation(size),
            size,
            batch,
            shuffle=True,
        )

    def step():
        images = sum(len(part) for part, _ in made)
        nd.waitall()
        return images

    return step


def gemm(given, options):
    """The faster product of two square float32 matrices, NumPy's or MXNet's: the roof over
    everything above.
    """
    matrix = np.random.RandomState(0).normal(size=(GEMM, GEMM)).astype("float32")
    array = nd.array(matrix)

    def by_numpy():
        matrix @ matrix
        return 2 * GEMM**3

    def by_mxnet():
        nd.dot(array, array).wait_to_read()
        return 2 * GEMM**3

    return min((by_numpy, by_mxnet), key=lambda product: contestant.timed(product, 1))


if __name__ == "__main__":
    contestant.main(
        {"mlr": mlr.__version__, "mxnet": mx.__version__, "threads": os.environ["OMP_NUM_THREADS"]},
        ["released"],
        training=training,
        inference=inference,
        pipeline=pipeline,
        gemm=gemm,
    )
