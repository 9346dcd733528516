"""Adds the steps between a network's output and its method's answer to an ONNX model."""

from typing import Mapping, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from mlr import paper
from mlr.exporting.onnx import Graph, add_answer
from mlr.formats.onnx import OBJECTNESS, PROBABILITIES


def add_support_vectors(
    model: onnx.ModelProto,
    arrays: Mapping[str, np.ndarray],
    pairs: Tuple[np.ndarray, np.ndarray],
) -> None:
    """Add a support vector machine to a model whose output is features (N, D); the new output is
    the probabilities (N, K).

    arrays: what `mlr.inference.support_vectors.SupportVectorMachine.arrays` returns. pairs: two
    arrays (P, K) of 0 and 1, which mark the first and the second class of each pair. The new nodes
    compute in float64, as the machine does.
    """
    graph = Graph()

    def constant(name: str, value: np.ndarray) -> str:
        return graph.constant("svm_" + name, value, np.float64)

    def add(operator: str, name: str, *inputs: str, **attributes: object) -> str:
        return graph.add(operator, inputs, "svm_" + name, **attributes)

    features = add("Cast", "features", model.graph.output[0].name, to=TensorProto.DOUBLE)
    centred = add("Sub", "centred", features, constant("mean", arrays["mean"]))
    scaled = add("Div", "scaled", centred, constant("scale", arrays["scale"]))
    if "weights" in arrays:
        products = add("MatMul", "products", scaled, constant("weights", arrays["weights"].T))
    else:
        vectors = arrays["support_vectors"]
        # |x - v|^2 = x x - 2 x v + v v, (N, V)
        squares = add("Mul", "squares", scaled, scaled)
        axis = graph.constant("svm_axis", [1], np.int64)
        own = add("ReduceSum", "own", squares, axis, keepdims=1)
        both = add("MatMul", "both", scaled, constant("vectors", -2 * vectors.T))
        distances = add("Add", "distances", own, both)
        distances = add("Add", "whole", distances, constant("norms", (vectors**2).sum(axis=1)))
        positive = add("Max", "positive", distances, constant("zero", np.zeros(())))
        kernel = add(
            "Exp", "kernel", add("Mul", "narrowed", positive, constant("gamma", -arrays["gamma"]))
        )
        products = add(
            "MatMul", "products", kernel, constant("coefficients", arrays["coefficients"].T)
        )
    decisions = add("Add", "decisions", products, constant("intercepts", arrays["intercepts"]))
    firsts, seconds = pairs
    classes = firsts.shape[1]
    if classes == 2:
        scores = add("Concat", "scores", decisions, add("Neg", "against", decisions), axis=1)
    else:
        sums = add("MatMul", "sums", decisions, constant("sides", firsts - seconds))
        # each pair votes for its first class if d >= 0, else for its second: (d >= 0) (first -
        # second) + second
        sides = add("GreaterOrEqual", "sides_taken", decisions, constant("threshold", np.zeros(())))
        taken = add("Cast", "taken", sides, to=TensorProto.DOUBLE)
        moved = add("MatMul", "moved", taken, "svm_sides")
        votes = add("Add", "votes", moved, constant("of_seconds", seconds.sum(axis=0)))
        one = constant("one", np.ones(()))
        below = add("Add", "below", add("Abs", "sizes", sums), one)
        third = add(
            "Div", "part", sums, add("Mul", "thrice", below, constant("three", np.full((), 3.0)))
        )
        scores = add("Add", "scores", votes, third)
    softmax = add("Softmax", "softmax", scores, axis=1)
    graph.add("Cast", [softmax], PROBABILITIES, to=TensorProto.FLOAT)
    add_answer(model, graph, PROBABILITIES, ("N", classes))


def add_fusion(model: onnx.ModelProto, classes: int) -> None:
    """Add AR's fusion to a model whose output is logits (10 + R, K); the new output is the
    probabilities (1, K) of one image.

    The model's input is then ten crops of the image, followed by R regions, R > 0; a second input
    is the objectness of the regions, (R,) float64. Computes the same as
    `mlr.inference.regions.fuse`.
    """
    graph = Graph()

    def constant(name: str, value: object, dtype: type = np.float64) -> str:
        return graph.constant("ar_" + name, value, dtype)

    def add(operator: str, name: str, *inputs: str, **attributes: object) -> str:
        return graph.add(operator, inputs, "ar_" + name, **attributes)

    def scaled(name: str, scores: str) -> str:
        """Return scores (R,) scaled to [0, 1]; all 0 if all are equal."""
        lowest = add("ReduceMin", name + "_lowest", scores, axes=[0], keepdims=1)
        highest = add("ReduceMax", name + "_highest", scores, axes=[0], keepdims=1)
        extent = add("Max", name + "_extent", add("Sub", name + "_between", highest, lowest), least)
        return add("Div", name + "_scaled", add("Sub", name + "_above", scores, lowest), extent)

    zero, ten, end, first_axis = (
        constant(name, [value], np.int64)
        for name, value in (("first", 0), ("ten", 10), ("end", np.iinfo(np.int64).max), ("axis", 0))
    )
    least = constant("least", np.finfo(np.float64).tiny)
    logits = add("Cast", "logits", model.graph.output[0].name, to=TensorProto.DOUBLE)
    of_crops = add("Softmax", "of_crops", logits, axis=1)
    crops = add("Slice", "crops", of_crops, zero, ten, first_axis)
    image = add("ReduceMean", "image", crops, axes=[0], keepdims=1)  # (1, K)
    regions = add("Slice", "regions", of_crops, ten, end, first_axis)  # (R, K)
    logarithms = add("Log", "logarithms", add("Max", "above_zero", regions, least))
    products = add("Mul", "products", regions, logarithms)
    last_axis = constant("last_axis", [1], np.int64)
    negative_entropy = add("ReduceSum", "negative_entropy", products, last_axis, keepdims=0)
    sure = add(
        "Mul", "sure", scaled("sentiment", negative_entropy), constant("rest", 1 - paper.AR_ALPHA)
    )
    there = add("Mul", "there", scaled("object", OBJECTNESS), constant("alpha", paper.AR_ALPHA))
    scores = add("Add", "scores", sure, there)
    top = constant("top", [paper.AR_TOP], np.int64)
    count = add("Min", "count", add("Shape", "found", scores), top)
    graph.nodes.append(
        helper.make_node(
            "TopK", [scores, count], ["ar_highest", "ar_chosen"], name="ar_top_k", axis=0
        )
    )
    chosen = add("Gather", "of_chosen", regions, "ar_chosen", axis=0)
    together = add("ReduceMean", "together", chosen, axes=[0], keepdims=1)
    parts = (
        add("Mul", f"part_{name}", value, constant(name, weight))
        for name, value, weight in (
            ("image_weight", image, 1 - paper.AR_BETA),
            ("regions_weight", together, paper.AR_BETA),
        )
    )
    graph.add("Cast", [add("Add", "fused", *parts)], PROBABILITIES, to=TensorProto.FLOAT)
    model.graph.input.append(helper.make_tensor_value_info(OBJECTNESS, TensorProto.DOUBLE, ("R",)))
    add_answer(model, graph, PROBABILITIES, (1, classes))
