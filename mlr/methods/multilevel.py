"""L_cil, the paper's method: deep and shallow representations, fused, against class imbalance."""

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Tuple

from mlr import paper
from mlr.methods.method import RESNETS, Experiment, Method
from mlr.options.training import TrainingOptions

NAME = "l_cil"
# The maps that the shallow branches read, and the width of each branch.
TAPS = {
    "released": (paper.TAPS, paper.BRANCH_WIDTHS),
    "by-width": (paper.TAPS_BY_WIDTH, paper.BRANCH_WIDTHS),
    **{tap: ((tap,), (width,)) for tap, width in zip(paper.TAPS, paper.BRANCH_WIDTHS)},
}
DEEP_WIDTHS = {paper.BACKBONE: 2048, paper.SLIM_BACKBONE: paper.SLIM_CHANNELS[-1]}


def branches(options: TrainingOptions, classes: int) -> Dict[str, Any]:
    """Return what describes a network with shallow branches."""
    taps, widths = TAPS[options.taps]
    return {
        "classes": classes,
        "backbone": options.backbone,
        "taps": taps,
        "widths": widths,
        "style_width": options.style_width,
        "gram_scale": options.gram_scale,
    }


@dataclass(frozen=True)
class MultiLevel(Method):
    """The network of `mlr.model.network.MultiLevelNet`, as released."""

    def network(self, options: TrainingOptions, classes: int) -> Dict[str, Any]:
        return {"kind": "multi_level", **branches(options, classes), "fusion": options.fusion}

    def experiments(self, demo: bool) -> Dict[str, Tuple[str, List[Experiment]]]:
        def variant(title: str, **options: Any) -> Experiment:
            return Experiment(title, {"method": NAME, **options})

        wide = DEEP_WIDTHS[(self.demo if demo else self.released).backbone]
        cross_entropy = variant("with cross entropy", loss="cross_entropy")
        return {
            "ablations": (
                "Ablations of L_cil",
                [
                    variant(self.title),
                    cross_entropy,
                    Experiment("backbone alone", {"method": "resnet50", "loss": "class_imbalance"}),
                    Experiment("branches alone", {"method": "shallow"}),
                    *(
                        Experiment(f"branch of {tap} alone", {"method": "shallow", "taps": tap})
                        for tap in paper.TAPS
                    ),
                    variant("taps as the widths suggest", taps="by-width"),
                    variant("concatenated, style as wide as deep", style_width=wide),
                    variant("added", fusion="add", style_width=wide),
                    variant("multiplied", fusion="multiply", style_width=wide),
                    variant("Gram matrices times 100", gram_scale=100.0),
                    variant("new layers learn three times as fast", new_layers_rate=3.0),
                    variant("without pretraining", pretrained="none"),
                ],
            ),
            "imbalance": (
                "Class imbalance",
                [
                    cross_entropy,
                    variant("the loss as released", loss_form="released"),
                    variant("the loss as written", loss_form="written"),
                ],
            ),
        }


METHOD = MultiLevel(
    name=NAME,
    title="L_cil",
    published=paper.PUBLISHED[NAME],
    backbones=RESNETS,
    released=TrainingOptions(),
    own=("taps", "fusion", "style_width", "gram_scale"),
    demo_pretraining=("resnet", {"method": "resnet50"}),
    views=("filters", "grad-cam", "gram"),
)
# The released training with cross entropy: the recipes of the fine-tuned networks of the results
# table are not published.
CROSS_ENTROPY = replace(METHOD.released, loss="cross_entropy")
