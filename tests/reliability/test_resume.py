"""Trainings that are stopped, killed, damaged or out of room, as real processes: nothing that was
saved is lost, and what goes on ends with the same bits as if nothing had happened.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import TINY, write_images
from mxnet import nd

import mlr.train
import mlr.training.run
from mlr.data.manifest import Entry, write_prepared
from mlr.errors import InputError
from mlr.runs.folder import EPOCH, PREVIOUS, STEP, Run
from mlr.runs.writing import RunWriter
from mlr.runtime.hashing import sha256_of

EPOCHS, STEPS = 2, 3  # of 12 images in batches of 4
ARGUMENTS = (*TINY, "--epochs", EPOCHS)
# One that has what there is to get wrong: Adam's two moments, dropout, the original's chain of
# transforms, which draws from all generators.
OTHERWISE = (
    *TINY,
    "--epochs",
    EPOCHS,
    "--pipeline",
    "released",
    "--optimizer",
    "adam",
    "--learning-rate",
    "0.001",
    "--schedule",
    "cosine",
)


def started(arguments, code="", cwd=None):
    """Start `mlr train` as a process, after some code of the test's, its Ctrl-C as in a terminal: a
    background job, as a test run may be, ignores it.
    """
    # MXNet has a forked child compute with one thread, and says so in its environment; the parent's
    # is meant.
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import os, signal, sys, mlr.train\n{code}\nsys.exit(mlr.train.main(sys.argv[1:]))",
            *map(str, arguments),
        ],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        env=os.environ.copy(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def ended(process):
    """Wait for a process and return its exit code, stdout and stderr."""
    out, error = process.communicate(timeout=300)
    return process.returncode, out, error


def train(arguments, code="", cwd=None):
    return ended(started(arguments, code, cwd))


def resume(run, *arguments):
    code, out, error = train(("--resume", "--out", run, *(arguments or ("--ctx", "cpu"))))
    assert code == 0, error
    return out, error


def result(run):
    """What a run ended with: its parameters, of the best epoch, too, its optimizer, and its metrics
    but for the time they took.
    """
    opened = Run.open(run)
    return [
        opened.verified(name).read_bytes()
        for name in ("last.params", "best.params", "optimizer.params")
    ] + [
        {
            name: value
            for name, value in line.items()
            if name not in ("seconds", "images_per_second")
        }
        for line in opened.metrics
    ]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "data")


@pytest.fixture(scope="module")
def uninterrupted(images, tmp_path_factory):
    """A whole training and its result."""
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    code, _, error = train(("--data", images, "--out", run, *ARGUMENTS))
    assert code == 0, error
    return run, result(run)


def after_step(number, action):
    """Code that does something when a training asks for the n-th time whether a checkpoint is
    due.
    """
    return (
        "from mlr.training.checkpoints import Checkpoints; due, calls = Checkpoints.due, []\ndef "
        f"asked(self, step):\n    calls.append(step)\n    if len(calls) == {number:d}: "
        f"{action}\n    return due(self, step)\nCheckpoints.due = asked"
    )


FULL_DISK = "import shutil, types; shutil.disk_usage = lambda path: types.SimpleNamespace(free=0)\n"


@pytest.mark.slow
@pytest.mark.parametrize("full", ["before", "after"])
def test_a_disk_without_room_for_the_pixel_cache_before_or_after_a_stop(
    images, uninterrupted, tmp_path, monkeypatch, full
):
    """The pipeline of the run is the cached one, and so are its results."""
    run, stop = tmp_path / "run", after_step(4, "os.kill(os.getpid(), signal.SIGINT)")
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "before"))
    code, _, error = train(
        ("--data", images, "--out", run, *ARGUMENTS), FULL_DISK * (full == "before") + stop
    )
    assert code == 130 and ("decode all images again" in error) == (full == "before"), error
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "after"))
    resumed = ("--resume", "--out", run, "--ctx", "cpu", "--pipeline", "cached")
    code, _, error = train(resumed, FULL_DISK * (full == "after"))
    assert code == 0 and ("decode all images again" in error) == (full == "after"), error
    assert result(run) == uninterrupted[1]


@pytest.mark.parametrize(
    "sent, code, word, step",
    [
        (signal.SIGINT, 130, "interrupted", 2),
        pytest.param(signal.SIGHUP, 129, "hung up", 3, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, "terminated", 4, marks=pytest.mark.slow),
    ],
)
def test_a_signal_lets_the_step_end_and_writes_a_checkpoint(
    images, uninterrupted, tmp_path, sent, code, word, step
):
    run = tmp_path / "a run"
    done = train(
        ("--data", images, "--out", run, *ARGUMENTS),
        after_step(step, f"os.kill(os.getpid(), {sent:d})"),
    )
    assert done[0] == code
    epoch, in_epoch = divmod(step - 1, STEPS)
    assert done[2].splitlines()[-2:] == [
        "stopping at the end of this step, with a checkpoint; send the signal again to stop at "
        "once",
        (
            f"mlr train: error: {word} in epoch {epoch + 1:d}, after step {in_epoch + 1:d} of 3; "
            f"a checkpoint is saved; to go on: mlr train --resume --out '{run}'"
        ),
    ]
    assert json.loads((run / "step.json").read_text())["step"] == in_epoch + 1
    out, _ = resume(run)
    assert [line.split(",")[0] for line in out.splitlines() if line.startswith("epoch")] == [
        f"epoch {number + 1:d}" for number in range(epoch, EPOCHS)
    ]
    assert result(run) == uninterrupted[1]
    assert not [name for name in STEP if (run / name).exists()]


@pytest.mark.slow
def test_a_signal_while_the_epoch_is_evaluated_or_saved(images, uninterrupted, tmp_path):
    """In the evaluation of the first epoch, then, of the same run, while the second is being
    saved.
    """
    run = tmp_path / "run"
    code, _, error = train(
        ("--data", images, "--out", run, *ARGUMENTS),
        (
            "from mlr.training import fitting; made = fitting.evaluation_batches\n"
            "fitting.evaluation_batches = lambda *arguments: (os.kill(os.getpid(), "
            "signal.SIGINT) or batch for batch in made(*arguments))"
        ),
    )
    assert (
        code == 130 and "interrupted in epoch 1, after step 3 of 3; a checkpoint is saved" in error
    )
    code, _, error = train(
        ("--resume", "--out", run, "--ctx", "cpu"),
        (
            "from mlr.runs.writing import RunWriter; save = RunWriter.save_epoch\n"
            "RunWriter.save_epoch = lambda run, *arguments: (len(run.metrics) and "
            "os.kill(os.getpid(), signal.SIGTERM), save(run, *arguments))"
        ),
    )
    assert code == 143 and "terminated after epoch 2; to go on" in error
    out, _ = resume(run)
    assert (
        not [line for line in out.splitlines() if line.startswith("epoch")]
        and (run / "curves.png").exists()
    )
    assert result(run) == uninterrupted[1]


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once(images, uninterrupted, tmp_path):
    run = tmp_path / "run"
    process = started(
        ("--data", images, "--out", run, *ARGUMENTS),
        after_step(
            5,
            (
                "os.kill(os.getpid(), signal.SIGINT); print('asleep', flush=True); "
                "__import__('time').sleep(60)"
            ),
        ),
    )
    while process.stdout.readline() != "asleep\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    # what a shell shows as 130
    assert process.wait(timeout=30) == -signal.SIGINT
    assert len(Run.open(run).metrics) == 1 and not (run / "step.json").exists()
    resume(run)
    assert result(run) == uninterrupted[1]


@pytest.mark.slow
def test_signals_before_the_first_step(images, tmp_path):
    """SIGTERM while MXNet is not at work yet: no run folder, and nothing of one."""
    code, _, error = train(
        ("--data", images, "--out", tmp_path / "run", *ARGUMENTS),
        (
            "from mlr.runs.writing import RunWriter\n"
            "RunWriter.create = lambda *arguments: os.kill(os.getpid(), signal.SIGTERM)"
        ),
    )
    assert code == 143 and error.splitlines()[-1] == "mlr train: error: terminated"
    assert list(tmp_path.iterdir()) == []


def killed_in(run, images, moment, arguments=ARGUMENTS):
    """Train until the n-th time that a file is renamed or synced, or a link or a folder made, and
    kill the process there. Return whether it came so far.
    """
    code = (
        "calls = []\ndef before(function):\n    def call(*arguments, **options):\n        "
        f"calls.append(1)\n        if len(calls) == {moment:d}: os.kill(os.getpid(), "
        "signal.SIGKILL)\n        return function(*arguments, **options)\n    return call\nfor "
        "name in ('replace', 'rename', 'fsync', 'link'): setattr(os, name, before(getattr(os, "
        "name)))"
    )
    if (run / "SHA256SUMS").exists():
        done = train(("--resume", "--out", run, "--checkpoint-every", 1, "--ctx", "cpu"), code)
    else:
        done = train(("--data", images, "--out", run, "--checkpoint-every", 1, *arguments), code)
    assert done[0] in (0, -signal.SIGKILL), done[2]
    return done[0] != 0


@pytest.mark.slow
def test_a_kill_inside_a_checkpoint_write_loses_nothing(images, uninterrupted, tmp_path):
    """One run, killed again and again, each time a little further into what it writes: the first
    commit, those of steps, those of epochs.
    """
    moments = [1, 3, 5, 7, 10, 2, 4, 6, 9, 11, 13, 8, 12, 15]
    run, killed = tmp_path / "run", 0
    for moment in moments:
        killed += killed_in(run, images, moment)
        if (run / "SHA256SUMS").exists():
            # whole, whatever the moment
            Run.open(run)
    assert killed >= 10
    resume(run)
    assert result(run) == uninterrupted[1]


@pytest.mark.slow
def test_kills_at_random_moments(images, tmp_path):
    """20 kills: five runs, each killed four times and resumed, end as one that was left alone."""
    arguments = ("--data", images, *OTHERWISE, "--epochs", 3)
    code, _, error = train((*arguments, "--out", tmp_path / "whole"))
    assert code == 0, error
    start = time.monotonic()
    assert train((*arguments, "--out", tmp_path / "timed", "--checkpoint-every", 1))[0] == 0
    duration, draws = (
        time.monotonic() - start,
        [[random.random() for _ in range(4)] for _ in range(5)],
    )

    def killed_and_resumed(number):
        run, kills = tmp_path / str(number), 0
        for draw in draws[number]:
            go_on = (
                ("--resume", "--out", run, "--ctx", "cpu")
                if (run / "SHA256SUMS").exists()
                else (*arguments, "--out", run)
            )
            process = started((*go_on, "--checkpoint-every", 1))
            try:
                # a machine with two at work is slower, so few have ended by then
                process.wait(timeout=draw * duration)
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
            process.communicate()
        assert (
            train(
                ("--resume", "--out", run, "--ctx", "cpu")
                if (run / "SHA256SUMS").exists()
                else (*arguments, "--out", run)
            )[0]
            == 0
        )
        return kills

    with ThreadPoolExecutor(2) as several:
        kills = sum(several.map(killed_and_resumed, range(5)))
    # Most of the 20 hit a training, but fewer where other work on this machine ends meanwhile.
    assert kills >= 4
    for number in range(5):
        assert result(tmp_path / str(number)) == result(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        OTHERWISE,
        (*ARGUMENTS, "--ctx", "cpu(0),cpu(1),cpu(2)"),
        (
            "--method",
            "pcnn",
            "--backbone",
            "vgg16_slim",
            "--pretrained",
            "none",
            "--image-size",
            "64",
            "--epochs",
            "3",
            "--rounds",
            "1",
            "--batch-size",
            "4",
            "--learning-rate",
            "0.001",
            "--ctx",
            "cpu",
        ),
    ],
    ids=["released pipeline, Adam", "three devices", "PCNN"],
)
def test_other_trainings_go_on_from_a_step_to_the_bit(images, tmp_path, arguments):
    devices = ("--ctx", arguments[len(arguments) - 1 - arguments[::-1].index("--ctx") + 1])
    assert train(("--data", images, "--out", tmp_path / "whole", *arguments))[0] == 0
    code, _, error = train(
        ("--data", images, "--out", tmp_path / "run", *arguments),
        after_step(5, "os.kill(os.getpid(), signal.SIGINT)"),
    )
    assert code == 130, error
    resume(tmp_path / "run", *devices)
    assert result(tmp_path / "run") == result(tmp_path / "whole")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def stopped(images, tmp_path_factory):
    """A run with one epoch of two done, and with a step of the second."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    code, _, error = train(
        ("--data", images, "--out", run, *ARGUMENTS),
        after_step(4, "os.kill(os.getpid(), signal.SIGINT)"),
    )
    assert code == 130, error
    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", STEP)
def test_a_damaged_step_is_left_for_the_epoch_before(stopped, uninterrupted, tmp_path, name):
    run = Path(shutil.copytree(str(stopped), str(tmp_path / "run")))
    flip_a_bit(run / name)
    _, error = resume(run)
    assert (
        f"warning: {run / name}: missing, damaged or changed (SHA-256); continuing from the "
        "checkpoint before, after the last epoch"
    ) in error
    assert result(run) == uninterrupted[1]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "last.params" else pytest.mark.slow) for name in EPOCH],
)
def test_a_damaged_epoch_is_left_for_the_one_before(uninterrupted, tmp_path, name):
    run = Path(shutil.copytree(str(uninterrupted[0]), str(tmp_path / "run")))
    flip_a_bit(run / name)
    out, error = resume(run)
    assert (
        f"warning: {run / name}: missing, damaged or changed (SHA-256); continuing from the "
        "checkpoint before, after epoch 1"
    ) in error
    assert [line.split(",")[0] for line in out.splitlines() if line.startswith("epoch")] == [
        "epoch 2"
    ]
    assert result(run) == uninterrupted[1]


@pytest.mark.slow
def test_without_a_whole_checkpoint_the_damage_is_named(uninterrupted, tmp_path):
    run = Path(shutil.copytree(str(uninterrupted[0]), str(tmp_path / "run")))
    (run / "last.params").unlink()
    flip_a_bit(run / PREVIOUS[1])
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    code, _, error = train(("--resume", "--out", run))
    assert (
        code == 2
        and (
            "there is no intact checkpoint of the epoch before: restore it from a copy, or train "
            "again"
        )
        in error
    )
    assert str(run / "last.params") in error and str(run / "previous.params") in error
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name != "lock"} == {
        name: content for name, content in before.items() if name != "lock"
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, says",
    [
        ("best.params", "the best epoch's parameters are lost"),
        (PREVIOUS[1], ""),
        ("metrics.csv", ""),
    ],
)
def test_other_damage_is_mended_or_said(uninterrupted, tmp_path, name, says):
    run = Path(shutil.copytree(str(uninterrupted[0]), str(tmp_path / "run")))
    flip_a_bit(run / name)
    _, error = resume(run)
    assert says in error and (says or "warning" not in error)
    opened = Run.open(run)
    assert not opened.has(name) or opened.verified(name)
    assert opened.verified("last.params").read_bytes() == uninterrupted[1][0]


@pytest.mark.slow
def test_a_second_training_into_a_folder_is_refused(images, uninterrupted, tmp_path):
    run = tmp_path / "run"
    first = started(
        ("--data", images, "--out", run, *ARGUMENTS),
        after_step(2, "print('at work', flush=True); sys.stdin.readline()"),
    )
    while first.stdout.readline() != "at work\n":
        assert first.poll() is None
    code, _, error = train(("--resume", "--out", run))
    assert code == 2
    assert error == (
        f"mlr train: error: another training (process {first.pid:d} on "
        f"{os.uname().nodename}) is running in {run}: wait until it ends, or stop it\n"
    )
    code, _, error = train(("--data", images, "--out", run, *ARGUMENTS))
    assert code == 2 and "exists already" in error
    first.send_signal(signal.SIGCONT)
    first.kill()
    first.communicate()
    # the lock died with its process
    resume(run)
    assert result(run) == uninterrupted[1]


def test_a_diverging_training_names_its_step_and_images_and_keeps_the_last_good_checkpoint(
    images, tmp_path
):
    run = tmp_path / "run"
    code, _, error = train(("--data", images, "--out", run, *ARGUMENTS, "--learning-rate", "1e30"))
    assert code == 1 and "Traceback" not in error
    message = error.splitlines()[-1]
    named = re.search(
        r"(the loss|the gradient's norm) became (nan|inf) in epoch 1, step (\d) of 3, "
        r"at the images (.*)\. The likely cause",
        message,
    )
    assert named, message
    names = named.group(4).split(", ")
    assert len(set(names)) == 4 and all(
        (images / "train" / name).is_file() or (images / name).is_file() for name in names
    )
    assert sorted(path.name for path in run.iterdir()) == [
        "SHA256SUMS",
        "classes.json",
        "config.json",
        "lock",
    ]


@pytest.fixture
def small_disk(tmp_path):
    """A function: bytes -> a folder with a file system of that size."""
    mounted = []

    def mount(size):
        folder = tmp_path / (f"disk{len(mounted):d}")
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size:d}", "tmpfs", str(folder)],
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"file systems can't be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("room", [0.5, 1.5, 2.5, 3.5])
def test_a_full_disk_keeps_the_last_good_checkpoint(
    images, uninterrupted, tmp_path, small_disk, room
):
    """Room for `room` times the size of the parameters: an epoch takes two, and the next two more
    before the one before it is given up.
    """
    size = (uninterrupted[0] / "last.params").stat().st_size
    disk = small_disk(int(room * size))
    run = disk / "run"
    code, _, error = train(("--data", images, "--out", run, *ARGUMENTS))
    assert code == 1
    assert re.fullmatch(
        r"mlr train: error: No space left on device: .*/run/(last|optimizer|best)\.params",
        error.splitlines()[-1],
    ), error
    assert not list(run.glob("*.new"))
    # to where there is room
    moved = Path(shutil.copytree(str(run), str(tmp_path / "moved")))
    assert len(Run.open(moved).metrics) == int(room > 2)
    resume(moved)
    assert result(moved) == uninterrupted[1]


@pytest.mark.slow
def test_a_folder_that_turned_read_only_keeps_what_it_has(
    images, uninterrupted, stopped, tmp_path, small_disk
):
    disk = small_disk(2**30)
    run = Path(shutil.copytree(str(stopped), str(disk / "run")))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    code, _, error = train(("--resume", "--out", run, "--ctx", "cpu"))
    assert code == 1
    assert error.splitlines()[-1] == f"mlr train: error: Read-only file system: {run / 'lock'}"
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    resume(run)
    assert result(run) == uninterrupted[1]


@pytest.fixture
def moved(trained, tmp_path):
    """A run whose images were moved after it was trained, to where `trained` has them."""
    run = RunWriter.open(shutil.copytree(trained[0], tmp_path / "run"))
    run.move({"data": {"folder": str(tmp_path / "gone")}})
    return run, trained[1]


def resumed(run, *arguments):
    return mlr.train.main(
        ["--resume", "--out", str(run.folder), "--ctx", "cpu", *map(str, arguments)]
    )


def test_a_refused_resume_changes_nothing(moved, tmp_path, capsys):
    """A shipped run can't be continued, and does not get the new folder of its images either."""
    run, data = moved
    run.ship(tmp_path / "shipped")
    before = (tmp_path / "shipped" / "config.json").read_bytes()
    given = ["--resume", "--out", str(tmp_path / "shipped"), "--data", str(data)]
    assert mlr.train.main(given) == 2
    assert "shipped has no optimizer.params" in capsys.readouterr().err
    assert (tmp_path / "shipped" / "config.json").read_bytes() == before


def test_data_that_moved_is_found_again(moved, tmp_path, capsys):
    run, data = moved
    files = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    assert resumed(run) == 2
    assert capsys.readouterr().err == (
        f"mlr train: error: {tmp_path / 'gone'}, with the images that {run.folder} was trained "
        "on, does not exist: give their present folder with --data\n"
    )
    other = write_images(tmp_path / "other", train=5)
    assert resumed(run, "--data", other) == 2
    error = capsys.readouterr().err
    digests = re.findall("[0-9a-f]{64}", error)
    assert (
        f"the images in {other} are not those that {run.folder} was trained on" in error
        and "start a new run" in error
    )
    assert digests[1] == run.config["data"]["sha256"] != digests[0] and len(digests) == 2
    assert {
        path.name: path.read_bytes() for path in run.folder.iterdir() if path.name != "lock"
    } == {name: content for name, content in files.items() if name != "lock"}
    assert resumed(run, "--data", data) == 0
    config = Run.open(run.folder).config
    assert config["data"]["folder"] == str(data)
    assert config == {**run.config, "data": {**run.config["data"], "folder": str(data)}}


def test_the_other_options_stay(moved, tmp_path, capsys):
    run, data = moved
    for name, kept, other in (("--seed", 0, 1), ("--epochs", 8, 1)):
        assert resumed(run, "--data", data, name, other) == 2
        assert capsys.readouterr().err == (
            f"mlr train: error: {name} {other}: {run.folder} was started with {name} {kept}, and "
            "a resumed run keeps its options: leave it out, or start a new run\n"
        )
    assert resumed(run, "--data", data, "--seed", 0, "--epochs", 8) == 0
    assert resumed(run, "--data", data, "--target", data) == 2
    assert f"{run.folder} was trained without --target: leave it out" in capsys.readouterr().err


def test_a_path_that_is_given_again_may_be_relative(moved, tmp_path, monkeypatch, capsys):
    """A run has whole paths in its options, and the same command line has what was typed."""
    run, data = moved
    options = {**run.config["options"], "pretrained": str(tmp_path / "weights.params")}
    run.save_files({"config.json": json.dumps({**run.config, "options": options})})
    monkeypatch.chdir(tmp_path)
    assert resumed(run, "--data", data, "--pretrained", "weights.params") == 0
    assert resumed(run, "--data", data, "--pretrained", "other.params") == 2
    assert "--pretrained other.params: " in capsys.readouterr().err


def test_folds_of_a_training_without(moved, capsys):
    run, data = moved
    assert resumed(run, "--data", data, "--folds", "all") == 2
    assert f"--folds: {run.folder} is not a training of all folds" in capsys.readouterr().err


def test_data_in_folds_is_other_data(moved, tmp_path, capsys):
    """No option is named that was not given, and none that can't be."""
    run, data = moved
    entries = [
        Entry(
            str(path.relative_to(data)),
            path.parts[-2],
            "",
            {"train": "1", "valid": "2", "test": "2"}[path.parts[-3]],
            80,
            64,
            sha256_of(path),
        )
        for path in sorted(data.glob("*/*/*.jpg"))
    ]
    write_prepared(tmp_path / "folds", {"root": str(data), "dataset": "csv"}, entries, [])
    assert resumed(run, "--data", tmp_path / "folds") == 2
    assert (
        f"are not those that {run.folder} was trained on, which were not split into folds: "
        "restore them, or start a new run"
    ) in capsys.readouterr().err


def test_a_prepared_set_whose_root_moved_is_prepared_again(tmp_path, capsys):
    """Its manifest is the same, and so are its images. A target moves like data does."""

    def prepare(root, out):
        entries = [
            Entry(
                str(path.relative_to(root)),
                path.parts[-2],
                "",
                path.parts[-3],
                80,
                64,
                sha256_of(path),
            )
            for path in sorted(root.glob("*/*/*.jpg"))
        ]
        write_prepared(out, {"root": str(root), "dataset": "csv"}, entries, [])
        return out

    root, target = write_images(tmp_path / "root"), write_images(tmp_path / "target", train=3)
    options = (
        "--method",
        "pcnn",
        "--backbone",
        "pcnn_small",
        "--pretrained",
        "none",
        "--image-size",
        "64",
        "--epochs",
        "1",
        "--batch-size",
        "4",
    )
    assert (
        mlr.train.main(
            [
                "--data",
                str(prepare(root, tmp_path / "prepared")),
                "--target",
                str(target),
                "--out",
                str(tmp_path / "run"),
                *options,
                "--ctx",
                "cpu",
            ]
        )
        == 0
    )
    run = Run.open(tmp_path / "run")
    root.rename(tmp_path / "new root")
    target.rename(tmp_path / "new target")
    assert (
        resumed(run) == 2 and "give their present folder with --target" in capsys.readouterr().err
    )
    assert resumed(run, "--target", tmp_path / "new target") == 2
    assert (
        f"there is no folder {root}: restore that folder, or run mlr prepare again"
    ) in capsys.readouterr().err
    assert (
        resumed(
            run,
            "--target",
            tmp_path / "new target",
            "--data",
            prepare(tmp_path / "new root", tmp_path / "prepared again"),
        )
        == 0
    )
    config = Run.open(run.folder).config
    assert (config["data"]["folder"], config["target"]["folder"]) == (
        str(tmp_path / "prepared again"),
        str(tmp_path / "new target"),
    )
    assert config["data"]["sha256"] == run.config["data"]["sha256"]
    # from now on both are known
    assert resumed(run) == 0
    # the same images with the labels of two exchanged
    manifest = tmp_path / "prepared again" / "manifest.csv"
    lines = manifest.read_text().splitlines()
    awe, fear = (
        next(number for number, line in enumerate(lines) if f",{name}," in line)
        for name in ("awe", "fear")
    )
    lines[awe] = lines[awe].replace(",awe,", ",fear,")
    lines[fear] = lines[fear].replace(",fear,", ",awe,")
    manifest.write_text("\n".join(lines) + "\n")
    assert resumed(run) == 2
    assert (
        f"the manifest of {tmp_path / 'prepared again'} is not the one that {run.folder} was "
        "trained with, so labels or splits may differ: restore it, or start a new run"
    ) in capsys.readouterr().err


def test_a_run_that_stopped_before_its_first_step_keeps_its_pretrained_weights(
    trained, tmp_path, monkeypatch, capsys
):
    """It reads them again, and its config.json has the hash of the first ones."""
    weights = Path(shutil.copy(trained[0] / "last.params", tmp_path / "weights.params"))
    first = sha256_of(weights)

    def stop(*_):
        raise InputError("stopped here")

    given = ("--data", trained[1], "--out", tmp_path / "run", *TINY, "--pretrained", weights)
    with monkeypatch.context() as patched:
        patched.setattr(mlr.training.run, "announce", stop)
        assert mlr.train.main(list(map(str, given))) == 2
    assert "stopped here" in capsys.readouterr().err
    run = Run.open(tmp_path / "run")
    arrays = nd.load(str(weights))
    nd.save(str(weights), {name: array + 1 for name, array in arrays.items()})
    assert resumed(run) == 2
    assert (
        f"the pretrained weights in {weights} are not those that {run.folder} was started with "
        f"(their SHA-256 is {sha256_of(weights)}; that of {weights} was {first}): restore them, "
        "or start a new run"
    ) in capsys.readouterr().err
    shutil.copy(trained[0] / "last.params", weights)
    assert resumed(run) == 0
