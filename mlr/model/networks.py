"""Builds a network from its description in config.json, and loads its pretrained weights."""

from typing import Any, Dict, Mapping

from mxnet.gluon import HybridBlock

from mlr.errors import InputError
from mlr.model.caffe_weights import load_caffe_weights
from mlr.model.caffenet import CaffeNet
from mlr.model.finetuned import FineTuned
from mlr.model.network import MultiLevelNet
from mlr.model.pretrained import load_pretrained
from mlr.model.shallow_only import ShallowOnly

KINDS = {
    "multi_level": MultiLevelNet,
    "fine_tuned": FineTuned,
    "shallow_only": ShallowOnly,
    "caffenet": CaffeNet,
}


def new_network(description: Mapping[str, Any]) -> HybridBlock:
    """Return the network that a description defines, without parameters.

    description: `kind`, one of KINDS, and the arguments of that class.
    """
    arguments = dict(description)
    return KINDS[arguments.pop("kind")](**arguments)


def load_weights(net: HybridBlock, source: str) -> Dict[str, Any]:
    """Load pretrained weights into the layers of a network that they fit; return a record of them.

    source: as for `mlr.model.pretrained.load_pretrained`. Raises InputError if they don't fit.
    """
    if source == "none":
        return {"source": "none"}
    if not isinstance(net, CaffeNet):
        return load_pretrained(getattr(net, "backbone", net), source)
    if source == "zoo":
        raise InputError(
            "the Gluon zoo has no CaffeNet: give --pretrained FILE, with weights of DeepSentiBank "
            "(.npz) or of ImageNet (.onnx), or none"
        )
    return load_caffe_weights(net, source)
