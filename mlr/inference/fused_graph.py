"""A trained network as it answers fastest: the same function, its graph rewritten for prediction on
a CPU.
"""

import json
import os
import tempfile
import threading
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.runtime import Features

from mlr.model.gram import without_gradients

BACKEND = "MKLDNN"
LOGGED_BY = b"src/operator/subgraph/"  # in each line that MXNet's subgraph backends log
STANDARD_ERROR = 2  # the descriptor, which the process has one of

_redirecting = threading.Lock()


def fused(net: gluon.HybridBlock) -> gluon.Block:
    """Return a block that computes what `net` computes in evaluation mode, within rounding (1e-5 of
    the largest logit).

    net: an initialized HybridBlock of one input, images (N, 3, S, S); the block is (N, 3, S, S) ->
    the same output. On CPUs, where MXNet was built with MKL-DNN, its subgraph backend puts batch
    norm, ReLU and sums into the convolutions before them, and the Dense layer behind a Gram matrix
    reads the C (C + 1) / 2 entries that differ, half of its weights. Otherwise it is `net` itself.
    The block has the network's other parameters in common with it, but not that half: after further
    training make a new one.
    """
    parameters = net.collect_params()
    contexts = next(iter(parameters.values())).list_ctx()
    if any(context.device_type != "cpu" for context in contexts) or not Features().is_enabled(
        BACKEND
    ):
        return net
    images = mx.sym.var("data", dtype="float32")
    symbol, halves = with_half_of_gram(without_gradients(net(images)), parameters)
    with unlogged():
        symbol = symbol.get_backend_symbol(BACKEND)
    block = gluon.SymbolBlock(symbol, images, params=parameters)
    for name, array in halves.items():
        block.collect_params()[name]._load_init(array, contexts)
    block.hybridize(static_alloc=True, static_shape=True)
    return block


def with_half_of_gram(
    symbol: mx.sym.Symbol, parameters: Mapping[str, gluon.Parameter]
) -> Tuple[mx.sym.Symbol, Dict[str, mx.nd.NDArray]]:
    """Return the symbol with each Dense layer behind a Gram matrix on its distinct entries, and
    {name: NDArray} of what that adds.

    The matrix is symmetric, so the entries (i, j) and (j, i) are one input, its weight the sum of
    the two.
    parameters: {name: Parameter} of the symbol.
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    rebuilt: List[mx.sym.Symbol] = []
    added: Dict[str, mx.nd.NDArray] = {}
    for node in nodes:
        inputs = [rebuilt[number][output] for number, output, _ in node["inputs"]]
        sources = [nodes[number] for number, _, _ in node["inputs"]]
        options = dict(node.get("attrs", {}), name=node["name"])
        if node["op"] == "null":
            made = mx.sym.var(node["name"], dtype="float32")
        elif node["op"] == "FullyConnected" and _is_gram(sources[0], nodes):
            entries, weights = distinct(parameters[sources[1]["name"]].list_data()[0].asnumpy())
            arrays = {sources[1]["name"] + "_distinct": weights, node["name"] + "_entries": entries}
            added.update(
                (name, mx.nd.array(array, dtype="float32")) for name, array in arrays.items()
            )
            half, where = (
                mx.sym.var(name, shape=array.shape, dtype="float32")
                for name, array in arrays.items()
            )
            made = mx.sym.FullyConnected(
                mx.sym.take(mx.sym.flatten(inputs[0]), where, axis=1), half, *inputs[2:], **options
            )
        else:
            made = getattr(mx.sym._internal if node["op"].startswith("_") else mx.sym, node["op"])(
                *inputs, **options
            )
        rebuilt.append(made)
    return made, added


def distinct(weight: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Return, for a Dense layer's weight (D, C * C) on symmetric matrices, the positions (C (C + 1)
    / 2,) and the weight (D, C (C + 1) / 2).
    """
    channels = int(round(weight.shape[1] ** 0.5))
    first, second = np.triu_indices(channels)
    positions = first * channels + second
    weights = weight[:, positions] + weight[:, second * channels + first]
    weights[:, first == second] /= 2
    return positions, weights


def _is_gram(node: Dict[str, Any], nodes: List[Dict[str, Any]]) -> bool:
    """Tell whether a node is a matrix times its own transpose, divided, perhaps scaled."""
    while node["op"] in ("broadcast_div", "_mul_scalar"):
        node = nodes[node["inputs"][0][0]]
    return node["op"] == "batch_dot" and node["inputs"][0] == node["inputs"][1]


@contextmanager
def unlogged() -> Iterator[None]:
    """Keep away the lines that MXNet's subgraph backends write to the standard error.

    MXNet 1.5.1 writes them in C++ whatever the log level, and has no setting against it, so the
    process's own descriptor must lead elsewhere meanwhile: keep the block short. Nobody else's
    words are lost: what isn't MXNet's is written when the block ends. Two threads would restore
    each other's descriptor, so the second one waits.
    """
    with _redirecting:
        try:
            standard_error = os.fdopen(os.dup(STANDARD_ERROR), "wb")
            written = tempfile.TemporaryFile()
        except OSError:  # it was closed by who started the program, or no folder takes a file
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
