"""MXNet as the engine of predictions: the network alone, and what is beside it."""

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

    Attributes: `net`; `ctx`, its contexts; `transform`, the evaluation preset for batches of
    Gluon's: (H, W, 3) uint8 -> (3, S, S).
    """

    def __init__(self, net: HybridBlock, preprocessing: Preprocessing, ctx: List[mx.Context]):
        super().__init__(preprocessing)
        self.net, self.transform, self.ctx = net, preprocessing.evaluation(), ctx
        self._network, self._named, self._is_to_be_fused = net, "the network", False

    def fuse(self, named: str) -> None:
        """Predict through the network's graph as it is rewritten for prediction.

        named: what an error calls the network. After further training its predictions would be
        stale.
        """
        self._named, self._is_to_be_fused = named, True

    def outputs(self, batch: np.ndarray) -> np.ndarray:
        """Return what the network says of a batch (N, 3, S, S) float32, (N, D).

        Raises InputError where it is no number.
        """
        if self._is_to_be_fused:
            self._network, self._is_to_be_fused = fused(self._network), False
        images = nd.array(batch, mx.cpu(), np.float32)
        outputs = predict(self._network, [(images, nd.zeros(len(images)))], self.ctx)[0]
        return finite(outputs, self._named)

    def grad_cam(
        self, images: np.ndarray, classes: Optional[Sequence[int]] = None
    ) -> Tuple[np.ndarray, List[int]]:
        """Return the Grad-CAM maps (N, h, w) of images, (N, 3, S, S) float32, and the number of
        each one's class; of a `mlr.model.network.MultiLevelNet`.
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
        """layer: what config.json calls `features`, fc8, the network's output, or fc7 before it."""
        super().__init__(net, preprocessing, ctx)
        self._network = net.features if layer == "fc7" else net
        self.width = net.output.weight.shape[1 if layer == "fc7" else 0]
        self.machine: SupportVectorMachine

    def probabilities(self, seen: Sequence[np.ndarray]) -> np.ndarray:
        """Return the softmax (N, K), float64, of the machine's scores. Raises InputError where they
        are no numbers.
        """
        return self.machine.probabilities(self.outputs(np.stack(seen)))


class RegionsClassifier(SoftmaxClassifier):
    """A network that is asked about an image and about its affective regions. Attribute: `regions`,
    a `mlr.inference.regions.AffectiveRegions`.
    """

    def __init__(
        self,
        net: HybridBlock,
        preprocessing: Preprocessing,
        ctx: List[mx.Context],
        options: Mapping[str, Any],
    ):
        """options: the run's, of which `proposals` and `seed` are used. Raises InputError where the
        file of proposals can't be read.
        """
        super().__init__(net, preprocessing, ctx)
        self.regions = AffectiveRegions(self._of_crops, preprocessing.size, **settings_of(options))

    def seen(self, pixels: np.ndarray, name: str) -> Crops:
        """Return the crops of an image and its regions.

        Raises InputError where there are no proposals for it, or they are another image's.
        """
        return self.regions.crops(pixels, name)

    def probabilities(self, seen: Sequence[Crops]) -> np.ndarray:
        """Return the probabilities (N, K), float64, of the classes for what `seen` returned."""
        return np.stack([self.regions.answer(crops).probabilities for crops in seen])

    def _of_crops(self, crops: np.ndarray) -> np.ndarray:
        return self.softmax(self.outputs(np.stack(list(map(self.preprocessing.normalized, crops)))))
