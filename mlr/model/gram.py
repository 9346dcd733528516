"""The Gram matrix of a feature map: which channels are active together, wherever in the image."""

from typing import Any, Optional, Tuple

from mxnet.gluon import HybridBlock


class Gram(HybridBlock):
    """X X^T / (C H W) for each image, X being its map as (C, HW); released model/train.py.

    scale: a factor on all of it, not of the released code. Input: (N, C, H, W); output: (N, C, C).
    """

    def __init__(self, scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._scale = scale

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Gluon's forward pass: return the Gram matrices (N, C, C) of maps."""
        # (N, C, HW): 0 keeps a dimension, -1 takes the rest
        x = F.reshape(x, shape=(0, 0, -1))
        # C H W is counted, as a static graph can't ask for a shape. A transpose after the reshape
        # would abort on mxnet-mkl.
        # (1, 1, 1)
        size = _count(F, x, end=(1, None, 1)) * _count(F, x, end=(1, 1, None))
        gram = F.broadcast_div(F.batch_dot(x, x, transpose_b=True), size)
        return gram if self._scale == 1 else gram * self._scale


def _count(F: Any, x: Any, end: Tuple[Optional[int], ...]) -> Any:
    """Return the number of elements of x[:end], (1, 1, 1), in the dtype of x."""
    return F.sum(F.ones_like(F.slice(x, begin=(0, 0, 0), end=end)), axis=(1, 2), keepdims=True)
