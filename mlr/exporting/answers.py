"""Adds the steps between a network's output and its method's answer to an ONNX model."""

from typing import Mapping, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from mlr import paper
from mlr.exporting.onnx import Graph, add_answer
from mlr.formats.onnx import OBJECTNESS, PROBABILITIES


class Arithmetic:
    """A graph in float64 whose names begin with a prefix."""

    def __init__(self, prefix: str) -> None:
        self.graph = Graph()
        self._prefix = prefix

    def constant(self, name: str, value: object, dtype: type = np.float64) -> str:
        """Add a constant, and return its name."""
        return self.graph.constant(self._prefix + name, value, dtype)

    def add(self, operator: str, name: str, *inputs: str, **attributes: object) -> str:
        """Add a node with one output, and return the output's name."""
        return self.graph.add(operator, inputs, self._prefix + name, **attributes)

    def probabilities(self, values: str) -> None:
        """Make values, in float32, the graph's output."""
        self.graph.add("Cast", [values], PROBABILITIES, to=TensorProto.FLOAT)


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
    svm = Arithmetic("svm_")
    features = svm.add("Cast", "features", model.graph.output[0].name, to=TensorProto.DOUBLE)
    centred = svm.add("Sub", "centred", features, svm.constant("mean", arrays["mean"]))
    scaled = svm.add("Div", "scaled", centred, svm.constant("scale", arrays["scale"]))
    products = _products(svm, scaled, arrays)
    intercepts = svm.constant("intercepts", arrays["intercepts"])
    scores = _scores(svm, svm.add("Add", "decisions", products, intercepts), *pairs)
    svm.probabilities(svm.add("Softmax", "softmax", scores, axis=1))
    add_answer(model, svm.graph, PROBABILITIES, ("N", pairs[0].shape[1]))


def _products(svm: Arithmetic, scaled: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Add the decisions (N, P) without their intercepts; scaled: the features (N, D)."""
    if "weights" in arrays:
        return svm.add("MatMul", "products", scaled, svm.constant("weights", arrays["weights"].T))
    vectors = arrays["support_vectors"]
    # |x - v|^2 = x x - 2 x v + v v, (N, V)
    squares = svm.add("Mul", "squares", scaled, scaled)
    axis = svm.constant("axis", [1], np.int64)
    own = svm.add("ReduceSum", "own", squares, axis, keepdims=1)
    both = svm.add("MatMul", "both", scaled, svm.constant("vectors", -2 * vectors.T))
    norms = svm.constant("norms", (vectors**2).sum(axis=1))
    distances = svm.add("Add", "whole", svm.add("Add", "distances", own, both), norms)
    positive = svm.add("Max", "positive", distances, svm.constant("zero", np.zeros(())))
    narrowed = svm.add("Mul", "narrowed", positive, svm.constant("gamma", -arrays["gamma"]))
    coefficients = svm.constant("coefficients", arrays["coefficients"].T)
    return svm.add("MatMul", "products", svm.add("Exp", "kernel", narrowed), coefficients)


def _scores(svm: Arithmetic, decisions: str, firsts: np.ndarray, seconds: np.ndarray) -> str:
    """Add the scores (N, K) of the classes; decisions: (N, P)."""
    if firsts.shape[1] == 2:
        return svm.add("Concat", "scores", decisions, svm.add("Neg", "against", decisions), axis=1)
    sums = svm.add("MatMul", "sums", decisions, svm.constant("sides", firsts - seconds))
    # Each pair votes for its first class if d >= 0, else for its second:
    # (d >= 0) (first - second) + second
    threshold = svm.constant("threshold", np.zeros(()))
    sides = svm.add("GreaterOrEqual", "sides_taken", decisions, threshold)
    taken = svm.add("Cast", "taken", sides, to=TensorProto.DOUBLE)
    moved = svm.add("MatMul", "moved", taken, "svm_sides")
    votes = svm.add("Add", "votes", moved, svm.constant("of_seconds", seconds.sum(axis=0)))
    below = svm.add("Add", "below", svm.add("Abs", "sizes", sums), svm.constant("one", np.ones(())))
    thrice = svm.add("Mul", "thrice", below, svm.constant("three", np.full((), 3.0)))
    return svm.add("Add", "scores", votes, svm.add("Div", "part", sums, thrice))


def add_fusion(model: onnx.ModelProto, classes: int) -> None:
    """Add AR's fusion to a model whose output is logits (10 + R, K); the new output is the
    probabilities (1, K) of one image.

    The model's input is then ten crops of the image, followed by R regions, R > 0; a second input
    is the objectness of the regions, (R,) float64. Computes the same as
    `mlr.inference.regions.fuse`.
    """
    ar = Arithmetic("ar_")
    zero, ten, end, first_axis = (
        ar.constant(name, [value], np.int64)
        for name, value in (("first", 0), ("ten", 10), ("end", np.iinfo(np.int64).max), ("axis", 0))
    )
    logits = ar.add("Cast", "logits", model.graph.output[0].name, to=TensorProto.DOUBLE)
    of_crops = ar.add("Softmax", "of_crops", logits, axis=1)
    crops = ar.add("Slice", "crops", of_crops, zero, ten, first_axis)
    image = ar.add("ReduceMean", "image", crops, axes=[0], keepdims=1)  # (1, K)
    regions = ar.add("Slice", "regions", of_crops, ten, end, first_axis)  # (R, K)
    chosen = ar.add(
        "Gather", "of_chosen", regions, _highest(ar, _region_scores(ar, regions)), axis=0
    )
    together = ar.add("ReduceMean", "together", chosen, axes=[0], keepdims=1)
    parts = (
        ar.add("Mul", f"part_{name}", value, ar.constant(name, weight))
        for name, value, weight in (
            ("image_weight", image, 1 - paper.AR_BETA),
            ("regions_weight", together, paper.AR_BETA),
        )
    )
    ar.probabilities(ar.add("Add", "fused", *parts))
    model.graph.input.append(helper.make_tensor_value_info(OBJECTNESS, TensorProto.DOUBLE, ("R",)))
    add_answer(model, ar.graph, PROBABILITIES, (1, classes))


def _region_scores(ar: Arithmetic, regions: str) -> str:
    """Add the scores (R,) by which regions are chosen; regions: their probabilities (R, K)."""
    least = ar.constant("least", np.finfo(np.float64).tiny)

    def scaled(name: str, scores: str) -> str:
        """Return scores (R,) scaled to [0, 1]; all 0 if all are equal."""
        lowest = ar.add("ReduceMin", name + "_lowest", scores, axes=[0], keepdims=1)
        highest = ar.add("ReduceMax", name + "_highest", scores, axes=[0], keepdims=1)
        between = ar.add("Sub", name + "_between", highest, lowest)
        above = ar.add("Sub", name + "_above", scores, lowest)
        return ar.add(
            "Div", name + "_scaled", above, ar.add("Max", name + "_extent", between, least)
        )

    logarithms = ar.add("Log", "logarithms", ar.add("Max", "above_zero", regions, least))
    products = ar.add("Mul", "products", regions, logarithms)
    last_axis = ar.constant("last_axis", [1], np.int64)
    negative_entropy = ar.add("ReduceSum", "negative_entropy", products, last_axis, keepdims=0)
    rest, alpha = ar.constant("rest", 1 - paper.AR_ALPHA), ar.constant("alpha", paper.AR_ALPHA)
    sure = ar.add("Mul", "sure", scaled("sentiment", negative_entropy), rest)
    there = ar.add("Mul", "there", scaled("object", OBJECTNESS), alpha)
    return ar.add("Add", "scores", sure, there)


def _highest(ar: Arithmetic, scores: str) -> str:
    """Add the indices of the highest scores (R,), at most AR_TOP."""
    top = ar.constant("top", [paper.AR_TOP], np.int64)
    count = ar.add("Min", "count", ar.add("Shape", "found", scores), top)
    ar.graph.nodes.append(
        helper.make_node(
            "TopK", [scores, count], ["ar_highest", "ar_chosen"], name="ar_top_k", axis=0
        )
    )
    return "ar_chosen"
