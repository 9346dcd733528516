"""The shallow branches of L_cil alone: an ablation, not a system of the results table."""

from dataclasses import dataclass, replace
from typing import Any, Dict

from mlr.methods import multilevel
from mlr.methods.method import Method
from mlr.options.training import TrainingOptions


@dataclass(frozen=True)
class ShallowOnly(Method):
    """The method of the ablation: it trains `mlr.model.shallow_only.ShallowOnly`."""

    def network(self, options: TrainingOptions, classes: int) -> Dict[str, Any]:
        return {"kind": "shallow_only", **multilevel.branches(options, classes)}


METHOD = ShallowOnly(
    name="shallow",
    title="shallow branches alone",
    backbones=multilevel.METHOD.backbones,
    released=replace(multilevel.METHOD.released, method="shallow"),
    own=("taps", "branch_width", "style_width", "style_dropout", "gram_scale"),
    demo_pretraining=multilevel.METHOD.demo_pretraining,
)
