import json
import pickle
import random
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon, nd
from numpy.testing import assert_allclose, assert_array_equal

import mlr
from mlr.errors import RunError
from mlr.inference import forward
from mlr.inference.forward import part_of
from mlr.model.parameters import materialize
from mlr.runtime.signals import Postponed
from mlr.training import loop
from mlr.training.checkpoints import Checkpoints
from mlr.training.distributed import Workers
from mlr.training.metrics import classification_metrics
from mlr.training.optimizer import (
    MomentumSGD,
    new_trainer,
    optimizer_arrays,
    restore_optimizer,
)


def linear(ctx):
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(5, activation="relu"), gluon.nn.Dense(3))
    net.initialize(mx.init.Xavier(), ctx=ctx)
    net(nd.zeros((1, 4), ctx=ctx[0]))
    return net


def multi_level(ctx):
    net = mlr.MultiLevelNet(3, backbone="resnet18_v2_slim", style_width=8, dropout=0)
    materialize(net, ctx, mx.init.Xavier())
    net.cast("float64")
    return net


def trained_parameters(make_net, ctx, data, steps_seed=3):
    mx.random.seed(steps_seed)
    net = make_net(ctx)
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = new_trainer(net, "sgd", {"learning_rate": 0.05, "momentum": 0.9, "wd": 1e-4})
    loss = mlr.ClassImbalanceLoss([0.2, 0.5, 0.3])
    result = loop.train_epoch(loop.Learner(net, loss, trainer, ctx), data)
    return result, [
        parameter.data(ctx[-1]).asnumpy() for parameter in net.collect_params().values()
    ]


DEVICES = [mx.cpu(0), mx.cpu(1)]


@pytest.mark.parametrize("sizes", [(8, 8), (8, 3), (8, 1)])
def test_two_contexts_train_as_one(sizes):
    """Without batch norm a batch may be anything: uneven, or smaller than the number of devices."""
    data = [(nd.random.normal(shape=(n, 4)), nd.array(np.random.randint(0, 3, n))) for n in sizes]
    (loss, accuracy, images), parameters = trained_parameters(linear, DEVICES, data)
    (expected_loss, expected_accuracy, _), expected = trained_parameters(linear, DEVICES[:1], data)
    assert images == sum(sizes)
    assert accuracy == expected_accuracy
    assert_allclose(loss, expected_loss, rtol=1e-6)
    for ours, one in zip(parameters, expected):
        # gradients are added in another order
        assert_allclose(ours, one, rtol=1e-5, atol=1e-6)


def test_two_contexts_train_the_multi_level_network_as_one():
    """Batch norm sees a device's part of the batch, so the parts are alike here: then its
    statistics are the batch's.
    """
    half, labels = nd.random.normal(shape=(4, 3, 64, 64), dtype="float64"), nd.array([0, 1, 2, 0])
    data = [(nd.concat(half, half, dim=0), nd.concat(labels, labels, dim=0))]
    (loss, _, _), parameters = trained_parameters(multi_level, DEVICES, data)
    (expected_loss, _, _), expected = trained_parameters(multi_level, DEVICES[:1], data)
    assert_allclose(loss, expected_loss, rtol=1e-6)  # added up in float32
    for ours, one in zip(parameters, expected):
        # float64 through 20 layers and back
        assert_allclose(ours, one, rtol=1e-9, atol=1e-11)


def test_a_checkpoint_after_an_epoch_has_its_last_statistics(tmp_path):
    """What is saved right after the epoch is what the network has once the device is idle."""
    ctx = DEVICES[:1]
    net = multi_level(ctx)
    trainer = new_trainer(net, "sgd", {"learning_rate": 0.01})
    data = [(nd.random.normal(shape=(4, 3, 64, 64), dtype="float64"), nd.array([0, 1, 2, 0]))]
    loop.train_epoch(loop.Learner(net, mlr.CrossEntropyLoss(), trainer, ctx), data)
    net.save_parameters(str(tmp_path / "net.params"))
    nd.waitall()
    for name, value in nd.load(str(tmp_path / "net.params")).items():
        assert_array_equal(
            value.asnumpy(), net._collect_params_with_prefix()[name].data().asnumpy()
        )


def test_loss_and_accuracy_of_an_epoch_are_those_of_its_images():
    data = [(nd.random.normal(shape=(n, 4)), nd.array(np.random.randint(0, 3, n))) for n in (6, 2)]
    ctx = DEVICES[:1]
    net = linear(ctx)
    trainer = new_trainer(net, "sgd", {"learning_rate": 1e-9})
    learner = loop.Learner(net, mlr.CrossEntropyLoss(), trainer, ctx)
    loss, accuracy, images = loop.train_epoch(learner, data)
    logits, labels = forward.predict(net, data, ctx)
    assert images == 8
    assert_allclose(accuracy, np.mean(logits.argmax(axis=1) == labels), rtol=1e-6)
    assert_allclose(
        loss, mlr.CrossEntropyLoss()(nd.array(logits), nd.array(labels)).asnumpy().mean(), rtol=1e-5
    )


@pytest.mark.parametrize("ctx", [DEVICES[:1], DEVICES])
def test_predictions_keep_the_order(ctx):
    net = linear(ctx)
    data = [(nd.random.normal(shape=(n, 4)), nd.array(np.arange(n) % 3)) for n in (3, 1)]
    logits, labels = forward.predict(net, data, ctx)
    expected = np.concatenate([net(x).asnumpy() for x, _ in data])
    # float32: batches of other sizes sum in another order, and a sum may be near 0
    assert_allclose(logits, expected, rtol=1e-6, atol=1e-6)
    assert_array_equal(labels, [0, 1, 2, 0])


class Listed(list):
    """Batches that are there already, with images a0.jpg, a1.jpg, ... in the first, b0.jpg, ... in
    the second.
    """

    def epoch(self, first=0):
        return iter(self[first:])

    def size(self, number):
        return len(self[number][0])

    def names(self, number):
        return [f"{'abc'[number]}{index:d}.jpg" for index in range(len(self[number][0]))]


CLASSES = ["a", "b", "c"]


def trained_on(data, rate=0.1, shape=(2, 4), loss=None, workers=None, **options):
    # no ReLU: that of MXNet 1.9.1 makes 0 of nan
    net = gluon.nn.Dense(3, use_bias=False)
    net.initialize(ctx=DEVICES[:1])
    net(nd.zeros(shape))
    trainer = new_trainer(net, "sgd", {"learning_rate": rate})
    data = data if isinstance(data, Listed) else Listed(data)
    loss, workers = loss or mlr.CrossEntropyLoss(), workers or Workers()
    loop.train(
        loop.Learner(net, loss, trainer, DEVICES[:1], workers),
        data,
        loop.Evaluation("valid", [(nd.ones(shape), nd.array([0, 1]))], CLASSES),
        loop.Schedule(range(2), lambda epoch: rate, 0),
        **options,
    )
    return net


GOOD = nd.ones((2, 4)), nd.array([0, 1])


@pytest.mark.parametrize(
    "value, what", [(np.nan, "the loss became nan"), (np.inf, "the loss became nan")]
)
def test_a_loss_that_is_no_number_stops_the_training(value, what):
    lines = []
    with pytest.raises(
        RunError,
        match=f"{what} in epoch 1, step 2 of 3, at the images b0.jpg, b1.jpg. The likely cause",
    ):
        trained_on([GOOD, (nd.ones((2, 4)) * value, GOOD[1]), GOOD], after_epoch=lines.append)
    assert lines == []


class RootLoss(gluon.loss.Loss):
    """Finite where its gradient is not: the square root of the logits' squares, at 0."""

    def __init__(self):
        super().__init__(None, 0)

    def hybrid_forward(self, F, logits, _):
        return F.sqrt(F.sum(F.square(logits), axis=1))


def test_a_gradient_that_is_no_number_stops_the_training_in_its_own_step():
    lines = []
    with pytest.raises(
        RunError,
        match=(
            "the gradient's norm became (nan|inf) in epoch 1, step 3 of 3, at the images c0.jpg, "
            "c1.jpg"
        ),
    ):
        # logits are 0 for images of 0
        trained_on(
            [GOOD, GOOD, (nd.zeros((2, 4)), GOOD[1])],
            rate=1e-3,
            loss=RootLoss(),
            after_epoch=lines.append,
        )
    assert lines == []


def test_answers_that_are_no_numbers_stop_the_training():
    data = [(nd.ones((2, 4)) * 1e-30, GOOD[1])]
    with pytest.raises(
        RunError, match="logits for images of valid are NaN or infinite after epoch 1"
    ):
        net = gluon.nn.Dense(3)
        # logits of 1e9 in training, of infinity in evaluation
        net.initialize(mx.init.Constant(3e38), ctx=DEVICES[:1])
        net(nd.zeros((2, 4)))
        trainer = new_trainer(net, "sgd", {"learning_rate": 1e-30})
        loop.train(
            loop.Learner(net, mlr.CrossEntropyLoss(), trainer, DEVICES[:1]),
            Listed(data),
            loop.Evaluation("valid", [GOOD], CLASSES),
            loop.Schedule(range(1), lambda epoch: 1e-30, 0),
            print,
        )


class EveryStep:
    """Checkpoints that keep what they are given, and stop the training after one of them."""

    stopping = False

    def __init__(self, stop_after=None):
        self.saved, self._stop_after = [], stop_after

    def due(self, step):
        return True

    def save_step(self, progress):
        self.saved.append(dict(vars(progress)))
        if len(self.saved) == self._stop_after:
            raise InterruptedError


def test_checkpoints_within_an_epoch_sum_up_what_was_done():
    data = [(nd.random.normal(shape=(n, 4)), nd.array(np.arange(n) % 3)) for n in (4, 2, 1)]
    lines, checkpoints = [], EveryStep()
    trained_on(data, rate=1e-9, after_epoch=lines.append, checkpoints=checkpoints)
    assert [(one["epoch"], one["step"], one["images"]) for one in checkpoints.saved] == [
        (0, 1, 4),
        (0, 2, 6),
        (0, 3, 7),
        (1, 1, 4),
        (1, 2, 6),
        (1, 3, 7),
    ]
    assert_allclose(checkpoints.saved[2]["loss"] / 7, lines[0]["loss"], rtol=0)
    assert_allclose(checkpoints.saved[2]["correct"] / 7, lines[0]["train_accuracy"], rtol=0)
    assert (
        0
        < checkpoints.saved[0]["loss"]
        < checkpoints.saved[1]["loss"]
        < checkpoints.saved[2]["loss"]
    )


class OneOfTwo:
    """A worker of two that wait for each other, alone: it keeps what it adds, and what the other
    adds is given, or nothing.
    """

    kvstore, number, wait_for_each_other = None, 2, True

    def __init__(self, rank, others=()):
        self.rank, self.first, self.added, self._others = rank, rank == 0, [], iter(others)

    def add_up(self, array):
        self.added.append(array.copy())
        return array + next(self._others, 0)

    def gather(self, array):
        return [np.asarray(array)]


def test_workers_that_resume_within_an_epoch_count_what_was_done_once():
    """Worker 0 alone saves: the loss, the accuracy and the images of the epoch are nevertheless
    those of both, to the bit.
    """
    batches = [(nd.random.normal(shape=(n, 4)), nd.array(np.arange(n) % 3)) for n in (5, 3, 1)]

    def run(worker, checkpoints=None, progress=None):
        class Part(Listed):
            def size(self, number):
                return len(batches[number][0])

        rows = [part_of(len(images), worker.rank, 2) for images, _ in batches]
        parts = [
            (images[own], labels[own]) if own.stop > own.start else (images[:1], labels[:1])
            for own, (images, labels) in zip(rows, batches)
        ]
        mx.random.seed(5)
        lines = []
        try:
            trained_on(
                Part(parts),
                rate=1e-30,
                after_epoch=lines.append,
                workers=worker,
                checkpoints=checkpoints,
                progress=progress,
            )
        except InterruptedError:
            pass
        return [
            (
                line["loss"],
                line["train_accuracy"],
                round(line["images_per_second"] * line["seconds"]),
            )
            for line in lines
        ]

    second = OneOfTwo(1)
    run(second)
    first, checkpoints = OneOfTwo(0, second.added), EveryStep()
    whole = run(first, checkpoints)
    mx.random.seed(5)
    net = trained_on(Listed(batches), rate=1e-30, after_epoch=lambda line: None)
    logits, labels = forward.predict(net, batches, DEVICES[:1])
    # sums in another order
    assert_allclose(
        whole[0][0],
        mlr.CrossEntropyLoss()(nd.array(logits), nd.array(labels)).asnumpy().mean(),
        rtol=1e-6,
    )
    assert whole[0][1:] == (np.sum(logits.argmax(axis=1) == labels) / 9, 9)

    saved = checkpoints.saved[1]
    assert (saved["step"], saved["images"]) == (2, 8)
    assert run(OneOfTwo(0, second.added[2:]), progress=loop.Progress(**saved)) == whole
    assert run(OneOfTwo(1, first.added[2:]), progress=loop.Progress(**saved)) == whole


@pytest.mark.parametrize("rank, images", [(0, 8 + 1), (1, 1)])
def test_of_workers_that_do_not_wait_the_first_alone_restores_its_sums(rank, images):
    """Here each has its own, and the first saves. Of each batch of two images each has one."""
    gathered = []

    class Asynchronous(OneOfTwo):
        wait_for_each_other, kvstore = False, SimpleNamespace(pull=lambda number, data: None)

        def gather(self, array):
            gathered.append(array)
            return [np.asarray(array)]

    class Halves(Listed):
        def size(self, number):
            return 2

    trained_on(
        Halves([(GOOD[0][rank : rank + 1], GOOD[1][rank : rank + 1])] * 3),
        rate=1e-30,
        after_epoch=lambda line: None,
        workers=Asynchronous(rank),
        progress=loop.Progress(0, 2, loss=8.0, correct=4.0, images=8),
    )
    assert gathered[0][2] == images


def test_a_step_draws_what_follows_from_seed_epoch_and_step_alone():
    drawn = []

    class Noted(Listed):
        def epoch(self, first=0):
            drawn.append(("order", np.random.rand()))
            return self.drawing(first)

        def drawing(self, first):
            for number in range(first, len(self)):
                drawn.append(
                    (number, random.random(), np.random.rand(), nd.random.uniform().asscalar())
                )
                yield self[number]

    def run(epochs, seed=0, progress=None):
        drawn.clear()
        net = linear(DEVICES[:1])
        trainer = new_trainer(net, "sgd", {"learning_rate": 0.1})
        loop.train(
            loop.Learner(net, mlr.CrossEntropyLoss(), trainer, DEVICES[:1]),
            Noted([GOOD, GOOD, GOOD]),
            loop.Evaluation("valid", [GOOD], CLASSES),
            loop.Schedule(epochs, lambda epoch: 0.1, seed),
            lambda line: None,
            progress=progress,
        )
        return list(drawn)

    whole = run(range(2))
    assert len(set(whole)) == len(whole) == 8
    assert run(range(1, 2)) == whole[4:]
    assert run(range(1, 2), progress=loop.Progress(1, 2, images=4)) == [whole[4], whole[7]]
    assert not set(run(range(2), seed=1)) & set(whole)


def test_metrics_of_a_hand_worked_table():
    metrics = classification_metrics([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0], ["a", "b", "c"])
    assert metrics["images"] == 6
    assert metrics["confusion"] == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert_allclose(metrics["accuracy"], 4 / 6)
    assert_allclose(metrics["balanced_accuracy"], (3 / 4 + 1 / 2) / 2)  # class c has no image
    assert metrics["recall"] == {"a": 3 / 4, "b": 1 / 2, "c": None}
    assert metrics["precision"] == {"a": 3 / 4, "b": 1 / 2, "c": None}
    json.dumps(metrics)


def test_servers_know_the_factors_of_learning_rates():
    """They get a pickle of the optimizer, as `KVStore.set_optimizer` sends it, without the
    parameters.
    """
    net = linear(DEVICES[:1])
    trainer = new_trainer(net, "sgd", {"learning_rate": 0.5}, {net[0].bias: 3, net[1].weight: 2})
    theirs = pickle.loads(pickle.dumps(trainer._optimizer, 0))
    assert not theirs.param_dict
    assert (
        [theirs._get_lr(number) for number in range(4)]
        == [0.5, 1.5, 1, 0.5]
        == [trainer._optimizer._get_lr(number) for number in range(4)]
    )


def test_a_cpu_updates_one_parameter_at_a_time():
    net = mx.gluon.nn.Dense(2, in_units=2)
    net.initialize()
    assert new_trainer(net, "sgd", {})._optimizer.aggregate_num == 0


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_sgd_on_a_cpu_is_mxnets_own_to_the_bit(momentum):
    arguments = {"learning_rate": 0.01, "momentum": momentum, "wd": 1e-2}
    net = mx.gluon.nn.Dense(3, in_units=5)
    net.initialize()
    optimizer = new_trainer(net, "sgd", arguments, {net.weight: 3})._optimizer
    assert isinstance(optimizer, MomentumSGD) == bool(momentum)
    theirs = mx.optimizer.create("sgd", **arguments)
    theirs.set_lr_mult({0: 3})
    weight, gradient = mx.nd.random.normal(shape=(3, 5)), mx.nd.random.normal(shape=(3, 5))
    found = []
    for each in (optimizer, theirs):
        each.rescale_grad = 1 / 16
        moved, updater = weight.copy(), mx.optimizer.get_updater(each)
        for _ in range(3):
            updater(0, gradient, moved)
        found.append(moved.asnumpy())
    assert_array_equal(*found)
    assert not np.array_equal(found[0], weight.asnumpy())


def test_a_checkpoint_is_due_after_every_third_step():
    checkpoints = Checkpoints(None, None, None, 9, 3, Postponed(None))
    assert [step for step in range(1, 10) if checkpoints.due(step)] == [3, 6, 9]
    without = Checkpoints(None, None, None, 9, None, Postponed(None))
    assert not any(map(without.due, range(1, 10)))


def test_another_number_of_devices_goes_on_with_the_running_statistics_of_the_parameters():
    """Each device has its own, which fit no other number of devices; last.params has their mean."""

    def on(devices):
        net = gluon.nn.HybridSequential()
        net.add(gluon.nn.Dense(3, in_units=2), gluon.nn.BatchNorm(in_channels=3))
        net.initialize(ctx=[mx.cpu(number) for number in range(devices)])
        return net[1].running_mean, new_trainer(net, "sgd", {"learning_rate": 0.1})

    own, trainer = on(2)
    for number, copy in enumerate(own.list_data()):
        copy[:] = number + 1
    arrays = {name: array.asnumpy() for name, array in optimizer_arrays(trainer).items()}
    again, trainer = on(2)
    restore_optimizer(trainer, arrays)
    assert [copy.asnumpy().tolist() for copy in again.list_data()] == [[1] * 3, [2] * 3]
    mean, trainer = on(1)
    mean.set_data(nd.full(3, 1.5))
    restore_optimizer(trainer, arrays)
    assert_array_equal(mean.data().asnumpy(), 1.5)
