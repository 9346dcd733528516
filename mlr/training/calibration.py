"""A temperature that calibrates a run's probabilities: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger,
"On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
"""

from typing import Optional

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from mlr.runs.schema import TEMPERATURES


def negative_log_likelihood(
    logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0
) -> float:
    """Return the mean negative log-likelihood, in nats, of softmax(logits / temperature).

    logits: (N, K). labels: (N,) integers.
    """
    logits = np.asarray(logits, np.float64) / temperature
    return float(-log_softmax(logits, axis=1)[np.arange(len(logits)), labels].mean())


def fitted_temperature(logits: ArrayLike, labels: ArrayLike) -> Optional[float]:
    """Return the temperature with the lowest `negative_log_likelihood`; None if that is no lower
    than at temperature 1.

    Also None if no temperature from 0.05 to 20 is the minimum: if all predictions are right, lower
    is always better, and if they are no better than chance, higher is always better. logits: (N,
    K). labels: (N,) integers.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    above_true = logits - logits[np.arange(len(logits)), labels][:, None]  # (N, K)

    def slope(inverse: float) -> float:
        """Return the derivative with respect to 1 / T, in which the negative log-likelihood is
        convex.
        """
        probabilities = softmax(inverse * above_true, axis=1)
        return float((probabilities * above_true).sum(axis=1).mean())

    lowest, highest = (1 / temperature for temperature in reversed(TEMPERATURES))
    if slope(lowest) >= 0 or slope(highest) <= 0:
        return None
    temperature = 1 / brentq(slope, lowest, highest)
    before, after = (negative_log_likelihood(logits, labels, each) for each in (1.0, temperature))
    return temperature if after < before else None
