"""Runs answered by ONNX Runtime: as by MXNet, or refused in a line."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import onnx
import pytest
from conftest import write_images
from numpy.testing import assert_allclose
from test_export import run_of

import mlr
from mlr import evaluate, export, predict, visualize
from mlr.errors import InputError
from mlr.formats.onnx import SEAL_BYTES, sealed
from mlr.formats.params import read_params, write_params
from mlr.inference import onnx_engine, support_vectors
from mlr.methods import METHODS, answering, exported, method_of, open_run
from mlr.runs.shipped import DEMO_RUN, SHIPPED_RUN
from mlr.runs.writing import RunWriter
from mlr.runtime import files

WITHIN = 1e-4  # of probabilities: float32, sums in another order; 1e-6 are seen
CLASSES = ("awe", "fear", "joy")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Two image files of odd sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    draw = np.random.RandomState(0)
    for name, sides in (("a.png", (77, 131)), ("b.jpg", (201, 64))):
        small = draw.randint(0, 256, (6, 6, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(small, sides[::-1]))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of drawn parameters, small."""
    mx.random.seed(0)
    folder = tmp_path_factory.mktemp("run") / "run"
    run_of(METHODS["l_cil"].demo, folder, CLASSES)
    return folder


def exported_to(folder, path, *arguments):
    given = "--run", str(folder), "--out", str(path), *arguments
    assert export.main(list(map(str, given))) == 0
    return path


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    """The run's export."""
    return exported_to(run, tmp_path_factory.mktemp("model") / "model.onnx")


def alike(found, expected):
    for one, other in zip(found, expected):
        assert one.label == other.label
        names = list(other.probabilities)
        assert_allclose(
            [one.probabilities[name] for name in names],
            list(other.probabilities.values()),
            rtol=0,
            atol=WITHIN,
        )


def support_vector_run(folder):
    """A run of DeepSentiBank with a machine for the features of its network."""
    options = METHODS["deepsentibank"].demo
    written = run_of(options, folder, CLASSES, features="fc7")
    width = read_params(folder / "last.params")["output.weight"].shape[1]
    draw = np.random.RandomState(0)
    features = np.abs(draw.normal(size=(30, width))) / 10
    machine = support_vectors.fit(features, np.arange(30) % 3)
    written.save_files({"svm.params": lambda path: write_params(path, machine.arrays())})


@pytest.mark.parametrize("method", ["ar", "alexnet", "shallow", "deepsentibank"])
def test_every_kind_of_answer(method, tmp_path, photographs):
    if method == "deepsentibank":
        support_vector_run(tmp_path / "run")
    else:
        run_of(METHODS[method].demo, tmp_path / "run", CLASSES)
    path = exported_to(tmp_path / "run", tmp_path / "model.onnx")
    expected = mlr.load(tmp_path / "run", ctx="cpu")(photographs)
    alike(mlr.load(path)(photographs), expected)
    assert mlr.load(path).classes == list(CLASSES)


def test_a_caffenet_is_seen_as_caffe_sees(tmp_path, photographs):
    run_of(replace(METHODS["alexnet"].demo, backbone="caffenet_slim"), tmp_path / "run", CLASSES)
    path = exported_to(tmp_path / "run", tmp_path / "model.onnx")
    alike(mlr.load(path)(photographs), mlr.load(tmp_path / "run", ctx="cpu")(photographs))


@pytest.mark.parametrize("arguments", [(), ("--with-preprocessing",)])
def test_the_same_answers(run, tmp_path, photographs, arguments):
    """With its preprocessing in the model, too, whose resize gets what needs none."""
    path = exported_to(run, tmp_path / "model.onnx", *arguments)
    expected = mlr.load(run, ctx="cpu")([*photographs, np.zeros((3, 5, 3), np.uint8)])
    alike(mlr.load(path)([*photographs, np.zeros((3, 5, 3), np.uint8)]), expected)


def test_the_temperature_goes_with_the_model(run, photographs, tmp_path):
    tempered = RunWriter.open(shutil.copytree(run, tmp_path / "run"))
    tempered.save_temperature("last", {"temperature": 3.0})
    path = exported_to(tempered.folder, tmp_path / "model.onnx")
    assert mlr.load(path).classifier.temperature == 3.0
    expected = mlr.load(tempered.folder, ctx="cpu")(photographs)
    assert expected != mlr.load(run, ctx="cpu")(photographs)
    alike(mlr.load(path)(photographs), expected)
    plain = answering(open_run(path), tempered=False)
    assert plain.classifier.temperature is None


def test_the_command_exports_a_run_once(run, photographs, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MLR_CACHE", str(tmp_path))
    made, onnx_of = [], exported.onnx_of
    monkeypatch.setattr(
        exported, "onnx_of", lambda *given, **more: made.append(1) or onnx_of(*given, **more)
    )
    said = []
    for engine in ("mxnet", "onnx", "onnx"):
        given = ["--run", str(run), "--engine", engine, "--json", *map(str, photographs)]
        assert predict.main(given) == 0
        lines = capsys.readouterr().out.splitlines()
        said.append([json.loads(line)["probabilities"] for line in lines])
    assert made == [1] and [path.name[:4] for path in tmp_path.iterdir()] == ["run-"]
    for found in said[1:]:
        for one, other in zip(found, said[0]):
            names = list(other)
            assert_allclose(
                [one[name] for name in names], list(other.values()), rtol=0, atol=WITHIN
            )


def test_a_run_that_changed_is_exported_anew(photographs, monkeypatch, tmp_path):
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "cache"))
    written = run_of(METHODS["alexnet"].demo, tmp_path / "run", CLASSES)
    before = mlr.load(tmp_path / "run", engine="onnx")(photographs[0])
    net = METHODS["alexnet"].build(written.config["network"])
    net.initialize(mx.init.Normal(0.1))
    net(mx.nd.zeros((1, 3, 64, 64)))
    written.save_files({"last.params": net.save_parameters})
    after = mlr.load(tmp_path / "run", engine="onnx")(photographs[0])
    assert after != before and len(list((tmp_path / "cache").iterdir())) == 2
    alike([after], [mlr.load(tmp_path / "run", ctx="cpu")(photographs[0])])


def test_a_damaged_cache_is_made_again(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MLR_CACHE", str(tmp_path))
    mlr.load(run, engine="onnx")
    (cached,) = tmp_path.iterdir()
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-1])
    mlr.load(run, engine="onnx")
    assert "was cut short or changed" in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [whole]


def test_two_commands_export_a_run_at_once(run, monkeypatch, tmp_path):
    """The second one begins when the first one has written its file, and not renamed it yet."""
    monkeypatch.setenv("MLR_CACHE", str(tmp_path))
    opened, write, written = open_run(run), files.write_file, []

    def export():
        return exported.cached_export(opened, method_of(opened.config), "last", False)

    def write_and_let_the_other_begin(path, content):
        write(path, content)
        written.append(path)
        if len(written) == 1:
            export()

    monkeypatch.setattr(files, "write_file", write_and_let_the_other_begin)
    export()
    assert len(set(written)) == 2 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_evaluate_measures_a_model_as_its_run(run, tmp_path, capsys):
    run = Path(shutil.copytree(run, tmp_path / "run"))
    model = exported_to(run, tmp_path / "model.onnx")
    capsys.readouterr()
    data = write_images(tmp_path / "data", CLASSES)
    assert evaluate.main(["--run", str(run), "--data", str(data), "--ctx", "cpu"]) == 0
    of_run = capsys.readouterr().out
    page = tmp_path / "page.html"
    given = ["--run", str(model), "--data", str(data), "--report", str(page)]
    assert evaluate.main(given) == 0
    of_model = capsys.readouterr().out
    assert of_model.partition("expected calib")[0] == of_run.partition("expected calib")[0]
    (expected,) = run.glob("evaluation_*.json")
    (found,) = (model.parent / "model-results").glob("evaluation_*.json")
    assert found.name == expected.name.replace(".json", "-onnx.json")
    expected, found = (json.loads(path.read_text()) for path in (expected, found))
    assert found.pop("engine") == "onnx" and found.keys() == expected.keys()
    for name in ("confusion", "files", "parameters", "sha256", "accuracy"):
        assert found[name] == expected[name], name
    loss = "negative_log_likelihood"
    assert_allclose(found[loss], expected[loss], rtol=1e-4)
    text = page.read_text()
    assert found["files"]["last.params"] in text and "awe" in text


def test_a_model_keeps_no_temperature(model, tmp_path, capsys):
    data = write_images(tmp_path / "data", CLASSES)
    given = ["--run", str(model), "--data", str(data), "--split", "valid", "--fit-temperature"]
    assert evaluate.main(given) == 2
    assert "kept in a run folder" in capsys.readouterr().err


@pytest.mark.slow
def test_evaluate_by_onnx_runtime_leaves_the_runs_own_result(run, tmp_path, monkeypatch):
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "cache"))
    run = Path(shutil.copytree(run, tmp_path / "run"))
    given = ["--run", str(run), "--data", str(write_images(tmp_path / "data", CLASSES))]
    assert evaluate.main(given) == 0
    own = {path: path.read_bytes() for path in run.iterdir() if path.name != "lock"}
    assert evaluate.main([*given, "--engine", "onnx"]) == 0
    assert list(run.glob("evaluation_*-onnx.json"))
    assert {path: path.read_bytes() for path in own} == own


@pytest.mark.parametrize(
    "backbone, taps",
    [
        ("resnet18_v2_slim", "released"),
        ("resnet18_v2_slim", "last"),  # a branch reads the deepest map
        pytest.param("squeezenet1.1", "released", marks=pytest.mark.slow),
        ("vgg16_slim", "released"),
    ],
)
def test_grad_cam_is_mxnets(backbone, taps, tmp_path):
    options = replace(METHODS["l_cil"].demo, backbone=backbone, taps=taps)
    run_of(options, tmp_path / "run", CLASSES)
    path = exported_to(tmp_path / "run", tmp_path / "model.onnx")
    images = np.random.normal(size=(2, 3, 64, 64)).astype(np.float32)
    ours = mlr.load(path).classifier
    expected = mlr.load(tmp_path / "run", ctx="cpu").classifier
    for classes in (None, [2, 0]):
        (found, chosen), (wanted, of_run) = (
            each.grad_cam(images, classes) for each in (ours, expected)
        )
        assert chosen == of_run and found.shape == wanted.shape
        # float32
        assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max() + 1e-12)


def test_visualize_draws_grad_cam_of_a_model(model, photographs, tmp_path, capsys):
    given = ["--run", str(model), "--image", str(photographs[0]), "--out", str(tmp_path / "a.png")]
    assert visualize.main([*given, "--view", "grad-cam"]) == 0
    assert cv2.imread(str(tmp_path / "a.png")) is not None
    assert visualize.main(given) == 2
    assert "give the run folder, or --view grad-cam" in capsys.readouterr().err


# What is refused.


def altered(model, path, change):
    """Write a model that was changed and sealed again, as somebody might who means harm."""
    proto = onnx.load_model_from_string(model.read_bytes()[:-SEAL_BYTES])
    change(proto)
    path.write_bytes(sealed(proto.SerializeToString()))
    return path


def metadata(**others):
    def change(proto):
        about = {entry.key: entry.value for entry in proto.metadata_props}
        onnx.helper.set_model_props(proto, {**about, **others})

    return change


def without(name):
    def change(proto):
        kept = [entry for entry in proto.metadata_props if entry.key != name]
        del proto.metadata_props[:]
        proto.metadata_props.extend(kept)

    return change


def outside(proto):
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def other_opset(proto):
    proto.opset_import[0].version = 11


def foreign_operators(proto):
    proto.opset_import.add(domain="com.microsoft", version=1)


def loop(proto):
    proto.graph.node[0].op_type = "Loop"


def other_classes(proto):
    metadata(classes=json.dumps(["awe", "fear"]))(proto)


def other_output(proto):
    proto.graph.output[0].name = proto.graph.node[-1].output[0] = "scores"


@pytest.mark.parametrize(
    "change, message",
    [
        (outside, "keeps its weights in other files"),
        (other_opset, "its operators are of ONNX 11, not of ONNX 17"),
        (foreign_operators, "ONNX 17, com.microsoft 1, not of ONNX 17"),
        (loop, "has the operator Loop"),
        (other_classes, "list of classes|answers with"),
        (other_output, "returns .*scores', 3"),
        (metadata(contract="2"), "has version 2 of the format .* this mlr reads version 1"),
        (metadata(run="{"), "metadata entry run of .* is not JSON"),
        (metadata(run="{}"), "run.config is None"),
        (metadata(temperature="-1"), "temperature is -1"),
        (metadata(preprocessing='{"image_size": 9}'), "preprocessing.image_size"),
        (without("run"), "has no run in its metadata"),
        (without("contract"), "has no contract in its metadata"),
    ],
)
def test_a_model_that_says_other_things(model, tmp_path, change, message):
    path = altered(model, tmp_path / "model.onnx", change)
    with pytest.raises(InputError, match=message) as error:
        mlr.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def not_finite(proto):
    bias = next(tensor for tensor in proto.graph.initializer if tensor.name == "output.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(3, np.nan, np.float32), bias.name))


def test_an_answer_that_is_no_number(tmp_path, photographs):
    run_of(METHODS["shallow"].demo, tmp_path / "run", CLASSES)
    path = exported_to(tmp_path / "run", tmp_path / "model.onnx")
    predictor = mlr.load(altered(path, tmp_path / "other.onnx", not_finite))
    with pytest.raises(InputError, match="other.onnx answers with NaN or infinity"):
        predictor(photographs[0])


def cut_off(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


def resealed_noise(content):
    return sealed(b"noise")


@pytest.mark.parametrize(
    "change, message",
    [
        (cut_off, "was cut short or changed: export the run again"),
        (flipped, "is damaged or was changed after mlr export wrote it"),
        (
            lambda content: content[:-SEAL_BYTES],
            "is not a model of mlr export, is from another version",
        ),
        (lambda content: b"", "is not a model of mlr export"),
        (resealed_noise, "is not a model of mlr export"),
    ],
)
def test_a_damaged_model(model, tmp_path, capsys, change, message, photographs):
    path = tmp_path / "model.onnx"
    path.write_bytes(change(model.read_bytes()))
    assert predict.main(["--run", str(path), str(photographs[0])]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mlr predict: error: ") and str(path) in line
    with pytest.raises(InputError, match=message):
        mlr.load(path)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"run": "nowhere.onnx"}, "there is no file nowhere.onnx"),
        ({"engine": "mxnet"}, "is a model for ONNX Runtime: leave out --engine mxnet"),
        ({"engine": "onnx-int8"}, "leave out --engine onnx-int8"),
        ({"engine": "torch"}, "there is no engine torch: choose one of mxnet, onnx, onnx-int8"),
        ({"parameters": "best"}, "has only the last parameters of its run"),
        ({"ctx": "gpu(0)"}, "no CUDA provider.*pip install onnxruntime-gpu"),
        ({"ctx": "cpu,gpu(0)"}, "predicts on one device"),
        ({"ctx": "tpu"}, 'unknown context "tpu"'),
    ],
)
def test_what_a_model_can_not_be_asked(model, options, message):
    with pytest.raises(InputError, match=message):
        mlr.load(**{"run": model, **options})


def test_8_bits_need_the_images_of_the_training(tmp_path):
    run, nowhere = tmp_path / "run", {"folder": "nowhere", "sha256": "d" * 64, "manifest": None}
    run_of(METHODS["alexnet"].demo, run, CLASSES, data=nowhere)
    with pytest.raises(InputError, match="8-bit model is calibrated on these images"):
        mlr.load(run, engine="onnx-int8")


@pytest.mark.slow
def test_8_bits_answer_as_the_run(tmp_path, monkeypatch):
    """Calibrated on the paintings of the demo's training, which are drawn where they are not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "cache"))
    small = mlr.load(DEMO_RUN, engine="onnx-int8", ctx="cpu")
    assert small.classifier.engine == "onnx-int8"
    paintings = sorted((tmp_path / "data" / "demo" / "test").glob("*/000?.jpg"))
    labels = [[said.label for said in each(paintings)] for each in (small, mlr.load(DEMO_RUN))]
    same = np.mean([one == other for one, other in zip(*labels)])
    assert len(paintings) == 80 and same >= 0.9  # 98.96 % of all 480 with VNNI


def test_a_gpu_whose_provider_does_not_load(model, monkeypatch):
    """ONNX Runtime goes on with the CPU in silence."""
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [onnx_engine.CUDA, onnx_engine.CPU]
    )
    with pytest.raises(InputError, match=r"gpu\(0\) can't be used.*CUDA and cuDNN"):
        mlr.load(model, ctx="gpu(0)")


def test_ar_takes_no_image_whole(tmp_path, capsys):
    run_of(METHODS["ar"].demo, tmp_path / "run", CLASSES)
    given = ["--run", str(tmp_path / "run"), "--out", str(tmp_path / "model.onnx")]
    assert export.main([*given, "--with-preprocessing"]) == 2
    assert "regions of an image are found before" in capsys.readouterr().err


WITHOUT_MXNET = """
import sys
sys.modules["mxnet"] = sys.modules["scipy"] = sys.modules["sklearn"] = None
from mlr.__main__ import main
sys.exit(main())
"""


def alone(*arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_MXNET, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.mark.slow
def test_predict_evaluate_and_visualize_without_mxnet(run, model, tmp_path, photographs):
    done = alone("predict", "--run", model, "--json", photographs[0])
    assert done.returncode == 0 and done.stderr == ""
    said = json.loads(done.stdout)["probabilities"]
    expected = mlr.load(run, ctx="cpu")(photographs[0]).probabilities
    assert_allclose([said[name] for name in expected], list(expected.values()), rtol=0, atol=WITHIN)
    data = write_images(tmp_path / "data", CLASSES, size=(20, 30))
    done = alone("evaluate", "--run", model, "--data", data, "--report", tmp_path / "a.html")
    assert done.returncode == 0 and (tmp_path / "a.html").exists(), done.stderr
    figure = tmp_path / "a.png"
    given = "--run", model, "--image", photographs[0], "--view", "grad-cam", "--out", figure
    assert alone("visualize", *given).returncode == 0 and figure.exists()


@pytest.mark.slow
def test_a_run_folder_without_mxnet(run, model, tmp_path, photographs):
    done = alone("predict", "--run", run, photographs[0])
    assert done.returncode == 1 and "mlr export --run" in done.stderr
    beside = Path(run) / "model.onnx"
    beside.write_bytes(model.read_bytes())
    try:
        assert alone("predict", "--run", run, photographs[0]).returncode == 0
        proto = altered(model, tmp_path / "other.onnx", other_files)
        beside.write_bytes(proto.read_bytes())
        done = alone("predict", "--run", run, photographs[0])
        assert done.returncode == 2 and "has other parameters than" in done.stderr
    finally:
        beside.unlink()


def test_a_run_folder_without_mxnet_has_its_own_temperature(tmp_path, monkeypatch):
    """It may be fitted after the export, which only knows the one of then."""
    run = RunWriter.open(shutil.copytree(SHIPPED_RUN, tmp_path / "run"))
    monkeypatch.setattr(mlr.methods, "is_installed", lambda name: name != "mxnet")
    assert answering(run).classifier.temperature == run.temperature("last")
    fitted = {"temperature": 7.5, "files": run.files_of("last")}
    run.save_files({"last.temperature.json": json.dumps(fitted)})
    assert answering(run).classifier.temperature == 7.5
    assert answering(run, tempered=False).classifier.temperature is None
    with pytest.raises(InputError, match="model.onnx has only the last parameters of its run: exp"):
        answering(run, parameters="best")


def other_files(proto):
    about = {entry.key: entry.value for entry in proto.metadata_props}
    of_run = json.loads(about["run"])
    of_run["files"] = {"last.params": hashlib.sha256(b"").hexdigest()}
    metadata(run=json.dumps(of_run))(proto)
