"""The network of DeepSentiBank: a CaffeNet that recognizes 2,089 adjective noun pairs.

The accuracy in the results table is that of an SVM on the network's outputs, see
`mlr.inference.support_vectors`.
"""

from typing import Any

from mxnet.gluon import HybridBlock, nn

from mlr import paper
from mlr.errors import InputError
from mlr.model.lrn import LocalResponseNorm
from mlr.model.zoo import names_in_zoo

LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
WIDTHS = (1, 2, 4, 8, 16)  # with these every grouped convolution has two equal groups of channels


class CaffeNet(HybridBlock):
    """CaffeNet (sentibank.prototxt): AlexNet with two groups in conv2, conv4 and conv5, and pooling
    before normalisation.

    classes: K. width: divides the channels and units of all layers but the last by 1, 2, 4, 8 or
    16; values above 1 are ours, for CPUs. image_size: S, which sets the shape of fc6: 227 for the
    released weights, otherwise 64 or more. Input: images (N, 3, S, S), float32, as
    `caffe_transform` makes them. Output: logits (N, K). The paper does not say whether its SVM got
    the logits or their softmax.

    Attributes: `caffe_parameters`, all parameters under Caffe's names, conv1.weight to fc8.bias;
    and, for reading weights, `name_in_zoo` (although the zoo has no CaffeNet),
    `structural_parameters`, `prefixed_parameters` and `left_out`, as in
    `mlr.model.backbone.Backbone`.
    """

    def __init__(
        self,
        classes: int = paper.SENTIBANK_CONCEPTS,
        width: int = 1,
        image_size: int = paper.CAFFE_SIZE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if classes < 2:
            raise InputError(f"classes must be at least 2, not {classes}")
        if width not in WIDTHS:
            raise InputError(f"width must be one of {', '.join(map(str, WIDTHS))}, not {width}")
        with self.name_scope():
            self.features = _features(width)
            self.output = nn.Dense(classes)
        weighted = [
            layer
            for layer in (*self.features, self.output)
            if isinstance(layer, (nn.Conv2D, nn.Dense))
        ]
        self.caffe_parameters = {
            f"{name}.{kind}": getattr(layer, kind)
            for name, layer in zip(LAYERS, weighted)
            for kind in ("weight", "bias")
        }
        self.name_in_zoo, self.image_size = "caffenet", image_size
        names = names_in_zoo(self)
        self.structural_parameters, self.prefixed_parameters, self.left_out = names

    def hybrid_forward(self, F: Any, images: Any) -> Any:
        """Gluon's forward pass: return the logits (N, K) of images."""
        return self.output(self.features(images))


def _features(width: int) -> nn.HybridSequential:
    """Return the layers before the classifier, with CaffeNet's channels divided by `width`."""

    def convolution(
        channels: int, size: int, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> nn.Conv2D:
        return nn.Conv2D(channels // width, size, stride, padding, groups=groups, activation="relu")

    def pool() -> nn.MaxPool2D:
        return nn.MaxPool2D(3, 2, ceil_mode=True)  # Caffe rounds sizes up

    layers = nn.HybridSequential(prefix="")
    # comments give the shape (N, C, H, W) after each block, for S = 227
    layers.add(
        # (N, 96, 27, 27)
        convolution(96, 11, stride=4),
        pool(),
        LocalResponseNorm(),
        # (N, 256, 13, 13)
        convolution(256, 5, padding=2, groups=2),
        pool(),
        LocalResponseNorm(),
        # (N, 384, 13, 13)
        convolution(384, 3, padding=1),
        convolution(384, 3, padding=1, groups=2),
        convolution(256, 3, padding=1, groups=2),
        pool(),
        nn.Flatten(),  # (N, 9216)
        nn.Dense(4096 // width, activation="relu"),
        nn.Dropout(paper.CAFFE_DROPOUT),
        nn.Dense(4096 // width, activation="relu"),
        nn.Dropout(paper.CAFFE_DROPOUT),
    )
    return layers
