"""Classifiers that predict with MXNet: a network alone, with a support vector machine, with
regions.
"""

from typing import Any, List, Mapping, Optional, Sequence, Tuple

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock

from mlr.data.preprocessing import Preprocessing
from mlr.inference.classifier import Classifier, finite
from mlr.inference.forward import predict
from mlr.inference.fused_graph import fused
from mlr.inference.regions import AffectiveRegions, Crops, settings_of
from mlr.inference.support_vectors import SupportVectorMachine


class SoftmaxClassifier(Classifier):
    """The softmax of the logits of a Gluon network.

    Attributes: `net`; `ctx`, its contexts; `transform`, the evaluation transform for Gluon's data
    loaders: (H, W, 3) uint8 -> (3, S, S).
    """

    def __init__(self, net: HybridBlock, preprocessing: Preprocessing, ctx: List[mx.Context]):
        super().__init__(preprocessing)
        self.net, self.transform, self.ctx = net, preprocessing.evaluation(), ctx
        self._network, self._named, self._is_to_be_fused = net, "the network", False

    def fuse(self, named: str) -> None:
        """Predict with the network's graph rewritten for prediction (`mlr.inference.fused_graph`).

        named: the network's name in errors. Don't train the network further after this: the
        rewritten graph keeps some of the old weights.
        """
        self._named, self._is_to_be_fused = named, True

    def outputs(self, batch: np.ndarray) -> np.ndarray:
        """Return the network's outputs (N, D) for a batch (N, 3, S, S) float32.

        Raises InputError if they are NaN or infinite.
        """
        if self._is_to_be_fused:
            self._network, self._is_to_be_fused = fused(self._network), False
        images = nd.array(batch, mx.cpu(), np.float32)
        outputs = predict(self._network, [(images, nd.zeros(len(images)))], self.ctx)[0]
        return finite(outputs, self._named)

    def grad_cam(
        self, images: np.ndarray, classes: Optional[Sequence[int]] = None
    ) -> Tuple[np.ndarray, List[int]]:
        """Return the Grad-CAM maps (N, h, w) of images (N, 3, S, S) float32, and the class number
        of each map. The network must be a `mlr.model.network.MultiLevelNet`.
        """
        from mlr.viz.attribution import grad_cam

        inputs = nd.array(images, self.ctx[0], np.float32)
        if classes is None:
            classes = self.net(inputs).argmax(axis=1).asnumpy().astype(int).tolist()
        return grad_cam(self.net, inputs, classes), list(classes)


class SupportVectorClassifier(SoftmaxClassifier):
    """A support vector machine on the outputs of a layer. Attribute: `machine`."""

    def __init__(
        self,
        net: HybridBlock,
        preprocessing: Preprocessing,
        ctx: List[mx.Context],
        layer: str,
    ):
        """layer: `features` of config.json: "fc8", the network's output, or "fc7", the layer before
        it.
        """
        super().__init__(net, preprocessing, ctx)
        self._network = net.features if layer == "fc7" else net
        self.width = net.output.weight.shape[1 if layer == "fc7" else 0]
        self.machine: SupportVectorMachine

    def probabilities(self, seen: Sequence[np.ndarray]) -> np.ndarray:
        """Return the softmax (N, K), float64, of the machine's scores. Raises InputError if the
        network's outputs or the scores are NaN or infinite.
        """
        return self.machine.probabilities(self.outputs(np.stack(seen)))


class RegionsClassifier(SoftmaxClassifier):
    """A network that classifies an image and its affective regions. Attribute: `regions`, a
    `mlr.inference.regions.AffectiveRegions`.
    """

    def __init__(
        self,
        net: HybridBlock,
        preprocessing: Preprocessing,
        ctx: List[mx.Context],
        options: Mapping[str, Any],
    ):
        """options: the run's options, of which `proposals` and `seed` are used. Raises InputError
        if the file of proposals can't be read.
        """
        super().__init__(net, preprocessing, ctx)
        self.regions = AffectiveRegions(self._of_crops, preprocessing.size, **settings_of(options))

    def seen(self, pixels: np.ndarray, name: str) -> Crops:
        """Return the crops of an image and its regions.

        Raises InputError if there are no proposals for the image, or they belong to another image.
        """
        return self.regions.crops(pixels, name)

    def refuse_without_proposals(self, names: Sequence[str]) -> None:
        """As in `mlr.inference.regions.RegionCrops`."""
        self.regions.refuse_without_proposals(names)

    def probabilities(self, seen: Sequence[Crops]) -> np.ndarray:
        """Return the class probabilities (N, K), float64, for the values that `seen` returned."""
        return np.stack([self.regions.answer(crops).probabilities for crops in seen])

    def _of_crops(self, crops: np.ndarray) -> np.ndarray:
        return self.softmax(self.outputs(np.stack(list(map(self.preprocessing.normalized, crops)))))
