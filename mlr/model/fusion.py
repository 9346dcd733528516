"""The fusion of deep semantics and shallow style."""

from typing import Any

from mxnet.gluon import HybridBlock, nn

from mlr.errors import InputError
from mlr.paper import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM

FUSIONS = ("concat", "add", "multiply")


class Fusion(HybridBlock):
    """Concatenation, batch norm and a linear classifier.

    kind: "concat" as released; "add" or "multiply", element by element, for ablation, need D = S.
    Input: deep (N, D) and style (N, S); output: logits (N, classes). Raises InputError for an
    unknown kind.
    """

    def __init__(self, classes: int, kind: str = "concat", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if kind not in FUSIONS:
            raise InputError(f"unknown fusion {kind}: choose one of {', '.join(FUSIONS)}")
        self.kind = kind
        with self.name_scope():
            self.norm = nn.BatchNorm(epsilon=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)
            self.output = nn.Dense(classes)

    def hybrid_forward(self, F: Any, deep: Any, style: Any) -> Any:
        """Gluon's forward pass: return the logits (N, K) of deep and style."""
        if self.kind == "concat":
            both = F.concat(deep, style, dim=1)  # (N, D + S)
        else:
            both = deep + style if self.kind == "add" else deep * style  # (N, D), as D = S
        return self.output(self.norm(both))  # (N, classes)
