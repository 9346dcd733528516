"""The pictures of a run and of a data set. Every plot function draws on the axes it is given and returns them."""

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlr.files import write_file

# Okabe and Ito's colours, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"


def plot_loss(metrics, axes):
    """Draw the training loss by epoch. metrics: the lines of metrics.jsonl."""
    axes.plot([line["epoch"] for line in metrics], [line["loss"] for line in metrics], color=BLUE, marker=".")
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes


def plot_accuracy(metrics, axes):
    """Draw accuracy on train and on the split that was evaluated, there also balanced, by epoch. metrics: the lines of metrics.jsonl."""
    epochs = [line["epoch"] for line in metrics]
    split = "valid" if "valid_accuracy" in metrics[0] else "test"
    for key, label, color, style in (("train_accuracy", "train (augmented)", BLUE, "-"), (split + "_accuracy", split, ORANGE, "-"),
                                     (split + "_balanced_accuracy", split + ", balanced", GREEN, "--")):
        axes.plot(epochs, [line[key] for line in metrics], style, color=color, marker=".", label=label)
    axes.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
    return axes


def plot_confusion(confusion, classes, axes):
    """Draw a confusion matrix, (K, K) counts with true classes as rows: colour is the row's rate, the number the count."""
    confusion = np.asarray(confusion)
    rates = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(confusion):
        axes.text(column, row, count, ha="center", va="center", color="white" if rates[row, column] > .5 else "black")
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="true")
    return axes


def plot_contact_sheet(rows, axes):
    """Draw rows of equally large images. rows: {title: list of (H, W, 3) uint8 RGB}."""
    sheet = np.vstack([np.hstack(images) for images in rows.values()])
    height = len(sheet) / len(rows)
    axes.imshow(sheet)
    axes.set_yticks(height * (np.arange(len(rows)) + .5), rows)
    axes.set_xticks([])
    axes.tick_params(length=0)
    return axes


def new_figure(width, height, columns=1):
    """Return a figure, in inches, and its axes in one row; nothing global is touched."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def save_figure(figure, path):
    """Write a figure to a file whose ending tells the format; a write that fails leaves what was there."""
    path = Path(path)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.lstrip(".") or "png", dpi=120)
    write_file(path, picture.getvalue())


def save_curves(metrics, path):
    """Draw loss and accuracy by epoch, side by side, into a file."""
    figure, (left, right) = new_figure(9, 3.5, columns=2)
    plot_loss(metrics, left)
    plot_accuracy(metrics, right)
    save_figure(figure, path)


def save_confusion(result, classes, title, path):
    """Draw the confusion matrix of `mlr.metrics.classification_metrics` into a file."""
    size = 2.5 + .45 * len(classes)
    figure, axes = new_figure(size, size)
    plot_confusion(result["confusion"], classes, axes)
    axes.set_title("%s: balanced accuracy %.3f" % (title, result["balanced_accuracy"]))
    save_figure(figure, path)
