"""The report of a run, one HTML page that needs nothing beside it, no network and no script; and
the sheet of its predictions.
"""

import base64
import shlex
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Iterable, List, Mapping, NamedTuple, Sequence, Tuple, Union

import cv2
import numpy as np
from mxnet.gluon import HybridBlock
from numpy.typing import ArrayLike

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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlr.runs.folder import Run

SHOWN = 10  # predictions, right ones and wrong ones each
EXPLAINED = 3  # of the wrong ones, with Grad-CAM
ASCENT = Ascent()  # to the patterns that excite filters
JPEG_QUALITY = 90
DEMO = (
    "The demo's pictures are drawings that a program made and sorted: nothing about people, "
    "photographs or art follows from a score on them."
)

# What a page may load is in the page itself: nothing but the images and the style that are in it.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root {
  color-scheme: light dark; --text: #1a1a1a; --back: #fff; --faint: #595959; --line: #c4c4c4;
  --right: #0072B2; --wrong: #B84A00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --text: #eaeaea; --back: #161616; --faint: #b4b4b4; --line: #4c4c4c; --right: #56B4E9;
    --wrong: #F08A4B;
  }
}
body {
  max-width: 64rem; margin: 0 auto; padding: 1rem; font: 1rem/1.45 sans-serif; color: var(--text);
  background: var(--back);
}
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
p, figcaption, td, th { overflow-wrap: anywhere; }
.note { border-left: .3rem solid var(--wrong); padding-left: .7rem; }
table { border-collapse: collapse; font-size: .95rem; }
th, td {
  text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0;
  border-bottom: 1px solid var(--line);
}
tbody th { font-weight: normal; color: var(--faint); }
td { font-variant-numeric: tabular-nums; }
figure { margin: 0; break-inside: avoid; }
figure > img { display: block; max-width: 100%; height: auto; margin: auto; background: #fff; }
.pair {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem;
}
.images {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 1rem;
}
.images img { width: 100%; height: 9rem; object-fit: contain; background: none; }
figcaption { font-size: .9rem; }
.images figcaption { border-top: 3px solid var(--right); }
.wrong figcaption { border-top: 3px dashed var(--wrong); }
.line { display: block; }
.images .line:last-child { color: var(--faint); font-size: .8rem; }
@media print {
  :root {
    --text: #000; --back: #fff; --faint: #444; --line: #bbb; --right: #0072B2; --wrong: #B84A00;
  }
  body { max-width: none; }
}
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


def most_confident(
    probabilities: np.ndarray,
    labels: ArrayLike,
    paths: Sequence[Union[str, Path]],
    classes: Sequence[str],
    count: int = SHOWN,
) -> Tuple[List[Prediction], List[Prediction]]:
    """Return the right and the wrong predictions of the highest probability, two lists of at most
    `count` Predictions, the highest first.

    probabilities: (N, K). labels: (N,) integers. paths: N image files. classes: K names.
    """
    predicted, true = probabilities.argmax(axis=1), np.asarray(labels)
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    right = (predicted == true)[order]

    def described(images: np.ndarray) -> List[Prediction]:
        return [
            Prediction(
                Path(paths[image]),
                classes[true[image]],
                classes[predicted[image]],
                float(probabilities[image].max()),
            )
            for image in images[:count]
        ]

    return described(order[right]), described(order[~right])


def predictions_sheet(right: Sequence[Prediction], wrong: Sequence[Prediction]) -> "Figure":
    """Return a figure of the predictions that `most_confident` returned. Raises InputError where an
    image is missing or damaged.
    """
    return predictions_figure(
        *[
            [
                (thumbnail(path), true, predicted, probability)
                for path, true, predicted, probability in group
            ]
            for group in (right, wrong)
        ]
    )


@own_settings()
def save_sheet(
    right: Sequence[Prediction], wrong: Sequence[Prediction], title: str, path: Union[str, Path]
) -> None:
    """Draw `predictions_sheet` into a file."""
    figure = predictions_sheet(right, wrong)
    figure.suptitle(title)
    save_figure(figure, path)


def class_rows(result: Mapping[str, Any]) -> List[Tuple[str, ...]]:
    """Return for each class its name, images, recall and precision as text. result: of
    `mlr.training.metrics.classification_metrics`.
    """
    return [
        (
            name,
            f"{sum(counts):d}",
            *(
                "-" if result[rate][name] is None else f"{result[rate][name]:.3f}"
                for rate in ("recall", "precision")
            ),
        )
        for name, counts in zip(result["recall"], result["confusion"])
    ]


def save_report(
    path: Union[str, Path],
    run: "Run",
    net: HybridBlock,
    split: str,
    evaluation: Mapping[str, Any],
    right: Sequence[Prediction],
    wrong: Sequence[Prediction],
) -> None:
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
        PAGE.substitute(title=_text("mlr: " + title), policy=POLICY, body="\n".join(body)).encode(
            "utf-8", "replace"
        ),
    )


def _summary(title: str, run: "Run", evaluation: Mapping[str, Any]) -> str:
    parameters = evaluation["parameters"] + ".params"
    demo = (
        run.config["options"]["data"] == "demo"
        or (Path(evaluation["data"]).parent / DESCRIPTION).is_file()
    )
    note = f'<p class="note">{_text(DEMO)}</p>' if demo else ""
    table = _table(
        (),
        [
            ("accuracy", f"{evaluation['accuracy']:.3f}"),
            (
                "balanced accuracy",
                f"{evaluation['balanced_accuracy']:.3f}, the mean of the classes' recalls; "
                f"guessing gives {1 / len(run.classes):.3f}",
            ),
            ("images", f"{evaluation['images']:d} of {evaluation['data']}"),
            ("fold", evaluation["fold"]),
            ("SHA-256 of the images", evaluation["sha256"]),
            ("parameters", parameters),
            ("SHA-256 of the parameters", sha256_of(run.verified(parameters))),
            ("run folder", run.folder),
        ],
    )
    return f"<h1>{_text(title)}</h1>{note}{table}"


def _curves(metrics: Sequence[Mapping[str, Any]]) -> str:
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


def _confusion(evaluation: Mapping[str, Any], classes: Sequence[str]) -> str:
    size = 2.5 + 0.45 * len(classes)
    figure, axes = new_figure(size, size)
    plot_confusion(evaluation["confusion"], classes, axes)
    mistaken = np.array(evaluation["confusion"])
    np.fill_diagonal(mistaken, 0)
    true, predicted = map(int, np.unravel_index(mistaken.argmax(), mistaken.shape))
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


def _predictions(right: Sequence[Prediction], wrong: Sequence[Prediction]) -> str:
    groups = []
    for name, predictions in (("right", right), ("wrong", wrong)):
        figures = "".join(
            _figure(
                _jpeg(thumbnail(path)),
                f"Image of the class {true}",
                f"{name}: {predicted} {probability:.3f}",
                *([f"true: {true}"] if name == "wrong" else []),
                _file(path),
            )
            for path, true, predicted, probability in predictions
        )
        shown = (
            f'<div class="images {name}">{figures}</div>' if figures else "<p>There are none.</p>"
        )
        groups.append(f"<h3>The most confident {name} ones</h3>{shown}")
    return _section("Predictions", "<p>The predicted class and its probability.</p>", *groups)


def _filters(
    run: "Run", net: MultiLevelNet, right: Sequence[Prediction], wrong: Sequence[Prediction]
) -> str:
    ctx, size = net.fusion.output.weight.list_ctx()[0], run.config["preprocessing"]["image_size"]
    chosen, explained = [*right[:1], *wrong[:1]], wrong[:EXPLAINED]
    images, inputs = read_pictures([prediction.path for prediction in chosen], size, ctx)
    figure = activation_figure(images, strongest_with_patterns(net, inputs, ascent=ASCENT))
    named = " and to ".join(
        f"the most confident {'right' if true == predicted else 'wrong'} one ({_file(path)})"
        for path, true, predicted, _ in chosen
    )
    parts = [
        _figure(
            _png(figure),
            "Input images, activation maps of their strongest filters, and patterns that excite "
            "these filters",
            f"The filter of each block that responds most to {named}: its map, dark is low and "
            "yellow is high, and below it the pattern that excites it most.",
        )
    ]
    if explained:
        images, inputs = read_pictures([prediction.path for prediction in explained], size, ctx)
        names = [prediction.predicted for prediction in explained]
        maps = grad_cam(net, inputs, [run.classes.index(name) for name in names])
        mistaken = "; ".join(
            f"{true} taken for {predicted} ({_file(path)})"
            for path, true, predicted, _ in explained
        )
        parts += [
            "<h3>Where it saw the wrong class</h3>",
            _figure(
                _png(grad_cam_figure(images, maps, names)),
                "Images beside their Grad-CAM maps",
                "What of the most confident wrong ones speaks for the predicted class, yellow "
                f"most: {mistaken}.",
            ),
        ]
    return _section("Filters", *parts)


def _options(run: "Run") -> str:
    config, now = dict(run.config), environment()
    versions = config.pop("versions")
    both = [(name, versions.get(name), version) for name, version in now["versions"].items()] + [
        (name.replace("_", " "), config.pop(name), now[name]) for name in ("git_commit", "threads")
    ]
    config["argv"] = shlex.join(config["argv"])
    return _section(
        "Options of the training", _table((), _flat(config.pop("options")) + _flat(config))
    ) + _section("Versions", _table(("", "trained with", "evaluated with"), both))


def _flat(tree: Mapping[str, Any]) -> List[Tuple[str, Any]]:
    """The names and values of a dict of dicts, those inside as "outer: inner"."""
    rows: List[Tuple[str, Any]] = []
    for name, value in tree.items():
        rows += (
            [(f"{name}: {inner}", below) for inner, below in _flat(value)]
            if isinstance(value, dict)
            else [(name, value)]
        )
    return rows


def _file(path: Path) -> str:
    return "/".join(path.parts[-2:])


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        value = ", ".join(map(str, value))
    return "-" if value is None else escape(str(value))


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{''.join(parts)}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    columns = "".join(f'<th scope="col">{_text(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{_text(name)}</th>{"".join(map(_cell, values))}</tr>'
        for name, *values in rows
    )
    head_row = f"<thead><tr>{columns}</tr></thead>" if columns else ""
    return f"<table>{head_row}<tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    return f"<td>{_text(value)}</td>"


def _figure(source: str, alt: str, *caption: str) -> str:
    lines = "".join(f'<span class="line">{_text(line)}</span>' for line in caption)
    return (
        f'<figure><img src="{source}" alt="{_text(alt)}"><figcaption>{lines}</figcaption></figure>'
    )


def _png(figure: "Figure") -> str:
    return _data_uri("image/png", figure_bytes(figure))


def _jpeg(pixels: np.ndarray) -> str:
    return _data_uri(
        "image/jpeg",
        cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[
            1
        ].tobytes(),
    )


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
