import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import evaluation_of, run_config, write_images
from mxnet import nd
from numpy.testing import assert_allclose

from mlr.data.manifest import Entry, write_prepared
from mlr.errors import InputError, RunError
from mlr.methods import METHODS
from mlr.reproduce import (
    PUBLISHED,
    command_of,
    main,
    parser,
    plan,
    pretrainings,
    refuse_other_options,
    settings_of,
    train_and_evaluate,
    wanted_methods,
    write_results,
)
from mlr.runs import results
from mlr.runs.writing import RunWriter
from mlr.runtime.commands import Runner
from mlr.runtime.hashing import sha256_of
from mlr.training.metrics import classification_metrics
from mlr.viz.figures import new_figure, plot_results

# Runs as `mlr.runs.results.outcome` reads them, of one system with three seeds and one with a
# single one.
OUTCOMES = {
    "vgg16": [
        dict(
            run=f"vgg16-seed{seed:d}",
            seed=seed,
            accuracy=accuracy,
            balanced_accuracy=accuracy - 0.1,
            macro_f1=0.5,
            worst_recall=0.2,
            majority_rate=0.6,
            images=10,
            classes=2,
            seconds=100.0 + seed,
            parameters=1500000,
            command="mlr train",
            data_sha256="d" * 64,
            manifest_sha256="",
            weights_sha256="w" * 64,
            pretrained_sha256="",
            threads="1",
            versions={},
        )
        for seed, accuracy in enumerate((0.7, 0.8, 0.9))
    ],
    "l_cil": [
        dict(
            run="l_cil-seed0",
            seed=0,
            accuracy=0.5,
            balanced_accuracy=0.25,
            macro_f1=0.5,
            worst_recall=0.0,
            majority_rate=0.6,
            images=10,
            classes=2,
            seconds=7.0,
            parameters=25000,
            command="mlr train --method l_cil",
            data_sha256="d" * 64,
            manifest_sha256="m" * 64,
            weights_sha256="v" * 64,
            pretrained_sha256="p" * 64,
            threads="1",
            versions={},
        )
    ],
}
TABLES = {
    "methods": (
        "The methods",
        {"VGGNet": "vgg16", "L_cil": "l_cil"},
        {"VGGNet": 83.05, "L_cil": 87.87},
    ),
    "ablations": ("Ablations", {"L_cil": "l_cil"}, None),
}


def test_mean_and_standard_deviation_of_a_sample():
    found = results.summary(OUTCOMES["vgg16"])
    assert_allclose(found["accuracy"], (0.8, 0.1), rtol=1e-12)  # float64 sums of three terms
    assert_allclose(found["seconds"], (101, 1), rtol=1e-12)
    assert results.summary(OUTCOMES["l_cil"])["balanced_accuracy"] == (0.25, None)


@pytest.mark.parametrize(
    "comparable, column",
    [
        (True, "paper, accuracy on FI"),
        (False, "paper, accuracy on FI (other data: not comparable)"),
    ],
)
def test_the_table(comparable, column):
    text = results.markdown(TABLES, OUTCOMES, ["# Results"], comparable)
    assert (
        f"| system | {column} | accuracy | balanced accuracy | macro F1 | worst class recall | "
        "training, s | parameters, million |"
    ) in text
    assert (
        "| VGGNet | 83.05 % | 0.800 +- 0.100 | 0.700 +- 0.100 | 0.500 +- 0.000 | 0.200 +- "
        "0.000 "
        "| 101 +- 1 | 1.50 |"
    ) in text
    assert "| L_cil | 87.87 % | 0.500 | 0.250 | 0.500 | 0.000 | 7 | 0.03 |" in text
    ablations = text.partition("## Ablations")[2]
    assert "| system | accuracy |" in ablations and "87.87" not in ablations
    assert (
        f"| l_cil-seed0 | `mlr train --method l_cil` | {'d' * 12} | {'m' * 12} | {'p' * 12} | "
        f"{'v' * 12} |"
    ) in text


def test_the_csv_comes_back(tmp_path):
    (tmp_path / "results.csv").write_text(results.csv_table(OUTCOMES))
    read = results.read_csv(tmp_path / "results.csv")
    assert list(read) == ["vgg16", "l_cil"] and len(read["vgg16"]) == 3
    assert results.summary(read["vgg16"]) == results.summary(OUTCOMES["vgg16"])
    assert read["l_cil"][0]["manifest_sha256"] == "m" * 64


def test_only_fi_is_comparable(tmp_path):
    assert not results.of_the_papers_data(tmp_path)
    for data_set, comparable in (("fi", True), ("artphoto", False)):
        (tmp_path / "prepared.json").write_text(json.dumps({"dataset": data_set}))
        assert results.of_the_papers_data(tmp_path) is comparable


def test_bars_with_errors():
    _, axes = new_figure(5, 3)
    assert plot_results({"VGGNet": (0.7, 0.1), "L_cil": (0.25, None)}, 0.5, axes) is axes
    assert_allclose([bar.get_width() for bar in axes.patches], [0.7, 0.25])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["VGGNet", "L_cil"]
    (low, high), (same, _) = [segment[:, 0] for segment in axes.collections[0].get_segments()]
    assert_allclose([low, high, same], [0.6, 0.8, 0.25])


def made_run(folder, arguments=(), seed=0, hits=3, finished=True, part=1.0, **data):
    """Write a run folder as mlr train and mlr evaluate leave it; of 4 test images of class a and 2
    of b, `hits` of class a are right. part: --train-part. data: what config.json says of the data
    beside the usual.
    """
    run = RunWriter.create(
        folder,
        run_config(
            replace(METHODS["vgg16"].demo, train_part=part),
            2,
            seed,
            argv=["-m", "train", *arguments, "--out", str(folder)],
            data={
                "folder": "x",
                "sha256": "d" * 64,
                "manifest": "m" * 64,
                "splits": {"test": "e" * 64},
                **data,
            },
            pretrained={"source": "x.params", "sha256": "p" * 64},
        ),
        ["a", "b"],
    )
    arrays = {
        "output.weight": nd.ones((2, 5)),
        "output.bias": nd.ones(2),
        "norm.running_mean": nd.ones(7),
        "norm.running_var": nd.ones(7),
    }
    run.save_files(
        {
            "metrics.jsonl": "".join(
                '{{"epoch": {:d}, "seconds": {:d}}}\n'.format(*line)
                for line in ((1, 10), (2, 20 + seed))
            ),
            "last.params": lambda path: nd.save(path, arrays),
        }
    )
    if finished:
        result = classification_metrics(
            [0] * 4 + [1] * 2, [0] * hits + [1] * (4 - hits) + [1, 0], run.classes
        )
        (folder / "evaluation_test.json").write_text(json.dumps(evaluation_of(run, result)))
        (folder / "confusion.png").write_bytes(b"")
    return folder


def test_what_a_run_says_of_itself(tmp_path):
    folder = made_run(
        tmp_path / "vgg16-seed2", ["--method", "vgg16", "--data", "my data"], seed=2, hits=3
    )
    found = results.outcome(folder)
    assert (
        found["run"],
        found["seed"],
        found["images"],
        found["classes"],
        found["seconds"],
        found["parameters"],
    ) == ("vgg16-seed2", 2, 6, 2, 32, 12)
    assert_allclose(
        [
            found[name]
            for name in ("accuracy", "balanced_accuracy", "worst_recall", "majority_rate")
        ],
        [4 / 6, 5 / 8, 0.5, 4 / 6],
    )
    # of a: 2 * 3 / (4 + 4), of b: 2 * 1 / (2 + 2)
    assert_allclose(found["macro_f1"], (6 / 8 + 2 / 4) / 2)
    assert found["command"] == f"mlr train --method vgg16 --data 'my data' --out {folder}"
    assert (found["data_sha256"], found["manifest_sha256"], found["pretrained_sha256"]) == (
        "d" * 64,
        "m" * 64,
        "p" * 64,
    )
    assert found["weights_sha256"] == sha256_of(folder / "last.params")
    (folder / "last.params").write_bytes(b"damaged")
    with pytest.raises(InputError, match="last.params is missing, damaged or changed"):
        results.outcome(folder)


@pytest.mark.parametrize(
    "dataset, labels, comparable",
    [
        ("fi", (), True),
        ("fi", ("--labels", "emotion"), False),
        ("artphoto", (), False),
        (None, (), False),
    ],
)
def test_the_results_of_runs(tmp_path, monkeypatch, capsys, dataset, labels, comparable):
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    if dataset:
        Path("images/prepared.json").write_text(json.dumps({"dataset": dataset}))
    folders = {
        name: [
            made_run(Path(f"out/{name}-seed{seed:d}"), seed=seed, hits=hits)
            for seed, hits in enumerate(hits)
        ]
        for name, hits in (("vgg16", (4, 2)), ("l_cil", (3, 3)))
    }
    chosen = options("--data", "images", "--methods", "vgg16", "l_cil", "--seeds", "2", *labels)
    wanted = {
        "methods": ("The methods", {"VGGNet": "vgg16", "L_cil": "l_cil"}),
        "ablations": ("Ablations", {"L_cil": "l_cil", "as released": "l_cil"}),
    }
    write_results(Path("out"), chosen, wanted, folders)
    text = Path("out/RESULTS.md").read_text()
    assert (
        "`mlr reproduce --data images --methods vgg16 l_cil --seeds "
        f"2{''.join(' ' + label for label in labels)}`"
    ) in text
    assert (
        "6 test images; always predicting the most frequent class is right for 0.667 of them. "
        "Mean and standard deviation of 2 seeds. MXNet 1.5.1"
    ) in text
    column = (
        "paper, accuracy on FI"
        if comparable
        else "paper, accuracy on FI (other data: not comparable)"
    )
    assert text.count(f"| system | {column} | accuracy") == 1
    # accuracy 5/6 and 3/6, balanced 3/4 and 1/2, worst recall 1/2 and 1/2, seconds 30 and 31: the
    # sample's deviation of two is |a - b| / sqrt(2);
    # F1 of a: 8/9 and 4/6 = 2 * 2 / (4 + 3) = 4/7, of b: 2/3 and 2 * 1 / (2 + 3) = 2/5
    f1 = (8 / 9 + 2 / 3) / 2, (4 / 7 + 2 / 5) / 2
    assert (
        f"| VGGNet | 83.05 % | 0.667 +- 0.236 | 0.625 +- 0.177 | {sum(f1) / 2:.3f} +- "
        f"{(f1[0] - f1[1]) / 2**0.5:.3f} | 0.500 +- 0.000 | 30 +- 1 | 0.00 |"
    ) in text
    assert (
        "| L_cil | 87.87 % | 0.667 +- 0.000 |" in text and text.count("| as released | 0.667") == 1
    )
    for seed in (0, 1):
        assert (
            f"| vgg16-seed{seed:d} | `mlr train --out out/vgg16-seed{seed:d}` | {'d' * 12} | "
            f"{'m' * 12} | {'p' * 12} | "
            f"{sha256_of(folders['vgg16'][seed] / 'last.params')[:12]} "
            "|"
        ) in text
    rows = list(csv.DictReader(open("out/results.csv")))
    assert [row["run"] for row in rows] == [
        "vgg16-seed0",
        "vgg16-seed1",
        "l_cil-seed0",
        "l_cil-seed1",
    ]
    assert {
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "worst_recall",
        "majority_rate",
        "seconds",
        "parameters",
        "command",
        "data_sha256",
        "manifest_sha256",
        "weights_sha256",
        "threads",
    } <= set(rows[0])
    assert_allclose(float(rows[1]["accuracy"]), 0.5)
    assert cv2.imread("out/results.png").std() > 10
    assert "written: out/RESULTS.md, out/results.csv, out/results.png" in capsys.readouterr().out


class Recorder:
    """Stands in for a Runner: notes the commands, without running them."""

    def __init__(self):
        self.commands = []

    def command(self, folder, *arguments):
        self.commands.append(arguments)


ARGUMENTS = ["--data", "x", "--ctx", "gpu(0)", "--method", "vgg16", "--seed", "1"]


@pytest.mark.parametrize(
    "state, expected",
    [
        ("absent", [("train", *ARGUMENTS, "--out"), ("evaluate", "--run", "--ctx", "gpu(0)")]),
        ("empty", [("train", *ARGUMENTS, "--out"), ("evaluate", "--run", "--ctx", "gpu(0)")]),
        (
            "interrupted",
            [
                ("train", "--resume", "--out", "--ctx", "gpu(0)"),
                ("evaluate", "--run", "--ctx", "gpu(0)"),
            ],
        ),
        ("trained", [("evaluate", "--run", "--ctx", "gpu(0)")]),
        ("evaluated", []),
    ],
)
def test_only_what_is_missing_is_done(tmp_path, state, expected):
    runner, folder = Recorder(), tmp_path / "vgg16-seed1"
    # stopped before its first file was whole
    if state == "empty":
        folder.mkdir()
        (folder / "config.json.new").write_text("{")
    elif state != "absent":
        made_run(folder, ARGUMENTS, seed=1, finished=state != "interrupted")
        if state == "trained":
            (folder / "evaluation_test.json").unlink()
    train_and_evaluate(runner, folder, ARGUMENTS)
    assert [
        tuple(part for part in command if part != str(folder)) for command in runner.commands
    ] == expected
    assert all(str(folder) in command for command in runner.commands)
    assert (state == "empty") != folder.exists() or state == "absent"


# what became of evaluation_test.json, and what is said of it
OTHERS = {
    "of the best epoch": (
        {"parameters": "best"},
        "was measured on other images or with other parameters than the run's own: measure "
        "the run again",
    ),
    "of other images": (
        {"sha256": "f" * 64},
        "was measured on other images or with other parameters than the run's own",
    ),
    "of a relabelled manifest": (
        {"manifest": "f" * 64},
        "was measured on other images or with other parameters than the run's own",
    ),
    "of another split": (
        {"split": "valid"},
        "was measured on other images or with other parameters than the run's own",
    ),
    "before the training went on": (
        {"files": {"last.params": "f" * 64}},
        "was measured with parameters that the run no longer has, likely because its training "
        "continued",
    ),
    "from before it said so": (
        {"files": None},
        "files is None, expected .*; measure the run again, with mlr evaluate",
    ),
    "another temperature": (
        {"temperature": 2.0},
        "was measured with another temperature than the run has now: measure the run again",
    ),
    "impossible": (
        {"accuracy": 2},
        "accuracy is 2, expected .*; measure the run again, with mlr evaluate",
    ),
}


@pytest.mark.parametrize("change, message", OTHERS.values(), ids=OTHERS)
def test_no_other_evaluation_is_taken_for_the_runs(tmp_path, change, message):
    """The table refuses it, and reproduce evaluates anew."""
    folder, runner = made_run(tmp_path / "vgg16-seed1", ARGUMENTS, seed=1), Recorder()
    path = folder / "evaluation_test.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match="evaluation_test.json.*" + message):
        results.outcome(folder)
    train_and_evaluate(runner, folder, ARGUMENTS)
    assert runner.commands == [("evaluate", "--run", str(folder), "--ctx", "gpu(0)")]


def test_a_damaged_evaluation_is_made_again(tmp_path):
    folder, runner = made_run(tmp_path / "vgg16-seed1", ARGUMENTS, seed=1), Recorder()
    (folder / "evaluation_test.json").write_text("{")
    with pytest.raises(
        InputError,
        match=(
            "evaluation_test.json is not JSON, or is damaged .*: measure the run again, with mlr "
            "evaluate"
        ),
    ):
        results.outcome(folder)
    train_and_evaluate(runner, folder, ARGUMENTS)
    assert [command[0] for command in runner.commands] == ["evaluate"]


@pytest.mark.parametrize(
    "other",
    [{"splits": {"test": "f" * 64}}, {"sha256": "f" * 64}, {"manifest": "f" * 64}],
    ids=list,
)
def test_runs_of_other_images_make_no_table(tmp_path, other):
    """Neither the same training images nor the same test images are enough, nor are both with
    other labels.
    """
    folders = [
        made_run(tmp_path / (f"vgg16-seed{seed:d}"), seed=seed, **change)
        for seed, change in enumerate(({}, other))
    ]
    with pytest.raises(InputError, match="were trained or measured on different images or labels"):
        write_results(tmp_path, options("--data", "x"), {}, {"vgg16": folders})


def test_a_curve_has_other_training_images_at_each_part(tmp_path):
    folders = {
        "vgg16-0.1": [made_run(tmp_path / "vgg16-0.1-seed0", part=0.1, sha256="c" * 64)],
        "vgg16": [made_run(tmp_path / "vgg16-seed0")],
    }
    curve = {"curve": ("Training images", {"10 %": "vgg16-0.1", "all": "vgg16"})}
    write_results(tmp_path, options("--data", "x"), curve, folders)
    rows = list(csv.DictReader(open(tmp_path / "results.csv")))
    assert [row["data_sha256"] for row in rows] == ["c" * 64, "d" * 64]
    other = {**folders, "other": [made_run(tmp_path / "other-seed0", part=0.1, sha256="b" * 64)]}
    with pytest.raises(InputError, match="were trained or measured on different images"):
        write_results(tmp_path, options("--data", "x"), {}, other)


def test_data_on_which_no_run_could_be_measured(tmp_path, capsys):
    """Said before any training."""
    data, folds = write_images(tmp_path / "data", test=0), tmp_path / "folds"
    shutil.rmtree(data / "test", ignore_errors=True)
    entries = [
        Entry(f"train/{name}/00.jpg", name, "", fold, 80, 64, "")
        for name, fold in (("awe", "1"), ("fear", "2"))
    ]
    write_prepared(folds, {"root": str(data), "dataset": "csv"}, entries, [])
    for folder, message in (
        (data, f"data folder {data / 'test'} does not exist"),
        (
            folds,
            f"{folds} is divided into folds, which mlr reproduce does not train: use mlr train",
        ),
    ):
        given = ["--data", str(folder), "--labels", "emotion", "--methods", "vgg16"]
        assert main([*given, "--out", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_of_other_options_is_refused(tmp_path):
    folder, runner = made_run(tmp_path / "vgg16-seed1", ARGUMENTS, seed=1), Recorder()
    with pytest.raises(
        InputError,
        match=r"vgg16-seed1 was trained with other options \(mlr train --data x .*--seed 1\): give "
        "another --out",
    ):
        refuse_other_options(folder, [*ARGUMENTS[:-1], "2"])
    assert runner.commands == [] and (folder / "last.params").exists()


def test_a_run_of_0_1_0_has_the_same_options(tmp_path):
    """It called a method a row."""
    before = ["--row" if word == "--method" else word for word in ARGUMENTS]
    folder = made_run(tmp_path / "vgg16-seed1", before, seed=1)
    refuse_other_options(folder, ARGUMENTS)
    with pytest.raises(InputError, match="was trained with other options"):
        refuse_other_options(folder, [*ARGUMENTS[:-1], "2"])


def test_rows_are_methods_until_0_3_0(capsys):
    chosen = options("--rows", "ar", "vgg16", "--tables", "rows")
    assert list(wanted_methods(chosen)) == ["vgg16", "ar"]
    assert "--rows is now called --methods; 0.3.0 will remove --rows" in capsys.readouterr().err
    assert command_of(chosen) == "mlr reproduce --methods ar vgg16 --tables methods"
    with pytest.raises(InputError, match="--rows and --methods mean the same"):
        wanted_methods(options("--rows", "ar", "--methods", "vgg16"))


def test_a_failure_interrupts_the_others(tmp_path):
    """The other run reads a pipe that stays empty for long, so that it ends early by the
    interruption alone; what waits is not begun.
    """
    os.mkfifo(str(tmp_path / "pipe.jpg"))
    end = threading.Timer(
        40, lambda: os.close(os.open(str(tmp_path / "pipe.jpg"), os.O_WRONLY | os.O_NONBLOCK))
    )
    end.daemon = True
    end.start()
    runner, begun = Runner(tmp_path / "logs", 2, 1, 3), []

    def work(runner, folder, arguments):
        begun.append(folder.name)
        if folder.name == "failing":
            while not runner._running and not runner._stopped:
                time.sleep(0.05)
        runner.command(folder, *arguments)

    runs = [
        (tmp_path / "waits", ["predict", str(tmp_path / "pipe.jpg")]),
        (tmp_path / "failing", ["predict", "nothing.jpg"]),
        (tmp_path / "later", ["predict", "nothing.jpg"]),
    ]
    with pytest.raises(
        InputError,
        match=(
            "mlr predict ended with exit code 2: .*there is no image or folder nothing.jpg: "
            ".*logs/failing.log"
        ),
    ):
        runner.run_all(work, runs)
    end.cancel()
    assert "waits" in begun and not runner._running
    # in the command, and in no error of its own
    assert (tmp_path / "logs" / "waits.log").read_text().count("pipe.jpg") == 1
    assert not (tmp_path / "logs" / "later.log").exists()


def test_the_error_of_a_command_is_told_and_no_other_line(tmp_path, monkeypatch):
    """Not what it, or MXNet at its end, prints behind it, and not an error of an earlier attempt in
    the same log.
    """
    said = {
        "first": "echo 'mlr train: error: no weights' >&2; echo Downloading; exit 2",
        "second": "echo 'epoch 1'; kill -KILL $$",
        "third": "exit 1",
    }
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for (_name, script), (code, line, kind) in zip(
        said.items(),
        (
            (2, "mlr train: error: no weights", InputError),
            (-9, "epoch 1", RunError),
            (1, "it printed nothing", RunError),
        ),
    ):
        (tmp_path / "python").write_text("#!/bin/sh\n[ $PYTHONUNBUFFERED ] || exit 0\n" + script)
        (tmp_path / "python").chmod(0o755)
        with pytest.raises(
            kind, match=f"mlr train ended with exit code {code:d}: {line} \\(the whole output"
        ):
            Runner(tmp_path / "logs", 1, 1, 1).command(tmp_path / "run", "train")


def options(*arguments):
    return parser().parse_args(arguments)


def test_a_command_for_every_run_of_the_demo():
    chosen = options("--size", "small")
    wanted, runs = plan(PUBLISHED, chosen, Path("out"))
    assert {name for _, systems in wanted.values() for name in systems.values()} == set(runs)
    assert runs["vgg16"] == [
        "--method",
        "vgg16",
        "--pretrained",
        "out/pretrained-vgg/last.params",
        "--epochs",
        "5",
    ]
    # the demo's own
    assert wanted["imbalance"][1]["the loss as written"] == "l_cil"
    two, out = {name: METHODS[name] for name in ("ar", "alexnet")}, Path("out")
    assert [folder for folder, _ in pretrainings(two, chosen, out)] == [
        Path("out/pretrained-vgg"),
        Path("out/pretrained-alexnet"),
    ]
    assert pretrainings(two, options("--size", "tiny"), out) == []


def test_a_method_without_pretraining_starts_from_nothing():
    methods = {"vgg16": replace(METHODS["vgg16"], demo_pretraining=None)}
    chosen = options("--size", "small")
    assert pretrainings(methods, chosen, Path("out")) == []
    assert settings_of(methods["vgg16"], chosen, Path("out")) == {"epochs": 5}


def test_other_data_has_the_released_recipes():
    chosen = options(
        "--data",
        "data/fi",
        "--caffenet",
        "sentibank.npz",
        "--proposals",
        "boxes.mat",
        "--tables",
        "methods",
    )
    wanted, runs = plan(PUBLISHED, chosen, Path("out"))
    assert list(wanted) == ["methods"]
    assert runs["vgg16"] == ["--method", "vgg16"] and runs["l_cil"] == ["--method", "l_cil"]
    assert runs["deepsentibank"] == ["--method", "deepsentibank", "--pretrained", "sentibank.npz"]
    assert runs["ar"] == ["--method", "ar", "--proposals", "boxes.mat"]


def test_options_of_all_trainings(tmp_path):
    path = tmp_path / "fi.yaml"
    path.write_text("backbone: squeezenet1.1\nepochs: 6\nloss_form: written\nstyle_dropout: 0.5\n")
    chosen = options(
        "--data", "data/fi", "--config", str(path), "--methods", "l_cil", "--tables", "claims",
        "others",
    )  # fmt: skip
    wanted, runs = plan({"l_cil": METHODS["l_cil"]}, chosen, tmp_path)
    assert list(wanted) == ["claims", "others"]
    common = ["--backbone", "squeezenet1.1"]
    # what a method has not is left out; what tells two systems apart is theirs
    assert runs["finetuned"] == [
        "--method", "finetuned", *common, "--loss-form", "written", "--epochs", "6",
    ]  # fmt: skip
    assert runs["l_cil-released"] == [
        "--method", "l_cil", *common, "--style-dropout", "0.5", "--epochs", "6",
    ]  # fmt: skip
    assert "--style-dropout" not in runs["ar"] and runs["ar"][:4] == ["--method", "ar", *common]
    path.write_text("backbone: alexnet\n")
    chosen.tables = ["methods"]
    with pytest.raises(
        InputError, match="fi.yaml: the method vgg16 can't use the backbone alexnet"
    ):
        plan({"vgg16": METHODS["vgg16"]}, chosen, tmp_path)
    path.write_text("backbone: alexnet\n")
    chosen.tables = ["ablations"]
    with pytest.raises(InputError, match="--methods, or the table ablations out of --tables"):
        plan({"l_cil": METHODS["l_cil"]}, chosen, tmp_path)
    path.write_text("epochs: 2\ngram_scale: 100\nsvm_c: 7\n")
    chosen.tables = ["methods"]
    with pytest.raises(InputError, match="fi.yaml: gram_scale, svm_c has no effect"):
        plan({"resnet50": METHODS["resnet50"]}, chosen, tmp_path)
    path.write_text("seed: 1\nlabels: emotion\n")
    with pytest.raises(InputError, match="fi.yaml has labels, seed, which mlr reproduce sets"):
        plan(PUBLISHED, chosen, tmp_path)


def test_a_style_as_wide_as_the_deep_representation_of_the_backbone(tmp_path):
    (tmp_path / "small.yaml").write_text("backbone: resnet18_v2\n")
    chosen = options(
        "--data", "x", "--config", str(tmp_path / "small.yaml"), "--tables", "ablations"
    )
    wanted, runs = plan({"l_cil": METHODS["l_cil"]}, chosen, tmp_path)
    wide = runs[wanted["ablations"][1]["added"]]
    assert wide[wide.index("--style-width") + 1] == "512"
    assert wanted["ablations"][1]["concatenated, style as wide as deep"] != "l_cil"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--methods", "alexnet", "ar", "--seeds", "1"),
        ("--data", "my data", "--caffenet", "none", "--tables", "methods"),
    ],
)
def test_the_command_can_be_typed_again(arguments):
    typed = shlex.split(command_of(options(*arguments)))
    assert typed[:2] == ["mlr", "reproduce"] and options(*typed[2:]) == options(*arguments)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (("--data", "somewhere"), "the method deepsentibank needs --caffenet FILE"),
        (("--caffenet", "a.npz"), "--caffenet is not for demo"),
        (("--data", "demo-objects"), "--data demo-objects has no test images: give demo"),
        (
            ("--methods", "vgg16", "ar", "--tables", "ablations", "imbalance"),
            "--tables ablations imbalance: --methods leaves out the methods of these tables: add "
            "the methods, or give the table methods",
        ),
        (("--methods", "resnet"), "argument --methods: invalid choice: 'resnet'"),
        (
            ("--methods", "vgg16", "--proposals", "boxes.mat"),
            "--proposals has no effect, it is only for the method ar: leave it out",
        ),
        (
            ("--data", "x", "--methods", "vgg16", "--caffenet", "none"),
            "--caffenet has no effect, it is only for the method deepsentibank",
        ),
        (
            ("--data", "x", "--methods", "vgg16", "--size", "tiny"),
            "--size has no effect, it is only for --data demo",
        ),
        (("--seeds", "0"), "argument --seeds: '0' is not a whole number from 1"),
    ],
)
def test_wrong_usage(command, tmp_path, arguments, text):
    done = command("reproduce", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and text in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_training_that_fails_is_named_with_its_log(command, tmp_path):
    done = command(
        "reproduce",
        "--data",
        "nowhere",
        "--methods",
        "alexnet",
        "--seeds",
        "1",
        "--out",
        "out",
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert re.search(
        "mlr train ended with exit code 2: .*nowhere.* does not exist.*out/logs/alexnet-seed0.log",
        done.stderr,
    )


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(command, tmp_path):
    arguments = (
        "reproduce",
        "--size",
        "tiny",
        "--methods",
        "alexnet",
        "deepsentibank",
        "--seeds",
        "2",
        "--out",
        "out",
    )
    done = command(*arguments, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    table = (out / "RESULTS.md").read_text()
    rows = list(csv.DictReader(open(out / "results.csv")))
    assert [row["run"] for row in rows] == [
        "alexnet-seed0",
        "alexnet-seed1",
        "deepsentibank-seed0",
        "deepsentibank-seed1",
    ]
    mean = np.mean([float(row["balanced_accuracy"]) for row in rows[2:]])
    # chance is 0.125
    assert mean > 0.25 and f"| {mean:.3f} +- " in table
    assert (out / "results.png").read_bytes()[:4] == b"\x89PNG"

    def times():
        return {
            path: path.stat().st_mtime_ns
            for path in out.rglob("*")
            if path.is_file() and path.parent.name != "out"
        }

    before = times()
    shutil.rmtree(out / "alexnet-seed1")
    # as if it had been stopped before its end
    (out / "deepsentibank-seed0" / "confusion.png").unlink()
    assert command(*arguments, cwd=tmp_path, timeout=600).returncode == 0
    after = times()
    changed = {path.parent.name for path in after if before.get(path) != after[path]}
    assert changed == {"alexnet-seed1", "deepsentibank-seed0", "logs"}
    assert (
        list(csv.DictReader(open(out / "results.csv")))[:2]
        == [
            {**new, "seconds": row["seconds"]} if new["run"] == "alexnet-seed0" else new
            for row, new in zip(rows, csv.DictReader(open(out / "results.csv")))
        ][:2]
    )
    done = command(*arguments, "--labels", "sentiment", cwd=tmp_path)
    assert done.returncode == 2 and re.search(
        "(alexnet|deepsentibank)-seed[01] was trained with other options", done.stderr
    )
    assert times() == after


@pytest.mark.slow
def test_ctrl_c_ends_the_trainings(tmp_path):
    # A shell's background job, as a test run may be, has interruptions ignored, and so would its
    # children.
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlr",
            "reproduce",
            "--methods",
            "vgg16",
            "--size",
            "tiny",
            "--out",
            "out",
        ],
        cwd=str(tmp_path),
        stderr=subprocess.PIPE,
        universal_newlines=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log = tmp_path / "out" / "logs" / "vgg16-seed0.log"
    while not (log.is_file() and "training on" in log.read_text()):
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == (
        "mlr reproduce: error: interrupted, in out; the same command continues"
    )
    trainings = [path for path in Path("/proc").glob("[0-9]*/cwd") if owned(path, tmp_path)]
    assert trainings == []


def owned(link, folder):
    try:
        return os.readlink(str(link)) == str(folder)
    except OSError:
        return False
