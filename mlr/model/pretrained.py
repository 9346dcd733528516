"""Finds and reads pretrained weights for networks of the Gluon zoo, and loads them."""

from collections import Counter
from pathlib import Path
from typing import Dict, Iterable

from mxnet.gluon import HybridBlock

from mlr.formats.npz import read_npz
from mlr.formats.onnx import read_onnx
from mlr.formats.params import read_params
from mlr.formats.safetensors import read_safetensors
from mlr.model.backbones import BACKBONES
from mlr.model.parameters import set_parameters, untagged
from mlr.model.torch_names import in_zoos_names
from mlr.model.zoo_files import zoo_file
from mlr.runtime.hashing import sha256_of, verify_checksum

# by the ending of a file's name; other files are read as .params
READERS = {".npz": read_npz, ".onnx": read_onnx, ".safetensors": read_safetensors}

# The prefix of ResNet-50's features in the released code; and the prefixes of other layers in files
# of runs and of the released code.
RELEASED_FEATURES = "feature_extractor."
BEYOND_FEATURES = "output.", "fusion.", "shallow.", "branch_", "styleVector."


def load_pretrained(network: HybridBlock, source: str) -> Dict[str, str]:
    """Load ImageNet weights into a materialized network of the Gluon zoo; return a record of what
    was loaded.

    network: has `name_in_zoo`, and `structural_parameters`, `prefixed_parameters` and `left_out`,
    as in `mlr.model.backbone.Backbone`. source: one of

    - "zoo", the file that `mlr.model.zoo_files.zoo_file` returns, from MXNet's cache or downloaded;
    - a .params file of the zoo's network, or of a network that contains it, with structural names
      (features.0.gamma) or with Gluon's older names, with or without the prefix of a name scope
      (resnetv24_conv0_weight, conv0_weight), and with or without the tags arg: and aux:;
    - a .params file of a run of any method with this backbone, or of the released code; only the
      backbone is loaded;
    - an .onnx file with prefixed names, such as the ONNX model zoo's files that came from Gluon;
    - an .npz or .safetensors file with any of these names;
    - a file of weights from PyTorch for VGG-16, AlexNet, ResNet-18 or ResNet-34, with the names of
      torchvision or timm;
    - "none".

    A classifier or style layers in the file are ignored. Raises InputError if the file can't be
    downloaded or read, or doesn't fit; the error lists everything that is missing, unexpected or
    wrongly shaped, under the zoo's names.
    """
    if source == "none":
        return {"source": "none"}
    path = zoo_file(network.name_in_zoo) if source == "zoo" else Path(source)
    load_file(network, path)
    return {"source": source, "file": path.name, "sha256": sha256_of(path)}


def load_file(network: HybridBlock, path: Path) -> None:
    """Load the weights in a file into a network; arguments and errors as for `load_pretrained`."""
    verify_checksum(path)
    arrays = READERS.get(path.suffix.lower(), read_params)(path)
    arrays = {
        _name_in_features(name, network.name_in_zoo): array
        for name, array in in_zoos_names(untagged(arrays), network.name_in_zoo, path).items()
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


def _name_in_features(name: str, network: str) -> str:
    """Return the zoo's name of a parameter from a file of the released code, or of a run of L_cil
    or of its branches alone; any other name is returned as it is.

    For example, backbone.stage1.0.bn1.gamma becomes features.5.0.bn1.gamma, and
    feature_extractor.0.gamma becomes features.0.gamma. network: the zoo's name of the network.
    """
    if name.startswith(RELEASED_FEATURES):
        return "features." + name[len(RELEASED_FEATURES) :]
    own = name[len("backbone.") :] if name.startswith("backbone.") else name
    anatomy = BACKBONES.get(network)
    return (anatomy.name_in_zoo(own) if anatomy else None) or name


def _prefix(arrays: Iterable[str], names: Iterable[str]) -> str:
    """Return the prefix that a file puts before the names of a network: the most frequent one, ""
    if no name matches.
    """
    found = Counter(name[: -len(own)] for name in arrays for own in names if name.endswith(own))
    return max(found, key=found.__getitem__, default="")
