"""Weights from elsewhere: checked by name and shape, then put into a network."""

import hashlib
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon.model_zoo import model_store
from mxnet.gluon.parameter import DeferredInitializationError

from mlr.errors import InputError
from mlr.params_file import read_params


CHECKSUM = ".sha256"    # appended to a file's name: a line as sha256sum writes it
NAMES_SHOWN = 10        # of each kind in an error's message


class ParametersError(InputError):
    """Arrays that don't fit a network. Attributes: the names that are `missing`, `unexpected`, `wrongly_shaped`, `not_numbers`."""

    def __init__(self, source, **faults):
        self.missing, self.unexpected = faults["missing"], faults["unexpected"]
        self.wrongly_shaped, self.not_numbers = list(faults["wrongly_shaped"]), list(faults["not_numbers"])
        shown = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "wrongly shaped": ["%s %s instead of %s" % (name, *shapes) for name, shapes in faults["wrongly_shaped"].items()],
            "with values that are no numbers": ["%s %s" % item for item in faults["not_numbers"].items()],
        }
        super().__init__("the parameters in %s don't fit the network: %s" % (source, "; ".join(
            "%d %s (%s%s)" % (len(names), kind, ", ".join(names[:NAMES_SHOWN]), ", ..." if len(names) > NAMES_SHOWN else "")
            for kind, names in shown.items() if names)))


def infer_shapes(net):
    """Let the parameters of a network take their shapes, from an image of 64 px: no shape depends on it."""
    net.infer_shape(mx.nd.zeros((1, 3, 64, 64)))


def materialize(net, ctx, initializer):
    """Create all parameters of a network on the contexts."""
    infer_shapes(net)
    net.initialize(initializer, ctx=ctx)


def set_parameters(parameters, arrays, source, ctx=None):
    """Put arrays, {name: NumPy array}, into parameters, {name: Parameter}, in their dtype: all or, with ParametersError, none.

    source: the file's name, for the error. ctx: where to create parameters that have a shape but were never initialized, a
    context or a list (default: the current one). Integers, NaN and infinity are errors: no training ends in them well.
    """
    common = [name for name in parameters if name in arrays]
    faults = {
        "missing": [name for name in parameters if name not in arrays],
        "unexpected": [name for name in arrays if name not in parameters],
        "wrongly_shaped": {name: (arrays[name].shape, parameters[name].shape) for name in common
                           if arrays[name].shape != parameters[name].shape},
        "not_numbers": {name: what for name in common for what in [_not_numbers(arrays[name])] if what},
    }
    if any(faults.values()):
        raise ParametersError(source, **faults)
    for name, parameter in parameters.items():
        _create(parameter, ctx)
        parameter.set_data(mx.nd.array(arrays[name], dtype=parameter.dtype))


def _not_numbers(array):
    if array.dtype.kind != "f":
        return str(array.dtype)
    return "" if np.isfinite(array).all() else "NaN or infinite"


def _create(parameter, ctx):
    try:
        parameter.list_data()
        return
    except DeferredInitializationError:
        ctx = parameter.list_ctx()
    except RuntimeError:  # never initialized
        pass
    parameter.initialize(mx.init.Zero(), ctx, force_reinit=True)


def verify_checksum(path):
    """Raise InputError where <path>.sha256 is there and is not the file's."""
    listed = Path("%s%s" % (path, CHECKSUM))
    if not listed.is_file() or not Path(path).is_file():
        return
    digest = listed.read_bytes()[:64].decode("ascii", "replace").lower()
    if digest != sha256_of(path):
        raise InputError("%s is damaged or changed: its SHA-256 is not the one in %s; restore it from a copy" % (path, listed))


def load_pretrained(net, source):
    """Put ImageNet weights into the backbone of a materialized MultiLevelNet; return a record of what was loaded.

    source: "zoo", the Gluon model zoo's file for this backbone, from the MXNet cache or the network, checked by its SHA-1;
    a .params file of that network, with structural names (features.0.gamma) or prefixed ones (resnetv24_batchnorm0_gamma,
    also with arg: and aux: tags); or "none". A file's classifier (output, dense0) is left out. Raises InputError for a
    file that can't be had or doesn't fit.
    """
    if source == "none":
        return {"source": "none"}
    backbone = net.backbone
    path = Path(_zoo_file(backbone.name_in_zoo) if source == "zoo" else source)
    arrays = {name.replace("arg:", "").replace("aux:", ""): array for name, array in read_params(path).items()}
    if "features.0.running_mean" in arrays:
        parameters = backbone.structural_parameters
    else:
        parameters = backbone.prefixed_parameters
        prefix = next((name[:-len("batchnorm0_running_mean")] for name in arrays if name.endswith("_batchnorm0_running_mean")
                       and "_stage" not in name), "")
        arrays = {name[len(prefix):]: array for name, array in arrays.items()}
    arrays = {name: array for name, array in arrays.items() if not name.startswith(("output.", "dense0_"))}
    set_parameters(parameters, arrays, path)
    return {"source": source, "file": path.name, "sha256": sha256_of(path)}


def sha256_of(path):
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _zoo_file(name):
    """Return the path of the zoo's weights in the MXNet cache, downloading them where they are not there yet."""
    sha1 = model_store._model_sha1[name]
    file_name = "%s-%s.params" % (name, sha1[:8])
    cache = Path(mx.base.data_dir()) / "models"
    try:
        return model_store.get_model_file(name, root=str(cache))
    # The download raises requests' errors, ValueError, RuntimeError, OSError or zipfile's, depending on what came back.
    except Exception as error:
        raise InputError(
            "the ImageNet weights of %s can't be downloaded (%s); put %s (SHA-1 %s) into %s, or give --pretrained FILE.params, "
            "or train from scratch with --pretrained none" % (name, type(error).__name__, file_name, sha1, cache)) from None
