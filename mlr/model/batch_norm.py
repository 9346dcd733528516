"""Batch norm in evaluation mode."""

from typing import Tuple

import numpy as np


def factor_and_shift(
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
) -> Tuple[np.ndarray, np.ndarray]:
    """Return the factor and the shift of each channel, (C,) float64 both, that a batch norm applies
    in evaluation mode.

    gamma, beta, mean, variance: (C,).
    """
    factor = gamma / np.sqrt(variance.astype(np.float64) + epsilon)
    return factor, beta - factor * mean
