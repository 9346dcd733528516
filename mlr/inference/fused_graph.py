"""Rewrites the graph of a trained network for fast prediction on a CPU. The function that it
computes stays the same.
"""

import json
import os
import tempfile
import threading
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Set, Tuple

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.runtime import Features

from mlr.model.batch_norm import factor_and_shift
from mlr.model.gram import without_gradients

BACKEND = "MKLDNN"
LOGGED_BY = b"src/operator/subgraph/"  # text in each line that MXNet's subgraph backends log
STANDARD_ERROR = 2  # the file descriptor

_redirecting = threading.Lock()


def fused(net: gluon.HybridBlock) -> gluon.Block:
    """Return a block that computes what `net` computes in evaluation mode, within rounding (1e-5 of
    the largest logit).

    net: an initialized HybridBlock with one input, images (N, 3, S, S). The block takes the same
    input and gives the same output. On CPUs with an MXNet that was built with MKL-DNN, MXNet's
    subgraph backend merges batch norm, ReLU and sums into the convolutions before them; a batch
    norm that has no convolution before it becomes one, which takes the ReLU; and the Dense layer
    after a Gram matrix reads only the C (C + 1) / 2 distinct entries, with half of the weights. In
    all other cases the block is `net` itself. The block shares its parameters with the network,
    except for those halved weights and those batch norms: after further training call this again.
    """
    parameters = net.collect_params()
    contexts = next(iter(parameters.values())).list_ctx()
    if any(context.device_type != "cpu" for context in contexts) or not Features().is_enabled(
        BACKEND
    ):
        return net
    images = mx.sym.var("data", dtype="float32")
    symbol, added = rewritten(without_gradients(net(images)), parameters)
    with unlogged():
        symbol = symbol.get_backend_symbol(BACKEND)
    block = gluon.SymbolBlock(symbol, images, params=parameters)
    for name, array in added.items():
        block.collect_params()[name]._load_init(array, contexts)
    block.hybridize(static_alloc=True, static_shape=True)
    return block


def rewritten(
    symbol: mx.sym.Symbol, parameters: Mapping[str, gluon.Parameter]
) -> Tuple[mx.sym.Symbol, Dict[str, mx.nd.NDArray]]:
    """Return the symbol with fewer and cheaper operators, and the arrays that this adds, {name:
    NDArray}.

    Each Dense layer after a Gram matrix reads only its distinct entries. The matrix is symmetric:
    the entries (i, j) and (j, i) become one input, whose weight is the sum of their two weights.
    Each batch norm before a ReLU that the backend can't merge into a convolution becomes a
    convolution of 1 x 1 of each channel alone. parameters: {name: Parameter} of the symbol.
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    unmerged = _unmerged_batch_norms(nodes)
    rebuilt: List[mx.sym.Symbol] = []
    added: Dict[str, mx.nd.NDArray] = {}

    def value(node: Dict[str, Any]) -> np.ndarray:
        return parameters[node["name"]].list_data()[0].asnumpy()

    def variable(name: str, array: np.ndarray) -> mx.sym.Symbol:
        added[name] = mx.nd.array(array, dtype="float32")
        return mx.sym.var(name, shape=array.shape, dtype="float32")

    for number, node in enumerate(nodes):
        inputs = [rebuilt[source][output] for source, output, _ in node["inputs"]]
        sources = [nodes[source] for source, _, _ in node["inputs"]]
        options, name = dict(node.get("attrs", {}), name=node["name"]), node["name"]
        if node["op"] == "null":
            made = mx.sym.var(name, dtype="float32")
        elif node["op"] == "FullyConnected" and _is_gram(sources[0], nodes):
            entries, weights = distinct(value(sources[1]))
            half = variable(sources[1]["name"] + "_distinct", weights)
            where = variable(name + "_entries", entries)
            made = mx.sym.FullyConnected(
                mx.sym.take(mx.sym.flatten(inputs[0]), where, axis=1), half, *inputs[2:], **options
            )
        elif number in unmerged:
            gamma, beta, mean, variance = map(value, sources[1:])
            if options["fix_gamma"] == "True":
                gamma = np.ones_like(gamma)
            factor, shift = factor_and_shift(gamma, beta, mean, variance, float(options["eps"]))
            made = mx.sym.Convolution(
                inputs[0],
                variable(name + "_factor", factor.reshape(-1, 1, 1, 1)),
                variable(name + "_shift", shift),
                kernel=(1, 1),
                num_filter=len(factor),
                num_group=len(factor),
                name=name,
            )
        else:
            made = getattr(mx.sym._internal if node["op"].startswith("_") else mx.sym, node["op"])(
                *inputs, **options
            )
        rebuilt.append(made)
    return made, added


def _unmerged_batch_norms(nodes: List[Dict[str, Any]]) -> Set[int]:
    """Return the numbers of the batch norms that are before a ReLU, except for those whose
    convolution gives its output to nothing else: the backend merges these.
    """
    users: Dict[int, List[Dict[str, Any]]] = {number: [] for number in range(len(nodes))}
    for node in nodes:
        for source, *_ in node["inputs"]:
            users[source].append(node)
    return {
        number
        for number, node in enumerate(nodes)
        if node["op"] == "BatchNorm"
        and any(user["op"] == "Activation" for user in users[number])
        and not (
            nodes[node["inputs"][0][0]]["op"] == "Convolution"
            and len(users[node["inputs"][0][0]]) == 1
        )
    }


def distinct(weight: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return the positions of the distinct entries, (C (C + 1) / 2,), and their weight, (D, C (C +
    1) / 2).

    weight: (D, C * C), of a Dense layer whose input is a flattened symmetric matrix.
    """
    channels = int(round(weight.shape[1] ** 0.5))
    first, second = np.triu_indices(channels)
    positions = first * channels + second
    weights = weight[:, positions] + weight[:, second * channels + first]
    weights[:, first == second] /= 2
    return positions, weights


def _is_gram(node: Dict[str, Any], nodes: List[Dict[str, Any]]) -> bool:
    """Tell whether a node is a matrix times its own transpose, divided or scaled or not."""
    while node["op"] in ("broadcast_div", "_mul_scalar"):
        node = nodes[node["inputs"][0][0]]
    return node["op"] == "batch_dot" and node["inputs"][0] == node["inputs"][1]


@contextmanager
def unlogged() -> Iterator[None]:
    """Return a context that suppresses the lines that MXNet's subgraph backends write to the
    standard error.

    MXNet 1.5.1 writes them in C++ at every log level and has no setting to stop it. So the file
    descriptor of the whole process is redirected during the context: keep the context short. Lines
    from other sources are not lost; they are written when the context ends. Two threads at once
    would restore each other's descriptor, so the second one waits.
    """
    with _redirecting:
        try:
            standard_error = os.fdopen(os.dup(STANDARD_ERROR), "wb")
            written = tempfile.TemporaryFile()
        except OSError:  # the standard error is closed, or no temporary file can be made
            yield
            return
        with standard_error, written:
            os.dup2(written.fileno(), STANDARD_ERROR)
            try:
                yield
            finally:
                os.dup2(standard_error.fileno(), STANDARD_ERROR)
                written.seek(0)
                standard_error.writelines(line for line in written if LOGGED_BY not in line)
