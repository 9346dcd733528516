"""From images to the probabilities of classes. `mlr.load()` returns a run as a `Predictor`."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Sequence,
    Tuple,
    TypeVar,
    Union,
    overload,
)

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from mlr.data.images import read_image
from mlr.errors import InputError
from mlr.inference.classifiers import SoftmaxClassifier
from mlr.inference.proposals import name_of
from mlr.inference.reading import (
    File,
    Image,
    PathLike,
    find_images,
    is_one_image,
    name_in_messages,
    pixels_of,
    read,
)
from mlr.runtime.progress import Bar

BATCH = 64
AT_ONCE = 16  # images that the network sees together

# MXNet 1.5.1 is not thread-safe: concurrent calls can hang or crash, also where a lock is around
# the network alone and others read images or load a run meanwhile. So one thread does all its work.
_MXNET = ThreadPoolExecutor(1, thread_name_prefix="mlr")

T = TypeVar("T")


def _renew_thread() -> None:
    """A forked process has no thread but the one that forked, and what is asked of the others would
    never be answered.
    """
    global _MXNET
    _MXNET = ThreadPoolExecutor(1, thread_name_prefix="mlr")


os.register_at_fork(after_in_child=_renew_thread)


def on_mxnets_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Do work on the one thread that uses MXNet for predictions, and return its result."""
    return _MXNET.submit(work, *arguments).result()


class Prediction(NamedTuple):
    """What a network says of an image."""

    label: str  # the most probable class
    probabilities: Dict[str, float]  # of each class, the highest first; they sum to 1


class Predictor:
    """A trained network with what goes before and after it.

    Any thread may call it: what they ask is answered in turn.

    predictor = mlr.load(); predictor("photo.jpg").label; predictor(["a.jpg", pixels]); for path,
    prediction in predictor.folder("photos"): ...

    Attributes: `classifier`, how images become probabilities; `classes`, K names; `net`; `ctx`, its
    contexts; `transform`.
    """

    def __init__(self, classifier: SoftmaxClassifier, classes: Sequence[str]):
        self.classifier, self.classes = classifier, list(classes)

    @property
    def net(self) -> gluon.HybridBlock:
        """The network."""
        return self.classifier.net

    @property
    def ctx(self) -> List[mx.Context]:
        """The contexts of the network."""
        return self.classifier.ctx

    @property
    def transform(self) -> Callable[[nd.NDArray], nd.NDArray]:
        """The evaluation preset: (H, W, 3) uint8 -> (3, S, S)."""
        return self.classifier.transform

    @overload
    def __call__(self, images: File) -> Prediction: ...

    @overload
    def __call__(self, images: Union[List[Image], Tuple[Image, ...]]) -> List[Prediction]: ...

    @overload
    def __call__(self, images: np.ndarray) -> Union[Prediction, List[Prediction]]: ...

    def __call__(self, images: Any) -> Union[Prediction, List[Prediction]]:
        """Return the Prediction of an image, or a list of one for each of several.

        images: the path of an image file, its content as bytes, a binary file with it, a PIL image,
        or its pixels, an array (H, W, 3) of uint8, RGB; or a list of these, of any sizes; or an
        array (N, H, W, 3). Files are decoded as in training, so their orientation (EXIF) is
        ignored, and that of PIL images, too.

        Raises InputError, naming the file or telling the array, for the first that can't be read or
        has another shape or type; of AR, also where its file of proposals has none of the image, as
        it has of no array.
        """
        one = is_one_image(images)
        predictions = []
        for prediction in self.each([images] if one else images):
            if isinstance(prediction, InputError):
                raise prediction
            predictions.append(prediction)
        return predictions[0] if one else predictions

    def each(self, images: Iterable[Image]) -> Iterator[Union[Prediction, InputError]]:
        """Yield for each image, any of the above but (N, H, W, 3), its Prediction or the InputError
        that tells why there is none.

        Of any number, even without end: 16 are read, one after the other, and answered together.
        """
        images = iter(images)
        for part in iter(lambda: list(islice(images, AT_ONCE)), []):
            yield from self._predictions(part)

    def folder(self, path: PathLike) -> Iterator[Tuple[Path, Union[Prediction, InputError]]]:
        """Return an iterator over the images in and below a folder, in order: their paths, and what
        `each` says of them.

        Raises InputError where the folder is not there or holds no images.
        """
        paths = find_images(path)
        return zip(paths, self.each(paths))

    def of_files(self, paths: Sequence[PathLike], names: Sequence[str]) -> np.ndarray:
        """Return the probabilities (N, K), float64, of the classes for image files.

        names: by which a file of proposals knows the images.
        """
        return self._of_files(self.classifier.probabilities, paths, names)

    def logits_of_files(self, paths: Sequence[PathLike], names: Sequence[str]) -> np.ndarray:
        """Return the logits (N, K), float32, for image files; arguments as of `of_files`."""
        return self._of_files(self.classifier.logits, paths, names)

    def _of_files(
        self,
        answer: Callable[[Sequence[Any]], np.ndarray],
        paths: Sequence[PathLike],
        names: Sequence[str],
    ) -> np.ndarray:
        parts = [slice(start, start + BATCH) for start in range(0, len(paths), BATCH)]
        with Bar("predicting", len(paths), "images") as bar:

            def of_batch(part: slice) -> np.ndarray:
                return answer(
                    [
                        self.classifier.seen(read_image(path), name)
                        for path, name in bar.over(zip(paths[part], names[part]))
                    ]
                )

            return np.concatenate([on_mxnets_thread(of_batch, part) for part in parts])

    def _predictions(self, images: Sequence[Image]) -> List[Union[Prediction, InputError]]:
        predictions: Dict[int, Union[Prediction, InputError]] = {}
        seen: Dict[int, Any] = {}
        for number, image in enumerate(images):
            try:
                # Read in the thread that asks, which alone a pipe without an end then holds up.
                seen[number] = on_mxnets_thread(self._seen, read(image), name_in_messages(image))
            except InputError as error:
                predictions[number] = error
        if seen:
            try:
                probabilities = on_mxnets_thread(self.classifier.probabilities, list(seen.values()))
            except InputError as error:
                predictions.update((number, error) for number in seen)
            else:
                predictions.update(zip(seen, map(self._ranked, probabilities)))
        return [predictions[number] for number in range(len(images))]

    def _seen(self, content: Union[bytes, np.ndarray], name: str) -> Any:
        return self.classifier.seen(pixels_of(content, name), name_of(name))

    def _ranked(self, probabilities: np.ndarray) -> Prediction:
        ranked = sorted(zip(self.classes, probabilities.tolist()), key=lambda item: -item[1])
        return Prediction(ranked[0][0], dict(ranked))
