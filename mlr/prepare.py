"""python -m mlr.prepare: make a data set ready for training."""

import sys
from pathlib import Path

from mlr import command
from mlr.errors import InputError

SHEET_SPLIT = "test"
SHEET_IMAGES = 10  # of each class
SHEET_SCALE = .65  # inches an image


def parser():
    parser = command.Parser("prepare", __doc__)
    parser.add_argument("--dataset", required=True, choices=("demo",), help="demo: draw the demo paintings")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--seed", type=command.number(int, 0), metavar="N", default=None, help="of the drawing (default: 7)")
    parser.add_argument("--sheet", metavar="FILE.png", help="draw a contact sheet of the test split, too")
    return parser


def prepare(options):
    from mlr.data.demo import SEED, draw_demo_data

    folder = Path(options.out)
    draw_demo_data(folder, SEED if options.seed is None else options.seed)
    print("demo data: %s" % folder)
    if options.sheet:
        draw_sheet(folder / SHEET_SPLIT, options.sheet)
        print("contact sheet: %s" % options.sheet)


def draw_sheet(split, path):
    """Draw the first images of each class of a split into a file."""
    import cv2

    from mlr.figures import new_figure, plot_contact_sheet, save_figure

    rows = {
        folder.name: [cv2.imread(str(file))[:, :, ::-1] for file in sorted(folder.iterdir())[:SHEET_IMAGES]]
        for folder in sorted(split.iterdir())}
    figure, axes = new_figure(SHEET_SCALE * SHEET_IMAGES + 1.4, SHEET_SCALE * len(rows))
    plot_contact_sheet(rows, axes)
    save_figure(figure, path)


def main(argv=None):
    return command.run(parser(), prepare, argv)


if __name__ == "__main__":
    sys.exit(main())
