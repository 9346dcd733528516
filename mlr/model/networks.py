"""The network of each method, from what config.json says of it."""

from typing import Any, Dict, Mapping

from mxnet.gluon import HybridBlock

from mlr import paper
from mlr.model.caffenet import CaffeNet
from mlr.model.finetuned import FineTuned
from mlr.model.network import MultiLevelNet
from mlr.model.shallow_only import ShallowOnly

KINDS = {
    "multi_level": MultiLevelNet,
    "fine_tuned": FineTuned,
    "shallow_only": ShallowOnly,
    "caffenet": CaffeNet,
}

# Of each, by how much the width of its layers is divided.
CAFFENETS = {"caffenet": 1, "caffenet_slim": paper.NARROW}

# Which maps the shallow branches read, and how wide each branch is.
TAPS = {
    "released": (paper.TAPS, paper.BRANCH_WIDTHS),
    "by-width": (paper.TAPS_BY_WIDTH, paper.BRANCH_WIDTHS),
    **{tap: ((tap,), (width,)) for tap, width in zip(paper.TAPS, paper.BRANCH_WIDTHS)},
}


def network_options(preset: Any, classes: int) -> Dict[str, Any]:
    """Return what config.json says of a preset's network, for `new_network`. classes: K."""
    if preset.row in ("l_cil", "shallow"):
        taps, widths = TAPS[preset.taps]
        style = {
            "taps": taps,
            "widths": widths,
            "style_width": preset.style_width,
            "gram_scale": preset.gram_scale,
        }
        network = {"classes": classes, "backbone": preset.backbone, **style}
        return (
            {"kind": "shallow_only", **network}
            if preset.row == "shallow"
            else {"kind": "multi_level", **network, "fusion": preset.fusion}
        )
    if preset.backbone in CAFFENETS:
        return {
            "kind": "caffenet",
            "classes": paper.SENTIBANK_CONCEPTS if preset.row == "deepsentibank" else classes,
            "width": CAFFENETS[preset.backbone],
            "image_size": preset.image_size,
        }
    return {
        "kind": "fine_tuned",
        "classes": classes,
        "backbone": preset.backbone,
        "image_size": preset.image_size,
    }


def new_network(options: Mapping[str, Any]) -> HybridBlock:
    """Return the network that `network_options` described, without parameters."""
    options = dict(options)
    return KINDS[options.pop("kind", "multi_level")](**options)
