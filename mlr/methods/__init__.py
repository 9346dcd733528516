"""The systems of the results table, one file each. This module finds them; no other module names
them.

To add a method, define a `mlr.methods.method.Method` in a file of this package.
"""

import os
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Union

from mlr import paper
from mlr.errors import InputError, RunError
from mlr.methods.exported import MODEL, cached_export
from mlr.methods.method import Method
from mlr.options.training import options_of
from mlr.runs.schema import Refused, refused
from mlr.runs.shipped import SHIPPED_RUN
from mlr.runtime.context import parse_context
from mlr.runtime.installation import EXTRAS, is_installed, require_mxnet, require_package
from mlr.runtime.network_thread import on_networks_thread

if TYPE_CHECKING:
    import mxnet as mx
    from mxnet.gluon import HybridBlock

    from mlr.inference.predictor import Predictor
    from mlr.inference.reading import PathLike
    from mlr.runs.exported import ExportedRun
    from mlr.runs.folder import Run

ENGINES = "mxnet", "onnx", "onnx-int8"
ONNX = ".onnx"
# The parts of an exported model's preprocessing that must be those of its run's network.
STEPS = "image_size", "resize", "channel_order", "scale", "mean", "std"


def _found() -> Dict[str, Method]:
    """Return {name: method}: first those of the results table, in its order, then the others."""
    modules = [import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]
    found = {
        value.name: value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Method)
    }
    table = list(paper.PUBLISHED)
    places = {name: table.index(name) if name in table else len(table) for name in found}
    return {name: found[name] for name in sorted(found, key=lambda name: (places[name], name))}


METHODS = _found()


def method_named(name: str) -> Method:
    """Return a method by its name. Raises InputError if there is no such method."""
    if name not in METHODS:
        raise InputError(f"there is no method {name}: choose one of {', '.join(METHODS)}")
    return METHODS[name]


def method_of(config: Mapping[str, Any], path: "PathLike" = "config.json") -> Method:
    """Return the method that a run's config.json names. Raises Refused if there is no such method.

    path: the path of config.json, for the error.
    """
    name = config["options"]["method"]
    if name not in METHODS:
        raise refused(path, "options.method", name, f"one of {', '.join(METHODS)}")
    return METHODS[name]


def epochs_of(run: "Run") -> int:
    """Return the number of epochs that the run has when it is finished."""
    return method_of(run.config).stages(options_of(run.config))[-1].stop


def finished(run: "Run") -> bool:
    """Tell whether all epochs of a run are done."""
    return len(run.metrics) >= epochs_of(run)


def open_run(path: "PathLike") -> "Union[Run, ExportedRun]":
    """Return the run in a folder, or that of an .onnx file of `mlr export`. Raises InputError if
    there is no run, a file is damaged, or its parts contradict each other.
    """
    if os.path.isdir(path) or not str(path).lower().endswith(ONNX):
        return open_run_folder(path)
    return _open_model(path)


def _open_model(path: "PathLike") -> "ExportedRun":
    from mlr.formats.onnx import REMEDY
    from mlr.runs.exported import ExportedRun

    run = ExportedRun(path)
    try:
        method = method_of(run.config, path)
        method.check(run.config, run.classes, Path(path))
        steps, described = method.preprocessing(run.config).steps(), run.about["preprocessing"]
        for name in STEPS:
            if not isinstance(described, dict) or described.get(name) != steps[name]:
                raise refused(path, f"preprocessing.{name}", described, steps[name])
    except Refused as error:
        raise InputError(f"{error.found}; {REMEDY}") from None
    return run


def open_run_folder(folder: "PathLike") -> "Run":
    """Return the run in a folder. Raises InputError if there is no run, a file is damaged, or its
    parts contradict each other.
    """
    from mlr.runs.folder import Run

    run = Run.open(folder)
    path = run.folder / "config.json"
    method_of(run.config, path).check(run.config, run.classes, path)
    return run


def load_network(
    run: "Run", ctx: "Union[mx.Context, List[mx.Context]]", parameters: str = "last"
) -> "HybridBlock":
    """Return a run's network, hybridized, on the contexts.

    parameters: "last", those after the last epoch, or "best", those of the epoch with the best
    balanced accuracy on valid.
    """
    from mlr.formats.params import read_params
    from mlr.model.parameters import infer_shapes, set_parameters

    net = method_of(run.config).build(run.config["network"])
    infer_shapes(net)
    path = run.verified(f"{parameters}.params")
    set_parameters(net._collect_params_with_prefix(), read_params(path), path, ctx)
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def predictor_of(
    run: "Run", ctx: "List[mx.Context]", parameters: str = "last", tempered: bool = True
) -> "Predictor":
    """Return the predictor of a run, with MXNet. Raises InputError if the run's files are damaged.

    tempered: False to leave out the temperature, if the run has one.
    """
    from mlr.inference.predictor import Predictor

    method = method_of(run.config)
    classifier = method.classifier(load_network(run, ctx, parameters), run.config, ctx)
    method.load_classifier(classifier, run)
    if tempered and classifier.is_of_logits:
        classifier.temperature = run.temperature(parameters)
    classifier.fuse(f"the network of {run.folder}, {parameters}.params,")
    return Predictor(classifier, run.classes)


def answering(
    run: "Union[Run, ExportedRun]",
    ctx: "Optional[Union[str, mx.Context]]" = None,
    parameters: str = "last",
    engine: Optional[str] = None,
    tempered: bool = True,
) -> "Predictor":
    """Return the predictor of a run, with one of the engines; arguments as for `load`.

    run: what `open_run` returned. tempered: as for `predictor_of`.
    """
    from mlr.runs.exported import ExportedRun

    if engine not in (None, *ENGINES):
        raise InputError(f"there is no engine {engine}: choose one of {', '.join(ENGINES)}")
    if isinstance(run, ExportedRun):
        if engine not in (None, "onnx"):
            raise InputError(
                f"{run.path} is a model for ONNX Runtime: leave out --engine {engine}, or give the "
                "run folder"
            )
        return _predictor_of_model(run, ctx, parameters, run if tempered else None)
    if engine in ("onnx", "onnx-int8"):
        require_package("onnx", "onnx", f"--engine {engine}")
        require_package("onnxruntime", "onnx", f"--engine {engine}")
        require_mxnet()
        method, int8 = method_of(run.config), engine == "onnx-int8"
        exported = on_networks_thread(cached_export, run, method, parameters, int8)
        return _predictor_of_model(exported, ctx, parameters, run if tempered else None)
    if engine is None and not is_installed("mxnet"):
        model = _model_beside(run, parameters)
        return _predictor_of_model(model, ctx, parameters, run if tempered else None)
    require_mxnet()
    return on_networks_thread(lambda: predictor_of(run, parse_context(ctx), parameters, tempered))


def _model_beside(run: "Run", parameters: str) -> "ExportedRun":
    """Return the ONNX model in a run folder, which predicts without MXNet. Raises InputError if the
    model has other parameters than the run, RunError if there is no model.
    """
    beside = run.folder / MODEL
    if not beside.is_file():
        raise RunError(
            f"{run.folder} needs MXNet, which is not installed: on a machine with MXNet run mlr "
            f"export --run {run.folder} --out {beside}, after which the run works without MXNet; "
            f"or pip install one of {EXTRAS}"
        )
    model = _open_model(beside)
    if model.of_parameters != parameters:
        raise InputError(
            f"{beside} has only the {model.of_parameters} parameters of its run: export it with "
            f"--parameters {parameters}"
        )
    if model.files_of(parameters) != run.files_of(parameters):
        raise InputError(
            f"{beside} has other parameters than {run.folder}, likely as the run was trained "
            "after the export: export it again"
        )
    return model


def _predictor_of_model(
    model: "ExportedRun",
    ctx: "Optional[Union[str, mx.Context]]",
    parameters: str,
    tempered_by: "Optional[Union[Run, ExportedRun]]",
) -> "Predictor":
    """tempered_by: the run whose temperature applies, None for none. A run folder may have got one
    after the export of the model in it.
    """
    from mlr.inference.onnx_engine import onnx_classifier
    from mlr.inference.predictor import Predictor

    if parameters == "best" != model.of_parameters:
        raise InputError(
            f"{model.path} has only the {model.of_parameters} parameters of its run: leave out "
            "--parameters best, or export with --parameters best"
        )
    preprocessing = method_of(model.config).preprocessing(model.config)
    classifier = onnx_classifier(model, preprocessing, None if ctx is None else str(ctx))
    if tempered_by and classifier.is_of_logits:
        classifier.temperature = tempered_by.temperature(parameters)
    return Predictor(classifier, model.classes)


def load(
    run: "PathLike" = SHIPPED_RUN,
    ctx: "Optional[Union[str, mx.Context]]" = None,
    parameters: str = "last",
    engine: Optional[str] = None,
) -> "Predictor":
    """Return a run's predictor, a function from images to predictions.

    run: a run folder, which `mlr train` wrote to its --out, or an .onnx file of `mlr export`
    (default: the run that ships with the package, trained on photographs). ctx: a context, or text
    as for --ctx, "gpu(0)" or "gpu(0),gpu(1)" (default: the first GPU that the engine sees, else the
    CPU). parameters: "last", those after the last epoch, or "best", those of the epoch with the
    best balanced accuracy on valid. engine: "mxnet"; or "onnx" or "onnx-int8", ONNX Runtime, for
    which the run is exported once into the cache (default: MXNet for a folder, or, if MXNet is not
    installed, ONNX Runtime with the folder's model.onnx).

    Raises InputError if the folder or file is not a run or is damaged, if it lacks the parameters,
    and if the context does not exist.
    """
    if parameters not in ("last", "best"):
        raise InputError(f'parameters must be "last" or "best", not {parameters!r}')
    if not isinstance(run, (str, os.PathLike)):
        raise InputError(
            f"give a run as the path of its folder or .onnx file, not as a {type(run).__name__}"
        )
    return answering(open_run(run), ctx, parameters, engine)


def import_torch(folder: "PathLike", out: "PathLike") -> Path:
    """Write a new run with the network from a folder of `mlr export --format torch`, or from a
    folder that its multilevel.py saved after more training; return the run folder, for `load` and
    every command.

    The parameters stay the same to the bit. out: the new run folder, which must not exist. Raises
    InputError if `folder` is not such a folder, if it is damaged, or if its weights don't fit its
    config.json.
    """
    from mlr.exporting.pytorch import CONFIG, read_exported, save_imported

    folder, out = Path(folder), Path(out)
    exported, path = read_exported(folder), folder / CONFIG
    method = method_of(exported.config, path)
    method.check(exported.config, exported.classes, path)
    save_imported(exported, method.build, out)
    return out


def import_npz(
    path: "PathLike", ctx: "Optional[Union[mx.Context, List[mx.Context]]]" = None
) -> "HybridBlock":
    """Return the network, hybridized, from an .npz file of `mlr export --format npz`. The
    parameters stay the same to the bit.

    ctx: a context or a list (default: the current one). Raises InputError if the file is damaged,
    contains objects, describes no network of this package, or has parameters that don't fit the
    network. No code in the file is ever run.
    """
    from mlr.exporting.arrays import network_of

    return network_of(Path(path), lambda config: method_of(config).build(config["network"]), ctx)
