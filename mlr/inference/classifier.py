"""How images become the probabilities of classes, whatever engine answers for the network."""

import math
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from mlr.data.preprocessing import Preprocessing
from mlr.errors import InputError


class Classifier:
    """The softmax of the logits of a network. An engine is a subclass that has `outputs`.

    Attributes: `preprocessing`; `size`, S, of the square that the network sees; `temperature`, by
    which the logits are divided, None for 1; `engine`, its name.
    """

    engine = "mxnet"
    temperature: Optional[float] = None

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing, self.size = preprocessing, preprocessing.size

    def seen(self, pixels: np.ndarray, name: str) -> Any:
        """Return what stands for an image, (H, W, 3) uint8 RGB, until its batch is answered.

        Images can be large, and the network's input (3, S, S) is not. Any thread may call this.
        name: by which a file of proposals knows the image. Raises InputError where a method needs
        what there is not for it.
        """
        return self.preprocessing.network_input(pixels)

    def probabilities(self, seen: Sequence[Any]) -> np.ndarray:
        """Return the probabilities (N, K), float64, of the classes for what `seen` returned. The
        thread of networks calls this.

        Raises InputError where they are no numbers.
        """
        return self.softmax(self.logits(seen))

    @property
    def is_of_logits(self) -> bool:
        """Whether the probabilities are the softmax of logits alone, which a temperature is for."""
        return type(self).probabilities is Classifier.probabilities

    def logits(self, seen: Sequence[Any]) -> np.ndarray:
        """Return the logits (N, K), float32, for what `seen` returned. Raises InputError where they
        are no numbers.
        """
        return self.outputs(np.stack(seen))

    def softmax(self, logits: np.ndarray) -> np.ndarray:
        """Return the softmax (N, K), float64, of logits, divided by the temperature."""
        # In float64, where rounding doesn't make equals of the highest two; by the C library's
        # exponential and one sum after the other, to the bit as MXNet's softmax.
        below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        scaled = (below / (self.temperature or 1)).tolist()
        powers = np.array([[math.exp(value) for value in row] for row in scaled])
        return powers / np.cumsum(powers, axis=1)[:, -1:]

    def grad_cam(
        self, images: np.ndarray, classes: Optional[Sequence[int]] = None
    ) -> Tuple[np.ndarray, List[int]]:
        """Return the Grad-CAM maps (N, h, w) of images, (N, 3, S, S) float32, and the number of
        each one's class.

        classes: (N,), None for the predicted ones. Raises InputError where there is no such map.
        """
        raise NotImplementedError

    def outputs(self, batch: np.ndarray) -> np.ndarray:
        """Return what the network says of a batch (N, 3, S, S) float32, (N, D).

        Raises InputError where it is no number.
        """
        raise NotImplementedError


def finite(answer: np.ndarray, named: str) -> np.ndarray:
    """Return the answer of what is called so. Raises InputError where it is no number."""
    if not np.isfinite(answer).all():
        raise InputError(
            f"{named} answers with NaN or infinity: its weights are damaged, or its training "
            "diverged; restore it from a copy, or train again"
        )
    return answer
