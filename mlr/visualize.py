"""python -m mlr.visualize: draw what the filters of a trained network respond to, or which evidence
it uses for a class.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence, Tuple, Union

from mlr import cli
from mlr.errors import InputError
from mlr.options.option import flag
from mlr.options.training import definitions
from mlr.runtime.cpu import compute_beside_others, compute_with_one_thread
from mlr.runtime.installation import is_installed, require_mxnet

if TYPE_CHECKING:
    import mxnet as mx
    import numpy as np
    from matplotlib.figure import Figure

    from mlr.inference.predictor import Predictor

PAIRS = 3  # pairs of channels listed for each branch
# Up to this size, in pixels, the operators of a pattern's few steps are short: docs/performance.md.
SMALL_IMAGE = 160
SEED = definitions()["seed"]
LARGEST_IMAGE = definitions()["image_size"].highest
OF_VIEWS = {
    "label": ("grad-cam", "gram"),
    **dict.fromkeys(
        ("top", "measure", "seed", "steps", "jitter", "blur", "total_variation"), ("filters",)
    ),
}
VIEWS = {
    "filters": (
        "the paper's figure: for each block the filter with the highest activation, its map, and "
        "the pattern that excites it most"
    ),
    "grad-cam": "where the deep map supports the class",
    "gram": "which pairs of channels of the shallow branches support the class",
    "regions": (
        "the eight affective regions that the prediction uses, numbered from the highest score"
    ),
}


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.Parser("visualize", __doc__)
    cli.add_run(parser, shipped=True, exported=True)
    parser.add_argument(
        "--image",
        required=True,
        nargs="+",
        metavar="FILE",
        help="one or more images, one row of the figure for each",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FIGURE",
        help=f"the figure to write; its ending sets the format, {', '.join(cli.FIGURES)}",
    )
    parser.add_argument(
        "--view",
        choices=VIEWS,
        default="filters",
        help="; ".join(f"{name}: {what}" for name, what in VIEWS.items()) + " (default: filters)",
    )
    parser.add_argument(
        "--class",
        dest="label",
        metavar="NAME",
        help=(
            "for grad-cam and gram: the class to explain (default: the predicted class of each "
            "image)"
        ),
    )
    add_filter_options(parser)
    cli.add_context(parser)
    return parser


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of --view filters."""
    parser.add_argument(
        "--top",
        type=cli.number(int, 1),
        metavar="K",
        help="for filters: the K strongest filters (default: 1)",
    )
    parser.add_argument(
        "--measure",
        choices=("mean", "max"),
        help="for filters: how a map's activation is measured (default: mean)",
    )
    parser.add_argument(
        "--seed",
        type=cli.number(int, SEED.lowest, SEED.highest),
        metavar="N",
        help="for filters: random seed of the noise that patterns start from (default: 0)",
    )
    parser.add_argument(
        "--steps",
        type=cli.number(int, 1, 10**6),
        metavar="N",
        help="for filters: steps of gradient ascent (default: 200)",
    )
    parser.add_argument(
        "--jitter",
        type=cli.number(int, 0, LARGEST_IMAGE),
        metavar="PX",
        help="for filters: random shift before each step (default: 4; 0: off)",
    )
    parser.add_argument(
        "--blur",
        type=cli.number(float, 0, LARGEST_IMAGE),
        metavar="PX",
        help="for filters: smoothing during the ascent (default: 0.6; 0: off)",
    )
    parser.add_argument(
        "--total-variation",
        type=cli.number(float, 0),
        metavar="W",
        help=(
            "for filters: weight of the penalty on differences of neighbouring pixels (default: "
            "0.15; 0: off)"
        ),
    )


def visualize(options: argparse.Namespace) -> None:
    """Draw a view of a run into a file."""
    out = Path(options.out)
    cli.refuse_wrong_file("--out", out, cli.FIGURES)
    if out.exists() and any(map(out.samefile, filter(os.path.exists, options.image))):
        raise InputError(f"--out {out} is one of the images: give another --out")
    for name, views in OF_VIEWS.items():
        if getattr(options, name) is not None and options.view not in views:
            raise InputError(
                f"{'--class' if name == 'label' else flag(name)} has no effect on "
                f"--view {options.view}, only on {' and '.join(views)}: leave it out, or give "
                "another --view"
            )
    from mlr.methods import METHODS, answering, method_of, open_run
    from mlr.runs.folder import Run
    from mlr.viz.figures import save_figure

    run = open_run(options.run)
    if options.label is not None and options.label not in run.classes:
        raise InputError(
            f"the run has no class {options.label}: choose one of {', '.join(run.classes)}"
        )
    method = method_of(run.config)
    if options.view not in method.views:
        having = ", ".join(each.name for each in METHODS.values() if options.view in each.views)
        instead = f"give --view {' or '.join(method.views)}, or " if method.views else "give "
        raise InputError(
            f"--view {options.view} can't be drawn for {options.run}, a run of the method "
            f"{method.name}: {instead}a run of {having}"
        )
    if options.view != "grad-cam" and not isinstance(run, Run):
        raise InputError(
            f"--view {options.view} needs the maps inside the network, which ONNX Runtime does "
            "not give: give the run folder, or --view grad-cam"
        )
    if options.view != "grad-cam" and not is_installed("mxnet"):
        require_mxnet()  # it says what to install
    draw = {
        "filters": draw_filters,
        "grad-cam": draw_grad_cam,
        "gram": draw_gram,
        "regions": draw_regions,
    }[options.view]
    if options.view == "filters" and run.config["preprocessing"]["image_size"] <= SMALL_IMAGE:
        compute_with_one_thread()
    else:
        compute_beside_others()
    predictor = answering(run, options.ctx, options.parameters)
    save_figure(draw(predictor, options), out)
    print(f"{VIEWS[options.view].partition(':')[0]}: {out}")


def images_and_inputs(
    predictor: "Predictor", paths: Sequence[Union[str, Path]]
) -> "Tuple[List[np.ndarray], mx.nd.NDArray]":
    """Return images to show, each (h, w, 3) uint8, and as the network sees them, (N, 3, S, S).

    Raises InputError, which names the file, for the first image that is missing or damaged.
    """
    from mlr.viz.images import read_images_and_inputs

    return read_images_and_inputs(paths, predictor.classifier.size, predictor.ctx[0])


def draw_filters(predictor: "Predictor", options: argparse.Namespace) -> "Figure":
    """Return the figure of the strongest filters: for each image and rank the maps above the
    patterns.
    """
    from mlr.viz.figures import activation_figure
    from mlr.viz.filters import Ascent, strongest_with_patterns

    images, inputs = images_and_inputs(predictor, options.image)
    given = {
        name: getattr(options, name)
        for name in Ascent._fields
        if getattr(options, name, None) is not None
    }
    return activation_figure(
        images,
        strongest_with_patterns(
            predictor.net,
            inputs,
            options.top or 1,
            options.measure or "mean",
            options.seed or 0,
            Ascent(**given),
        ),
    )


def draw_grad_cam(predictor: "Predictor", options: argparse.Namespace) -> "Figure":
    """Return the figure of images, each beside the places where the deep map supports its class."""
    from mlr.viz.figures import grad_cam_figure
    from mlr.viz.images import read_images_and_arrays

    images, inputs = read_images_and_arrays(options.image, predictor.classifier.size)
    label = options.label
    asked = None if label is None else [predictor.classes.index(label)] * len(images)
    maps, classes = predictor.classifier.grad_cam(inputs, asked)
    return grad_cam_figure(images, maps, [predictor.classes[number] for number in classes])


def draw_gram(predictor: "Predictor", options: argparse.Namespace) -> "Figure":
    """Return the figure of images, each beside the pairs of channels that support its class."""
    from mlr.viz.attribution import gram_contributions, strongest_pairs
    from mlr.viz.figures import gram_figure

    net = predictor.net
    images, inputs = images_and_inputs(predictor, options.image)
    classes, names = chosen_classes(predictor, inputs, options.label)
    contributions = [list(branch) for branch in gram_contributions(net, inputs, classes)]
    pairs = [[strongest_pairs(matrix, PAIRS) for matrix in branch] for branch in contributions]
    return gram_figure(
        images, dict(zip(net.taps, contributions)), dict(zip(net.taps, pairs)), names
    )


def draw_regions(predictor: "Predictor", options: argparse.Namespace) -> "Figure":
    """Return the figure of images beside their regions, with the prediction from the image alone
    and the prediction from image and regions.
    """
    import numpy as np

    from mlr.data.images import pixels_of, read_bytes
    from mlr.inference.classifiers import RegionsClassifier
    from mlr.inference.proposals import name_of
    from mlr.viz.figures import new_figure, plot_image, plot_regions
    from mlr.viz.images import LONGEST, shrunk

    classifier, paths = predictor.classifier, options.image
    assert isinstance(classifier, RegionsClassifier)  # the method's classifier
    figure, axes = new_figure(7, 3.4 * len(paths), 2, len(paths))
    for path, (left, right) in zip(paths, axes):
        pixels = pixels_of(read_bytes(path), path)
        found, small = classifier.regions.predict(pixels, name_of(path)), shrunk(pixels, LONGEST)
        scale = np.tile(small.shape[1::-1], 2) / np.tile(pixels.shape[1::-1], 2)
        boxes, scores = found.boxes[found.chosen] * scale, found.scores[found.chosen]
        alone, together = (
            predictor.classes[int(p.argmax())] + f" {p.max():.2f}"
            for p in (found.image_probabilities, found.probabilities)
        )
        plot_image(small, f"image alone: {alone}", left)
        plot_regions(small, boxes, scores, f"with its regions: {together}", right)
    return figure


def chosen_classes(
    predictor: "Predictor", inputs: "mx.nd.NDArray", label: Optional[str]
) -> Tuple[List[int], List[str]]:
    """Return for each image the number and the name of its class: the one that --class names, or
    the predicted one.
    """
    if label is None:
        classes = predictor.net(inputs).argmax(axis=1).asnumpy().astype(int).tolist()
    else:
        classes = [predictor.classes.index(label)] * len(inputs)
    return classes, [predictor.classes[number] for number in classes]


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; return the exit code."""
    return cli.run(parser(), visualize, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
