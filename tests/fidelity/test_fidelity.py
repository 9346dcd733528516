"""The golden numbers of the released code: golden/*.npz, made by running it on plain MXNet 1.5.1 in
float32 and in float64.

Network, losses and training are held to the bounds that the float64 run allows: the same
mathematics to the last digit.
"""

from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest
from golden_numbers import batch, drawn_parameters, golden
from mxnet import gluon, nd

import mlr
from mlr import paper
from mlr.methods import METHODS
from mlr.model.parameters import infer_shapes, set_parameters
from mlr.model.released_weights import released_view
from mlr.options.training import learning_rate_at
from mlr.training import loop
from mlr.training.distributed import Workers
from mlr.training.run import trainer_of

RELEASED = METHODS["l_cil"].released
DTYPES = ["float32", pytest.param("float64", marks=pytest.mark.slow)]
FLAGS = {
    "imperative": None,
    "hybridized": {},
    "static_alloc": {"static_alloc": True},
    "static": {"static_alloc": True, "static_shape": True},
}


def golden_batch(dtype):
    images, labels = batch()
    return nd.array(images, dtype=dtype), nd.array(labels, dtype=dtype)


def golden_network(dtype, dropout=paper.STYLE_DROPOUT):
    """The package's network with the golden run's parameters, and these by the released code's
    names.
    """
    net = mlr.MultiLevelNet(classes=8, dropout=dropout)
    infer_shapes(net)
    net.cast(dtype)
    parameters = released_view(net)._collect_params_with_prefix()
    set_parameters(parameters, drawn_parameters(), "the golden run")
    return net, parameters


def largest(ours, expected):
    assert ours.shape == expected.shape and np.isfinite(ours).all()
    return np.abs(ours - expected).max()


@pytest.fixture(scope="module", params=DTYPES)
def forward(request):
    """The dtype, and the evaluation logits of the golden batch in every mode of execution."""
    dtype, logits = request.param, {}
    net, _ = golden_network(dtype)
    images, _ = golden_batch(dtype)
    for mode, flags in FLAGS.items():
        if flags is not None:
            net.hybridize(**flags)
        # the second reuses the graph
        logits[mode] = [net(images).asnumpy() for _ in range(2 if dtype == "float32" else 1)]
    return dtype, logits


@pytest.mark.parametrize("mode", FLAGS)
def test_logits(forward, mode, fidelity):
    dtype, logits = forward
    for z in logits[mode]:
        assert z.dtype == np.dtype(dtype)
        fidelity(
            f"logits, {dtype}",
            largest(z, golden(dtype)["logits"]),
            {"float32": 1e-5, "float64": 1e-12}[dtype],
        )


@pytest.mark.parametrize("mode", [mode for mode in FLAGS if mode != "imperative"])
def test_a_hybridized_network_computes_what_an_imperative_one_does(forward, mode, fidelity):
    dtype, logits = forward
    for z in logits[mode]:
        fidelity(
            f"hybridized against imperative, {dtype}",
            largest(z, logits["imperative"][0]),
            {"float32": 1e-6, "float64": 1e-14}[dtype],
        )


RELEASED_LOSSES = {
    "aug_focal": lambda: mlr.ClassImbalanceLoss(paper.FI_CLASS_WEIGHTS.values()),
    "aug_focal_gamma2": lambda: mlr.ClassImbalanceLoss(paper.FI_CLASS_WEIGHTS.values(), gamma=2),
    "vote": mlr.VoteLoss,
    "ce_plus_vote_0.3": lambda: mlr.CrossEntropyLoss(vote=0.3),
}


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("name", RELEASED_LOSSES)
@pytest.mark.parametrize("dtype, bound", [("float32", 1e-6), ("float64", 1e-12)])
def test_losses(name, dtype, bound, hybrid, fidelity):
    record = golden(dtype)
    loss = RELEASED_LOSSES[name]()
    if hybrid:
        loss.hybridize(static_alloc=True, static_shape=True)
    result = loss(nd.array(record["logits"], dtype=dtype), nd.array(record["labels"], dtype=dtype))
    assert result.dtype == np.dtype(dtype)
    fidelity(f"losses, {dtype}", largest(result.asnumpy(), record[name]), bound)


@pytest.fixture(scope="module", params=DTYPES)
def training(request):
    """The golden five steps by the package's own engine: dtype, losses (5, 8), gradient norms
    (275,), logits afterwards (8, 8).
    """
    dtype, losses, ctx = request.param, [], [mx.cpu()]
    net, parameters = golden_network(dtype, dropout=0)  # as in the golden run
    net.hybridize(static_alloc=True, static_shape=True)
    batch = golden_batch(dtype)
    loss = mlr.ClassImbalanceLoss(paper.FI_CLASS_WEIGHTS.values())

    def recorded(logits, labels):
        losses.append(loss(logits, labels))
        return losses[-1]

    trainer = trainer_of(net, RELEASED, {}, Workers())
    for step in range(5 if dtype == "float64" else 1):
        loop.train_epoch(loop.Learner(net, recorded, trainer, ctx), [batch])
        if step == 0:
            norms = np.array(
                [
                    np.nan
                    if parameter.grad_req == "null"
                    else np.linalg.norm(parameter.grad().asnumpy())
                    for parameter in parameters.values()
                ]
            )
    logits = net(batch[0]).asnumpy() if dtype == "float64" else None
    return dtype, np.array([step.asnumpy() for step in losses]), norms, logits


def test_training_losses(training, fidelity):
    dtype, losses, _, _ = training
    # later ones drift apart by rounding alone
    if dtype == "float32":
        fidelity(
            "first training loss, float32",
            largest(losses[0], golden(dtype)["train_losses"][0]),
            1e-4,
        )
    else:
        fidelity(
            "five training losses, float64", largest(losses, golden(dtype)["train_losses"]), 1e-11
        )


@pytest.mark.slow
@pytest.mark.parametrize("training", ["float64"], indirect=True)
def test_logits_after_training(training, fidelity):
    fidelity(
        "logits after five steps, float64",
        largest(training[3], golden("float64")["logits_after"]),
        1e-11,
    )


def test_gradient_norms(training, fidelity):
    dtype, _, norms, _ = training
    expected = golden(dtype)["grad_norms"]
    # the same parameters have no gradient
    assert np.array_equal(np.isnan(norms), np.isnan(expected))
    trained = ~np.isnan(expected)
    norms, expected = norms[trained], expected[trained]
    # zero but for rounding, as of a bias before a batch norm
    tiny = golden("float64")["grad_norms"][trained] < 1e-12
    fidelity(
        f"gradient norms, relative, {dtype}",
        largest(norms[~tiny] / expected[~tiny], np.ones((~tiny).sum())),
        # float32: batch norms of few values; a gradient in a wrong layout makes it 0.26
        {"float32": 5e-2, "float64": 1e-9}[dtype],
    )
    fidelity(
        f"gradient norms that are zero but for rounding, {dtype}",
        largest(norms[tiny], expected[tiny]),
        {"float32": 1e-4, "float64": 1e-12}[dtype],
    )


def test_optimizer():
    """One step by hand: SGD with momentum 0.9 and weight decay 1e-4 on every parameter, biases and
    batch norm's, too.
    """
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(3), gluon.nn.BatchNorm(), gluon.nn.Dense(2))
    net.initialize(mx.init.Uniform(1))
    images, labels = nd.random.normal(shape=(4, 5)), nd.array([0, 1, 1, 0])
    net(images)
    trained = {
        name: parameter
        for name, parameter in net.collect_params().items()
        if parameter.grad_req != "null"
    }
    assert len(trained) == 6
    for parameter in trained.values():
        # so that a decay of any of them shows
        parameter.set_data(parameter.data() + 2)
    assert trainer_of(net, RELEASED, {}, Workers()).learning_rate == 1e-4
    trainer = trainer_of(net, replace(RELEASED, learning_rate=0.5), {}, Workers())
    assert (trainer._optimizer.momentum, trainer._optimizer.wd) == (0.9, 1e-4)
    velocity = {name: 0 for name in trained}
    for _ in range(2):
        before = {name: parameter.data().asnumpy() for name, parameter in trained.items()}
        learner = loop.Learner(net, mlr.CrossEntropyLoss(), trainer, [mx.cpu()])
        loop.train_epoch(learner, [(images, labels)])
        for name, parameter in trained.items():
            # step(batch_size): the sum of the gradients over the batch is divided by its size.
            velocity[name] = 0.9 * velocity[name] - 0.5 * (
                parameter.grad().asnumpy() / 4 + 1e-4 * before[name]
            )
            # float32
            np.testing.assert_allclose(
                parameter.data().asnumpy(), before[name] + velocity[name], rtol=1e-6, atol=1e-7
            )


def test_the_learning_rate_of_every_epoch(fidelity):
    """The released schedule, epochs counted from 0: 1e-4, halved at 10, 20, 30, 40 and 50."""
    rates, rate = [], 1e-4
    for epoch in range(60):
        if epoch in (10, 20, 30, 40, 50):
            rate *= 0.5
        rates.append(rate)
    assert RELEASED.epochs == 60 and RELEASED.batch_size == 16
    fidelity(
        "learning rates of 60 epochs",
        largest(
            np.array([learning_rate_at(RELEASED, epoch) for epoch in range(60)]), np.array(rates)
        ),
        0,
    )
