"""What a system of the results table is made of. Each has one file beside this one."""

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

# The options of a training by gradient descent, whatever the network.
GRADIENT_DESCENT = (
    "targets", "augmentation", "pipeline", "loss", "loss_form", "gamma", "batch_size", "epochs",
    "optimizer", "learning_rate", "new_layers_rate", "weight_decay", "schedule",
)  # fmt: skip

# A network from scratch in minutes on two cores: small images, and Adam, as plain gradient descent
# moves the batch-normed fusion layer, which needs small steps, and fresh convolutions, which need
# large ones, at one rate.
DEMO: Mapping[str, Any] = {
    "data": "demo",
    "pretrained": "none",  # needs no download
    "image_size": 64,
    "style_width": 256,
    "augmentation": "gentle",  # the width and the colour of the lines are what matters
    "loss_form": "written",
    "batch_size": 32,
    "epochs": 10,
    "optimizer": "adam",
    "learning_rate": 7e-4,
    "new_layers_rate": 1.0,
    "weight_decay": paper.WEIGHT_DECAY,
    "schedule": "cosine",
}
# These fit into 10 MB, and learn the paintings faster than the zoo's own networks.
SLIM = {
    paper.BACKBONE: paper.SLIM_BACKBONE,
    "alexnet": "alexnet_slim",
    "vgg16": "vgg16_slim",
    "caffenet": "caffenet_slim",
}

LOGITS = "logits of the classes; their softmax are the probabilities"
PROBABILITIES = "probabilities of the classes"


@dataclass(frozen=True)
class Experiment:
    """A training of the results tables. options: its method, and what differs from its defaults."""

    title: str
    options: Mapping[str, Any]

    def run(
        self, method: "Method", demo: bool, settings: Mapping[str, Any]
    ) -> Tuple[str, List[str]]:
        """Return the name of its run, which tells it from others of its method, and its arguments
        of mlr train.

        method: the one that its options name. demo: whether it is trained on the demo's data.
        settings: options that all experiments of the method have beside its defaults.
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
    """A system: its names, its options, and how it is built, trained, asked, exported and seen.

    name: on the command line. title, published: in the results table, the accuracy in % on FI; None
    where the table has none. released: its options as its authors trained it, as far as known.
    own: the options that it has beside those of every method and of gradient descent.
    demo_pretraining: the name of the network that it starts from in the results on the demo, and
    the options of that network's own training on drawn objects, None for a start from nothing.
    views: of `mlr visualize`.
    cost: of a training, relative to others; `mlr reproduce` starts with the longest.
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
    needs_weights: ClassVar[bool] = False  # that no model zoo has
    several_workers: ClassVar[bool] = True

    @property
    def options(self) -> Tuple[str, ...]:
        """The names of its options, in the order of their definitions."""
        names = {*COMMON, *self.own, *(GRADIENT_DESCENT if self.by_gradients else ())}
        return tuple(name for name in asdict(TrainingOptions()) if name in names)

    @property
    def demo(self) -> TrainingOptions:
        """The defaults on the drawn data: small enough for minutes on a CPU."""
        backbone = SLIM.get(self.released.backbone, self.released.backbone)
        return replace(self.released, backbone=backbone, **DEMO)

    def plain(self, options: TrainingOptions) -> Dict[str, Any]:
        """Return its options as config.json has them."""
        return {name: value for name, value in asdict(options).items() if name in self.options}

    def network(self, options: TrainingOptions, classes: int) -> Dict[str, Any]:
        """Return the description of its network for config.json, from which `build` makes it."""
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
        """Return the number of classes that a network's description implies, None for any."""
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
        """Return the layer that a classifier beside the network reads, None where there is none."""
        return None

    def preprocessing(self, config: Mapping[str, Any]) -> "Preprocessing":
        """Return what its images go through before the network."""
        from mlr.data.preprocessing import preprocessing_of

        return preprocessing_of(config)

    def stages(self, options: TrainingOptions) -> List[range]:
        """Return the ranges of epochs that are trained one after the other."""
        return [range(options.epochs)]

    def fit(self, training: "Training") -> None:
        """Train its network, or fit what is beside it, and save that in the run."""
        from mlr.training.fitting import fit_by_gradients

        fit_by_gradients(training, self.stages(training.options))

    def classifier(
        self, net: "HybridBlock", config: Mapping[str, Any], ctx: List["mx.Context"]
    ) -> "SoftmaxClassifier":
        """Return how images become probabilities: by default the softmax of the logits."""
        from mlr.inference.classifiers import SoftmaxClassifier

        return SoftmaxClassifier(net, self.preprocessing(config), ctx)

    def load_classifier(self, classifier: "SoftmaxClassifier", run: "Run") -> None:
        """Read from a finished run what of its classifier is not in the network's parameters."""

    def exported(
        self, net: "HybridBlock", config: Mapping[str, Any]
    ) -> Tuple["HybridBlock", str, str]:
        """Return what of a network a graph is written of, its output's name, and what that is."""
        return net, "logits", LOGITS

    def add_answer(self, model: "onnx.ModelProto", run: "Run") -> Optional[str]:
        """Put what of its answer is not in the network behind an ONNX model of what `exported`
        returned; return what its output then is, None where nothing is added.
        """
        return None

    def check(self, config: Mapping[str, Any], classes: Sequence[str], path: Path) -> None:
        """Raise Refused where parts of a run's config contradict each other, or its classes.

        config: as `mlr.runs.schema.checked_config` returns it. path: of config.json, for the error.
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
                raise refused(path, f"network.{name}", given, f"{value}, by its options")
        count = self.classes(network)
        if count is not None and len(classes) != count:
            raise refused(path, "the list of classes", classes, f"{count} different names")

    def experiments(self, demo: bool) -> Dict[str, Tuple[str, List[Experiment]]]:
        """Return further tables of results, {name: (title, experiments)}."""
        return {}
