"""Writes a network as weights, settings and a module for PyTorch, and reads it back. Needs no
PyTorch.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Union

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock, Parameter

from mlr import paper
from mlr.errors import InputError
from mlr.formats.json import read_json
from mlr.formats.safetensors import read_safetensors
from mlr.model.backbones import BACKBONES
from mlr.model.parameters import infer_shapes, parameter_arrays, set_parameters
from mlr.model.torch_names import in_gluons_names, in_pytorchs_names
from mlr.options.training import WARM_UP_EPOCHS, TrainingOptions
from mlr.runs.folder import Run
from mlr.runs.schema import checked_classes, checked_config, checked_metrics, checked_temperature
from mlr.runs.writing import RunWriter
from mlr.runtime.files import new_folder
from mlr.runtime.hashing import sha256_of
from mlr.runtime.installation import require_package

# it has the same networks and backbones as this package
MODULE = Path(__file__).with_name("multilevel.py")
WEIGHTS, CONFIG = "model.safetensors", "config.json"


def refuse_unknown(run: Run) -> None:
    """Raise InputError for a run whose network multilevel.py does not have."""
    network = run.config["network"]
    if network.get("backbone") not in BACKBONES:
        name = network.get("backbone", network["kind"])
        raise InputError(
            f"{run.folder} has the network {name}, but --format torch only has the backbones of "
            "docs/backbones.md: give --format onnx, symbol or npz"
        )


def training_settings(
    options: TrainingOptions,
    class_weights: Optional[List[float]],
    multipliers: Mapping[Parameter, float],
    net: HybridBlock,
) -> Dict[str, Any]:
    """Return the settings of a network's training, for config.json.

    class_weights: (K,), for the class imbalance loss. multipliers: {parameter: multiplier of its
    learning rate}.
    """
    loss: Dict[str, Any] = {"name": options.loss}
    if options.loss == "class_imbalance":
        loss.update(form=options.loss_form, gamma=options.gamma, class_weights=class_weights)
    schedule: Dict[str, Any] = {"name": "cosine", "warm_up_epochs": WARM_UP_EPOCHS}
    if options.schedule == "step":
        epochs = list(paper.LEARNING_RATE_EPOCHS)
        schedule = {"name": "step", "factor": paper.LEARNING_RATE_FACTOR, "epochs": epochs}
    elif options.schedule == "step-ar":
        epochs = list(range(paper.AR_DECAY_EPOCHS, options.epochs, paper.AR_DECAY_EPOCHS))
        schedule = {"name": "step", "factor": paper.AR_DECAY, "epochs": epochs}
    return {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "loss": loss,
        "optimizer": {
            "name": options.optimizer,
            "learning_rate": options.learning_rate,
            "momentum": paper.MOMENTUM if options.optimizer == "sgd" else None,
            "weight_decay": options.weight_decay,
            # under the first part of the parameters' names
            "multipliers": {
                name.partition(".")[0]: multipliers[parameter]
                for name, parameter in net._collect_params_with_prefix().items()
                if parameter in multipliers
            },
        },
        "schedule": schedule,
    }


def of_the_run(run: Run) -> Dict[str, Any]:
    """Return the parts of a run that `read_exported` needs in addition to classes and weights."""
    return {"config": run.config, "metrics": run.metrics}


def save_pytorch(net: HybridBlock, about: Mapping[str, Any], folder: Union[str, Path]) -> None:
    """Write a network's weights, config.json and the module that reads both into a new folder,
    whole or not at all.

    about: for config.json. Raises InputError if an interrupted export has left files beside the
    folder, or if safetensors is missing, and RunError if the folder can't be written.
    """
    library = require_package("safetensors.numpy", "safetensors")
    mx.nd.waitall()
    arrays = {
        name: array.asnumpy() if isinstance(array, mx.nd.NDArray) else array
        for name, array in parameter_arrays(net._collect_params_with_prefix()).items()
    }
    with new_folder(folder) as staged:
        weights = staged / WEIGHTS
        weights.write_bytes(library.save(in_pytorchs_names(arrays), {"format": "pt"}))
        described = {**about, "weights_sha256": sha256_of(weights)}
        (staged / CONFIG).write_text(json.dumps(described, indent=2) + "\n")
        shutil.copyfile(MODULE, staged / MODULE.name)


class Exported(NamedTuple):
    """The content of a folder for PyTorch: weights under Gluon's names, {name: array}, and the
    config, classes and metrics of the exported run. temperature: None if there is none, or if the
    weights were trained further.
    """

    folder: Path
    weights: Dict[str, np.ndarray]
    config: Dict[str, Any]
    classes: List[str]
    metrics: List[Dict[str, Any]]
    temperature: Optional[Dict[str, Any]]


def read_exported(folder: Union[str, Path]) -> Exported:
    """Return what `save_pytorch`, or the `save` of multilevel.py, wrote. Raises InputError if a
    file is missing, damaged, or from another program.
    """
    path, weights = Path(folder) / CONFIG, Path(folder) / WEIGHTS
    written = read_json(path)
    run = written.get("run") if isinstance(written, dict) else None
    if not isinstance(run, dict) or not isinstance(run.get("metrics"), list):
        raise InputError(
            f"{path} does not describe the run that was exported: give a folder of mlr export "
            "--format torch, or one that its multilevel.py saved"
        )
    config = checked_config(run.get("config"), path)
    classes = checked_classes(written.get("classes"), path)
    metrics = checked_metrics(run["metrics"], path)
    arrays = in_gluons_names(read_safetensors(weights))
    digest, temperature = sha256_of(weights), None
    if "temperature" in written and written.get("weights_sha256") == digest:
        fitted = {"temperature": written["temperature"], "files": {}}
        temperature = checked_temperature(fitted, path)
    config = {**config, "imported": {"folder": str(Path(folder).resolve()), "sha256": digest}}
    return Exported(Path(folder), arrays, config, classes, metrics, temperature)


def save_imported(
    exported: Exported,
    build: Callable[[Mapping[str, Any]], HybridBlock],
    out: Union[str, Path],
) -> None:
    """Write the content of a folder for PyTorch as a new run, in float32.

    build: makes a network from its description. Raises InputError if the weights don't fit the
    network, or if the run folder exists.
    """
    net = build(exported.config["network"])
    infer_shapes(net)
    parameters = net._collect_params_with_prefix()
    set_parameters(parameters, exported.weights, exported.folder / WEIGHTS, mx.cpu())
    run = RunWriter.create(out, exported.config, exported.classes)
    try:
        run.save_parameters(parameter_arrays(parameters), exported.metrics)
        if exported.temperature:
            run.save_temperature("last", exported.temperature)
    except BaseException:  # a run without parameters could be neither used nor made again
        shutil.rmtree(out)
        raise
