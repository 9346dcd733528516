"""The base class of the methods, the systems of the results table. Each has a file beside this
one.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple

from mlr import paper
from mlr.options.option import flag
from mlr.options.training import COMMON, TrainingOptions, options_of
from mlr.runs.schema import plain, refused

if TYPE_CHECKING:
    import mxnet as mx
    import onnx
    from mxnet.gluon import HybridBlock

    from mlr.data.preprocessing import Preprocessing
    from mlr.inference.classifiers import SoftmaxClassifier
    from mlr.runs.folder import Run
    from mlr.training.session import Training

CAFFENETS = ("caffenet", "caffenet_slim")

# The options of every training by gradient descent.
GRADIENT_DESCENT = (
    "targets", "augmentation", "pipeline", "loss", "loss_form", "gamma", "batch_size", "epochs",
    "optimizer", "learning_rate", "new_layers_rate", "weight_decay", "schedule",
)  # fmt: skip

# For training from scratch within minutes on two cores: small images, and Adam. The batch-normed
# fusion layer needs small steps and fresh convolutions need large ones, but plain gradient descent
# has one rate for both.
DEMO: Mapping[str, Any] = {
    "data": "demo",
    "pretrained": "none",  # needs no download
    "image_size": 64,
    "style_width": 256,
    # keeps the width and the colour of lines, which tell the classes apart
    "augmentation": "gentle",
    "loss_form": "written",
    "batch_size": 32,
    "epochs": 10,
    "optimizer": "adam",
    "learning_rate": 7e-4,
    "new_layers_rate": 1.0,
    "weight_decay": paper.WEIGHT_DECAY,
    "schedule": "cosine",
}
# The slim networks fit into 10 MB, and learn the paintings faster than the zoo's own networks.
SLIM = {
    paper.BACKBONE: paper.SLIM_BACKBONE,
    "alexnet": "alexnet_slim",
    "vgg16": "vgg16_slim",
    "caffenet": "caffenet_slim",
}

LOGITS = "logits of the classes; their softmax gives the probabilities"
PROBABILITIES = "probabilities of the classes"


@dataclass(frozen=True)
class Experiment:
    """A training of the results tables. options: its method, and the options that differ from the
    method's defaults.
    """

    title: str
    options: Mapping[str, Any]

    def run(
        self, method: "Method", demo: bool, settings: Mapping[str, Any]
    ) -> Tuple[str, List[str]]:
        """Return the name of its run, which is unique among the experiments of its method, and its
        arguments for mlr train.

        method: the method that its options name. demo: whether it is trained on the demo's data.
        settings: options of all experiments of the method that differ from its defaults.
        """
        defaults = method.demo if demo else method.released
        usual = replace(defaults, **settings)
        own = method.plain(replace(usual, **self.options))
        special = [str(value) for name, value in own.items() if value != getattr(usual, name)]
        arguments = ["--method", method.name]
        for name, value in own.items():
            if value != getattr(defaults, name):
                arguments += [flag(name), str(value)]
        return "-".join([method.name, *special]), arguments


@dataclass(frozen=True)
class Method:
    """A system: its names, its options, and how it is built, trained, used, exported and
    visualized.

    name: on the command line. title: in the results table. published: the accuracy on FI in % that
    the table has for it, or None. released: the options with which its authors trained it, as far
    as known. own: its options beyond those of every method and of gradient descent.
    demo_pretraining: for results on the demo the name of the network that it starts from, and the
    options of that network's own training on drawn objects; None to start from scratch. views:
    those of `mlr visualize` that it has. cost: the time of a training relative to other methods;
    `mlr reproduce` starts with the longest.
    """

    name: str
    title: str
    released: TrainingOptions
    backbones: Tuple[str, ...]
    published: Optional[float] = None
    own: Tuple[str, ...] = ()
    demo_pretraining: Optional[Tuple[str, Mapping[str, Any]]] = None
    views: Tuple[str, ...] = ()
    cost: int = 1

    by_gradients: ClassVar[bool] = True
    needs_weights: ClassVar[bool] = False  # its weights are in no model zoo
    several_workers: ClassVar[bool] = True

    @property
    def options(self) -> Tuple[str, ...]:
        """The names of its options, in the order of their definitions."""
        names = {*COMMON, *self.own, *(GRADIENT_DESCENT if self.by_gradients else ())}
        return tuple(name for name in asdict(TrainingOptions()) if name in names)

    @property
    def demo(self) -> TrainingOptions:
        """The defaults on the drawn data: small enough to train within minutes on a CPU."""
        backbone = SLIM.get(self.released.backbone, self.released.backbone)
        return replace(self.released, backbone=backbone, **DEMO)

    def plain(self, options: TrainingOptions) -> Dict[str, Any]:
        """Return the options that this method has, as a dict for config.json."""
        return {name: value for name, value in asdict(options).items() if name in self.options}

    def network(self, options: TrainingOptions, classes: int) -> Dict[str, Any]:
        """Return the description of its network for config.json, from which `build` makes the
        network.
        """
        if options.backbone in CAFFENETS:
            width = paper.NARROW if options.backbone in SLIM.values() else 1
            return {
                "kind": "caffenet",
                "classes": classes,
                "width": width,
                "image_size": options.image_size,
            }
        return {
            "kind": "fine_tuned",
            "classes": classes,
            "backbone": options.backbone,
            "image_size": options.image_size,
        }

    def classes(self, network: Mapping[str, Any]) -> Optional[int]:
        """Return the number of classes that a network's description implies; None if any number
        fits.
        """
        return network["classes"]

    def build(self, network: Mapping[str, Any]) -> "HybridBlock":
        """Return its network without parameters: images (N, 3, S, S) -> logits (N, K)."""
        from mlr.model.networks import new_network

        return new_network(network)

    def load_pretrained(self, net: "HybridBlock", source: str) -> Dict[str, Any]:
        """Put pretrained weights into a materialized network; return the record for config.json."""
        from mlr.model.networks import load_weights

        return load_weights(net, source)

    def features(self, pretrained: Mapping[str, Any]) -> Optional[str]:
        """Return the layer that a classifier beside the network reads, None without such a
        classifier.
        """
        return None

    def preprocessing(self, config: Mapping[str, Any]) -> "Preprocessing":
        """Return the preprocessing of its images."""
        from mlr.data.preprocessing import preprocessing_of

        return preprocessing_of(config)

    def stages(self, options: TrainingOptions) -> List[range]:
        """Return the stages of training, each a range of epochs."""
        return [range(options.epochs)]

    def fit(self, training: "Training") -> None:
        """Train its network, or fit the classifier beside the network, and save it in the run."""
        from mlr.training.fitting import fit_by_gradients

        fit_by_gradients(training, self.stages(training.options))

    def classifier(
        self, net: "HybridBlock", config: Mapping[str, Any], ctx: List["mx.Context"]
    ) -> "SoftmaxClassifier":
        """Return the classifier, which turns images into probabilities: by default the softmax of
        the logits.
        """
        from mlr.inference.classifiers import SoftmaxClassifier

        return SoftmaxClassifier(net, self.preprocessing(config), ctx)

    def load_classifier(self, classifier: "SoftmaxClassifier", run: "Run") -> None:
        """Read those parts of a finished run's classifier that are not in the network's
        parameters.
        """

    def exported(
        self, net: "HybridBlock", config: Mapping[str, Any]
    ) -> Tuple["HybridBlock", str, str]:
        """Return the part of a network to export, the name of its output, and the output's
        meaning.
        """
        return net, "logits", LOGITS

    def add_answer(self, model: "onnx.ModelProto", run: "Run") -> Optional[str]:
        """Add the steps between the network's output and the method's answer to an ONNX model of
        what `exported` returned. Return the new output's meaning, None if nothing is added.
        """
        return None

    def check(self, config: Mapping[str, Any], classes: Sequence[str], path: Path) -> None:
        """Raise Refused if parts of a run's config contradict each other or the classes.

        config: as `mlr.runs.schema.checked_config` returns it. path: the path of config.json, for
        the error.
        """
        options = options_of(config)
        if options.backbone not in self.backbones:
            expected = f"one of {', '.join(self.backbones)}"
            raise refused(path, "options.backbone", options.backbone, expected)
        layers = {self.features({"classifier": classifier}) for classifier in (False, True)}
        if config.get("features") not in layers:
            names = ", ".join(sorted(filter(None, layers)))
            raise refused(path, "features", config.get("features"), f"one of {names}")
        size = config["preprocessing"]["image_size"]
        if size != options.image_size:
            raise refused(path, "preprocessing.image_size", size, options.image_size)
        network = config["network"]
        wanted = self.network(options, network["classes"])
        for name in dict.fromkeys((*wanted, *network)):
            given, value = network.get(name), wanted.get(name)
            if name not in network or name not in wanted or plain(given) != plain(value):
                raise refused(path, f"network.{name}", given, f"{value}, as its options imply")
        count = self.classes(network)
        if count is not None and len(classes) != count:
            raise refused(path, "the list of classes", classes, f"{count} different names")

    def experiments(
        self, demo: bool, backbone: Optional[str] = None
    ) -> Dict[str, Tuple[str, List[Experiment]]]:
        """Return additional tables of results, {name: (title, experiments)}. backbone: of all
        systems (default: the method's own).
        """
        return {}
