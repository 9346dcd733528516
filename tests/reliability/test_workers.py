"""Trainings by several workers and MXNet's parameter servers, as real processes on the loopback
device.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import write_images
from numpy.testing import assert_allclose

from mlr.errors import InputError
from mlr.formats.params import read_params
from mlr.runs.folder import Run
from mlr.training.distributed import Workers

METHOD = (
    "--method",
    "resnet50",
    "--backbone",
    "resnet18_v2_slim",
    "--pretrained",
    "none",
    "--image-size",
    "64",
    "--epochs",
    "2",
    "--learning-rate",
    "0.01",
)
JOB = ("launch", "-n", "2", "-s", "1", "--", sys.executable, "-m", "mlr", "train")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "data")


def assert_same_parameters(ours, theirs):
    ours, theirs = read_params(ours), read_params(theirs)
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        # Gradients of two parts are added in one order, whoever adds them; the means of running
        # statistics are rounded otherwise.
        assert_allclose(
            array, theirs[name], rtol=1e-5, atol=1e-6 * abs(theirs[name]).max(), err_msg=name
        )


@pytest.mark.parametrize(
    "batch_size, kind",
    [
        (5, "dist_sync"),
        pytest.param(11, "dist_sync", marks=pytest.mark.slow),
        pytest.param(5, "dist_device_sync", marks=pytest.mark.slow),
    ],
)
def test_two_workers_train_as_one_process_on_two_devices(
    images, command, tmp_path, batch_size, kind
):
    """A worker's batch norm sees its part of the batch, as a device's does. Of 12 images the last
    batch is 2, or 1, less than workers.
    """
    options = ("--data", images, *METHOD, "--batch-size", batch_size)
    done = command(*JOB, *options, "--ctx", "cpu", "--kvstore", kind, "--out", tmp_path / "job")
    assert done.returncode == 0, done.stderr
    one = command("train", *options, "--ctx", "cpu(0),cpu(1)", "--out", tmp_path / "one")
    assert one.returncode == 0, one.stderr
    assert_same_parameters(tmp_path / "job" / "last.params", tmp_path / "one" / "last.params")
    job, one = Run.open(tmp_path / "job"), Run.open(tmp_path / "one")
    for ours, theirs in zip(job.metrics, one.metrics):
        assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)
        assert ours["train_accuracy"] == theirs["train_accuracy"]
    assert job.config["workers"] == 2 and one.config["workers"] == 1
    # the first speaks for all
    assert [line for line in done.stdout.splitlines() if "worker 1" in line] == []


WHOLE_BATCH = """
import sys
import mlr
import mxnet as mx
import numpy as np
from mxnet import gluon, nd
from mlr.training import loop
from mlr.training.distributed import Workers
from mlr.training.optimizer import new_trainer

class Numbers:
    def __init__(self, images, labels, part):
        self.images, self.labels, self.part = images, labels, part
    def __len__(self): return 3
    def size(self, number): return (8, 5, 1)[number]
    def names(self, number): return []
    def epoch(self, first=0):
        for number in range(first, 3):
            rows = slice((0, 8, 13)[number], (8, 13, 14)[number])
            images, labels = self.images[rows], self.labels[rows]
            own = self.part(len(images))
            own = own if len(images[own]) else slice(1)
            yield nd.array(images[own]), nd.array(labels[own])

workers = Workers(sys.argv[1] or None)
rng = np.random.RandomState(0)
images, labels = rng.normal(size=(14, 6)), rng.randint(0, 3, 14)
# the first's parameters count from the start, or after a step
mx.random.seed(5 + (workers.rank if workers.wait_for_each_other else 0))
net = gluon.nn.HybridSequential()
net.add(gluon.nn.Dense(7, activation="relu", in_units=6), gluon.nn.Dense(3, in_units=7))
net.initialize(mx.init.Xavier())
net.hybridize()
trainer = new_trainer(net, "adam", {"learning_rate": .01}, {net[0].weight: 3}, workers)
lines = []
own = workers.part(14)
loop.train(
    loop.Learner(net, mlr.CrossEntropyLoss(), trainer, [mx.cpu()], workers),
    Numbers(images, labels, workers.part),
    loop.Evaluation("valid", [(nd.array(images[own]), nd.array(labels[own]))], ["a", "b", "c"]),
    loop.Schedule(range(4), lambda epoch: .01 / (1 + epoch), 0),
    lines.append,
)
if workers.first:
    net.save_parameters(sys.argv[2])
    first, last = lines[0], lines[-1]
    print(f"FIRST {first['loss']:.9g} LOSS {last['loss']:.9g}", end=" ")
    print(f"ACCURACY {last['valid_accuracy']:.9g}")
workers.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "workers, kind",
    [
        (2, "dist_sync"),
        (3, "dist_sync"),
        (2, "dist_device_sync"),
    ],
)
def test_without_batch_norm_workers_train_as_one_process_with_the_whole_batch(
    command, tmp_path, workers, kind
):
    (tmp_path / "work.py").write_text(WHOLE_BATCH)
    done = command(
        "launch",
        "-n",
        workers,
        "-s",
        2,
        "--",
        sys.executable,
        tmp_path / "work.py",
        kind,
        tmp_path / "job.params",
    )
    assert done.returncode == 0, done.stderr
    one = subprocess.run(
        [sys.executable, str(tmp_path / "work.py"), "", str(tmp_path / "one.params")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    ours, theirs = (read_params(tmp_path / name) for name in ("job.params", "one.params"))
    for name, array in theirs.items():
        # sums in another order, through twelve steps of Adam
        assert_allclose(ours[name], array, rtol=1e-4, atol=1e-5)
    ours, theirs = (
        re.search("LOSS (.*) ACCURACY (.*)", text).groups() for text in (done.stdout, one.stdout)
    )
    assert_allclose(float(ours[0]), float(theirs[0]), rtol=1e-5)
    assert ours[1] == theirs[1]


ADDING_UP = """
import sys
import mlr
import numpy as np
from mxnet import nd
from mlr.training.distributed import Workers

workers = Workers(sys.argv[1])
sums = [workers.add_up(nd.array([step, workers.rank])) for step in range(100)]
wrong = [step for step, found in enumerate(sums) if found.asnumpy().tolist() != [2 * step, 1]]
assert not wrong, wrong
workers.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dist_sync", "dist_device_sync"])
def test_each_sum_of_workers_is_that_of_its_own_step(command, kind):
    """Nobody waits for a sum before the next is asked for, as in a training that runs ahead."""
    job = "launch", "-n", 2, "-s", 1, "--", sys.executable, "-c", ADDING_UP, kind
    done = command(*job)
    assert done.returncode == 0, done.stderr


COMPRESSING = """
import sys
import numpy as np
from mxnet import nd
from mlr.training.distributed import Workers

workers = Workers(sys.argv[1], .1)
rng = np.random.RandomState(3)
arrays = [rng.normal(0, 1e3, (3 + rank, 5)).astype("float32") for rank in range(2)]
for step in range(20):
    found = workers.add_up(nd.array([step + .3, workers.rank])).asnumpy().tolist()
    assert found == [2 * np.float32(step + .3), 1], found
    gathered = workers.gather(arrays[workers.rank])
    assert [each.tolist() for each in gathered] == [each.tolist() for each in arrays], gathered
sums = nd.zeros(4)
workers.kvstore.init(0, sums)
for expected in ([0, .2, 0, .2], [0, .2, -.2, .2], [0, .2, -.2, .2], [.2, .2, 0, .2]):
    gradients = nd.array([.03, .25, -.07, .1])  # a pull overwrites what was pushed
    workers.kvstore.push(0, gradients)
    workers.kvstore.pull(0, sums)
    assert np.allclose(sums.asnumpy(), expected), (sums, expected)
workers.kvstore.push(0, gradients)  # and end while this is on its way
workers.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, servers",
    [("dist_sync", 1), ("dist_device_sync", 2)],
)
def test_gradients_are_compressed_and_all_else_is_exact(command, kind, servers):
    done = command("launch", "-n", 2, "-s", servers, "--", sys.executable, "-c", COMPRESSING, kind)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [None, "dist_async"])
def test_only_workers_that_wait_compress_gradients(kind):
    with pytest.raises(
        InputError,
        match="^--gradient-compression is for workers that wait for each other: give --kvstore "
        "dist_sync or dist_device_sync too, or leave it out$",
    ):
        Workers(kind, 0.5)


@pytest.mark.slow
def test_a_training_with_compressed_gradients_goes_on(images, command, tmp_path):
    options = ("--kvstore", "dist_sync", "--ctx", "cpu", "--out", tmp_path / "job")
    compressed = (*options, "--gradient-compression", 0.5)
    done = command(*JOB, "--data", images, *METHOD, "--batch-size", 5, *compressed)
    assert done.returncode == 0, done.stderr
    assert Run.open(tmp_path / "job").config["gradient_compression"] == 0.5
    resumed = command(*JOB, "--resume", *compressed)
    assert resumed.returncode == 0, resumed.stderr
    evaluated = command("evaluate", "--run", tmp_path / "job")
    assert evaluated.returncode == 0, evaluated.stderr


@pytest.mark.slow
def test_asynchronous_workers_learn(command, tmp_path):
    """No sum is certain here, as every push is a step of its own; but the loss falls, and the rate
    changes on the servers, too.
    """
    (tmp_path / "work.py").write_text(WHOLE_BATCH)
    done = command(
        "launch",
        "-n",
        2,
        "-s",
        2,
        "--",
        sys.executable,
        tmp_path / "work.py",
        "dist_async",
        tmp_path / "job.params",
    )
    assert done.returncode == 0, done.stderr
    first, last = map(float, re.search("FIRST (.*) LOSS (.*) ACC", done.stdout).groups())
    assert last < first


@pytest.mark.slow
def test_an_asynchronous_run_is_a_run(images, command, tmp_path):
    options = ("--ctx", "cpu", "--kvstore", "dist_async", "--out", tmp_path / "job")
    done = command(
        *JOB, "--data", images, *METHOD, "--batch-size", 4, "--schedule", "cosine", *options
    )
    assert done.returncode == 0, done.stderr
    assert len(Run.open(tmp_path / "job").metrics) == 2
    assert command("evaluate", "--run", tmp_path / "job").returncode == 0
    resumed = command(*JOB, "--resume", *options)
    assert resumed.returncode == 0, resumed.stderr


def workers_of(launch):
    """Return the process numbers of a job's workers, by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = dict(
                item.split("=", 1) for item in path.read_bytes().decode().split("\0") if "=" in item
            )
            parent = int((path.parent / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if parent == launch and environment.get("DMLC_ROLE") == "worker":
            found[int(environment["PORT"])] = int(path.parent.name)
    return [found[port] for port in sorted(found)]


def started_job(arguments, until):
    """Start a job and wait for a line of its output; return the process and what it has said."""
    # MXNet has a forked child compute with one thread, and says so in its environment: here as
    # elsewhere, the parent's is meant.
    process = subprocess.Popen(
        [sys.executable, "-m", "mlr", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=os.environ.copy(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    for line in process.stdout:
        if until in line:
            return process
    raise AssertionError(process.stderr.read())


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker_ends_the_job_and_a_restart_goes_on(images, command, tmp_path, rank):
    options = (
        "--data",
        images,
        *METHOD,
        "--batch-size",
        "4",
        "--epochs",
        4,
        "--kvstore",
        "dist_sync",
        "--ctx",
        "cpu",
    )
    assert command(*JOB, *options, "--out", tmp_path / "whole").returncode == 0
    run = tmp_path / "run"
    process = started_job((*JOB, *options, "--out", run, "--checkpoint-every", 1), "epoch 1")
    os.kill(workers_of(process.pid)[rank], signal.SIGKILL)
    # instead of waiting for ever
    _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"worker {rank:d} was killed by signal 9 (SIGKILL)" in error and "--resume" in error
    done = command(*JOB, "--resume", "--out", run, "--kvstore", "dist_sync", "--ctx", "cpu")
    assert done.returncode == 0, done.stderr
    ours, theirs = read_params(run / "last.params"), read_params(tmp_path / "whole" / "last.params")
    for name in theirs:
        # those of the second worker are not in a checkpoint within an epoch
        if "running" not in name:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.slow
def test_an_epoch_that_workers_resume_has_the_loss_of_all_its_images(images, command, tmp_path):
    """Worker 0 is killed right after it has saved the second of the second epoch's three steps."""
    options = (
        "--data",
        images,
        *METHOD,
        "--batch-size",
        5,
        "--kvstore",
        "dist_sync",
        "--ctx",
        "cpu",
    )
    assert command(*JOB, *options, "--out", tmp_path / "whole").returncode == 0
    stopped = (
        "import os, sys, mlr.train; from mlr.training.checkpoints import Checkpoints\n"
        "save = Checkpoints.save_step\n"
        "def save_and_stop(self, progress):\n"
        "    save(self, progress)\n"
        "    (progress.epoch, progress.step) == (1, 2) and os.kill(os.getpid(), 9)\n"
        "Checkpoints.save_step = save_and_stop\n"
        "sys.exit(mlr.train.main(sys.argv[1:]))"
    )
    run = tmp_path / "run"
    done = command(
        "launch",
        "-n",
        2,
        "--",
        sys.executable,
        "-c",
        stopped,
        *options,
        "--out",
        run,
        "--checkpoint-every",
        1,
    )
    assert done.returncode == 1 and "worker 0 was killed by signal 9" in done.stderr
    assert json.loads((run / "step.json").read_text())["images"] == 10
    done = command(*JOB, "--resume", "--out", run, "--kvstore", "dist_sync", "--ctx", "cpu")
    assert done.returncode == 0, done.stderr
    ours, theirs = Run.open(run).metrics, Run.open(tmp_path / "whole").metrics
    for name in ("loss", "train_accuracy"):
        assert [line[name] for line in ours] == [line[name] for line in theirs]
    assert [round(line["images_per_second"] * line["seconds"]) for line in ours] == [12, 12]


@pytest.mark.slow
@pytest.mark.parametrize("sent, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_job_has_the_first_worker_save(images, command, tmp_path, sent, code):
    run = tmp_path / "run"
    process = started_job(
        (
            *JOB,
            "--data",
            images,
            *METHOD,
            "--batch-size",
            4,
            "--epochs",
            30,
            "--kvstore",
            "dist_sync",
            "--ctx",
            "cpu",
            "--out",
            run,
        ),
        "epoch 1",
    )
    process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code
    assert re.search(
        (
            "worker 0: mlr train: error: (interrupted|terminated) (in|after) epoch .*; to go on: "
            "mlr "
            "train --resume"
        ),
        error,
    ), error
    # epoch 1 was saved before the signal; what the signal interrupts, too
    epochs = len(Run.open(run).metrics)
    assert epochs > 1 or (run / "step.json").exists()


@pytest.mark.slow
def test_a_diverging_job_ends_and_says_why(images, command, tmp_path):
    done = command(
        *JOB,
        "--data",
        images,
        *METHOD,
        "--batch-size",
        4,
        "--learning-rate",
        "1e30",
        "--kvstore",
        "dist_sync",
        "--ctx",
        "cpu",
        "--out",
        tmp_path / "run",
    )
    assert done.returncode == 1
    assert re.search(
        r"worker \d: mlr train: error: .* became (nan|inf) in epoch 1, step \d of 3, "
        r"at the images ",
        done.stderr,
    ), done.stderr


def test_a_worker_needs_a_job_and_a_job_a_kvstore(images, command, tmp_path, monkeypatch):
    done = command(
        "train", "--data", images, *METHOD, "--kvstore", "dist_sync", "--out", tmp_path / "run"
    )
    assert done.returncode == 2
    assert (
        "--kvstore dist_sync is for a worker of a job, but this process was not started as a "
        "worker: use mlr launch"
    ) in done.stderr
    monkeypatch.setenv("DMLC_ROLE", "worker")
    with pytest.raises(
        InputError, match="is a worker of a job, as DMLC_ROLE says, but has no --kvstore"
    ):
        Workers()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, text",
    [
        (
            ("--method", "pcnn", "--backbone", "vgg16_slim"),
            "--method pcnn can't be trained by several workers",
        ),
        (("--batch-size", "1"), "a batch of 1 images can't be split over 2 workers"),
    ],
)
def test_what_several_workers_can_not_do(images, command, tmp_path, options, text):
    done = command(
        *JOB,
        "--data",
        images,
        "--pretrained",
        "none",
        "--image-size",
        64,
        *options,
        "--kvstore",
        "dist_sync",
        "--ctx",
        "cpu",
        "--out",
        tmp_path / "run",
    )
    assert done.returncode == 2 and text in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_workers_with_other_images_are_told_apart(images, command, tmp_path):
    """What a worker takes for the hash of its images is made another in each process."""
    script = (
        "import hashlib, os, sys, mlr.train, mlr.training.run; describe = "
        "mlr.training.run.describe\n"
        "mlr.training.run.describe = lambda *arguments: {**describe(*arguments), 'sha256': "
        "hashlib.sha256(str(os.getpid()).encode()).hexdigest()}\n"
        "sys.exit(mlr.train.main(sys.argv[1:]))"
    )
    done = command(
        "launch",
        "-n",
        2,
        "--",
        sys.executable,
        "-c",
        script,
        "--data",
        images,
        *METHOD,
        "--kvstore",
        "dist_sync",
        "--ctx",
        "cpu",
        "--batch-size",
        4,
        "--out",
        tmp_path / "run",
    )
    assert done.returncode == 2
    assert (
        "the workers 1 have other images or labels than worker 0: give each of them the same data "
        "folder"
    ) in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["worker", "server", "scheduler"])
def test_without_a_launcher_a_job_that_lost_a_node_ends(images, tmp_path, killed):
    """Started as MXNet's own launcher does it, the same command for every node: whoever is gone,
    nobody waits for ever.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": "2",
        "DMLC_NUM_SERVER": "1",
        "PS_HEARTBEAT_INTERVAL": "1",
    }
    code = (
        "import sys, mlr.training.distributed; mlr.training.distributed.SILENCE, "
        "mlr.training.distributed.LOOKS = 3, 3; import mlr.train; "
        "sys.exit(mlr.train.main(sys.argv[1:]))"
    )
    arguments = [
        "--data",
        images,
        *METHOD,
        "--epochs",
        "200",
        "--batch-size",
        "4",
        "--kvstore",
        "dist_sync",
        "--ctx",
        "cpu",
        "--out",
        tmp_path / "run",
    ]
    nodes = [
        (
            role,
            subprocess.Popen(
                [sys.executable, "-c", code, *map(str, arguments)],
                env={**shared, "DMLC_ROLE": role},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                universal_newlines=True,
            ),
        )
        for role in ("scheduler", "server", "worker", "worker")
    ]
    try:
        while not (tmp_path / "run" / "last.params").exists():
            assert all(node.poll() is None for _, node in nodes)
            time.sleep(0.1)
        next(node for role, node in nodes if role == killed).kill()
        said = [node.communicate(timeout=60)[1] for _, node in nodes]
    finally:
        for _, node in nodes:
            node.kill()
    assert sorted(node.returncode for _, node in nodes) == [-signal.SIGKILL, 1, 1, 1]
    assert (
        sum(
            "no sign of life for 6 s); start the job again, a training with --resume" in text
            for text in said
        )
        == 3
    )
    assert Run.open(tmp_path / "run").metrics
