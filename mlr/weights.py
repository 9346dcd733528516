"""Weights from elsewhere: checked by name and shape, then put into a network."""

import hashlib
import re
import zipfile
from collections import Counter
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon.model_zoo import model_store
from mxnet.gluon.parameter import DeferredInitializationError

from mlr.errors import InputError
from mlr.params_file import read_params


CHECKSUM = ".sha256"    # appended to a file's name: a line as sha256sum writes it

# Layers of `mlr.model.backbone.Backbone`, and which of the zoo's features are their first; how the released code calls these; and
# what stands beside features in the zoo's files, in runs and in the released code's files.
LAYER_OF_BACKBONE = re.compile(r"(?<![^.])(stem\.|stage|head\.)(\d\d?)\.")
FIRST_OF_BACKBONE = {"stem.": 0, "stage": 4, "head.": 9}
RELEASED_FEATURES = "feature_extractor."
BEYOND_FEATURES = "output.", "shallow.", "branch_", "styleVector."

NAMES_SHOWN = 10        # of each kind in an error's message
MOST_BYTES = 2 ** 32    # of an .npz file, unpacked

# For a dictionary {layer: {kind: array}}, or {layer: [weights, biases]} as older converters wrote it.
UNPICKLE = (
    "python -c \"import numpy as np; layers = np.load(%r, allow_pickle=True, encoding='latin1').item(); np.savez(%r, "
    "**{layer + '_' + kind: array for layer, arrays in layers.items() for kind, array in "
    "(arrays.items() if hasattr(arrays, 'items') else zip(('weights', 'biases'), arrays))})\"")


class ParametersError(InputError):
    """Arrays that don't fit a network. Attributes: the names that are `missing`, `unexpected`, `wrongly_shaped`, `not_numbers`."""

    def __init__(self, source, **faults):
        self.missing, self.unexpected = faults["missing"], faults["unexpected"]
        self.wrongly_shaped, self.not_numbers = list(faults["wrongly_shaped"]), list(faults["not_numbers"])
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "wrongly shaped": ["%s %s instead of %s" % (name, *shapes) for name, shapes in faults["wrongly_shaped"].items()],
            "with values that are no numbers": ["%s %s" % item for item in faults["not_numbers"].items()],
        }
        super().__init__("the parameters in %s don't fit the network: %s" % (source, "; ".join(
            "%d %s (%s%s)" % (len(names), kind, ", ".join(map(shown, names[:NAMES_SHOWN])), ", ..." if len(names) > NAMES_SHOWN else "")
            for kind, names in kinds.items() if names)))


def shown(text, longest=200):
    """Return a text from somebody's file as one line for an error's message: what can't be printed escaped, and cut off where it is long."""
    text = text if len(text) <= longest else text[:longest] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]


def infer_shapes(net):
    """Let the parameters of a network take their shapes, from an image of its `image_size`, or of 64 px where no shape depends on it."""
    size = getattr(net, "image_size", 64)
    net.infer_shape(mx.nd.zeros((1, 3, size, size)))


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


def parameter_arrays(parameters):
    """Return what to save of {name: Parameter}, {name: array}, once MXNet is idle.

    Weights are the same on every device. Each device has its own running statistics of batch norm: their mean is taken, as Gluon does.
    Raises RuntimeError where they have no data yet.
    """
    return {name: parameter.list_data()[0] if parameter.grad_req != "null" else
            np.mean([value.asnumpy() for value in parameter.list_data()], axis=0) for name, parameter in parameters.items()}


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


def load_pretrained(network, source):
    """Put ImageNet weights into a materialized network of the Gluon zoo; return a record of what was loaded.

    network: has `name_in_zoo`, and `structural_parameters` and `prefixed_parameters`, its parameters under the names of the zoo's
    own files, as `mlr.model.backbone.Backbone`, and perhaps `left_out`, names of parameters that it goes without. source: one of

    - "zoo", the zoo's file for it, from the MXNet cache or the network, checked by its SHA-1;
    - a .params file of the zoo's network, also of one within another, with structural names (features.0.gamma) or with Gluon's older
      ones, which have the prefix of any name scope, or none (resnetv24_conv0_weight, conv0_weight), and perhaps the tags arg: and aux:;
    - a run's .params file, of whatever row has this backbone, or the released code's: of these the backbone is taken, and no more;
    - an .onnx file with prefixed names, as those of the ONNX model zoo that came from Gluon;
    - "none".

    What a file has of a classifier, or of style, is left out. Raises InputError for a file that can't be had or doesn't fit, with
    everything that is missing, too much or of another shape, under the zoo's names.
    """
    if source == "none":
        return {"source": "none"}
    path = zoo_file(network.name_in_zoo) if source == "zoo" else Path(source)
    verify_checksum(path)
    arrays = read_onnx(path) if path.suffix.lower() == ".onnx" else read_params(path)
    arrays = {_name_in_features(name): array for name, array in untagged(arrays).items()}
    structural = any("features." in name for name in arrays)
    parameters = network.structural_parameters if structural else network.prefixed_parameters
    left_out = getattr(network, "left_out", set())
    prefix = _prefix(arrays, {*parameters, *left_out})
    arrays = {name[len(prefix):]: array for name, array in arrays.items() if name.startswith(prefix)}
    beyond = BEYOND_FEATURES if structural else ("dense",)
    arrays = {name: array for name, array in arrays.items()
              if name in parameters or not (name.startswith(beyond) or name in left_out)}
    set_parameters(parameters, arrays, path)
    return {"source": source, "file": path.name, "sha256": sha256_of(path)}


def untagged(arrays):
    """Return arrays, {name: array}, without the tags arg: and aux: that MXNet's symbols and modules save names with."""
    return {name[4:] if name.startswith(("arg:", "aux:")) else name: array for name, array in arrays.items()}


def _name_in_features(name):
    """Return what the zoo calls a parameter that a run of the rows l_cil or shallow, or the released code, names otherwise.

    backbone.stage1.0.bn1.gamma is backbone.features.5.0.bn1.gamma, feature_extractor.0.gamma is features.0.gamma.
    """
    name = LAYER_OF_BACKBONE.sub(lambda layer: "features.%d." % (FIRST_OF_BACKBONE[layer[1]] + int(layer[2])), name, count=1)
    return "features." + name[len(RELEASED_FEATURES):] if name.startswith(RELEASED_FEATURES) else name


def read_onnx(path):
    """Return the weights of an ONNX file, {name: NumPy array}. Raises InputError where it is none, or the onnx package is missing."""
    if not Path(path).is_file():
        raise InputError("parameter file %s does not exist" % path)
    try:
        import onnx
    except ModuleNotFoundError:
        raise InputError("reading %s needs the onnx package: pip install 'mlr[onnx]'" % path) from None
    try:
        weights = onnx.load(str(path), load_external_data=False).graph.initializer
        if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in weights):
            raise ValueError("it leaves its weights to other files, which are not read: save it as one file")
        if not all(isinstance(tensor.name, str) for tensor in weights):  # protobuf hands out what is no UTF-8 as bytes
            raise ValueError("it has a name that is no text")
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in weights}
    except Exception as error:  # of a damaged file protobuf, onnx and NumPy raise nearly everything
        raise InputError("%s is no ONNX file, or a damaged one (%s): get it again" % (path, shown(str(error)))) from None
    if not arrays:
        raise InputError("%s is no ONNX file, or one without weights" % path)
    return arrays


def read_npz(path):
    """Return the arrays of an .npz file, {name: NumPy array}, nothing unpickled. Raises InputError where it is none, or holds objects.

    People also have dictionaries of weights as .npy files, which are pickles: for these the error says how to convert them.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("parameter file %s does not exist" % path)
    if path.suffix.lower() == ".npy":
        raise InputError("%s is not read: as .npy a dictionary of weights is a pickle, which can run any program when it is opened. Where you "
                         "trust it, convert it once:\n%s" % (path, UNPICKLE % (str(path), str(path.with_suffix(".npz")))))
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MOST_BYTES:
            raise ValueError("it claims %.0f GiB" % (size / 2 ** 30))
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):  # NumPy hands out other members as they are
                raise ValueError("%s is no array" % name)
        return arrays
    except Exception as error:  # of a damaged file zipfile, zlib and NumPy raise nearly everything
        raise InputError("%s is no .npz file of plain arrays, or a damaged one (%s): make it with numpy.savez, or get it again" % (
            path, shown(str(error)))) from None


def _prefix(arrays, names):
    """Return what stands before the names of a network, whole, in those of a file: what fits most of them, "" where nothing does."""
    found = Counter(name[:-len(own)] for name in arrays for own in names if name.endswith(own))
    return max(found, key=found.get, default="")


def sha256_of(path):
    """Return the SHA-256 of a file, in hexadecimal."""
    return digest_of(path, "sha256")


def digest_of(path, kind):
    """Return a file's digest by the name of its kind, in hexadecimal."""
    digest = hashlib.new(kind)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def zoo_file(name):
    """Return the path of the zoo's weights in the MXNet cache, downloading them where they are not there yet.

    Any <name>-<hash>.params in the cache will do whose SHA-1 starts with that hash, as versions of MXNet have different ones.
    """
    if name not in model_store._model_sha1:
        raise InputError("the Gluon zoo has no ImageNet weights of %s: train it from scratch with --pretrained none" % name)
    sha1 = model_store._model_sha1[name]
    file_name = "%s-%s.params" % (name, sha1[:8])
    cache = Path(mx.base.data_dir()) / "models"
    if cache.parts[0] == "~":
        raise InputError("there is no home folder for the ImageNet weights: name a folder in MXNET_HOME, or give --pretrained FILE.params or none")
    for path in (cache / file_name, *sorted(cache.glob(name + "-????????.params"))):
        if path.is_file() and digest_of(path, "sha1").startswith(path.stem[-8:]):
            return path
    try:
        return Path(model_store.get_model_file(name, root=str(cache)))
    # The download raises requests' errors, ValueError, RuntimeError, OSError or zipfile's, depending on what came back.
    except Exception as error:
        raise InputError(
            "the ImageNet weights of %s can't be downloaded (%s); put %s (SHA-1 %s) into %s, or give --pretrained FILE.params or "
            "FILE.onnx, or train from scratch with --pretrained none" % (name, type(error).__name__, file_name, sha1, cache)) from None
