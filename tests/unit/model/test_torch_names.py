"""torchvision's and timm's names of layers against the order of the layers in the Gluon zoo.

torchvision and timm are no requirement of the tests. Both list a network's parameters in the order
of its layers, as Gluon does: the names below are theirs (torchvision 0.28, timm 1.0.29).
"""

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd
from mxnet.gluon.model_zoo import vision
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import save_file

from mlr.errors import InputError
from mlr.model.backbone import Backbone
from mlr.model.parameters import ParametersError, infer_shapes
from mlr.model.pretrained import load_file
from mlr.model.torch_names import in_zoos_names

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
DEPTHS = {"resnet18_v1": (2, 2, 2, 2), "resnet34_v1": (3, 4, 6, 3)}


def resnet(depths, convolutions=2):
    """The names of a ResNet, of blocks of two or of three convolutions."""
    names = ["conv1.weight", *(f"bn1.{kind}" for kind in NORM)]
    for stage, depth in enumerate(depths, start=1):
        for block in range(depth):
            start = f"layer{stage}.{block}."
            for number in range(1, convolutions + 1):
                names.append(f"{start}conv{number}.weight")
                names += [f"{start}bn{number}.{kind}" for kind in NORM]
            if block == 0 and (stage > 1 or convolutions == 3):
                names.append(start + "downsample.0.weight")
                names += [f"{start}downsample.1.{kind}" for kind in NORM]
    return [*names, "fc.weight", "fc.bias"]


def plain(layers):
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


VGG16 = [f"features.{number}" for number in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
NAMES = {
    ("torchvision", "vgg16"): plain([*VGG16, "classifier.0", "classifier.3", "classifier.6"]),
    ("timm", "vgg16"): plain([*VGG16, "pre_logits.fc1", "pre_logits.fc2", "head.fc"]),
    ("torchvision", "alexnet"): plain(
        [
            *(f"features.{number}" for number in (0, 3, 6, 8, 10)),
            *(f"classifier.{number}" for number in (1, 4, 6)),
        ]
    ),
    **{("both", network): resnet(depths) for network, depths in DEPTHS.items()},
}


def paired(names, network):
    """Return the zoo's structural name of each of PyTorch's."""
    zoo = list(vision.get_model(network)._collect_params_with_prefix())
    own = [name for name in names if not name.endswith("num_batches_tracked")]
    assert len(own) == len(zoo)
    return dict(zip(own, zoo))


@pytest.mark.parametrize("library, network", NAMES)
def test_layers_have_the_same_order_in_both(library, network):
    names = NAMES[library, network]
    pairs = paired(names, network)
    arrays = {name: np.full((1, 2, 7, 7), number) for number, name in enumerate(names)}
    found = in_zoos_names(arrays, network, "w.safetensors")
    # the zoo's batch norm has gamma and beta where PyTorch's has weight and bias
    assert sorted(found) == sorted(pairs.values())
    for name, zoo in pairs.items():
        assert_array_equal(found[zoo].ravel(), arrays[name].ravel(), err_msg=name)


def test_timms_convolutions_become_fully_connected_layers():
    """(4096, 512, 7, 7) there; as Flatten does it, channels come first."""
    kernel = np.arange(2 * 3 * 7 * 7).reshape(2, 3, 7, 7)
    arrays = {name: np.ones((4, 4, 3, 3)) for name in NAMES["timm", "vgg16"]}
    arrays["pre_logits.fc1.weight"] = kernel
    found = in_zoos_names(arrays, "vgg16", "w.safetensors")
    assert_array_equal(found["features.31.weight"], kernel.reshape(2, 3 * 7 * 7))
    assert found["features.33.weight"].shape == (4, 36)
    assert found["features.28.weight"].shape == (4, 4, 3, 3)


@pytest.mark.parametrize(
    "library, network",
    [
        ("both", "resnet18_v1"),
        pytest.param("torchvision", "alexnet", marks=pytest.mark.slow),
        pytest.param("timm", "vgg16", marks=pytest.mark.slow),
    ],
)
def test_the_features_are_those_of_the_zoos_network(tmp_path, library, network):
    """The zoo's network, saved as PyTorch would, is the same network again."""
    zoo = vision.get_model(network)
    zoo.initialize(mx.init.Xavier())
    images = nd.random.normal(shape=(1, 3, 224, 224))
    expected = zoo.features(images).asnumpy()
    zoo(images)  # the classifier takes its shape, too
    nd.waitall()
    arrays = {}
    parameters = zoo._collect_params_with_prefix()
    for name, own in paired(NAMES[library, network], network).items():
        array = parameters[own].data().asnumpy()
        if name.startswith("pre_logits") and name.endswith("weight"):
            array = array.reshape(4096, -1, *((7, 7) if "fc1" in name else (1, 1)))
        arrays[name] = array
    arrays["bn1.num_batches_tracked"] = np.array(7)
    if library != "both":
        del arrays["bn1.num_batches_tracked"]
    save_file(arrays, tmp_path / "model.safetensors")
    ours = Backbone(network)
    infer_shapes(ours)
    load_file(ours, tmp_path / "model.safetensors")
    # The same operators on the same numbers; float32 through at most 18 layers.
    assert_allclose(ours(images)[-1].asnumpy(), expected.reshape(1, -1), rtol=1e-4, atol=1e-6)


BOTTLENECKS = resnet((3, 4, 6, 3), convolutions=3)


@pytest.mark.parametrize(
    "names, network, message",
    [
        (BOTTLENECKS, "resnet50_v1", "halves maps in the 3 x 3 convolution .v1.5."),
        (BOTTLENECKS, "resnet50_v2", "Gluon's v2 has batch norm first"),
        (NAMES["both", "resnet18_v1"], "resnet18_v2", "v1 from .*, but resnet18_v2 has batch norm"),
        (
            ["stem.conv.weight", "stages.0.blocks.0.conv1.weight", "head.fc.weight"],
            "resnet50_v2",
            "timm's resnetv2, which differs from Gluon's ResNet v2",
        ),
    ],
    ids=["v1.5 for v1", "v1.5 for v2", "v1 for v2", "timm's v2"],
)
def test_a_resnet_that_computes_something_else_is_refused(names, network, message):
    arrays = {name: np.ones(1, np.float32) for name in names}
    with pytest.raises(InputError, match="^w.safetensors has weights of .*" + message):
        in_zoos_names(arrays, network, "w.safetensors")


def test_gluons_own_names_stay():
    for network in ("resnet50_v2", "resnet18_v1", "vgg16", "alexnet", "squeezenet1.1"):
        arrays = dict.fromkeys(vision.get_model(network)._collect_params_with_prefix(), np.ones(1))
        assert in_zoos_names(arrays, network, "w.params") == arrays


def test_weights_of_another_depth_are_listed_under_the_zoos_names(tmp_path):
    arrays = {name: np.ones(1, np.float32) for name in NAMES["both", "resnet34_v1"]}
    save_file(arrays, tmp_path / "model.safetensors")
    ours = Backbone("resnet18_v1")
    infer_shapes(ours)
    with pytest.raises(ParametersError, match="model.safetensors don't fit") as raised:
        load_file(ours, tmp_path / "model.safetensors")
    assert not raised.value.missing
    assert {name.split(".")[1] for name in raised.value.unexpected} == {"4", "5", "6", "7"}
