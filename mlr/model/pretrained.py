"""Pretrained weights of the Gluon zoo's networks: found, read, and put into a network."""

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

# by the end of a file's name; any other is .params
READERS = {".npz": read_npz, ".onnx": read_onnx, ".safetensors": read_safetensors}

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

    - "zoo", the zoo's file for it, from the MXNet cache or the network, as
      `mlr.model.zoo_files.zoo_file` has it;
    - a .params file of the zoo's network, also of one within another, with structural names
      (features.0.gamma) or with Gluon's older ones, which have the prefix of any name scope, or
      none (resnetv24_conv0_weight, conv0_weight), and perhaps the tags arg: and aux:;
    - a run's .params file, of whatever method has this backbone, or the released code's: of these
      the backbone is taken, and no more;
    - an .onnx file with prefixed names, as those of the ONNX model zoo that came from Gluon;
    - an .npz or .safetensors file with any of these names;
    - a file of PyTorch's weights of VGG-16, AlexNet or ResNet-18 or 34, with the names of
      torchvision or timm;
    - "none".

    What a file has of a classifier, or of style, is left out. Raises InputError for a file that
    can't be had or doesn't fit, with everything that is missing, too much or of another shape,
    under the zoo's names.
    """
    if source == "none":
        return {"source": "none"}
    path = zoo_file(network.name_in_zoo) if source == "zoo" else Path(source)
    load_file(network, path)
    return {"source": source, "file": path.name, "sha256": sha256_of(path)}


def load_file(network: HybridBlock, path: Path) -> None:
    """Put the weights in a file into a network; both, and errors, as of `load_pretrained`."""
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
