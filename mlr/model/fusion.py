"""The fusion of deep semantics and shallow style."""

from mxnet.gluon import HybridBlock, nn

from mlr.paper import BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM


class Fusion(HybridBlock):
    """Concatenation, batch norm and a linear classifier.

    Input: deep (N, D) and style (N, S); output: logits (N, classes).
    """

    def __init__(self, classes, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.norm = nn.BatchNorm(epsilon=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)
            self.output = nn.Dense(classes)

    def hybrid_forward(self, F, deep, style):
        return self.output(self.norm(F.concat(deep, style, dim=1)))      # (N, D + S) -> (N, classes)
