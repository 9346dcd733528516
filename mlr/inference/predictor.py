"""From images to the probabilities of classes, as each row of the table does it.

`mlr.load()` returns a trained network together with its preprocessing and its class names, ready to
be called.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import (
    BinaryIO,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Tuple,
    Union,
    overload,
)

import mxnet as mx
import numpy as np
from mxnet import nd
from PIL import Image as pil

from mlr.cli import SHIPPED_RUN
from mlr.data import transforms
from mlr.data.images import checked_content, content_of, image_of, read_bytes, read_image, rgb_of
from mlr.data.transforms import caffe_transform
from mlr.data.walk import walk, words_on
from mlr.errors import InputError
from mlr.formats.params import read_params
from mlr.inference import forward
from mlr.inference.fused_graph import fused
from mlr.inference.proposals import name_of, read_proposals
from mlr.inference.regions import AffectiveRegions
from mlr.inference.support_vectors import SupportVectorMachine
from mlr.runs.folder import Run
from mlr.runtime.context import parse_context

BATCH = 64
AT_ONCE = 16  # images that the network sees together
SVM = "svm.params"

PathLike = Union[str, "os.PathLike[str]"]
BYTES = (bytes, bytearray, memoryview)
File = Union[PathLike, bytes, bytearray, memoryview, BinaryIO, pil.Image]
Image = Union[File, np.ndarray]
ACCEPTED = (
    'the path of an image file, its content as bytes, a file opened with mode "rb", a PIL image, '
    "or a NumPy array (H, W, 3) of uint8, RGB"
)

# MXNet is no friend of threads: 1.5.1 hangs, crashes or fails where a lock is around the network
# alone, and others read images or load a
# run meanwhile. So one thread does the work of all.
_MXNET = ThreadPoolExecutor(1, thread_name_prefix="mlr")


def _renew_thread():
    """A forked process has no thread but the one that forked, and what is asked of the others would
    never be answered.
    """
    global _MXNET
    _MXNET = ThreadPoolExecutor(1, thread_name_prefix="mlr")


os.register_at_fork(after_in_child=_renew_thread)


class Prediction(NamedTuple):
    """What a network says of an image."""

    label: str  # the most probable class
    probabilities: Dict[str, float]  # of each class, the highest first; they sum to 1


def load(
    run: PathLike = SHIPPED_RUN,
    ctx: Optional[Union[str, mx.Context]] = None,
    parameters: str = "last",
) -> "Predictor":
    """Return a run as a function from images to predictions.

    run: the folder, the --out of a training (default: the demo's run that ships with the package).
    ctx: a context, or text as in --ctx, "gpu(0)" or "gpu(0),gpu(1)" (default: the first GPU that
    MXNet sees, else the CPU). parameters: "last", after the last epoch, or "best", of the best
    balanced accuracy on valid.

    Raises InputError for a folder that is no run or is damaged, parameters that it has not, and a
    context that is not there.
    """
    if parameters not in ("last", "best"):
        raise InputError(f'parameters are "last" or "best", not {parameters!r}')
    if not isinstance(run, (str, os.PathLike)):
        raise InputError(f"a run is the path of its folder, not a {type(run).__name__}")
    return _MXNET.submit(
        lambda: Predictor.of_run(Run.open(run), parse_context(ctx), parameters)
    ).result()


class Predictor:
    """A trained network with what goes before and after it. Any thread may call it: what they ask
    is answered in turn.

    predictor = mlr.load(); predictor("photo.jpg").label; predictor(["a.jpg", pixels]); for path,
    answer in predictor.folder("photos"): ...

    Attributes: `net`; `classes`, K names; `ctx`; `transform`, the evaluation preset: (H, W, 3)
    uint8 -> (3, S, S); `machine`, for DeepSentiBank the SupportVectorMachine on its features;
    `regions`, for AR its AffectiveRegions.
    """

    def __init__(self, net, classes, config, ctx, machine=None):
        """config: of the run. ctx: list of contexts. machine: the SupportVectorMachine on the
        features, for DeepSentiBank.
        """
        self.net, self.classes, self.ctx, self.machine, self._config, self._named = (
            net,
            classes,
            ctx,
            machine,
            config,
            "the network",
        )
        self.transform = evaluation_transform(config)
        self._answering = net.features if config.get("features") == "fc7" else net
        self.regions = self._affective_regions() if row_of(config) == "ar" else None

    @classmethod
    def of_run(cls, run, ctx, parameters="last"):
        """Return the predictor of a `mlr.runs.folder.Run`. Raises InputError where its files are
        damaged.
        """
        machine = None
        if row_of(run.config) == "deepsentibank":
            path = run.verified(SVM)
            machine = SupportVectorMachine.from_arrays(read_params(path), path)
        net = run.load_network(ctx, parameters)
        if machine and (machine.classes, machine.width) != (
            len(run.classes),
            net.output.weight.shape[run.config["features"] == "fc7"],
        ):
            raise InputError(
                f"{path} is for {machine.classes:d} classes and features of length "
                f"{machine.width:d}, which are not the run's: restore it from a copy, or train "
                "again"
            )
        predictor = cls(net, run.classes, run.config, ctx, machine)
        predictor._answering, predictor._named = (
            fused(predictor._answering),
            f"the network of {run.folder}, {parameters}.params,",
        )
        return predictor

    @overload
    def __call__(self, images: File) -> Prediction: ...

    @overload
    def __call__(self, images: Union[List[Image], Tuple[Image, ...]]) -> List[Prediction]: ...

    @overload
    def __call__(self, images: np.ndarray) -> Union[Prediction, List[Prediction]]: ...

    def __call__(self, images):
        """Return the Prediction of an image, or a list of one for each of several.

        images: the path of an image file, its content as bytes, a binary file with it, a PIL image,
        or its pixels, an array (H, W, 3) of uint8, RGB; or a list of these, of any sizes; or an
        array (N, H, W, 3). Files are decoded as in training, so their orientation (EXIF) is
        ignored, and that of PIL images, too.

        Raises InputError, naming the file or telling the array, for the first that can't be read or
        has another shape or type; of AR, also where its file of proposals has none of the image, as
        it has of no array.
        """
        one = (
            images.ndim != 4
            if isinstance(images, np.ndarray)
            else _is_file(images) or not hasattr(images, "__iter__")
        )
        answers = []
        for answer in self.each([images] if one else images):
            if isinstance(answer, InputError):
                raise answer
            answers.append(answer)
        return answers[0] if one else answers

    def each(self, images: Iterable[Image]) -> Iterator[Union[Prediction, InputError]]:
        """Yield for each image, any of the above but (N, H, W, 3), its Prediction or the InputError
        that tells why there is none.

        Of any number, even without end: 16 are read, one after the other, and answered together.
        """
        images = iter(images)
        for part in iter(lambda: list(islice(images, AT_ONCE)), []):
            yield from self._answers(part)

    def folder(self, path: PathLike) -> Iterator[Tuple[Path, Union[Prediction, InputError]]]:
        """Return an iterator over the images in and below a folder, in order: their paths, and what
        `each` says of them.

        Raises InputError where the folder is not there or holds no images.
        """
        paths = find_images(path)
        return zip(paths, self.each(paths))

    def of_files(self, paths, names):
        """Return the probabilities (N, K), float64, of the classes for image files; names: by which
        proposals know the images.
        """
        chunks = [slice(start, start + BATCH) for start in range(0, len(paths), BATCH)]
        return np.concatenate(
            [
                self._probabilities(
                    [
                        self._seen(read_image(path), name)
                        for path, name in zip(paths[part], names[part])
                    ]
                )
                for part in chunks
            ]
        )

    def _seen(self, image, name):
        """Return what stands for an image, (H, W, 3) uint8 RGB NDArray, which can be large, until
        its batch is answered: the network's input, an NDArray (3, S, S), or what AR says of it,
        (K,). Raises InputError where AR has no proposals of the name.
        """
        if self.regions:
            return self.regions.predict(image.asnumpy(), name).probabilities
        seen = self.transform(image)
        seen.wait_to_read()  # or MXNet would keep the image until it comes to it
        return seen

    def _probabilities(self, seen):
        """Return the probabilities (N, K), float64, of the classes for images as `_seen`. Raises
        InputError where they are no numbers.
        """
        if self.regions:
            return np.stack(seen)
        batch = nd.stack(*seen)
        if self.machine:
            return self.machine.probabilities(self.features(batch))
        return self._softmax(batch)

    def features(self, batch):
        """Return the network's answer to a batch (N, 3, S, S), a NumPy array: logits (N, K), and
        for DeepSentiBank what the SVM is trained on, (N, D): what config.json calls `features`, fc8
        or fc7. Raises InputError where it is no number.
        """
        features = forward.predict(self._answering, [(batch, nd.zeros(len(batch)))], self.ctx)[0]
        if not np.isfinite(features).all():
            raise InputError(
                f"{self._named} answers with NaN or infinity: its weights are damaged, or its "
                "training diverged; restore it from a copy, or train again"
            )
        return features

    def _answers(self, images):
        answers, seen = {}, {}
        for number, image in enumerate(images):
            try:
                read, name = _read(image), _name(image)
                seen[number] = _MXNET.submit(
                    lambda: self._seen(_pixels(read, name), name_of(name))
                ).result()
            except InputError as error:
                answers[number] = error
        if seen:
            try:
                probabilities = _MXNET.submit(self._probabilities, list(seen.values())).result()
            except InputError as error:
                answers.update((number, error) for number in seen)
            else:
                answers.update(zip(seen, map(self._ranked, probabilities)))
        return [answers[number] for number in range(len(images))]

    def _ranked(self, probabilities):
        ranked = sorted(zip(self.classes, probabilities.tolist()), key=lambda item: -item[1])
        return Prediction(ranked[0][0], dict(ranked))

    def _softmax(self, batch):
        # In float64, where rounding doesn't make equals of the highest two.
        return nd.softmax(nd.array(self.features(batch), dtype="float64")).asnumpy()

    def _affective_regions(self):
        source, size = (
            self._config["options"]["proposals"],
            self._config["preprocessing"]["image_size"],
        )
        options = {"proposals": source}
        if Path(source).suffix.lower() in (".npz", ".mat"):
            options = {"proposals": read_proposals(source)}
        elif source != "grid":
            options = {"proposals": "edgeboxes", "model": source}

        def probabilities_of(crops):
            return self._softmax(transforms.normalized(nd.array(crops, dtype=np.uint8)))

        return AffectiveRegions(
            probabilities_of, size, seed=self._config["options"]["seed"], **options
        )


def find_images(folder: PathLike, left_out: Optional[list] = None) -> List[Path]:
    """Return the image files in and below a folder, in order; no pipes, which may never end. Raises
    InputError where it is no folder or holds none.

    left_out: a list to which a `mlr.data.walk.LeftOut` is added for everything else that is there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    paths, others = walk(folder)
    if not paths:
        raise InputError(
            "no images (JPEG, PNG and other formats of pictures) in "
            f"{folder}{'; ' + words_on(others) if others else ''}"
        )
    if left_out is not None:
        left_out += others
    return sorted(paths)


def _is_file(image):
    return isinstance(image, (str, os.PathLike, *BYTES, pil.Image)) or hasattr(image, "read")


def _name(image):
    """Return the path of an image, or what stands for it in messages."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    # of a file, of a PIL image
    name = getattr(image, "name", None) or getattr(image, "filename", None)
    if name and isinstance(name, str):
        return name
    return (
        "<array>"
        if isinstance(image, np.ndarray)
        else "<bytes>"
        if isinstance(image, BYTES)
        else f"<{type(image).__name__}>"
    )


def _read(image):
    """Return the content of an image file, or pixels (H, W, 3) of uint8, RGB. Raises InputError as
    `Predictor.__call__`.

    In the thread that asks, which alone a pipe without an end then holds up.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_bytes(image)
    if isinstance(image, pil.Image):
        return rgb_of(image)
    if isinstance(image, BYTES):
        return checked_content(bytes(image), _name(image))
    if hasattr(image, "read"):
        try:
            return checked_content(content_of(image, _name(image)), _name(image))
        except (OSError, ValueError) as error:  # as of one that is closed
            raise (
                error
                if isinstance(error, InputError)
                else InputError(f"can't read image {_name(image)}: {error}")
            ) from None
    if not isinstance(image, np.ndarray):
        raise InputError(f"an image is {ACCEPTED}, not a {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"an image is an array (H, W, 3) of uint8, RGB, and this one is {image.shape} of "
            f"{image.dtype}: repeat grey three times, leave alpha out, and bring other numbers "
            "to 0 to 255 and .astype('uint8')"
        )
    return image


def _pixels(read, name):
    """Return what `_read` returned as an NDArray (H, W, 3) of uint8, RGB. Raises InputError where
    it can't be decoded.
    """
    return (
        nd.array(read, mx.cpu(), np.uint8) if isinstance(read, np.ndarray) else image_of(read, name)
    )


def row_of(config):
    """Return the row that a run is of; runs from before there were rows are L_cil's."""
    return config["options"].get("row", "l_cil")


def training_transform(config, augmentation):
    """Return the training preset of a run's network."""
    size = config["preprocessing"]["image_size"]
    return (
        caffe_transform(size, train=True)
        if config["network"].get("kind") == "caffenet"
        else transforms.training_transform(size, augmentation)
    )


def evaluation_transform(config):
    """Return the evaluation preset of a run's network."""
    size = config["preprocessing"]["image_size"]
    return (
        caffe_transform(size)
        if config["network"].get("kind") == "caffenet"
        else transforms.evaluation_transform(size)
    )
