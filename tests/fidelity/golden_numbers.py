"""The golden numbers of the released code, and what they were made of, by NumPy alone."""

import json
import zlib
from pathlib import Path

import numpy as np

SEED = 7  # of the golden files
GOLDEN = Path(__file__).parents[1] / "golden"


def golden(dtype):
    return np.load(GOLDEN / (f"original_fi8_seed7{'_float64' if dtype == 'float64' else ''}.npz"))


def drawn_parameters():
    """The golden run's parameters, {the released code's name: float32}, in the order of its
    layers.
    """
    record = golden("float32")
    return {
        name: _draw(name, json.loads(shape))
        for name, shape in zip(record["param_names"], record["param_shapes"])
    }


def _draw(name, shape):
    """One parameter; its distribution follows from the kind of parameter."""
    random, kind = (
        np.random.RandomState(zlib.crc32((f"{SEED:d}:{name}").encode()) & 0x7FFFFFFF),
        name.rsplit(".", 1)[1],
    )
    if kind == "weight":
        values = random.normal(0, np.sqrt(0.5 / np.prod(shape[1:])), shape)
    elif kind in ("gamma", "running_var"):
        values = random.uniform(0.5, 1.5, shape)
    else:
        values = random.normal(0, 0.01 if kind == "bias" else 0.1, shape)
    return values.astype("float32")


def batch():
    """Images (8, 3, 224, 224), float32, and labels (8,)."""
    random = np.random.RandomState(SEED)
    images = random.normal(0, 1, (8, 3, 224, 224)).astype("float32")
    return images, random.randint(0, 8, 8)
