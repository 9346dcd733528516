"""python -m mlr.visualize: draw what the filters of a run respond to, or what weighs for a
class.
"""

import sys
from pathlib import Path

from mlr import cli
from mlr.errors import InputError
from mlr.inference.proposals import name_of
from mlr.options.presets import BOUNDS
from mlr.runtime.installation import require_mxnet
from mlr.viz.pictures import LONGEST, read_pictures, shrunk

FORMATS = (".png", ".svg", ".pdf")
PAIRS = 3  # of channels, listed for each branch
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
    "regions": (
        "for a run of the row ar: the eight regions that are asked, numbered from the highest score"
    ),
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
        type=cli.number(int, *BOUNDS["seed"]),
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
        type=cli.number(int, 0, BOUNDS["image_size"][1]),
        metavar="PX",
        help="for filters: random shift before each step (default: 4; 0: off)",
    )
    parser.add_argument(
        "--blur",
        type=cli.number(float, 0, BOUNDS["image_size"][1]),
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
    from mlr.inference.predictor import Predictor, row_of
    from mlr.runs.folder import Run
    from mlr.runtime.context import parse_context
    from mlr.viz.figures import save_figure

    ctx = parse_context(options.ctx)[0]
    run = Run.open(options.run)
    if options.label is not None and options.label not in run.classes:
        raise InputError(
            f"the run has no class {options.label}: choose one of {', '.join(run.classes)}"
        )
    row = row_of(run.config)
    if (options.view == "regions") != (row == "ar") or row not in ("ar", "l_cil"):
        raise InputError(
            f"--view {options.view} can't be drawn of {options.run}, a run of the row {row}: "
            f"{ {'ar': 'give --view regions', 'l_cil': 'regions are of the row ar, choose another --view'}.get(row, 'give one of the row l_cil or ar') }"
        )
    if row == "ar":
        save_figure(
            draw_regions(Predictor.of_run(run, [ctx], options.parameters), options.image), out
        )
        print(f"{VIEWS['regions'].partition(':')[0]}: {out}")
        return
    pictures, images = read_pictures(options.image, run.config["preprocessing"]["image_size"], ctx)
    net = run.load_network([ctx], options.parameters)
    draw = {"filters": draw_filters, "grad-cam": draw_grad_cam, "gram": draw_gram}[options.view]
    save_figure(draw(run, net, pictures, images, options), out)
    print(f"{VIEWS[options.view].partition(':')[0]}: {out}")


def draw_filters(run, net, pictures, images, options):
    """Return the figure of the strongest filters: two rows for each image and rank, maps above
    patterns.
    """
    from mlr.viz.figures import activation_figure
    from mlr.viz.filters import Ascent, strongest_with_patterns

    given = {
        name: getattr(options, name)
        for name in Ascent._fields
        if getattr(options, name, None) is not None
    }
    return activation_figure(
        pictures,
        strongest_with_patterns(
            net,
            images,
            options.top or 1,
            options.measure or "mean",
            options.seed or 0,
            Ascent(**given),
        ),
    )


def draw_grad_cam(run, net, pictures, images, options):
    from mlr.viz.attribution import grad_cam
    from mlr.viz.figures import grad_cam_figure

    classes, names = chosen_classes(run, net, images, options.label)
    return grad_cam_figure(pictures, grad_cam(net, images, classes), names)


def draw_gram(run, net, pictures, images, options):
    from mlr.viz.attribution import gram_contributions, strongest_pairs
    from mlr.viz.figures import gram_figure

    classes, names = chosen_classes(run, net, images, options.label)
    contributions = gram_contributions(net, images, classes)
    pairs = [[strongest_pairs(matrix, PAIRS) for matrix in branch] for branch in contributions]
    return gram_figure(
        pictures, dict(zip(net.taps, contributions)), dict(zip(net.taps, pairs)), names
    )


def draw_regions(predictor, paths):
    """Return the figure of images beside their regions, with what the image alone says and what it
    says with them.
    """
    import numpy as np

    from mlr.data.images import read_image
    from mlr.viz.figures import new_figure, plot_picture, plot_regions

    figure, axes = new_figure(7, 3.4 * len(paths), 2, len(paths))
    for path, (left, right) in zip(paths, axes):
        pixels = read_image(path).asnumpy()
        found, picture = predictor.regions.predict(pixels, name_of(path)), shrunk(pixels, LONGEST)
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


def chosen_classes(run, net, images, label):
    """Return for each image the number and the name of its class: the one asked for, or the
    predicted one.
    """
    if label is None:
        classes = net(images).argmax(axis=1).asnumpy().astype(int).tolist()
    else:
        classes = [run.classes.index(label)] * len(images)
    return classes, [run.classes[number] for number in classes]


def main(argv=None):
    return cli.run(parser(), visualize, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
