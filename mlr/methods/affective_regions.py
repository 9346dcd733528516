"""AR: a fine-tuned VGG-16 that classifies the whole image and its affective regions."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Tuple

from mlr import paper
from mlr.methods.finetuned import AR_VGG, VGG16
from mlr.methods.method import LOGITS, PROBABILITIES, Method
from mlr.model.backbones import BACKBONES

if TYPE_CHECKING:
    import mxnet as mx
    import onnx
    from mxnet.gluon import HybridBlock

    from mlr.inference.classifiers import RegionsClassifier
    from mlr.runs.folder import Run

NO_REGIONS = (
    "from AR's network for one image; the run itself combines ten crops and the affective "
    "regions: for its answers use mlr predict"
)


@dataclass(frozen=True)
class AffectiveRegions(Method):
    """Training fine-tunes the network; prediction adds the regions of `mlr.inference.regions`."""

    def classifier(
        self, net: "HybridBlock", config: Mapping[str, Any], ctx: List["mx.Context"]
    ) -> "RegionsClassifier":
        from mlr.inference.classifiers import RegionsClassifier

        return RegionsClassifier(net, self.preprocessing(config), ctx, config["options"])

    def exported(
        self, net: "HybridBlock", config: Mapping[str, Any]
    ) -> Tuple["HybridBlock", str, str]:
        return net, "logits", f"{LOGITS}; {NO_REGIONS}"

    def add_answer(self, model: "onnx.ModelProto", run: "Run") -> Optional[str]:
        from mlr.exporting.answers import add_fusion

        add_fusion(model, len(run.classes))
        return f"{PROBABILITIES}, (1, K), from one image and its affective regions together"


METHOD = AffectiveRegions(
    name="ar",
    title="AR",
    published=paper.PUBLISHED["ar"],
    backbones=tuple(BACKBONES),
    released=replace(AR_VGG, method="ar"),
    own=("proposals",),
    demo_pretraining=VGG16.demo_pretraining,
    views=("regions",),
    cost=3,
)
