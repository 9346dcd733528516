"""From a data set to batches."""

import ctypes
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.base import _LIB, check_call

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
        made = deque()
        with ThreadPoolExecutor(1) as worker:
            for number in range(len(self)):
                chosen = order[number * self._batch_size:(number + 1) * self._batch_size]
                # MXNet 1.5.1 is not safe in a thread beside the one that trains: the worker knows NumPy alone.
                images = mx.nd.empty((len(chosen), 3, self._size, self._size))
                filled = worker.submit(self._fill, _memory(images), chosen, np.random.RandomState([seed, number]))
                made.append((filled, images, chosen))
                if len(made) > AHEAD:
                    yield self._batch(*made.popleft())
            while made:
                yield self._batch(*made.popleft())

    def _fill(self, images, chosen, rng):
        pixels = self._images.pixels()
        for index, image in zip(chosen, images):
            self._finish(pixels[self._images.rows[index]], rng, image)

    def _batch(self, filled, images, chosen):
        filled.result()
        return images, mx.nd.array(self._labels[chosen], dtype=np.int64)


def _memory(array):
    """Return the memory of a float32 NDArray that nothing has been written to, as a NumPy array, valid as long as the NDArray is.

    Copying a batch takes half as long as making it. Lending NumPy's memory to MXNet instead, by DLPack, has MXNet's threads give
    it back, and NumPy 1.23 does that without Python's lock: one training in some dozen ended in a segmentation fault.
    """
    pointer = ctypes.POINTER(ctypes.c_float)()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(pointer)))
    return np.ctypeslib.as_array(pointer, array.shape)
