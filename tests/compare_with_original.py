"""Compare this package with the released network on one's own weights and images.

    python -m tests.compare_with_original resnet50_v2_energy8.params data/valid --ctx "gpu(0)"

from the top folder of a checkout. FILE.params is what the released code saved; the images lie in
<folder>/<class>/. It compares

- the batches: gluon's ImageFolderDataset and the released evaluation transform, against `mlr`'s;
- the logits: benchmarks/released_style.py, the released network written out operator by operator,
  which reads the file by Gluon's own load_parameters, against mlr.MultiLevelNet with
  mlr.load_original_parameters, hybridized;
- where --logits is given, the logits of the authors' own code on the same images, too. To have
  these saved, add at the end of the released train.py, with its network, list of devices and
  evaluation loader in place of net, ctx and valid_iter,

      numpy.save("logits.npy", numpy.concatenate([net(X.as_in_context(ctx[0])).asnumpy() for X, _ in
      valid_iter]))

Exits with 0 where all is within its bound, 1 where not, 2 where a file can't be used.
"""

import argparse
import sys

import numpy as np
from mxnet import gluon
from mxnet.gluon.data.vision import ImageFolderDataset, transforms

import mlr
from benchmarks.released_style import ReleasedStyleNet
from mlr.cli import add_context
from mlr.data.folder import ImageFolder
from mlr.data.loader import GluonBatches
from mlr.data.transforms import evaluation_transform
from mlr.errors import InputError
from mlr.formats.params import read_params
from mlr.runtime.installation import require_mxnet

BATCH = 16
PIXEL_BOUND = 0
# relative to the largest logit: float32 through 50 layers, in other orders of addition
LOGIT_BOUND = 1e-5


def released_batches(folder):
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


def compare(options):
    """Print the comparison; return whether everything was within its bound."""
    ctx = mlr.parse_context(options.ctx)[0]
    arrays = read_params(options.params)
    if "output.1.bias" not in arrays:
        raise InputError(
            f"{options.params} has no output.1.bias: it is no file of the released code"
        )
    classes = arrays["output.1.bias"].size
    ours = mlr.MultiLevelNet(classes=classes)
    mlr.load_original_parameters(ours, options.params, ctx)
    ours.hybridize(static_alloc=True, static_shape=True)
    released = ReleasedStyleNet(classes)
    released.load_parameters(options.params, ctx=ctx)
    folder = ImageFolder(options.images)

    pixel_difference, our_logits, released_logits = 0.0, [], []
    for (images, _), (expected, _) in zip(
        GluonBatches(folder, evaluation_transform(), BATCH), released_batches(options.images)
    ):
        pixel_difference = max(pixel_difference, float((images - expected).abs().max().asscalar()))
        our_logits.append(ours(images.as_in_context(ctx)).asnumpy())
        released_logits.append(released(expected.as_in_context(ctx)).asnumpy())
    our_logits, labels = np.concatenate(our_logits), np.array(folder.labels)

    print(
        f"{len(folder):d} images of {len(folder.classes):d} classes, {classes:d} logits, on "
        f"{ctx}, MXNet {require_mxnet().__version__}"
    )
    lines = [("pixels after the evaluation transform", pixel_difference, PIXEL_BOUND)]
    theirs = [("released structure", np.concatenate(released_logits))]
    if options.logits:
        try:
            theirs.append(("authors' code", np.load(options.logits, allow_pickle=False)))
        except ValueError as error:
            raise InputError(
                f"{options.logits} can't be read as logits saved by numpy.save: {error}"
            ) from None
    for name, logits in theirs:
        if logits.shape != our_logits.shape:
            raise InputError(
                f"the logits of the {name} have the shape {logits.shape}, not "
                f"{our_logits.shape}: they are of other images"
            )
        lines.append(
            (
                f"logits, {name}",
                np.abs(our_logits - logits).max(),
                LOGIT_BOUND * np.abs(logits).max(),
            )
        )
        lines.append(
            (
                f"predictions that differ, {name}",
                np.count_nonzero(our_logits.argmax(axis=1) != logits.argmax(axis=1)),
                0,
            )
        )
    print(f"{'largest difference of'!s:<48} {'seen'!s:>12} {'bound'!s:>12}")
    for what, seen, bound in lines:
        print(f"{what!s:<48} {seen:12.3g} {bound:12.3g}{'' if seen <= bound else '   ABOVE'}")
    for name, logits in [("mlr", our_logits), *theirs] if len(folder.classes) == classes else ():
        print(f"accuracy, {name!s:<38} {np.mean(logits.argmax(axis=1) == labels):12.4f}")
    return all(seen <= bound for _, seen, bound in lines)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("params", help="a file that the released code saved")
    parser.add_argument("images", help="a folder <class>/<image>, as the released valid/")
    parser.add_argument(
        "--logits",
        metavar="FILE.npy",
        help="(images, classes), in the order of the folder, from the authors' code",
    )
    add_context(parser)
    options = parser.parse_args(argv)
    try:
        return 0 if compare(options) else 1
    except (InputError, OSError) as error:
        print(f"compare_with_original: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
