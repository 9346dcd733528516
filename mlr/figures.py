"""The pictures of a run and of a data set. Every plot function draws on the axes it is given and returns them."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np

from mlr import paper
from mlr.drawing import fonts_for, own_settings  # before Matplotlib
from mlr.files import write_file
from mlr.output import printable

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

CAPTION = 11  # points: readable in a figure ten inches wide that is shown 600 pixels wide
# Okabe and Ito's colours, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"


@own_settings()
def plot_loss(metrics, axes):
    """Draw the training loss by epoch. metrics: the lines of metrics.jsonl."""
    axes.plot([line["epoch"] for line in metrics], [line["loss"] for line in metrics], color=BLUE, marker=".")
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes


@own_settings()
def plot_accuracy(metrics, axes):
    """Draw accuracy on train and on the split that was evaluated, there also balanced, by epoch. metrics: the lines of metrics.jsonl."""
    split = "valid" if "valid_accuracy" in metrics[-1] else "test"
    for key, label, color, style in (("train_accuracy", "train (augmented)", BLUE, "-"), (split + "_accuracy", split, ORANGE, "-"),
                                     (split + "_balanced_accuracy", split + ", balanced", GREEN, "--")):
        there = [line for line in metrics if key in line]  # a transfer's target may be evaluated on another split than its source
        axes.plot([line["epoch"] for line in there], [line[key] for line in there], style, color=color, marker=".", label=label)
    axes.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
    return axes


@own_settings()
def plot_confusion(confusion, classes, axes):
    """Draw a confusion matrix, (K, K) counts with true classes as rows: the count, and below it, and as colour, the row's rate."""
    confusion = np.asarray(confusion)
    rates = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        axes.text(column, row, "%d\n%.2f" % (count, rates[row, column]) if count else "0", ha="center", va="center", fontsize=9,
                  color="white" if rates[row, column] > .5 else "black")
    names = [printable(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), names)
    axes.set(xlabel="predicted", ylabel="true")
    return axes


@own_settings()
def plot_classes(result, classes, axes):
    """Draw precision and recall of each class as bars. result: of `mlr.metrics.classification_metrics`."""
    rows = np.arange(len(classes))
    for shift, name, color in ((-.2, "recall", BLUE), (.2, "precision", ORANGE)):
        axes.barh(rows + shift, [result[name][label] or 0 for label in classes], .4, color=color, label=name)
    axes.set_yticks(rows, [printable(name) for name in classes])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="precision, recall")
    axes.legend(loc="upper center", bbox_to_anchor=(.5, 1.12), ncols=2, frameon=False)
    return axes


@own_settings()
def plot_results(results, chance, axes):
    """Draw the balanced accuracy of systems as bars with error bars. results: {system: (mean, standard deviation or None)}."""
    systems = list(results)
    means, deviations = zip(*results.values())
    axes.barh(systems, means, .7, color=BLUE, xerr=[deviation or 0 for deviation in deviations], ecolor=ORANGE, capsize=4)
    axes.axvline(chance, color="0.3", linestyle="--")
    for row, middle in enumerate(means):
        axes.text(.01, row, "%.3f" % middle, va="center", color="white")
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="balanced accuracy on test, dashed: chance")
    return axes


@own_settings()
def plot_contact_sheet(rows, axes):
    """Draw rows of equally large images. rows: {title: list of (H, W, 3) uint8 RGB}."""
    sheet = np.vstack([np.hstack(images) for images in rows.values()])
    height = len(sheet) / len(rows)
    axes.imshow(sheet)
    axes.set_yticks(height * (np.arange(len(rows)) + .5), rows)
    axes.set_xticks([])
    axes.tick_params(length=0)
    return axes


@own_settings()
def plot_picture(pixels, title, axes):
    """Draw an image, (H, W, 3) uint8 RGB, with a title above."""
    axes.imshow(pixels)
    return _without_ticks(title, axes)


@own_settings()
def plot_prediction(pixels, true, predicted, probability, axes):
    """Draw an image, (H, W, 3) uint8 RGB, framed and captioned: right, or wrong and what it truly is. true, predicted: class names."""
    right = true == predicted
    plot_picture(pixels, "%s: %s\nprobability %.3f%s" % ("right" if right else "wrong", predicted, probability, "" if right else "\ntrue: %s" % true), axes)
    for spine in axes.spines.values():
        spine.set(color=BLUE if right else VERMILION, linestyle="-" if right else "--", linewidth=2)
    return axes


@own_settings()
def plot_regions(picture, boxes, scores, title, axes):
    """Draw the affective regions of an image: those that are asked in orange, numbered from the best, the others in blue, dashed.

    picture: (H, W, 3) uint8 RGB. boxes: (R, 4), x1, y1, x2, y2 in pixels. scores: (R,); the paper.AR_TOP highest are asked.
    """
    plot_picture(picture, title, axes)
    order = np.argsort(-np.asarray(scores), kind="stable")
    for rank, (x1, y1, x2, y2) in reversed(list(enumerate(np.asarray(boxes)[order], start=1))):  # the best on top
        asked = rank <= paper.AR_TOP
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=ORANGE if asked else BLUE, linestyle="-" if asked else "--",
                                 linewidth=2 if asked else 1))
        if asked:
            axes.text(x1, y1, rank, va="top", fontsize=9, color="black", bbox={"facecolor": ORANGE, "edgecolor": "none", "pad": 1}, clip_on=True)
    return axes


@own_settings()
def plot_map(values, shape, title, axes, over=None):
    """Draw an activation map, (h, w), upsampled to the (height, width) of its image; dark is low, yellow is high.

    over: the image, (H, W, 3) uint8, for a translucent map above it.
    """
    values = cv2.resize(np.asarray(values, np.float32), shape[1::-1], interpolation=cv2.INTER_CUBIC)
    if over is not None:
        axes.imshow(over)
    axes.imshow(values, cmap="viridis", alpha=None if over is None else .6)
    return _without_ticks(title, axes)


@own_settings()
def plot_gram(matrix, highest, title, axes):
    """Draw a Gram matrix, (C, C), a square for each pair of channels: dark is 0, yellow is `highest`, the same for matrices to compare."""
    axes.imshow(matrix, cmap="viridis", vmin=0, vmax=highest)
    return _without_ticks(title, axes)


@own_settings()
def plot_contributions(matrix, title, axes):
    """Draw what the pairs of channels contribute, (C, C): blue for, red against, white nothing; the strongest 0.1 % saturate."""
    limit = max(np.quantile(np.abs(matrix), .999), 1e-12)
    axes.imshow(matrix, cmap="RdBu", vmin=-limit, vmax=limit)
    return _without_ticks(title, axes)


def _without_ticks(title, axes):
    axes.set_title(printable(title), fontsize=CAPTION)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


@own_settings()
def activation_figure(pictures, found):
    """Return the paper's activation figure: input and blocks 1 to 4, left to right; the images below each other.

    pictures: (H, W, 3) uint8 each. found: {block: for each image a list, strongest first, of dicts filter, map (h, w), activation,
    pattern (S, S, 3), excited}; each takes two rows, the map for the image above the pattern that excites the filter most.
    """
    ranks = len(next(iter(found.values()))[0])
    rows = 2 * ranks * len(pictures)
    figure, axes = new_figure(2 * (1 + len(found)), 2.3 * rows, 1 + len(found), rows)
    for unused in axes.ravel():
        unused.set_axis_off()
    for image, picture in enumerate(pictures):
        for rank in range(ranks):
            above, below = axes[2 * (image * ranks + rank):][:2]
            if rank == 0:
                above[0].set_axis_on()
                plot_picture(picture, "input image", above[0])
            below[0].text(.5, .5, "above: map of\nthe filter\n\nbelow: pattern that\nexcites it most", ha="center", va="center", fontsize=CAPTION)
            for number, block in enumerate(found, start=1):
                filter_ = found[block][image][rank]
                for panel in (above[number], below[number]):
                    panel.set_axis_on()
                plot_map(filter_["map"], picture.shape, "block %d, filter %d\nactivation %.2f" % (
                    number, filter_["filter"], filter_["activation"]), above[number])
                plot_picture(filter_["pattern"], "pattern of filter %d\nactivation %.2f" % (filter_["filter"], filter_["excited"]), below[number])
    return figure


@own_settings()
def predictions_figure(*groups, columns=5):
    """Return the sheet of groups of predictions, below each other. groups: lists of the arguments of `plot_prediction` but for the axes."""
    lines = [group[start:start + columns] for group in groups for start in range(0, len(group), columns)]
    figure, axes = new_figure(2 * columns, 2.6 * len(lines), columns, len(lines))
    for unused in axes.ravel():
        unused.set_axis_off()
    for line, panels in zip(lines, axes):
        for prediction, panel in zip(line, panels):
            panel.set_axis_on()
            plot_prediction(*prediction, panel)
    return figure


@own_settings()
def grad_cam_figure(pictures, maps, names):
    """Return a figure of images beside their Grad-CAM maps, (N, h, w), for the classes called `names`."""
    figure, axes = new_figure(6, 3.1 * len(pictures), 2, len(pictures))
    for picture, cam, name, (left, right) in zip(pictures, maps, names, axes):
        plot_picture(picture, "input image", left)
        plot_map(cam, picture.shape, "Grad-CAM for %s" % name, right, over=picture)
    return figure


@own_settings()
def gram_figure(pictures, contributions, pairs, names):
    """Return a figure of images beside what each shallow branch's channel pairs contribute to the class.

    contributions: {tap: (N, C, C)}. pairs: {tap: for each image [(a, b, contribution)]}. names: the classes.
    """
    figure, axes = new_figure(3 * (1 + len(contributions)), 4 * len(pictures), 1 + len(contributions), len(pictures))
    for image, (picture, name) in enumerate(zip(pictures, names)):
        plot_picture(picture, "input image", axes[image][0])
        for panel, tap in zip(axes[image][1:], contributions):
            listed = "\n".join("channels %d, %d: %+.2g" % pair for pair in pairs[tap][image])
            plot_contributions(contributions[tap][image], "%s, for %s\n%s" % (tap, name, listed), panel)
    return figure


@own_settings()
def new_figure(width, height, columns=1, rows=None, heights=None):
    """Return a figure, in inches, and its axes: one, or an array of a row or, where `rows` is given, of rows and columns.

    heights: of the rows, in proportion. Nothing global is touched.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows or 1, columns, squeeze=rows is None, height_ratios=heights)


@own_settings()
def figure_bytes(figure, kind="png"):
    """Return a figure as the content of a file. kind: png, svg, pdf. Dollar signs are no mathematics: they are in names of classes."""
    for axes in figure.axes:  # a tick has no text before it is asked for
        axes.get_xticklabels(), axes.get_yticklabels()
    texts = figure.findobj(Text)
    families = fonts_for("".join(text.get_text() for text in texts))
    for text in texts:
        text.set_parse_math(False)
        text.set_fontfamily(families)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # fonts_for has said so
        figure.savefig(picture, format=kind, dpi=120)
    return picture.getvalue()


def save_figure(figure, path):
    """Write a figure to a file whose ending tells the format; a write that fails leaves what was there."""
    path = Path(path)
    write_file(path, figure_bytes(figure, path.suffix.lstrip(".") or "png"))


@own_settings()
def save_curves(metrics, path):
    """Draw loss and accuracy by epoch, side by side, into a file."""
    figure, (left, right) = new_figure(9, 3.5, columns=2)
    plot_loss(metrics, left)
    plot_accuracy(metrics, right)
    save_figure(figure, path)


@own_settings()
def save_confusion(result, classes, title, path):
    """Draw the confusion matrix of `mlr.metrics.classification_metrics`, beside it precision and recall, into a file."""
    size = 2.5 + .45 * len(classes)
    figure, (left, right) = new_figure(1.7 * size, size, 2)
    plot_confusion(result["confusion"], classes, left)
    plot_classes(result, classes, right)
    figure.suptitle("%s: balanced accuracy %.3f" % (title, result["balanced_accuracy"]))
    save_figure(figure, path)
