"""Turns images into class probabilities, with any engine that runs the network."""

import math
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from mlr.data.preprocessing import Preprocessing
from mlr.errors import InputError


class Classifier:
    """The softmax of a network's logits. Each engine is a subclass that implements `outputs`.

    Attributes: `preprocessing`; `size`, S, the side of the square that the network takes;
    `temperature`, by which the logits are divided, None for 1; `engine`, the name of the engine.
    """

    engine = "mxnet"
    temperature: Optional[float] = None

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing, self.size = preprocessing, preprocessing.size

    def seen(self, pixels: np.ndarray, name: str) -> Any:
        """Return the network's input for an image, (3, S, S) float32, to keep until its batch is
        predicted. Unlike images it is always small.

        Any thread may call this. pixels: (H, W, 3) uint8 RGB. name: the image's name in a file of
        proposals. Raises InputError if the method needs proposals and there are none for the image.
        """
        return self.preprocessing.network_input(pixels)

    def refuse_without_proposals(self, names: Sequence[str]) -> None:
        """Raise InputError, before any work, if the method needs proposals and there are none for
        one of the images, or they can't be computed. names: as in a file of proposals.
        """

    def probabilities(self, seen: Sequence[Any]) -> np.ndarray:
        """Return the class probabilities (N, K), float64, for the values that `seen` returned.

        Only the thread of networks calls this. Raises InputError if they are NaN or infinite.
        """
        return self.softmax(self.logits(seen))

    @property
    def is_of_logits(self) -> bool:
        """Whether the probabilities are the softmax of logits, so that a temperature applies."""
        return type(self).probabilities is Classifier.probabilities

    def logits(self, seen: Sequence[Any]) -> np.ndarray:
        """Return the logits (N, K), float32, for the values that `seen` returned. Raises InputError
        if they are NaN or infinite.
        """
        return self.outputs(np.stack(seen))

    def softmax(self, logits: np.ndarray) -> np.ndarray:
        """Return the softmax (N, K), float64, of logits, divided by the temperature."""
        # In float64, so that rounding does not make the two highest values equal. The C library's
        # exponential and a sequential sum give the same bits as MXNet's softmax.
        below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        scaled = (below / (self.temperature or 1)).tolist()
        powers = np.array([[math.exp(value) for value in row] for row in scaled])
        return powers / np.cumsum(powers, axis=1)[:, -1:]

    def grad_cam(
        self, images: np.ndarray, classes: Optional[Sequence[int]] = None
    ) -> Tuple[np.ndarray, List[int]]:
        """Return the Grad-CAM maps (N, h, w) of images, and the class number of each map.

        images: (N, 3, S, S) float32. classes: (N,) class numbers, None for the predicted classes.
        Raises InputError if the network has no map for Grad-CAM.
        """
        raise NotImplementedError

    def outputs(self, batch: np.ndarray) -> np.ndarray:
        """Return the network's outputs (N, D) for a batch (N, 3, S, S) float32.

        Raises InputError if they are NaN or infinite.
        """
        raise NotImplementedError


def finite(answer: np.ndarray, named: str) -> np.ndarray:
    """Return a network's answer. Raises InputError if it is not finite; `named` is the network's
    name in the error.
    """
    if not np.isfinite(answer).all():
        raise InputError(
            f"{named} answers with NaN or infinity: its weights are damaged, or its training "
            "diverged; restore it from a copy, or train again"
        )
    return answer
