from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, nd
from numpy.testing import assert_allclose

import mlr
import mlr.model
from mlr import paper
from mlr.errors import InputError
from mlr.model.backbone import Backbone
from mlr.model.backbones import BACKBONES
from mlr.model.gram import Gram
from mlr.model.shallow import ShallowRepresentation

# One build, one device, the same operators in float32: what is left is the order of additions.
ROUNDING = dict(rtol=1e-5, atol=1e-6)


def small_net(**options):
    return mlr.MultiLevelNet(
        **{"classes": 3, "backbone": "resnet18_v2_slim", "style_width": 16, **options}
    )


def initialized(net, *shape):
    net.initialize(mx.init.Xavier())
    net(nd.zeros((1, *shape[1:])))
    return net


def test_gram_of_a_hand_worked_map():
    gram = Gram()(nd.array([[[[1, 2]], [[3, 4]]]]))  # C = 2, H W = 2
    assert_allclose(gram.asnumpy(), np.array([[[1 + 4, 3 + 8], [3 + 8, 9 + 16]]]) / 4, rtol=1e-7)


@pytest.mark.parametrize("hybrid", [False, True])
# some ulps of sums of 15 terms
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-14)])
def test_gram_is_that_of_numpy(hybrid, dtype, tolerance):
    gram = Gram()
    if hybrid:
        gram.hybridize(static_alloc=True, static_shape=True)
    maps = np.random.normal(size=(2, 4, 3, 5)).astype(dtype)
    expected = np.einsum("nchw,ndhw->ncd", maps, maps) / (4 * 3 * 5)
    result = gram(nd.array(maps, dtype=dtype))
    assert result.dtype == np.dtype(dtype)
    assert_allclose(result.asnumpy(), expected, rtol=tolerance, atol=tolerance)


def test_gradient_through_gram():
    x = nd.random.normal(shape=(1, 2, 2, 3), dtype="float64")
    weight = nd.random.normal(shape=(1, 2, 2), dtype="float64")
    x.attach_grad()
    with autograd.record():
        loss = (Gram()(x) * weight).sum()
    loss.backward()
    flat, w = x.asnumpy().reshape(2, 6), weight.asnumpy()[0]
    # float64, a handful of terms
    assert_allclose(x.grad.asnumpy().reshape(2, 6), (w + w.T) @ flat / 12, rtol=1e-12)


def test_maps_of_the_released_backbone():
    shapes = [x.shape for x in initialized(Backbone(), 1, 3, 224, 224)(nd.zeros((1, 3, 224, 224)))]
    assert shapes == [
        (1, 64, 112, 112),
        (1, 64, 56, 56),
        (1, 256, 56, 56),
        (1, 512, 28, 28),
        (1, 1024, 14, 14),
        (1, 2048, 7, 7),
        (1, 2048),
    ]


@pytest.mark.parametrize("name", [name for name in BACKBONES if name.startswith("resnet")])
def test_every_backbone(name):
    net = small_net(backbone=name)
    initialized(net, 1, 3, 64, 64)
    assert net(nd.zeros((2, 3, 64, 64))).shape == (2, 3)


def test_released_widths_and_size():
    net = initialized(mlr.MultiLevelNet(classes=8), 1, 3, 64, 64)
    parameters = net._collect_params_with_prefix()
    # ORIGINAL: names in a file of the released code
    assert len(parameters) == 275
    assert [
        parameters["shallow.branches.{:d}.layers.{:d}.weight".format(*item)].shape
        for item in ((0, 1), (1, 2), (2, 2))
    ] == [(64, 4096), (256, 4096), (512, 65536)]
    assert parameters["shallow.mix.1.weight"].shape == (2048, 832)
    assert parameters["fusion.output.weight"].shape == (8, 4096)
    shallow = sum(
        np.prod(p.shape)
        for name, p in parameters.items()
        if name.startswith("shallow.") and name.endswith(("weight", "bias"))
    )
    # million, branches and style of the released network
    assert round(shallow / 1e6, 2) == 36.57


def test_taps_by_width_are_conv1_stage1_stage2():
    net = initialized(
        mlr.MultiLevelNet(
            classes=2,
            backbone="resnet50_v2",
            taps=paper.TAPS_BY_WIDTH,
            widths=(1, 1, 1),
            style_width=4,
        ),
        1,
        3,
        64,
        64,
    )
    assert [net.shallow.branches[i].layers[-1].weight.shape[1] for i in range(3)] == [
        64**2,
        256**2,
        512**2,
    ]


def test_every_map_but_the_stem_is_pooled_first():
    shallow = ShallowRepresentation(("stem", "pool", "stage1"))
    assert [[type(layer).__name__ for layer in branch.layers] for branch in shallow.branches] == [
        ["Gram", "Dense"],
        ["MaxPool2D", "Gram", "Dense"],
        ["MaxPool2D", "Gram", "Dense"],
    ]


@pytest.mark.parametrize("options", [{}, {"taps": paper.TAPS_BY_WIDTH}])
@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (3, 3, 65, 97)])
def test_static_graph_equals_imperative(options, shape):
    net = initialized(small_net(**options), *shape)
    images = nd.random.normal(shape=shape)
    imperative = net(images).asnumpy()
    for flags in ({}, {"static_alloc": True}, {"static_alloc": True, "static_shape": True}):
        net.hybridize(**flags)
        # the second call runs the recorded graph
        for _ in range(2):
            assert_allclose(net(images).asnumpy(), imperative, **ROUNDING)


def test_one_static_graph_serves_sizes_in_turn():
    net = initialized(small_net(), 1, 3, 64, 64)
    inputs = [
        nd.random.normal(shape=shape) for shape in ((4, 3, 64, 64), (1, 3, 64, 64), (2, 3, 96, 64))
    ]
    expected = [net(x).asnumpy() for x in inputs]
    net.hybridize(static_alloc=True, static_shape=True)
    for x, logits in zip(inputs + inputs, expected + expected):
        assert_allclose(net(x).asnumpy(), logits, **ROUNDING)


def test_an_image_does_not_depend_on_the_others_of_its_batch():
    net = initialized(small_net(), 1, 3, 64, 64)
    images = nd.random.normal(shape=(3, 3, 64, 64))
    assert_allclose(net(images)[1:2].asnumpy(), net(images[1:2]).asnumpy(), **ROUNDING)


def test_float64():
    net = initialized(small_net(), 1, 3, 64, 64)
    images = nd.random.normal(shape=(2, 3, 64, 64))
    single = net(images).asnumpy()
    net.cast("float64")
    double = net(images.astype("float64"))
    assert double.dtype == np.float64
    # float32 through 20 layers
    assert_allclose(double.asnumpy(), single, rtol=1e-3, atol=1e-4)


def test_no_block_asks_for_a_shape():
    files = [path.read_text() for path in Path(mlr.model.__file__).parent.glob("*.py")]
    blocks = [text for text in files if "def hybrid_forward" in text]
    assert blocks and not [text for text in blocks if ".shape" in text]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"backbone": "resnet51_v2"}, "unknown backbone resnet51_v2: choose one of resnet18_v2"),
        (
            {"taps": ("stem", "stage9", "pool")},
            "resnet18_v2_slim has no taps stage9: choose from stem, pool",
        ),
        ({"widths": (64, 256)}, "3 taps need 3 widths"),
        ({"classes": 1}, "classes must be at least 2"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1, not 1.0"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        small_net(**options)
