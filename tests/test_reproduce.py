import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mlr import paper, results
from mlr.figures import new_figure, plot_results
from mlr.reproduce import command_of, parser, plan, pretrainings

# Runs as `mlr.results.outcome` reads them, of one system with three seeds and one with a single one.
OUTCOMES = {
    "vgg16": [dict(run="vgg16-seed%d" % seed, seed=seed, accuracy=accuracy, balanced_accuracy=accuracy - .1, macro_f1=.5, worst_recall=.2,
                   majority_rate=.6, images=10, classes=2, seconds=100. + seed, parameters=1500000, command="mlr train", data_sha256="d" * 64,
                   manifest_sha256="", weights_sha256="w" * 64, pretrained_sha256="", threads="1", versions={})
              for seed, accuracy in enumerate((.7, .8, .9))],
    "l_cil": [dict(run="l_cil-seed0", seed=0, accuracy=.5, balanced_accuracy=.25, macro_f1=.5, worst_recall=0., majority_rate=.6, images=10,
                   classes=2, seconds=7., parameters=25000, command="mlr train --row l_cil", data_sha256="d" * 64, manifest_sha256="m" * 64,
                   weights_sha256="v" * 64, pretrained_sha256="p" * 64, threads="1", versions={})],
}
TABLES = {"rows": ("The rows", {"VGGNet": "vgg16", "L_cil": "l_cil"}, {"VGGNet": 83.05, "L_cil": 87.87}),
          "ablations": ("Ablations", {"L_cil": "l_cil"}, None)}


def test_mean_and_standard_deviation_of_a_sample():
    found = results.summary(OUTCOMES["vgg16"])
    assert_allclose(found["accuracy"], (.8, .1), rtol=1e-12)          # float64 sums of three terms
    assert_allclose(found["seconds"], (101, 1), rtol=1e-12)
    assert results.summary(OUTCOMES["l_cil"])["balanced_accuracy"] == (.25, None)


@pytest.mark.parametrize("comparable, column", [
    (True, "paper, accuracy on FI"), (False, "paper, accuracy on FI (other data: not comparable)")])
def test_the_table(comparable, column):
    text = results.markdown(TABLES, OUTCOMES, ["# Results"], comparable)
    assert "| system | %s | accuracy | balanced accuracy | macro F1 | worst class recall | training, s | parameters, million |" % column in text
    assert "| VGGNet | 83.05 % | 0.800 +- 0.100 | 0.700 +- 0.100 | 0.500 +- 0.000 | 0.200 +- 0.000 | 101 +- 1 | 1.50 |" in text
    assert "| L_cil | 87.87 % | 0.500 | 0.250 | 0.500 | 0.000 | 7 | 0.03 |" in text
    ablations = text.partition("## Ablations")[2]
    assert "| system | accuracy |" in ablations and "87.87" not in ablations
    assert "| l_cil-seed0 | `mlr train --row l_cil` | %s | %s | %s | %s |" % ("d" * 12, "m" * 12, "p" * 12, "v" * 12) in text


def test_the_csv_comes_back(tmp_path):
    (tmp_path / "results.csv").write_text(results.csv_table(OUTCOMES))
    read = results.read_csv(tmp_path / "results.csv")
    assert list(read) == ["vgg16", "l_cil"] and len(read["vgg16"]) == 3
    assert results.summary(read["vgg16"]) == results.summary(OUTCOMES["vgg16"])
    assert read["l_cil"][0]["manifest_sha256"] == "m" * 64


def test_only_fi_is_comparable(tmp_path):
    assert not results.of_fi(tmp_path)
    for data_set, comparable in (("fi", True), ("artphoto", False)):
        (tmp_path / "prepared.json").write_text(json.dumps({"dataset": data_set}))
        assert results.of_fi(tmp_path) is comparable


def test_bars_with_errors():
    _, axes = new_figure(5, 3)
    assert plot_results({"VGGNet": (.7, .1), "L_cil": (.25, None)}, .5, axes) is axes
    assert_allclose([bar.get_width() for bar in axes.patches], [.7, .25])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["VGGNet", "L_cil"]
    (low, high), (same, _) = [segment[:, 0] for segment in axes.collections[0].get_segments()]
    assert_allclose([low, high, same], [.6, .8, .25])


def options(*arguments):
    return parser().parse_args(arguments)


def test_a_command_for_every_run_of_the_demo():
    chosen = options("--size", "small")
    wanted, runs = plan(list(paper.ROWS), chosen, Path("out"))
    assert {name for _, systems in wanted.values() for name in systems.values()} == set(runs)
    assert runs["vgg16"] == ["--row", "vgg16", "--pretrained", "out/pretrained-vgg/last.params", "--epochs", "5"]
    assert wanted["imbalance"][1]["the loss as written"] == "l_cil"                  # the demo's own
    assert [name for name, _ in pretrainings(["ar", "alexnet"], chosen)] == ["pretrained-vgg", "pretrained-alexnet"]
    assert pretrainings(["ar"], options("--size", "tiny")) == []


def test_other_data_has_the_released_recipes():
    chosen = options("--data", "data/fi", "--caffenet", "sentibank.npz", "--proposals", "boxes.mat", "--tables", "rows")
    wanted, runs = plan(list(paper.ROWS), chosen, Path("out"))
    assert list(wanted) == ["rows"]
    assert runs["vgg16"] == ["--row", "vgg16"] and runs["l_cil"] == ["--row", "l_cil"]
    assert runs["deepsentibank"] == ["--row", "deepsentibank", "--pretrained", "sentibank.npz"]
    assert runs["ar"] == ["--row", "ar", "--proposals", "boxes.mat"]


@pytest.mark.parametrize("arguments", [(), ("--rows", "alexnet", "ar", "--seeds", "1"), ("--data", "my data", "--caffenet", "none", "--tables", "rows")])
def test_the_command_can_be_typed_again(arguments):
    typed = shlex.split(command_of(options(*arguments)))
    assert typed[:2] == ["mlr", "reproduce"] and options(*typed[2:]) == options(*arguments)


@pytest.mark.parametrize("arguments, text", [
    (("--data", "somewhere"), "the row deepsentibank needs --caffenet FILE"),
    (("--caffenet", "a.npz"), "--caffenet is not for demo"),
    (("--rows", "resnet"), "argument --rows: invalid choice: 'resnet'"),
    (("--seeds", "0"), "argument --seeds: '0' is not a whole number from 1"),
])
def test_wrong_usage(command, tmp_path, arguments, text):
    done = command("reproduce", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and text in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_training_that_fails_is_named_with_its_log(command, tmp_path):
    done = command("reproduce", "--data", "nowhere", "--rows", "alexnet", "--seeds", "1", "--out", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert re.search("mlr train ended with exit code 2: .*nowhere.* does not exist.*out/logs/alexnet-seed0.log", done.stderr)


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(command, tmp_path):
    arguments = ("reproduce", "--size", "tiny", "--rows", "alexnet", "deepsentibank", "--seeds", "2", "--out", "out")
    done = command(*arguments, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    table = (out / "RESULTS.md").read_text()
    rows = list(csv.DictReader(open(out / "results.csv")))
    assert [row["run"] for row in rows] == ["alexnet-seed0", "alexnet-seed1", "deepsentibank-seed0", "deepsentibank-seed1"]
    mean = np.mean([float(row["balanced_accuracy"]) for row in rows[2:]])
    assert mean > .25 and "| %.3f +- " % mean in table                              # chance is 0.125
    assert (out / "results.png").read_bytes()[:4] == b"\x89PNG"

    def times():
        return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.parent.name != "out"}

    before = times()
    shutil.rmtree(out / "alexnet-seed1")
    (out / "deepsentibank-seed0" / "confusion.png").unlink()                         # as if it had been stopped before its end
    assert command(*arguments, cwd=tmp_path, timeout=600).returncode == 0
    after = times()
    changed = {path.parent.name for path in after if before.get(path) != after[path]}
    assert changed == {"alexnet-seed1", "deepsentibank-seed0", "logs"}
    assert list(csv.DictReader(open(out / "results.csv")))[:2] == [
        {**new, "seconds": row["seconds"]} if new["run"] == "alexnet-seed0" else new
        for row, new in zip(rows, csv.DictReader(open(out / "results.csv")))][:2]
    done = command(*arguments[:1], "--size", "small", "--rows", "deepsentibank", "--out", "out", "--tables", "rows", cwd=tmp_path, timeout=600)
    assert done.returncode == 2 and "deepsentibank-seed0 was made by other options" in done.stderr


@pytest.mark.slow
def test_ctrl_c_ends_the_trainings(tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "mlr", "reproduce", "--rows", "vgg16", "--size", "tiny", "--out", "out"], cwd=str(tmp_path),
                               stderr=subprocess.PIPE, universal_newlines=True)
    log = tmp_path / "out" / "logs" / "vgg16-seed0.log"
    while not (log.is_file() and "training on" in log.read_text()):
        assert process.poll() is None
        time.sleep(.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.splitlines()[-1] == "mlr reproduce: error: interrupted"
    trainings = [path for path in Path("/proc").glob("[0-9]*/cwd") if owned(path, tmp_path)]
    assert trainings == []


def owned(link, folder):
    try:
        return os.readlink(str(link)) == str(folder)
    except OSError:
        return False
