"""The report of a run, one HTML page that needs nothing beside it, no network and no script; and
the sheet of its predictions.
"""

import base64
import shlex
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple

import cv2
import numpy as np

from mlr.data.drawn.paintings import DESCRIPTION
from mlr.model.network import MultiLevelNet
from mlr.runs.provenance import environment
from mlr.runtime.files import write_file
from mlr.runtime.hashing import sha256_of
from mlr.viz.attribution import grad_cam
from mlr.viz.figures import (
    activation_figure,
    figure_bytes,
    grad_cam_figure,
    new_figure,
    plot_accuracy,
    plot_confusion,
    plot_loss,
    predictions_figure,
    save_figure,
)
from mlr.viz.filters import Ascent, strongest_with_patterns
from mlr.viz.pictures import read_pictures, thumbnail
from mlr.viz.style import own_settings

SHOWN = 10  # predictions, right ones and wrong ones each
EXPLAINED = 3  # of the wrong ones, with Grad-CAM
ASCENT = Ascent()  # to the patterns that excite filters
JPEG_QUALITY = 90
DEMO = (
    "The demo's pictures are drawings that a program made and sorted: nothing about people, "
    "photographs or art follows from a score on them."
)

# What a page may load is in the page itself: nothing but the pictures and the style that are in it.
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --text: #1a1a1a; --back: #fff; --faint: #595959; --line: #c4c4c4; --right: #0072B2; --wrong: #B84A00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #eaeaea; --back: #161616; --faint: #b4b4b4; --line: #4c4c4c; --right: #56B4E9; --wrong: #F08A4B; }
}
body { max-width: 64rem; margin: 0 auto; padding: 1rem; font: 1rem/1.45 sans-serif; color: var(--text); background: var(--back); }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
p, figcaption, td, th { overflow-wrap: anywhere; }
.note { border-left: .3rem solid var(--wrong); padding-left: .7rem; }
table { border-collapse: collapse; font-size: .95rem; }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); }
tbody th { font-weight: normal; color: var(--faint); }
td { font-variant-numeric: tabular-nums; }
figure { margin: 0; break-inside: avoid; }
figure > img { display: block; max-width: 100%; height: auto; margin: auto; background: #fff; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 1rem; }
.pictures img { width: 100%; height: 9rem; object-fit: contain; background: none; }
figcaption { font-size: .9rem; }
.pictures figcaption { border-top: 3px solid var(--right); }
.wrong figcaption { border-top: 3px dashed var(--wrong); }
.line { display: block; }
.pictures .line:last-child { color: var(--faint); font-size: .8rem; }
@media print { :root { --text: #000; --back: #fff; --faint: #444; --line: #bbb; --right: #0072B2; --wrong: #B84A00; } body { max-width: none; } }
</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")


class Prediction(NamedTuple):
    """What was said of an image. true, predicted: names of classes. probability: of the predicted
    one.
    """

    path: Path
    true: str
    predicted: str
    probability: float


def most_confident(probabilities, labels, paths, classes, count=SHOWN):
    """Return the right and the wrong predictions of the highest probability, two lists of at most
    `count` Predictions, the highest first.

    probabilities: (N, K). labels: (N,) integers. paths: N image files. classes: K names.
    """
    predicted, labels = probabilities.argmax(axis=1), np.asarray(labels)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    right = (predicted == labels)[order]
    return tuple(
        [
            Prediction(
                Path(paths[image]),
                classes[labels[image]],
                classes[predicted[image]],
                float(probabilities[image].max()),
            )
            for image in images[:count]
        ]
        for images in (order[right], order[~right])
    )


def predictions_sheet(right, wrong):
    """Return a figure of the predictions that `most_confident` returned. Raises InputError where an
    image is missing or damaged.
    """
    return predictions_figure(
        *[[(thumbnail(image), *said) for image, *said in group] for group in (right, wrong)]
    )


@own_settings()
def save_sheet(right, wrong, title, path):
    """Draw `predictions_sheet` into a file."""
    figure = predictions_sheet(right, wrong)
    figure.suptitle(title)
    save_figure(figure, path)


def class_rows(result):
    """Return for each class its name, images, recall and precision as text. result: of
    `mlr.training.metrics.classification_metrics`.
    """
    return [
        (
            name,
            f"{sum(row):d}",
            *(
                "-" if result[rate][name] is None else f"{result[rate][name]:.3f}"
                for rate in ("recall", "precision")
            ),
        )
        for name, row in zip(result["recall"], result["confusion"])
    ]


def save_report(path, run, net, split, evaluation, right, wrong):
    """Write the report of a run as an HTML page; a write that fails leaves what was there.

    run: a `mlr.runs.folder.Run`. net: its network; filters and Grad-CAM are shown of a
    MultiLevelNet, on its first device. split: its name. evaluation: what evaluation_<split>.json
    holds. right, wrong: as `most_confident` returned them. Raises InputError where an image or a
    file of the run is missing or damaged.
    """
    title = f"{run.folder.resolve().name}, {split}"
    body = [
        _summary(title, run, evaluation),
        _curves(run.metrics),
        _confusion(evaluation, run.classes),
        _predictions(right, wrong),
    ]
    if isinstance(net, MultiLevelNet):
        body.append(_filters(run, net, right, wrong))
    body.append(_options(run))
    # Names of files need not be UTF-8; what isn't becomes question marks.
    write_file(
        path,
        PAGE.substitute(title=_text("mlr: " + title), body="\n".join(body)).encode(
            "utf-8", "replace"
        ),
    )


def _summary(title, run, evaluation):
    parameters = evaluation["parameters"] + ".params"
    demo = (
        run.config["options"]["data"] == "demo"
        or (Path(evaluation["data"]).parent / DESCRIPTION).is_file()
    )
    return "<h1>{}</h1>{}{}".format(
        _text(title),
        f'<p class="note">{_text(DEMO)}</p>' if demo else "",
        _table(
            (),
            [
                ("accuracy", f"{evaluation['accuracy']:.3f}"),
                (
                    "balanced accuracy",
                    (
                        f"{evaluation['balanced_accuracy']:.3f}, the mean of the classes' recalls; "
                        f"guessing gives {1 / len(run.classes):.3f}"
                    ),
                ),
                ("images", f"{evaluation['images']:d} of {evaluation['data']}"),
                ("fold", evaluation["fold"]),
                ("SHA-256 of the images", evaluation["sha256"]),
                ("parameters", parameters),
                ("SHA-256 of the parameters", sha256_of(run.verified(parameters))),
                ("run folder", run.folder),
            ],
        ),
    )


def _curves(metrics):
    if not metrics:
        return _section("Learning curves", "<p>No epoch of this run ended.</p>")
    if "loss" not in metrics[0]:
        return _section("Learning curves", "<p>This system is fitted at once, without epochs.</p>")
    last = metrics[-1]
    reached = ", ".join(
        f"{key.replace('_', ' ')} {value:.3f}"
        for key, value in last.items()
        if key.endswith("accuracy")
    )
    figures = []
    for plot, name, found in (
        (
            plot_loss,
            "training loss by epoch",
            f"from {metrics[0]['loss']:.3g} to {last['loss']:.3g} in {len(metrics):d} epochs",
        ),
        (plot_accuracy, "accuracy by epoch", f"after the last: {reached}"),
    ):
        figure, axes = new_figure(5, 3.5)
        plot(metrics, axes)
        figures.append(_figure(_png(figure), "Curve: " + name, f"{name}, {found}"))
    return _section("Learning curves", f'<div class="pair">{"".join(figures)}</div>')


def _confusion(evaluation, classes):
    size = 2.5 + 0.45 * len(classes)
    figure, axes = new_figure(size, size)
    plot_confusion(evaluation["confusion"], classes, axes)
    mistaken = np.array(evaluation["confusion"])
    np.fill_diagonal(mistaken, 0)
    true, predicted = np.unravel_index(mistaken.argmax(), mistaken.shape)
    most = (
        f"{classes[true]} for {classes[predicted]}, {mistaken.max():d} images"
        if mistaken.any()
        else "none"
    )
    return _section(
        "Confusion",
        _figure(
            _png(figure),
            "Confusion matrix, the true classes as rows",
            "counts, and below them the part of the row; most often mistaken: " + most,
        ),
    ) + _section(
        "Classes", _table(("class", "images", "recall", "precision"), class_rows(evaluation))
    )


def _predictions(right, wrong):
    groups = []
    for name, predictions in (("right", right), ("wrong", wrong)):
        pictures = "".join(
            _figure(
                _jpeg(thumbnail(path)),
                f"Image of the class {true}",
                f"{name}: {predicted} {probability:.3f}",
                *([f"true: {true}"] if name == "wrong" else []),
                _file(path),
            )
            for path, true, predicted, probability in predictions
        )
        groups.append(
            "<h3>The most confident {} ones</h3>{}".format(
                name,
                f'<div class="pictures {name}">{pictures}</div>'
                if pictures
                else "<p>There are none.</p>",
            )
        )
    return _section("Predictions", "<p>The predicted class and its probability.</p>", *groups)


def _filters(run, net, right, wrong):
    ctx, size = net.fusion.output.weight.list_ctx()[0], run.config["preprocessing"]["image_size"]
    chosen, explained = right[:1] + wrong[:1], wrong[:EXPLAINED]
    pictures, images = read_pictures([prediction.path for prediction in chosen], size, ctx)
    figure = activation_figure(pictures, strongest_with_patterns(net, images, ascent=ASCENT))
    parts = [
        _figure(
            _png(figure),
            (
                "Input images, activation maps of their strongest filters, and patterns that "
                "excite "
                "these filters"
            ),
            (
                "The filter of each block that responds most to {}: its map, dark is low and "
                "yellow "
                "is high, and below it the pattern that excites it most."
            ).format(
                " and to ".join(
                    (
                        f"the most confident {'right' if true == predicted else 'wrong'} one "
                        f"({_file(path)})"
                    )
                    for path, true, predicted, _ in chosen
                )
            ),
        )
    ]
    if explained:
        pictures, images = read_pictures([prediction.path for prediction in explained], size, ctx)
        names = [prediction.predicted for prediction in explained]
        figure = grad_cam_figure(
            pictures, grad_cam(net, images, [run.classes.index(name) for name in names]), names
        )
        parts += [
            "<h3>Where it saw the wrong class</h3>",
            _figure(
                _png(figure),
                "Images beside their Grad-CAM maps",
                (
                    "What of the most confident wrong ones speaks for the predicted class, yellow "
                    "most: "
                    f"{'; '.join(f'{true} taken for {predicted} ({_file(path)})' for path, true, predicted, _ in explained)}."
                ),
            ),
        ]
    return _section("Filters", *parts)


def _options(run):
    config, now = dict(run.config), environment()
    versions = config.pop("versions")
    both = [(name, versions.get(name), version) for name, version in now["versions"].items()] + [
        (name.replace("_", " "), config.pop(name), now[name]) for name in ("git_commit", "threads")
    ]
    config["argv"] = shlex.join(config["argv"])
    return _section(
        "Options of the training", _table((), _flat(config.pop("options")) + _flat(config))
    ) + _section("Versions", _table(("", "trained with", "evaluated with"), both))


def _flat(tree):
    """The names and values of a dict of dicts, those inside as "outer: inner"."""
    rows = []
    for name, value in tree.items():
        rows += (
            [(f"{name}: {inner}", below) for inner, below in _flat(value)]
            if isinstance(value, dict)
            else [(name, value)]
        )
    return rows


def _file(path):
    return "/".join(path.parts[-2:])


def _text(value):
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return "-" if value is None else escape(str(value))


def _section(title, *parts):
    return f"<section><h2>{_text(title)}</h2>{''.join(parts)}</section>"


def _table(head, rows):
    return "<table>{}<tbody>{}</tbody></table>".format(
        "<thead><tr>{}</tr></thead>".format(
            "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
        )
        if head
        else "",
        "".join(
            (
                "<tr><th "
                f'scope="row">{_text(name)}</th>{"".join(f"<td>{_text(value)}</td>" for value in values)}</tr>'
            )
            for name, *values in rows
        ),
    )


def _figure(source, alt, *caption):
    return '<figure><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>'.format(
        source, _text(alt), "".join(f'<span class="line">{_text(line)}</span>' for line in caption)
    )


def _png(figure):
    return _data_uri("image/png", figure_bytes(figure))


def _jpeg(pixels):
    return _data_uri(
        "image/jpeg",
        cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[
            1
        ].tobytes(),
    )


def _data_uri(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
