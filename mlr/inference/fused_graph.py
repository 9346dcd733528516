"""A trained network as it answers fastest: the same function, its graph rewritten for prediction on
a CPU.
"""

import json
import os
from contextlib import contextmanager

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.runtime import Features

BACKEND = "MKLDNN"


def fused(net):
    """Return a block that computes what `net` computes in evaluation mode, within rounding (1e-5 of
    the largest logit).

    net: an initialized HybridBlock of one input, images (N, 3, S, S); the block is (N, 3, S, S) ->
    the same output. On CPUs, where MXNet was built with MKL-DNN, its subgraph backend puts batch
    norm, ReLU and sums into the convolutions before them, and the Dense layer behind a Gram matrix
    reads the C (C + 1) / 2 entries that differ, half of its weights. Otherwise it is `net` itself.
    The block shares the network's other parameters, but not that half: after further training make
    a new one.
    """
    parameters = net.collect_params()
    contexts = next(iter(parameters.values())).list_ctx()
    if any(context.device_type != "cpu" for context in contexts) or not Features().is_enabled(
        BACKEND
    ):
        return net
    images = mx.sym.var("data", dtype="float32")
    symbol, halves = with_half_of_gram(net(images), parameters)
    with unlogged():
        symbol = symbol.get_backend_symbol(BACKEND)
    block = gluon.SymbolBlock(symbol, images, params=parameters)
    for name, array in halves.items():
        block.collect_params()[name]._load_init(array, contexts)
    block.hybridize(static_alloc=True, static_shape=True)
    return block


def with_half_of_gram(symbol, parameters):
    """Return the symbol with each Dense layer behind a Gram matrix on its distinct entries, and
    {name: NDArray} of what that adds.

    The matrix is symmetric, so the entries (i, j) and (j, i) are one input, its weight the sum of
    the two.
    parameters: {name: Parameter} of the symbol.
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    rebuilt, added = [], {}
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


def distinct(weight):
    """Return, for a Dense layer's weight (D, C * C) on symmetric matrices, the positions (C (C + 1)
    / 2,) and the weight (D, C (C + 1) / 2).
    """
    channels = int(round(weight.shape[1] ** 0.5))
    rows, columns = np.triu_indices(channels)
    positions = rows * channels + columns
    weights = weight[:, positions] + weight[:, columns * channels + rows]
    weights[:, rows == columns] /= 2
    return positions, weights


def _is_gram(node, nodes):
    """Tell whether a node is a matrix times its own transpose, divided, perhaps scaled."""
    while node["op"] in ("broadcast_div", "_mul_scalar"):
        node = nodes[node["inputs"][0][0]]
    return node["op"] == "batch_dot" and node["inputs"][0] == node["inputs"][1]


@contextmanager
def unlogged():
    """Keep away the lines that MXNet 1.5.1's subgraph backend writes to the standard error,
    whatever the log level.
    """
    try:
        kept = os.dup(2)
    except OSError:  # closed by who started the program
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
