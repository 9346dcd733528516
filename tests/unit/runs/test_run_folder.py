import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from conftest import run_config
from mxnet import autograd, nd
from numpy.testing import assert_array_equal

import mlr
from mlr.errors import InputError
from mlr.formats.params import read_params, write_params
from mlr.methods import METHODS, load_network, open_run
from mlr.model.parameters import materialize
from mlr.runs import committed, provenance
from mlr.runs.folder import Run
from mlr.runs.writing import RunWriter
from mlr.runtime.hashing import sha256_of
from mlr.training.checkpoints import restore, state_of
from mlr.training.optimizer import new_trainer
from mlr.training.run import refuse_contradictions

METHOD = METHODS["l_cil"]
OPTIONS = replace(
    METHOD.released, backbone="resnet18_v2_slim", style_width=8, image_size=64, pretrained="none"
)
NETWORK = {"classes": 2, "backbone": "resnet18_v2_slim", "style_width": 8}
CONFIG = run_config(OPTIONS, 2)


def new_net():
    net = mlr.MultiLevelNet(**NETWORK)
    materialize(net, [mx.cpu()], mx.init.Xavier())
    return net


# Adam has what there is to get wrong: two moments, and a count of its steps.
ADAM = ("adam", {"learning_rate": 0.01})


@pytest.fixture
def saved(tmp_path):
    return train_two_epochs(tmp_path)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    return train_two_epochs(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def folder(untouched, tmp_path):
    """A copy of the run's folder, to damage."""
    return Path(shutil.copytree(str(untouched[0].folder), str(tmp_path / "run")))


def train_two_epochs(tmp_path):
    """A run with two epochs, the first of them the better one on valid."""
    net = new_net()
    trainer = new_trainer(net, *ADAM)
    run = RunWriter.create(tmp_path / "run", CONFIG, ["awe", "fear"])
    logits = []
    for epoch, accuracy in ((1, 0.9), (2, 0.5)):
        with autograd.record():
            loss = mlr.CrossEntropyLoss()(
                net(nd.random.normal(shape=(2, 3, 64, 64))), nd.array([0, 1])
            )
        loss.backward()
        trainer.step(2)
        # see mlr.training.loop.train_epoch
        nd.waitall()
        run.save_epoch(
            state_of(net, trainer), {"epoch": epoch, "valid_balanced_accuracy": accuracy}
        )
        logits.append(net(nd.ones((1, 3, 64, 64))).asnumpy())
    return run, net, trainer, logits


def test_a_run_folder_holds_what_it_should(untouched):
    run = untouched[0]
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "SHA256SUMS",
        "best.params",
        "classes.json",
        "config.json",
        "last.params",
        "metrics.csv",
        "metrics.jsonl",
        "optimizer.params",
        "previous.metrics.jsonl",
        "previous.optimizer.params",
        "previous.params",
    ]
    for line in (run.folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((run.folder / name).read_bytes()).hexdigest() == digest
    assert [
        json.loads(line)["epoch"]
        for line in (run.folder / "metrics.jsonl").read_text().splitlines()
    ] == [1, 2]


@pytest.mark.parametrize("parameters, epoch", [("best", 0), ("last", 1)])
def test_a_network_comes_back_to_the_bit(untouched, parameters, epoch):
    run, _, _, logits = untouched
    net = load_network(open_run(run.folder), [mx.cpu()], parameters)
    net.hybridize(False)
    assert_array_equal(net(nd.ones((1, 3, 64, 64))).asnumpy(), logits[epoch])


def test_the_optimizer_comes_back_to_the_bit(saved):
    run, net, trainer, _ = saved
    other = new_net()
    other_trainer = new_trainer(other, *ADAM)
    restore(Run.open(run.folder), other, other_trainer)
    images = nd.random.normal(shape=(2, 3, 64, 64))
    for network, optimizer in ((net, trainer), (other, other_trainer)):
        mx.random.seed(1)  # the same dropout
        with autograd.record():
            loss = mlr.CrossEntropyLoss()(network(images), nd.array([0, 1]))
        loss.backward()
        optimizer.step(2)
    nd.waitall()
    for ours, theirs in zip(net.collect_params().values(), other.collect_params().values()):
        assert_array_equal(ours.data().asnumpy(), theirs.data().asnumpy())


@pytest.mark.parametrize("name", ["config.json", "classes.json", "metrics.jsonl", "last.params"])
def test_a_flipped_bit_is_found(folder, name):
    path = folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is missing, damaged or changed"):
        load_network(open_run(folder), [mx.cpu()])


def test_each_file_is_hashed_once_in_a_process_that_continues_a_run(folder, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        committed, "sha256_of", lambda path: hashed.append(path.name) or sha256_of(path)
    )
    run = RunWriter.resumed(folder)
    net = new_net()
    trainer = new_trainer(net, *ADAM)
    restore(run, net, trainer)
    listed = [line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert sorted(hashed) == sorted(listed)
    hashed.clear()
    run.save_epoch(state_of(net, trainer), {"epoch": 3, "valid_balanced_accuracy": 0})
    new = ("metrics.csv", "metrics.jsonl", "last.params", "optimizer.params")
    assert sorted(hashed) == sorted(f"{name}.new" for name in new)
    run.unlock()


def test_a_file_that_changes_after_its_check_is_found(folder):
    run = Run.open(folder)
    content = bytearray(run.verified("last.params").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "last.params").write_bytes(content)
    with pytest.raises(InputError, match="last.params is missing, damaged or changed"):
        run.verified("last.params")


@pytest.mark.parametrize("content", [b"", b"abc\n", b"\xff\xfe  config.json\n"])
def test_damaged_sums_are_named(folder, content):
    (folder / "SHA256SUMS").write_bytes(content)
    with pytest.raises(InputError, match="SHA256SUMS .*damaged: restore it from a copy"):
        Run.open(folder)


def test_an_interrupted_commit_is_whole_before_and_after_its_point(saved, monkeypatch):
    """Stop at every rename in turn: what can be read is the old epoch or the new one, never a
    mixture.
    """
    run, net, trainer, logits = saved
    before = Run.open(run.folder).metrics
    replaced = []

    class Stop(Exception):
        pass

    def stop_before(limit):
        def replace(source, target):
            if len(replaced) == limit:
                raise Stop
            replaced.append(target)
            rename(source, target)

        return replace

    rename = os.replace
    for limit in range(6):
        replaced.clear()
        monkeypatch.setattr(os, "replace", stop_before(limit))
        net.fusion.output.bias.set_data(nd.ones(2) * limit)
        line = {"epoch": len(before) + 1, "valid_balanced_accuracy": 0, "limit": limit}
        with pytest.raises(Stop):
            RunWriter.open(run.folder).save_epoch(state_of(net, trainer), line)
        monkeypatch.setattr(os, "replace", rename)
        opened = Run.open(run.folder)
        bias = load_network(opened, [mx.cpu()]).fusion.output.bias.data().asnumpy()
        if any(str(target).endswith("SHA256SUMS") for target in replaced):
            assert opened.metrics[-1] == line
            assert_array_equal(bias, [limit, limit])
        else:
            assert opened.metrics == before
        before = opened.metrics


def test_a_run_ships_in_half_precision(untouched, tmp_path):
    """Its parameters are rounded to float16, and read into the network's float32."""
    run, *_ = untouched
    run.ship(tmp_path / "whole")
    run.ship(tmp_path / "half", half=True)
    whole, half = (read_params(tmp_path / name / "last.params") for name in ("whole", "half"))
    assert list(half) == list(whole)
    for name, array in half.items():
        assert_array_equal(array, whole[name].astype(np.float16))
    network = load_network(open_run(tmp_path / "half"), [mx.cpu()])
    for name, parameter in network._collect_params_with_prefix().items():
        assert np.dtype(parameter.dtype) == "float32"
        assert_array_equal(parameter.data().asnumpy(), half[name].astype(np.float32))
    large = RunWriter.open(tmp_path / "whole")
    arrays = {name: array * 1e9 + 1e6 for name, array in whole.items()}
    large.save_files({"last.params": lambda path: write_params(path, arrays)})
    with pytest.raises(InputError, match="has numbers beyond float16's 65504: ship"):
        large.ship(tmp_path / "large", half=True)


def test_an_existing_folder_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="run exists already: give another --out"):
        RunWriter.create(tmp_path / "run", CONFIG, [])
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("name", [".", 300 * "a"])
def test_a_folder_that_is_no_run(tmp_path, name):
    with pytest.raises(InputError, match="is not a run folder"):
        Run.open(tmp_path / name)


def test_a_run_that_stopped_before_its_first_epoch(tmp_path):
    run = RunWriter.create(tmp_path / "run", CONFIG, ["awe", "fear"])
    with pytest.raises(
        InputError, match="has no last.params: the training stopped before its first epoch"
    ):
        load_network(open_run(run.folder), [mx.cpu()])


def test_parameters_of_another_network(tmp_path):
    net = new_net()
    trainer = new_trainer(net, *ADAM)
    run = RunWriter.create(tmp_path / "run", run_config(OPTIONS, 5), list("abcde"))
    run.save_epoch(state_of(net, trainer), {"epoch": 1, "valid_balanced_accuracy": 0})
    with pytest.raises(
        InputError,
        match=r"last.params don't fit the network: 2 wrongly shaped \(fusion.output.weight "
        r"\(2, 168\) instead of \(5, 168\)",
    ):
        load_network(open_run(run.folder), [mx.cpu()])


LONG = "x" * 4097


def changed(change):
    """Return the config with some of its parts changed."""
    return {
        **CONFIG,
        **{
            name: {**CONFIG[name], **value} if isinstance(value, dict) else value
            for name, value in change.items()
        },
    }


@pytest.mark.parametrize(
    "change, classes, found",
    [
        (
            {"network": {"classes": 1}},
            ["awe"],
            "network.classes is 1, expected a whole number from 2",
        ),
        ({"network": {"classes": 10001}}, list(map(str, range(10001))), "network.classes is 10001"),
        ({}, ["awe"], "the list of classes"),
        ({}, ["awe", "awe"], "at least two different names"),
        ({}, ["awe", ""], "at least two different names"),
        ({}, ["awe", "fe\0ar"], "at least two different names"),
        ({}, ["awe", LONG], "at least two different names"),
        ({"options": {"learning_rate": 1e301}}, None, "options.learning_rate is 1e\\+301"),
        ({"options": {"gamma": float("nan")}}, None, "NaN is not a valid number"),
        ({"options": {"image_size": 32}}, None, "options.image_size is 32"),
        ({"options": {"seed": 2**32}}, None, "options.seed"),
        ({"options": {"fold": 1001}}, None, "options.fold"),
        ({"options": {"data": LONG}}, None, "options.data"),
        ({"argv": ["train", LONG]}, None, "argv"),
        ({"threads": LONG}, None, "threads"),
        ({"data": {"folder": "a\0b"}}, None, "data.folder"),
        ({"data": {"splits": {"test": 1}}}, None, "data.splits"),
        ({"contexts": [LONG]}, None, "contexts"),
    ],
)
def test_what_opening_refuses_is_never_written(tmp_path, change, classes, found):
    """Refused before anything is made, by the folder itself and before the training."""
    out, classes = tmp_path / "new" / "run", ["awe", "fear"] if classes is None else classes
    for make in (
        lambda: RunWriter.create(out, changed(change), classes),
        lambda: refuse_contradictions(METHOD, changed(change), classes, out),
    ):
        with pytest.raises(InputError, match=found) as refused:
            make()
        assert "train again" not in str(refused.value)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change, classes, found",
    [
        (
            {"preprocessing": {"image_size": 65}},
            ["awe", "fear"],
            "preprocessing.image_size is 65, expected 64",
        ),
        ({}, ["awe", "fear", "joy"], "the list of classes .* expected 2 different names"),
        ({"network": {"classes": 3}}, ["awe", "fear"], "expected 3 different names"),
        ({"network": {"kind": "fine_tuned"}}, ["awe", "fear"], "network.kind is 'fine_tuned'"),
        ({"options": {"backbone": "pcnn_small"}}, ["awe", "fear"], "backbone is 'pcnn_small'"),
    ],
)
def test_what_contradicts_itself_is_neither_trained_nor_opened(tmp_path, change, classes, found):
    """A network of other classes than it has names is found by its list."""
    with pytest.raises(InputError, match=found) as refused:
        refuse_contradictions(METHOD, changed(change), classes, tmp_path / "run")
    assert "train again" not in str(refused.value)
    RunWriter.create(tmp_path / "run", changed(change), classes)
    with pytest.raises(InputError, match=f"config.json: .*{found}.*train again"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize(
    "change, classes",
    [
        ({}, [" ", "a\nb"]),
        ({}, [b"\xff".decode("utf-8", "surrogateescape"), "x" * 4096]),
        ({"data": {"counts": {"train": [10**30]}}}, ["awe", "fear"]),
        (
            {"options": {"learning_rate": 1e300, "seed": 2**32 - 1}, "argv": ["\udcff"]},
            ["awe", "fear"],
        ),
    ],
)
def test_what_is_written_opens(tmp_path, change, classes):
    config = changed(change)
    RunWriter.create(tmp_path / "run", config, classes)
    opened = open_run(tmp_path / "run")
    assert opened.classes == classes and opened.config == json.loads(json.dumps(config))


@pytest.mark.parametrize(
    "line, found",
    [
        (
            {"epoch": 3, "valid_balanced_accuracy": float("nan")},
            "line 3, valid_balanced_accuracy is nan",
        ),
        ({"epoch": 4, "valid_balanced_accuracy": 0.5}, "line 3, epoch is 4, expected one of 3"),
    ],
)
def test_an_epoch_that_could_not_be_read_is_not_saved(folder, line, found):
    run, before = (
        RunWriter.open(folder),
        {path.name: path.read_bytes() for path in folder.iterdir()},
    )
    with pytest.raises(InputError, match=found):
        run.save_epoch(({}, {}), line)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before and len(
        run.metrics
    ) == 2


def committed_in(repository, *names):
    """Make a git repository of some of the files below it; return its commit."""

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.strip()

    git("init", "-q")
    git("add", *names)
    git("commit", "-q", "-m", "x")
    return git("rev-parse", "HEAD")


def package_in(folder):
    (folder / "mlr" / "runs").mkdir(parents=True)
    (folder / "mlr" / "runs" / "provenance.py").write_text("")
    return folder / "mlr" / "runs" / "provenance.py"


def test_the_commit_is_that_of_the_packages_own_checkout(tmp_path, monkeypatch):
    checkout, user = tmp_path / "checkout", tmp_path / "user"
    own, installed = package_in(checkout), package_in(user / ".venv" / "lib" / "site-packages")
    (checkout / "setup.py").write_text("")
    commit = committed_in(checkout, "setup.py", "mlr")
    # the user's own project, with its environment inside
    (user / "setup.py").write_text("")
    users_commit = committed_in(user, "setup.py")
    assert commit != users_commit
    for path, expected in (
        (own, commit),
        (installed, None),
        (package_in(tmp_path / "nowhere"), None),
    ):
        monkeypatch.setattr(provenance, "__file__", str(path))
        assert provenance.environment()["git_commit"] == expected, path
    # as a hook of the user's repository has it
    monkeypatch.setenv("GIT_DIR", str(user / ".git"))
    monkeypatch.setattr(provenance, "__file__", str(own))
    assert provenance.environment()["git_commit"] == commit
    monkeypatch.setattr(provenance, "__file__", str(package_in(user / "vendored")))
    (user / "vendored" / "setup.py").write_text("")
    # tracked, but not at the top
    committed_in(user, "vendored")
    assert provenance.environment()["git_commit"] is None


def test_a_file_that_is_renamed_while_another_is_read(tmp_path, monkeypatch):
    """As a training does it after its commit."""
    folder = committed.CommittedFolder(tmp_path)
    folder.commit({"a": "old"})
    (tmp_path / "a.new").write_text("new")
    sums = f"{hashlib.sha256(b'new').hexdigest()}  a\n"
    (tmp_path / committed.SUMS).write_text(sums)
    hashed = committed.CommittedFolder._sha256

    def renamed_then(self, path):
        found = hashed(self, path)
        if (tmp_path / "a.new").exists():
            os.replace(tmp_path / "a.new", tmp_path / "a")
        return found

    monkeypatch.setattr(committed.CommittedFolder, "_sha256", renamed_then)
    assert folder.find("a") == tmp_path / "a"
