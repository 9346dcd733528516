"""The last step to the probabilities of classes: by the network alone, or by what is beside it."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock

from mlr.data import transforms
from mlr.data.preprocessing import Preprocessing
from mlr.errors import InputError
from mlr.inference.forward import predict
from mlr.inference.fused_graph import fused
from mlr.inference.proposals import read_proposals
from mlr.inference.regions import AffectiveRegions
from mlr.inference.support_vectors import SupportVectorMachine


class SoftmaxClassifier:
    """The softmax of a network's logits.

    Attributes: `net`; `ctx`, its contexts; `transform`, the evaluation preset: (H, W, 3) uint8 ->
    (3, S, S); `size`, S; `temperature`, by which the logits are divided, None for 1.
    """

    temperature: Optional[float] = None

    def __init__(self, net: HybridBlock, preprocessing: Preprocessing, ctx: List[mx.Context]):
        self.net, self.transform, self.ctx = net, preprocessing.evaluation(), ctx
        self.size = preprocessing.size
        self._network, self._named, self._is_to_be_fused = net, "the network", False

    def fuse(self, named: str) -> None:
        """Predict through the network's graph as it is rewritten for prediction.

        named: what an error calls the network. After further training its predictions would be
        stale.
        """
        self._named, self._is_to_be_fused = named, True

    def seen(self, image: nd.NDArray, name: str) -> Any:
        """Return what stands for an image, (H, W, 3) uint8 RGB, until its batch is answered.

        Images can be large, and the network's input (3, S, S) is not. name: by which a file of
        proposals knows the image. Raises InputError where a method needs what there is not for it.
        """
        seen = self.transform(image)
        seen.wait_to_read()  # or MXNet would keep the image until it comes to it
        return seen

    def probabilities(self, seen: Sequence[Any]) -> np.ndarray:
        """Return the probabilities (N, K), float64, of the classes for what `seen` returned.

        Raises InputError where they are no numbers.
        """
        return self.softmax(self.logits(seen))

    @property
    def is_of_logits(self) -> bool:
        """Whether the probabilities are the softmax of logits alone, which a temperature is for."""
        return type(self).probabilities is SoftmaxClassifier.probabilities

    def logits(self, seen: Sequence[Any]) -> np.ndarray:
        """Return the logits (N, K), float32, for what `seen` returned. Raises InputError where they
        are no numbers.
        """
        return self.outputs(nd.stack(*seen))

    def softmax(self, logits: np.ndarray) -> np.ndarray:
        """Return the softmax (N, K), float64, of logits, divided by the temperature."""
        # In float64, where rounding doesn't make equals of the highest two.
        return nd.softmax(nd.array(logits, dtype="float64"), temperature=self.temperature).asnumpy()

    def outputs(self, batch: nd.NDArray) -> np.ndarray:
        """Return what the network says of a batch (N, 3, S, S), (N, D).

        Raises InputError where it is no number.
        """
        if self._is_to_be_fused:
            self._network, self._is_to_be_fused = fused(self._network), False
        outputs = predict(self._network, [(batch, nd.zeros(len(batch)))], self.ctx)[0]
        if not np.isfinite(outputs).all():
            raise InputError(
                f"{self._named} answers with NaN or infinity: its weights are damaged, or its "
                "training diverged; restore it from a copy, or train again"
            )
        return outputs


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

    def probabilities(self, seen: Sequence[nd.NDArray]) -> np.ndarray:
        """Return the softmax (N, K), float64, of the machine's scores. Raises InputError where they
        are no numbers.
        """
        return self.machine.probabilities(self.outputs(nd.stack(*seen)))


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
        self.regions = AffectiveRegions(
            self._of_crops, preprocessing.size, seed=options["seed"], **_proposals(options)
        )

    def seen(self, image: nd.NDArray, name: str) -> np.ndarray:
        """Return the probabilities (K,) of an image and its regions together.

        Raises InputError where there are no proposals for it, or they are another image's.
        """
        return self.regions.predict(image.asnumpy(), name).probabilities

    def probabilities(self, seen: Sequence[np.ndarray]) -> np.ndarray:
        """Return the probabilities (N, K), float64, of the classes for what `seen` returned."""
        return np.stack(seen)

    def _of_crops(self, crops: np.ndarray) -> np.ndarray:
        return self.softmax(self.outputs(transforms.normalized(nd.array(crops, dtype=np.uint8))))


def _proposals(options: Mapping[str, Any]) -> Dict[str, Any]:
    source = options["proposals"]
    if source == "grid":
        return {"proposals": source}
    if Path(source).suffix.lower() in (".npz", ".mat"):
        return {"proposals": read_proposals(source)}
    return {"proposals": "edgeboxes", "model": source}
