"""What is put behind a network in ONNX, against what answers beside it in this package."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose
from onnx import TensorProto, helper

from mlr.exporting.answers import add_fusion, add_support_vectors
from mlr.exporting.onnx import IR_VERSION
from mlr.formats.onnx import OPERATORS, OPSET
from mlr.inference.regions import fuse
from mlr.inference.support_vectors import fit, sides_of_pairs


def passing(width, name):
    """A model that hands on what it is given, (N, width)."""
    values = [
        helper.make_tensor_value_info(each, TensorProto.FLOAT, ("N", width))
        for each in ("images", name)
    ]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["images"], [name])], "mlr", values[:1], values[1:]
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)


def run(model, **inputs):
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} - {"Identity"} <= OPERATORS
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["probabilities"], inputs)[0]


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_the_support_vector_machine(kernel, classes):
    draw = np.random.RandomState(classes)
    labels = np.arange(60) % classes
    features = draw.normal(size=(60, 12)) + labels[:, None] * 0.3
    machine = fit(features, labels, kernel)
    model = passing(12, "features")
    add_support_vectors(model, machine.arrays(), sides_of_pairs(classes))
    asked = np.concatenate([features, draw.normal(size=(40, 12)) * 2]).astype(np.float32)
    # the answer is handed out in float32
    found = run(model, images=asked)
    assert_allclose(found, machine.probabilities(asked), rtol=0, atol=1e-6)


@pytest.mark.parametrize("regions", [1, 5, 8, 20])
def test_the_fusion_of_regions(regions):
    draw = np.random.RandomState(regions)
    logits = draw.normal(0, 2, (10 + regions, 3)).astype(np.float32)
    logits[-1] = [0, 200, 0]  # a probability that rounds to 0
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    model = passing(3, "logits")
    add_fusion(model, 3)
    for objectness in (draw.uniform(size=regions), np.zeros(regions)):
        expected, _ = fuse(probabilities[:10].mean(axis=0), probabilities[10:], objectness)
        # the answer is handed out in float32
        found = run(model, images=logits, objectness=objectness)
        assert_allclose(found, expected[None], rtol=0, atol=1e-6)


def test_of_regions_that_are_alike_the_first_are_taken():
    """As the sort of `fuse` leaves equal scores in their order."""
    logits = np.zeros((22, 3), np.float32)
    logits[10:, 0] = [1, -1] * 6
    objectness = np.zeros(12)
    model = passing(3, "logits")
    add_fusion(model, 3)
    powers = np.exp(logits.astype(np.float64))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    expected, chosen = fuse(probabilities[:10].mean(axis=0), probabilities[10:], objectness)
    assert len(chosen) == 8
    found = run(model, images=logits, objectness=objectness)
    assert_allclose(found, expected[None], rtol=0, atol=1e-6)
