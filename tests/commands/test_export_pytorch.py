"""mlr export --format torch, what its folder is worth without this package, and the way back."""

import errno
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import cv2
import mxnet as mx
import numpy as np
import pytest
from conftest import run_config
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load_file, save_file

import mlr
from mlr import evaluate, export, train
from mlr.errors import InputError
from mlr.formats.params import read_params, write_params
from mlr.methods import METHODS, open_run
from mlr.model.parameters import materialize, parameter_arrays
from mlr.runs.writing import RunWriter
from mlr.runtime.hashing import sha256_of

# What a person does who has only the folder: predict, train on, and save.
STRANGER = """
import json, sys
sys.modules["mxnet"] = sys.modules["mlr"] = sys.modules["cv2"] = None
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
import multilevel as ml
net, config = ml.load(sys.argv[1])
image = ml.preprocess(np.load(sys.argv[2]), config)
before = ml.probabilities(net, config, image[None])[0].tolist()
loss, optimizer = ml.new_loss(config), ml.new_optimizer(net, config)
net.train()
for epoch in range(2):
    ml.set_learning_rate(optimizer, ml.learning_rate_at(config, epoch))
    optimizer.zero_grad()
    loss(net(torch.stack([image, image + 1])), torch.tensor([0, 1])).mean().backward()
    optimizer.step()
ml.save(net, config, sys.argv[3])
net, config = ml.load(sys.argv[3])
print(json.dumps([before, ml.probabilities(net, config, image[None])[0].tolist()]))
"""


@pytest.fixture
def exported(capsys, tmp_path):
    """Export a run in this process and return the folder; hold the exit code to what it should
    be, and return what is said where that is an error.
    """

    def run(folder, *arguments, out=tmp_path / "exported", code=0):
        words = ["--run", str(folder), "--format", "torch", "--out", str(out), *arguments]
        assert export.main(words) == code
        captured = capsys.readouterr()
        return captured.err if code else out

    return run


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small run, and the folder that it was exported to, to read from."""
    mx.random.seed(0)
    folder = tmp_path_factory.mktemp("small")
    run_of(METHODS["l_cil"].demo, folder / "run", ("awe", "fear"))
    words = "--format", "torch", "--run", str(folder / "run"), "--out", str(folder / "exported")
    assert export.main(words) == 0
    return folder / "run", folder / "exported"


@pytest.fixture
def copied(small, tmp_path):
    """A copy of the folder that the small run was exported to."""
    return shutil.copytree(small[1], tmp_path / "copied")


def run_of(options, folder, classes=("awe", "fear", "joy"), **config):
    """Return a run of the options' network with drawn parameters, as a training leaves it."""
    counts = {"train": list(range(1, len(classes) + 1))}
    data = {"folder": "data", "sha256": "d" * 64, "manifest": None, "counts": counts}
    config = run_config(options, len(classes), **{"data": data, **config})
    net = METHODS[options.method].build(config["network"])
    materialize(net, mx.cpu(), mx.init.Xavier())
    for parameter in net.collect_params(".*running_var|.*running_mean").values():
        parameter.set_data(mx.nd.random.uniform(0.5, 1.5, parameter.shape))
    mx.nd.waitall()
    run = RunWriter.create(folder, config, list(classes))
    parameters = parameter_arrays(net._collect_params_with_prefix())
    run.save_parameters(parameters, [{"epoch": 1, "loss": 1.5}])
    return run


def arrays_of(folder, parameters="last"):
    return read_params(folder / f"{parameters}.params")


def changed(path, change):
    """Change what a JSON file holds."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# There, and what it says.


def test_what_the_folder_holds(small):
    run, folder = open_run(small[0]), small[1]
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "multilevel.py",
    ]
    about = json.loads((folder / "config.json").read_text())
    assert about["classes"] == ["awe", "fear"] and about["network"]["kind"] == "multi_level"
    assert about["preprocessing"]["image_size"] == 64
    assert about["parameters_sha256"] == sha256_of(small[0] / "last.params")
    assert about["weights_sha256"] == sha256_of(folder / "model.safetensors")
    assert about["run"] == {"config": run.config, "metrics": run.metrics}
    assert about["training"] == {
        "epochs": 10,
        "batch_size": 32,
        "loss": {
            "name": "class_imbalance",
            "form": "written",
            "gamma": 1.0,
            "class_weights": [pytest.approx(2 / 3), pytest.approx(1 / 3)],
        },
        "optimizer": {
            "name": "adam",
            "learning_rate": 7e-4,
            "momentum": None,
            "weight_decay": 1e-4,
            "multipliers": {},
        },
        "schedule": {"name": "cosine", "warm_up_epochs": 1},
    }
    names = set(load_file(folder / "model.safetensors"))
    assert {"backbone.stage1.0.bn1.weight", "fusion.norm.bias", "shallow.mix.1.weight"} <= names


@pytest.mark.parametrize(
    "method, multipliers",
    [
        ("l_cil", {"shallow": 3.0, "fusion": 3.0}),
        ("finetuned", {"output": 3.0}),
        ("shallow", {"shallow": 3.0, "output": 3.0}),
    ],
)
def test_new_layers_learn_at_their_own_rate(exported, tmp_path, method, multipliers):
    options = replace(METHODS[method].demo, new_layers_rate=3.0)
    run_of(options, tmp_path / "run", pretrained={"source": "zoo"})
    about = json.loads((exported(tmp_path / "run") / "config.json").read_text())
    assert about["training"]["optimizer"]["multipliers"] == multipliers
    weights = about["training"]["loss"].get("class_weights")
    expected = [6 / 11, 3 / 11, 2 / 11] if options.loss == "class_imbalance" else None
    assert weights == (pytest.approx(expected) if expected else None)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="the test extra has no PyTorch before 3.10")
def test_a_stranger_predicts_and_trains_on(small, tmp_path):
    (run, folder), saved = small, tmp_path / "saved"
    photo = np.random.RandomState(1).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    np.save(tmp_path / "photo.npy", photo)
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, folder, tmp_path / "photo.npy", saved],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    before, after = json.loads(done.stdout)
    # float32 in both; the photograph has the network's size, so nothing is resized
    expected = list(mlr.load(run, "cpu")(photo).probabilities.items())
    assert_allclose(before, [p for _, p in sorted(expected)], rtol=0, atol=1e-5)
    back = mlr.load(mlr.import_torch(saved, tmp_path / "back"), "cpu")
    expected = list(back(photo).probabilities.items())
    assert_allclose(after, [p for _, p in sorted(expected)], rtol=0, atol=1e-5)
    assert abs(after[0] - before[0]) > 1e-4  # it was trained


@pytest.mark.skipif(sys.version_info < (3, 10), reason="the test extra has no PyTorch before 3.10")
def test_photographs_of_any_size(small):
    """Within a grey level of OpenCV's resize."""
    from mlr.exporting import multilevel

    config = json.loads((small[1] / "config.json").read_text())
    photo = cv2.GaussianBlur(np.random.randint(0, 256, (90, 130, 3)).astype(np.uint8), (0, 0), 3)
    image = multilevel.preprocess(photo, config).numpy().transpose(1, 2, 0)
    pixels = image * config["preprocessing"]["std"] + config["preprocessing"]["mean"]
    expected = cv2.resize(photo, (64, 64), interpolation=cv2.INTER_LINEAR)
    assert_allclose(pixels * 255, expected, rtol=0, atol=1.01)


@pytest.mark.parametrize(
    "method, options, what",
    [("pcnn", {"backbone": "pcnn_small"}, "pcnn_small"), ("deepsentibank", {}, "caffenet")],
)
def test_other_networks_are_refused(exported, tmp_path, method, options, what):
    features = {"features": "fc7"} if method == "deepsentibank" else {}
    run_of(replace(METHODS[method].demo, **options), tmp_path / "run", **features)
    said = exported(tmp_path / "run", code=2)
    assert f"has the network {what}, but --format torch only has the backbones of" in said
    assert said.count("\n") == 1 and not (tmp_path / "exported").exists()


@pytest.mark.parametrize("counts", [{}, None, [1, 2, 3], {"train": [1, 2]}, {"train": [1, 0, "x"]}])
def test_class_weights_need_counts(exported, tmp_path, counts):
    data = {"folder": "data", "sha256": "d" * 64, "manifest": None, "counts": counts}
    run_of(METHODS["l_cil"].demo, tmp_path / "run", data=data)
    assert "data.counts.train is " in exported(tmp_path / "run", code=2)


def test_a_missing_safetensors_is_named(small, exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    assert "pip install 'mlr[safetensors]'" in exported(small[0], code=2)


# And back.


@pytest.mark.parametrize("method", ["l_cil", "finetuned", "shallow"])
def test_there_and_back(exported, tmp_path, method):
    run_of(METHODS[method].demo, tmp_path / "run")
    folder = exported(tmp_path / "run")
    assert mlr.import_torch(folder, tmp_path / "back") == tmp_path / "back"
    before, after = arrays_of(tmp_path / "run"), arrays_of(tmp_path / "back")
    assert list(before) == list(after)
    for name, array in before.items():
        assert array.dtype == after[name].dtype
        assert_array_equal(after[name], array)
    photo = np.random.randint(0, 256, (80, 70, 3)).astype(np.uint8)
    answers = [mlr.load(tmp_path / name, "cpu")(photo) for name in ("run", "back")]
    assert answers[0].probabilities == answers[1].probabilities
    run, back = open_run(tmp_path / "run"), open_run(tmp_path / "back")
    imported = back.config.pop("imported")
    assert back.config == run.config and back.metrics == run.metrics
    assert imported == {
        "folder": str(folder),
        "sha256": sha256_of(folder / "model.safetensors"),
    }


def test_the_temperature_there_and_back(small, exported, tmp_path):
    run = RunWriter.open(shutil.copytree(small[0], tmp_path / "run"))
    run.save_temperature("last", {"temperature": 1.5})
    folder = exported(run.folder)
    back = open_run(mlr.import_torch(folder, tmp_path / "back"))
    assert back.temperature("last") == 1.5
    weights = load_file(folder / "model.safetensors")
    weights["fusion.output.bias"] += 1  # it was fitted to others
    save_file(weights, folder / "model.safetensors")
    other = open_run(mlr.import_torch(folder, tmp_path / "other"))
    assert other.temperature("last") is None


def test_the_best_epoch_there_and_back(small, exported, tmp_path):
    run = RunWriter.open(shutil.copytree(small[0], tmp_path / "run"))
    best = {name: array + 1 for name, array in arrays_of(small[0]).items()}
    run.save_files({"best.params": lambda path: write_params(path, best)})
    mlr.import_torch(exported(run.folder, "--parameters", "best"), tmp_path / "back")
    for name, array in best.items():
        assert_array_equal(arrays_of(tmp_path / "back")[name], array)


def training(weights, data, out, *arguments):
    return [
        "--method", "l_cil", "--image-size", "64", "--epochs", "1", "--batch-size", "4",
        "--style-width", "8", "--ctx", "cpu", "--pretrained", str(weights), "--data", str(data),
        "--out", str(out), *arguments,
    ]  # fmt: skip


def test_a_training_starts_from_it(small, data, tmp_path):
    weights, out = small[1] / "model.safetensors", tmp_path / "run"
    still = "--learning-rate", "1e-30", "--weight-decay", "0", "--backbone", "resnet18_v2_slim"
    assert train.main(training(weights, data, out, *still)) == 0
    before, after = arrays_of(small[0]), arrays_of(out)
    for name in before:
        if name.startswith("backbone.") and "running" not in name:
            # a step of the smallest rate that float32 can add to
            assert_allclose(after[name], before[name], rtol=0, atol=1e-20, err_msg=name)
    assert open_run(out).config["pretrained"]["sha256"] == sha256_of(weights)


def test_weights_of_another_backbone_start_no_training(small, data, capsys, tmp_path):
    weights, out = small[1] / "model.safetensors", tmp_path / "run"
    assert train.main(training(weights, data, out, "--backbone", "resnet18_v1")) == 2
    said = capsys.readouterr().err
    assert "model.safetensors don't fit the network" in said and said.count("\n") == 1
    assert not out.exists()


def other_classes(folder):
    changed(folder / "config.json", lambda about: about["classes"].append("joy"))


def other_backbone(folder):
    changed(
        folder / "config.json",
        lambda about: [
            about["run"]["config"][part].update(backbone="resnet18_v1")
            for part in ("options", "network")
        ],
    )


def other_weights(folder):
    save_file({"weight": np.ones(3, np.float32)}, folder / "model.safetensors")


def half_the_weights(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def no_numbers(folder):
    weights = load_file(folder / "model.safetensors")
    weights["fusion.output.bias"][:] = np.nan
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "model.safetensors does not exist",
        ),
        (lambda folder: (folder / "config.json").unlink(), "can't read .*config.json"),
        (lambda folder: (folder / "config.json").write_text("{}"), "does not describe the run"),
        (lambda folder: (folder / "config.json").write_text("[1]"), "does not describe the run"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is not JSON"),
        (
            lambda folder: changed(
                folder / "config.json", lambda about: about["run"].update(config=1)
            ),
            "config.json: it is 1, expected an object",
        ),
        (
            lambda folder: changed(
                folder / "config.json", lambda about: about.update(temperature=-1)
            ),
            "config.json: temperature is -1, expected a number from 0.05 to 20",
        ),
        (other_classes, "the list of classes is .*, expected 2 different names"),
        (other_backbone, "model.safetensors don't fit the network: .* missing"),
        (other_weights, "model.safetensors don't fit the network: .* missing"),
        (half_the_weights, "model.safetensors is not a .safetensors file, or is damaged"),
        (no_numbers, "fusion.output.bias NaN or infinite"),
    ],
)
def test_what_can_not_come_back(copied, tmp_path, change, message):
    change(copied)
    with pytest.raises(InputError, match=message) as raised:
        mlr.import_torch(copied, tmp_path / "back")
    assert "\n" not in str(raised.value) and not (tmp_path / "back").exists()


def test_nothing_is_left_where_the_parameters_can_not_be_written(small, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mlr.runs.writing.RunWriter.save_parameters", full)
        with pytest.raises(OSError, match="No space left"):
            mlr.import_torch(small[1], tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert mlr.import_torch(small[1], tmp_path / "back") == tmp_path / "back"


def test_what_came_back_is_not_gone_on_with(small, tmp_path):
    back = open_run(mlr.import_torch(small[1], tmp_path / "back"))
    with pytest.raises(
        InputError, match="has no optimizer.params: the run was shipped or converted from PyTorch"
    ):
        back.checkpoint()


def test_a_run_that_is_there_is_kept(small, tmp_path):
    (tmp_path / "back").mkdir()
    with pytest.raises(InputError, match="back exists already"):
        mlr.import_torch(small[1], tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


@pytest.mark.slow
def test_evaluation_of_what_came_back(small, data, tmp_path):
    back = mlr.import_torch(small[1], tmp_path / "back")
    assert evaluate.main(["--run", str(back), "--data", str(data), "--ctx", "cpu"]) == 0
