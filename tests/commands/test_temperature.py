"""A run's temperature, from the fit to every command that answers by it."""

import json
import shutil

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax, softmax

import mlr
import mlr.evaluate
import mlr.export
import mlr.predict
from mlr.data.drawn import paintings
from mlr.errors import InputError
from mlr.formats.params import read_params, write_params
from mlr.inference.classifiers import SoftmaxClassifier
from mlr.methods import open_run
from mlr.runs.folder import Run
from mlr.runs.schema import TEMPERATURES
from mlr.runs.shipped import DEMO_RUN
from mlr.runs.writing import RunWriter

FILE = "last.temperature.json"
STALE = "was fitted to other parameters than last.params holds now"


def command(module, *arguments):
    return module.main([*map(str, arguments), *(() if module is mlr.export else ("--ctx", "cpu"))])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The demo's paintings, five of each class in valid."""
    folder = tmp_path_factory.mktemp("temperature") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paintings, "VALID_IMAGES", 5)
        patch.setattr(paintings, "TEST_IMAGES", 1)
        paintings.draw_demo_data(folder, train=80)
    return folder


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory):
    """A copy of the shipped run, its temperature fitted; and what evaluate says without and with
    it.
    """
    run = shutil.copytree(DEMO_RUN, tmp_path_factory.mktemp("fitted") / "run")
    evaluations = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("figures.save_confusion", "figures.save_reliability", "report.save_sheet"):
            patch.setattr(f"mlr.viz.{name}", lambda *_: None)
        for options in ((), ("--fit-temperature",), ()):
            arguments = ("--run", run, "--data", data, "--split", "valid", *options)
            assert command(mlr.evaluate, *arguments) == 0
            (path,) = run.glob("evaluation_valid-????????.json")
            evaluations.append(json.loads(path.read_text()))
    return run, evaluations


@pytest.fixture
def run(fitted, tmp_path):
    return shutil.copytree(fitted[0], tmp_path / "run")


def answers(run, data):
    """Return the logarithms (N, K) of the probabilities of the valid images, in label order."""
    predictor = mlr.load(run, "cpu")
    return np.log(
        [
            [answer.probabilities[name] for name in predictor.classes]
            for _, answer in predictor.folder(data / "valid")
        ]
    )


def test_evaluate_fits_it_and_says_so(fitted, data):
    run, (before, fit, after) = fitted
    kept = json.loads((run / FILE).read_text())
    temperature = kept["temperature"]
    assert before["temperature"] is None and fit == after and fit["temperature"] == temperature
    assert kept["files"] == fit["files"] == {"last.params": Run.open(run).sha256("last.params")}
    assert (kept["split"], kept["sha256"], kept["images"]) == ("valid", fit["sha256"], 40)
    # by log-softmax there, by probabilities here, both in float64
    for name, evaluation in (("before", before), ("after", after)):
        assert_allclose(
            kept["negative_log_likelihood"][name],
            evaluation["negative_log_likelihood"],
            rtol=1e-12,
        )
    assert after["negative_log_likelihood"] < before["negative_log_likelihood"]
    assert (after["accuracy"], after["confusion"]) == (before["accuracy"], before["confusion"])


def test_every_answer_is_tempered_and_no_class_changes(fitted, data):
    run, (_, evaluation, _) = fitted
    plain, tempered = answers(DEMO_RUN, data), answers(run, data)
    # the softmax of logits / T is that of log p / T; float64
    expected = log_softmax(plain / evaluation["temperature"], axis=1)
    assert_allclose(tempered, expected, rtol=0, atol=1e-12)
    assert np.abs(tempered - plain).max() > 0.01
    assert_array_equal(tempered.argmax(axis=1), plain.argmax(axis=1))


def test_an_exported_network_tells_it(fitted, tmp_path):
    run, (_, evaluation, _) = fitted
    about = {}
    for name, folder in (("plain", DEMO_RUN), ("tempered", run)):
        out = tmp_path / f"{name}.npz"
        assert command(mlr.export, "--run", folder, "--format", "npz", "--out", out) == 0
        with np.load(out) as arrays:
            about[name] = json.loads(arrays["description"].item())
    assert "temperature" not in about["plain"] and "temperature" not in about["plain"]["output"]
    assert about["tempered"] == {
        **about["plain"],
        "temperature": evaluation["temperature"],
        "output": about["plain"]["output"] + ", after the logits are divided by the temperature",
    }
    mlr.import_npz(tmp_path / "tempered.npz", mx.cpu())


def test_it_ships_with_the_run(run, tmp_path):
    RunWriter.open(run).ship(tmp_path / "shipped")
    shipped = tmp_path / "shipped"
    assert (shipped / FILE).read_bytes() == (run / FILE).read_bytes()
    assert open_run(shipped).temperature("last") == open_run(run).temperature("last")


def changed_parameters(run):
    """Commit other parameters, as a training that goes on does: of twice the logits."""
    arrays = dict(read_params(run / "last.params"))
    for name in ("fusion.output.weight", "fusion.output.bias"):
        arrays[name] = 2 * arrays[name]
    RunWriter.open(run).save_files({"last.params": lambda path: write_params(path, arrays)})


def test_of_parameters_that_changed_it_is_ignored(run, data, tmp_path, capsys):
    """Without it the answers are those of the softmax to the bit; it does not ship either, and a
    new fit takes its place.
    """
    before = open_run(run).temperature("last")
    changed_parameters(run)
    capsys.readouterr()
    plain = answers(run, data)
    assert STALE in capsys.readouterr().err
    (run / FILE).rename(tmp_path / "kept")
    RunWriter.open(run).save_temperature("last", None)
    assert not Run.open(run).has(FILE)
    assert_array_equal(answers(run, data), plain)
    assert not capsys.readouterr().err
    shutil.copy(tmp_path / "kept", run / FILE)
    RunWriter.open(run).save_files({FILE: (tmp_path / "kept").read_text()})
    for module, arguments in (
        (mlr.predict, [next((data / "valid").glob("*/*.jpg"))]),
        (mlr.export, ["--format", "npz", "--out", tmp_path / "a.npz"]),
    ):
        assert command(module, "--run", run, *arguments) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert STALE in line and "fit it again, with mlr evaluate --split valid" in line
    RunWriter.open(run).ship(tmp_path / "shipped")
    assert not (tmp_path / "shipped" / FILE).exists()
    capsys.readouterr()
    arguments = "--run", run, "--data", data, "--split", "valid", "--fit-temperature"
    assert command(mlr.evaluate, *arguments) == 0
    assert STALE not in capsys.readouterr().err
    # twice the logits, up to float32's rounding in the network
    assert_allclose(open_run(run).temperature("last"), 2 * before, rtol=1e-4)


def test_damage_is_named_and_a_fit_mends_it(run, data, capsys):
    image = next((data / "valid").glob("*/*.jpg"))
    (run / FILE).write_text((run / FILE).read_text() + " ")
    assert command(mlr.predict, "--run", run, image) == 2
    error = capsys.readouterr().err
    assert f"{run / FILE} is missing, damaged or changed" in error
    assert "restore it from a copy, or fit it again, with mlr evaluate" in error
    arguments = "--run", run, "--data", data, "--split", "valid", "--fit-temperature"
    assert command(mlr.evaluate, *arguments) == 0
    assert command(mlr.predict, "--run", run, image) == 0


@pytest.mark.parametrize(
    "content, found",
    [
        ('{"temperature": 0, "files": {}}', "temperature is 0, expected a number from 0.05 to 20"),
        ('{"temperature": 1e9, "files": {}}', "temperature is 1000000000.0"),
        ('{"temperature": 2}', "files is None"),
        ("[]", r"it is \[\]"),
        ('{"temperature": NaN, "files": {}}', "is not JSON, or is damaged"),
    ],
)
def test_what_no_fit_writes_is_refused(run, content, found):
    RunWriter.open(run).save_files({FILE: content})
    with pytest.raises(InputError, match=f"{FILE}.*{found}.*fit it again"):
        open_run(run).temperature("last")


def test_a_fit_that_is_no_better_leaves_none(run, data, capsys, monkeypatch):
    monkeypatch.setattr("mlr.training.calibration.fitted_temperature", lambda *_: None)
    arguments = "--run", run, "--data", data, "--split", "valid"
    assert command(mlr.evaluate, *arguments, "--fit-temperature") == 0
    assert (
        "no temperature fits these 40 images better than none: the run has none"
        in capsys.readouterr().out
    )
    assert not (run / FILE).exists() and open_run(run).temperature("last") is None


@pytest.mark.parametrize("split", ["train", "test"])
def test_it_is_fitted_to_valid_alone(fitted, split, capsys):
    assert command(mlr.evaluate, "--run", fitted[0], "--fit-temperature", "--split", split) == 2
    assert f"--fit-temperature is not for --split {split}" in capsys.readouterr().err


def test_a_training_at_work_keeps_its_folder(run, data, capsys):
    """Two that write SHA256SUMS at once would lose what one of them wrote."""
    writer = RunWriter.open(run)
    writer.lock()
    try:
        arguments = "--run", run, "--data", data, "--split", "valid", "--fit-temperature"
        assert command(mlr.evaluate, *arguments) == 2
        assert "another training" in capsys.readouterr().err
    finally:
        writer.unlock()


def test_the_softmax_by_a_temperature():
    """Against SciPy's, and MXNet's to the bit; classes stay, however close the logits:
    here neighbours among the numbers of float32.
    """
    logits = np.random.randn(50, 8).astype(np.float32) * 10
    logits[:, 0] = np.nextafter(logits[:, 1:].max(axis=1), np.float32(np.inf))
    classifier = SoftmaxClassifier.__new__(SoftmaxClassifier)
    assert_array_equal(
        classifier.softmax(logits), nd.softmax(nd.array(logits, dtype="float64")).asnumpy()
    )
    for classifier.temperature in (*TEMPERATURES, 0.7, 1.3):
        probabilities = classifier.softmax(logits)
        expected = softmax(logits.astype(np.float64) / classifier.temperature, axis=1)
        # the exponential of a few hundred, in float64
        assert_allclose(probabilities, expected, rtol=1e-11, atol=1e-300)
        of_mxnet = nd.softmax(nd.array(logits, dtype="float64"), temperature=classifier.temperature)
        assert_array_equal(probabilities, of_mxnet.asnumpy())
        assert (probabilities.argmax(axis=1) == 0).all()
