"""What works without MXNet, on any Python from 3.8 to 3.13 and NumPy 1 or 2: `make test-portable`.

Nothing here imports MXNet or needs what only comes with it; `make test` runs it beside MXNet, too.
"""

import json
import shutil
import subprocess
import sys
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper, numpy_helper

import mlr
from mlr import doctor, evaluate, predict, train, visualize
from mlr.errors import InputError
from mlr.runs.shipped import DEMO_RUN, SHIPPED_RUN
from mlr.viz.onnx_gradients import grad_cam, nodes_between

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHIPPED_MODEL = ROOT / "checkpoints" / "photos" / "model.onnx"
sys.path.insert(0, str(HERE))  # tests/conftest.py, which sets paths, needs MXNet

from drawn import CLASSES, picture, write_data  # noqa: E402

MODEL, SMALL = HERE / "model.onnx", HERE / "small.onnx"
EXPECTED = json.loads((HERE / "expected.json").read_text())  # MXNet's answers, by make_model.py
PICTURES = [picture(number) for number in range(len(EXPECTED))]
without_mxnet = pytest.mark.skipif(find_spec("mxnet") is not None, reason="MXNet is here")


@pytest.mark.parametrize(
    "model, within",
    [
        (MODEL, 1e-4),  # float32 in both, sums in another order
        # 8 bits; a processor without VNNI clips sums of products
        (SMALL, 0.15),
    ],
)
def test_answers_are_the_runs(model, within):
    for answer, expected in zip(mlr.load(model)(PICTURES), EXPECTED):
        assert answer.label == max(expected, key=expected.get)
        found = [answer.probabilities[name] for name in expected]
        assert_allclose(found, list(expected.values()), rtol=0, atol=within)


def test_predict_answers_files_of_several_formats(tmp_path, capsys):
    names = "a.png", "b.bmp", "c.tiff"
    for name in names:
        cv2.imwrite(str(tmp_path / name), PICTURES[1][:, :, ::-1])
    (tmp_path / "d.png").write_bytes(b"not an image")
    assert predict.main(["--run", str(MODEL), "--json", str(tmp_path)]) == 2
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [Path(line["image"]).name for line in lines] == list(names)
    assert "d.png can't be decoded" in said.err
    for line in lines:
        found = [line["probabilities"][name] for name in EXPECTED[1]]
        assert_allclose(found, list(EXPECTED[1].values()), rtol=0, atol=1e-4)


@pytest.mark.parametrize("model, warned", [(MODEL, False), (SMALL, True)])
def test_8_bits_on_a_processor_that_clips_them(model, warned, monkeypatch, capsys):
    monkeypatch.setattr("mlr.inference.onnx_engine.sums_8_bits_exactly", lambda: False)
    mlr.load(model)
    assert ("this processor has no VNNI" in capsys.readouterr().err) == warned
    monkeypatch.setattr("mlr.inference.onnx_engine.sums_8_bits_exactly", lambda: True)
    mlr.load(model)
    assert capsys.readouterr().err == ""


@pytest.mark.slow  # beside MXNet; make test-portable runs all
def test_evaluate_measures_and_reports(tmp_path, capsys):
    data = write_data(tmp_path / "data", {"train": 4, "test": 8})
    model = shutil.copy(str(MODEL), str(tmp_path / "model.onnx"))
    assert evaluate.main(["--run", model, "--data", str(data), "--report"]) == 0
    assert "accuracy 1.000, balanced accuracy 1.000 on 8 images" in capsys.readouterr().out
    written = sorted(path.name for path in (tmp_path / "model-results").iterdir())
    assert [name.partition("_")[0] for name in written] == [
        "confusion",
        "evaluation",
        "predictions",
        "reliability",
        "report",
    ]
    evaluation = json.loads((tmp_path / "model-results" / written[1]).read_text())
    assert evaluation["engine"] == "onnx" and evaluation["confusion"] == [[4, 0], [0, 4]]
    assert set(evaluation["recall"]) == set(CLASSES)


def test_serve_answers_by_the_shipped_model():
    photo = (ROOT / "imgs" / "photos" / "flower.jpg").read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlr", "serve", "--run", str(SHIPPED_MODEL), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().split()[4]
        assert answer_of(address + "/predict", photo)["images"][0]["label"] == "awe"
        (view,) = answer_of(address + "/views", photo)["views"]
        assert view["title"] == "Grad-CAM for awe"
    finally:
        process.terminate()
        assert process.wait(60) == 143


def answer_of(address, content):
    """Return what the server says of an image that is sent as a form."""
    head = b'--edge\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
    request = urllib.request.Request(
        address,
        head + content + b"\r\n--edge--\r\n",
        {"Content-Type": "multipart/form-data; boundary=edge"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_a_damaged_model_is_refused(tmp_path, capsys):
    content = MODEL.read_bytes()
    cv2.imwrite(str(tmp_path / "x.png"), PICTURES[0])
    (tmp_path / "a.onnx").write_bytes(content[:900] + b"\0" + content[901:])
    assert predict.main(["--run", str(tmp_path / "a.onnx"), str(tmp_path / "x.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "a.onnx is damaged or was changed after mlr export wrote it" in line


def test_a_model_of_somebody_else_is_refused(tmp_path):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1,))
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    onnx.save(helper.make_model(graph), str(tmp_path / "a.onnx"))
    with pytest.raises(InputError, match="is not a model of mlr export"):
        mlr.load(tmp_path / "a.onnx")


def test_views_of_a_run_are_not_those_of_a_model(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "a.png"), PICTURES[0])
    given = ["--run", str(MODEL), "--image", str(tmp_path / "a.png"), "--out", "b.png"]
    assert visualize.main([*given, "--view", "grad-cam"]) == 2
    assert "a run of the method shallow" in capsys.readouterr().err


@without_mxnet
def test_what_needs_mxnet_says_so(capsys, tmp_path):
    assert train.main(["--data", "demo", "--out", str(tmp_path / "run")]) == 1
    assert "MXNet is not installed" in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "x.png"), PICTURES[0])
    assert predict.main(["--run", str(DEMO_RUN), str(tmp_path / "x.png")]) == 1
    assert f"mlr export --run {DEMO_RUN}" in capsys.readouterr().err
    given = ("--run", str(SHIPPED_RUN), "--image", str(tmp_path / "x.png"))
    assert visualize.main([*given, "--out", str(tmp_path / "y.png")]) == 1
    assert "MXNet is not installed" in capsys.readouterr().err


@without_mxnet
def test_doctor_says_what_can_be_done(capsys):
    doctor.main([])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("can ") and "exported runs (.onnx), with ONNX Runtime" in lines[0]
    assert "train" not in lines[0]


def test_nothing_loads_mxnet():
    code = (
        "import sys, mlr; from mlr import predict; "
        f"predict.main(['--run', {str(MODEL)!r}, {str(HERE / 'drawn.py')!r}]); "
        "print([name for name in ('mxnet', 'scipy', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n" and "drawn.py can't be decoded" in done.stderr


def head(draw):
    """A model with every kind of node that a head has: from a map (N, 4, 6, 6) to logits (N, 3)."""
    shapes = {"scale": 4, "shift": 4, "mean": 4, "w": (5, 16), "v": (3, 9), "b": 5, "c": 3}
    arrays = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["variance"] = draw.uniform(0.5, 2, 4).astype(np.float32)
    for name, value in (("low", 0), ("six", 6)):
        arrays[name] = np.array(value, np.float32)
    arrays["rows"] = np.array([-1, 16], np.int64)
    nodes = [
        ("Identity", ["images"], "map", {}),
        ("BatchNormalization", ["map", "scale", "shift", "mean", "variance"], "n", {}),
        ("Relu", ["n"], "r", {}),
        ("GlobalAveragePool", ["r"], "g", {}),
        ("Flatten", ["g"], "deep", {}),
        ("MaxPool", ["map"], "p", {"kernel_shape": [3, 3], "strides": [3, 3], "pads": [0] * 4}),
        ("Reshape", ["p", "rows"], "q", {}),
        ("Gemm", ["q", "w", "b"], "d", {"transB": 1}),
        ("Clip", ["d", "low", "six"], "e", {}),
        ("Concat", ["deep", "e"], "both", {"axis": 1}),
        ("Mul", ["both", "both2"], "m", {}),
        ("Add", ["m", "both"], "s", {}),
        ("Gemm", ["s", "v", "c"], "logits", {"transB": 1}),
    ]
    nodes.insert(10, ("Clip", ["both", "low", "six"], "both2", {}))
    graph = helper.make_graph(
        [helper.make_node(kind, given, [out], **more) for kind, given, out, more in nodes],
        "head",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ("N", 4, 6, 6))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("N", 3))],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8), arrays


def test_the_gradient_is_that_of_finite_differences():
    draw = np.random.RandomState(3)
    model, values = head(draw)
    maps, classes = draw.normal(size=(2, 4, 6, 6)).astype(np.float32), [2, 0]
    nodes = nodes_between(model.graph, "map", "logits")
    asked = [name for node in nodes for name in node.output] + ["map"]
    model.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in asked if name != "logits"
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    values.update(zip(asked, session.run(asked, {"images": maps})))
    found = grad_cam(nodes, values, "map", "logits", classes)
    weights = np.empty((2, 4))
    for channel in range(4):
        step = np.zeros_like(maps)
        step[:, channel] = 2e-3
        more, less = (
            session.run(["logits"], {"images": maps + sign * step})[0] for sign in (1, -1)
        )
        weights[:, channel] = ((more - less) / 4e-3)[range(2), classes] / 36
    expected = np.maximum((weights[:, :, None, None] * maps).sum(axis=1), 0)
    # differences of float32, and a bend that a step crosses
    assert_allclose(found, expected, rtol=0, atol=0.02 * expected.max())


def test_without_a_gradient_it_is_said():
    model, _ = head(np.random.RandomState(0))
    model.graph.node[2].op_type = "QuantizeLinear"
    with pytest.raises(InputError, match="needs the gradient of QuantizeLinear.*without --int8"):
        nodes_between(model.graph, "map", "logits")
