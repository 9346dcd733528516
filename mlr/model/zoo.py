"""The networks of the Gluon model zoo that the methods are built on, and narrow ones of the same
layers.
"""

from typing import Dict, Iterable, NamedTuple, Set

from mxnet import init
from mxnet.gluon import HybridBlock, Parameter, nn
from mxnet.gluon.model_zoo import vision
from mxnet.gluon.model_zoo.vision.mobilenet import RELU6

from mlr.model.backbones import anatomy_of
from mlr.paper import NARROW, SLIM_BACKBONE, SLIM_CHANNELS


class ParameterNames(NamedTuple):
    """What the zoo's own files call the parameters of a network.

    structural, prefixed: those of `features`, by the names of today's files and of Gluon's older
    ones: features.0.gamma and batchnorm0_gamma. left_out: the names of other layers.
    """

    structural: Dict[str, Parameter]
    prefixed: Dict[str, Parameter]
    left_out: Set[str]


def zoo_network(name: str) -> HybridBlock:
    """Return a network of the zoo: a HybridBlock with `features`, (N, 3, H, W) -> (N, D), and its
    classifier, `output`.

    name: of `mlr.model.backbones.BACKBONES`. The features are the zoo's, with the global average
    pooling that SqueezeNet has in its classifier, and that DenseNet has for 224 px alone. Raises
    InputError for any other name.
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
    """Return what the zoo's own files call the parameters of a network of `features` and `output`
    that is built as the zoo's are.
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
    """Let layers end with global average pooling and flattening, where they do not."""
    end = (nn.GlobalAvgPool2D, nn.Flatten)
    if tuple(map(type, layers))[-2:] == end:
        return
    kept = [layer for layer in layers if not isinstance(layer, (nn.AvgPool2D, *end))]
    layers._children.clear()
    layers.add(*kept, nn.GlobalAvgPool2D(), nn.Flatten())


def _with_relu6(layers: Iterable[HybridBlock]) -> nn.HybridSequential:
    """Return the same layers with ReLU6 for each ReLU that stands alone."""
    changed = nn.HybridSequential(prefix="")
    changed.add(*(RELU6() if isinstance(layer, nn.Activation) else layer for layer in layers))
    return changed


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
