"""python -m mlr.compare: compare this package with the released network on one's own weights and
images.

It compares

- the batches: gluon's ImageFolderDataset and the released evaluation transform, against mlr's;
- the logits: the released network written out operator by operator, which reads the file by Gluon's
  own load_parameters, against mlr.MultiLevelNet with mlr.load_original_parameters, hybridized;
- where --logits is given, the logits of the authors' own code on the same images, too. To have
  these saved, add at the end of the released train.py, with its network, list of devices and
  evaluation loader in place of net, ctx and valid_iter,

      numpy.save("logits.npy", numpy.concatenate([net(X.as_in_context(ctx[0])).asnumpy() for X, _ in
      valid_iter]))

To compare runs with each other, see mlr report.

Exits with 0 where all is within its bound, 1 where not, 2 where a file can't be used.
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
# relative to the largest logit: float32 through 50 layers, in other orders of addition
LOGIT_BOUND = 1e-5


class Difference(NamedTuple):
    """A line of the comparison: of what, the largest difference seen, and its bound."""

    what: str
    seen: float
    bound: float


def parser() -> cli.Parser:
    """Return the parser of this command's options."""
    parser = cli.Parser("compare", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("params", metavar="FILE.params", help="what the released code saved")
    parser.add_argument(
        "images", metavar="FOLDER", help="with <class>/<image>, as the released valid/"
    )
    parser.add_argument(
        "--logits",
        metavar="FILE.npy",
        help="(images, classes), in the order of the folder, from the authors' code",
    )
    cli.add_context(parser)
    return parser


def compare(options: argparse.Namespace) -> None:
    """Print the comparison. Raises RunError where a difference is above its bound."""
    mxnet = require_mxnet()
    import numpy as np

    from mlr.data.folder import ImageFolder

    ctx = mlr.parse_context(options.ctx)[0]
    networks = both_networks(options.params, ctx)
    folder = ImageFolder(options.images)
    pixel_difference, ours, released = answers_of(folder, options.images, networks, ctx)
    classes = ours.shape[1]
    print(
        f"{len(folder)} images of {len(folder.classes)} classes, {classes} logits, on "
        f"{ctx}, MXNet {mxnet.__version__}"
    )
    others = [("released structure", released)]
    if options.logits:
        others.append(("authors' code", read_logits(options.logits, ours.shape)))
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
        raise RunError(f"above its bound: {'; '.join(above)}")


def both_networks(params: str, ctx: "mx.Context") -> tuple:
    """Return this package's network, hybridized, and one as the released, both with the parameters
    of a file of the released code. Raises InputError where it is none.
    """
    from mlr.formats.params import read_params
    from mlr.model.released_style import ReleasedStyleNet

    arrays = read_params(params)
    if "output.1.bias" not in arrays:
        raise InputError(f"{params} has no output.1.bias: it is no file of the released code")
    classes = arrays["output.1.bias"].size
    ours = mlr.MultiLevelNet(classes=classes)
    mlr.load_original_parameters(ours, params, ctx)
    ours.hybridize(static_alloc=True, static_shape=True)
    released = ReleasedStyleNet(classes)
    released.load_parameters(params, ctx=ctx)
    return ours, released


def answers_of(
    folder: "ImageFolder", path: str, networks: tuple, ctx: "mx.Context"
) -> "Tuple[float, np.ndarray, np.ndarray]":
    """Return the largest difference of the batches' pixels, and the logits (N, K) of either
    network, each from its own batches.

    folder: the one at `path`.
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


def read_logits(path: str, shape: Tuple[int, ...]) -> "np.ndarray":
    """Return the logits of the authors' code that numpy.save wrote. Raises InputError where they
    can't be read, or are of another shape than (N, K).
    """
    import numpy as np

    try:
        logits = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as logits saved by numpy.save: {error}") from None
    if logits.shape != shape:
        raise InputError(
            f"the logits of the authors' code have the shape {logits.shape}, not {shape}: they are "
            "of other images"
        )
    return logits


def differences(name: str, ours: "np.ndarray", logits: "np.ndarray") -> List[Difference]:
    """Return what two arrays of logits (N, K) differ by: in numbers, and in predictions."""
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
