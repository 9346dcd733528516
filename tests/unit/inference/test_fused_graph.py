import json

import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mlr
from mlr.inference import fused_graph
from mlr.inference.fused_graph import distinct, fused
from mlr.methods import METHODS, open_run, predictor_of
from mlr.model.batch_norm import factor_and_shift
from mlr.model.networks import new_network
from mlr.model.parameters import materialize

# Of the largest logit: float32, in which batch norm is multiplied into the weights before the sums
# instead of after them.
WITHIN = 1e-5

DIFFERENT = {
    json.dumps(options, sort_keys=True): options
    for options in (method.network(method.demo, 8) for method in METHODS.values())
}
NETWORKS = [
    *DIFFERENT.values(),
    {"kind": "multi_level", "classes": 6, "backbone": "resnet18_v2"},
    {
        "kind": "multi_level",
        "classes": 2,
        "backbone": "resnet50_v2",
        "fusion": "multiply",
        "gram_scale": 3.0,
    },
]


CPU = (mx.cpu(),)


def trained(net, ctx=CPU):
    """Initialize a network as if it had been trained: no statistic, scale or shift is 0 or 1."""
    rng = np.random.RandomState(0)
    materialize(net, list(ctx), mx.init.Xavier())
    for parameter in net.collect_params().values():
        if parameter.name.endswith(("gamma", "running_var")):
            parameter.set_data(mx.nd.array(rng.uniform(0.5, 1.5, parameter.shape)))
        elif parameter.name.endswith(("beta", "bias", "running_mean")):
            parameter.set_data(mx.nd.array(rng.normal(0, 0.1, parameter.shape)))
    net.hybridize(static_alloc=True, static_shape=True)
    return net


@pytest.fixture
def trained_run(request):
    """The run of conftest's `trained`, a name that a function has here."""
    return request.getfixturevalue("trained")[0]


def images(number, size):
    return mx.nd.array(np.random.RandomState(1).normal(size=(number, 3, size, size)))


@pytest.mark.parametrize(
    "options",
    NETWORKS,
    ids=lambda options: f"{options['kind']}-{options.get('backbone', '')}",
)
def test_the_fused_network_answers_alike(options):
    net = trained(new_network(options))
    x = images(3, options.get("image_size", 64))
    expected = net(x).asnumpy()
    block = fused(net)
    assert block is not net
    for batch in (x, x[:1], x):  # the static graph is made anew for another batch size
        assert_allclose(
            block(batch).asnumpy(),
            expected[: len(batch)],
            rtol=0,
            atol=WITHIN * abs(expected).max(),
        )


def test_convolutions_are_fused_and_gram_is_halved():
    block = fused(trained(mlr.MultiLevelNet(classes=8, backbone="resnet18_v2")))
    shapes = {name: parameter.data().shape for name, parameter in block.collect_params().items()}
    assert sorted(shape for name, shape in shapes.items() if name.endswith("_distinct")) == [
        (64, 2080),
        (256, 2080),
        (512, 2080),
    ]
    symbol = block(mx.sym.var("data"))
    operators = [node["op"] for node in json.loads(symbol.tojson())["nodes"]]
    assert "_sg_mkldnn_conv" in operators and "Convolution" not in operators
    # of the images, of the style vector and of the fused vector: no ReLU follows them
    assert operators.count("BatchNorm") == 3 and operators.count("Activation") == 0


def test_a_scaled_gram_is_halved_too_and_another_product_is_not():
    block = fused(trained(mlr.MultiLevelNet(classes=2, backbone="resnet18_v2", gram_scale=3.0)))
    assert sum(name.endswith("_distinct") for name in block.collect_params()) == 3
    one, other = mx.sym.var("one"), mx.sym.var("other")
    for product, halved in (
        (mx.sym.batch_dot(one, one, transpose_b=True), True),
        (mx.sym.batch_dot(one, other, transpose_b=True), False),
    ):
        dense, added = fused_graph.rewritten(
            mx.sym.FullyConnected(product, mx.sym.var("weight"), num_hidden=1, no_bias=True),
            {"weight": Given()},
        )
        assert bool(added) is halved


class Given:
    """A parameter, as far as it is asked for its data: the weight of a Dense layer behind 2 x 2
    matrices.
    """

    def list_data(self):
        return [mx.nd.ones((1, 4))]


def test_distinct_entries_by_hand():
    positions, weight = distinct(np.array([[1.0, 2.0, 3.0, 4.0]], "float32"))
    assert_array_equal(positions, [0, 1, 3])
    assert_array_equal(weight, np.array([[1, 5, 4]], "float32"))


def test_factor_and_shift_of_a_batch_norm():
    rng = np.random.RandomState(0)
    x, mean, variance, gamma, beta = rng.uniform(0.5, 1.5, (5, 3)).astype("float32")
    arrays = gamma, beta, mean, variance
    factor, shift = factor_and_shift(*arrays, 1e-5)
    expected = mx.nd.BatchNorm(*map(mx.nd.array, (x[None], *arrays)), fix_gamma=False, eps=1e-5)
    # float32 of the operator beside float64
    assert_allclose((factor * x + shift)[None], expected.asnumpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("tapped", [True, False])
def test_a_batch_norm_behind_a_convolution_that_another_needs(tapped, scale):
    """The backend can't merge it into that convolution, whose own output is needed as well."""
    net = mx.gluon.nn.HybridSequential()
    net.add(Preactivated(tapped, scale))
    trained_net = trained(net)
    x = images(2, 8)
    expected = trained_net(x).asnumpy()
    block = fused(trained_net)
    assert_allclose(block(x).asnumpy(), expected, rtol=0, atol=WITHIN * abs(expected).max())
    assert any(name.endswith("_factor") for name in block.collect_params()) is tapped


class Preactivated(mx.gluon.HybridBlock):
    """A convolution, batch norm and ReLU; tapped: plus the convolution. scale: False: MXNet takes 1
    for gamma.
    """

    def __init__(self, tapped, scale):
        super().__init__()
        self.tapped = tapped
        self.convolution = mx.gluon.nn.Conv2D(4, 3, in_channels=3)
        self.norm = mx.gluon.nn.BatchNorm(in_channels=4, scale=scale)

    def hybrid_forward(self, F, x):
        x = self.convolution(x)
        y = F.Activation(self.norm(x), act_type="relu")
        return x + y if self.tapped else y


def test_several_contexts():
    contexts = [mx.cpu(0), mx.cpu(1)]
    net = trained(mlr.MultiLevelNet(classes=3, backbone="resnet18_v2"), contexts)
    block = fused(net)
    for context in contexts:
        x = images(2, 64).as_in_context(context)
        expected = net(x).asnumpy()
        assert_allclose(block(x).asnumpy(), expected, rtol=0, atol=WITHIN * abs(expected).max())


def test_other_builds_keep_the_network(monkeypatch):
    net = trained(mlr.MultiLevelNet(classes=3, backbone="resnet18_v2"))
    monkeypatch.setattr(fused_graph, "BACKEND", "CUDNN")  # which no build on a CPU has
    assert fused(net) is net


def test_nothing_is_printed(capfd):
    fused(trained(mlr.MultiLevelNet(classes=3, backbone="resnet18_v2")))
    assert capfd.readouterr() == ("", "")


def test_a_predictor_answers_through_it(trained_run):
    predictor = predictor_of(open_run(trained_run), [mx.cpu()])
    predictor(np.zeros((64, 64, 3), np.uint8))
    assert isinstance(predictor.classifier._network, mx.gluon.SymbolBlock)
