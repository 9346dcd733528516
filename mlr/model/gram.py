"""The Gram matrix of a feature map: which channels are active together, regardless of the place in
the image.
"""

import json
from typing import Any, Dict, List, Optional, Tuple

from mxnet import symbol
from mxnet.gluon import HybridBlock


class Gram(HybridBlock):
    """X X^T / (C H W) for each image, where X is its map as (C, HW); released model/train.py.

    scale: a factor on the matrix, which the released code does not have. Input: (N, C, H, W);
    output: (N, C, C).
    """

    def __init__(self, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._scale = scale

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Gluon's forward pass: return the Gram matrices (N, C, C) of maps."""
        # Adding 0 copies the map. Without the copy, MXNet's reshape changes the layout that MKL-DNN
        # gave the map itself. The backward pass of a max-pool of the same map, as the backbone has
        # after its stem, then takes other entries for the maxima, and its gradients are wrong.
        # (N, C, HW): 0 keeps a dimension, -1 takes the rest
        x = F.reshape(x + 0, shape=(0, 0, -1))
        # A static graph can't read a shape, so C H W is counted. A transpose after the reshape
        # would abort on mxnet-mkl. (1, 1, 1)
        size = _count(F, x, end=(1, None, 1)) * _count(F, x, end=(1, 1, None))
        products = F.batch_dot(x, F.BlockGrad(x), transpose_b=True)
        # The value stays X X^T, which is symmetric. The gradient, (dG + dG^T) X, takes one matrix
        # product this way; the gradient of batch_dot(x, x) takes two.
        products = products - (F.BlockGrad(products) - F.transpose(products, axes=(0, 2, 1)))
        gram = F.broadcast_div(products, size)
        return gram if self._scale == 1 else gram * self._scale


def _count(F: Any, x: Any, end: Tuple[Optional[int], ...]) -> Any:
    """Return the number of elements of x[:end], (1, 1, 1), in the dtype of x."""
    return F.sum(F.ones_like(F.slice(x, begin=(0, 0, 0), end=end)), axis=(1, 2), keepdims=True)


def without_gradients(graph: symbol.Symbol) -> symbol.Symbol:
    """Return the symbol of a network without the nodes that `Gram` adds only for the gradient."""
    described = json.loads(graph.tojson())
    nodes: List[Dict[str, Any]] = described["nodes"]

    def source(number: int) -> int:
        node = nodes[number]
        first, *others = (each for each, *_ in node["inputs"] or [(number,)])
        copies = node["op"] == "_plus_scalar" and float(node["attrs"]["scalar"]) == 0
        if node["op"] == "BlockGrad" or copies:
            return source(first)
        # P - (BlockGrad(P) - P^T)
        if node["op"] == "elemwise_sub" and nodes[others[0]]["op"] == "elemwise_sub":
            blocked = nodes[nodes[others[0]]["inputs"][0][0]]
            if blocked["op"] == "BlockGrad" and blocked["inputs"][0][0] == first:
                return source(first)
        return number

    sources = [source(number) for number in range(len(nodes))]
    for inputs in (*(node["inputs"] for node in nodes), described["heads"]):
        inputs[:] = [[sources[number], *rest] for number, *rest in inputs]
    return symbol.load_json(json.dumps(described))
