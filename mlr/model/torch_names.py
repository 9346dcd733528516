"""Renames weights from PyTorch to Gluon's names: from torchvision, timm and this package's own
module for PyTorch.
"""

import re
from pathlib import Path
from typing import Dict, Iterable, Mapping, Union

import numpy as np

from mlr.errors import InputError

# {name in torchvision and timm: name in the Gluon zoo}, for a ResNet's layers and for those of a
# block of two convolutions.
RESNET_STEM = {"conv1": "features.0", "bn1": "features.1", "fc": "output"}
RESNET_BLOCK = {
    "conv1": "body.0",
    "bn1": "body.1",
    "conv2": "body.3",
    "bn2": "body.4",
    "downsample.0": "downsample.0",
    "downsample.1": "downsample.1",
}
IN_RESNET_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.(.+)")
BATCH_NORM = re.compile(r"(^|\.)(bn\d|downsample\.1)$")
IN_BATCH_NORM = {"weight": "gamma", "bias": "beta"}

# VGG's convolutions have the same numbers in torchvision, timm and the zoo. In timm the first two
# fully connected layers are convolutions, over the 7 x 7 map that images of 224 px give.
PLAIN = {
    "vgg16": {
        "classifier.0": "features.31",
        "classifier.3": "features.33",
        "classifier.6": "output",
        "pre_logits.fc1": "features.31",
        "pre_logits.fc2": "features.33",
        "head.fc": "output",
    },
    "alexnet": {
        "features.3": "features.2",
        "features.6": "features.4",
        "features.8": "features.5",
        "features.10": "features.6",
        "classifier.1": "features.9",
        "classifier.4": "features.11",
        "classifier.6": "output",
    },
}


def in_pytorchs_names(arrays: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Return the arrays of a Gluon network, {name: NumPy array}, under the names of
    `mlr.exporting.multilevel`: gamma and beta of a batch norm become weight and bias.
    """
    kinds = {gluons: pytorchs for pytorchs, gluons in IN_BATCH_NORM.items()}
    renamed = {}
    for name, array in arrays.items():
        layer, dot, kind = name.rpartition(".")
        renamed[layer + dot + kinds.get(kind, kind)] = array
    return renamed


def in_gluons_names(arrays: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Undo `in_pytorchs_names`: return arrays, {name: NumPy array}, under Gluon's names. A layer
    with a running mean is a batch norm.
    """
    renamed = {}
    for name, array in arrays.items():
        layer, dot, kind = name.rpartition(".")
        if f"{layer}.running_mean" in arrays:
            kind = IN_BATCH_NORM.get(kind, kind)
        renamed[layer + dot + kind] = array
    return renamed


def in_zoos_names(
    arrays: Mapping[str, np.ndarray], network: str, source: Union[str, Path]
) -> Dict[str, np.ndarray]:
    """Return the arrays of a file, {name: NumPy array}, under the Gluon zoo's structural names if
    they have the names of torchvision, timm or `mlr.exporting.multilevel`; otherwise as they are.

    network: the zoo's name of the network. source: the file's name, for errors. Raises InputError
    for a ResNet from PyTorch that does not compute the same as Gluon's `network`.
    """
    _refuse_other_resnets(arrays, network, source)
    if network in PLAIN and any(name.startswith(("classifier.", "head.")) for name in arrays):
        renamed = {_name_in_plain(name, PLAIN[network]): array for name, array in arrays.items()}
        return {
            name: array.reshape(len(array), -1)
            if name in ("features.31.weight", "features.33.weight")
            else array
            for name, array in renamed.items()
        }
    if "layer1.0.conv1.weight" in arrays:
        return {
            _name_in_resnet(name): array
            for name, array in arrays.items()
            if not name.endswith(".num_batches_tracked")
        }
    return in_gluons_names(arrays)


def _refuse_other_resnets(names: Iterable[str], network: str, source: Union[str, Path]) -> None:
    if {"stem.conv.weight", "stages.0.blocks.0.conv1.weight"} <= set(names):
        raise InputError(
            f"{source} has weights of timm's resnetv2, which differs from Gluon's ResNet v2: it "
            "has no batch norm of the images, and no batch norm and ReLU between the first "
            "convolution and its pooling. Use Gluon's weights (mlr weights list)"
        )
    if "layer1.0.conv1.weight" not in names:
        return
    if "layer1.0.conv3.weight" in names and network.startswith("resnet"):
        raise InputError(
            f"{source} has weights of a ResNet with bottlenecks (50 layers or more) from "
            "torchvision or timm, which halves maps in the 3 x 3 convolution (v1.5). Gluon's v1 "
            "halves them in the 1 x 1 convolution before it, and Gluon's v2 has batch norm first, "
            "so neither computes the same with these weights. Use Gluon's weights (mlr weights "
            "list), or the backbone resnet18_v1 or resnet34_v1 with weights from PyTorch"
        )
    if network.startswith("resnet") and not network.endswith("_v1"):
        raise InputError(
            f"{source} has weights of a ResNet v1 from torchvision or timm, but {network} has "
            "batch norm before each convolution. Use the backbone resnet18_v1 or resnet34_v1"
        )


def _name_in_plain(name: str, layers: Mapping[str, str]) -> str:
    layer, _, kind = name.rpartition(".")
    return f"{layers.get(layer, layer)}.{kind}"


def _name_in_resnet(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    if BATCH_NORM.search(layer):
        kind = IN_BATCH_NORM.get(kind, kind)
    block = IN_RESNET_BLOCK.fullmatch(layer)
    if block and block[3] in RESNET_BLOCK:
        return f"features.{3 + int(block[1])}.{block[2]}.{RESNET_BLOCK[block[3]]}.{kind}"
    return f"{RESNET_STEM[layer]}.{kind}" if layer in RESNET_STEM else name
