"""Run folders of 0.1.0 still open. What is in tests/runs was written by it: config.json without a
format, `row` for the method, `hits` in step.json.

0.1.0-stopped       shallow, taps stem, of 2 epochs: after SIGTERM in the second epoch's first step
0.1.0-finished.params  the last parameters of the same training, not stopped
0.1.0-configs       config.json and classes.json of every other row
"""

import json
import shutil
from pathlib import Path

import pytest
from numpy.testing import assert_allclose

import mlr.evaluate
import mlr.predict
import mlr.train
from mlr.data.splits import fingerprint, read_splits
from mlr.formats.params import read_params
from mlr.methods import METHODS, finished, method_of, open_run
from mlr.options.training import TrainingOptions, options_of
from mlr.runs.schema import checked_classes, checked_config
from mlr.train import given_options, parser, resolve

RUNS = Path(__file__).parents[1] / "runs"
STOPPED = RUNS / "0.1.0-stopped"
FOLDERS = {
    "shallow": STOPPED,
    **{path.name: path for path in sorted((RUNS / "0.1.0-configs").iterdir())},
}


@pytest.fixture
def run(tmp_path):
    """A copy of the stopped run, to write into."""
    return Path(shutil.copytree(STOPPED, tmp_path / "run"))


def test_the_images_are_those_of_the_old_runs(data):
    for folder in FOLDERS.values():
        described = json.loads((folder / "config.json").read_text())["data"]
        assert fingerprint(read_splits(data)) == described["sha256"]


def assert_predicts(run, data, capsys, awe):
    image = data / "test" / "awe" / "00.jpg"
    assert mlr.predict.main(["--run", str(run), "--ctx", "cpu", "--json", str(image)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["label"] == "awe"
    # What 0.1.0 said. float32 on another processor: sums in another order.
    assert_allclose(answer["probabilities"]["awe"], awe, rtol=0, atol=1e-5)
    assert_allclose(answer["probabilities"]["fear"], 1 - awe, rtol=0, atol=1e-5)


def test_predict(data, capsys):
    """By the parameters of the last epoch that ended."""
    assert_predicts(STOPPED, data, capsys, 0.5029771)


def test_evaluate(run, data, capsys):
    assert mlr.evaluate.main(["--run", str(run), "--data", str(data), "--ctx", "cpu"]) == 0
    assert "accuracy 0.500, balanced accuracy 0.500 on 4 images" in capsys.readouterr().out


def test_resume(run, data, capsys):
    """From within the epoch it ends as 0.1.0 did that was not stopped."""
    assert not finished(open_run(run))
    arguments = ["--resume", "--out", str(run), "--data", str(data), "--ctx", "cpu"]
    assert mlr.train.main(arguments) == 0
    said = capsys.readouterr().out
    assert [line.split(",")[0] for line in said.splitlines() if line.startswith("epoch")] == [
        "epoch 2"
    ]
    resumed = open_run(run)
    assert finished(resumed)
    # 0.1.0's, of the training that was not stopped
    assert_allclose(resumed.metrics[1]["loss"], 0.15811004241307577, rtol=1e-4)
    assert resumed.metrics[1]["train_accuracy"] == 0.75
    ours = read_params(resumed.verified("last.params"))
    theirs = read_params(RUNS / "0.1.0-finished.params")
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        # The same bits on the same kind of processor. On another one, MKL-DNN adds up in another
        # order, in float32, over two steps of training; of a mean near 0 that is a larger part.
        atol = 1e-4 * abs(array).max() + 1e-6
        assert_allclose(ours[name], array, rtol=1e-4, atol=atol, err_msg=name)
    assert_predicts(run, data, capsys, 0.5067268)


def test_a_run_that_goes_on_keeps_its_config(run, data):
    """What moves is written in the present format, with the options as they were."""
    before = open_run(run).config
    arguments = ["--resume", "--out", str(run), "--data", str(data), "--ctx", "cpu"]
    assert mlr.train.main(arguments) == 0
    written = json.loads((run / "config.json").read_text())
    assert written["format"] == 2
    assert written == {**before, "data": {**before["data"], "folder": str(data)}}


def test_every_method_is_here():
    assert set(FOLDERS) == set(METHODS) - {"finetuned"}  # which came later


def with_later_options(method, options):
    """Return old options with those that came later, as released."""
    later = method.plain(TrainingOptions()).items()
    return {**{name: value for name, value in later if name not in options}, **options}


@pytest.mark.parametrize("name", FOLDERS)
def test_an_old_config_says_the_same(name):
    path = FOLDERS[name] / "config.json"
    old = json.loads(path.read_text())
    classes = json.loads((FOLDERS[name] / "classes.json").read_text())
    config = checked_config(old, path)
    method = method_of(config)
    assert "format" not in old and config["format"] == 2 and method.name == name
    method.check(config, checked_classes(classes, path), path)
    options = dict(old["options"])
    assert options.pop("row") == name
    assert config["options"] == {**options, "method": name}
    assert method.plain(options_of(config)) == with_later_options(method, config["options"])
    assert {**config, "options": 0, "format": 0} == {**old, "options": 0, "format": 0}


@pytest.mark.parametrize("name", FOLDERS)
def test_the_old_command_line_gives_the_same_options_and_network(name, capsys):
    config = json.loads((FOLDERS[name] / "config.json").read_text())
    options = dict(config["options"])
    method, resolved = resolve(given_options(parser().parse_args(config["argv"][2:])))
    assert "--row is now called --method" in capsys.readouterr().err
    options["method"] = options.pop("row")
    assert method.plain(resolved) == with_later_options(method, options)
    network = json.loads(json.dumps(method.network(resolved, 2)))
    assert network == config["network"]
