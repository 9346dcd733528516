"""The report of a run, one HTML page that needs no other file, no network connection and no script;
and the sheet of the run's predictions.
"""

import base64
import shlex
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import cv2
import jinja2
import numpy as np
from numpy.typing import ArrayLike

from mlr.data.drawn.paintings import DESCRIPTION
from mlr.runs.provenance import environment
from mlr.runtime.files import write_file
from mlr.viz.figures import (
    activation_figure,
    bins_figure,
    figure_bytes,
    grad_cam_figure,
    new_figure,
    plot_accuracy,
    plot_confusion,
    plot_loss,
    predictions_figure,
    reliability_figure,
    save_figure,
)
from mlr.viz.images import read_images_and_inputs, thumbnail
from mlr.viz.looks import Look
from mlr.viz.style import own_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mxnet.gluon import HybridBlock

    from mlr.model.network import MultiLevelNet
    from mlr.runs.exported import ExportedRun
    from mlr.runs.folder import Run

    AnyRun = Union[Run, ExportedRun]

SHOWN = 10  # right predictions, and as many wrong ones
EXPLAINED = 3  # wrong predictions that Grad-CAM explains
JPEG_QUALITY = 90
DEMO = (
    "A program drew the demo's pictures and set their classes, so scores on them say nothing "
    "about people, photographs or art."
)

LOWER, HIGHER = "\N{DOWNWARDS ARROW} lower, 0 at best", "\N{UPWARDS ARROW} higher, 1 at best"
# distances between distributions: {key in an evaluation: (name, which values are better)}
MEASURES = {
    "chebyshev": ("Chebyshev distance", LOWER),
    "clark": ("Clark distance", LOWER),
    "canberra": ("Canberra distance", LOWER),
    "kullback_leibler": ("Kullback-Leibler divergence", LOWER),
    "cosine": ("cosine similarity", HIGHER),
    "intersection": ("intersection", HIGHER),
}

POLICY = (  # a page may only use the images and the style that it contains
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


class Prediction(NamedTuple):
    """The prediction for an image. true, predicted: names of classes. probability: that of the
    predicted class.
    """

    path: Path
    true: str
    predicted: str
    probability: float


class Shown:
    """A figure of the page. source: its URI. caption: the lines below it."""

    def __init__(self, source: str, alt: str, *caption: str):
        self.source, self.alt, self.caption = source, alt, caption


def most_confident(
    probabilities: np.ndarray,
    labels: ArrayLike,
    paths: Sequence[Union[str, Path]],
    classes: Sequence[str],
    count: int = SHOWN,
) -> Tuple[List[Prediction], List[Prediction]]:
    """Return the right and the wrong predictions with the highest probabilities: two lists of at
    most `count` Predictions, highest first.

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
    """Return a figure of the predictions that `most_confident` returned. Raises InputError if an
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
    """Return for each class its name, number of images, recall and precision as text. result: what
    `mlr.training.metrics.classification_metrics` returned.
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


def calibration_line(evaluation: Mapping[str, Any]) -> str:
    """Return the calibration of an evaluation in one line."""
    temperature = evaluation.get("temperature")
    return (
        f"expected calibration error {evaluation['expected_calibration_error']:.3f}, negative "
        f"log-likelihood {evaluation['negative_log_likelihood']:.3f}"
        f"{f', temperature {temperature:.3f}' if temperature else ''}"
    )


def distribution_rows(measures: Mapping[str, float]) -> List[Tuple[str, str, str]]:
    """Return for each measure between probabilities and votes its name, its value, and whether
    lower or higher is better, as text. measures: what `mlr.training.metrics.distribution_metrics`
    returned.
    """
    return [(name, f"{measures[key]:.3f}", better) for key, (name, better) in MEASURES.items()]


def save_report(  # noqa: PLR0913 - everything that the page shows
    path: Union[str, Path],
    run: "AnyRun",
    net: "Optional[HybridBlock]",
    split: str,
    evaluation: Mapping[str, Any],
    right: Sequence[Prediction],
    wrong: Sequence[Prediction],
    looks: Sequence[Look] = (),
) -> None:
    """Write the report of a run as an HTML page. If writing fails, an existing file stays as it
    was.

    run: a `mlr.runs.folder.Run`, or an exported one. net: its network, None for an exported run;
    for a MultiLevelNet the page also shows filters and Grad-CAM, computed on its first device.
    split: the name of the split. evaluation: the content of evaluation_<split>.json. right, wrong:
    what `most_confident` returned. looks: what `mlr.viz.looks.looks_of` returned. Raises InputError
    if an image or a file of the run is missing or damaged.
    """
    page = template("report.html").render(
        title=f"{run.folder.resolve().name}, {split}",
        policy=POLICY,
        note=DEMO if _is_of_the_demo(run, evaluation) else None,
        summary=_summary(run, evaluation),
        classes=class_rows(evaluation),
        confusion=_confusion(evaluation, run.classes),
        calibration=_calibration(evaluation),
        votes=distribution_rows(evaluation["distribution"])
        if "distribution" in evaluation
        else None,
        looks=[(look.name, _look(look, evaluation["accuracy"]), _bin_rows(look)) for look in looks],
        predictions=[
            ("right", _predictions("right", right)),
            ("wrong", _predictions("wrong", wrong)),
        ],
        **_curves(run.metrics),
        **_filters(run, net, right, wrong),
        **_options(run),
    )
    # File names need not be UTF-8: characters that can't be encoded become question marks.
    write_file(path, page.encode("utf-8", "replace"))


def template(name: str) -> jinja2.Template:
    """Return a template of this folder, which escapes all values."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _shown(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "-" if value is None else value


def _is_of_the_demo(run: "AnyRun", evaluation: Mapping[str, Any]) -> bool:
    return (
        run.config["options"]["data"] == "demo"
        or (Path(evaluation["data"]).parent / DESCRIPTION).is_file()
    )


def _summary(run: "AnyRun", evaluation: Mapping[str, Any]) -> List[Tuple[str, Any]]:
    parameters = evaluation["parameters"] + ".params"
    return [
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
        ("SHA-256 of the parameters", run.verified_sha256(parameters)),
        ("run folder", run.folder),
    ]


def _curves(metrics: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    if not metrics:
        return {"without_curves": "No epoch of this run is finished."}
    if "loss" not in metrics[0]:
        return {"without_curves": "This system is fitted in one step, without epochs."}
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
        (plot_accuracy, "accuracy by epoch", f"after the last epoch: {reached}"),
    ):
        figure, axes = new_figure(5, 3.5)
        plot(metrics, axes)
        figures.append(Shown(png_uri(figure), "Curve: " + name, f"{name}, {found}"))
    return {"curves": figures}


def _confusion(evaluation: Mapping[str, Any], classes: Sequence[str]) -> "Shown":
    size = 2.5 + 0.45 * len(classes)
    figure, axes = new_figure(size, size)
    plot_confusion(evaluation["confusion"], classes, axes)
    mistaken = np.array(evaluation["confusion"])
    np.fill_diagonal(mistaken, 0)
    true, predicted = map(int, np.unravel_index(mistaken.argmax(), mistaken.shape))
    most = (
        f"{classes[true]} predicted as {classes[predicted]}, {mistaken.max():d} images"
        if mistaken.any()
        else "none"
    )
    return Shown(
        png_uri(figure),
        "Confusion matrix, the true classes as rows",
        "counts, and below them the share of the row; most frequent confusion: " + most,
    )


def _calibration(evaluation: Mapping[str, Any]) -> "Shown":
    return Shown(
        png_uri(reliability_figure(evaluation["reliability"])),
        "Reliability diagram: accuracy by confidence, and the number of images",
        calibration_line(evaluation),
        "Confidence is the probability of the predicted class. Bars below the dashed line mean "
        "that the network is too confident.",
    )


def _look(look: Look, accuracy: float) -> "Shown":
    rated = [each for each in look.bins if each.accuracy is not None]
    lowest, highest = (
        chosen(rated, key=lambda each: each.accuracy or 0.0) for chosen in (min, max)
    )
    return Shown(
        png_uri(bins_figure(look.bins, accuracy, look.name)),
        f"Accuracy by {look.name}, and the number of images",
        f"{look.name}, {look.definition}",
        f"accuracy from {lowest.accuracy:.3f} for {lowest.name} to {highest.accuracy:.3f} for "
        f"{highest.name}; {accuracy:.3f} for all images",
    )


def _bin_rows(look: Look) -> List[Tuple[str, ...]]:
    return [
        (each.name, f"{each.images:d}", "-" if each.accuracy is None else f"{each.accuracy:.3f}")
        for each in look.bins
    ]


def _predictions(name: str, predictions: Sequence[Prediction]) -> List["Shown"]:
    return [
        Shown(
            _jpeg(thumbnail(path)),
            f"Image of the class {true}",
            f"{name}: {predicted} {probability:.3f}",
            *([f"true: {true}"] if name == "wrong" else []),
            _file(path),
        )
        for path, true, predicted, probability in predictions
    ]


def _filters(
    run: "AnyRun",
    net: "Optional[HybridBlock]",
    right: Sequence[Prediction],
    wrong: Sequence[Prediction],
) -> Dict[str, "Shown"]:
    if net is None:
        return {}
    from mlr.model.network import MultiLevelNet

    return _of_network(run, net, right, wrong) if isinstance(net, MultiLevelNet) else {}


def _of_network(
    run: "AnyRun",
    net: "MultiLevelNet",
    right: Sequence[Prediction],
    wrong: Sequence[Prediction],
) -> Dict[str, "Shown"]:
    from mlr.viz import filters
    from mlr.viz.attribution import grad_cam

    ctx, size = net.fusion.output.weight.list_ctx()[0], run.config["preprocessing"]["image_size"]
    chosen, explained = [*right[:1], *wrong[:1]], wrong[:EXPLAINED]
    images, inputs = read_images_and_inputs([prediction.path for prediction in chosen], size, ctx)
    figure = activation_figure(
        images, filters.strongest_with_patterns(net, inputs, ascent=filters.DEFAULT_ASCENT)
    )
    named = " and to ".join(
        f"the image of the most confident {'right' if true == predicted else 'wrong'} prediction "
        f"({_file(path)})"
        for path, true, predicted, _ in chosen
    )
    shown = {
        "filters": Shown(
            png_uri(figure),
            "Input images, activation maps of their strongest filters, and patterns that excite "
            "these filters",
            f"The filter of each block that responds most to {named}: its map, where dark is low "
            "and yellow is high, and below the map the pattern that excites the filter most.",
        )
    }
    if explained:
        images, inputs = read_images_and_inputs(
            [prediction.path for prediction in explained], size, ctx
        )
        names = [prediction.predicted for prediction in explained]
        maps = grad_cam(net, inputs, [run.classes.index(name) for name in names])
        mistaken = "; ".join(
            f"{true} predicted as {predicted} ({_file(path)})"
            for path, true, predicted, _ in explained
        )
        shown["explained"] = Shown(
            png_uri(grad_cam_figure(images, maps, names)),
            "Images beside their Grad-CAM maps",
            "Which parts of the images of the most confident wrong predictions support the "
            f"predicted class; yellow parts support it most: {mistaken}.",
        )
    return shown


def _options(run: "AnyRun") -> Dict[str, Any]:
    config, now = dict(run.config), environment()
    versions = config.pop("versions")
    both = [(name, versions.get(name), version) for name, version in now["versions"].items()] + [
        (name.replace("_", " "), config.pop(name), now[name]) for name in ("git_commit", "threads")
    ]
    config["argv"] = shlex.join(config["argv"])
    return {"options": _flat(config.pop("options")) + _flat(config), "versions": both}


def _flat(tree: Mapping[str, Any]) -> List[Tuple[str, Any]]:
    """Return the names and values of a dict of dicts; the names of inner values are "outer:
    inner".
    """
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


def png_uri(figure: "Figure") -> str:
    """Return a figure as a data: URI, which puts the picture into the page."""
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
