"""python -m mlr.prepare: make a data set ready for training."""

import argparse
import shlex
import shutil
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Sequence

from mlr import cli
from mlr.data.layouts import DATASETS
from mlr.data.layouts.data_set import DataSet
from mlr.errors import InputError
from mlr.options.option import given
from mlr.options.training import DRAWN, definitions
from mlr.runtime.output import in_a_line

if TYPE_CHECKING:
    from mlr.data.manifest import Entry
    from mlr.data.preparation import Prepared

# Each option once: data sets with the same layout share options.
OWN_OPTIONS = list(
    dict.fromkeys(option for data_set in DATASETS.values() for option in data_set.options)
)
BY_RELEASED_RULE = [name for name, data_set in DATASETS.items() if data_set.has_released_rule]
SHEET_SPLITS = ("test", "valid")  # the first of these that was drawn goes on the contact sheet
SHEET_IMAGES = 10  # for each class
SHEET_SCALE = 0.65  # inches for each image
NAME_WIDTH = 14  # columns for the names of the data sets in --help


def parser() -> cli.Parser:
    """Return the parser of the command line, whose --help lists the data sets."""
    parser = cli.Parser("prepare", __doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["data sets:", *map(in_words, DATASETS.values())])
    parser.add_argument(
        "--dataset",
        required=True,
        choices=(*DRAWN, *DATASETS),
        help=(
            "demo: draw the demo paintings; demo-objects: draw objects to pretrain on; the others "
            "are listed below"
        ),
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="the folder of the data set, which stays unchanged; not for demo and demo-objects",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder to write: the demo data, or a manifest of the images in --root",
    )
    add_split_options(parser)
    for option in OWN_OPTIONS:
        if option.choices:
            parser.add_argument(f"--{option.name}", choices=option.choices, help=option.help)
        else:
            parser.add_argument(
                f"--{option.name}", type=given, metavar=option.metavar, help=option.help
            )
    parser.add_argument(
        "--strict",
        action="store_true",
        default=None,
        help="end with an error if any image would be left out",
    )
    parser.add_argument(
        "--sheet", metavar="FILE.png", help="also draw a contact sheet of the demo's images"
    )
    return parser


def add_split_options(parser: cli.Parser) -> None:
    """Add the options that say how a data set is split."""
    parser.add_argument(
        "--rule",
        choices=("stratified", "released"),
        help=(
            "for data without own lists: stratified draws train, valid and test, or five folds, "
            "from each class, in the fractions listed below; released, only for "
            f"{', '.join(BY_RELEASED_RULE)}, puts the same number of images of each class into "
            "train, together 80 %%, and the rest into valid (default: stratified)"
        ),
    )
    parser.add_argument(
        "--seed",
        type=definitions()["seed"].parse,
        metavar="N",
        help="random seed of the demo's drawing (default: 7) or of the split (default: 0)",
    )


def in_words(data_set: DataSet) -> str:
    """Return the lines of --help for a data set: its layout, split and source."""
    source = f" ({data_set.source})" if data_set.source else ""
    return textwrap.fill(
        f"{data_set.title}: {data_set.layout}; {data_set.split}{source}",
        shutil.get_terminal_size().columns - 2,
        initial_indent=f"  {data_set.name:<{NAME_WIDTH - 2}}",
        subsequent_indent=" " * NAME_WIDTH,
        break_long_words=False,
        break_on_hyphens=False,
    )


def prepare(options: argparse.Namespace) -> None:
    """Draw the demo's data, or prepare a data set."""
    data_set = DATASETS.get(options.dataset)
    refuse_options_of_others(options, data_set)
    if data_set is None:
        prepare_drawn(options.dataset, Path(options.out), options.seed, options.sheet)
    elif options.root is None:
        raise InputError(f"--dataset {options.dataset} needs --root, the folder of the data set")
    else:
        prepare_data_set(data_set, options)


def refuse_options_of_others(options: argparse.Namespace, data_set: Optional[DataSet]) -> None:
    """Raise InputError for a given option that this data set does not have.

    data_set: None for the demo's data, which are drawn.
    """
    fits = {
        "root": data_set is not None,
        "rule": data_set is not None and data_set.has_released_rule,
        **{option.name: data_set and option in data_set.options for option in OWN_OPTIONS},
        "strict": data_set is not None,
        "sheet": data_set is None,
    }
    for name, fit in fits.items():
        if getattr(options, name) is not None and not fit:
            raise InputError(f"--{name} is not for --dataset {options.dataset}")
    if options.seed is not None and options.rule == "released":
        raise InputError(
            f"--seed is not for --dataset {options.dataset} --rule released, which draws nothing"
        )


def prepare_drawn(dataset: str, folder: Path, seed: Optional[int], sheet: Optional[str]) -> None:
    """Draw a data set into a folder. sheet: a file for a contact sheet."""
    from mlr.data import drawn

    cli.refuse_unwritable("--out", folder)
    if folder.exists() and not folder.is_dir():
        cli.refuse_existing(folder)
    if sheet:
        cli.refuse_wrong_file("--sheet", Path(sheet), cli.FIGURES)
    _, draw = drawn.DRAWN[dataset]
    draw(folder, **({} if seed is None else {"seed": seed}))
    print(f"{dataset} data: {folder}")
    if sheet:
        split = next(folder / name for name in SHEET_SPLITS if (folder / name).is_dir())
        draw_sheet(split, sheet)
        print(f"contact sheet: {sheet}")


def prepare_data_set(data_set: DataSet, options: argparse.Namespace) -> None:
    """Read the rows of a data set, decode every image, split, and write the manifest."""
    from mlr.data.manifest import LEFT_OUT
    from mlr.data.preparation import SplitRule, prepare_images, was_interrupted
    from mlr.data.walk import by_kind

    root, out = Path(options.root), Path(options.out)
    if not root.is_dir():
        raise InputError(f"--root {root} does not exist or is not a folder")
    if not (out.is_dir() and not any(out.iterdir())) and not was_interrupted(out):
        cli.refuse_existing(out)
    cli.refuse_unwritable("--out", out)
    own = {option.name: getattr(options, option.name) for option in data_set.options}
    listing = data_set.read(root, **{name: own[name] for name in own if own[name] is not None})
    for note in listing.notes:
        print(note)
    if not listing.rows:
        raise InputError(
            f"{root} holds no image of {data_set.name} ({len(listing.left_out):d} rows and files "
            f"left out{': ' * bool(listing.left_out) + '; '.join(by_kind(listing.left_out))})"
        )
    if listing.has_splits and options.seed is not None:
        raise InputError(
            f"--seed is for data without lists of splits, but {root} has some: leave it out"
        )
    prepared = prepare_images(
        listing,
        out,
        SplitRule(data_set.fractions, options.rule == "released", options.seed or 0),
        {"dataset": data_set.name, **own},
        bool(options.strict),
    )
    print_counts(prepared.entries)
    print_pictures(prepared)
    if data_set.published:
        print(in_proportion(data_set, prepared.entries))
    if prepared.left_out:
        kinds = "\n  ".join(by_kind(prepared.left_out))
        print(f"{len(prepared.left_out):d} left out, see {out / LEFT_OUT}\n  {kinds}")
    print(f"prepared: {out}; train with {training_command(out, prepared.entries)}")


def training_command(out: Path, entries: "Sequence[Entry]") -> str:
    """Return the command that trains on a prepared data set."""
    from mlr.data.manifest import SPLITS

    words = ["mlr", "train", "--data", str(out)]
    if not all(entry.emotion for entry in entries):
        words += ["--labels", "sentiment"]
    if entries[0].split not in SPLITS:
        words += ["--folds", "all"]
    return shlex.join(words)


def print_counts(entries: "Sequence[Entry]") -> None:
    """Print the number of images of each class and split."""
    from mlr.data.manifest import SPLITS

    counts = Counter((entry.emotion or entry.sentiment, entry.split) for entry in entries)
    found = {split for _, split in counts}
    splits = [name for name in SPLITS if name in found] or sorted(found)
    columns = [name if name in SPLITS else f"fold {name}" for name in splits]
    print(f"{'class':<14}" + "".join(f"{column:>8}" for column in columns))
    for label in sorted({label for label, _ in counts}):
        print(f"{label:<14}" + "".join(f"{counts[label, name]:8d}" for name in splits))


def print_pictures(prepared: "Prepared") -> None:
    """Print how many different pictures there are: files with the same pixels count once."""
    files, several = sum(map(len, prepared.pictures)), prepared.contradictory
    example = ", such as " + " and ".join(row.path for row in several[0]) if several else ""
    print(
        f"{files:d} images show {len(prepared.pictures):d} different pictures (compared by their "
        f"pixels), {len(several):d} of them with several classes{in_a_line(example)}"
    )


def in_proportion(data_set: DataSet, entries: "Sequence[Entry]") -> str:
    """Return the line that compares the numbers of images with the published ones."""
    counts = Counter(entry.emotion or entry.sentiment for entry in entries)
    by_class = ", ".join(
        f"{label} {counts[label]:d} of {published:d}"
        for label, published in data_set.published_classes.items()
        if not counts.keys().isdisjoint(data_set.published_classes)
    )
    total = f"found {len(entries):d} of the {data_set.published:d} published images"
    return f"{total}: {by_class}" if by_class else total


def draw_sheet(split: Path, path: str) -> None:
    """Draw the first images of each class of a split into a file."""
    from mlr.data.class_folders import read_classes
    from mlr.viz.figures import new_figure, plot_contact_sheet, save_figure
    from mlr.viz.images import thumbnail

    rows = {
        folder.path.name: [thumbnail(file) for file in folder.images[:SHEET_IMAGES]]
        for folder in read_classes(split).folders
    }
    figure, axes = new_figure(SHEET_SCALE * SHEET_IMAGES + 1.6, SHEET_SCALE * len(rows))
    plot_contact_sheet(rows, axes)
    save_figure(figure, path)


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command, and return its exit code."""
    return cli.run(parser(), prepare, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
