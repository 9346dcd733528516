"""The module that mlr export writes for PyTorch, held to MXNet: networks, losses, training."""

import sys
from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd
from mxnet.gluon import nn
from numpy.testing import assert_allclose

import mlr
from mlr.exporting.pytorch import training_settings
from mlr.methods import METHODS
from mlr.model.backbones import BACKBONES
from mlr.model.networks import new_network
from mlr.model.parameters import infer_shapes, materialize
from mlr.model.torch_names import in_gluons_names, in_pytorchs_names
from mlr.options.training import TrainingOptions, learning_rate_at
from mlr.paper import SLIM_BACKBONE
from mlr.training import loop
from mlr.training.distributed import Workers
from mlr.training.optimizer import set_learning_rate
from mlr.training.run import new_layers, trainer_of

if sys.version_info < (3, 10):
    pytest.skip("the test extra has no PyTorch before Python 3.10", allow_module_level=True)

# isort: split

import torch

from mlr.exporting import multilevel

SIZE, CLASSES = 64, 3
# Of all families and versions, in seconds.
SMALL = (
    "resnet18_v1", "resnet18_v2_slim", "squeezenet1.1", "mobilenet1.0_relu6", "mobilenetv2_1.0",
    "vgg16_slim", "alexnet_slim",
)  # fmt: skip
# Of ResNets one with bottlenecks, too: deeper ones have the same layers.
FAMILIES = [
    name
    for name in BACKBONES
    if not name.startswith("resnet") or name.split("_")[0] in ("resnet18", "resnet50")
]


def described(backbone, kind="multi_level", **others):
    """A network's description, as in config.json."""
    description = {"kind": kind, "classes": CLASSES, "backbone": backbone, **others}
    if kind != "fine_tuned":
        taps = tuple(BACKBONES[backbone].levels)[:3]
        description = {**description, "taps": taps, "widths": (8, 9, 10), "style_width": 12}
    return description if kind == "shallow_only" else {**description, "image_size": SIZE}


def networks(description, dtype="float32"):
    """MXNet's network, whose batch norms have statistics of their own, and PyTorch's with the same
    weights.
    """
    net = new_network(description)
    materialize(net, mx.cpu(), mx.init.Xavier())
    for parameter in net.collect_params(".*running_var|.*running_mean|.*gamma|.*beta").values():
        parameter.set_data(nd.random.uniform(0.5, 1.5, parameter.shape))
    net.cast(dtype)
    pytorchs = multilevel.new_network({"network": description})
    pytorchs.load_state_dict(state_of(net))
    return net, pytorchs.to(getattr(torch, dtype))


def state_of(net):
    mx.nd.waitall()
    arrays = {
        name: parameter.data().asnumpy()
        for name, parameter in net._collect_params_with_prefix().items()
    }
    assert list(in_gluons_names(in_pytorchs_names(arrays))) == list(arrays)
    return {name: torch.from_numpy(x.copy()) for name, x in in_pytorchs_names(arrays).items()}


def drawn(dtype="float32", count=2):
    return np.random.randn(count, 3, SIZE, SIZE).astype(dtype)


@pytest.mark.parametrize(
    "backbone, dtype, bound",
    [
        *((name, "float32", 1e-5) for name in SMALL),
        *(
            pytest.param(name, dtype, bound, marks=pytest.mark.slow)
            for name in FAMILIES
            for dtype, bound in (("float32", 1e-5), ("float64", 1e-10))
            if dtype == "float64" or name not in SMALL
        ),
    ],
)
def test_logits_of_every_family(backbone, dtype, bound):
    net, pytorchs = networks(described(backbone), dtype)
    images = drawn(dtype)
    expected = net(nd.array(images, dtype=dtype)).asnumpy()
    with torch.inference_mode():
        logits = pytorchs.eval()(torch.from_numpy(images)).numpy()
    # the same sums in other orders, through up to 121 layers
    assert_allclose(logits, expected, rtol=0, atol=bound * max(1, np.abs(expected).max()))


@pytest.mark.parametrize(
    "description",
    [
        described("resnet18_v2_slim", "fine_tuned"),
        described("vgg16_slim", "fine_tuned"),
        described("alexnet_slim", "fine_tuned"),
        described("mobilenet1.0", "shallow_only"),
        {**described("resnet18_v2_slim"), "fusion": "add", "style_width": 160, "gram_scale": 100.0},
        {**described("resnet18_v2_slim"), "fusion": "multiply", "style_width": 160},
        {**described("resnet18_v2_slim"), "taps": ("stage2", "pool"), "widths": (4, 5)},
        {**described("vgg16_slim"), "image_size": 100},
        {**described("alexnet_slim"), "image_size": 100},
    ],
    ids=lambda description: "-".join(map(str, description.values())).replace(" ", ""),
)
def test_logits_of_other_networks(description):
    net, pytorchs = networks(description)
    size = description.get("image_size", SIZE)
    images = np.random.randn(2, 3, size, size).astype(np.float32)
    expected = net(nd.array(images)).asnumpy()
    with torch.inference_mode():
        logits = pytorchs.eval()(torch.from_numpy(images)).numpy()
    assert_allclose(logits, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))  # float32


def test_every_backbone_is_there():
    assert set(multilevel.BACKBONES) == set(BACKBONES)


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(name, marks=pytest.mark.slow) if name[:8] in ("resnet10", "resnet15") else name
        for name in BACKBONES
        if name.startswith("resnet") and name != SLIM_BACKBONE
    ],
)
def test_parameters_of_every_resnet(backbone):
    """Without memory for them: their names and shapes."""
    net = new_network(described(backbone))
    infer_shapes(net)
    expected = {
        name: parameter.shape for name, parameter in net._collect_params_with_prefix().items()
    }
    with torch.device("meta"):
        pytorchs = multilevel.new_network({"network": described(backbone)})
    found = {name: tuple(tensor.shape) for name, tensor in pytorchs.state_dict().items()}
    assert found == in_pytorchs_names(expected)


@pytest.mark.parametrize("as_released", [True, False])
@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_loss_and_its_gradient(gamma, as_released):
    logits, labels, weights = np.random.randn(5, 4) * 3, np.array([0, 1, 2, 3, 3]), [1, 2, 3, 4]
    logits[0] = [90, 0, 0, 0]  # 1 - p is 0 in double precision
    ours, given = nd.array(logits, dtype="float64"), torch.tensor(logits, requires_grad=True)
    ours.attach_grad()
    with mx.autograd.record():
        expected = mlr.ClassImbalanceLoss(weights, gamma, as_released)(
            ours, nd.array(labels, dtype="float64")
        )
    expected.backward()
    found = multilevel.ClassImbalanceLoss(weights, gamma, as_released)(given, torch.tensor(labels))
    found.sum().backward()
    # double precision
    assert_allclose(found.detach().numpy(), expected.asnumpy(), rtol=1e-12, atol=1e-14)
    assert_allclose(given.grad.numpy(), ours.grad.asnumpy(), rtol=1e-10, atol=1e-12)


def settings(net, **options):
    """The training of a run as its config.json for PyTorch says it, and as mlr has it."""
    options = replace(TrainingOptions(), **options)
    multipliers = new_layers(net, options, {"source": "zoo"})
    training = training_settings(options, [0.2, 0.3, 0.5], multipliers, net)
    return options, multipliers, {"training": training}


def test_training(monkeypatch):
    """Three steps of SGD, the last one at half the rate; new layers learn three times as fast."""
    rate, decay, momentum = (float(np.float32(x)) for x in (1e-3, 0.01, 0.9))  # as MXNet has them
    monkeypatch.setattr(multilevel, "MOMENTUM", momentum)
    monkeypatch.setattr("mlr.paper.MOMENTUM", momentum)
    net, pytorchs = networks({**described("resnet18_v2_slim"), "dropout": 0}, "float64")
    options, multipliers, config = settings(
        net, learning_rate=rate, weight_decay=decay, new_layers_rate=3.0, loss_form="written",
        gamma=2.0,
    )  # fmt: skip
    assert set(config["training"]["optimizer"]["multipliers"]) == {"shallow", "fusion"}
    trainer = trainer_of(net, options, multipliers, Workers())
    optimizer = multilevel.new_optimizer(pytorchs, config)
    expected_loss = mlr.ClassImbalanceLoss([0.2, 0.3, 0.5], 2.0, as_released=False)
    loss = multilevel.new_loss(config)
    images, labels = drawn("float64", 6), np.array([0, 1, 2, 2, 2, 0])
    batch = nd.array(images, dtype="float64"), nd.array(labels, dtype="float64")
    before = state_of(net)
    pytorchs.train()
    for each in (rate, rate, rate / 2):
        set_learning_rate(trainer, each, Workers())
        loop.train_epoch(loop.Learner(net, expected_loss, trainer, [mx.cpu()]), [batch])
        multilevel.set_learning_rate(optimizer, each)
        optimizer.zero_grad()
        loss(pytorchs(torch.from_numpy(images)), torch.from_numpy(labels)).mean().backward()
        optimizer.step()
    expected, found = state_of(net), pytorchs.state_dict()
    del expected["backbone.stem.0.weight"]  # MXNet writes the 1 that it takes
    for name, array in expected.items():
        assert torch.equal(array, before[name]) == name.startswith("backbone.stem.0."), name
        # double precision; batch norm of few, nearly equal numbers multiplies what is rounded
        assert_allclose(found[name].numpy(), array.numpy(), rtol=0, atol=1e-8, err_msg=name)


def test_adam():
    """Of gradients far above Adam's epsilon, 1e-8, which PyTorch adds elsewhere."""
    net = nn.Dense(3, in_units=4)
    net.initialize(mx.init.Normal(1))
    net.cast("float64")
    rate, decay = (float(np.float32(x)) for x in (0.1, 0.01))  # as MXNet has them
    options = replace(TrainingOptions(), optimizer="adam", learning_rate=rate, weight_decay=decay)
    config = {"training": training_settings(options, None, {}, net)}
    pytorchs = torch.nn.Linear(4, 3)
    pytorchs.load_state_dict(state_of(net))
    pytorchs.double()
    trainer = trainer_of(net, options, {}, Workers())
    optimizer = multilevel.new_optimizer(pytorchs, config)
    for _ in range(5):
        x = np.random.randn(6, 4)
        with mx.autograd.record():
            loss = (net(nd.array(x, dtype="float64")) ** 2).sum(axis=1)
        loss.backward()
        trainer.step(6)
        optimizer.zero_grad()
        (pytorchs(torch.from_numpy(x)) ** 2).sum(1).mean().backward()
        optimizer.step()
    for name, array in state_of(net).items():
        # MXNet keeps 0.999 in single precision, so 1 - 0.999 to 1e-5: five steps of 0.1
        assert_allclose(pytorchs.state_dict()[name].numpy(), array.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("schedule", ["step", "step-ar", "cosine"])
def test_learning_rates(schedule):
    net = new_network(described("resnet18_v2_slim"))
    options, _, config = settings(net, schedule=schedule, learning_rate=0.3, epochs=60)
    for epoch in range(60):
        assert multilevel.learning_rate_at(config, epoch) == learning_rate_at(options, epoch)


def test_epochs_after_a_cosine_schedule_change_nothing():
    net = new_network(described("resnet18_v2_slim"))
    config = settings(net, schedule="cosine", optimizer="sgd", epochs=3)[2]
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([{"params": [parameter], "multiplier": 1}], 0.1, momentum=0.9)
    for epoch in range(6):
        multilevel.set_learning_rate(optimizer, multilevel.learning_rate_at(config, epoch))
        parameter.sum().backward()
        optimizer.step()
        if epoch == 2:
            trained = parameter.detach().clone()
    assert multilevel.learning_rate_at(config, 5) == 0
    assert torch.equal(parameter, trained) and not torch.equal(trained, torch.ones(2))


def test_cross_entropy_also_with_votes():
    net = new_network(described("resnet18_v2_slim"))
    loss = multilevel.new_loss(settings(net, loss="cross_entropy")[2])
    logits, votes = torch.randn(4, CLASSES), torch.rand(4, CLASSES)
    assert_allclose(
        loss(logits, votes).numpy(), -(votes * logits.log_softmax(1)).sum(1).numpy(), rtol=1e-5
    )
    labels = torch.tensor([0, 1, 2, 2])
    expected = -logits.log_softmax(1)[torch.arange(4), labels]
    assert_allclose(loss(logits, labels).numpy(), expected.numpy(), rtol=1e-5)  # float32


def test_mixed_precision_does_not_overflow():
    """The Gram matrix sums C H W squares, more than float16 has room for."""
    x = torch.full((1, 64, 112, 112), 3.0, dtype=torch.float16)
    expected = 9 / 64
    assert_allclose(multilevel.Gram()(x).float().numpy(), expected, rtol=1e-2)  # float16


def test_defaults_are_the_released_ones():
    released = METHODS["l_cil"].network(METHODS["l_cil"].released, 8)
    with torch.device("meta"):
        default = multilevel.MultiLevelNet(8)
        expected = multilevel.new_network({"network": released})
    assert repr(default) == repr(expected)
