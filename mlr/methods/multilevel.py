"""L_cil, the paper's method: deep and shallow representations, fused, against class imbalance."""

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Optional, Tuple

from mlr import paper
from mlr.errors import InputError
from mlr.methods.method import Experiment, Method
from mlr.model.backbones import BACKBONES, anatomy_of
from mlr.options.training import TrainingOptions

NAME = "l_cil"


def taps_and_widths(options: TrainingOptions) -> Tuple[Tuple[str, ...], Tuple[int, ...]]:
    """Return the maps that the shallow branches read, and the width of each branch.

    released: the backbone's first three levels, in a ResNet stem, pool and stage 1; by-width: its
    first three levels with convolutions; last: its last three levels. A single tap among the first
    three levels keeps the width that its branch has in the released network. Raises InputError if
    the backbone lacks a level.
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
    """Return the part of a network's description that its shallow branches need."""
    taps, widths = taps_and_widths(options)
    description = {
        "classes": classes,
        "backbone": options.backbone,
        "taps": taps,
        "widths": widths,
        "style_width": options.style_width,
        "gram_scale": options.gram_scale,
    }
    # Descriptions from before --style-dropout existed have no "dropout": its default is left out.
    if options.style_dropout != paper.STYLE_DROPOUT:
        description["dropout"] = options.style_dropout
    return description


@dataclass(frozen=True)
class MultiLevel(Method):
    """The method of the paper: it trains `mlr.model.network.MultiLevelNet`."""

    def network(self, options: TrainingOptions, classes: int) -> Dict[str, Any]:
        described = {**branches(options, classes), "fusion": options.fusion}
        if anatomy_of(options.backbone).fully_connected:
            described["image_size"] = options.image_size
        return {"kind": "multi_level", **described}

    def experiments(
        self, demo: bool, backbone: Optional[str] = None
    ) -> Dict[str, Tuple[str, List[Experiment]]]:
        own = (self.demo if demo else self.released).backbone
        wide = anatomy_of(backbone or own).width
        tables = {
            "ablations": (
                "Ablations of L_cil",
                [
                    _variant(self.title),
                    WITH_CROSS_ENTROPY,
                    Experiment("backbone alone", {"method": "resnet50", "loss": "class_imbalance"}),
                    Experiment("branches alone", {"method": "shallow"}),
                    *(
                        Experiment(f"branch of {tap} alone", {"method": "shallow", "taps": tap})
                        for tap in paper.TAPS
                    ),
                    _variant("taps as the widths suggest", taps="by-width"),
                    _variant("concatenated, style as wide as deep", style_width=wide),
                    _variant("added", fusion="add", style_width=wide),
                    _variant("multiplied", fusion="multiply", style_width=wide),
                    _variant("Gram matrices times 100", gram_scale=100.0),
                    _variant("new layers learn three times as fast", new_layers_rate=3.0),
                    _variant("without pretraining", pretrained="none"),
                ],
            ),
            "imbalance": (
                "Class imbalance",
                [
                    WITH_CROSS_ENTROPY,
                    _variant("the loss as released", loss_form="released"),
                    _variant("the loss as written", loss_form="written"),
                ],
            ),
        }
        return tables if demo else {**tables, **ON_ONE_BACKBONE}


def _variant(title: str, **options: Any) -> Experiment:
    return Experiment(title, {"method": NAME, **options})


def _backbone(title: str, **options: Any) -> Experiment:
    return Experiment(title, {"method": "finetuned", **options})


def _branches(title: str, **options: Any) -> Experiment:
    return _variant(title, loss="cross_entropy", **options)


WITH_CROSS_ENTROPY = _branches("with cross entropy")
# Tests of the paper's claims, with the same backbone for all systems: the one that --config names.
ON_ONE_BACKBONE = {
    "claims": (
        "What the shallow branches and the loss bring",
        [
            _backbone("fine-tuned, cross entropy"),
            _branches("with shallow branches, cross entropy"),
            _backbone(
                "fine-tuned, the loss as written", loss="class_imbalance", loss_form="written"
            ),
            _backbone(
                "fine-tuned, the loss as released", loss="class_imbalance", loss_form="released"
            ),
            _variant("L_cil, the loss as released", loss_form="released"),
            _variant("L_cil, the loss as written", loss_form="written"),
        ],
    ),
    "others": (
        "Other methods on the same backbone",
        [
            Experiment("shallow branches alone", {"method": "shallow", "loss": "cross_entropy"}),
            Experiment("PCNN", {"method": "pcnn"}),
            Experiment("AR", {"method": "ar"}),
        ],
    ),
    "settings": (
        "Settings of the shallow branches, with cross entropy",
        [
            _backbone("fine-tuned, no branches"),
            _branches("as released"),
            _branches("taps as the widths suggest", taps="by-width"),
            _branches("taps of the last three levels", taps="last"),
            _branches("branches 64 wide", branch_width=64),
            _branches("style 256 wide", style_width=256),
            _branches("dropout 0.5", style_dropout=0.5),
            _branches("Gram matrices times 100", gram_scale=100.0),
            _branches("new layers learn as fast as the others", new_layers_rate=1.0),
        ],
    ),
    "curve": (
        "Number of training images",
        [
            experiment(f"{what}, {100 * part:.0f} % of the images", train_part=part)
            for part in (0.1, 0.3, 1.0)
            for what, experiment in (("fine-tuned", _backbone), ("with branches", _branches))
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
# The fine-tuned networks of the results table get the released training with cross entropy, as
# their own recipes are not published.
CROSS_ENTROPY = replace(METHOD.released, loss="cross_entropy")
