"""Converts a Gluon network to an ONNX model: MXNet's own graph, operator by operator.

CONVERSIONS has a function for each supported operator of MXNet. It gets the `Graph` to add to, the
`Node` to convert and the names of the node's inputs, and returns the name of the output. It follows
the operators' documentation in MXNet 1.5.1 and ONNX's opset 17.
"""

import ast
import json
from collections import Counter
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import mxnet as mx
import numpy as np
import onnx
from mxnet.gluon import HybridBlock
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from mlr.errors import InputError
from mlr.formats.onnx import DEEPEST, IMAGES, OPSET, sealed
from mlr.model.gram import without_gradients

Conversion = Callable[..., str]

IR_VERSION = 8  # IR 8 and opset 17 are those of ONNX 1.12 (2022), which all current runtimes read
Shape = Tuple[Any, ...]  # of int; None stands for the batch size
END = np.iinfo(np.int64).max  # the end of a slice that goes to the last element


class Node(NamedTuple):
    """A node of MXNet's graph. attrs: its attributes, parsed. shapes: those of its inputs. shape:
    that of its output; None for lengths that depend on the batch size.
    """

    name: str
    op: str
    attrs: Dict[str, Any]
    shapes: List[Shape]
    shape: Shape

    def fail(self, what: str) -> InputError:
        """Return the InputError that says which part of the node, `what`, has no conversion."""
        return InputError(
            "the network can't be written as ONNX: mlr.exporting.onnx.CONVERSIONS has no "
            f"conversion for {what} of the node {self.name} (operator {self.op} of MXNet); add "
            "one there, or give --format symbol or npz"
        )

    def only(self, **allowed: Any) -> None:
        """Raise InputError if an attribute has another value than the one given here."""
        for name, value in allowed.items():
            if self.attrs.get(name, value) != value:
                raise self.fail(f"{name}={self.attrs[name]}")


class Graph:
    """An ONNX graph under construction. Nodes that depend only on constants, not on images or
    parameters, are computed when they are added.
    """

    def __init__(self) -> None:
        self.nodes: List[onnx.NodeProto] = []
        self.parameters: Dict[str, np.ndarray] = {}
        self.constants: Dict[str, np.ndarray] = {}

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant under a name; return the name."""
        self.constants[name] = np.asarray(value, dtype)
        return name

    def add(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node with one output; return the output's name, which is the node's name."""
        node = helper.make_node(op, inputs, [name], name=name, **attributes)
        if all(value in self.constants for value in inputs):
            evaluator: Any = ReferenceEvaluator(node, opsets={"": OPSET})
            (computed,) = evaluator.run(None, {value: self.constants[value] for value in inputs})
            return self.constant(name, computed)
        self.nodes.append(node)
        return name

    def proto(
        self, images: onnx.ValueInfoProto, output: str, output_name: str, shape: Sequence[Any]
    ) -> onnx.GraphProto:
        """Return the GraphProto with the nodes and arrays that the output needs. images:
        ValueInfoProto of the input. shape: that of the output.
        """
        needed = {output}
        nodes: List[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if node.output[0] in needed:
                needed.update(node.input)
                nodes.insert(0, node)
        for node in nodes:
            _rename(node, output, output_name)
        return helper.make_graph(
            nodes,
            "mlr",
            [images],
            [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, shape)],
            [
                numpy_helper.from_array(array, name)
                for name, array in {**self.parameters, **self.constants}.items()
                if name in needed
            ],
        )


def onnx_model(net: HybridBlock, size: int, output: str = "logits") -> onnx.ModelProto:
    """Return a network with parameters as an ONNX ModelProto, for batches of any size N.

    net: HybridBlock, images (N, 3, size, size) -> (N, K). output: the name for the model's output.
    The model's input is `images`, float32. Parameters keep their structural names
    (backbone.stem.0.gamma). Raises InputError, which names the node, for an operator or an
    attribute without a conversion.
    """
    maps: List[mx.sym.Symbol] = []
    backbone = getattr(net, "backbone", None)
    hook = backbone and backbone.register_forward_hook(
        lambda block, inputs, outputs: maps.append(outputs[-2])
    )
    symbol = without_gradients(net(mx.sym.var(IMAGES)))
    if hook:
        hook.detach()
    names = {
        parameter.name: name
        for name, parameter in reversed(list(net._collect_params_with_prefix().items()))
    }
    graph, values, nodes = Graph(), [], _nodes(symbol, size, len(net.prefix))
    graph.parameters = {
        names[parameter.name]: parameter.data(mx.cpu()).asnumpy()
        for parameter in net.collect_params().values()
    }
    for inputs, node in nodes:
        if node.op == "null":
            values.append(names.get(node.name, IMAGES))
        else:
            values.append(CONVERSIONS[node.op](graph, node, *[values[number] for number in inputs]))
    images = helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, ("N", 3, size, size))
    model = helper.make_model(
        graph.proto(images, values[-1], output, ("N", *nodes[-1][1].shape[1:])),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    if maps:
        helper.set_model_props(model, {DEEPEST: values[_place(maps[0], symbol)]})
    return model


def _place(part: mx.sym.Symbol, symbol: mx.sym.Symbol) -> int:
    """Return the number of the node that a part of a graph ends with. The nodes of the part come
    first in the whole graph.
    """
    nodes, whole = (json.loads(each.tojson())["nodes"] for each in (part, symbol))
    last = len(nodes) - 1
    assert [node["name"] for node in nodes] == [node["name"] for node in whole[: last + 1]]
    return last


def add_answer(model: onnx.ModelProto, graph: Graph, output: str, shape: Sequence[Any]) -> None:
    """Add the nodes of a graph, which read the output of a model of `onnx_model`, to that model.

    output: the name of the graph's output, float32, which becomes the model's. shape: that of the
    output.
    """
    model.graph.node.extend(graph.nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in graph.constants.items()
    )
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))


def add_preprocessing(model: onnx.ModelProto, steps: Mapping[str, Any]) -> None:
    """Add preprocessing at the start of a model of `onnx_model`; its input is then images (N, H, W,
    3), uint8 RGB, of any H and W.

    steps: what `mlr.data.preprocessing.Preprocessing.steps` returns.
    """
    graph, network = Graph(), model.graph
    pixels = _preprocess(graph, steps)
    for node in network.node:
        _rename(node, IMAGES, pixels)
    nodes = [*graph.nodes, *network.node]
    del network.node[:], network.input[:]
    network.node.extend(nodes)
    network.input.append(
        helper.make_tensor_value_info(IMAGES, TensorProto.UINT8, ("N", "H", "W", 3))
    )
    network.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in graph.constants.items()
    )


def serialized(model: onnx.ModelProto, metadata: Dict[str, str]) -> bytes:
    """Check a model; return its bytes, with metadata, {key: text}, in its metadata_props, and with
    the seal of `mlr.formats.onnx`.
    """
    model.producer_name = "mlr"
    helper.set_model_props(
        model, {**{entry.key: entry.value for entry in model.metadata_props}, **metadata}
    )
    onnx.checker.check_model(model, full_check=True)
    return sealed(model.SerializeToString())


def _rename(node: onnx.NodeProto, old: str, new: str) -> None:
    for values in (node.input, node.output):
        values[:] = [new if value == old else value for value in values]


def _nodes(symbol: mx.sym.Symbol, size: int, prefix: int) -> List[Tuple[List[int], Node]]:
    """Return the nodes of a graph in order: for each the numbers of its inputs and its `Node`.
    prefix: the number of characters to remove from the start of names.
    """
    described = json.loads(symbol.tojson())
    found = []
    # Shapes for two batch sizes show which lengths depend on the batch size.
    one, two = (
        [
            tuple(shape)
            for shape in symbol.get_internals().infer_shape(**{IMAGES: (count, 3, size, size)})[1]
        ]
        for count in (1, 2)
    )
    used: Counter = Counter()  # the zoo's SqueezeNet and ReLU6 use a name more than once
    for node in described["nodes"]:
        name = node["name"] if node["op"] == "null" else node["name"][prefix:]
        used[name] += 1
        if used[name] > 1:
            name = f"{name}_{used[name]}"
        converted = Node(
            name,
            node["op"],
            {key: _parsed(text) for key, text in node.get("attrs", {}).items()},
            [],
            (),
        )
        # The shapes are only in the order of the nodes if every node has one output.
        if node["op"] not in ("null", *CONVERSIONS) or any(
            output for _, output, *_ in node["inputs"]
        ):
            raise converted.fail("the output")
        found.append(([number for number, *_ in node["inputs"]], converted))
    shapes = [
        tuple(length if length == other else None for length, other in zip(*pair))
        for pair in zip(one, two)
    ]
    return [
        (inputs, node._replace(shapes=[shapes[number] for number in inputs], shape=shape))
        for (inputs, node), shape in zip(found, shapes)
    ]


def _parsed(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _preprocess(graph: Graph, steps: Mapping[str, Any]) -> str:
    """Add nodes that turn images (N, H, W, 3), uint8 RGB, into the network's input; return the name
    of their output.
    """
    size, side = steps["image_size"], steps["resize"]
    pixels = _resized(graph, side)
    if side != size:
        pixels = _cropped(graph, pixels, (side - size) // 2, size)
    if steps["channel_order"] == "BGR":
        order = graph.constant("preprocessing_order", [2, 1, 0], np.int64)
        pixels = graph.add("Gather", [pixels, order], "preprocessing_bgr", axis=1)
    # (pixels * scale - mean) / std in two steps
    mean, std = (np.array(steps[name], np.float64).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    factor = graph.constant("preprocessing_factor", steps["scale"] / std)
    pixels = graph.add("Mul", [pixels, factor], "preprocessing_scaled")
    shift = graph.constant("preprocessing_shift", mean / std)
    return graph.add("Sub", [pixels, shift], "preprocessing_normalized")


def _resized(graph: Graph, side: int) -> str:
    """Add nodes that resize images (N, H, W, 3) to squares (N, 3, side, side); return the name of
    their output.
    """
    batch = graph.add(
        "Slice",
        [
            graph.add("Shape", [IMAGES], "preprocessing_shape"),
            graph.constant("preprocessing_first", [0], np.int64),
            graph.constant("preprocessing_second", [1], np.int64),
        ],
        "preprocessing_batch",
    )
    square = graph.constant("preprocessing_side", [3, side, side], np.int64)
    sizes = graph.add("Concat", [batch, square], "preprocessing_sizes", axis=0)  # N, 3, side, side
    pixels = graph.add("Transpose", [IMAGES], "preprocessing_channels_first", perm=(0, 3, 1, 2))
    pixels = graph.add("Cast", [pixels], "preprocessing_float", to=TensorProto.FLOAT)
    pixels = graph.add(
        "Resize",
        [pixels, "", "", sizes],
        "preprocessing_resize",
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    # preprocessing in mlr resizes to whole grey levels
    return graph.add("Round", [pixels], "preprocessing_round")


def _cropped(graph: Graph, pixels: str, start: int, size: int) -> str:
    """Add nodes that crop the square of `size` pixels that begins at `start` in both directions;
    return the name of their output.
    """
    bounds = [
        graph.constant("preprocessing_" + name, value, np.int64)
        for name, value in (
            ("starts", [start] * 2),
            ("ends", [start + size] * 2),
            ("height_and_width", [2, 3]),
        )
    ]
    return graph.add("Slice", [pixels, *bounds], "preprocessing_crop")


def _same(op: str) -> Conversion:
    """Return the conversion of an operator without attributes that ONNX has under the name `op`."""

    def convert(graph: Graph, node: Node, *inputs: str) -> str:
        return graph.add(op, inputs, node.name)

    return convert


def _identity(graph: Graph, node: Node, x: str) -> str:
    node.only(mode="training")  # of Dropout
    return x


def _scalar(op: str, swapped: bool = False) -> Conversion:
    """Return the conversion of an operator between an array and the number `scalar`. swapped: the
    number comes first.
    """

    def convert(graph: Graph, node: Node, x: str) -> str:
        inputs = [x, graph.constant(node.name + "_scalar", node.attrs["scalar"])]
        return graph.add(op, inputs[::-1] if swapped else inputs, node.name)

    return convert


def _activation(graph: Graph, node: Node, x: str) -> str:
    kinds = {
        "relu": "Relu",
        "sigmoid": "Sigmoid",
        "tanh": "Tanh",
        "softrelu": "Softplus",
        "softsign": "Softsign",
    }
    if node.attrs["act_type"] not in kinds:
        raise node.fail(f"act_type={node.attrs['act_type']}")
    return graph.add(kinds[node.attrs["act_type"]], [x], node.name)


def _batch_norm(
    graph: Graph, node: Node, x: str, gamma: str, beta: str, mean: str, variance: str
) -> str:
    node.only(axis=1)
    if node.attrs.get("fix_gamma", True):  # whatever gamma holds, it counts as 1
        gamma = graph.constant(gamma + "_fixed", np.ones_like(graph.parameters[gamma]))
    return graph.add(
        "BatchNormalization",
        [x, gamma, beta, mean, variance],
        node.name,
        epsilon=node.attrs.get("eps", 1e-3),
    )


def _convolution(graph: Graph, node: Node, *inputs: str) -> str:
    sides = len(node.attrs["kernel"])
    if not str(node.attrs.get("layout")).startswith(("NC", "None")):
        raise node.fail(f"layout={node.attrs['layout']}")
    return graph.add(
        "Conv",
        inputs,
        node.name,
        kernel_shape=node.attrs["kernel"],
        strides=node.attrs.get("stride") or (1,) * sides,
        dilations=node.attrs.get("dilate") or (1,) * sides,
        pads=(node.attrs.get("pad") or (0,) * sides) * 2,
        group=node.attrs.get("num_group", 1),
    )


def _fully_connected(graph: Graph, node: Node, x: str, weight: str, *bias: str) -> str:
    if node.attrs.get("flatten", True) and len(node.shapes[0]) > 2:
        x = graph.add("Flatten", [x], node.name + "_flat")
    if node.attrs.get("flatten", True) or len(node.shapes[0]) == 2:
        return graph.add("Gemm", [x, weight, *bias], node.name, transB=1)
    product = graph.add(
        "MatMul",
        [x, graph.add("Transpose", [weight], node.name + "_weight")],
        node.name + ("_product" if bias else ""),
    )
    return graph.add("Add", [product, *bias], node.name) if bias else product


def _pooling(graph: Graph, node: Node, x: str) -> str:
    """Compute the padding at the end from the known shapes, which is right for both of MXNet's ways
    of rounding them.
    """
    kind, convention = (
        node.attrs.get("pool_type", "max"),
        node.attrs.get("pooling_convention", "valid"),
    )
    if kind not in ("max", "avg") or convention not in ("valid", "full"):
        raise node.fail(f"pool_type={kind}, pooling_convention={convention}")
    operator = {"max": "MaxPool", "avg": "AveragePool"}[kind]
    if node.attrs.get("global_pool", False):
        return graph.add("Global" + operator, [x], node.name)
    kernel = node.attrs["kernel"]
    if not str(node.attrs.get("layout")).startswith(("NC", "None")):
        raise node.fail(f"layout={node.attrs['layout']}")
    stride, pad = (
        node.attrs.get("stride") or (1,) * len(kernel),
        node.attrs.get("pad") or (0,) * len(kernel),
    )
    ends = tuple(
        max(0, (out - 1) * step + width - before - size)
        for size, out, width, step, before in zip(
            node.shapes[0][2:], node.shape[2:], kernel, stride, pad
        )
    )
    if any(end >= width for end, width in zip(ends, kernel)):
        raise node.fail("a window that contains only padding")
    options = {}
    if kind == "avg":
        beyond = any(end > before for end, before in zip(ends, pad))
        counted = node.attrs.get("count_include_pad", True) and any(pad)
        # MXNet includes the padding in averages, but not the padding that rounding up adds
        if counted and beyond:
            raise node.fail("an average that counts its padding where sizes are rounded up")
        options = {"count_include_pad": int(counted)}
    return graph.add(
        operator, [x], node.name, kernel_shape=kernel, strides=stride, pads=pad + ends, **options
    )


def _local_response_norm(graph: Graph, node: Node, x: str) -> str:
    attrs = node.attrs
    if attrs["nsize"] % 2 == 0:  # MXNet then uses one more channel
        raise node.fail(f"nsize={attrs['nsize']:d}")
    return graph.add(
        "LRN",
        [x],
        node.name,
        size=attrs["nsize"],
        alpha=attrs.get("alpha", 1e-4),
        beta=attrs.get("beta", 0.75),
        bias=float(attrs.get("knorm", 2)),
    )


def _reshape(graph: Graph, node: Node, x: str) -> str:
    node.only(reverse=False)
    shape = node.attrs["shape"]
    if min(shape) < -1:
        raise node.fail(f"shape={shape}")
    return graph.add(
        "Reshape", [x, graph.constant(node.name + "_shape", shape, np.int64)], node.name
    )


def _flatten(graph: Graph, node: Node, x: str) -> str:
    return graph.add("Flatten", [x], node.name)


def _transpose(graph: Graph, node: Node, x: str) -> str:
    return graph.add(
        "Transpose",
        [x],
        node.name,
        perm=node.attrs.get("axes") or tuple(range(len(node.shape)))[::-1],
    )


def _concat(graph: Graph, node: Node, *inputs: str) -> str:
    return graph.add("Concat", inputs, node.name, axis=node.attrs.get("dim", 1))


def _sliced(
    graph: Graph,
    node: Node,
    x: str,
    begins: Sequence[Any],
    ends: Sequence[Any],
    axes: Sequence[int],
) -> str:
    bounds = [
        graph.constant(f"{node.name}_{name}", value, np.int64)
        for name, value in (
            ("begins", [begin or 0 for begin in begins]),
            ("ends", [END if end is None else end for end in ends]),
            ("axes", axes),
        )
    ]
    return graph.add("Slice", [x, *bounds], node.name)


def _slice(graph: Graph, node: Node, x: str) -> str:
    if any(step not in (None, 1) for step in node.attrs.get("step") or ()):
        raise node.fail(f"step={node.attrs['step']}")
    begins, ends = (
        (bounds if isinstance(bounds, tuple) else (bounds,))
        for bounds in (node.attrs["begin"], node.attrs["end"])
    )
    return _sliced(graph, node, x, begins, ends, range(len(begins)))


def _slice_axis(graph: Graph, node: Node, x: str) -> str:
    return _sliced(graph, node, x, [node.attrs["begin"]], [node.attrs["end"]], [node.attrs["axis"]])


def _filled(value: float) -> Conversion:
    """Return the conversion of an operator that fills an array of the input's shape with `value`.
    The array is a constant if the shape does not depend on the batch size.
    """

    def convert(graph: Graph, node: Node, x: str) -> str:
        if None not in node.shape:
            return graph.constant(node.name, np.full(node.shape, value))
        fill = helper.make_tensor("value", TensorProto.FLOAT, [1], [value])
        return graph.add(
            "ConstantOfShape",
            [graph.add("Shape", [x], node.name + "_shape")],
            node.name,
            value=fill,
        )

    return convert


def _reduce(op: str) -> Conversion:
    def convert(graph: Graph, node: Node, x: str) -> str:
        node.only(exclude=False)
        axes = node.attrs.get("axis")
        axes = (axes,) if isinstance(axes, int) else axes or tuple(range(len(node.shapes[0])))
        options = {"keepdims": int(node.attrs.get("keepdims", False))}
        if op == "ReduceSum":  # the only reduction whose axes are an input in opset 17
            return graph.add(
                op, [x, graph.constant(node.name + "_axes", axes, np.int64)], node.name, **options
            )
        return graph.add(op, [x], node.name, axes=axes, **options)

    return convert


def _batch_dot(graph: Graph, node: Node, first: str, second: str) -> str:
    first, second = (
        graph.add("Transpose", [x], f"{node.name}_{side}", perm=(0, 2, 1))
        if node.attrs.get("transpose_" + letter, False)
        else x
        for x, side, letter in ((first, "left", "a"), (second, "right", "b"))
    )
    return graph.add("MatMul", [first, second], node.name)


def _clip(graph: Graph, node: Node, x: str) -> str:
    bounds = [
        graph.constant(f"{node.name}_{name}", node.attrs["a_" + name]) for name in ("min", "max")
    ]
    return graph.add("Clip", [x, *bounds], node.name)


def _softmax(op: str) -> Conversion:
    def convert(graph: Graph, node: Node, x: str) -> str:
        node.only(temperature=None)
        return graph.add(op, [x], node.name, axis=node.attrs.get("axis", -1))

    return convert


def _take(graph: Graph, node: Node, x: str, indices: str) -> str:
    node.only(mode="clip")
    axis = node.attrs.get("axis", 0)
    if node.shapes[0][axis] is None:
        raise node.fail("indices into the batch")
    whole = graph.add("Cast", [indices], node.name + "_whole", to=TensorProto.INT64)
    bounds = [
        graph.constant(f"{node.name}_{name}", value, np.int64)
        for name, value in (("first", 0), ("last", node.shapes[0][axis] - 1))
    ]
    return graph.add(
        "Gather",
        [x, graph.add("Clip", [whole, *bounds], node.name + "_inside")],
        node.name,
        axis=axis,
    )


CONVERSIONS: Dict[str, Conversion] = {
    "Activation": _activation,
    "BatchNorm": _batch_norm,
    "Concat": _concat,
    "Convolution": _convolution,
    "Dropout": _identity,
    "Flatten": _flatten,
    "FullyConnected": _fully_connected,
    "LRN": _local_response_norm,
    "Pooling": _pooling,
    "Reshape": _reshape,
    "_copy": _identity,
    "_div_scalar": _scalar("Div"),
    "_minus_scalar": _scalar("Sub"),
    "_mul_scalar": _scalar("Mul"),
    "_plus_scalar": _scalar("Add"),
    "_power_scalar": _scalar("Pow"),
    "_rdiv_scalar": _scalar("Div", swapped=True),
    "_rminus_scalar": _scalar("Sub", swapped=True),
    "_rpower_scalar": _scalar("Pow", swapped=True),
    "batch_dot": _batch_dot,
    "broadcast_add": _same("Add"),
    "broadcast_div": _same("Div"),
    "broadcast_maximum": _same("Max"),
    "broadcast_minimum": _same("Min"),
    "broadcast_mul": _same("Mul"),
    "broadcast_power": _same("Pow"),
    "broadcast_sub": _same("Sub"),
    "clip": _clip,
    "elemwise_add": _same("Add"),
    "elemwise_div": _same("Div"),
    "elemwise_mul": _same("Mul"),
    "elemwise_sub": _same("Sub"),
    "log_softmax": _softmax("LogSoftmax"),
    "max": _reduce("ReduceMax"),
    "mean": _reduce("ReduceMean"),
    "min": _reduce("ReduceMin"),
    "ones_like": _filled(1),
    "relu": _same("Relu"),
    "sigmoid": _same("Sigmoid"),
    "slice": _slice,
    "slice_axis": _slice_axis,
    "softmax": _softmax("Softmax"),
    "sum": _reduce("ReduceSum"),
    "take": _take,
    "tanh": _same("Tanh"),
    "transpose": _transpose,
    "zeros_like": _filled(0),
}
