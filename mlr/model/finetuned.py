"""AlexNet, VGGNet, ResNet-50: a network of the zoo with a new head, fine-tuned. PCNN and AR have
one, too.
"""

from mxnet.gluon import HybridBlock, nn

from mlr.model.lrn import LocalResponseNorm
from mlr.model.zoo import zoo_network
from mlr.paper import IMAGE_SIZE

SMALL_NETWORK = "pcnn_small"


class FineTuned(HybridBlock):
    """The features of a zoo network and a new classifier.

    classes: K. backbone: a name of `mlr.model.zoo.zoo_network`, or "pcnn_small", the network of
    PCNN's authors.
    image_size: S, from which fully connected layers take their shape: 224 for the zoo's weights of
    AlexNet and VGG.
    Input: images (N, 3, S, S), normalised.
    Output: logits (N, K).

    Attributes as of `mlr.model.backbone.Backbone`, for reading weights: `name_in_zoo`,
    `structural_parameters`, `prefixed_parameters`.
    """

    def __init__(self, classes, backbone, image_size=IMAGE_SIZE, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            if backbone == SMALL_NETWORK:
                self.features, prefix = _small_network(), ""
            else:
                zoo = zoo_network(backbone)
                self.features, prefix = zoo.features, zoo.prefix
            self.output = nn.Dense(classes)
        self.name_in_zoo, self.image_size = backbone, image_size
        self.structural_parameters = self.features._collect_params_with_prefix("features")
        self.prefixed_parameters = {
            p.name[len(prefix) :]: p for p in self.structural_parameters.values()
        }

    def hybrid_forward(self, F, images):
        return self.output(self.features(images))


def _small_network():
    """The network of PCNN's authors (You et al., AAAI 2015), recalled, not re-read, for images of
    227 px.

    Two convolutions with local response normalisation and pooling, then 512, 512 and 24 units.
    Padding 2 of the second convolution and the normalisation's constants, AlexNet's, are inferred.
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
