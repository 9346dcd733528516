"""mlr export, and what its files are worth where this package is not."""

import json
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import run_config, write_images
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_sample_images

import mlr
from mlr import export, predict
from mlr.data.manifest import Entry, write_prepared
from mlr.errors import InputError
from mlr.methods import METHODS, load_network, open_run
from mlr.model.parameters import materialize
from mlr.runs.writing import RunWriter
from mlr.runtime import files
from mlr.runtime.hashing import sha256_of

# What a person has who has only the file: as the metadata say, and with nothing of this package.
STRANGER = """
import json, sys
sys.modules["mxnet"] = sys.modules["mlr"] = None
import cv2, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
image = cv2.cvtColor(cv2.imread(sys.argv[2]), cv2.COLOR_BGR2RGB)
if session.get_inputs()[0].type == "tensor(float)":
    steps = json.loads(about["preprocessing"])
    image = cv2.resize(image, (steps["resize"],) * 2, interpolation=cv2.INTER_LINEAR)
    start = (steps["resize"] - steps["image_size"]) // 2
    image = image[start:start + steps["image_size"], start:start + steps["image_size"]]
    if steps["channel_order"] == "BGR":
        image = image[:, :, ::-1]
    image = (image * steps["scale"] - steps["mean"]) / steps["std"]
    image = image.transpose(2, 0, 1).astype(np.float32)
logits, = session.run(["logits"], {"images": image[None]})
powers = np.exp(logits[0] - logits[0].max())
print(json.dumps(dict(zip(json.loads(about["classes"]), (powers / powers.sum()).tolist()))))
"""

WITH_MXNET_ALONE = """
import json, sys
sys.modules["mlr"] = None
import mxnet as mx, numpy as np
folder, images, out = sys.argv[1:]
files = folder + "/model-symbol.json", ["data"], folder + "/model-0000.params"
net = mx.gluon.SymbolBlock.imports(*files)
np.save(out, net(mx.nd.array(np.load(images))).asnumpy())
"""


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout


@pytest.fixture
def exported(capsys):
    """Run the command in this process, hold its exit code to what it should be, and return what it
    says.
    """

    def run(*arguments, code=0):
        assert export.main(list(map(str, arguments))) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return run


@pytest.fixture
def predicted(capsys):
    """What mlr predict --json says of an image."""

    def run(folder, image):
        assert predict.main(["--run", str(folder), "--json", str(image)]) == 0
        return json.loads(capsys.readouterr().out)["probabilities"]

    return run


@pytest.fixture
def photograph(tmp_path):
    """A PNG, which every decoder reads alike, of 320 x 427 pixels."""
    cv2.imwrite(str(tmp_path / "photograph.png"), load_sample_images().images[1][::-1, :427][:320])
    return tmp_path / "photograph.png"


def run_of(options, folder, classes=("awe", "fear", "joy"), **config):
    """Return a run of the options' network with drawn parameters, as a training leaves it."""
    config = run_config(options, len(classes), **config)
    net = METHODS[options.method].build(config["network"])
    materialize(net, mx.cpu(), mx.init.Xavier())
    mx.nd.waitall()
    run = RunWriter.create(folder, config, list(classes))
    run.save_files({"last.params": net.save_parameters})
    return run


def metadata(path):
    return {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}


@pytest.mark.parametrize(
    "arguments, tolerance",
    [
        ((), 1e-4),  # the contract: float32 in both
        (("--with-preprocessing",), 1e-3),  # some pixels differ by a grey level
    ],
)
def test_a_stranger_gets_the_same_answers(
    trained, exported, predicted, tmp_path, photograph, arguments, tolerance
):
    exported("--run", trained[0], "--out", tmp_path / "model.onnx", *arguments)
    expected = predicted(trained[0], photograph)
    found = json.loads(python(STRANGER, tmp_path / "model.onnx", photograph))
    assert found.keys() == expected.keys()
    assert_allclose(
        [found[name] for name in expected], list(expected.values()), rtol=0, atol=tolerance
    )


def test_a_stranger_gets_the_same_answers_of_a_caffenet(exported, predicted, tmp_path, photograph):
    run_of(replace(METHODS["alexnet"].demo, backbone="caffenet_slim"), tmp_path / "run")
    exported("--run", tmp_path / "run", "--out", tmp_path / "model.onnx")
    expected = predicted(tmp_path / "run", photograph)
    found = json.loads(python(STRANGER, tmp_path / "model.onnx", photograph))
    # float32 in both
    assert_allclose([found[name] for name in expected], list(expected.values()), rtol=0, atol=1e-4)


def test_the_command(trained, command, tmp_path):
    done = command("export", "--run", trained[0], "--out", tmp_path / "new" / "model.onnx")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.splitlines()[0].endswith(f": {tmp_path / 'new' / 'model.onnx'}")
    onnx.checker.check_model(str(tmp_path / "new" / "model.onnx"), full_check=True)


def test_metadata(trained, exported, tmp_path):
    exported("--run", trained[0], "--out", tmp_path / "model.onnx")
    about = metadata(tmp_path / "model.onnx")
    assert (
        json.loads(about["classes"]) == ["awe", "fear"]
        and about["method"] == "l_cil"
        and about["mlr_version"] == mlr.__version__
    )
    assert about["parameters"] == "last" and about["parameters_sha256"] == sha256_of(
        trained[0] / "last.params"
    )
    steps = json.loads(about["preprocessing"])
    assert (steps["image_size"], steps["resize"], steps["channel_order"], steps["mean"]) == (
        64,
        64,
        "RGB",
        [0.485, 0.456, 0.406],
    )
    assert about["output"].startswith("logits of the classes") and "float32" in about["input"]


def test_parameters_of_the_best_epoch(exported, tmp_path):
    run = run_of(METHODS["resnet50"].demo, tmp_path / "run")
    best = load_network(run, [mx.cpu()])
    best.output.bias.set_data(mx.nd.array([1, 2, 3]))
    mx.nd.waitall()
    run.save_files({"best.params": best.save_parameters})
    for name, bias in (("last", [0, 0, 0]), ("best", [1, 2, 3])):
        exported(
            "--run", tmp_path / "run", "--parameters", name, "--out", tmp_path / (name + ".onnx")
        )
        about = metadata(tmp_path / (name + ".onnx"))
        assert about["parameters"] == name and about["parameters_sha256"] == sha256_of(
            tmp_path / "run" / (name + ".params")
        )
        arrays = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in onnx.load(str(tmp_path / (name + ".onnx"))).graph.initializer
        }
        assert_array_equal(arrays["output.bias"], bias)


def test_int8_of_images_of_two_colours(trained, exported, tmp_path, photograph):
    """Of this run, images of two colours, 8 bits lose nothing."""
    data = shutil.copytree(str(trained[1]), str(tmp_path / "data"))
    (tmp_path / "data" / "test" / "notes.txt").write_text("x")
    said = exported(
        "--run",
        trained[0],
        "--out",
        tmp_path / "model.onnx",
        "--int8",
        "--calibrate",
        data,
        "--with-preprocessing",
    )
    assert (
        f"the same class for 100.00 % of 4 images of {data}/test" in said
        and "calibrated on 12 images" in said
    )
    assert f"left out: 1 file that is not an image, such as {data}/test/notes.txt" in said
    change = json.loads(metadata(tmp_path / "model.onnx")["int8"])
    assert (
        change["split"],
        change["images"],
        change["calibration_images"],
        change["same_class"],
    ) == ("test", 4, 12, 1)
    assert change["accuracy_int8"] == change["accuracy_float32"]
    exported("--run", trained[0], "--out", tmp_path / "whole.onnx", "--with-preprocessing")
    pixels = cv2.imread(str(photograph))[None, :, :, ::-1]
    expected, found = (
        onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"]).run(
            None, {"images": pixels}
        )[0]
        for name in ("whole.onnx", "model.onnx")
    )
    # 8 bits; a processor without VNNI clips sums of products
    assert_allclose(found, expected, rtol=0, atol=0.5 * np.abs(expected).max())
    assert (tmp_path / "model.onnx").stat().st_size < 0.3 * (tmp_path / "whole.onnx").stat().st_size


def test_int8_of_other_classes(trained, exported, tmp_path):
    other = write_images(tmp_path / "other", ("anger", "joy"))
    said = exported(
        "--run",
        trained[0],
        "--out",
        tmp_path / "model.onnx",
        "--int8",
        "--calibrate",
        other,
        code=2,
    )
    assert (
        "has the classes anger, joy, but the run was trained on awe, fear" in said
        and not (tmp_path / "model.onnx").exists()
    )


def test_int8_without_a_test_split_is_measured_on_valid(trained, exported, tmp_path):
    data = Path(shutil.copytree(str(trained[1]), str(tmp_path / "data")))
    shutil.rmtree(data / "test")
    given = ("--run", trained[0], "--out", tmp_path / "model.onnx", "--int8", "--calibrate", data)
    said = exported(*given)
    assert f"images of {data}/valid" in said
    assert json.loads(metadata(tmp_path / "model.onnx")["int8"])["split"] == "valid"
    sizes = re.search(r"int8: (\S+) MB instead of (\S+); ", said).groups()
    written = (tmp_path / "model.onnx").stat().st_size / 1e6
    assert_allclose(float(sizes[0]), written, atol=0.1)  # without the description and the seal
    assert float(sizes[1]) > 3 * float(sizes[0])


def test_int8_of_a_single_split(trained, exported, tmp_path):
    data = Path(shutil.copytree(str(trained[1]), str(tmp_path / "data")))
    for name in ("valid", "test"):
        shutil.rmtree(data / name)
    out = tmp_path / "model.onnx"
    said = exported("--run", trained[0], "--out", out, "--int8", "--calibrate", data, code=2)
    assert (
        f"{data} has only the split train: int8 is calibrated on train, and measured on test or "
        "valid"
    ) in said


def test_int8_calibrated_on_classes_of_other_names(exported, tmp_path):
    """`amuse` is FI's name of amusement."""
    run_of(METHODS["alexnet"].demo, tmp_path / "run", ("amusement", "awe"))
    data = write_images(tmp_path / "data", ("amuse", "awe"))
    given = ("--run", tmp_path / "run", "--int8", "--calibrate")
    assert "calibrated on 12 images" in exported(*given, data, "--out", tmp_path / "a.onnx")
    data = write_images(tmp_path / "sentiments", ("negative", "positive"))
    said = exported(*given, data, "--out", tmp_path / "b.onnx", code=2)
    assert "give the folder of the same classes" in said


def test_int8_calibrated_on_folds(tmp_path, capsys):
    """Of a run that was not trained on folds: without the first, which is measured."""
    run_of(METHODS["alexnet"].demo, tmp_path / "run", ("awe", "fear"))
    data = write_images(tmp_path / "data")
    entries = [
        Entry(str(path.relative_to(data)), path.parent.name, "", fold, 80, 64, sha256_of(path))
        for path, fold in zip(sorted(data.rglob("*.jpg")), cycle("12345"))
    ]
    write_prepared(tmp_path / "folds", {"root": str(data), "dataset": "csv"}, entries, [])
    given = ("--run", tmp_path / "run", "--int8", "--calibrate", tmp_path / "folds")
    assert export.main([*map(str, given), "--out", str(tmp_path / "a.onnx")]) == 0
    assert "has folds: calibrated without fold 1, measured on it" in capsys.readouterr().err


def test_int8_of_features(exported, tmp_path):
    run_of(METHODS["deepsentibank"].demo, tmp_path / "run", features="fc7")
    assert "features are exported" in exported(
        "--run",
        tmp_path / "run",
        "--out",
        tmp_path / "m.onnx",
        "--int8",
        "--calibrate",
        "x",
        code=2,
    )


def test_without_its_support_vector_machine_no_answer_is_exported(exported, tmp_path):
    run_of(METHODS["deepsentibank"].demo, tmp_path / "run", features="fc7")
    said = exported("--run", tmp_path / "run", "--out", tmp_path / "model.onnx", code=2)
    assert "has no svm.params" in said


def test_mxnet_alone_loads_a_symbol(trained, exported, tmp_path):
    exported("--run", trained[0], "--format", "symbol", "--out", tmp_path / "a" / "model")
    assert sorted(path.name for path in (tmp_path / "a").rglob("*")) == [
        "model",
        "model-0000.params",
        "model-symbol.json",
        "model.json",
    ]
    assert json.loads((tmp_path / "a/model/model.json").read_text())["classes"] == ["awe", "fear"]
    images = np.random.randn(3, 3, 64, 64).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    python(WITH_MXNET_ALONE, tmp_path / "a/model", tmp_path / "images.npy", tmp_path / "logits.npy")
    expected = load_network(open_run(trained[0]), [mx.cpu()])(mx.nd.array(images)).asnumpy()
    # the same operators
    assert_allclose(
        np.load(tmp_path / "logits.npy"), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("format", ["symbol", "torch"])
def test_an_interrupted_export_is_not_taken_for_one(trained, exported, tmp_path, format):
    (tmp_path / "model.new").mkdir()
    said = exported("--run", trained[0], "--format", format, "--out", tmp_path / "model", code=2)
    assert "model.new exists already, likely left by" in said
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["l_cil", "deepsentibank", "pcnn"])
def test_npz_there_and_back(tmp_path, exported, name):
    features = {"features": "fc7"} if name == "deepsentibank" else {}
    run_of(METHODS[name].demo, tmp_path / "run", **features)
    exported("--run", tmp_path / "run", "--format", "npz", "--out", tmp_path / "model.npz")
    net, back = (
        load_network(open_run(tmp_path / "run"), [mx.cpu()]),
        mlr.import_npz(tmp_path / "model.npz", mx.cpu()),
    )
    parameters, returned = net._collect_params_with_prefix(), back._collect_params_with_prefix()
    assert list(parameters) == list(returned)
    for parameter_name, parameter in parameters.items():
        assert_array_equal(
            returned[parameter_name].data().asnumpy().view(np.int32),
            parameter.data().asnumpy().view(np.int32),
            err_msg=parameter_name,
        )
    assert back._active
    images = mx.nd.random.normal(shape=(2, 3, 64, 64))
    assert_array_equal(back(images).asnumpy(), net(images).asnumpy())
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        assert {name for name in arrays.files if "." not in name} == {
            "config",
            "classes",
            "description",
        }
        assert arrays["classes"].tolist() == ["awe", "fear", "joy"]
        assert json.loads(arrays["description"].item())["method"] == name
        assert json.loads(arrays["config"].item()) == json.loads(
            (tmp_path / "run/config.json").read_text()
        )
        assert {name: arrays[name].dtype for name in parameters} == {
            name: np.float32 for name in parameters
        }


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """What an .npz file of a small network holds."""
    mx.random.seed(0)
    folder = tmp_path_factory.mktemp("npz")
    run_of(METHODS["l_cil"].demo, folder / "run")
    assert (
        export.main(
            ["--run", str(folder / "run"), "--format", "npz", "--out", str(folder / "model.npz")]
        )
        == 0
    )
    with np.load(folder / "model.npz") as loaded:
        return dict(loaded)


def with_network(arrays, **changed):
    config = json.loads(arrays["config"].item())
    config["network"].update(changed)
    return {**arrays, "config": json.dumps(config)}


HOSTILE = {
    "no config": (
        lambda arrays: {name: array for name, array in arrays.items() if name != "config"},
        "its `config` is missing or damaged",
    ),
    "config is no text": (
        lambda arrays: {**arrays, "config": np.arange(3)},
        "its `config` is missing or damaged",
    ),
    "config is not JSON": (
        lambda arrays: {**arrays, "config": "{"},
        "its `config` is missing or damaged",
    ),
    "config is a list": (
        lambda arrays: {**arrays, "config": "[]"},
        "its `config` is missing or damaged",
    ),
    "config is deep": (
        lambda arrays: {**arrays, "config": "[" * 100000},
        "its `config` is missing or damaged",
    ),
    "network is a text": (
        lambda arrays: {**arrays, "config": '{"network": "x"}'},
        "its `config` is missing or damaged",
    ),
    "unknown kind": (
        lambda arrays: with_network(arrays, kind="os.system"),
        "describes no network that this package can build",
    ),
    "a kind of no use": (
        lambda arrays: with_network(arrays, kind=[]),
        "describes no network that this package can build",
    ),
    "unknown option": (
        lambda arrays: with_network(arrays, params="x"),
        "describes no network that this package can build",
    ),
    "unknown backbone": (
        lambda arrays: with_network(arrays, backbone="vgg99"),
        "unknown backbone vgg99",
    ),
    "huge images": (
        lambda arrays: with_network(arrays, image_size=10**6),
        "its `config` is missing or damaged",
    ),
    "a thousand branches": (
        lambda arrays: with_network(arrays, taps=["stem"] * 1000, widths=[1] * 1000),
        "its `config` is missing or damaged",
    ),
    "a huge layer": (
        lambda arrays: with_network(arrays, style_width=10**9),
        "don't fit the network",
    ),
    "more classes": (lambda arrays: with_network(arrays, classes=4), "wrongly shaped"),
    "a number of no type": (
        lambda arrays: with_network(arrays, classes="many"),
        "describes no network that this package can build",
    ),
    "a missing parameter": (
        lambda arrays: {
            name: array for name, array in arrays.items() if name != "fusion.output.bias"
        },
        "1 missing \\(fusion.output.bias\\)",
    ),
    "one more": (
        lambda arrays: {**arrays, "fusion.more": np.zeros(3, np.float32)},
        "1 unexpected \\(fusion.more\\)",
    ),
    "not a number": (
        lambda arrays: {**arrays, "fusion.output.bias": np.full(3, np.nan, np.float32)},
        "not finite floating-point numbers",
    ),
    "of a newer version": (
        lambda arrays: {
            **arrays,
            "config": json.dumps({**json.loads(arrays["config"].item()), "format": 99}),
        },
        "upgrade mlr",
    ),
    "objects": (
        lambda arrays: {**arrays, "fusion.output.bias": np.array([{}, {}, {}])},
        "not a .npz file of plain arrays",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_npz(arrays, tmp_path, name):
    change, words = HOSTILE[name]
    np.savez(tmp_path / "model.npz", **change(arrays))
    with pytest.raises(InputError, match=words) as caught:
        mlr.import_npz(tmp_path / "model.npz")
    assert str(tmp_path / "model.npz") in str(caught.value)


def test_damaged_npz(arrays, tmp_path):
    np.savez(tmp_path / "model.npz", **arrays)
    data = (tmp_path / "model.npz").read_bytes()
    for number, damaged in enumerate(
        (
            b"",
            data[:1000],
            data[:-30],
            data[: len(data) // 2] + b"\0\1\2\3" + data[len(data) // 2 + 4 :],
        )
    ):
        path = tmp_path / (f"damaged-{number:d}.npz")
        path.write_bytes(damaged)
        with pytest.raises(
            InputError,
            match=f"damaged-{number:d}.npz is not a .npz file of plain arrays, or is damaged",
        ):
            mlr.import_npz(path)
    with pytest.raises(InputError, match="missing.npz does not exist"):
        mlr.import_npz(tmp_path / "missing.npz")


@pytest.mark.parametrize(
    "format, name",
    [("onnx", "model.onnx"), ("npz", "model.npz"), ("symbol", "model"), ("torch", "model")],
)
def test_what_exists_is_kept(trained, exported, tmp_path, format, name):
    (tmp_path / name).write_text("mine")
    assert f"{tmp_path / name} exists already" in exported(
        "--run", trained[0], "--format", format, "--out", tmp_path / name, code=2
    )
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine"}


def test_a_link_to_nowhere_is_kept(trained, exported, tmp_path):
    (tmp_path / "model.onnx").symlink_to(tmp_path / "gone")
    assert "exists already" in exported(
        "--run", trained[0], "--out", tmp_path / "model.onnx", code=2
    )
    assert (tmp_path / "model.onnx").is_symlink()


@pytest.mark.parametrize(
    "arguments, texts",
    [
        (
            ("--out", "model.txt"),
            ("--out model.txt: the name of a file of --format onnx ends with .onnx",),
        ),
        (("--format", "npz", "--out", "model.onnx"), ("ends with .npz",)),
        (
            ("--format", "npz", "--with-preprocessing", "--out", "model.npz"),
            ("--with-preprocessing is only for --format onnx",),
        ),
        (
            ("--format", "npz", "--int8", "--calibrate", "x", "--out", "model.npz"),
            ("--int8 is only for --format onnx",),
        ),
        (("--int8", "--out", "model.onnx"), ("--int8 and --calibrate need each other",)),
        (("--calibrate", "x", "--out", "model.onnx"), ("--int8 and --calibrate need each other",)),
        (
            ("--int8", "--calibrate", "nowhere", "--out", "model.onnx"),
            ("nowhere/train does not exist",),
        ),
        (("--out", "file/model.onnx"), ("file is not a folder",)),
        (("--run", "nowhere", "--out", "model.onnx"), ("nowhere is not a run folder",)),
    ],
)
def test_wrong_options(exported, tmp_path, monkeypatch, arguments, texts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    said = exported(*arguments, code=2)
    assert all(text in said for text in texts)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "arguments, words",
    [(("--format", "tflite", "--out", "model"), "invalid choice"), ((), "required: --out")],
)
def test_wrong_usage(capsys, arguments, words):
    with pytest.raises(SystemExit, match="2"):
        export.main(arguments)
    assert words in capsys.readouterr().err


def test_a_missing_onnx_runtime_is_named(trained, exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    said = exported(
        "--run",
        trained[0],
        "--out",
        tmp_path / "model.onnx",
        "--int8",
        "--calibrate",
        trained[1],
        code=2,
    )
    assert "this needs the package onnxruntime: pip install 'mlr[onnx]'" in said


def test_a_missing_onnx_is_named(trained, exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "pip install 'mlr[onnx]'" in exported(
        "--run", trained[0], "--out", tmp_path / "model.onnx", code=2
    )
    assert list(tmp_path.iterdir()) == []
    exported("--run", trained[0], "--format", "npz", "--out", tmp_path / "model.npz")


@pytest.mark.parametrize(
    "format, name",
    [("onnx", "model.onnx"), ("npz", "model.npz"), ("symbol", "model"), ("torch", "model")],
)
def test_a_full_disk_leaves_nothing(trained, exported, tmp_path, format, name):
    """A limit to the size of files stands in for the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        said = exported("--run", trained[0], "--format", format, "--out", tmp_path / name, code=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{tmp_path / name} can't be written, likely " in said
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(trained, exported, tmp_path, monkeypatch):
    def interrupted(path):
        # the bytes are there already, under the name that they are staged by
        assert Path(path).stat().st_size > 1000
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "sync", interrupted)
    assert "interrupted" in exported(
        "--run", trained[0], "--out", tmp_path / "model.onnx", code=130
    )
    assert list(tmp_path.iterdir()) == []


def test_the_network_of_a_method_is_exported_whole(tmp_path):
    run = run_of(METHODS["vgg16"].demo, tmp_path / "run")
    net = load_network(run, [mx.cpu()])
    assert METHODS["vgg16"].exported(net, run.config) == (
        net,
        "logits",
        "logits of the classes; their softmax gives the probabilities",
    )
