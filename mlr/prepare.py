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
    parser.add_argument("--dataset", required=True, choices=("demo", "csv"), help=(
        "demo: draw the demo paintings; csv: images <id>.jpg and a label.csv with rows id,label, as the released code takes them"))
    parser.add_argument("--root", metavar="DIR", help="the folder of the data set, which is only read; not for demo")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write: the demo data, or a manifest of the images in --root")
    parser.add_argument("--rule", choices=("stratified", "released"), help=(
        "how to split: 80/5/15 %% of each class to train, valid and test, drawn; or as released, the same number of each class to "
        "train, together 80 %%, and the rest to valid (default: stratified)"))
    parser.add_argument("--seed", type=command.number(int, 0), metavar="N", help="of the drawing (default: 7) or the split (default: 0)")
    parser.add_argument("--sheet", metavar="FILE.png", help="draw a contact sheet of the demo's test split, too")
    return parser


def prepare(options):
    if options.dataset == "demo":
        unused = [name for name in ("root", "rule") if getattr(options, name) is not None]
        if unused:
            raise InputError("--%s is not for --dataset demo, which is drawn, not read" % unused[0])
        prepare_demo(Path(options.out), options.seed, options.sheet)
    else:
        if options.root is None:
            raise InputError("--dataset %s needs --root, the folder of the data set" % options.dataset)
        if options.sheet:
            raise InputError("--sheet is for --dataset demo")
        if options.rule == "released" and options.seed is not None:
            raise InputError("--seed is not for --rule released, which draws nothing")
        prepare_labelled(Path(options.root), Path(options.out), options.rule or "stratified", options.seed or 0)


def prepare_demo(folder, seed, sheet):
    from mlr.data.demo import SEED, draw_demo_data

    draw_demo_data(folder, SEED if seed is None else seed)
    print("demo data: %s" % folder)
    if sheet:
        draw_sheet(folder / SHEET_SPLIT, sheet)
        print("contact sheet: %s" % sheet)


def prepare_labelled(root, out, rule, seed):
    """Read the rows of a data set, decode every image, split, and write the manifest."""
    from mlr.data.examine import examine_all
    from mlr.data.layouts import read_label_csv
    from mlr.data.manifest import Entry, LeftOut, write_prepared
    from mlr.data.partition import released_partition, stratified_partition
    from mlr.emotions import sentiment_of

    if not root.is_dir():
        raise InputError("--root %s does not exist or is no folder" % root)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("--out %s exists already: give another folder, or remove it" % out)
    rows, left_out = read_label_csv(root)
    found = list(zip(rows, examine_all(root / row.path for row in rows)))
    left_out += [LeftOut(row.path, "unreadable: " + image.fault) for row, image in found if image.fault]
    found = [(row, image) for row, image in found if not image.fault]
    if not found:
        raise InputError("none of the %d images below %s can be decoded" % (len(rows), root))
    emotions = [row.emotion for row, _ in found]
    splits = released_partition(emotions) if rule == "released" else stratified_partition(emotions, seed)
    entries = [
        Entry(row.path, row.emotion, sentiment_of(row.emotion), split, image.width, image.height, image.sha256)
        for (row, image), split in zip(found, splits)]
    write_prepared(out, {"root": str(root.resolve()), "rule": rule, "seed": None if rule == "released" else seed}, entries, left_out)
    print_counts(entries)
    if left_out:
        print("%d left out, see %s" % (len(left_out), out / "left_out.csv"))
    print("prepared: %s; train with mlr train --data %s" % (out, out))


def print_counts(entries):
    """Print the number of images of each class and split."""
    splits = [name for name in ("train", "valid", "test") if any(entry.split == name for entry in entries)]
    print("%-14s" % "class" + "".join("%8s" % name for name in splits))
    for emotion in sorted({entry.emotion for entry in entries}):
        of_class = [entry.split for entry in entries if entry.emotion == emotion]
        print("%-14s" % emotion + "".join("%8d" % of_class.count(name) for name in splits))


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
