"""Pretrained weights of the Gluon zoo's networks: found, read, and put into a network."""

from collections import Counter
from pathlib import Path
from typing import Dict, Iterable

import mxnet as mx
from mxnet.gluon import HybridBlock
from mxnet.gluon.model_zoo import model_store

from mlr.errors import InputError
from mlr.formats.onnx import read_onnx
from mlr.formats.params import read_params
from mlr.model.backbones import BACKBONES
from mlr.model.parameters import set_parameters, untagged
from mlr.runtime.hashing import digest_of, sha256_of, verify_checksum

# What the released code calls the features of ResNet-50, and what stands beside features in runs
# and in the released code's files.
RELEASED_FEATURES = "feature_extractor."
BEYOND_FEATURES = "output.", "fusion.", "shallow.", "branch_", "styleVector."


def load_pretrained(network: HybridBlock, source: str) -> Dict[str, str]:
    """Put ImageNet weights into a materialized network of the Gluon zoo; return a record of what
    was loaded.

    network: has `name_in_zoo`, and `structural_parameters`, `prefixed_parameters` and `left_out`,
    what the zoo's own files call its parameters and those that it goes without, as
    `mlr.model.backbone.Backbone`. source: one of

    - "zoo", the zoo's file for it, from the MXNet cache or the network, checked by its SHA-1;
    - a .params file of the zoo's network, also of one within another, with structural names
      (features.0.gamma) or with Gluon's older ones, which have the prefix of any name scope, or
      none (resnetv24_conv0_weight, conv0_weight), and perhaps the tags arg: and aux:;
    - a run's .params file, of whatever row has this backbone, or the released code's: of these the
      backbone is taken, and no more;
    - an .onnx file with prefixed names, as those of the ONNX model zoo that came from Gluon;
    - "none".

    What a file has of a classifier, or of style, is left out. Raises InputError for a file that
    can't be had or doesn't fit, with everything that is missing, too much or of another shape,
    under the zoo's names.
    """
    if source == "none":
        return {"source": "none"}
    path = zoo_file(network.name_in_zoo) if source == "zoo" else Path(source)
    verify_checksum(path)
    arrays = read_onnx(path) if path.suffix.lower() == ".onnx" else read_params(path)
    arrays = {
        _name_in_features(name, network.name_in_zoo): array
        for name, array in untagged(arrays).items()
    }
    structural = any("features." in name for name in arrays)
    parameters = network.structural_parameters if structural else network.prefixed_parameters
    prefix = _prefix(arrays, {*parameters, *network.left_out})
    arrays = {
        name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)
    }
    beyond = BEYOND_FEATURES if structural else ("dense",)
    arrays = {
        name: array
        for name, array in arrays.items()
        if name in parameters or not (name.startswith(beyond) or name in network.left_out)
    }
    set_parameters(parameters, arrays, path)
    return {"source": source, "file": path.name, "sha256": sha256_of(path)}


def _name_in_features(name: str, network: str) -> str:
    """Return what the zoo calls a parameter that a run of L_cil or of its branches alone, or the
    released code, names otherwise.

    backbone.stage1.0.bn1.gamma is features.5.0.bn1.gamma, feature_extractor.0.gamma is
    features.0.gamma. network: the zoo's name of the network.
    """
    if name.startswith(RELEASED_FEATURES):
        return "features." + name[len(RELEASED_FEATURES) :]
    own = name[len("backbone.") :] if name.startswith("backbone.") else name
    anatomy = BACKBONES.get(network)
    return (anatomy.name_in_zoo(own) if anatomy else None) or name


def _prefix(arrays: Iterable[str], names: Iterable[str]) -> str:
    """Return what stands before the names of a network, whole, in those of a file: what fits most
    of them, "" where nothing does.
    """
    found = Counter(name[: -len(own)] for name in arrays for own in names if name.endswith(own))
    return max(found, key=found.__getitem__, default="")


def zoo_file(name: str) -> Path:
    """Return the path of the zoo's weights in the MXNet cache, downloading them where they are not
    there yet.

    Any <name>-<hash>.params in the cache will do whose SHA-1 starts with that hash, as versions of
    MXNet have different ones.
    """
    if name not in model_store._model_sha1:
        raise InputError(
            f"the Gluon zoo has no ImageNet weights of {name}: train it from scratch with "
            "--pretrained none"
        )
    sha1 = model_store._model_sha1[name]
    file_name = f"{name}-{sha1[:8]}.params"
    cache = Path(mx.base.data_dir()) / "models"
    if cache.parts[0] == "~":
        raise InputError(
            "there is no home folder for the ImageNet weights: name a folder in MXNET_HOME, or "
            "give --pretrained FILE.params or none"
        )
    for path in (cache / file_name, *sorted(cache.glob(name + "-????????.params"))):
        if path.is_file() and digest_of(path, "sha1").startswith(path.stem[-8:]):
            return path
    try:
        return Path(model_store.get_model_file(name, root=str(cache)))
    # The download raises requests' errors, ValueError, RuntimeError, OSError or zipfile's,
    # depending on what came back.
    except Exception as error:
        raise InputError(
            f"the ImageNet weights of {name} can't be downloaded ({type(error).__name__}); put "
            f"{file_name} (SHA-1 {sha1}) into {cache}, or give --pretrained FILE.params or "
            "FILE.onnx, or train from scratch with --pretrained none"
        ) from None
