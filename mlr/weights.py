"""Weights from elsewhere: checked by name and shape, then put into a network."""

import hashlib
from pathlib import Path

import mxnet as mx
from mxnet.gluon.model_zoo import model_store

from mlr.errors import InputError


def materialize(net, ctx, initializer=None):
    """Create all parameters of a network on the contexts, by default zeros to be overwritten.

    Parameters whose shape is not known before the first image are inferred from one of 64 px: no shape depends on it.
    """
    net.infer_shape(mx.nd.zeros((1, 3, 64, 64)))
    net.initialize(initializer or mx.init.Zero(), ctx=ctx)


def set_parameters(parameters, arrays, source):
    """Put arrays, {name: NDArray}, into parameters, {name: Parameter}: all of them or, with InputError, none.

    source: the file's name, for the error, which lists the names that are missing, unexpected or of another shape.
    """
    faults = {
        "missing": sorted(set(parameters) - set(arrays)),
        "unexpected": sorted(set(arrays) - set(parameters)),
        "wrongly shaped": [
            "%s %s instead of %s" % (name, arrays[name].shape, parameter.shape)
            for name, parameter in parameters.items() if name in arrays and arrays[name].shape != parameter.shape],
    }
    if any(faults.values()):
        raise InputError("the parameters in %s don't fit the network: %s" % (source, "; ".join(
            "%d %s (%s%s)" % (len(names), kind, ", ".join(names[:5]), ", ..." if len(names) > 5 else "")
            for kind, names in faults.items() if names)))
    for name, parameter in parameters.items():
        parameter.set_data(arrays[name])


def read_arrays(path):
    """Return the named arrays of a file in MXNet's format. Raises InputError where it is not one."""
    if not Path(path).is_file():
        raise InputError("parameter file %s does not exist" % path)
    try:
        arrays = mx.nd.load(str(path))
    except (mx.MXNetError, UnicodeDecodeError):
        raise InputError("%s is no MXNet parameter file, or a damaged one" % path) from None
    if not isinstance(arrays, dict):
        raise InputError("%s holds arrays without names: expected a file written by save_parameters" % path)
    return arrays


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
    arrays = {name.replace("arg:", "").replace("aux:", ""): array for name, array in read_arrays(path).items()}
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
