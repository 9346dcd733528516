"""Training and prediction over four devices, against the same worked out on one as
docs/several-devices.md says.
"""

import json
import signal
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from conftest import TINY, write_images
from mxnet import autograd, nd
from mxnet.gluon import nn
from numpy.testing import assert_allclose, assert_array_equal

import mlr
from mlr.inference import forward
from mlr.model.parameters import parameter_arrays
from mlr.runs.folder import Run
from mlr.training.optimizer import new_trainer

DEVICES = [mx.cpu(number) for number in range(4)]
NAMED = "cpu(0),cpu(1),cpu(2),cpu(3)"
# exact in float32, in which MXNet's SGD keeps them
RATE, MOMENTUM, DECAY = 2**-4, 0.875, 2**-10
LOSS = mlr.ClassImbalanceLoss([0.2, 0.5, 0.3])


def parts_of(images):
    """Return for each device the rows of a batch that it gets, and their share."""
    devices = len(DEVICES)
    used = min(images, devices)
    ends = [images * number // used for number in range(used + 1)]
    return [(list(range(*pair)), 1) for pair in zip(ends, ends[1:])] + [([0], 0)] * (devices - used)


def network(ctx, batch_norm, like=None):
    """Return a small network in float64, with new parameters or those of another. batch_norm: of
    maps (N, C, H, W) and vectors (N, D).
    """
    net = nn.HybridSequential()
    of_maps, of_vectors = [[nn.BatchNorm(in_channels=4)] if batch_norm else [] for _ in range(2)]
    net.add(
        nn.Conv2D(4, 3, in_channels=3),
        *of_maps,
        nn.Activation("relu"),
        nn.GlobalAvgPool2D(),
        nn.Flatten(),
        *of_vectors,
        nn.Dense(3, in_units=4),
    )
    net.initialize(mx.init.Xavier(), ctx=ctx)
    net.cast("float64")
    for ours, theirs in zip(parameters(net), parameters(like) if like else ()):
        ours.set_data(theirs.list_data()[0])
    return net


def parameters(net):
    return list(net.collect_params().values())


def learned(net):
    return [parameter for parameter in parameters(net) if parameter.grad_req != "null"]


def running(net):
    return [parameter for parameter in parameters(net) if parameter.grad_req == "null"]


def random_batches(*sizes):
    return [
        (
            nd.random.normal(shape=(size, 3, 6, 5), dtype="float64"),
            nd.array(np.random.randint(0, 3, size), dtype="float64"),
        )
        for size in sizes
    ]


def train_on_devices(net, data):
    """Train as the engine does, over all four devices."""
    trainer = new_trainer(net, "sgd", {"learning_rate": RATE, "momentum": MOMENTUM, "wd": DECAY})
    for images, labels in data:
        parts = forward.split_batch(images, labels, DEVICES)
        with autograd.record():
            losses = [LOSS(net(x), y) * share for x, y, share in parts]
        autograd.backward(losses)
        trainer.step(len(images))
    nd.waitall()


def train_by_hand(copies, data, parts):
    """Train copies of a network on one device, by SGD in NumPy.

    parts: N -> for each copy the rows of a batch that it sees, and their share. All take the sum of
    their gradients, and stay alike.
    """
    velocities = [0] * len(learned(copies[0]))
    for images, labels in data:
        for copy, (rows, share) in zip(copies, parts(len(images))):
            with autograd.record():
                loss = (LOSS(copy(images[rows]), labels[rows]) * share).sum()
            loss.backward()
        for number, same in enumerate(zip(*map(learned, copies))):
            weight, gradient = (
                same[0].data().asnumpy(),
                sum(parameter.grad().asnumpy() for parameter in same),
            )
            # in which MXNet keeps this, too
            gradient = gradient * float(np.float32(1 / len(images)))
            velocities[number] = MOMENTUM * velocities[number] - RATE * (gradient + DECAY * weight)
            for parameter in same:
                parameter.set_data(nd.array(weight + velocities[number], dtype="float64"))


def assert_as_by_hand(ours, theirs):
    # float64; sums are taken in another order
    assert_allclose(ours.asnumpy(), theirs.asnumpy(), rtol=1e-11, atol=1e-13)


def assert_devices_hold_the_same(net):
    for parameter in learned(net):
        first, *others = [array.asnumpy() for array in parameter.list_data()]
        for other in others:
            assert_array_equal(other, first)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 11])
def test_every_image_is_on_one_device(size):
    """Each once and in order; a device without one of its own gets the first, with share 0."""
    ((images, labels),) = random_batches(size)
    parts = forward.split_batch(images, nd.cast(labels, "int64"), DEVICES)
    assert len(parts) == len(DEVICES)
    for (x, y, share), (rows, expected_share), device in zip(parts, parts_of(size), DEVICES):
        assert (
            x.context == y.context == device and share == expected_share and y.dtype == images.dtype
        )
        assert_array_equal(x.asnumpy(), images.asnumpy()[rows])
        assert_array_equal(y.asnumpy(), labels.asnumpy()[rows])


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_without_batch_norm_the_devices_train_as_one(static, last):
    """With whole batches that four do not divide, and a last one of fewer images than devices."""
    data = random_batches(8, 7, last) + random_batches(11, last)
    net = network(DEVICES, batch_norm=False)
    one = network(DEVICES[:1], batch_norm=False, like=net)
    net.hybridize(active=static, static_alloc=static, static_shape=static)
    before = learned(one)[0].data().asnumpy()
    train_on_devices(net, data)
    train_by_hand([one], data, lambda images: [(list(range(images)), 1)])
    assert_devices_hold_the_same(net)
    for ours, theirs in zip(parameters(net), parameters(one)):
        assert_as_by_hand(ours.list_data()[0], theirs.data())
    assert np.abs(learned(one)[0].data().asnumpy() - before).max() > 1e-3


@pytest.mark.parametrize("last", [1, 2, 3, 4])
def test_batch_norm_is_that_of_each_devices_part(last):
    """Each normalises by its own part, gradients are added, and each keeps its own running
    statistics; what is saved is their mean.
    """
    data = random_batches(8, 7, last) + random_batches(11, last)
    net = network(DEVICES, batch_norm=True)
    copies = [network(DEVICES[:1], True, like=net) for _ in DEVICES]
    train_on_devices(net, data)
    train_by_hand(copies, data, parts_of)
    saved = parameter_arrays(net.collect_params())

    assert_devices_hold_the_same(net)
    for ours, theirs in zip(learned(net), learned(copies[0])):
        assert_as_by_hand(ours.list_data()[0], theirs.data())
        assert_array_equal(saved[ours.name].asnumpy(), ours.list_data()[0].asnumpy())
    for ours, theirs in zip(running(net), zip(*map(running, copies))):
        for device, parameter in zip(DEVICES, theirs):
            assert_as_by_hand(ours.data(device), parameter.data())
        assert_as_by_hand(
            nd.array(saved[ours.name], dtype="float64"),
            sum(parameter.data() for parameter in theirs) / len(DEVICES),
        )
        assert np.ptp([parameter.data().asnumpy() for parameter in theirs], axis=0).max() > 1e-3


def test_each_device_predicts_by_the_running_statistics_that_it_has():
    """As in the evaluation after an epoch; once loaded from a file they are the same everywhere."""
    net = network(DEVICES, batch_norm=True)
    copies = [network(DEVICES[:1], True, like=net) for _ in DEVICES]
    data = random_batches(8, 7)
    train_on_devices(net, data)
    train_by_hand(copies, data, parts_of)
    ((images, labels),) = random_batches(6)
    logits, _ = forward.predict(net, [(images, labels)], DEVICES)
    expected = nd.concat(
        *[copy(images[rows]) for copy, (rows, _) in zip(copies, parts_of(6))], dim=0
    )
    assert_as_by_hand(nd.array(logits, dtype="float64"), expected)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_four_devices_predict_as_one(batch_norm):
    net = network(DEVICES, batch_norm)
    one = network(DEVICES[:1], batch_norm, like=net)
    for ours, theirs in zip(running(net), running(one)):
        statistics = nd.random.uniform(0.5, 2, ours.shape, dtype="float64")
        ours.set_data(statistics)
        theirs.set_data(statistics)
    data = random_batches(1, 4, 2, 7, 3, 8, 5)
    logits, labels = forward.predict(net, data, DEVICES)
    assert_as_by_hand(
        nd.array(logits, dtype="float64"), nd.concat(*[one(images) for images, _ in data], dim=0)
    )
    assert_array_equal(labels, np.concatenate([labels.asnumpy() for _, labels in data]))


def test_a_loaded_run_answers_on_four_devices_as_on_one():
    """Through the library's door, so with the graph that is rewritten for prediction; the run that
    ships, and images of one colour each.
    """
    images = [
        np.full((40, 50, 3), colour, np.uint8)
        for colour in np.random.RandomState(0).randint(0, 256, (18, 3))
    ]
    one, four = mlr.load(ctx="cpu"), mlr.load(ctx=NAMED)
    expected = [one(image).probabilities for image in images]
    # order shows
    assert (
        np.abs(np.diff([[row[name] for name in one.classes] for row in expected], axis=0))
        .max(axis=1)
        .min()
        > 1e-3
    )
    for number in (1, 2, 3, 4, 5, len(images)):
        for answer, row in zip(four(images[:number]), expected[:number]):
            # Float32 in probabilities: MKL-DNN takes sums in another order for another batch.
            assert_allclose(
                [answer.probabilities[name] for name in one.classes],
                [row[name] for name in one.classes],
                rtol=0,
                atol=1e-5,
            )


@pytest.mark.slow
def test_the_commands_on_four_devices(command, tmp_path):
    """12 images in batches of 5, so 5, 5 and 2: stopped after an epoch and resumed, as if it had
    not been; evaluated as on one.
    """
    data = write_images(tmp_path / "data")
    arguments = [
        "--data",
        data,
        *TINY,
        "--backbone",
        "resnet18_v2_slim",
        "--ctx",
        NAMED,
        "--batch-size",
        5,
        "--epochs",
        2,
    ]
    done = command("train", "--out", tmp_path / "whole", *arguments)
    assert done.returncode == 0, done.stderr
    assert f"training on {NAMED.replace(',', ', ')}, run folder" in done.stdout
    assert json.loads((tmp_path / "whole" / "config.json").read_text())["contexts"] == NAMED.split(
        ","
    )

    stopped = (
        "import os, sys, mlr.train; from mlr.runs.writing import RunWriter\n"
        "save = RunWriter.save_epoch\n"
        "RunWriter.save_epoch = lambda *arguments, **named: (save(*arguments, **named), "
        "os.kill(os.getpid(), 9))\n"
        "mlr.train.main(sys.argv[1:])"
    )
    killed = subprocess.run(
        [sys.executable, "-c", stopped, "--out", *map(str, [tmp_path / "run", *arguments])],
        stdout=subprocess.DEVNULL,
    )
    assert killed.returncode == -signal.SIGKILL
    done = command("train", "--resume", "--out", tmp_path / "run", "--ctx", NAMED)
    assert done.returncode == 0, done.stderr
    assert [
        line.split(",")[0] for line in done.stdout.splitlines() if line.startswith("epoch ")
    ] == ["epoch 2"]
    whole, resumed = (nd.load(str(tmp_path / name / "last.params")) for name in ("whole", "run"))
    assert whole.keys() == resumed.keys()
    for name, array in whole.items():
        assert_array_equal(resumed[name].asnumpy(), array.asnumpy())

    reports = []
    for ctx in (NAMED, "cpu"):
        assert (
            command(
                "evaluate", "--run", tmp_path / "run", "--split", "train", "--ctx", ctx
            ).returncode
            == 0
        )
        reports.append(json.loads((tmp_path / "run" / "evaluation_train.json").read_text()))
    # Four devices compute in smaller batches, which round otherwise: some 1e-7 of a probability.
    for name in ("expected_calibration_error", "negative_log_likelihood"):
        assert_allclose(*(report.pop(name) for report in reports), rtol=1e-5, err_msg=name)
    ours, theirs = (report.pop("reliability") for report in reports)
    assert (ours["images"], ours["accuracy"]) == (theirs["images"], theirs["accuracy"])
    for one, other in zip(ours["confidence"], theirs["confidence"]):
        assert one == pytest.approx(other, rel=1e-5)
    assert reports[0] == reports[1] and reports[0]["images"] == 12
    assert len(Run.open(tmp_path / "run").metrics) == 2
