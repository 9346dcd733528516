"""The ResNet v2 of the Gluon model zoo, opened up so that its maps can be tapped."""

from typing import Any, Tuple

from mxnet.gluon import HybridBlock

from mlr.errors import InputError
from mlr.model.zoo import zoo_network
from mlr.paper import BACKBONE, BACKBONES, SLIM_BACKBONE

MAPS = ("stem", "pool", "stage1", "stage2", "stage3", "stage4")


class Backbone(HybridBlock):
    """The convolutional part of a zoo network, its stages as named children.

    Input: images (N, 3, H, W), normalised. Output: a tuple, the six maps in the order of MAPS and
    the deep semantic representation. For ResNet-50 and 224 px: stem (N, 64, 112, 112), pool (N, 64,
    56, 56), stage1 (N, 256, 56, 56), stage2 (N, 512, 28, 28), stage3 (N, 1024, 14, 14), stage4 (N,
    2048, 7, 7), deep (N, 2048).

    Attributes: `name_in_zoo`; `width`, D; `structural_parameters` and `prefixed_parameters`, the
    same parameters under the names that the zoo's own files use, for reading those:
    features.0.gamma and batchnorm0_gamma.
    """

    def __init__(self, name: str = BACKBONE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if name not in (*BACKBONES, SLIM_BACKBONE):
            raise InputError(
                f"unknown backbone {name}: choose one of {', '.join(BACKBONES)}, {SLIM_BACKBONE}"
            )
        with self.name_scope():
            zoo = zoo_network(name)
            features = zoo.features
            # batch norm of the input, convolution, batch norm, ReLU
            self.stem = features[:4]
            self.pool = features[4]
            self.stage1, self.stage2, self.stage3, self.stage4 = (
                features[5],
                features[6],
                features[7],
                features[8],
            )
            # batch norm, ReLU, global average pool, flatten
            self.head = features[9:]
        self.name_in_zoo, self.width = name, zoo.output._in_units
        self.structural_parameters = features._collect_params_with_prefix("features")
        self.prefixed_parameters = {
            p.name[len(zoo.prefix) :]: p for p in self.structural_parameters.values()
        }

    def hybrid_forward(self, F: Any, images: Any) -> Tuple[Any, ...]:
        """Gluon's forward pass: return the six maps and the deep representation of images."""
        stem = self.stem(images)
        pool = self.pool(stem)
        stage1 = self.stage1(pool)
        stage2 = self.stage2(stage1)
        stage3 = self.stage3(stage2)
        stage4 = self.stage4(stage3)
        return stem, pool, stage1, stage2, stage3, stage4, self.head(stage4)
