"""Predicts the class probabilities of images. `mlr.load()` returns a run as a `Predictor`."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice, repeat
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
    overload,
)

import numpy as np

from mlr.data.images import read_bytes
from mlr.errors import InputError
from mlr.inference.classifier import Classifier
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
from mlr.runtime.cpu import usable_cores
from mlr.runtime.network_thread import begun_on_networks_thread
from mlr.runtime.progress import Bar

BATCH = 64
AT_ONCE = 16  # images in one pass of the network

# The content of an image, its name in messages and its name in a file of proposals; or an error.
Read = Union[Tuple[Union[bytes, np.ndarray], str, str], InputError]


class Prediction(NamedTuple):
    """The prediction of a network for an image."""

    label: str  # the most probable class
    probabilities: Dict[str, float]  # of each class, the highest first; they sum to 1


class Predictor:
    """A trained network with its preprocessing and the names of its classes.

    Any thread may call it; calls of several threads are answered one after the other.

    predictor = mlr.load(); predictor("photo.jpg").label; predictor(["a.jpg", pixels]); for path,
    prediction in predictor.folder("photos"): ...

    Other threads decode the next images while the network works on the present ones.

    Attributes: `classifier`, which computes the probabilities with MXNet or ONNX Runtime;
    `classes`, K names; with MXNet also `net` and `ctx`, its contexts.
    """

    def __init__(self, classifier: Classifier, classes: Sequence[str]):
        self.classifier, self.classes = classifier, list(classes)

    @property
    def net(self) -> Any:
        """The Gluon network."""
        return self.classifier.net  # type: ignore[attr-defined]

    @property
    def ctx(self) -> List[Any]:
        """The contexts of the Gluon network."""
        return self.classifier.ctx  # type: ignore[attr-defined]

    @property
    def transform(self) -> Callable[[Any], Any]:
        """The evaluation transform, (H, W, 3) uint8 -> (3, S, S): on NDArrays with MXNet, else on
        NumPy arrays.
        """
        return getattr(self.classifier, "transform", self.classifier.preprocessing.network_input)

    @overload
    def __call__(self, images: File) -> Prediction: ...

    @overload
    def __call__(self, images: Union[List[Image], Tuple[Image, ...]]) -> List[Prediction]: ...

    @overload
    def __call__(self, images: np.ndarray) -> Union[Prediction, List[Prediction]]: ...

    def __call__(self, images: Any) -> Union[Prediction, List[Prediction]]:
        """Return the Prediction for one image, or a list with one Prediction for each image.

        images: the path of an image file, its content as bytes, an open binary file, a PIL image,
        or an array (H, W, 3) of uint8, RGB; or a list of these, of any sizes; or an array (N, H, W,
        3). Files are decoded as in training: the EXIF orientation is ignored, for PIL images, too.

        Raises InputError, which names the file or describes the array, for the first image that
        can't be read or has another shape or type. With AR it also raises InputError if the run's
        file of proposals has none for an image; it can't have proposals for an array.
        """
        one = is_one_image(images)
        predictions = []
        for prediction in self.each([images] if one else images):
            if isinstance(prediction, InputError):
                raise prediction
            predictions.append(prediction)
        return predictions[0] if one else predictions

    def each(self, images: Iterable[Image]) -> Iterator[Union[Prediction, InputError]]:
        """Yield for each image its Prediction, or the InputError that says why there is none.

        images: any iterable, even an endless one, of what `__call__` accepts as one image. The
        network predicts 16 images at once, while the next 16 are read and decoded.
        """

        def given() -> Iterator[Read]:
            for image in images:
                try:
                    # Read in the calling thread, so that an endless pipe blocks only that thread.
                    content, name = read(image), name_in_messages(image)
                    yield content, name, name_of(name)
                except InputError as error:
                    yield error

        for one in self._answered(given(), self.classifier.probabilities, AT_ONCE):
            yield one if isinstance(one, InputError) else self._ranked(one)

    def folder(self, path: PathLike) -> Iterator[Tuple[Path, Union[Prediction, InputError]]]:
        """Return an iterator over the images in a folder and its subfolders, in order: their paths,
        and what `each` yields for them.

        Raises InputError if the folder does not exist or holds no images.
        """
        paths = find_images(path)
        return zip(paths, self.each(paths))

    def of_files(self, paths: Sequence[PathLike], names: Sequence[str]) -> np.ndarray:
        """Return the class probabilities (N, K), float64, for image files.

        names: the names of the images in a file of proposals. Raises InputError for the first image
        that can't be read.
        """
        return self._of_files(self.classifier.probabilities, paths, names)

    def logits_of_files(self, paths: Sequence[PathLike], names: Sequence[str]) -> np.ndarray:
        """Return the logits (N, K), float32, for image files; arguments and errors are those of
        `of_files`.
        """
        return self._of_files(self.classifier.logits, paths, names)

    def _of_files(
        self,
        answer: Callable[[Sequence[Any]], np.ndarray],
        paths: Sequence[PathLike],
        names: Sequence[str],
    ) -> np.ndarray:
        def given() -> Iterator[Read]:
            for path, name in zip(paths, names):
                yield read_bytes(path), str(path), name

        answers = []
        with Bar("predicting", len(paths), "images") as bar:
            for one in self._answered(bar.over(given()), answer, BATCH):
                if isinstance(one, InputError):
                    raise one
                answers.append(one)
        return np.stack(answers)

    def _answered(
        self,
        images: Iterator[Read],
        answer: Callable[[Sequence[Any]], np.ndarray],
        at_once: int,
    ) -> Iterator[Union[np.ndarray, InputError]]:
        """Yield for each image its row of the result of `answer`, or an InputError.

        answer: a function of `at_once` images. While it works on one group, the next group is read
        and decoded, but no group after that.
        """
        before: Optional[Future[List[Any]]] = None
        threads = usable_cores()
        with ThreadPoolExecutor(threads, thread_name_prefix="mlr-decoding") as decoders:
            while True:
                decoded: List[Future[Any]] = []
                for image in islice(images, at_once):
                    decoded.append(decoders.submit(self._seen, image))
                    wait(decoded[-1 - threads : -threads])  # keep few undecoded files in memory
                seen = [future.result() for future in decoded]
                asked = begun_on_networks_thread(_rows, answer, seen)
                if before:
                    yield from before.result()
                if not seen:
                    return
                before = asked

    def _seen(self, image: Read) -> Any:
        if isinstance(image, InputError):
            return image
        content, name, known_as = image
        try:
            return self.classifier.seen(pixels_of(content, name), known_as)
        except InputError as error:
            return error

    def _ranked(self, probabilities: np.ndarray) -> Prediction:
        ranked = sorted(zip(self.classes, probabilities.tolist()), key=lambda item: -item[1])
        return Prediction(ranked[0][0], dict(ranked))


def _rows(answer: Callable[[Sequence[Any]], np.ndarray], seen: Sequence[Any]) -> List[Any]:
    """Return for each image its row of the answer, its own InputError, or that of the answer."""
    whole = [one for one in seen if not isinstance(one, InputError)]
    try:
        rows: Iterator[Any] = iter(answer(whole) if whole else ())
    except InputError as error:
        rows = repeat(error)
    return [one if isinstance(one, InputError) else next(rows) for one in seen]
