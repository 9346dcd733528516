"""From a data set to batches."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import mxnet as mx
import numpy as np
from mxnet import gluon

AHEAD = 2  # batches made while the network is at another


def batches(dataset, transform, batch_size, shuffle=False):
    """Return an iterable over batches: images (N, 3, S, S) float32 and labels (N,), the last batch as small as it comes out.

    transform: a preset of `mlr.transforms`. shuffle: draw a new order, from NumPy's global generator, for each pass.
    """
    return gluon.data.DataLoader(dataset.transform_first(transform), batch_size, shuffle=shuffle, last_batch="keep")


class CachedBatches:
    """The same from a `mlr.data.pixels.CachedImages`, made in the background.

    finish: what is left to do to an image, called with its pixels, a NumPy RandomState and where to write it, (3, size, size)
    float32: a `mlr.augmentation.Augmentation`, or `mlr.augmentation.evaluation`. What it draws depends on NumPy's global generator
    at the start of a pass, and on nothing else.
    """

    def __init__(self, images, finish, size, batch_size, shuffle=False):
        self._images, self._finish, self._size, self._batch_size, self._shuffle = images, finish, size, batch_size, shuffle
        self._labels = np.array(images.labels, dtype=np.int64)

    def __len__(self):
        return -(-len(self._images) // self._batch_size)

    def __iter__(self):
        order = np.random.permutation(len(self._images)) if self._shuffle else np.arange(len(self._images))
        seed = np.random.randint(2 ** 32, dtype=np.uint32)
        with ThreadPoolExecutor(1) as worker:
            made = deque()
            for number in range(len(self)):
                chosen = order[number * self._batch_size:(number + 1) * self._batch_size]
                made.append(worker.submit(self._batch, chosen, np.random.RandomState([seed, number])))
                if len(made) > AHEAD:
                    yield _arrays(*made.popleft().result())
            while made:
                yield _arrays(*made.popleft().result())

    def _batch(self, chosen, rng):
        images, pixels = np.empty((len(chosen), 3, self._size, self._size), np.float32), self._images.pixels()
        for index, image in zip(chosen, images):
            self._finish(pixels[self._images.rows[index]], rng, image)
        return images, self._labels[chosen]


def _arrays(images, labels):
    """Return a batch as NDArrays: here, as MXNet 1.5.1 is not safe in a thread beside the one that trains."""
    # The images are handed over as they are: a copy into new memory takes half as long as all that was done to them.
    return mx.nd.from_dlpack(images.__dlpack__()), mx.nd.array(labels, dtype=np.int64)
