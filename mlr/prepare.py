"""python -m mlr.prepare: make a data set ready for training."""

import sys
from collections import Counter
from pathlib import Path

from mlr import cli
from mlr.errors import InputError
from mlr.options.training import DRAWN, definitions

# The names of mlr.data.layouts.finding, which --help does not load.
DATASETS = {
    "fi": "Flickr and Instagram, in any of its layouts",
    "emotionroi": "EmotionROI",
    "emotion6": "Emotion6",
    "twitter1": "Twitter I",
    "twitter2": "Twitter II",
    "artphoto": "ArtPhoto",
    "abstract": "Abstract",
    "iapsa": "IAPSa, with a CSV file of rows file,emotion",
    "csv": "images <id>.jpg and a label.csv with rows id,label",
    "folders": "<class>/<image>, or {train,val,test}/<class>/<image>, of any classes",
}

SHEET_SPLITS = {"demo": "test", "demo-objects": "valid"}
SHEET_IMAGES = 10  # of each class
SHEET_SCALE = 0.65  # inches an image


def parser():
    parser = cli.Parser("prepare", __doc__)
    parser.add_argument(
        "--dataset",
        required=True,
        choices=(*DRAWN, *DATASETS),
        help=(
            "demo: draw the demo paintings; demo-objects: draw another task, to pretrain on; "
            + "; ".join("{}: {}".format(*item) for item in DATASETS.items())
        ),
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="the folder of the data set, which is only read; not for what is drawn",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder to write: the demo data, or a manifest of the images in --root",
    )
    parser.add_argument(
        "--rule",
        choices=("stratified", "released"),
        help=(
            "how to split where the data set has no lists of its own: 80/5/15 %% of each class "
            "to train, valid and test (EmotionROI and "
            "Emotion6: 70/30; the small sets: five folds), drawn; or, for csv, as released: the "
            "same number of each class to train, "
            "together 80 %%, and the rest to valid (default: stratified)"
        ),
    )
    parser.add_argument(
        "--seed",
        type=definitions()["seed"].parse,
        metavar="N",
        help="of the drawing (default: 7) or the split (default: 0)",
    )
    parser.add_argument(
        "--agree",
        choices=("three", "four", "five"),
        help="Twitter I: how many of five labellers agreed (default: three)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        default=None,
        help="end with an error where anything would be left out",
    )
    parser.add_argument(
        "--sheet", metavar="FILE.png", help="draw a contact sheet of the drawn images, too"
    )
    return parser


def prepare(options):
    only_for = {
        "root": options.dataset not in DRAWN,
        "rule": options.dataset == "csv",
        "agree": options.dataset == "twitter1",
        "strict": options.dataset not in DRAWN,
        "sheet": options.dataset in DRAWN,
        "seed": options.rule != "released",
    }
    for name, fits in only_for.items():
        if getattr(options, name) is not None and not fits:
            raise InputError(
                f"--{name} is not for --dataset "
                f"{options.dataset}{' --rule released, which draws nothing' if name == 'seed' else ''}"
            )
    if options.dataset in DRAWN:
        prepare_drawn(options.dataset, Path(options.out), options.seed, options.sheet)
    elif options.root is None:
        raise InputError(f"--dataset {options.dataset} needs --root, the folder of the data set")
    else:
        prepare_data_set(options)


def prepare_drawn(dataset, folder, seed, sheet):
    from mlr.data import drawn

    _, draw = drawn.DRAWN[dataset]
    draw(folder, **({} if seed is None else {"seed": seed}))
    print(f"{dataset} data: {folder}")
    if sheet:
        draw_sheet(folder / SHEET_SPLITS[dataset], sheet)
        print(f"contact sheet: {sheet}")


def prepare_data_set(options):
    """Read the rows of a data set, decode every image, split, and write the manifest."""
    from mlr.data import layouts
    from mlr.data.manifest import LEFT_OUT
    from mlr.data.preparation import JOURNAL, prepare_images
    from mlr.data.walk import by_kind

    root, out = Path(options.root), Path(options.out)
    if not root.is_dir():
        raise InputError(f"--root {root} does not exist or is no folder")
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {JOURNAL}):
        raise InputError(f"--out {out} exists already: give another folder, or remove it")
    data_set = layouts.DATASETS[options.dataset]
    listing = data_set.read(root, options.agree) if options.agree else data_set.read(root)
    if not listing.rows:
        raise InputError(
            f"no image of {options.dataset} is below {root} ({len(listing.left_out):d} rows and "
            "files left "
            f"out{': ' * bool(listing.left_out) + '; '.join(by_kind(listing.left_out))})"
        )
    entries, left_out = prepare_images(
        listing,
        out,
        data_set.shares,
        options.rule or "stratified",
        options.seed or 0,
        options.strict,
        {"dataset": options.dataset, "agree": options.agree},
    )
    print_counts(entries)
    if left_out:
        print(
            "{:d} left out, see {}\n  {}".format(
                len(left_out), out / LEFT_OUT, "\n  ".join(by_kind(left_out))
            )
        )
    print(f"prepared: {out}; train with mlr train --data {out}")


def print_counts(entries):
    """Print the number of images of each class and split."""
    from mlr.data.manifest import SPLITS

    counts = Counter((entry.emotion or entry.sentiment, entry.split) for entry in entries)
    splits = [name for name in SPLITS if any(split == name for _, split in counts)] or sorted(
        {split for _, split in counts}
    )
    print(
        f"{'class'!s:<14}"
        + "".join(f"{name if name in SPLITS else 'fold ' + name!s:>8}" for name in splits)
    )
    for label in sorted({label for label, _ in counts}):
        print(f"{label!s:<14}" + "".join(f"{counts[label, name]:8d}" for name in splits))


def draw_sheet(split, path):
    """Draw the first images of each class of a split into a file."""
    from mlr.data.class_folders import read_classes
    from mlr.viz.figures import new_figure, plot_contact_sheet, save_figure
    from mlr.viz.pictures import thumbnail

    rows = {
        folder.path.name: [thumbnail(file) for file in folder.images[:SHEET_IMAGES]]
        for folder in read_classes(split).folders
    }
    figure, axes = new_figure(SHEET_SCALE * SHEET_IMAGES + 1.6, SHEET_SCALE * len(rows))
    plot_contact_sheet(rows, axes)
    save_figure(figure, path)


def main(argv=None):
    return cli.run(parser(), prepare, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
