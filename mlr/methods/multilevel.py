"""L_cil, the paper's method: deep and shallow representations, fused, against class imbalance."""

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Tuple

from mlr import paper
from mlr.errors import InputError
from mlr.methods.method import Experiment, Method
from mlr.model.backbones import BACKBONES, anatomy_of
from mlr.options.training import TrainingOptions

NAME = "l_cil"


def taps_and_widths(options: TrainingOptions) -> Tuple[Tuple[str, ...], Tuple[int, ...]]:
    """Return the maps that the shallow branches read, and the width of each branch.

    released: of a ResNet stem, pool and stage 1, of any backbone its first three levels; by-width:
    its first three with convolutions; last: its last three. One of the released taps alone keeps
    its width. Raises InputError where the backbone lacks a level.
    """
    levels = tuple(anatomy_of(options.backbone).levels)
    named = {
        "released": levels[:3],
        "by-width": tuple(level for level in levels if level != "pool")[:3],
        "last": levels[-3:],
    }
    taps = named.get(options.taps) or tuple(options.taps.split(","))
    unknown = [tap for tap in taps if tap not in levels]
    if unknown:
        raise InputError(
            f"--taps {options.taps}: {options.backbone} has no {', '.join(unknown)}; choose from "
            f"{', '.join(levels)}"
        )
    if options.branch_width:
        return taps, (options.branch_width,) * len(taps)
    if len(taps) == 1 and taps[0] in levels[:3]:
        return taps, (paper.BRANCH_WIDTHS[levels.index(taps[0])],)
    widest = paper.BRANCH_WIDTHS[-1]
    return taps, tuple((*paper.BRANCH_WIDTHS, *(widest for _ in taps))[: len(taps)])


def branches(options: TrainingOptions, classes: int) -> Dict[str, Any]:
    """Return what describes a network with shallow branches."""
    taps, widths = taps_and_widths(options)
    description = {
        "classes": classes,
        "backbone": options.backbone,
        "taps": taps,
        "widths": widths,
        "style_width": options.style_width,
        "gram_scale": options.gram_scale,
    }
    # Runs from before these were options do not have them.
    if options.style_dropout != paper.STYLE_DROPOUT:
        description["dropout"] = options.style_dropout
    return description


@dataclass(frozen=True)
class MultiLevel(Method):
    """The network of `mlr.model.network.MultiLevelNet`, as released."""

    def network(self, options: TrainingOptions, classes: int) -> Dict[str, Any]:
        described = {**branches(options, classes), "fusion": options.fusion}
        if anatomy_of(options.backbone).fully_connected:
            described["image_size"] = options.image_size
        return {"kind": "multi_level", **described}

    def experiments(self, demo: bool) -> Dict[str, Tuple[str, List[Experiment]]]:
        def variant(title: str, **options: Any) -> Experiment:
            return Experiment(title, {"method": NAME, **options})

        wide = anatomy_of((self.demo if demo else self.released).backbone).width
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
    backbones=tuple(BACKBONES),
    released=TrainingOptions(),
    own=("taps", "branch_width", "fusion", "style_width", "style_dropout", "gram_scale"),
    demo_pretraining=("resnet", {"method": "resnet50"}),
    views=("filters", "grad-cam", "gram"),
)
# The released training with cross entropy: the recipes of the fine-tuned networks of the results
# table are not published.
CROSS_ENTROPY = replace(METHOD.released, loss="cross_entropy")
