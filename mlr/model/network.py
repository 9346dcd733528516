"""The multi-level network: the paper's figure, left to right."""

from typing import Any, Sequence

from mxnet.gluon import HybridBlock

from mlr.errors import InputError
from mlr.model.backbone import MAPS, Backbone
from mlr.model.fusion import Fusion
from mlr.model.shallow import ShallowRepresentation
from mlr.paper import BACKBONE, BRANCH_WIDTHS, STYLE_DROPOUT, STYLE_WIDTH, TAPS


class MultiLevelNet(HybridBlock):
    """The network of the paper (its Fig. 2; released model/train.py), with the released taps and
    widths as defaults.

    classes: number of emotions, K. backbone: resnet18_v2 to resnet152_v2. taps: the maps that the
    shallow branches read, names from `mlr.model.backbone.MAPS`; `mlr.paper.TAPS_BY_WIDTH` is the
    set that the widths suggest. widths: the width of each branch. style_width: S. dropout: the rate
    before the style layer. For ablation, not of the released code: fusion, "concat", "add" or
    "multiply" (these need S = D), and gram_scale, a factor on the Gram matrices.

    Input: images (N, 3, H, W), H and W from 64 up, normalised as
    `mlr.data.transforms.evaluation_transform` does it.
    Output: logits (N, K). Parameters are created at the first call; hybridize with
    `net.hybridize(static_alloc=True, static_shape=True)`. Raises InputError for what it doesn't
    know or what doesn't fit.
    """

    def __init__(  # noqa: PLR0913 - the axes of the ablation, each with the released default
        self,
        classes: int,
        backbone: str = BACKBONE,
        taps: Sequence[str] = TAPS,
        widths: Sequence[int] = BRANCH_WIDTHS,
        style_width: int = STYLE_WIDTH,
        dropout: float = STYLE_DROPOUT,
        fusion: str = "concat",
        gram_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if classes < 2:
            raise InputError(f"classes must be at least 2, not {classes}")
        unknown = [tap for tap in taps if tap not in MAPS]
        if unknown or not taps:
            raise InputError(f"unknown taps {unknown}: choose from {', '.join(MAPS)}")
        if len(widths) != len(taps):
            raise InputError(f"{len(taps):d} taps need as many widths, not {list(widths)}")
        self.taps = tuple(taps)
        with self.name_scope():
            self.backbone = Backbone(backbone)
            self.shallow = ShallowRepresentation(taps, widths, style_width, dropout, gram_scale)
            self.fusion = Fusion(classes, fusion)
        if fusion != "concat" and style_width != self.backbone.width:
            raise InputError(
                f"fusion {fusion} needs a style as wide as the deep representation of "
                f"{backbone}: give style_width {self.backbone.width:d}, not {style_width:d}"
            )

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        """Gluon's forward pass: return the logits (N, K) of images (N, 3, H, W)."""
        # six maps (N, C, H, W); (N, D)
        *maps, deep = self.backbone(images)
        style = self.shallow(*[maps[MAPS.index(tap)] for tap in self.taps])  # (N, S)
        return self.fusion(deep, style)  # (N, K)
