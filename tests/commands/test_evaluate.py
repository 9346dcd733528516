"""What an evaluation is of, and where it goes: a run's own result is never another's."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import pytest
from conftest import evaluation_of, run_config, write_images

from mlr.data.manifest import Entry, write_prepared
from mlr.data.splits import fingerprint, manifest_sha256, read_splits
from mlr.errors import InputError
from mlr.evaluate import main
from mlr.formats.params import read_params, write_params
from mlr.inference.predictor import Predictor
from mlr.methods import METHODS, method_of
from mlr.methods.exported import quantized_model
from mlr.model.networks import new_network
from mlr.model.parameters import materialize, parameter_arrays
from mlr.runs.folds import fold_folder, save_folds
from mlr.runs.results import outcome, own_evaluation
from mlr.runs.writing import RunWriter
from mlr.runtime.hashing import sha256_of
from mlr.training.metrics import classification_metrics
from mlr.training.run import describe
from mlr.training.session import Source

KINDS = "evaluation_%s.json", "confusion_%s.png", "reliability_%s.png", "predictions_%s.png"
# Without a shallow representation, and so of any size: the smallest of the package's networks.
OPTIONS = replace(METHODS["vgg16"].demo, epochs=1)


def evaluate(*arguments):
    return main([*map(str, arguments), "--ctx", "cpu"])


def described(folder, fold=None):
    """Return what config.json says of a data set."""
    return describe(folder, Source(read_splits(folder, fold=fold), "test"))


def untrained(folder, data, options=OPTIONS, fold=None, **others):
    """Write a run of one epoch with drawn parameters, as a training on the data leaves it; return
    it.
    """
    options = replace(options, fold=fold)
    config = run_config(options, 2, data=described(data, fold), **others)
    run, net = RunWriter.create(folder, config, ["awe", "fear"]), new_network(config["network"])
    materialize(net, [mx.cpu()], mx.init.Xavier())
    arrays = parameter_arrays(net._collect_params_with_prefix())
    run.save_files(
        {
            "metrics.jsonl": '{"epoch": 1, "loss": 1, "seconds": 1}\n',
            **dict.fromkeys(
                ("last.params", "best.params"), lambda path: write_params(path, arrays)
            ),
        }
    )
    return run


def in_folds(root, out, folds=("1", "2")):
    """Write the images of an image folder's splits as a prepared data set, of which each is a fold;
    return its folder.
    """
    names = dict(zip(("train", "test"), folds))
    entries = [
        Entry(
            str(path.relative_to(root)),
            path.parts[-2],
            "",
            names[path.parts[-3]],
            80,
            64,
            sha256_of(path),
        )
        for path in sorted(Path(root).glob("*/*/*.jpg"))
        if path.parts[-3] in names
    ]
    write_prepared(out, {"root": str(root), "dataset": "csv"}, entries, [])
    return out


def test_the_runs_own_evaluation_stays(data, tmp_path, capsys):
    """Whatever else is evaluated: the best parameters, other images, other parts; and the same
    images in another place are its own.
    """
    run = untrained(tmp_path / "run", data)
    assert evaluate("--run", run.folder) == 0
    own = {name: (run.folder / (name % "test")).read_bytes() for name in KINDS}
    evaluation = json.loads(own[KINDS[0]])
    assert {
        name: evaluation[name]
        for name in ("data", "folder", "split", "sha256", "manifest", "fold", "parameters", "files")
    } == {
        "data": str(data / "test"),
        "folder": str(data),
        "split": "test",
        "sha256": fingerprint({"test": read_splits(data)["test"]}),
        "manifest": None,
        "fold": None,
        "parameters": "last",
        "files": {"last.params": sha256_of(run.folder / "last.params")},
    }
    table = outcome(run.folder)
    assert (
        table["accuracy"] == evaluation["accuracy"]
        and table["evaluated_sha256"] == evaluation["sha256"]
    )
    capsys.readouterr()

    other = write_images(tmp_path / "other", test=1)
    assert evaluate("--run", run.folder, "--parameters", "best") == 0
    assert evaluate("--run", run.folder, "--data", other) == 0
    said = capsys.readouterr().out
    assert "these are not exactly the images that were test in the training" in said
    stem = f"test-{fingerprint({'test': read_splits(other)['test']})[:8]}"
    for name in KINDS:
        assert (run.folder / (name % "test")).read_bytes() == own[name]
        assert (run.folder / (name % "test-best")).exists() and (
            run.folder / (name % stem)
        ).exists()
    assert json.loads((run.folder / (KINDS[0] % stem)).read_text())["images"] == 2
    assert outcome(run.folder) == table

    data.rename(tmp_path / "moved")
    assert evaluate("--run", run.folder) == 2
    assert (
        f"{data}, the folder of the images of the training, is not there: give --data"
        in capsys.readouterr().err
    )
    (run.folder / "evaluation_test.json").unlink()
    assert evaluate("--run", run.folder, "--data", tmp_path / "moved") == 0
    assert outcome(run.folder) == table


def test_a_training_that_goes_on_meanwhile(data, tmp_path, monkeypatch, capsys):
    """Its next epoch replaces the parameters while the images are classified."""
    run, of_files = untrained(tmp_path / "run", data), Predictor.of_files
    arrays = read_params(run.folder / "last.params")
    changed = {name: array + 1 for name, array in arrays.items()}

    def classified(self, *given):
        run.save_files({"last.params": lambda path: write_params(path, changed)})
        return of_files(self, *given)

    monkeypatch.setattr(Predictor, "of_files", classified)
    assert evaluate("--run", run.folder) == 1
    assert f"{run.folder} got other parameters while it was measured" in capsys.readouterr().err
    assert not (run.folder / "evaluation_test.json").exists()


def test_images_that_changed_in_their_folder_are_others(data, tmp_path, capsys):
    run = untrained(tmp_path / "run", data)
    (data / "test" / "awe" / "00.jpg").unlink()
    assert evaluate("--run", run.folder) == 0
    assert (
        not (run.folder / "evaluation_test.json").exists()
        and len(list(run.folder.glob("evaluation_test-????????.json"))) == 1
    )
    with pytest.raises(
        InputError,
        match=(
            "run has no evaluation_test.json: .* if these images have changed since, restore them"
        ),
    ):
        outcome(run.folder)


def test_the_report_is_kept_apart_too(data, tmp_path):
    run = untrained(tmp_path / "run", data)
    assert evaluate("--run", run.folder, "--parameters", "best", "--report") == 0
    assert (run.folder / "report_test-best.html").exists() and not (
        run.folder / "report_test.html"
    ).exists()


@pytest.mark.parametrize(
    "before, own",
    [
        ({}, True),
        ({"folder": "elsewhere"}, False),
        ({"fold": 2}, False),
        ({"manifest": "m" * 64}, False),
    ],
)
def test_of_a_run_from_before_only_the_folder_is_known(data, tmp_path, before, own):
    """Its config.json has the SHA-256 of all splits together alone."""
    run = untrained(tmp_path / "run", data)
    config = {
        **run.config,
        "data": {name: value for name, value in run.config["data"].items() if name != "splits"},
    }
    old = RunWriter.create(tmp_path / "old", config, run.classes)
    old.save_files({"last.params": "x"})
    evaluation = evaluation_of(old, classification_metrics([0, 1], [0, 1], run.classes), **before)
    (old.folder / "evaluation_test.json").write_text(json.dumps(evaluation))
    if own:
        assert own_evaluation(old) == evaluation
    else:
        with pytest.raises(
            InputError,
            match="was measured on other images or with other parameters than the run's own",
        ):
            own_evaluation(old)


def test_calibration_may_be_missing_but_not_impossible(data, tmp_path):
    """Evaluations of before have no measure of it."""
    run = untrained(tmp_path / "run", data)
    path = run.folder / "evaluation_test.json"
    old = evaluation_of(run, classification_metrics([0, 1], [0, 1], run.classes))
    for name, value in (
        (None, None),
        ("temperature", None),
        ("temperature", 0),
        ("expected_calibration_error", 1.5),
        ("negative_log_likelihood", -1),
        ("negative_log_likelihood", None),
    ):
        path.write_text(json.dumps({**old, name: value} if name else old))
        if name is None or (name, value) == ("temperature", None):
            assert outcome(run.folder)["accuracy"] == 1
        else:
            with pytest.raises(
                InputError, match=f"json: {name} is {value}, expected .*; measure the run"
            ):
                outcome(run.folder)


@pytest.fixture
def folds(data, tmp_path, monkeypatch):
    """The runs of two folds, and their prepared data; no figures are drawn of them, which takes
    most of the time.
    """
    monkeypatch.setattr("mlr.viz.figures.save_confusion", lambda *_: None)
    monkeypatch.setattr("mlr.viz.figures.save_reliability", lambda *_: None)
    monkeypatch.setattr("mlr.viz.report.save_sheet", lambda *_: None)
    prepared = in_folds(data, tmp_path / "prepared")
    for fold in (1, 2):
        untrained(fold_folder(tmp_path / "runs", fold), prepared, fold=fold)
    return tmp_path / "runs", prepared


def test_folds_on_data_that_moved(folds, tmp_path, capsys):
    """--folds all with --data takes each run's own fold, and folds.json is of the runs' own images
    and last parameters alone.
    """
    runs, prepared = folds
    assert evaluate("--run", runs, "--folds", "all") == 0
    own = (runs / "folds.json").read_bytes()
    assert [(of["fold"], of["split"], of["parameters"]) for of in json.loads(own)["of"]] == [
        (1, "test", "last"),
        (2, "test", "last"),
    ]
    capsys.readouterr()

    shutil.copytree(prepared, tmp_path / "moved")
    assert evaluate("--run", runs, "--folds", "all", "--data", tmp_path / "moved") == 0
    assert "test of fold 1" in capsys.readouterr().out and (runs / "folds.json").read_bytes() == own
    assert evaluate("--run", runs, "--folds", "all", "--parameters", "best") == 0
    other = in_folds(write_images(tmp_path / "images", train=3, test=1), tmp_path / "other")
    assert evaluate("--run", runs, "--folds", "all", "--data", other) == 0
    assert (
        (runs / "folds.json").read_bytes() == own
        and (runs / "folds_test-best.json").exists()
        and len(list(runs.glob("folds_test-????????.json"))) == 1
    )
    # --fold chooses the run
    assert (
        evaluate("--run", runs, "--fold", 2, "--data", write_images(tmp_path / "plain", train=0))
        == 0
    )


def test_folds_that_are_not_done_have_no_mean(folds, capsys):
    runs, _ = folds
    shutil.rmtree(runs / "fold-2")
    assert evaluate("--run", runs, "--folds", "all") == 2
    assert (
        f"fold 2 is missing: go on, by mlr train --resume --out {runs}" in capsys.readouterr().err
    )
    assert not (runs / "folds.json").exists()


def test_another_fold_is_kept_apart(folds, capsys):
    runs, _ = folds
    assert evaluate("--run", runs / "fold-1", "--fold", 1) == 0
    assert "was trained on" not in capsys.readouterr().err
    (runs / "fold-1" / "evaluation_test.json").unlink()
    assert evaluate("--run", runs / "fold-1", "--fold", 2) == 0
    assert (
        f"warning: {runs / 'fold-1'} tests on fold 1, and was trained on fold 2: this does not "
        "tell how good it is on new images"
    ) in capsys.readouterr().err
    assert not (runs / "fold-1" / "evaluation_test.json").exists()
    (kept,) = (runs / "fold-1").glob("evaluation_test-????????.json")
    assert json.loads(kept.read_text())["fold"] == 2


def test_a_fold_of_the_source_is_none_of_the_target(data, tmp_path):
    """PCNN trained on a fold, with a target that has splits: it is measured on the target's, and
    its int8 too.
    """
    target, prepared = (
        write_images(tmp_path / "target", test=1),
        in_folds(data, tmp_path / "prepared"),
    )
    options = replace(METHODS["pcnn"].demo, target=str(target))
    run = untrained(tmp_path / "run", prepared, options, 1, target=described(target))
    assert evaluate("--run", run.folder) == 0
    evaluation = json.loads((run.folder / "evaluation_test.json").read_text())
    assert (evaluation["images"], evaluation["fold"], evaluation["folder"]) == (
        2,
        None,
        str(target),
    )
    seen = []

    class Seen(Exception):
        pass

    def calibration_images(train, transform):
        seen.append(train.source)
        raise Seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlr.exporting.int8.calibration_images", calibration_images)
        for folder in (target, prepared):
            with pytest.raises(Seen):
                quantized_model(run, method_of(run.config), None, [folder])
    assert seen == [str(target / "train"), f"{prepared / 'manifest.csv'}, train of fold 1"]


def test_a_stem_names_the_folds(tmp_path):
    result = {
        "split": "valid",
        "fold": 1,
        "sha256": "a",
        "parameters": "last",
        "files": {},
        "accuracy": 0.5,
        "balanced_accuracy": 0.25,
    }
    save_folds([result, {**result, "accuracy": 1.0}], tmp_path, "valid")
    saved = json.loads((tmp_path / "folds_valid.json").read_text())
    assert saved["accuracy"]["mean"] == 0.75 and saved["of"][0] == {
        name: result[name] for name in ("split", "fold", "sha256", "parameters", "files")
    }


def test_a_relabelled_manifest_is_other_data(data, tmp_path):
    """Its images are the same, but not what is said of them."""
    prepared = in_folds(data, tmp_path / "prepared", ("train", "test"))
    run = untrained(tmp_path / "run", prepared)
    before = manifest_sha256(prepared)
    manifest = prepared / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("test/awe/00.jpg,awe", "test/awe/00.jpg,fear"))
    assert manifest_sha256(prepared) != before
    assert evaluate("--run", run.folder) == 0
    assert not (run.folder / "evaluation_test.json").exists()
