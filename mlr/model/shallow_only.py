"""The shallow branches alone, without the deep representation: an ablation, not a system of the
results table.
"""

from typing import Any, Sequence

from mxnet.gluon import HybridBlock, nn

from mlr.model.backbone import Backbone
from mlr.model.shallow import ShallowRepresentation, checked_taps
from mlr.paper import STYLE_DROPOUT


class ShallowOnly(HybridBlock):
    """The shallow representation of a backbone's first maps and a linear classifier.

    Arguments as for `mlr.model.network.MultiLevelNet`. The backbone ends at the last tap. Input:
    images (N, 3, H, W), normalised; output: logits (N, K).
    """

    def __init__(
        self,
        classes: int,
        backbone: str,
        taps: Sequence[str],
        widths: Sequence[int],
        style_width: int,
        gram_scale: float = 1.0,
        dropout: float = STYLE_DROPOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            whole = Backbone(backbone)
            self.taps = checked_taps(whole, taps, widths)
            self._maps = whole.levels[: 1 + max(map(whole.levels.index, taps))]
            for name in self._maps:
                setattr(self, name, getattr(whole, name))
            self.shallow = ShallowRepresentation(taps, widths, style_width, dropout, gram_scale)
            self.output = nn.Dense(classes)
        own = {parameter.name for parameter in self.collect_params().values()}
        self.name_in_zoo, named = backbone, (whole.structural_parameters, whole.prefixed_parameters)
        self.structural_parameters, self.prefixed_parameters = (
            {name: parameter for name, parameter in parameters.items() if parameter.name in own}
            for parameters in named
        )
        self.left_out = whole.left_out | {
            name
            for parameters in named
            for name, parameter in parameters.items()
            if parameter.name not in own
        }

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        """Gluon's forward pass: return the logits (N, K) of images."""
        maps = {}
        for name in self._maps:
            images = maps[name] = getattr(self, name)(images)
        return self.output(self.shallow(*[maps[tap] for tap in self.taps]))
