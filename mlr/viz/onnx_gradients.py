"""Grad-CAM of an ONNX model. ONNX Runtime has no gradients, so this module computes them node by
node, for the few layers between the deepest map and the logits.
"""

from typing import Any, Callable, Dict, List, Mapping, Sequence

import numpy as np

from mlr.errors import InputError

Arrays = Mapping[str, np.ndarray]
# (node, values by name, gradient with respect to its output, number of an input) -> gradient with
# respect to that input
Backward = Callable[[Any, Arrays, np.ndarray, int], np.ndarray]


def nodes_between(graph: Any, deepest: str, output: str) -> List[Any]:
    """Return the nodes of an ONNX graph on the way from the deepest map to the output, in order.
    The way through a Gram matrix does not count: Grad-CAM weighs what the deep representation says.

    Raises InputError if there are none, or if this module lacks the gradient of one.
    """
    reached, between = {deepest}, []
    for node in graph.node:
        is_gram = node.op_type == "MatMul" and reached.issuperset(node.input)
        if reached.intersection(node.input) and not is_gram:
            reached.update(node.output)
            between.append(node)
    needed = {output}
    path: List[Any] = []
    for node in reversed(between):
        if needed.intersection(node.output):
            needed.update(node.input)
            path.insert(0, node)
    others = sorted({node.op_type for node in path} - set(BACKWARD))
    if others or not path:
        raise InputError(
            f"Grad-CAM needs the gradient of {others[0] if others else 'no node'}, which only "
            "MXNet computes: give the run folder"
            + (", or export it without --int8" if "Linear" in "".join(others) else "")
        )
    return path


def grad_cam(
    nodes: Sequence[Any],
    values: Arrays,
    deepest: str,
    output: str,
    classes: Sequence[int],
) -> np.ndarray:
    """Return the Grad-CAM map of each image for its class, (N, h, w), at least 0, as
    `mlr.viz.attribution.grad_cam` does.

    nodes: what `nodes_between` returned. values: {name: array} of all inputs and outputs of these
    nodes: constants, and results of ONNX Runtime. output: the name of the logits (N, K).
    """
    gradients: Dict[str, np.ndarray] = {
        output: np.eye(values[output].shape[1], dtype=np.float32)[list(classes)]
    }
    for node in reversed(nodes):
        gradient = gradients[node.output[0]]
        for number, name in enumerate(node.input):
            if name == deepest or any(name in each.output for each in nodes):
                share = BACKWARD[node.op_type](node, values, gradient, number)
                gradients[name] = gradients[name] + share if name in gradients else share
    weights = gradients[deepest].mean(axis=(2, 3), keepdims=True)  # (N, C, 1, 1)
    return np.maximum((weights * values[deepest]).sum(axis=1), 0)


def _attribute(node: Any, name: str, default: Any = None) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return attribute.f if attribute.type == 1 else attribute.i
    return default


def _relu(node: Any, values: Arrays, gradient: np.ndarray, number: int) -> np.ndarray:
    return gradient * (values[node.output[0]] > 0)


def _clip(node: Any, values: Arrays, gradient: np.ndarray, number: int) -> np.ndarray:
    lowest, highest = (values[name] for name in node.input[1:])
    given = values[node.input[0]]
    return gradient * ((given >= lowest) & (given <= highest))


def _batch_norm(node: Any, values: Arrays, gradient: np.ndarray, number: int) -> np.ndarray:
    gamma, variance = values[node.input[1]], values[node.input[4]]
    factor = gamma / np.sqrt(variance + np.float32(_attribute(node, "epsilon", 1e-5)))
    return gradient * factor.reshape(1, -1, *(1,) * (gradient.ndim - 2))


def _reshaped(node: Any, values: Arrays, gradient: np.ndarray, number: int) -> np.ndarray:
    return gradient.reshape(values[node.input[0]].shape)


def _global_average(node: Any, values: Arrays, gradient: np.ndarray, number: int) -> np.ndarray:
    shape = values[node.input[0]].shape
    return np.broadcast_to(gradient / (shape[2] * shape[3]), shape)


def _max_pool(node: Any, values: Arrays, gradient: np.ndarray, number: int) -> np.ndarray:
    """Of several maxima in a window the first gets the gradient, as in MXNet."""
    given, highest = values[node.input[0]], values[node.output[0]]
    sides, strides, pads = (_sides(node, name) for name in ("kernel_shape", "strides", "pads"))
    around = ((0, 0), (0, 0), *zip(pads[:2], pads[2:]))
    padded = np.pad(given, around, constant_values=-np.inf)
    shares, left = np.zeros_like(padded), np.ones(highest.shape, bool)
    for place in np.ndindex(*sides):
        window = (...,) + tuple(
            slice(start, start + step * (count - 1) + 1, step)
            for start, step, count in zip(place, strides, highest.shape[2:])
        )
        first = left & (padded[window] == highest)
        shares[window] += gradient * first
        left &= ~first
    inside = (...,) + tuple(
        slice(before, before + side) for before, side in zip(pads, given.shape[2:])
    )
    return shares[inside]


def _sides(node: Any, name: str) -> Sequence[int]:
    return next(attribute.ints for attribute in node.attribute if attribute.name == name)


def _dense(node: Any, values: Arrays, gradient: np.ndarray, number: int) -> np.ndarray:
    weight = values[node.input[1]]
    return gradient @ (weight if _attribute(node, "transB", 0) else weight.T)


def _concat(node: Any, values: Arrays, gradient: np.ndarray, number: int) -> np.ndarray:
    axis = _attribute(node, "axis")
    widths = [values[name].shape[axis] for name in node.input]
    return np.split(gradient, np.cumsum(widths)[:-1], axis=axis)[number]


def _sum(node: Any, values: Arrays, gradient: np.ndarray, number: int) -> np.ndarray:
    return gradient


def _product(node: Any, values: Arrays, gradient: np.ndarray, number: int) -> np.ndarray:
    return gradient * values[node.input[1 - number]]


BACKWARD: Dict[str, Backward] = {
    "Add": _sum,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": _concat,
    "Flatten": _reshaped,
    "Gemm": _dense,
    "GlobalAveragePool": _global_average,
    "MaxPool": _max_pool,
    "Mul": _product,
    "Relu": _relu,
    "Reshape": _reshaped,
}
