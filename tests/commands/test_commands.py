"""The commands as a user runs them: real processes, real files, real exit codes."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest
from conftest import TINY, write_images
from numpy.testing import assert_allclose

import mlr.evaluate
import mlr.predict
import mlr.train
from mlr import evaluate, paper, train
from mlr.__main__ import COMMANDS
from mlr.data import transforms
from mlr.data.loader import GluonBatches
from mlr.formats.params import read_params
from mlr.methods import METHODS
from mlr.model.backbone import Backbone
from mlr.model.parameters import materialize
from mlr.runs.folder import Run
from mlr.runs.writing import RunWriter
from mlr.training import fitting, loop
from mlr.training import run as training_run
from mlr.training.loss import ClassImbalanceLoss


def refused(done, *texts):
    """Assert that a command ended with exit code 2 and one line that says all of `texts`."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    for text in texts:
        assert text in line
    return line


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_train_writes_a_run(command, tmp_path):
    data = write_images(tmp_path / "data")
    done = command("train", "--data", data, "--out", tmp_path / "run", *TINY, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    for word in ("epoch 1, loss ", ", train acc ", ", valid acc ", " sec, ", " images/s, lr 0.01"):
        assert word in lines[0]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "SHA256SUMS",
        "best.params",
        "classes.json",
        "config.json",
        "confusion.png",
        "curves.png",
        "last.params",
        "lock",
        "metrics.csv",
        "metrics.jsonl",
        "optimizer.params",
        "previous.metrics.jsonl",
        "previous.optimizer.params",
        "previous.params",
    ]
    assert cv2.imread(str(tmp_path / "run" / "curves.png")).shape[1] == 9 * 120
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["options"]["epochs"] == 2
    assert config["data"]["counts"] == {"train": [6, 6], "valid": [2, 2], "test": [2, 2]}
    assert len(config["data"]["sha256"]) == 64 and config["versions"]["mxnet"] and config["argv"]
    assert json.loads((tmp_path / "run" / "classes.json").read_text()) == ["awe", "fear"]


@pytest.mark.slow
def test_the_same_seed_trains_the_same_network_and_resume_too(command, tmp_path):
    """Two epochs at once, and one that is stopped and resumed, end with the same bits."""
    data = write_images(tmp_path / "data")
    sums = []
    for name in ("a", "b"):
        assert (
            command(
                "train", "--data", data, "--out", tmp_path / name, *TINY, "--epochs", 2
            ).returncode
            == 0
        )
        sums.append((tmp_path / name / "last.params").read_bytes())
    assert sums[0] == sums[1]

    stopped = tmp_path / "stopped"
    code = (
        "import os, sys, mlr.train; from mlr.runs.writing import RunWriter\n"
        "save = RunWriter.save_epoch\n"
        "RunWriter.save_epoch = lambda *arguments: (save(*arguments), os.kill(os.getpid(), 9))\n"
        "mlr.train.main(sys.argv[1:])"
    )
    arguments = ["--data", data, "--out", stopped, *TINY, "--epochs", 2]
    assert (
        subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.DEVNULL
        ).returncode
        == -signal.SIGKILL
    )
    done = command("train", "--resume", "--out", stopped, "--ctx", "cpu")
    assert done.returncode == 0, done.stderr
    assert [
        line.split(",")[0] for line in done.stdout.splitlines() if line.startswith("epoch")
    ] == ["epoch 2"]
    assert (stopped / "last.params").read_bytes() == sums[0]


def test_two_devices(tmp_path, capsys):
    """A network without batch norm and dropout trains on two devices as on one, in batches of 5, 5
    and 2, both stages of PCNN; and answers alike.
    """
    data, said, contexts = (
        write_images(tmp_path / "data"),
        [],
        {"one": "cpu(0)", "two": "cpu(0),cpu(1)"},
    )
    for name, ctx in contexts.items():
        assert (
            mlr.train.main(
                [
                    "--data",
                    str(data),
                    "--out",
                    str(tmp_path / name),
                    *TINY[2:6],
                    "--method",
                    "pcnn",
                    "--backbone",
                    "pcnn_small",
                    "--epochs",
                    "1",
                    "--batch-size",
                    "5",
                    "--learning-rate",
                    "0.01",
                    "--ctx",
                    ctx,
                ]
            )
            == 0
        )
        assert f"training on {ctx.replace(',', ', ')}, run folder" in capsys.readouterr().out
    for ctx in contexts.values():
        assert mlr.evaluate.main(["--run", str(tmp_path / "two"), "--ctx", ctx]) == 0
        said.append(capsys.readouterr().out)
    assert "on 4 images" in said[0] and said[0] == said[1]
    one, two = (Run.open(tmp_path / name) for name in ("one", "two"))
    assert two.config["contexts"] == ["cpu(0)", "cpu(1)"] and len(two.metrics) == 2
    for ours, theirs in zip(two.metrics, one.metrics):
        # float32, sums in another order; so with what follows
        assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)
        assert {name: ours[name] for name in ours if "accuracy" in name} == {
            name: theirs[name] for name in theirs if "accuracy" in name
        }
    ours, theirs = (read_params(run.verified("last.params")) for run in (two, one))
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        assert_allclose(
            array, theirs[name], rtol=0, atol=1e-5 * np.abs(theirs[name]).max(), err_msg=name
        )


# None of them the default of the method or of TINY, but for the seed all with an effect that can be
# seen.
EVERY = {
    "backbone": paper.SLIM_BACKBONE,
    "taps": "by-width",
    "fusion": "add",
    "branch_width": 24,
    "style_width": 160,
    "style_dropout": 0.5,
    "gram_scale": 10.0,
    "image_size": 72,
    "train_part": 0.9,
    "augmentation": "gentle",
    "pipeline": "released",
    "loss": "class_imbalance",
    "loss_form": "written",
    "gamma": 2.0,
    "batch_size": 5,
    "epochs": 3,
    "optimizer": "adam",
    "learning_rate": 0.004,
    "new_layers_rate": 3.0,
    "weight_decay": 0.002,
    "schedule": "cosine",
}


def test_every_option_of_the_network_survives_the_run_folder(tmp_path, monkeypatch, capsys):
    """A run that was stopped after its first epoch: what goes on, evaluates and predicts has the
    options from its folder alone.
    """
    data, run = (
        write_images(tmp_path / "data", classes=("anger", "awe", "fear"), train=2, valid=1, test=1),
        tmp_path / "run",
    )
    weights, seed = tmp_path / "weights.params", 2**32 - 1
    backbone = Backbone(paper.SLIM_BACKBONE)
    materialize(backbone, [mx.cpu()], mx.init.Xavier())
    mx.nd.save(
        str(weights),
        {name: parameter.data() for name, parameter in backbone.structural_parameters.items()},
    )
    given = {**EVERY, "method": "l_cil", "pretrained": str(weights)}
    method = METHODS["l_cil"]
    assert {*given, "data", "labels", "targets", "fold", "seed"} == set(method.options)
    released = method.plain(method.released)
    assert [name for name in EVERY if EVERY[name] == released[name]] == ["loss"]

    def stop(self, *arguments):
        save_epoch(self, *arguments)
        raise KeyboardInterrupt

    save_epoch, arguments = (
        RunWriter.save_epoch,
        [
            text
            for name, value in given.items()
            for text in ("--" + name.replace("_", "-"), str(value))
        ],
    )
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "save_epoch", stop)
        assert (
            train.main(
                [
                    "--data",
                    str(data),
                    "--out",
                    str(run),
                    "--labels",
                    "sentiment",
                    "--seed",
                    str(seed),
                    "--ctx",
                    "cpu",
                    *arguments,
                ]
            )
            == 130
        )
    options = Run.open(run).config["options"]
    assert {name: value for name, value in options.items() if name not in ("data", "fold")} == {
        **given,
        "labels": "sentiment",
        "targets": "labels",  # votes need data that have them: test_votes.py
        "seed": seed,
    }

    made = {}
    for module, name in (
        (fitting, "new_loss"),
        (training_run, "new_trainer"),
        (transforms, "training_transform"),
        (fitting, "training_batches"),
        (loop, "train"),
    ):
        function = getattr(module, name)

        def spy(*arguments, name=name, function=function, **named):
            made[name] = arguments, function(*arguments, **named)
            return made[name][1]

        monkeypatch.setattr(module, name, spy)
    # they are needed no more
    weights.unlink()
    assert train.main(["--resume", "--out", str(run), "--ctx", "cpu"]) == 0
    loss, trainer, batches = (
        made[name][1] for name in ("new_loss", "new_trainer", "training_batches")
    )
    assert isinstance(loss, ClassImbalanceLoss) and (loss._as_released, loss._gamma) == (False, 2)
    assert isinstance(trainer._optimizer, mx.optimizer.Adam) and trainer._optimizer.wd == 0.002
    multiplied = {parameter.name: parameter.lr_mult for parameter in trainer._params}
    assert {rate for name, rate in multiplied.items() if "dense" in name} == {3} and min(
        multiplied.values()
    ) == 1
    assert isinstance(batches, GluonBatches) and batches.size(0) == 5
    assert made["training_transform"][0][1] == "gentle"
    assert made["train"][0][3].seed == seed
    rates = [line["learning_rate"] for line in Run.open(run).metrics]
    # an epoch of warm-up, then half of a cosine; float64
    assert_allclose(rates, [0.002, 0.004, 0.002], rtol=1e-12)

    assert evaluate.main(["--run", str(run), "--ctx", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "negative" in said and "on 3 images" in said
    predictor = mlr.load(run, "cpu")
    net = predictor.net
    assert net.taps == paper.TAPS_BY_WIDTH and net.fusion.kind == "add"
    assert net.backbone.name_in_zoo == paper.SLIM_BACKBONE and net.fusion.output.weight.shape == (
        2,
        160,
    )
    assert [branch.layers[-2]._scale for branch in net.shallow.branches] == [10] * 3
    assert predictor.transform(mx.nd.zeros((90, 80, 3), dtype="uint8")).shape == (3, 72, 72)
    assert sorted(predictor(data / "test" / "awe" / "00.jpg").probabilities) == [
        "negative",
        "positive",
    ]


def test_evaluate(trained, command):
    run, data = trained
    done = command("evaluate", "--run", run, "--parameters", "best")
    assert done.returncode == 0, done.stderr
    report = json.loads((run / "evaluation_test-best.json").read_text())
    assert (
        report["images"] == 4
        and np.sum(report["confusion"]) == 4
        and report["parameters"] == "best"
    )
    assert (
        f"accuracy {report['accuracy']:.3f}, balanced accuracy "
        f"{report['balanced_accuracy']:.3f} "
        "on 4 images"
    ) in done.stdout
    assert cv2.imread(str(run / "confusion_test-best.png")) is not None
    valid = command("evaluate", "--run", run, "--data", data, "--split", "valid")
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    # what the training said of the same split
    assert f"accuracy {line['valid_accuracy']:.3f}" in valid.stdout


def test_predict_files_and_folders(trained, command):
    run, data = trained
    done = command(
        "predict", "--run", run, data / "test" / "fear" / "01.jpg", data / "test" / "awe"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[::3] == [
        str(data / "test" / name) for name in ("fear/01.jpg", "awe/00.jpg", "awe/01.jpg")
    ]
    for first, second in zip(lines[1::3], lines[2::3]):
        (name, high), (other, low) = first.split(), second.split()
        assert {name, other} == {"awe", "fear"} and float(high) >= float(low)


def test_names_with_newlines_stay_one_line(trained, tmp_path, capsys):
    run, data = trained
    shutil.copy(str(data / "test" / "fear" / "01.jpg"), str(tmp_path / "a\nawe 1.jpg"))
    (tmp_path / "b\nc").write_text("x")
    assert mlr.predict.main(["--run", str(run), "--ctx", "cpu", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert (
        said.out.splitlines()[0] == f"{tmp_path}/a\\nawe 1.jpg" and len(said.out.splitlines()) == 3
    )
    assert said.err == f"left out: 1 file that is not an image, such as {tmp_path}/b\\nc\n"


def test_predict_json(trained, command_here, tmp_path, monkeypatch):
    run, data = trained
    # nothing but the run folder is needed
    shutil.copytree(data / "test", tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    done = command_here("predict", "--run", run, "--json", tmp_path / "moved")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 4
    for answer in answers:
        probabilities = list(answer["probabilities"].values())
        assert probabilities == sorted(probabilities, reverse=True) and answer["label"] == next(
            iter(answer["probabilities"])
        )
        # softmax in float32
        assert_allclose(sum(probabilities), 1, rtol=1e-6)


def test_predict_names_the_image_it_cannot_read(trained, command_here, tmp_path):
    run, data = trained
    shutil.copytree(data / "test" / "awe", tmp_path / "images")
    (tmp_path / "images" / "00.jpg").write_bytes(
        (data / "test" / "awe" / "00.jpg").read_bytes()[:-40]
    )
    done = command_here("predict", "--run", run, "--json", tmp_path / "images")
    refused(done, "00.jpg is truncated", "get it again or remove it")
    assert [json.loads(line)["image"] for line in done.stdout.splitlines()] == [
        str(tmp_path / "images" / "01.jpg")
    ]


def test_predict_names_each_image_it_cannot_read(trained, command_here, tmp_path):
    run, data = trained
    shutil.copytree(data / "test" / "awe", tmp_path / "images")
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "images" / name).write_bytes(b"")
    done = command_here("predict", "--run", run, tmp_path / "images")
    assert done.returncode == 2 and f"{tmp_path}/images/00.jpg\n" in done.stdout
    assert [line.partition(" is empty")[0] for line in done.stderr.splitlines()] == [
        f"mlr predict: error: image {tmp_path}/images/{name}" for name in ("a.jpg", "b.jpg")
    ]


def damaged(path, change):
    content = change(path.read_bytes())
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage, texts",
    [
        (lambda data: shutil.rmtree(data), ("does not exist", "--data demo")),
        (
            lambda data: shutil.rmtree(data / "train") or (data / "train").mkdir(),
            ("train has no class folders",),
        ),
        (
            lambda data: shutil.rmtree(data / "valid" / "fear"),
            ("class folder fear is in", "every split needs the same class folders"),
        ),
        (
            lambda data: damaged(data / "train" / "awe" / "03.jpg", lambda content: content[:-50]),
            ("03.jpg is truncated", "remove it"),
        ),
        (
            lambda data: damaged(
                data / "valid" / "awe" / "01.jpg", lambda content: b"not an image"
            ),
            ("01.jpg can't be decoded", "remove it"),
        ),
        (
            lambda data: damaged(
                data / "train" / "fear" / "02.jpg", lambda content: b"\xff\xd8\xff\xd9"
            ),
            ("02.jpg can't be decoded",),
        ),
    ],
)
def test_train_on_data_that_does_not_fit(command_here, tmp_path, damage, texts):
    data = write_images(tmp_path / "data")
    damage(data)
    refused(command_here("train", "--data", data, "--out", tmp_path / "run", *TINY), *texts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments, texts",
    [
        (("--ctx", "tpu(0)"), ('unknown context "tpu(0)"', "write cpu, gpu(0)")),
        (("--ctx", "gpu(99)"), ("gpu(99) is not there", "MXNet")),
        (
            ("--ctx", "cpu(0),cpu(1),cpu(2)", "--batch-size", 2),
            ("a batch of 2 can't be split over 3 devices", "--batch-size"),
        ),
        (("--epochs", 0), ("argument --epochs: '0' is not a whole number from 1",)),
        (("--epochs", "many"), ("argument --epochs: 'many' is not a whole number from 1",)),
        (("--learning-rate", "nan"), ("argument --learning-rate: 'nan' is not a number above 0",)),
        (("--learning-rate", 0), ("argument --learning-rate",)),
        (("--image-size", 32), ("argument --image-size: '32' is not a whole number from 64",)),
        (("--gamma", -1), ("argument --gamma",)),
        (
            ("--backbone", "resnet51_v2"),
            ("--backbone resnet51_v2 is not for --method l_cil", "resnet18_v2"),
        ),
        (
            ("--backbone", "resnet9"),
            ("--backbone resnet9 is not for --method l_cil", "resnet18_v2"),
        ),
        (("--loss", "focal"), ("argument --loss: invalid choice: 'focal'",)),
        (("--no-such-option",), ("unrecognized arguments: --no-such-option",)),
        (
            ("--pretrained", "nowhere.params"),
            (f"parameter file {Path('nowhere.params').resolve()} does not exist",),
        ),
        (
            ("--image-size", "2049"),
            ("argument --image-size: '2049' is not a whole number from 64 to 2048",),
        ),
        (("--resume",), ("run is not a run folder", "give the --out of a training")),
    ],
)
def test_wrong_options_of_train(trained, command_here, tmp_path, arguments, texts):
    refused(
        command_here("train", "--data", trained[1], "--out", tmp_path / "run", *TINY, *arguments),
        *texts,
    )
    assert not (tmp_path / "run").exists()


def test_resume_of_nothing(command_here, tmp_path):
    refused(command_here("train", "--resume", "--out", tmp_path), "is not a run folder")
    refused(command_here("train", "--resume"), "--resume needs --out")


def test_resume_on_other_images(trained, command_here, tmp_path):
    run, data = shutil.copytree(trained[0], tmp_path / "run"), tmp_path / "data"
    shutil.copytree(trained[1], data)
    (data / "train" / "awe" / "00.jpg").unlink()
    config = json.loads((run / "config.json").read_text())
    config["data"]["folder"] = str(data)
    rewrite(run, "config.json", json.dumps(config))
    refused(command_here("train", "--resume", "--out", run), "are not those that")


def rewrite(run, name, text):
    """Change a file of a run and its hash."""
    (run / name).write_text(text)
    lines = [
        line
        for line in (run / "SHA256SUMS").read_text().splitlines()
        if not line.endswith("  " + name)
    ]
    (run / "SHA256SUMS").write_text(
        "\n".join(lines + [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}"]) + "\n"
    )


def test_train_overwrites_nothing(trained, command_here):
    run, data = trained
    before = files(run)
    refused(
        command_here("train", "--data", data, "--out", run, *TINY), "exists already", "--resume"
    )
    assert files(run) == before


@pytest.mark.parametrize(
    "damage, texts",
    [
        (lambda run: shutil.rmtree(run), ("is not a run folder",)),
        (
            lambda run: (run / "last.params").unlink(),
            ("last.params is missing, damaged or changed",),
        ),
        (
            lambda run: damaged(run / "last.params", lambda content: content[:-1]),
            ("last.params is missing, damaged or changed",),
        ),
        (
            lambda run: rewrite(
                run,
                "config.json",
                (run / "config.json").read_text().replace('"style_width": 8', '"style_width": 9'),
            ),
            (
                "last.params don't fit the network",
                "shallow.mix.1.weight (8, 832) instead of (9, 832)",
            ),
        ),
    ],
)
@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_runs_that_can_not_be_loaded(trained, command_here, tmp_path, name, damage, texts):
    run = shutil.copytree(trained[0], tmp_path / "run")
    damage(run)
    arguments = [] if name == "evaluate" else [trained[1] / "test" / "awe" / "00.jpg"]
    refused(command_here(name, "--run", run, *arguments), *texts)


@pytest.mark.parametrize(
    "arguments, texts",
    [
        (("--split", "holdout"), ("argument --split: invalid choice: 'holdout'",)),
        (("--data", "nowhere"), ("nowhere/test does not exist",)),
        (("--ctx", "gpu(99)"), ("gpu(99) is not there", "MXNet")),
        (("--parameters", "first"), ("argument --parameters: invalid choice",)),
    ],
)
def test_wrong_options_of_evaluate(trained, command_here, arguments, texts):
    refused(command_here("evaluate", "--run", trained[0], *arguments), *texts)


def test_evaluate_on_other_classes(trained, command_here, tmp_path):
    data = write_images(tmp_path, classes=("anger", "joy"))
    refused(
        command_here("evaluate", "--run", trained[0], "--data", data),
        "has the classes anger, joy, but the run was trained on awe, fear",
    )


@pytest.mark.parametrize(
    "name, texts",
    [
        ("missing.jpg", ("there is no image or folder missing.jpg",)),
        (300 * "a", ("there is no image or folder aaa",)),
        # a terminal would obey
        ("\x1b[31mred.jpg", ("there is no image or folder \\x1b[31mred.jpg",)),
        ("empty", ("no images", "in empty")),
    ],
)
def test_nothing_to_predict(trained, command_here, tmp_path, monkeypatch, name, texts):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    refused(command_here("predict", "--run", trained[0], name), *texts)


def test_prepare_refuses_a_folder_that_holds_something_else(command_here, tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    refused(
        command_here("prepare", "--dataset", "demo", "--out", tmp_path), "is not a demo data set"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_run_folder_that_can_not_be_written(trained, command_here, tmp_path):
    (tmp_path / "file").write_text("x")
    refused(
        command_here("train", "--data", trained[1], "--out", tmp_path / "file" / "run", *TINY),
        f"{tmp_path / 'file'} is not a folder, or you may not write to it",
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_an_empty_argument_is_refused(name, capsys):
    """As from a shell variable that is not set: it would be the default, or the working
    folder.
    """
    parser = import_module("mlr." + name).parser()
    options = [
        action
        for action in parser._actions
        if action.type in (None, Path) and action.nargs != 0 and action.choices is None
    ]
    assert {"doctor": 0, "launch": 0, "weights": 0}.get(name, 1) <= len(options)
    for action in options:
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args([*action.option_strings[-1:], ""])
        assert "it is empty, likely because a shell variable is not set" in capsys.readouterr().err


def test_what_launch_starts_may_have_empty_arguments():
    assert import_module("mlr.launch").parser().parse_args(
        ["-n", "1", "--", "printf", ""]
    ).command == ["printf", ""]


def test_console_command(command):
    done = command("--help")
    assert done.returncode == 0 and "evaluate" in done.stdout
    assert command("--version").stdout == "mlr 0.2.0\n"
    refused(command("dance"), "unknown command dance: choose one of prepare, train")


@pytest.mark.parametrize(
    "use",
    [
        (
            "import mlr.__main__, sys; sys.argv = ['mlr', 'export', '--out', 'y.onnx']; "
            "sys.exit(mlr.__main__.main())"
        ),
        "import mlr; mlr.MultiLevelNet",
    ],
)
def test_without_mxnet_one_line_names_the_extras(use):
    code = "import sys; sys.modules['mxnet'] = None\n" + use
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "MXNet is not installed" in done.stderr.splitlines()[-1]
    for extra in ("cpu", "cu101", "modern", "modern-cu112", "modern-cu117"):
        assert f"mlr[{extra}]" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_demo_reaches_its_goal(command, tmp_path):
    """What `make demo` does: draw, train with the demo preset, evaluate on test; chance is
    0.125.
    """
    done = command("train", "--out", "run", cwd=tmp_path, timeout=1200)
    assert done.returncode == 0, done.stderr
    assert command("evaluate", "--run", "run", cwd=tmp_path).returncode == 0
    assert (
        json.loads((tmp_path / "run" / "evaluation_test.json").read_text())["balanced_accuracy"]
        >= 0.80
    )
