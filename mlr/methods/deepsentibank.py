"""DeepSentiBank: the outputs of a CaffeNet for 2,089 concepts, and a support vector machine.

T. Chen, D. Borth, T. Darrell, S.-F. Chang, arXiv 1410.8586, 2014. Without the weights for the
concepts, the features are the outputs of fc7 instead, and training prints that.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple

from mlr import paper
from mlr.errors import InputError
from mlr.methods import multilevel
from mlr.methods.method import CAFFENETS, PROBABILITIES, Method
from mlr.options.training import TrainingOptions

if TYPE_CHECKING:
    import mxnet as mx
    import onnx
    from mxnet.gluon import HybridBlock

    from mlr.inference.classifiers import SoftmaxClassifier, SupportVectorClassifier
    from mlr.inference.support_vectors import SupportVectorMachine
    from mlr.runs.folder import Run
    from mlr.training.session import Training

SVM = "svm.params"  # a file in the run folder
NO_SVM = (
    "features for the run's support vector machine, which the export leaves out: for the run's "
    "answers use mlr predict"
)


@dataclass(frozen=True)
class DeepSentiBank(Method):
    """The network is not trained; a support vector machine is fitted to its features."""

    by_gradients = False
    needs_weights = True
    several_workers = False

    def network(self, options: TrainingOptions, classes: int) -> Dict[str, Any]:
        return super().network(options, paper.SENTIBANK_CONCEPTS)

    def classes(self, network: Mapping[str, Any]) -> Optional[int]:
        return None  # the network's outputs are concepts

    def features(self, pretrained: Mapping[str, Any]) -> Optional[str]:
        return "fc8" if pretrained.get("classifier") else "fc7"

    def stages(self, options: TrainingOptions) -> List[range]:
        """Return a single epoch, in which the support vector machine is fitted."""
        return [range(1)]

    def fit(self, training: "Training") -> None:
        from mlr.training.fitting import fit_support_vectors

        if training.run.config["features"] == "fc7" and training.machine.workers.first:
            print(
                "without weights for the 2,089 concepts the features are the outputs of fc7, in "
                "place of DeepSentiBank's",
                flush=True,
            )
        fit_support_vectors(training, SVM)

    def classifier(
        self, net: "HybridBlock", config: Mapping[str, Any], ctx: List["mx.Context"]
    ) -> "SupportVectorClassifier":
        from mlr.inference.classifiers import SupportVectorClassifier

        return SupportVectorClassifier(net, self.preprocessing(config), ctx, config["features"])

    def load_classifier(self, classifier: "SoftmaxClassifier", run: "Run") -> None:
        from mlr.inference.classifiers import SupportVectorClassifier

        assert isinstance(classifier, SupportVectorClassifier)  # `classifier` returns this type
        classifier.machine = machine_of(run, classifier.width)

    def exported(
        self, net: "HybridBlock", config: Mapping[str, Any]
    ) -> Tuple["HybridBlock", str, str]:
        layer = config["features"]
        part = net if layer == "fc8" else net.features
        return part, "features", f"outputs of {layer}: {NO_SVM}"

    def add_answer(self, model: "onnx.ModelProto", run: "Run") -> Optional[str]:
        from mlr.exporting.answers import add_support_vectors
        from mlr.inference.support_vectors import sides_of_pairs

        width = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        machine = machine_of(run, width)
        add_support_vectors(model, machine.arrays(), sides_of_pairs(machine.classes))
        return f"{PROBABILITIES}, the softmax of the support vector machine's scores"


def machine_of(run: "Run", width: int) -> "SupportVectorMachine":
    """Return the support vector machine of a run. width: the length of a feature vector. Raises
    InputError if its file is damaged, or belongs to another run.
    """
    from mlr.formats.params import read_params
    from mlr.inference.support_vectors import SupportVectorMachine

    path = run.verified(SVM)
    machine = SupportVectorMachine.from_arrays(read_params(path), path)
    if (machine.classes, machine.width) != (len(run.classes), width):
        raise InputError(
            f"{path} is for {machine.classes} classes and features of length {machine.width}, "
            "which are not the run's, likely as it comes from another run: restore it from a "
            "copy, or train again"
        )
    return machine


METHOD = DeepSentiBank(
    name="deepsentibank",
    title="DeepSentiBank",
    published=paper.PUBLISHED["deepsentibank"],
    backbones=CAFFENETS,
    released=replace(
        multilevel.METHOD.released, method="deepsentibank", backbone="caffenet", image_size=227
    ),
    own=("svm_kernel", "svm_c", "svm_class_weight"),
    demo_pretraining=("caffenet", {"method": "alexnet", "backbone": "caffenet_slim"}),
)
