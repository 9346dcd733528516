"""The multi-level network: the paper's figure, left to right."""

from typing import Any, Sequence

from mxnet.gluon import HybridBlock

from mlr.errors import InputError
from mlr.model.backbone import Backbone
from mlr.model.fusion import Fusion
from mlr.model.shallow import ShallowRepresentation, checked_taps
from mlr.paper import BACKBONE, BRANCH_WIDTHS, IMAGE_SIZE, STYLE_DROPOUT, STYLE_WIDTH, TAPS


class MultiLevelNet(HybridBlock):
    """The network of the paper (its Fig. 2; released model/train.py), with the released taps and
    widths as defaults.

    classes: number of emotions, K. backbone: one of `mlr.model.backbones.BACKBONES`. taps: the
    levels of the backbone whose maps the shallow branches read; `mlr.paper.TAPS_BY_WIDTH` are those
    that the widths suggest. widths: the width of each branch. style_width: S. dropout: the rate
    before the style layer. For ablation only, not in the released code: fusion, "concat", "add" or
    "multiply" (the last two need S = D), and gram_scale, a factor on the Gram matrices. image_size:
    as in `mlr.model.backbone.Backbone`.

    Input: images (N, 3, H, W), H and W from 64 up, normalised as
    `mlr.data.transforms.evaluation_transform` does it. Output: logits (N, K). Parameters are
    created at the first call; hybridize with `net.hybridize(static_alloc=True, static_shape=True)`.
    Raises InputError for unknown names and for arguments that don't fit each other.
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
        image_size: int = IMAGE_SIZE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if classes < 2:
            raise InputError(f"classes must be at least 2, not {classes}")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout must be from 0 to below 1, not {dropout}")
        with self.name_scope():
            self.backbone = Backbone(backbone, image_size)
            self.taps = checked_taps(self.backbone, taps, widths)
            self.shallow = ShallowRepresentation(taps, widths, style_width, dropout, gram_scale)
            self.fusion = Fusion(classes, fusion)
        self.image_size, self.gram_scale = self.backbone.image_size, gram_scale
        if fusion != "concat" and style_width != self.backbone.width:
            raise InputError(
                f"fusion {fusion} needs a style as wide as the deep representation of "
                f"{backbone}: give style_width {self.backbone.width:d}, not {style_width:d}"
            )

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        """Gluon's forward pass: return the logits (N, K) of images (N, 3, H, W)."""
        # maps: (N, C, H, W) for each level; deep: (N, D)
        *maps, deep = self.backbone(images)
        levels = dict(zip(self.backbone.levels, maps))
        style = self.shallow(*[levels[tap] for tap in self.taps])  # (N, S)
        return self.fusion(deep, style)  # (N, K)
