"""python -m mlr.compare: check on your own weights and images that this package computes what the
released network does.

The command compares

- the batches: gluon's ImageFolderDataset and the released evaluation transform, against mlr's;
- the logits: the released network written out operator by operator, which reads the file by Gluon's
  own load_parameters, against mlr.MultiLevelNet with mlr.load_original_parameters, hybridized;
- with --logits, also the logits of the authors' own code on the same images. To save these, add the
  following at the end of the released train.py; replace net, ctx and valid_iter by the names of its
  network, list of devices and evaluation loader:

      numpy.save("logits.npy", numpy.concatenate([net(X.as_in_context(ctx[0])).asnumpy() for X, _ in
      valid_iter]))

To compare runs with each other, see mlr report.

The exit code is 0 if every difference is within its bound, 1 if one is not, and 2 if a file can't
be used.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, NamedTuple, Optional, Tuple

import mlr
from mlr import cli
from mlr.errors import InputError, RunError
from mlr.runtime.installation import require_mxnet

if TYPE_CHECKING:
    import mxnet as mx
    import numpy as np
    from mxnet import gluon

    from mlr.data.folder import ImageFolder

BATCH = 16
PIXEL_BOUND = 0
# relative to the largest logit: rounding of float32 through 50 layers, as the two networks add in
# different orders
LOGIT_BOUND = 1e-5


class Difference(NamedTuple):
    """A line of the comparison: what is compared, the largest difference seen, and its bound."""

    what: str
    seen: float
    bound: float


def parser() -> cli.Parser:
    """Return the parser of this command's options."""
    parser = cli.Parser("compare", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "params", metavar="FILE.params", help="the parameters that the released code saved"
    )
    parser.add_argument(
        "images",
        metavar="FOLDER",
        help="the images, as <class>/<image>, like valid/ of the released code",
    )
    parser.add_argument(
        "--logits",
        metavar="FILE.npy",
        help="logits of the authors' code, (images, classes), in the order of the folder",
    )
    cli.add_context(parser)
    return parser


def compare(options: argparse.Namespace) -> None:
    """Print the comparison. Raises RunError if a difference is above its bound."""
    mxnet = require_mxnet()
    import numpy as np

    from mlr.data.folder import ImageFolder

    ctx = mlr.parse_context(options.ctx)[0]
    networks = both_networks(options.params, ctx)
    folder = ImageFolder(options.images)
    refuse_other_files(folder, options.images)
    authors = read_logits(options.logits) if options.logits else None
    pixel_difference, ours, released = answers_of(folder, options.images, networks, ctx)
    classes = ours.shape[1]
    print(
        f"{len(folder)} images of {len(folder.classes)} classes, {classes} logits, on "
        f"{ctx}, MXNet {mxnet.__version__}"
    )
    others = [("released structure", released)]
    if authors is not None:
        refuse_other_shape(options.logits, authors, ours.shape)
        others.append(("authors' code", authors))
    lines = [Difference("pixels after the evaluation transform", pixel_difference, PIXEL_BOUND)]
    for name, logits in others:
        lines += differences(name, ours, logits)
    print(f"{'largest difference of':<48} {'seen':>12} {'bound':>12}")
    for what, seen, bound in lines:
        print(f"{what:<48} {seen:12.3g} {bound:12.3g}{'' if seen <= bound else '   ABOVE'}")
    if len(folder.classes) == classes:
        for name, logits in [("mlr", ours), *others]:
            accuracy = np.mean(logits.argmax(axis=1) == np.array(folder.labels))
            print(f"accuracy, {name:<38} {accuracy:12.4f}")
    above = [line.what for line in lines if not line.seen <= line.bound]
    if above:
        raise RunError(f"the difference is above its bound for {'; '.join(above)}")


def both_networks(params: str, ctx: "mx.Context") -> tuple:
    """Return this package's network, hybridized, and one in the released style, both with the
    parameters of a file of the released code. Raises InputError for any other file.
    """
    from mlr.formats.params import read_params
    from mlr.model.released_style import ReleasedStyleNet

    arrays = read_params(params)
    if "output.1.bias" not in arrays:
        raise InputError(
            f"{params} has no output.1.bias, so it is not a parameter file of the released code: "
            "give one that its train.py saved"
        )
    classes = arrays["output.1.bias"].size
    ours = mlr.MultiLevelNet(classes=classes)
    mlr.load_original_parameters(ours, params, ctx)
    ours.hybridize(static_alloc=True, static_shape=True)
    released = ReleasedStyleNet(classes)
    released.load_parameters(params, ctx=ctx, cast_dtype=True)
    return ours, released


def answers_of(
    folder: "ImageFolder", path: str, networks: tuple, ctx: "mx.Context"
) -> "Tuple[float, np.ndarray, np.ndarray]":
    """Return the largest difference between the pixels of both packages' batches, and the logits
    (N, K) of both networks; each network gets the batches of its own package.

    folder: the images at `path`.
    """
    import numpy as np

    from mlr.data.loader import GluonBatches
    from mlr.data.transforms import evaluation_transform

    pixel_difference = 0.0
    logits: Tuple[List[np.ndarray], List[np.ndarray]] = ([], [])
    for (images, _), (expected, _) in zip(
        GluonBatches(folder, evaluation_transform(), BATCH), released_batches(path)
    ):
        pixel_difference = max(pixel_difference, float((images - expected).abs().max().asscalar()))
        for net, batch, answers in zip(networks, (images, expected), logits):
            answers.append(net(batch.as_in_context(ctx)).asnumpy())
    return pixel_difference, np.concatenate(logits[0]), np.concatenate(logits[1])


def released_batches(folder: str) -> "gluon.data.DataLoader":
    """Return the batches of a folder as the released code makes them for evaluation: images
    (N, 3, 224, 224) and labels (N,).
    """
    from mxnet import gluon
    from mxnet.gluon.data.vision import ImageFolderDataset, transforms

    chain = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    return gluon.data.DataLoader(
        ImageFolderDataset(folder).transform_first(chain), BATCH, last_batch="keep"
    )


def refuse_other_files(folder: "ImageFolder", path: str) -> None:
    """Raise InputError if Gluon's ImageFolderDataset and this package don't read the same files of
    the folder at `path`.
    """
    from mxnet.gluon.data.vision import ImageFolderDataset

    theirs = [Path(file) for file, _ in ImageFolderDataset(path).items]
    apart = sorted(set(folder.paths) ^ set(theirs))
    if apart:
        reader = "this package" if apart[0] in folder.paths else "Gluon's ImageFolderDataset"
        raise InputError(
            f"{apart[0]}: only {reader} reads this file, so there is nothing to compare it with: "
            "move it out of the folder. Gluon reads .jpg, .jpeg and .png, hidden files too"
        )


def read_logits(path: str) -> "np.ndarray":
    """Return the logits (N, K) of the authors' code, from a file of numpy.save. Raises InputError
    if the file can't be read, or holds something else.
    """
    import numpy as np

    try:
        logits = np.load(Path(path), allow_pickle=False)
        if not isinstance(logits, np.ndarray) or logits.dtype.kind not in "fiu":
            raise ValueError("it does not hold one array of numbers")
    except Exception as error:  # NumPy and zipfile raise many kinds on other files
        raise InputError(f"{path} can't be read as logits saved by numpy.save: {error}") from None
    return logits


def refuse_other_shape(path: str, logits: "np.ndarray", shape: Tuple[int, ...]) -> None:
    """Raise InputError if the logits of a file don't have a shape (N, K)."""
    if logits.shape != shape:
        raise InputError(
            f"{path}: the logits have the shape {logits.shape}, not {shape}, likely as they are "
            "for other images: save those of the folder that you compare"
        )


def differences(name: str, ours: "np.ndarray", logits: "np.ndarray") -> List[Difference]:
    """Return the largest difference of two arrays of logits (N, K), and how many predictions
    differ.
    """
    differ = ours.argmax(axis=1) != logits.argmax(axis=1)
    return [
        Difference(f"logits, {name}", abs(ours - logits).max(), LOGIT_BOUND * abs(logits).max()),
        Difference(f"predictions that differ, {name}", differ.sum(), 0),
    ]


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command and return its exit code."""
    return cli.run(parser(), compare, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
