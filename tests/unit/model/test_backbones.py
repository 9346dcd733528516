"""Every backbone: its levels against the zoo network's own layers, and all that is made of it."""

import subprocess
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
import onnxruntime
import pytest
from mxnet import autograd, nd
from mxnet.gluon import nn
from mxnet.gluon.model_zoo import vision
from numpy.testing import assert_allclose, assert_array_equal

import mlr
from mlr import paper
from mlr.errors import InputError
from mlr.inference.fused_graph import fused
from mlr.methods import METHODS
from mlr.methods.multilevel import taps_and_widths
from mlr.model import backbones
from mlr.model.backbone import Backbone
from mlr.model.backbones import BACKBONES, Anatomy
from mlr.model.parameters import materialize
from mlr.model.pretrained import load_pretrained
from mlr.model.zoo import zoo_network
from mlr.options.training import LEVELS, TrainingOptions
from mlr.viz import filters
from mlr.viz.attribution import grad_cam, gram_contributions
from mlr.viz.diagram import boxes_and_arrows
from mlr.viz.filters import Ascent, activation_maps, frozen, strongest_with_patterns

ROOT = Path(__file__).parents[3]
SIZE = 64
# One of each family and version: deeper ResNets have the same layers.
FAMILIES = [
    name for name in BACKBONES if not name.startswith("resnet") or name.startswith("resnet18")
]
IN_ZOO = [name for name in FAMILIES if BACKBONES[name].zoo == name]
LONGEST = ("vgg16", "alexnet", "densenet121", "squeezenet1.0")  # half of the time of all families
# A map has one scale for all channels, which those of depthwise convolutions suffer from most: 0.92
# and 0.48 to 0.77 are seen, 0.96 and more of the others. A processor without VNNI clips sums of
# products; there it is 0.22 for MobileNet v2. Of unrelated answers it is about 0.
CORRELATION_OF_8_BITS = {"mobilenet1.0_relu6": 0.6, "mobilenetv2_1.0": 0.1}


def longest_are_slow(names):
    return [pytest.param(name, marks=[pytest.mark.slow] * (name in LONGEST)) for name in names]


@pytest.fixture(params=longest_are_slow(FAMILIES))
def family(request):
    return request.param


def network(backbone, **options):
    """A multi-level network that answers two images differently: its weights keep the size of the
    maps, and its batch norms have the statistics of a batch.
    """
    net = mlr.MultiLevelNet(
        3, backbone, taps=tuple(BACKBONES[backbone].levels)[:3], style_width=8,
        image_size=SIZE, **options,
    )  # fmt: skip
    materialize(net, mx.cpu(), mx.init.Xavier("gaussian", "in", 2))
    norms = []
    net.apply(lambda block: norms.append(block) if isinstance(block, nn.BatchNorm) else None)
    usual = [norm._kwargs["momentum"] for norm in norms]
    for norm in norms:
        norm._kwargs["momentum"] = 0
    with autograd.train_mode():
        net(images(8)).wait_to_read()
    for norm, momentum in zip(norms, usual):
        norm._kwargs["momentum"] = momentum
    return net


def spread(answers):
    """How much the answers (N, K) differ between images, as a part of the largest."""
    return np.ptp(answers, axis=0).max() / np.abs(answers).max()


def without_dropout(block):
    """Two networks in training mode would drop different features."""
    if isinstance(block, nn.Dropout):
        block._rate = 0


def images(count=2):
    return nd.array(np.random.randn(count, 3, SIZE, SIZE))


@pytest.mark.parametrize("name", IN_ZOO)
def test_maps_are_the_zoo_networks_own(name):
    backbone = network(name).backbone
    zoo = vision.get_model(BACKBONES[name].zoo)
    x = images()
    *maps, deep = backbone(x)
    layers = list(zoo.features)
    for layer in layers[: BACKBONES[name].head]:
        layer.initialize()
        x = layer(x)
    given = zoo.features._collect_params_with_prefix("features")
    assert set(given) == set(backbone.structural_parameters)
    head = [
        # DenseNet's is for 224 px alone
        nn.GlobalAvgPool2D() if isinstance(layer, nn.AvgPool2D) else layer
        for layer in layers[BACKBONES[name].head :]
    ]
    for layer in head:
        layer.initialize()
        x = layer(x)
    for key, parameter in given.items():
        parameter.set_data(backbone.structural_parameters[key].data())
    x, expected = images(), []
    *maps, deep = backbone(x)
    for layer in layers[: BACKBONES[name].head]:
        x = layer(x)
        expected.append(x)
    places = BACKBONES[name].levels.values()
    ends = [place if isinstance(place, int) else place[1] - 1 for place in places]
    assert ends == sorted(ends) and len(maps) == len(backbone.levels)
    for level, found, end in zip(backbone.levels, maps, ends):
        assert expected[end].asnumpy().any()
        # the same layers, one build: float32, of other sums' order at most
        assert_allclose(
            found.asnumpy(), expected[end].asnumpy(), rtol=1e-5, atol=1e-5, err_msg=level
        )
    for layer in head:
        x = layer(x)
    assert deep.shape == (2, backbone.width)
    expected = x.asnumpy().reshape(2, backbone.width, -1).mean(axis=2)  # SqueezeNet's are maps yet
    assert expected.any()
    assert_allclose(deep.asnumpy(), expected, rtol=1e-5, atol=1e-5)  # as above


def test_relu6_is_in_the_place_of_each_relu():
    plain, clipped = zoo_network("mobilenet1.0"), zoo_network("mobilenet1.0_relu6")
    for net in (plain, clipped):
        net.initialize(mx.init.Xavier(magnitude=24))  # large enough to be clipped
        net(images())
    kinds = [type(layer).__name__ for layer in clipped.features]
    assert kinds.count("RELU6") == 27 and "Activation" not in kinds
    own = clipped.features._collect_params_with_prefix()
    x = expected = images()
    above = []
    for layer in plain.features:
        for name, parameter in layer._collect_params_with_prefix().items():
            number = list(plain.features).index(layer)
            parameter.set_data(own[f"{number}.{name}"].data())
        expected = layer(expected)
        if isinstance(layer, nn.Activation):
            above.append(expected.max().asscalar() > 6)
            expected = nd.minimum(expected, 6)
    assert len(above) == 27 and any(above)
    assert_array_equal(clipped.features(x).asnumpy(), expected.asnumpy())


def test_levels_and_blocks(family):
    anatomy = BACKBONES[family]
    assert set(anatomy.levels) <= set(LEVELS)
    assert list(anatomy.levels) == [level for level in LEVELS if level in anatomy.levels]
    assert len(anatomy.blocks) == 4 and "pool" not in anatomy.blocks


@pytest.mark.parametrize(
    "version, depth, stem, width", [(1, 34, 3, 512), (1, 50, 3, 2048), (2, 18, 4, 512)]
)
def test_the_levels_of_every_resnet(version, depth, stem, width):
    """Its features begin with convolution, batch norm and ReLU, and in version 2 with the batch
    norm of the images before them.
    """
    levels = {
        "stem": (0, stem),
        "pool": stem,
        "stage1": stem + 1,
        "stage2": stem + 2,
        "stage3": stem + 3,
        "stage4": stem + 4,
    }
    name = f"resnet{depth}_v{version}"
    assert backbones._resnet(version, depth) == Anatomy(levels, width, name) == BACKBONES[name]
    assert list(BACKBONES[name].levels) == list(levels)


def test_released_taps_of_a_resnet_are_unchanged():
    for name in ("resnet18_v1", "resnet50_v2", paper.SLIM_BACKBONE):
        options = TrainingOptions(backbone=name)
        assert taps_and_widths(options) == (paper.TAPS, paper.BRANCH_WIDTHS)


@pytest.mark.parametrize(
    "backbone, taps, width, expected",
    [
        ("mobilenet1.0", "released", None, (("stem", "stage1", "stage2"), (64, 256, 512))),
        ("squeezenet1.1", "by-width", None, (("stem", "stage1", "stage2"), (64, 256, 512))),
        ("squeezenet1.1", "last", 32, (("stage1", "stage2", "stage3"), (32, 32, 32))),
        ("resnet50_v2", "pool", None, (("pool",), (256,))),
        ("resnet50_v2", "stage3", None, (("stage3",), (64,))),
        (
            "vgg16",
            "stem,pool,stage1,stage2",
            None,
            (("stem", "pool", "stage1", "stage2"), (64, 256, 512, 512)),
        ),
    ],
)
def test_taps_by_name(backbone, taps, width, expected):
    options = TrainingOptions(backbone=backbone, taps=taps, branch_width=width)
    assert taps_and_widths(options) == expected


def test_taps_that_a_backbone_has_not():
    options = TrainingOptions(backbone="mobilenet1.0", taps="stem,pool")
    with pytest.raises(InputError, match="--taps stem,pool: mobilenet1.0 has no pool; choose from"):
        METHODS["l_cil"].network(options, 2)
    with pytest.raises(InputError, match="squeezenet1.1 has no taps stage4: choose from stem, "):
        mlr.MultiLevelNet(2, "squeezenet1.1", taps=("stage4",), widths=(8,))
    with pytest.raises(InputError, match="unknown backbone resnet51_v2: choose one of resnet18_v2"):
        Backbone("resnet51_v2")


def test_the_fused_graph_and_onnx_answer_alike(family):
    from mlr.exporting.onnx import onnx_model, serialized

    net, x = network(family), images(8)
    expected = net(x).asnumpy()
    assert spread(expected) > 0.05
    # float32: folding batch norm into convolutions changes the order of sums, in up to 120 layers
    tolerance = dict(rtol=0, atol=5e-5 * np.abs(expected).max())
    assert_allclose(fused(net)(x).asnumpy(), expected, **tolerance)
    session = onnxruntime.InferenceSession(
        serialized(onnx_model(net, SIZE), {}), providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {"images": x.asnumpy()})[0]
    # other libraries' convolutions, float32
    assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_int8_answers_alike(family):
    from mlr.exporting.int8 import quantized
    from mlr.exporting.onnx import onnx_model, serialized

    net, x = network(family), images(32)
    small = quantized(onnx_model(net, SIZE), x.asnumpy())
    session = onnxruntime.InferenceSession(
        serialized(small, {}), providers=["CPUExecutionProvider"]
    )
    expected = net(x).asnumpy()
    found = session.run(None, {"images": x.asnumpy()})[0]
    assert spread(expected) > 0.05
    # what tells the images apart, not what all of them have in common
    apart = [answers - answers.mean(axis=0) for answers in (found, expected)]
    assert np.corrcoef(*map(np.ravel, apart))[0, 1] > CORRELATION_OF_8_BITS.get(family, 0.8)
    kinds = {node.op_type for node in small.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


@pytest.mark.parametrize("static", [False, True])
def test_the_gradient_of_a_training_step(family, static):
    """Of MKL-DNN, in float32, against MXNet's own operators, which alone take float64."""
    net, x, labels = network(family), images(4), nd.array([0, 1, 2, 0])
    net.apply(without_dropout)
    stem = next(iter(net.backbone.collect_params(".*weight").values()))
    gradients = {}
    for dtype in ("float32", "float64"):
        net.cast(dtype)
        net.hybridize(static_alloc=static, static_shape=static)
        with autograd.record():
            losses = mlr.ClassImbalanceLoss([1, 1, 1])(net(x.astype(dtype)), labels.astype(dtype))
        losses.backward()
        gradients[dtype] = stem.grad().asnumpy()
    # float32 through up to 120 layers, with batch norms of four images, and back. Rounding decides
    # about a ReLU of a value near 0, which changed a gradient by up to 0.11. A layout that is taken
    # for another makes it 0.9 to 11.
    assert_allclose(
        gradients["float32"],
        gradients["float64"],
        rtol=0,
        atol=0.3 * np.abs(gradients["float64"]).max(),
    )


@pytest.mark.slow
def test_the_gradient_of_a_filter(family):
    """Of MKL-DNN, in float32, against MXNet's own operators, which alone take float64."""
    net, x = network(family), images(1)
    maps = activation_maps(net, x)
    single = frozen(net.backbone)
    net.cast("float64")
    double = frozen(net.backbone)
    for block in single.blocks:
        # not one that ReLU6 limits at each pixel, whose gradient is 0
        limited = (maps[block] == 6).all(axis=(2, 3))
        strongest = [int(np.where(limited, 0, maps[block].mean(axis=(2, 3))).argmax())]
        expected, found, again = (
            filters._ask_gradient(backbone, block, strongest, x.asnumpy(), "mean").asnumpy()
            for backbone in (double, single, single)
        )
        assert np.abs(expected).max() > 0
        # float32 through up to 120 layers and back, and ReLUs at which rounding decides
        assert_allclose(found, expected, rtol=0, atol=2e-2 * np.abs(expected).max())
        assert_array_equal(again, found)


def test_views(family):
    net, x = network(family), images()
    assert set(activation_maps(net, x)) == set(BACKBONES[family].blocks)
    found = strongest_with_patterns(net, x[:1], ascent=Ascent(steps=3))
    for block in net.backbone.blocks:
        ((strongest,),) = found[block]
        assert strongest["pattern"].shape == (128, 128, 3) and np.isfinite(strongest["excited"])
    assert grad_cam(net, x, [0, 2]).shape == (2, *net.backbone(x)[-2].shape[2:])
    channels = [tap.shape[1] for tap in net.backbone(x)[:3]]
    assert [each.shape for each in gram_contributions(net, x, [0, 2])] == [
        (2, side, side) for side in channels
    ]
    boxes, arrows = boxes_and_arrows(net, SIZE)
    assert ("image", "stem") in arrows and (net.backbone.levels[-1], "deep") in arrows
    assert f"{net.backbone.width}" in boxes["deep"][2]


def test_a_run_of_each_gives_its_backbone_to_another(family, tmp_path):
    net, path = network(family), tmp_path / "last.params"
    net.save_parameters(str(path))
    other = METHODS["finetuned"].build(
        METHODS["finetuned"].network(TrainingOptions(backbone=family, image_size=SIZE), 5)
    )
    materialize(other, mx.cpu(), mx.init.Xavier())
    load_pretrained(other, str(path))
    for name, parameter in other.structural_parameters.items():
        assert_array_equal(
            parameter.data().asnumpy(), net.backbone.structural_parameters[name].data().asnumpy()
        )


@pytest.mark.parametrize("name", longest_are_slow(IN_ZOO))
def test_the_zoos_own_file_fits(name, tmp_path):
    zoo, path = vision.get_model(BACKBONES[name].zoo), tmp_path / "zoo.params"
    zoo.initialize()
    zoo(nd.zeros((1, 3, 224, 224)))
    zoo.save_parameters(str(path))
    backbone = Backbone(name)
    materialize(backbone, mx.cpu(), mx.init.Xavier())
    load_pretrained(backbone, str(path))
    for key, parameter in zoo.features._collect_params_with_prefix("features").items():
        assert_array_equal(
            backbone.structural_parameters[key].data().asnumpy(), parameter.data().asnumpy()
        )


def test_the_page_is_made_of_the_table():
    """docs/backbones.md: make it anew with python docs/backbones_page.py > docs/backbones.md"""
    done = subprocess.run(
        [sys.executable, "docs/backbones_page.py"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    assert done.stdout.decode() == (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
