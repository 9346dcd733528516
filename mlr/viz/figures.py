"""The figures of a run and of a data set. Every plot function draws on the given axes and returns
them.
"""

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, Tuple, Union

from mlr.viz.style import fonts_for, own_settings  # isort: split

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from mlr import paper
from mlr.errors import InputError
from mlr.runtime.files import write_file
from mlr.runtime.output import printable

if TYPE_CHECKING:
    from mlr.viz.looks import Bin

Metrics = Sequence[Mapping[str, Any]]

CAPTION = 11  # points; readable in a figure of ten inches that is displayed 600 pixels wide
# Okabe and Ito's colours, which colour-blind readers can distinguish, too.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
COLOURS = BLUE, ORANGE, GREEN, VERMILION, "#56B4E9", "#CC79A7", "#000000"
DASHES = "-", "--", ":", "-."
DPI = 120
HIGHEST = 2**16 - 1  # pixels of a figure that Matplotlib can draw
LONGEST_NAME = 20  # characters of a run's name in a legend, of which two stand side by side


@own_settings()
def plot_loss(metrics: Metrics, axes: Axes) -> Axes:
    """Draw the training loss by epoch. metrics: the lines of metrics.jsonl."""
    axes.plot(
        [line["epoch"] for line in metrics],
        [line["loss"] for line in metrics],
        color=BLUE,
        marker=".",
    )
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes


@own_settings()
def plot_accuracy(metrics: Metrics, axes: Axes) -> Axes:
    """Draw accuracy on train, and accuracy and balanced accuracy on the evaluated split, by epoch.
    metrics: the lines of metrics.jsonl.
    """
    split = "valid" if "valid_accuracy" in metrics[-1] else "test"
    for key, label, color, style in (
        ("train_accuracy", "train (augmented)", BLUE, "-"),
        (split + "_accuracy", split, ORANGE, "-"),
        (split + "_balanced_accuracy", split + ", balanced", GREEN, "--"),
    ):
        # in a transfer the target may be evaluated on another split than the source
        there = [line for line in metrics if key in line]
        axes.plot(
            [line["epoch"] for line in there],
            [line[key] for line in there],
            style,
            color=color,
            marker=".",
            label=label,
        )
    axes.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
    return axes


@own_settings()
def plot_runs(curves: Mapping[str, Sequence[Tuple[float, float]]], ylabel: str, axes: Axes) -> Axes:
    """Draw curves of several runs by epoch in one plot; they differ in colour, then in dashes.
    curves: {name: (epoch, value) of each epoch}.
    """
    for number, (name, points) in enumerate(curves.items()):
        axes.plot(
            *zip(*points),
            DASHES[number // len(COLOURS) % len(DASHES)],
            color=COLOURS[number % len(COLOURS)],
            marker=".",
            label=printable(shortened(name)),
        )
    axes.set(xlabel="epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False)
    return axes


def shortened(name: str) -> str:
    """Return a name for a legend. Names of runs often differ only at their end, so the middle is
    left out.
    """
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}...{name[-half:]}"


@own_settings()
def plot_confusion(confusion: ArrayLike, classes: Sequence[str], axes: Axes) -> Axes:
    """Draw a confusion matrix, (K, K) counts with true classes as rows. Each cell has the count,
    and below it, and as its colour, the share of its row.
    """
    counts = np.asarray(confusion)
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column,
            row,
            f"{count:d}\n{rates[row, column]:.2f}" if count else "0",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if rates[row, column] > 0.5 else "black",
        )
    names = [printable(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), names)
    axes.set(xlabel="predicted", ylabel="true")
    return axes


@own_settings()
def plot_classes(result: Mapping[str, Any], classes: Sequence[str], axes: Axes) -> Axes:
    """Draw precision and recall of each class as bars. result: what
    `mlr.training.metrics.classification_metrics` returned.
    """
    rows = np.arange(len(classes))
    for shift, name, color in ((-0.2, "recall", BLUE), (0.2, "precision", ORANGE)):
        axes.barh(
            rows + shift,
            [result[name][label] or 0 for label in classes],
            0.4,
            color=color,
            label=name,
        )
    axes.set_yticks(rows, [printable(name) for name in classes])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="precision, recall")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=2, frameon=False)
    return axes


@own_settings()
def plot_reliability(reliability: Mapping[str, Any], axes: Axes) -> Axes:
    """Draw accuracy by confidence, one bar for each bin with images, and the diagonal, on which
    confidence equals accuracy. reliability: what `mlr.training.metrics.calibration_metrics`
    returned.
    """
    bins = len(reliability["images"])
    there = [number for number in range(bins) if reliability["images"][number]]
    axes.bar(
        [(number + 0.5) / bins for number in there],
        [reliability["accuracy"][number] for number in there],
        1 / bins,
        color=BLUE,
        edgecolor="white",
    )
    axes.plot([0, 1], [0, 1], "--", color=ORANGE, label="confidence = accuracy")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    axes.legend(loc="upper left")
    return axes


@own_settings()
def plot_confidences(reliability: Mapping[str, Any], axes: Axes) -> Axes:
    """Draw the number of images by confidence as bars. reliability: as for `plot_reliability`."""
    images = reliability["images"]
    middles = (np.arange(len(images)) + 0.5) / len(images)
    axes.bar(middles, images, 1 / len(images), color="0.6", edgecolor="white")
    axes.set(xlim=(0, 1), xlabel="confidence", ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return axes


@own_settings()
def plot_results(
    results: Mapping[str, Tuple[float, Optional[float]]], chance: float, axes: Axes
) -> Axes:
    """Draw the balanced accuracy of systems as bars with error bars. results: {system: (mean,
    standard deviation or None)}.
    """
    systems = list(results)
    means, deviations = zip(*results.values())
    axes.barh(
        systems,
        means,
        0.7,
        color=BLUE,
        xerr=[deviation or 0 for deviation in deviations],
        ecolor=ORANGE,
        capsize=4,
    )
    axes.axvline(chance, color="0.3", linestyle="--")
    for row, middle in enumerate(means):
        axes.text(0.01, row, f"{middle:.3f}", va="center", color="white")
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="balanced accuracy on test, dashed: chance")
    return axes


@own_settings()
def plot_contact_sheet(rows: Mapping[str, Sequence[np.ndarray]], axes: Axes) -> Axes:
    """Draw rows of equally large images. rows: {title: list of (H, W, 3) uint8 RGB}."""
    sheet = np.vstack([np.hstack(images) for images in rows.values()])
    height = len(sheet) / len(rows)
    axes.imshow(sheet)
    axes.set_yticks(height * (np.arange(len(rows)) + 0.5), rows)
    axes.set_xticks([])
    axes.tick_params(length=0)
    return axes


@own_settings()
def plot_image(pixels: np.ndarray, title: str, axes: Axes) -> Axes:
    """Draw an image, (H, W, 3) uint8 RGB, with a title above."""
    axes.imshow(pixels)
    return _without_ticks(title, axes)


@own_settings()
def plot_prediction(
    pixels: np.ndarray, true: str, predicted: str, probability: float, axes: Axes
) -> Axes:
    """Draw an image, (H, W, 3) uint8 RGB, in a frame, with a caption: whether the prediction is
    right, and the true class if not. true, predicted: class names.
    """
    right = true == predicted
    caption = f"{'right' if right else 'wrong'}: {predicted}\nprobability {probability:.3f}"
    plot_image(pixels, caption if right else f"{caption}\ntrue: {true}", axes)
    for spine in axes.spines.values():
        spine.set(color=BLUE if right else VERMILION, linestyle="-" if right else "--", linewidth=2)
    return axes


@own_settings()
def plot_regions(
    image: np.ndarray, boxes: ArrayLike, scores: ArrayLike, title: str, axes: Axes
) -> Axes:
    """Draw the affective regions of an image: those that the prediction uses in orange, numbered
    from the highest score, the others in dashed blue.

    image: (H, W, 3) uint8 RGB. boxes: (R, 4), x1, y1, x2, y2 in pixels. scores: (R,); the
    prediction uses the paper.AR_TOP highest.
    """
    plot_image(image, title, axes)
    order = np.argsort(-np.asarray(scores), kind="stable")
    # the best on top
    for rank, (x1, y1, x2, y2) in reversed(list(enumerate(np.asarray(boxes)[order], start=1))):
        asked = rank <= paper.AR_TOP
        axes.add_patch(
            Rectangle(
                (x1, y1),
                x2 - x1,
                y2 - y1,
                fill=False,
                edgecolor=ORANGE if asked else BLUE,
                linestyle="-" if asked else "--",
                linewidth=2 if asked else 1,
            )
        )
        if asked:
            axes.text(
                x1,
                y1,
                rank,
                va="top",
                fontsize=9,
                color="black",
                bbox={"facecolor": ORANGE, "edgecolor": "none", "pad": 1},
                clip_on=True,
            )
    return axes


@own_settings()
def plot_map(
    values: ArrayLike,
    shape: Tuple[int, ...],
    title: str,
    axes: Axes,
    over: Optional[np.ndarray] = None,
) -> Axes:
    """Draw an activation map, (h, w), upsampled to the size of its image; dark is low, yellow is
    high. shape: (height, width, ...) of the image.

    over: the image, (H, W, 3) uint8, to draw the map translucent above it.
    """
    height, width = shape[:2]
    upsampled = cv2.resize(
        np.asarray(values, np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    if over is not None:
        axes.imshow(over)
    axes.imshow(upsampled, cmap="viridis", alpha=None if over is None else 0.6)
    return _without_ticks(title, axes)


@own_settings()
def plot_gram(matrix: np.ndarray, highest: float, title: str, axes: Axes) -> Axes:
    """Draw a Gram matrix, (C, C), with a square for each pair of channels: dark is 0, yellow is
    `highest`. Give matrices that are compared the same `highest`.
    """
    axes.imshow(matrix, cmap="viridis", vmin=0, vmax=highest)
    return _without_ticks(title, axes)


@own_settings()
def plot_contributions(matrix: np.ndarray, title: str, axes: Axes) -> Axes:
    """Draw the contributions of pairs of channels, (C, C): blue for the class, red against it,
    white for 0. The strongest 0.1 % saturate.
    """
    limit = max(np.quantile(np.abs(matrix), 0.999), 1e-12)
    axes.imshow(matrix, cmap="RdBu", vmin=-limit, vmax=limit)
    return _without_ticks(title, axes)


def _without_ticks(title: str, axes: Axes) -> Axes:
    axes.set_title(printable(title), fontsize=CAPTION)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


@own_settings()
def activation_figure(
    images: Sequence[np.ndarray], found: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]
) -> Figure:
    """Return the paper's activation figure: the input image and blocks 1 to 4 from left to right,
    one image below the other.

    images: (H, W, 3) uint8 each. found: what `mlr.viz.filters.strongest_with_patterns` returned.
    Each filter has two rows: its map for the image, and below it the pattern that excites the
    filter most.
    """
    ranks = len(next(iter(found.values()))[0])
    heights = [
        height + 0.5  # for the two lines of a caption
        for image in images
        for height in ranks * (_height(image, 2), 2)
    ]
    figure, axes = new_figure(
        2 * (1 + len(found)), sum(heights), 1 + len(found), len(heights), heights
    )
    for unused in axes.ravel():
        unused.set_axis_off()
    for number, image in enumerate(images):
        first = 2 * number * ranks
        axes[first][0].set_axis_on()
        plot_image(image, "input image", axes[first][0])
        for rank in range(ranks):
            above, below = axes[first + 2 * rank :][:2]
            filters = [of_images[number][rank] for of_images in found.values()]
            _plot_filters(image, filters, above, below)
    return figure


def _plot_filters(
    image: np.ndarray,
    filters: Sequence[Mapping[str, Any]],
    above: Sequence[Axes],
    below: Sequence[Axes],
) -> None:
    """Draw one filter for each block: its map for the image in a row of axes, and its pattern in
    the row below.
    """
    below[0].text(
        0.5,
        0.5,
        "above: map of\nthe filter\n\nbelow: pattern that\nexcites it most",
        ha="center",
        va="center",
        fontsize=CAPTION,
    )
    for number, filter_ in enumerate(filters, start=1):
        for panel in (above[number], below[number]):
            panel.set_axis_on()
        plot_map(
            filter_["map"],
            image.shape,
            f"block {number:d}, filter {filter_['filter']:d}\n"
            f"activation {filter_['activation']:.2f}",
            above[number],
        )
        plot_image(
            filter_["pattern"],
            f"pattern of filter {filter_['filter']:d}\nactivation {filter_['excited']:.2f}",
            below[number],
        )


@own_settings()
def predictions_figure(
    *groups: Sequence[Tuple[np.ndarray, str, str, float]], columns: int = 5
) -> Figure:
    """Return a sheet with groups of predictions, one below the other. groups: lists of the
    arguments of `plot_prediction`, without the axes.
    """
    lines = [
        group[start : start + columns]
        for group in groups
        for start in range(0, len(group), columns)
    ]
    figure, axes = new_figure(2 * columns, 2.6 * len(lines), columns, len(lines))
    for unused in axes.ravel():
        unused.set_axis_off()
    for line, panels in zip(lines, axes):
        for prediction, panel in zip(line, panels):
            panel.set_axis_on()
            plot_prediction(*prediction, panel)
    return figure


@own_settings()
def grad_cam_figure(images: Sequence[np.ndarray], maps: np.ndarray, names: Sequence[str]) -> Figure:
    """Return a figure of images beside their Grad-CAM maps, (N, h, w), for the classes called
    `names`.
    """
    heights = [_height(image, 3) + 0.3 for image in images]  # 0.3 for the caption
    figure, axes = new_figure(6, sum(heights), 2, len(images), heights)
    for image, cam, name, (left, right) in zip(images, maps, names, axes):
        plot_image(image, "input image", left)
        plot_map(cam, image.shape, f"Grad-CAM for {name}", right, over=image)
    return figure


@own_settings()
def gram_figure(
    images: Sequence[np.ndarray],
    contributions: Mapping[str, Sequence[np.ndarray]],
    pairs: Mapping[str, Sequence[Sequence[Tuple[int, int, float]]]],
    names: Sequence[str],
) -> Figure:
    """Return a figure of images, each beside the contributions of each shallow branch's channel
    pairs to the class.

    contributions: {tap: (N, C, C)}. pairs: {tap: for each image [(a, b, contribution)]}. names: the
    classes.
    """
    figure, axes = new_figure(
        3 * (1 + len(contributions)), 4 * len(images), 1 + len(contributions), len(images)
    )
    for number, (image, name) in enumerate(zip(images, names)):
        plot_image(image, "input image", axes[number][0])
        for panel, tap in zip(axes[number][1:], contributions):
            listed = "\n".join(
                f"channels {a:d}, {b:d}: {contribution:+.2g}"
                for a, b, contribution in pairs[tap][number]
            )
            plot_contributions(contributions[tap][number], f"{tap}, for {name}\n{listed}", panel)
    return figure


@own_settings()
def reliability_figure(reliability: Mapping[str, Any]) -> Figure:
    """Return the reliability diagram: accuracy by confidence, and below it the number of images.
    reliability: as for `plot_reliability`.
    """
    figure, (above, below) = new_figure(5, 5.5, rows=2, heights=(3, 1))
    plot_reliability(reliability, above[0])
    plot_confidences(reliability, below[0])
    return figure


@own_settings()
def bins_figure(bins: Sequence["Bin"], accuracy: float, label: str) -> Figure:
    """Return a figure of the accuracy in bins of images, and below it the number of images in each
    bin.

    bins: `mlr.viz.looks.Bin`. accuracy: that of all images, drawn as a dashed line. label: the name
    of the measure that the bins are formed by.
    """
    figure, (above, below) = new_figure(5, 4.5, rows=2, heights=(3, 1))
    places = range(len(bins))
    above[0].bar(places, [each.accuracy or 0 for each in bins], 1, color=BLUE, edgecolor="white")
    above[0].axhline(accuracy, linestyle="--", color=ORANGE, label="all images")
    above[0].set(ylim=(0, 1), ylabel="accuracy", xticks=[])
    above[0].legend(loc="upper right")
    below[0].bar(places, [each.images for each in bins], 1, color="0.6", edgecolor="white")
    below[0].set(ylabel="images", xlabel=label)
    below[0].set_xticks(places, [each.name for each in bins], rotation=60, ha="right")
    below[0].yaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in (above[0], below[0]):
        axes.set_xlim(-0.5, len(bins) - 0.5)
    return figure


def _height(image: np.ndarray, width: float) -> float:
    """Return the height of a panel of this width that an image, (H, W, 3), fills. Very wide and
    very tall images get a panel of limited proportions.
    """
    rows, columns = image.shape[:2]
    return width * min(max(rows / columns, 0.3), 2)


@own_settings()
def new_figure(
    width: float,
    height: float,
    columns: int = 1,
    rows: Optional[int] = None,
    heights: Optional[Sequence[float]] = None,
) -> Tuple[Figure, Any]:
    """Return a figure and its axes: one, an array (columns,), or, if `rows` is given, an array
    (rows, columns). width, height: inches.

    heights: the rows' heights in proportion. No global state of Matplotlib changes.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows or 1, columns, squeeze=rows is None, height_ratios=heights)


@own_settings()
def figure_bytes(figure: Figure, kind: str = "png") -> bytes:
    """Return a figure as the content of a file. kind: png, svg or pdf. Dollar signs, which may be
    in names of classes, don't start mathematics.
    """
    for axes in figure.axes:  # Matplotlib creates the ticks' texts only when it is asked for them
        axes.get_xticklabels(), axes.get_yticklabels()
    texts = figure.findobj(Text)
    families = fonts_for("".join(text.get_text() for text in texts))
    for text in texts:
        text.set_parse_math(False)
        text.set_fontfamily(families)
    side, inches = max(zip(("wide", "high"), figure.get_size_inches()), key=lambda each: each[1])
    if kind == "png" and inches * DPI > HIGHEST:
        raise InputError(
            f"the figure would be {inches * DPI:.0f} pixels {side}, and Matplotlib draws at most "
            f"{HIGHEST}: give fewer images or filters, or write a .pdf"
        )
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # fonts_for has already warned
        figure.savefig(file, format=kind, dpi=DPI)
    return file.getvalue()


def save_figure(figure: Figure, path: Union[str, Path]) -> None:
    """Write a figure to a file; the ending of its name sets the format. If writing fails, an
    existing file stays as it was.
    """
    path = Path(path)
    write_file(path, figure_bytes(figure, path.suffix.lstrip(".").lower() or "png"))


@own_settings()
def save_curves(metrics: Metrics, path: Union[str, Path]) -> None:
    """Draw loss and accuracy by epoch, side by side, into a file."""
    figure, (left, right) = new_figure(9, 3.5, columns=2)
    plot_loss(metrics, left)
    plot_accuracy(metrics, right)
    save_figure(figure, path)


@own_settings()
def save_confusion(
    result: Mapping[str, Any], classes: Sequence[str], title: str, path: Union[str, Path]
) -> None:
    """Draw the confusion matrix, beside it precision and recall, into a file. result: what
    `mlr.training.metrics.classification_metrics` returned.
    """
    size = 2.5 + 0.45 * len(classes)
    figure, (left, right) = new_figure(1.7 * size, size, 2)
    plot_confusion(result["confusion"], classes, left)
    plot_classes(result, classes, right)
    figure.suptitle(f"{title}: balanced accuracy {result['balanced_accuracy']:.3f}")
    save_figure(figure, path)


@own_settings()
def save_reliability(result: Mapping[str, Any], title: str, path: Union[str, Path]) -> None:
    """Draw `reliability_figure` into a file. result: what
    `mlr.training.metrics.calibration_metrics` returned.
    """
    figure = reliability_figure(result["reliability"])
    figure.suptitle(f"{title}: calibration error {result['expected_calibration_error']:.3f}")
    save_figure(figure, path)
