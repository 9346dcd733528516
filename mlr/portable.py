"""A trained network for programs that don't have this package: what they need to know of it, and two formats, there and back.

Symbol: a folder with MXNet's graph and parameters, for `gluon.SymbolBlock.imports`, every language that MXNet is bound to, and MXNet's own tools:

    model-symbol.json    the graph, of one input, `data`
    model-0000.params    the parameters
    model.json           what `description` returns

npz: one file of plain arrays, for `numpy.load(path, allow_pickle=False)`; no Python objects:

    backbone.stem.0.gamma, ...   each parameter under its structural name, which has a dot; float32
    config         text: the run's config.json, whose `network` is what `mlr.rows.networks.new_network` builds the network from
    classes        (K,) text: class names in label order
    description    text: JSON of what `description` returns
"""

import io
import json
import os
import shutil
from pathlib import Path

import mxnet as mx
import numpy as np

import mlr
from mlr import paper
from mlr.errors import InputError, RunError
from mlr.files import STAGED, sync
from mlr.presets import Preset
from mlr.rows.deepsentibank import caffe_resize
from mlr.rows.networks import new_network
from mlr.weights import infer_shapes, read_npz, set_parameters

MODEL = "model"
LONGEST, LARGEST = 2000, 4096           # characters of a network's options, and pixels of its images, that are taken for earnest
NO_SVM = "features for the run's support vector machine, which is not part of it: for the run's answers use mlr predict"
NO_REGIONS = "of AR's network on one image; the run itself takes ten crops and the affective regions together: for its answers use mlr predict"


def exported_part(net, config):
    """Return what of a run's network a graph is written of, the name of its output, and a sentence that says what that is."""
    row = Preset.of_run(config["options"]).row
    if row == "deepsentibank":
        layer = config["features"]
        return net if layer == "fc8" else net.features, "features", "outputs of %s: %s" % (layer, NO_SVM)
    logits = "logits of the classes; their softmax are the probabilities"
    return net, "logits", "%s; %s" % (logits, NO_REGIONS) if row == "ar" else logits


def description(run, parameters="last"):
    """Return what goes with the network of a `mlr.checkpoint.Run`, for JSON: row, classes, preprocessing, hash of its parameters, version."""
    return {
        "row": Preset.of_run(run.config["options"]).row, "network": run.config["network"], "classes": run.classes,
        "preprocessing": preprocessing_steps(run.config), "parameters": parameters, "parameters_sha256": run.sha256(parameters + ".params"),
        "mlr_version": mlr.__version__,
    }


def preprocessing_steps(config):
    """Return the evaluation preset of a run's network, the one of `mlr.prediction.evaluation_transform`, as numbers and words.

    In this order: the image, RGB, is resized to a square of `resize` pixels, its aspect ratio lost; rounded to whole grey levels; where
    `image_size` is less, the square of that size in the middle is taken; channels are put into `channel_order`, which mean and std
    have, too; then (pixels * scale - mean) / std, channels first.
    """
    size = config["preprocessing"]["image_size"]
    rules = {
        "decoded": "8 bits RGB, EXIF orientation ignored",
        "interpolation": "bilinear, half-pixel centres, no antialiasing: OpenCV's INTER_LINEAR; rounded to whole grey levels",
        "crop": "centre", "formula": "(pixels * scale - mean) / std", "layout": "NCHW",
    }
    if config["network"].get("kind") == "caffenet":
        return {"image_size": size, "resize": caffe_resize(size), "channel_order": "BGR", "scale": 1.0,
                "mean": list(paper.CAFFE_MEAN), "std": [1.0] * 3, **rules}
    return {"image_size": size, "resize": size, "channel_order": "RGB", "scale": 1 / 255, "mean": list(paper.PIXEL_MEAN),
            "std": list(paper.PIXEL_STD), **rules}


def save_symbol(net, size, about, folder):
    """Write a hybridized network as MXNet's symbol and parameters into a new folder, whole or not at all.

    about: for model.json. Raises InputError where the rest of an interrupted export is beside it, and RunError where it can't be written.
    """
    staged = Path(folder).with_name(Path(folder).name + STAGED)
    if staged.exists():
        raise InputError("%s exists already, likely the rest of an interrupted export: remove it" % staged)
    net(mx.nd.zeros((1, 3, size, size))).wait_to_read()     # what is exported is the graph of the last call
    staged.mkdir(parents=True)
    try:
        net.export(str(staged / MODEL))
        (staged / (MODEL + ".json")).write_text(json.dumps(about, indent=2) + "\n")
        for path in (*staged.iterdir(), staged):
            sync(path)
        os.rename(staged, folder)
        sync(Path(folder).parent)
    except (OSError, mx.MXNetError) as error:
        raise RunError("%s can't be written, likely for want of room: %s" % (folder, str(error).partition("\n")[0])) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def npz_of(net, config, about):
    """Return the bytes of an .npz file of a network's parameters and what goes with them. config: of the run. about: its `description`."""
    mx.nd.waitall()
    arrays = {name: parameter.data(mx.cpu()).asnumpy() for name, parameter in net._collect_params_with_prefix().items()}
    file = io.BytesIO()                                     # a zipfile on a full disk complains once more when it is collected
    np.savez(file, config=json.dumps(config), classes=about["classes"], description=json.dumps(about), **arrays)
    return file.getvalue()


def import_npz(path, ctx=None):
    """Return the network, hybridized, that an .npz file of `mlr export --format npz` holds, its parameters equal to the bit.

    ctx: a context or a list (default: the current one). Raises InputError for a file that is damaged, holds objects, describes no
    network of this package, or has parameters that don't fit it. Nothing in it is run, whoever made it.
    """
    arrays = read_npz(path)
    options = _network_options(arrays.get("config"), path)
    try:
        net = new_network(options)
        infer_shapes(net)
    except Exception as error:  # of arguments that were never meant, Gluon raises nearly everything
        raise InputError("%s describes no network that this package can build (%s): get it again, or export it anew" % (
            path, str(error).partition("\n")[0] or type(error).__name__)) from None
    set_parameters(net._collect_params_with_prefix(), {name: array for name, array in arrays.items() if "." in name}, path, ctx)
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def _network_options(text, path):
    """Return what the text of a config.json says of its network, small enough to be built by way of trial."""
    try:
        options = json.loads(text.item())["network"]
        if len(json.dumps(options)) > LONGEST or options.get("image_size", 0) > LARGEST:
            raise ValueError("a network too large")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise InputError("%s holds no network of mlr export --format npz: its `config` is missing or damaged; get it again, or export it anew" % (
            path)) from None
    return options
