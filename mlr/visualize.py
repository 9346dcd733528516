"""python -m mlr.visualize: draw what the filters of a run respond to, or what weighs for a
class.
"""

import sys
from pathlib import Path

from mlr import cli
from mlr.errors import InputError
from mlr.options.training import definitions
from mlr.runtime.installation import require_mxnet

FORMATS = (".png", ".svg", ".pdf")
PAIRS = 3  # of channels, listed for each branch
SEEDS = definitions()["seed"].lowest, definitions()["seed"].highest
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
    "grad-cam": "where the deep map speaks for the class",
    "gram": "which pairs of channels of the shallow branches weigh for the class",
    "regions": ("the eight affective regions that are asked, numbered from the highest score"),
}


def parser():
    parser = cli.Parser("visualize", __doc__)
    cli.add_run(parser, shipped=True)
    parser.add_argument(
        "--image", required=True, nargs="+", metavar="FILE", help="one or more images, a row each"
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FIGURE",
        help=f"the picture to write; its ending tells the format, {', '.join(FORMATS)}",
    )
    parser.add_argument(
        "--view",
        choices=VIEWS,
        default="filters",
        help="; ".join("{}: {}".format(*item) for item in VIEWS.items()) + " (default: filters)",
    )
    parser.add_argument(
        "--class",
        dest="label",
        metavar="NAME",
        help="for grad-cam and gram (default: the predicted one of each image)",
    )
    parser.add_argument(
        "--top",
        type=cli.number(int, 1),
        metavar="K",
        help="for filters: the K strongest filters (default: 1)",
    )
    parser.add_argument(
        "--measure",
        choices=("mean", "max"),
        help="for filters: what of a map counts as its activation (default: mean)",
    )
    parser.add_argument(
        "--seed",
        type=cli.number(int, *SEEDS),
        metavar="N",
        help="for filters: of the noise that patterns start from (default: 0)",
    )
    parser.add_argument(
        "--steps",
        type=cli.number(int, 1),
        metavar="N",
        help="for filters: of gradient ascent (default: 200)",
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
        help="for filters: smoothing while ascending (default: 0.6; 0: off)",
    )
    parser.add_argument(
        "--total-variation",
        type=cli.number(float, 0),
        metavar="W",
        help=(
            "for filters: weight against differences of neighbouring pixels (default: 0.15; 0: off)"
        ),
    )
    cli.add_context(parser)
    return parser


def visualize(options):
    out = Path(options.out)
    if out.suffix.lower() not in FORMATS:
        raise InputError(
            f"--out {out}: the ending tells the format, give one of {', '.join(FORMATS)}"
        )
    for name, views in OF_VIEWS.items():
        if getattr(options, name) is not None and options.view not in views:
            raise InputError(
                f"--{ {'label': 'class'}.get(name, name.replace('_', '-')) } has no effect on "
                f"--view {options.view}, only on {' and '.join(views)}: leave it out, or give "
                "another --view"
            )
    require_mxnet()
    from mlr.methods import METHODS, method_of, open_run, predictor_of
    from mlr.runtime.context import parse_context
    from mlr.viz.figures import save_figure

    ctx = parse_context(options.ctx)[0]
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
            f"--view {options.view} can't be drawn of {options.run}, a run of the method "
            f"{method.name}: {instead}a run of {having}"
        )
    draw = {
        "filters": draw_filters,
        "grad-cam": draw_grad_cam,
        "gram": draw_gram,
        "regions": draw_regions,
    }[options.view]
    save_figure(draw(predictor_of(run, [ctx], options.parameters), options), out)
    print(f"{VIEWS[options.view].partition(':')[0]}: {out}")


def images_seen(predictor, paths):
    """Return images to be looked at and as the network sees them: see `read_pictures`."""
    from mlr.viz.pictures import read_pictures

    return read_pictures(paths, predictor.answer.size, predictor.answer.ctx[0])


def draw_filters(predictor, options):
    """Return the figure of the strongest filters: two rows for each image and rank, maps above
    patterns.
    """
    from mlr.viz.figures import activation_figure
    from mlr.viz.filters import Ascent, strongest_with_patterns

    pictures, images = images_seen(predictor, options.image)
    given = {
        name: getattr(options, name)
        for name in Ascent._fields
        if getattr(options, name, None) is not None
    }
    return activation_figure(
        pictures,
        strongest_with_patterns(
            predictor.net,
            images,
            options.top or 1,
            options.measure or "mean",
            options.seed or 0,
            Ascent(**given),
        ),
    )


def draw_grad_cam(predictor, options):
    """Return the figure of images beside where the deep map speaks for their class."""
    from mlr.viz.attribution import grad_cam
    from mlr.viz.figures import grad_cam_figure

    pictures, images = images_seen(predictor, options.image)
    classes, names = chosen_classes(predictor, images, options.label)
    return grad_cam_figure(pictures, grad_cam(predictor.net, images, classes), names)


def draw_gram(predictor, options):
    """Return the figure of images beside which pairs of channels weigh for their class."""
    from mlr.viz.attribution import gram_contributions, strongest_pairs
    from mlr.viz.figures import gram_figure

    net = predictor.net
    pictures, images = images_seen(predictor, options.image)
    classes, names = chosen_classes(predictor, images, options.label)
    contributions = gram_contributions(net, images, classes)
    pairs = [[strongest_pairs(matrix, PAIRS) for matrix in branch] for branch in contributions]
    return gram_figure(
        pictures, dict(zip(net.taps, contributions)), dict(zip(net.taps, pairs)), names
    )


def draw_regions(predictor, options):
    """Return the figure of images beside their regions, with what the image alone says and what it
    says with them.
    """
    import numpy as np

    from mlr.data.images import read_image
    from mlr.inference.proposals import name_of
    from mlr.viz.figures import new_figure, plot_picture, plot_regions
    from mlr.viz.pictures import LONGEST, shrunk

    paths = options.image
    figure, axes = new_figure(7, 3.4 * len(paths), 2, len(paths))
    for path, (left, right) in zip(paths, axes):
        pixels = read_image(path).asnumpy()
        found, picture = (
            predictor.answer.regions.predict(pixels, name_of(path)),
            shrunk(pixels, LONGEST),
        )
        boxes = found.boxes[found.chosen] * (
            np.tile(picture.shape[1::-1], 2) / np.tile(pixels.shape[1::-1], 2)
        )
        alone, together = (
            predictor.classes[int(p.argmax())] + f" {p.max():.2f}"
            for p in (found.image_probabilities, found.probabilities)
        )
        plot_picture(picture, f"image alone: {alone}", left)
        plot_regions(
            picture, boxes, found.scores[found.chosen], f"with its regions: {together}", right
        )
    return figure


def chosen_classes(predictor, images, label):
    """Return for each image the number and the name of its class: the one asked for, or the
    predicted one.
    """
    if label is None:
        classes = predictor.net(images).argmax(axis=1).asnumpy().astype(int).tolist()
    else:
        classes = [predictor.classes.index(label)] * len(images)
    return classes, [predictor.classes[number] for number in classes]


def main(argv=None):
    return cli.run(parser(), visualize, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
