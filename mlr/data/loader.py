"""Makes batches from a data set."""

import ctypes
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Deque, Iterable, Iterator, List, Optional, Tuple, Union

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.base import _LIB, check_call

from mlr.data.parts import part_of
from mlr.data.pixels import CachedImages, DecodedImages
from mlr.runtime.memory import keep_freed_memory

Batch = Tuple[mx.nd.NDArray, mx.nd.NDArray]
# for each thread a Future of the places that only MXNet can fill; images, their memory, indices and
# seeds
Filled = Tuple[List["Future[List[int]]"], mx.nd.NDArray, np.ndarray, np.ndarray, np.ndarray]
Finish = Callable[[np.ndarray, np.random.RandomState, np.ndarray], None]

AHEAD = 2  # batches that are made in advance, while the network works on another


class Batches:
    """Batches of labelled images: images (N, 3, S, S) float32, and labels (N,) or distributions
    over the classes (N, K). The last batch may be smaller.

    Iterating starts a new epoch at its first batch.
    """

    def __init__(
        self,
        images: Any,
        batch_size: int,
        shuffle: bool = False,
        part: Optional[Callable[[int], slice]] = None,
    ) -> None:
        """images: a `mlr.data.labelled.LabelledImages`, or an object with the same interface.
        shuffle: use a new order in each epoch.

        part: a function that takes the number of images in a batch and returns the slice of it that
        this process makes, such as `mlr.training.distributed.Workers.part`. If the slice is empty,
        the first image of the batch is made.
        """
        self._images, self._batch_size, self._shuffle = images, batch_size, shuffle
        self._part: Callable[[int], slice] = part or slice

    def __len__(self) -> int:
        return -(-len(self._images) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch()

    def epoch(self, first: int = 0) -> Iterator[Batch]:
        """Start an epoch, and return an iterator over its batches from number `first` on.

        The order depends only on the state of NumPy's global random generator at this call.
        """
        number = len(self._images)
        order = np.random.permutation(number) if self._shuffle else np.arange(number)
        self._chosen = [
            order[start : start + self._batch_size] for start in range(0, number, self._batch_size)
        ]
        return self._made(range(first, len(self)))

    def size(self, number: int) -> int:
        """Return the number of images in a batch, of all processes together."""
        return min(self._batch_size, len(self._images) - number * self._batch_size)

    def names(self, number: int) -> List[str]:
        """Return the names of the images in a batch of the latest epoch, of all processes
        together.
        """
        return [self._images.names[index] for index in self._chosen[number]]

    def _places(self, number: int) -> range:
        """Return the range of places in a batch that this process makes."""
        places = range(self.size(number))
        return places[self._part(len(places))] or places[:1]

    def _made(self, numbers: Iterable[int]) -> Iterator[Batch]:
        """Return an iterator over the batches of these numbers."""
        raise NotImplementedError


class GluonBatches(Batches):
    """Batches made with Gluon, as in the released code: when a batch is requested, each image is
    decoded and goes through a transform of `mlr.data.transforms`.
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
            # Otherwise MXNet would keep all images of a batch at their full size until it has
            # transformed them.
            result.wait_to_read()
            return result

        self._transformed = gluon.data.SimpleDataset(images).transform_first(transformed)

    def _made(self, numbers: Iterable[int]) -> Iterator[Batch]:
        chosen = [
            [self._chosen[number][place] for place in self._places(number)] for number in numbers
        ]
        return iter(gluon.data.DataLoader(self._transformed, batch_sampler=self._expected(chosen)))

    def _expected(self, chosen: Iterable[List[int]]) -> Iterator[List[int]]:
        """Yield the image indices of each batch, and start decoding them in the background."""
        for indices in chosen:
            if isinstance(self._images, DecodedImages):
                self._images.expect(indices)
            yield indices


class CachedBatches(Batches):
    """Batches made in the background from resized images, those of
    `mlr.data.pixels.resized_images`.

    finish: the remaining steps, a function of the pixels, a NumPy RandomState and the array to
    write into, (3, size, size) float32: a `mlr.data.augmentation.Augmentation`, or
    `mlr.data.augmentation.evaluation`. Its random numbers depend only on NumPy's global generator
    at the start of the epoch, on the number of the batch and on the image's place in the batch.

    threads: how many threads make a batch; the batches are the same for any number.
    """

    def __init__(
        self,
        images: Union[CachedImages, DecodedImages],
        finish: Finish,
        size: int,
        batch_size: int,
        shuffle: bool = False,
        part: Optional[Callable[[int], slice]] = None,
        threads: int = 1,
    ) -> None:
        super().__init__(images, batch_size, shuffle, part)
        keep_freed_memory()
        self._finish, self._size, self._threads = finish, size, threads
        # (N,) class numbers, or (N, K) distributions over the classes
        self._labels = np.array(images.labels)

    def _made(self, numbers: Iterable[int]) -> Iterator[Batch]:
        return self._in_the_background(
            numbers, self._chosen, np.random.randint(2**32, dtype=np.uint32)
        )

    def _in_the_background(
        self, numbers: Iterable[int], chosen: List[np.ndarray], seed: int
    ) -> Iterator[Batch]:
        made: Deque[Filled] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            for number in numbers:
                places = self._places(number)
                indices, seeds = (
                    chosen[number][places.start : places.stop],
                    np.random.RandomState([seed, number]).randint(
                        2**32, size=self.size(number), dtype=np.uint32
                    )[places.start : places.stop],
                )
                # MXNet 1.5.1 is not thread-safe, and this thread trains: the others use NumPy only.
                images = mx.nd.empty((len(indices), 3, self._size, self._size))
                memory = _memory(images)
                filled = [
                    pool.submit(
                        self._fill,
                        memory,
                        indices,
                        seeds,
                        part_of(len(indices), each, self._threads),
                    )
                    for each in range(self._threads)
                ]
                made.append((filled, images, memory, indices, seeds))
                if len(made) > AHEAD:
                    yield self._batch(*made.popleft())
            while made:
                yield self._batch(*made.popleft())

    def _fill(
        self, memory: np.ndarray, indices: np.ndarray, seeds: np.ndarray, part: slice
    ) -> List[int]:
        """Write the images of a part of a batch, and return the places of those that only MXNet
        decodes.
        """
        left, rng = [], np.random.RandomState(0)
        for place, pixels in enumerate(self._images.several(indices[part]), part.start):
            if pixels is None:
                left.append(place)
            else:
                rng.seed(seeds[place])
                self._finish(pixels, rng, memory[place])
        return left

    def _batch(
        self,
        filled: List["Future[List[int]]"],
        images: mx.nd.NDArray,
        memory: np.ndarray,
        indices: np.ndarray,
        seeds: np.ndarray,
    ) -> Batch:
        for place in [place for part in filled for place in part.result()]:
            pixels = self._images[indices[place]][0].asnumpy()
            self._finish(pixels, np.random.RandomState(seeds[place]), memory[place])
        return images, mx.nd.array(self._labels[indices], dtype=self._labels.dtype)


def _memory(array: mx.nd.NDArray) -> np.ndarray:
    """Return the memory of a float32 NDArray as a NumPy array. Nothing may have been written to the
    NDArray yet, and the result is valid only while the NDArray exists.

    This avoids a copy, which would take half as long as making the batch. The other way, lending
    NumPy's memory to MXNet by DLPack, is not safe: MXNet's threads release the memory, and NumPy
    1.23 then does not hold Python's lock. About one training in a dozen ended in a segmentation
    fault.
    """
    pointer = ctypes.POINTER(ctypes.c_float)()
    check_call(_LIB.MXNDArrayGetData(array.handle, ctypes.byref(pointer)))
    return np.ctypeslib.as_array(pointer, array.shape)
