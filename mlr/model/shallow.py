"""The shallow visual representation: colour, texture and aesthetics from early maps."""

from typing import Any, Sequence, Tuple

from mxnet.gluon import HybridBlock, nn

from mlr.errors import InputError
from mlr.model.backbone import Backbone
from mlr.model.gram import Gram
from mlr.paper import (
    BATCH_NORM_EPSILON,
    BATCH_NORM_MOMENTUM,
    BRANCH_WIDTHS,
    STYLE_DROPOUT,
    STYLE_WIDTH,
)


class ShallowBranch(HybridBlock):
    """One "visual representation extractor" of the paper's figure: (max-pool,) Gram matrix, Dense,
    ReLU.

    gram_scale: a factor on the Gram matrix, 1 as released. Input: a map (N, C, H, W); output: (N,
    width).
    """

    def __init__(self, width: int, pool: bool, gram_scale: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.layers = nn.HybridSequential(prefix="")
            if pool:
                self.layers.add(nn.MaxPool2D(3, 2, 1))
            self.layers.add(Gram(gram_scale), nn.Dense(width, activation="relu"))

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        """Gluon's forward pass: return the vectors (N, width) of a map."""
        return self.layers(x)


class ShallowRepresentation(HybridBlock):
    """A branch for every tapped map; a dense layer mixes their concatenated vectors.

    taps: names of the tapped maps; every map but the stem's is max-pooled before its Gram matrix
    (released). widths: the width of each branch. gram_scale: the factor on the Gram matrices.
    Input: the tapped maps, each (N, C, H, W); output: the style (N, style_width).
    """

    def __init__(
        self,
        taps: Sequence[str],
        widths: Sequence[int] = BRANCH_WIDTHS,
        style_width: int = STYLE_WIDTH,
        dropout: float = STYLE_DROPOUT,
        gram_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.branches = nn.HybridSequential(prefix="")
            for tap, width in zip(taps, widths):
                self.branches.add(ShallowBranch(width, tap != "stem", gram_scale))
            self.mix = nn.HybridSequential(prefix="")
            self.mix.add(
                nn.Dropout(dropout),
                nn.Dense(style_width, activation="relu"),
                nn.BatchNorm(epsilon=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM),
            )

    def hybrid_forward(self, F: Any, *maps: Any) -> Any:
        """Gluon's forward pass: return the style (N, style_width) of the tapped maps."""
        vectors = [branch(x) for branch, x in zip(self.branches, maps)]
        # (N, sum of widths) -> (N, style_width)
        return self.mix(F.concat(*vectors, dim=1))


def checked_taps(backbone: Backbone, taps: Sequence[str], widths: Sequence[int]) -> Tuple[str, ...]:
    """Return the taps. Raises InputError if the backbone lacks one, or widths and taps differ in
    number.
    """
    unknown = [tap for tap in taps if tap not in backbone.levels]
    if unknown or not taps:
        raise InputError(
            f"{backbone.name_in_zoo} has no taps {', '.join(unknown)}: choose from "
            f"{', '.join(backbone.levels)}"
        )
    if len(widths) != len(taps):
        raise InputError(f"{len(taps):d} taps need {len(taps):d} widths, not {list(widths)}")
    return tuple(taps)
