"""Local response normalisation as Caffe computes it."""

from typing import Any, Dict

from mxnet.gluon import HybridBlock

from mlr import paper


class LocalResponseNorm(HybridBlock):
    """Caffe's normalisation across channels, x / (knorm + alpha / nsize * (sum of x^2 over nsize
    channels))^beta; MXNet's operator computes the same.

    Input and output: (N, C, H, W), float32 only.
    """

    def __init__(self, constants: Dict[str, float] = paper.CAFFE_LRN, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._constants = constants

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Gluon's forward pass: return the normalised maps (N, C, H, W)."""
        return F.LRN(x, **self._constants)
