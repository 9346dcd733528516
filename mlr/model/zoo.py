"""The networks of the Gluon model zoo that the methods use, and narrow versions of them."""

from typing import Dict, Iterable, NamedTuple, Set

from mxnet import init
from mxnet.gluon import HybridBlock, Parameter, nn
from mxnet.gluon.model_zoo import vision
from mxnet.gluon.model_zoo.vision.mobilenet import RELU6

from mlr.model.backbones import anatomy_of
from mlr.paper import NARROW, SLIM_BACKBONE, SLIM_CHANNELS


class ParameterNames(NamedTuple):
    """The names of a network's parameters in the zoo's own files.

    structural, prefixed: {name: parameter} for the `features`, under the names of newer files
    (features.0.gamma) and of Gluon's older ones (batchnorm0_gamma). left_out: the names of the
    parameters of other layers.
    """

    structural: Dict[str, Parameter]
    prefixed: Dict[str, Parameter]
    left_out: Set[str]


def zoo_network(name: str) -> HybridBlock:
    """Return a network of the zoo: a HybridBlock with `features`, (N, 3, H, W) -> (N, D), and its
    classifier, `output`.

    name: one of `mlr.model.backbones.BACKBONES`. The features are the zoo's, and end with global
    average pooling, except in AlexNet and VGG: the zoo's SqueezeNet pools in its classifier, and
    its DenseNet only pools maps from images of 224 px. Raises InputError for any other name.
    """
    anatomy = anatomy_of(name)
    if name == SLIM_BACKBONE:
        return vision.ResNetV2(vision.BasicBlockV2, [2, 2, 2, 2], list(SLIM_CHANNELS))
    network = vision.get_model(anatomy.zoo)
    if name.endswith("_slim"):
        network.features = _narrowed(network.features)
    elif name.endswith("_relu6"):
        network.features = _with_relu6(network.features)
    if not anatomy.fully_connected:
        _average_at_the_end(network.features)
    return network


def names_in_zoo(network: HybridBlock) -> ParameterNames:
    """Return the names that the zoo's own files have for the parameters of a network with
    `features` and `output`.
    """
    structural = network.features._collect_params_with_prefix("features")
    output = network.output._collect_params_with_prefix("output")
    own = len(network.prefix)
    return ParameterNames(
        structural,
        {parameter.name[own:]: parameter for parameter in structural.values()},
        {*output, *(parameter.name[own:] for parameter in output.values())},
    )


def _average_at_the_end(layers: nn.HybridSequential) -> None:
    """Make layers end with global average pooling and flattening."""
    end = (nn.GlobalAvgPool2D, nn.Flatten)
    if tuple(map(type, layers))[-2:] == end:
        return
    kept = [layer for layer in layers if not isinstance(layer, (nn.AvgPool2D, *end))]
    layers._children.clear()
    layers.add(*kept, nn.GlobalAvgPool2D(), nn.Flatten())


def _with_relu6(layers: Iterable[HybridBlock]) -> nn.HybridSequential:
    """Return the same layers with ReLU6 in place of each separate ReLU layer."""
    changed = nn.HybridSequential(prefix="")
    changed.add(*(RELU6() if isinstance(layer, nn.Activation) else layer for layer in layers))
    return changed


def _narrowed(layers: Iterable[HybridBlock]) -> nn.HybridSequential:
    """Return layers of the same kinds with 1 / NARROW of the channels, and with initial values for
    training from scratch.
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
            continue  # VGG's separate ReLU; the new convolutions and dense layers include theirs
        narrow.add(layer)
    return narrow
