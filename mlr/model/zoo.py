"""The networks of the Gluon model zoo that the methods of the results table are built on, and
narrow ones of the same layers.
"""

from typing import Iterable

from mxnet import init
from mxnet.gluon import HybridBlock, nn
from mxnet.gluon.model_zoo import vision

from mlr.errors import InputError
from mlr.paper import NARROW, PLAIN_NETWORKS, RESIDUAL_NETWORKS, SLIM, SLIM_BACKBONE, SLIM_CHANNELS


def zoo_network(name: str) -> HybridBlock:
    """Return a network of the zoo as it makes it: a HybridBlock with `features` and `output`, and a
    `prefix` to its parameters' names.

    name: one of `mlr.paper.RESIDUAL_NETWORKS` and `PLAIN_NETWORKS`, or one of the slim ones, which
    have fewer channels: of the plain networks a quarter in every layer. Raises InputError for any
    other name.
    """
    if name == SLIM_BACKBONE:
        return vision.ResNetV2(vision.BasicBlockV2, [2, 2, 2, 2], list(SLIM_CHANNELS))
    if name not in (*RESIDUAL_NETWORKS, *PLAIN_NETWORKS, *SLIM):
        raise InputError(
            f"unknown network {name}: choose one of "
            f"{', '.join((*RESIDUAL_NETWORKS, *PLAIN_NETWORKS, SLIM_BACKBONE, *SLIM))}"
        )
    if name in SLIM:
        network = vision.get_model(SLIM[name])
        network.features = _narrowed(network.features)
        return network
    return vision.get_model(name)


def _narrowed(layers: Iterable[HybridBlock]) -> nn.HybridSequential:
    """Return layers of the same kind with a fraction of the channels, and initial values that suit
    a training from scratch.
    """
    narrow, rectified = nn.HybridSequential(prefix=""), init.MSRAPrelu(slope=0)
    for layer in layers:
        if isinstance(layer, nn.Conv2D):
            options = layer._kwargs
            layer = nn.Conv2D(
                options["num_filter"] // NARROW,
                options["kernel"],
                options["stride"],
                options["pad"],
                activation="relu",
                weight_initializer=rectified,
            )
        elif isinstance(layer, nn.Dense):
            layer = nn.Dense(
                layer._units // NARROW, activation="relu", weight_initializer=rectified
            )
        elif isinstance(layer, nn.Activation):
            continue  # VGG's stand alone, and each layer above has its own
        narrow.add(layer)
    return narrow
