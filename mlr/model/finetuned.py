"""A network of the zoo with a new classifier, for the fine-tuned methods, PCNN and AR."""

from typing import Any

from mxnet.gluon import HybridBlock, nn

from mlr.model.lrn import LocalResponseNorm
from mlr.model.zoo import names_in_zoo, zoo_network
from mlr.paper import IMAGE_SIZE

SMALL_NETWORK = "pcnn_small"


class FineTuned(HybridBlock):
    """The features of a zoo network and a new classifier.

    classes: K. backbone: one of `mlr.model.backbones.BACKBONES`, or "pcnn_small", the network of
    PCNN's authors. image_size: S, which sets the shape of fully connected layers: 224 for the zoo's
    weights of AlexNet and VGG. Input: images (N, 3, S, S), normalised. Output: logits (N, K).

    Attributes, for reading weights, as in `mlr.model.backbone.Backbone`: `name_in_zoo`,
    `structural_parameters`, `prefixed_parameters`, `left_out`.
    """

    def __init__(
        self, classes: int, backbone: str, image_size: int = IMAGE_SIZE, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            zoo = None if backbone == SMALL_NETWORK else zoo_network(backbone)
            self.features = zoo.features if zoo else _small_network()
            self.output = nn.Dense(classes)
        self.name_in_zoo, self.image_size = backbone, image_size
        names = names_in_zoo(zoo or self)
        self.structural_parameters, self.prefixed_parameters, self.left_out = names

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        """Gluon's forward pass: return the logits (N, K) of images."""
        return self.output(self.features(images))


def _small_network() -> nn.HybridSequential:
    """Return the layers of the network of PCNN's authors (You et al., AAAI 2015; recalled, not
    re-read), for images of 227 px.

    Two convolutions with local response normalisation and pooling, then 512, 512 and 24 units. The
    second convolution's padding of 2 and the normalisation's constants, which are AlexNet's, are
    inferred.
    """
    layers = nn.HybridSequential(prefix="")
    for channels, size, padding in ((96, 11, 0), (256, 5, 2)):
        layers.add(
            nn.Conv2D(channels, size, 4 if size == 11 else 2, padding, activation="relu"),
            LocalResponseNorm(),
            nn.MaxPool2D(3, 2),
        )
    layers.add(nn.Flatten(), *(nn.Dense(units, activation="relu") for units in (512, 512, 24)))
    return layers
