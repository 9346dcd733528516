"""AlexNet, VGGNet, ResNet-50 and other networks of the Gluon zoo, each fine-tuned with a new
classifier.
"""

from dataclasses import replace
from typing import Any, Mapping

from mlr import paper
from mlr.methods.method import CAFFENETS, Method
from mlr.methods.multilevel import CROSS_ENTROPY
from mlr.model.backbones import BACKBONES

# AR's authors fine-tuned a VGG-16 on FI: all VGG-16 here use the settings of their solver.
SOLVER: Mapping[str, Any] = paper.AR_SOLVER
AR_VGG = replace(CROSS_ENTROPY, backbone="vgg16", augmentation="crop", schedule="step-ar", **SOLVER)

ALEXNET = Method(
    name="alexnet",
    title="AlexNet",
    published=paper.PUBLISHED["alexnet"],
    backbones=("alexnet", "alexnet_slim", *CAFFENETS),
    released=replace(CROSS_ENTROPY, method="alexnet", backbone="alexnet"),
    demo_pretraining=("alexnet", {"method": "alexnet"}),
)
VGG16 = Method(
    name="vgg16",
    title="VGGNet",
    published=paper.PUBLISHED["vgg16"],
    backbones=("vgg16", "vgg16_slim"),
    released=replace(AR_VGG, method="vgg16"),
    demo_pretraining=("vgg", {"method": "vgg16"}),
    cost=2,
)
RESNET50 = Method(
    name="resnet50",
    title="ResNet-50",
    published=paper.PUBLISHED["resnet50"],
    backbones=tuple(name for name in BACKBONES if name.startswith("resnet")),
    released=replace(CROSS_ENTROPY, method="resnet50"),
    demo_pretraining=("resnet", {"method": "resnet50"}),
)
FINETUNED = Method(
    name="finetuned",
    title="fine-tuned backbone",
    backbones=tuple(BACKBONES),
    released=replace(CROSS_ENTROPY, method="finetuned"),
    demo_pretraining=RESNET50.demo_pretraining,
)
