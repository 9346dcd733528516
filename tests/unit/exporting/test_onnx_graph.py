"""Every operator and every network that is exported, in ONNX Runtime against MXNet."""

from dataclasses import replace

import cv2
import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import pytest
from mxnet.gluon import nn
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, numpy_helper
from sklearn.datasets import load_sample_images

import mlr
from mlr.errors import InputError
from mlr.exporting.onnx import add_preprocessing, onnx_model, serialized
from mlr.methods import METHODS
from mlr.model.gram import Gram
from mlr.model.parameters import materialize

PHOTOGRAPHS = load_sample_images().images  # two of (427, 640, 3), uint8 RGB


def run(model, images):
    session = onnxruntime.InferenceSession(
        serialized(model, {}), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"images": images})[0]


def with_random_parameters(net):
    """Give a network parameters as after a training: batch norms, above all, that do something."""
    materialize(net, mx.cpu(), mx.init.Xavier())
    for name, parameter in net.collect_params().items():
        if name.endswith(("gamma", "running_var")):
            parameter.set_data(mx.nd.random.uniform(0.5, 1.5, parameter.shape))
        elif name.endswith(("beta", "running_mean", "bias")):
            parameter.set_data(mx.nd.random.normal(0, 0.1, parameter.shape))
    return net


def crops(size, count, transform):
    """Return random crops of photographs as a network takes them, (count, 3, size, size)."""
    images = []
    for number in range(count):
        photograph = PHOTOGRAPHS[number % len(PHOTOGRAPHS)]
        side = np.random.randint(size, 400)
        top, left = (
            np.random.randint(photograph.shape[0] - side),
            np.random.randint(photograph.shape[1] - side),
        )
        images.append(
            transform(mx.nd.array(photograph[top : top + side, left : left + side], dtype="uint8"))
        )
    return mx.nd.stack(*images)


def config_of(options, classes=8):
    method = METHODS[options.method]
    return {
        "options": method.plain(options),
        "network": method.network(options, classes),
        "preprocessing": {"image_size": options.image_size},
    }


def network_of(options, classes=8):
    method = METHODS[options.method]
    return with_random_parameters(method.build(method.network(options, classes)))


def preprocessing_of(options):
    return METHODS[options.method].preprocessing(config_of(options))


def hold_to_mxnet(options):
    net, size, transform = (
        network_of(options),
        options.image_size,
        preprocessing_of(options).evaluation(),
    )
    model = onnx_model(net, size)
    for count in (1, 5):
        for images in (
            crops(size, count, transform),
            mx.nd.random.normal(shape=(count, 3, size, size)),
        ):
            logits = net(images).asnumpy()
            # float32, of other sums' order: 1e-4 of the largest logit is the contract, some 1e-6
            # are seen
            assert_allclose(
                run(model, images.asnumpy()), logits, rtol=0, atol=1e-4 * np.abs(logits).max()
            )
    return model


SMALL = {
    "l_cil": METHODS["l_cil"].demo,
    "multiply, by width, 96 px": replace(
        METHODS["l_cil"].demo,
        fusion="multiply",
        taps="by-width",
        style_width=160,
        gram_scale=3.0,
        image_size=96,
    ),
    "shallow, 80 px": replace(METHODS["shallow"].demo, image_size=80),
    "stage 1 alone": replace(METHODS["shallow"].demo, taps="stage1"),
    "alexnet": METHODS["alexnet"].demo,
    "caffenet_slim, 67 px": replace(
        METHODS["alexnet"].demo, backbone="caffenet_slim", image_size=67
    ),
    "vgg16": METHODS["vgg16"].demo,
    "resnet50": METHODS["resnet50"].demo,
    "resnet18_v2": replace(METHODS["resnet50"].demo, backbone="resnet18_v2"),
    "pcnn_small": replace(METHODS["pcnn"].demo, backbone="pcnn_small", image_size=99),
    "deepsentibank": METHODS["deepsentibank"].demo,
}


@pytest.mark.parametrize("name", SMALL)
def test_logits_are_mxnets(name):
    hold_to_mxnet(SMALL[name])


@pytest.mark.slow
# pcnn and ar have the VGG-16, too
@pytest.mark.parametrize(
    "name", ["l_cil", "shallow", "alexnet", "vgg16", "resnet50", "deepsentibank"]
)
def test_logits_are_mxnets_at_full_size(name):
    hold_to_mxnet(METHODS[name].released)


@pytest.mark.slow
def test_logits_are_mxnets_for_resnet50_v1():
    hold_to_mxnet(replace(METHODS["resnet50"].released, backbone="resnet50_v1"))


def test_names_and_shapes():
    net = network_of(METHODS["l_cil"].demo, 5)
    model = onnx.load_from_string(serialized(onnx_model(net, 64, "scores"), {"about": "me"}))
    (value,) = model.graph.input
    assert [value.name, value.type.tensor_type.elem_type] == ["images", TensorProto.FLOAT]
    assert [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim] == [
        "N",
        3,
        64,
        64,
    ]
    (value,) = model.graph.output
    assert [value.name] + [
        side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim
    ] == ["scores", "N", 5]
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about.keys() == {"about", "deepest_map", "mlr_sha256"} and about["about"] == "me"
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert_array_equal(arrays["fusion.output.weight"], net.fusion.output.weight.data().asnumpy())
    parameters = net._collect_params_with_prefix()
    # that gamma counts as 1
    assert {name for name in parameters if not name.endswith("stem.0.gamma")} <= set(arrays)


def test_the_same_network_gives_the_same_file():
    models = []
    for _ in range(2):  # the second has other numbers in MXNet's names
        mx.random.seed(1)
        models.append(onnx_model(network_of(METHODS["l_cil"].demo, 3), 64).SerializeToString())
    assert models[0] == models[1]


class GramOfSlices(Gram):
    """As it was written first: one image's elements are counted."""

    def hybrid_forward(self, F, x):
        x = F.reshape(x, shape=(0, 0, -1))
        size = F.sum(
            F.ones_like(F.slice_axis(x, axis=0, begin=0, end=1)), axis=(1, 2), keepdims=True
        )
        return F.broadcast_div(F.batch_dot(x, x, transpose_b=True), size)


class GramByProduct(Gram):
    def hybrid_forward(self, F, x):
        x = F.reshape(x, shape=(0, 0, -1))
        size = F.sum(F.ones_like(F.slice_axis(x, axis=2, begin=0, end=1)), axis=1, keepdims=True)
        size = size * F.sum(
            F.ones_like(F.slice_axis(x, axis=1, begin=-1, end=None)), axis=2, keepdims=True
        )
        return F.broadcast_mul(F.batch_dot(x, x, transpose_b=True), 1 / size)


@pytest.mark.parametrize(
    "gram, operators",
    [
        (Gram(), ["Reshape", "Transpose", "MatMul", "Div"]),
        (Gram(2.0), ["Reshape", "Transpose", "MatMul", "Div", "Mul"]),
        (GramOfSlices(), ["Reshape", "Transpose", "MatMul", "Div"]),
        (GramByProduct(), None),
    ],
    ids=["as it is", "scaled", "all of an image", "of every image"],
)
def test_gram(gram, operators):
    images = np.random.randn(4, 3, 6, 6).astype(np.float32)
    model = onnx_model(gram, 6)
    # float32
    assert_allclose(run(model, images), gram(mx.nd.array(images)).asnumpy(), rtol=1e-5, atol=1e-7)
    if operators:  # the number of elements has become a constant
        assert [node.op_type for node in model.graph.node] == operators


def pooling(kind="max", **options):
    return f"{kind} pooling {options}", lambda F, x: F.Pooling(x, pool_type=kind, **options)


OPERATORS = dict(
    [
        pooling(kernel=(3, 3), stride=(2, 2)),
        pooling(kernel=(3, 3), stride=(2, 2), pooling_convention="full"),
        pooling(kernel=(3, 2), stride=(2, 3), pad=(1, 0), pooling_convention="full"),
        pooling(kernel=(2, 2), stride=(3, 3), pad=(1, 1)),
        pooling(global_pool=True, kernel=(1, 1)),
        pooling("avg", global_pool=True, kernel=(1, 1)),
        pooling("avg", kernel=(3, 3), stride=(2, 2), pooling_convention="full"),
        pooling("avg", kernel=(3, 3), stride=(2, 2), pad=(1, 1)),
        pooling("avg", kernel=(3, 3), stride=(2, 2), pad=(1, 1), count_include_pad=False),
        pooling(
            "avg",
            kernel=(3, 3),
            stride=(2, 2),
            pad=(1, 1),
            count_include_pad=False,
            pooling_convention="full",
        ),
        ("lrn", lambda F, x: F.LRN(x, nsize=3, alpha=0.5, beta=0.6, knorm=1.5)),
        ("lrn's defaults", lambda F, x: F.LRN(x * 100, nsize=5)),
        *[
            ("activation " + kind, lambda F, x, kind=kind: F.Activation(x, act_type=kind))
            for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign")
        ],
        ("relu, sigmoid, tanh", lambda F, x: F.tanh(F.sigmoid(F.relu(x) - 0.5))),
        ("numbers", lambda F, x: 2 - (3 * x + 0.25) / 7 - 0.5),
        ("numbers below and above", lambda F, x: F.clip(2 / (F.sigmoid(x) ** 1.5), 3.5, 5)),
        (
            "arithmetic",
            lambda F, x: (x * x - F.sigmoid(x)) / (F.sigmoid(x) + F.ones_like(x)) + F.zeros_like(x),
        ),
        (
            "broadcasting",
            lambda F, x: F.broadcast_sub(
                F.broadcast_mul(
                    F.broadcast_add(x, F.max(x, axis=1, keepdims=True)),
                    F.sum(x, axis=(2, 3), keepdims=True),
                ),
                F.mean(x, axis=0, keepdims=True),
            ),
        ),
        (
            "greater and smaller",
            lambda F, x: F.broadcast_power(
                F.broadcast_maximum(F.sigmoid(x), F.sigmoid(F.min(x, axis=3, keepdims=True))),
                F.broadcast_minimum(x, F.mean(x, axis=1, keepdims=True)),
            ),
        ),
        ("sum", lambda F, x: F.sum(x, axis=(-1, 1))),
        ("mean of all but", lambda F, x: F.mean(x, axis=2)),
        ("flatten", lambda F, x: F.flatten(x)),
        ("reshape", lambda F, x: F.reshape(x, shape=(0, -1, 4))),
        ("transpose", lambda F, x: F.transpose(x, axes=(0, 3, 1, 2))),
        ("softmax", lambda F, x: F.softmax(F.flatten(x))),
        ("softmax of channels", lambda F, x: F.softmax(x, axis=1)),
        ("log softmax", lambda F, x: F.log_softmax(F.flatten(x))),
        ("slice", lambda F, x: F.slice(x, begin=(None, 1, -4), end=(None, 3, None))),
        ("slice one axis", lambda F, x: F.slice_axis(x, axis=-1, begin=1, end=-1)),
        ("take", lambda F, x: F.take(F.transpose(x, axes=(1, 0, 2, 3)), F.flatten(x) * 2)),
        ("concat", lambda F, x: F.concat(x, x * 2, dim=2)),
        (
            "numbers to the power",
            lambda F, x: (
                F.sigmoid(x).__rpow__(2)
                if F is mx.nd
                else F._internal._RPowerScalar(F.sigmoid(x), scalar=2)
            ),
        ),
        (
            "products",
            lambda F, x: F.batch_dot(
                F.reshape(x, shape=(0, 0, -1)), F.reshape(x, shape=(0, 0, -1)), transpose_a=True
            ),
        ),
    ]
)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name):
    images = np.random.randn(4, 3, 8, 8).astype(np.float32)
    net = nn.HybridLambda(OPERATORS[name])
    expected = net(mx.nd.array(images)).asnumpy()
    found = run(onnx_model(net, 8), images)
    assert found.shape == expected.shape
    # float32; exponentials differ in their last digits
    assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2D(6, (3, 2), (2, 1), (1, 0), dilation=(2, 1), groups=3, use_bias=False),
        nn.Conv2D(4, 1),
        nn.Dense(5),
        nn.Dense(5, use_bias=False),
        nn.Dense(5, flatten=False),
        nn.Dense(5, flatten=False, use_bias=False),
        nn.BatchNorm(scale=False),
        nn.BatchNorm(epsilon=0.1),
    ],
    ids=str,
)
def test_layers(layer):
    net = nn.HybridSequential()
    net.add(layer)
    materialize_at(net, 8)
    # of a batch norm without scale, gamma counts as 1 whatever it holds
    for _name, parameter in net.collect_params().items():
        parameter.set_data(mx.nd.random.uniform(0.5, 1.5, parameter.shape))
    images = np.random.randn(4, 3, 8, 8).astype(np.float32)
    expected = net(mx.nd.array(images)).asnumpy()
    found = run(onnx_model(net, 8), images)
    assert found.shape == expected.shape
    assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32


def materialize_at(net, size):
    net.initialize()
    net(mx.nd.zeros((1, 3, size, size)))


def test_dropout_is_left_out():
    net = nn.HybridSequential()
    net.add(nn.Dropout(0.9), nn.Flatten(), nn.Dropout(0.9))
    images = np.random.randn(4, 3, 4, 4).astype(np.float32)
    model = onnx_model(net, 4)
    assert_array_equal(run(model, images), images.reshape(4, -1))
    assert [node.op_type for node in model.graph.node] == ["Flatten"]


@pytest.mark.parametrize(
    "function, words",
    [
        (
            lambda F, x: F.sin(x, name="wave") + 1,
            "no conversion for the output of the node wave \\(operator sin of MXNet\\)",
        ),
        (
            lambda F, x: F.split(x, num_outputs=3, name="parts")[1] + 1,
            "of the node parts \\(operator SliceChannel",
        ),
        (
            lambda F, x: F.Pooling(x, pool_type="sum", kernel=(2, 2), name="p"),
            "pool_type=sum, pooling_convention=valid of the node p ",
        ),
        (
            lambda F, x: F.Pooling(
                x,
                pool_type="avg",
                kernel=(3, 3),
                stride=(2, 2),
                pad=(1, 1),
                pooling_convention="full",
                name="p",
            ),
            "an average that counts its padding",
        ),
        (
            lambda F, x: F.Pooling(
                x, kernel=(3, 3), stride=(3, 3), pad=(1, 1), pooling_convention="full", name="p"
            ),
            "a window that contains only padding of the node p ",
        ),
        (lambda F, x: F.LRN(x, nsize=4, name="l"), "nsize=4 of the node l "),
        (
            lambda F, x: F.reshape(x, shape=(-3, 0, 0), name="r"),
            "shape=\\(-3, 0, 0\\) of the node r ",
        ),
        (lambda F, x: F.softmax(x, temperature=2, name="s"), "temperature=2 of the node s "),
        (
            lambda F, x: F.slice(x, begin=(0,), end=(None,), step=(2,), name="every"),
            "step=.* of the node every ",
        ),
        (lambda F, x: F.Dropout(x, mode="always", name="d"), "mode=always of the node d "),
        (
            lambda F, x: F.sum(x, axis=0, exclude=True, name="all_but"),
            "exclude=True of the node all_but ",
        ),
        (lambda F, x: F.take(x, x, mode="wrap", name="t"), "mode=wrap of the node t "),
        (lambda F, x: F.take(x, x, name="t"), "indices into the batch of the node t "),
    ],
)
def test_what_has_no_conversion_is_named(function, words):
    with pytest.raises(InputError, match=words):
        onnx_model(nn.HybridLambda(function), 8)


class Given(nn.HybridBlock):
    """Returns what it is given."""

    def hybrid_forward(self, F, x):
        return F.identity(x) * 1


@pytest.mark.parametrize(
    "options",
    [
        METHODS["l_cil"].demo,
        replace(METHODS["l_cil"].demo, image_size=224),
        replace(METHODS["alexnet"].demo, backbone="caffenet_slim"),
        replace(METHODS["alexnet"].demo, backbone="caffenet", image_size=227),
    ],
    ids=["64", "224", "caffe 64", "caffe 227"],
)
def test_preprocessing_is_the_evaluation_preset(options):
    """Photographs scaled down a lot, a bit, not at all and up, also to another shape; batches of
    images of one size.
    """
    preprocessing = preprocessing_of(options)
    steps, size, transform = (
        preprocessing.steps(),
        options.image_size,
        preprocessing.evaluation(),
    )
    model = onnx_model(Given(), size)
    add_preprocessing(model, steps)
    grey_level = (steps["scale"] / np.array(steps["std"])).reshape(3, 1, 1)
    for height, width in (
        (427, 640),
        (640, 427),
        (size * 2, size * 2),
        (size, size),
        (steps["resize"], steps["resize"]),
        (40, 51),
        (1, 3),
    ):
        photographs = np.stack(
            [
                cv2.resize(photograph, (width, height), interpolation=cv2.INTER_AREA)
                for photograph in PHOTOGRAPHS
            ]
        )
        expected = np.stack(
            [
                transform(mx.nd.array(photograph, dtype="uint8")).asnumpy()
                for photograph in photographs
            ]
        )
        found = run(model, photographs)
        assert found.shape == expected.shape
        difference = np.abs(found - expected) / grey_level
        # OpenCV's fixed-point arithmetic cuts off, so that values near a half come out lower: 10 to
        # 16 % of them are seen in photographs
        assert difference.max() < 1.01 and (difference > 0.01).mean() < 0.2, (height, width)
        assert difference.max() < 0.01 or not height == width == steps["resize"]


def test_preprocessing_before_a_network():
    preprocessing = preprocessing_of(METHODS["l_cil"].demo)
    net = network_of(METHODS["l_cil"].demo)
    model = onnx_model(net, 64)
    add_preprocessing(model, preprocessing.steps())
    (value,) = model.graph.input
    assert [value.name, value.type.tensor_type.elem_type] == ["images", TensorProto.UINT8]
    assert [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim] == [
        "N",
        "H",
        "W",
        3,
    ]
    # no resize, no rounding
    pixels = np.stack([photograph[100:164, 200:264] for photograph in PHOTOGRAPHS])
    expected = net(
        mx.nd.stack(
            *[preprocessing.evaluation()(mx.nd.array(image, dtype="uint8")) for image in pixels]
        )
    ).asnumpy()
    # float32
    assert_allclose(run(model, pixels), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_the_full_network_with_preprocessing():
    net = with_random_parameters(mlr.MultiLevelNet(classes=8))
    preprocessing = preprocessing_of(METHODS["l_cil"].released)
    model = onnx_model(net, 224)
    add_preprocessing(model, preprocessing.steps())
    pixels = np.stack([photograph[100:324, 200:424] for photograph in PHOTOGRAPHS])
    expected = net(
        mx.nd.stack(
            *[preprocessing.evaluation()(mx.nd.array(image, dtype="uint8")) for image in pixels]
        )
    ).asnumpy()
    # float32
    assert_allclose(run(model, pixels), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
