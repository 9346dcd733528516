"""A trained network for programs that don't have this package: what they need to know of it, and
two formats, there and back.

Symbol: a folder with MXNet's graph and parameters, for `gluon.SymbolBlock.imports`, every language
that MXNet is bound to, and MXNet's own tools:

    model-symbol.json    the graph, of one input, `data`
    model-0000.params    the parameters
    model.json           what `description` returns

npz: one file of plain arrays, for `numpy.load(path, allow_pickle=False)`; no Python objects:

    backbone.stem.0.gamma, ...   each parameter under its structural name, which has a dot; float32
    config         text: the run's config.json, whose `network` is what
                   `mlr.model.networks.new_network` builds the network from
    classes        (K,) text: class names in label order
    description    text: JSON of what `description` returns
"""

from typing import TYPE_CHECKING, Any, Dict, Mapping, Tuple

from mxnet.gluon import HybridBlock

import mlr
from mlr import paper
from mlr.data.transforms import caffe_resize
from mlr.options.presets import Preset

if TYPE_CHECKING:
    from mlr.runs.folder import Run

NO_SVM = (
    "features for the run's support vector machine, which is not part of it: for the run's "
    "answers use mlr predict"
)
NO_REGIONS = (
    "of AR's network on one image; the run itself takes ten crops and the affective regions "
    "together: for its answers use mlr predict"
)


def exported_part(net: HybridBlock, config: Mapping[str, Any]) -> Tuple[HybridBlock, str, str]:
    """Return what of a run's network a graph is written of, the name of its output, and a sentence
    that says what that is.
    """
    method = Preset.of_run(config["options"]).row
    if method == "deepsentibank":
        layer = config["features"]
        return net if layer == "fc8" else net.features, "features", f"outputs of {layer}: {NO_SVM}"
    logits = "logits of the classes; their softmax are the probabilities"
    return net, "logits", f"{logits}; {NO_REGIONS}" if method == "ar" else logits


def description(run: "Run", parameters: str = "last") -> Dict[str, Any]:
    """Return what goes with the network of a `mlr.runs.folder.Run`, for JSON: method, classes,
    preprocessing, hash of its parameters, version.
    """
    return {
        "row": Preset.of_run(run.config["options"]).row,
        "network": run.config["network"],
        "classes": run.classes,
        "preprocessing": preprocessing_steps(run.config),
        "parameters": parameters,
        "parameters_sha256": run.sha256(parameters + ".params"),
        "mlr_version": mlr.__version__,
    }


def preprocessing_steps(config: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the evaluation preset of a run's network, the one of
    `mlr.inference.predictor.evaluation_transform`, as numbers and words.

    In this order: the image, RGB, is resized to a square of `resize` pixels, its aspect ratio lost;
    rounded to whole grey levels; where `image_size` is less, the square of that size in the middle
    is taken; channels are put into `channel_order`, which mean and std have, too; then (pixels *
    scale - mean) / std, channels first.
    """
    size = config["preprocessing"]["image_size"]
    rules = {
        "decoded": "8 bits RGB, EXIF orientation ignored",
        "interpolation": (
            "bilinear, half-pixel centres, no antialiasing: OpenCV's INTER_LINEAR; rounded to "
            "whole grey levels"
        ),
        "crop": "centre",
        "formula": "(pixels * scale - mean) / std",
        "layout": "NCHW",
    }
    if config["network"].get("kind") == "caffenet":
        return {
            "image_size": size,
            "resize": caffe_resize(size),
            "channel_order": "BGR",
            "scale": 1.0,
            "mean": list(paper.CAFFE_MEAN),
            "std": [1.0] * 3,
            **rules,
        }
    return {
        "image_size": size,
        "resize": size,
        "channel_order": "RGB",
        "scale": 1 / 255,
        "mean": list(paper.PIXEL_MEAN),
        "std": list(paper.PIXEL_STD),
        **rules,
    }
