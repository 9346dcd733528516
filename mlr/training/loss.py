"""The losses of the released code (the class imbalance loss, cross entropy and the vote loss), and
cross entropy for distributions.
"""

from typing import Any, Iterable, Optional

import numpy as np
from mxnet.gluon.loss import Loss
from numpy.typing import ArrayLike

from mlr.errors import InputError
from mlr.paper import FOCAL_GAMMA


def inverse_frequency_weights(counts: ArrayLike) -> np.ndarray:
    """Return the class weights (K,), float64, proportional to 1 / counts and summing to 1.

    counts: (K,) training images per class. With FI's counts this gives the released weights to
    within 0.003. Raises InputError for a class without images.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 1 or not len(counts) or not np.all(counts > 0):
        raise InputError(
            f"class counts must be a list of positive numbers, not {counts.tolist()}: every "
            "class needs a training image"
        )
    inverse = 1 / counts
    return inverse / inverse.sum()


class ClassImbalanceLoss(Loss):
    """The loss against class imbalance, L_cil; released model/utils.py, AugFocalLoss.

    As released:  p = softmax(logits);  loss = w[y] * (1 - p[y])^gamma * CE(p, y), where CE applies
    softmax to p once more. As written in the comment beside it:  loss = w[y] * (1 - p[y])^gamma *
    -ln p[y].

    class_weights: (K,) numbers, None for all 1; another number of weights than of classes is an
    MXNetError. They are kept in double precision and converted to
    the dtype of the logits. gamma: the focusing exponent, >= 0.

    Input: logits (N, K) and labels (N,) with integer values; output: loss (N,) in the dtype of the
    logits.
    """

    def __init__(
        self,
        class_weights: Optional[Iterable[float]] = None,
        gamma: float = FOCAL_GAMMA,
        as_released: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(None, 0, **kwargs)
        if not 0 <= gamma < np.inf:
            raise InputError(f"gamma must be a number from 0 up, not {gamma}")
        if class_weights is not None:
            class_weights = [float(weight) for weight in class_weights]
            if not class_weights or not all(0 <= weight < np.inf for weight in class_weights):
                raise InputError(f"class weights must be numbers from 0 up, not {class_weights}")
        self._class_weights = class_weights
        self._gamma = gamma
        self._as_released = as_released

    def hybrid_forward(self, F: Any, logits: Any, labels: Any) -> Any:
        """Gluon's forward pass: return the loss (N,) of logits and labels."""
        probabilities = F.softmax(logits)  # (N, K)
        log_likelihood = _log_softmax(F, probabilities if self._as_released else logits)  # (N, K)
        # The lower bound keeps the gradient of x^gamma finite at x = 0 for gamma < 1; it is far
        # below rounding errors.
        doubt = F.clip(1 - F.pick(probabilities, labels), a_min=1e-30, a_max=1)  # (N,)
        loss = -(doubt**self._gamma) * F.pick(log_likelihood, labels)
        if self._class_weights is None:
            return loss
        # Built from scalars, which MXNet keeps in double precision, so that the weights get the
        # dtype and the device of the logits.
        ones = F.ones_like(F.slice_axis(logits, axis=1, begin=0, end=1))  # (N, 1)
        weights = F.concat(*[ones * weight for weight in self._class_weights], dim=1)  # (N, K)
        # pick takes the last weight for a label beyond them; this product refuses another K
        weights = F.elemwise_mul(weights, F.ones_like(logits))
        return F.pick(weights, labels) * loss


class VoteLoss(Loss):
    """Sum over the batch of (logit of the true class - 1)^2; released model/utils.py, unused in the
    released run.

    Input: logits (N, K) and labels (N,); output: (1,).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(None, 0, **kwargs)

    def hybrid_forward(self, F: Any, logits: Any, labels: Any) -> Any:
        """Gluon's forward pass: return the loss (1,) of a batch's logits and labels."""
        return F.sum(F.square(F.pick(logits, labels) - 1))


class CrossEntropyLoss(Loss):
    """Cross entropy plus `vote` times the vote loss of the batch; released model/utils.py, `loss`,
    with vote = 0.

    Input: logits (N, K) and labels (N,); output: loss (N,).
    """

    def __init__(self, vote: float = 0.0, **kwargs: Any) -> None:
        super().__init__(None, 0, **kwargs)
        self._vote = vote
        self.vote_loss = VoteLoss()

    def hybrid_forward(self, F: Any, logits: Any, labels: Any) -> Any:
        """Gluon's forward pass: return the loss (N,) of logits and labels."""
        loss = -F.pick(_log_softmax(F, logits), labels)
        if not self._vote:
            return loss
        return F.broadcast_add(loss, self._vote * self.vote_loss(logits, labels))


class SoftCrossEntropyLoss(Loss):
    """Cross entropy with distributions over the classes in place of labels.

    Input: logits (N, K) and distributions (N, K), each row of which sums to 1; output: loss (N,).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(None, 0, **kwargs)

    def hybrid_forward(self, F: Any, logits: Any, distributions: Any) -> Any:
        """Gluon's forward pass: return the loss (N,) of logits and distributions."""
        return -F.sum(distributions * _log_softmax(F, logits), axis=1)


def _log_softmax(F: Any, z: Any) -> Any:
    """Return the logarithm of the softmax over axis 1. MXNet's own, in 1.9.1 by oneDNN, has errors
    of 3e-6 in float32.
    """
    z = F.broadcast_sub(z, F.BlockGrad(F.max(z, axis=1, keepdims=True)))
    return F.broadcast_sub(z, F.log(F.sum(F.exp(z), axis=1, keepdims=True)))
