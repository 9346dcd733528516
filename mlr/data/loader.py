"""From a data set to batches."""

import ctypes
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Deque, Iterable, Iterator, List, Optional, Tuple, Union

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.base import _LIB, check_call

from mlr.data.pixels import CachedImages, DecodedImages

Batch = Tuple[mx.nd.NDArray, mx.nd.NDArray]
# the places that only MXNet can fill, when it is done; images, their memory, indices and seeds
Filled = Tuple["Future[List[int]]", mx.nd.NDArray, np.ndarray, np.ndarray, np.ndarray]
Finish = Callable[[np.ndarray, np.random.RandomState, np.ndarray], None]

AHEAD = 2  # batches made while the network is at another


class Batches:
    """Batches of labelled images: images (N, 3, S, S) float32 and labels (N,), or distributions
    over the classes (N, K), the last one as small as it comes out.

    To iterate is to begin an epoch at its first batch.
    """

    def __init__(
        self,
        images: Any,
        batch_size: int,
        shuffle: bool = False,
        part: Optional[Callable[[int], slice]] = None,
    ) -> None:
        """images: a `mlr.data.labelled.LabelledImages` or what stands for one. shuffle: in a new
        order in each epoch.

        part: number of images in a batch -> slice of it that this process makes,
        `mlr.training.distributed.Workers.part`; where it is empty, the batch's first image is made.
        """
        self._images, self._batch_size, self._shuffle = images, batch_size, shuffle
        self._part: Callable[[int], slice] = part or slice

    def __len__(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch()

    def epoch(self, first: int = 0) -> Iterator[Batch]:
        """Begin an epoch, and return an iterator over its batches from number `first` on.

        All that its order depends on is NumPy's global generator, now.
        """
        number = len(self._images)
        order = np.random.permutation(number) if self._shuffle else np.arange(number)
        self._chosen = [
            order[start : start + self._batch_size] for start in range(0, number, self._batch_size)
        ]
        return self._made(range(first, len(self)))

    def size(self, number: int) -> int:
        """Return the number of images in a batch, over all processes."""
        return min(self._batch_size, len(self._images) - number * self._batch_size)

    def names(self, number: int) -> List[str]:
        """Return the names of the images in a batch of the epoch that was begun last, over all
        processes.
        """
        return [self._images.names[index] for index in self._chosen[number]]

    def _places(self, number: int) -> range:
        """Return the places in a batch of what this process makes of it, a range."""
        places = range(self.size(number))
        return places[self._part(len(places))] or places[:1]

    def _made(self, numbers: Iterable[int]) -> Iterator[Batch]:
        """Return an iterator over the batches of these numbers."""
        raise NotImplementedError


class GluonBatches(Batches):
    """Each image decoded and put through a preset of `mlr.data.transforms` when its batch is asked
    for, as in the released code.
    """

    def __init__(
        self,
        images: Any,
        transform: Callable[[mx.nd.NDArray], mx.nd.NDArray],
        batch_size: int,
        shuffle: bool = False,
        part: Optional[Callable[[int], slice]] = None,
    ) -> None:
        super().__init__(images, batch_size, shuffle, part)

        def transformed(image: mx.nd.NDArray) -> mx.nd.NDArray:
            result = transform(image)
            # or MXNet would keep the images of a batch, as large as they are, until it comes to
            # them
            result.wait_to_read()
            return result

        self._transformed = gluon.data.SimpleDataset(images).transform_first(transformed)

    def _made(self, numbers: Iterable[int]) -> Iterator[Batch]:
        chosen = [
            [self._chosen[number][place] for place in self._places(number)] for number in numbers
        ]
        return iter(gluon.data.DataLoader(self._transformed, batch_sampler=self._expected(chosen)))

    def _expected(self, chosen: Iterable[List[int]]) -> Iterator[List[int]]:
        """Yield the images of each batch, as they are about to be asked for."""
        for indices in chosen:
            if isinstance(self._images, DecodedImages):
                self._images.expect(indices)
            yield indices


class CachedBatches(Batches):
    """The same from what `mlr.data.pixels.resized_images` returns, made in the background.

    finish: what is left to do to an image, called with its pixels, a NumPy RandomState and where to
    write it, (3, size, size) float32: a `mlr.data.augmentation.Augmentation`, or
    `mlr.data.augmentation.evaluation`. What it draws depends on NumPy's global generator when an
    epoch begins, on the batch's number and the image's place in it, and on nothing else.
    """

    def __init__(
        self,
        images: Union[CachedImages, DecodedImages],
        finish: Finish,
        size: int,
        batch_size: int,
        shuffle: bool = False,
        part: Optional[Callable[[int], slice]] = None,
    ) -> None:
        super().__init__(images, batch_size, shuffle, part)
        self._finish, self._size = finish, size
        # of classes, or (N, K) distributions over them
        self._labels = np.array(images.labels)

    def _made(self, numbers: Iterable[int]) -> Iterator[Batch]:
        return self._in_the_background(
            numbers, self._chosen, np.random.randint(2**32, dtype=np.uint32)
        )

    def _in_the_background(
        self, numbers: Iterable[int], chosen: List[np.ndarray], seed: int
    ) -> Iterator[Batch]:
        made: Deque[Filled] = deque()
        with ThreadPoolExecutor(1) as worker:
            for number in numbers:
                places = self._places(number)
                indices, seeds = (
                    chosen[number][places.start : places.stop],
                    np.random.RandomState([seed, number]).randint(
                        2**32, size=self.size(number), dtype=np.uint32
                    )[places.start : places.stop],
                )
                # MXNet 1.5.1 is not safe in a thread beside the one that trains: the worker knows
                # NumPy alone.
                images = mx.nd.empty((len(indices), 3, self._size, self._size))
                memory = _memory(images)
                filled = worker.submit(self._fill, memory, indices, seeds)
                made.append((filled, images, memory, indices, seeds))
                if len(made) > AHEAD:
                    yield self._batch(*made.popleft())
            while made:
                yield self._batch(*made.popleft())

    def _fill(self, memory: np.ndarray, indices: np.ndarray, seeds: np.ndarray) -> List[int]:
        """Write the images of a batch, and return the places of those that only MXNet decodes."""
        left, rng = [], np.random.RandomState(0)
        for place, pixels in enumerate(self._images.several(indices)):
            if pixels is None:
                left.append(place)
            else:
                rng.seed(seeds[place])
                self._finish(pixels, rng, memory[place])
        return left

    def _batch(
        self,
        filled: "Future[List[int]]",
        images: mx.nd.NDArray,
        memory: np.ndarray,
        indices: np.ndarray,
        seeds: np.ndarray,
    ) -> Batch:
        for place in filled.result():
            pixels = self._images[indices[place]][0].asnumpy()
            self._finish(pixels, np.random.RandomState(seeds[place]), memory[place])
        return images, mx.nd.array(self._labels[indices], dtype=self._labels.dtype)


def _memory(array: mx.nd.NDArray) -> np.ndarray:
    """Return the memory of a float32 NDArray that nothing has been written to, as a NumPy array,
    valid as long as the NDArray is.

    Copying a batch takes half as long as making it. Lending NumPy's memory to MXNet instead, by
    DLPack, has MXNet's threads give it back, and NumPy 1.23 does that without Python's lock: one
    training in some dozen ended in a segmentation fault.
    """
    pointer = ctypes.POINTER(ctypes.c_float)()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(pointer)))
    return np.ctypeslib.as_array(pointer, array.shape)
