"""Runs batches through a network, on one or several devices."""

from typing import Iterable, List, NamedTuple, Sequence, Tuple

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from mlr.data.parts import part_of


class DevicePart(NamedTuple):
    """The part of a batch on one context: images, their labels, and the weight of their loss."""

    images: nd.NDArray
    labels: nd.NDArray
    weight: float


def predict(
    net: gluon.Block, batches: Iterable[Tuple[nd.NDArray, nd.NDArray]], ctx: Sequence[mx.Context]
) -> Tuple[np.ndarray, np.ndarray]:
    """Return the logits (N, K) and labels (N,) of all images in `batches`, as NumPy arrays."""
    outputs: List[Tuple[List[nd.NDArray], nd.NDArray]] = []
    for images, labels in batches:
        parts = split_batch(images, labels, ctx)[: len(images)]
        outputs.append(([net(part.images) for part in parts], labels))
        for logits in outputs[-2][0] if len(outputs) > 1 else ():
            logits.wait_to_read()
    of_all = np.concatenate([logits.asnumpy() for parts, _ in outputs for logits in parts])
    return of_all, np.concatenate([labels.asnumpy() for _, labels in outputs]).astype(int)


def split_batch(
    images: nd.NDArray, labels: nd.NDArray, ctx: Sequence[mx.Context]
) -> List[DevicePart]:
    """Return one part of the batch for each context, with labels in the dtype of the images.

    The weight of a part is 1. If a batch has fewer images than there are contexts, the remaining
    contexts get a copy of the first image with weight 0, because MXNet needs a gradient from each.
    """
    labels = labels.astype(images.dtype)
    used = min(len(images), len(ctx))
    places = [part_of(len(images), number, used) for number in range(used)]
    places += [slice(1)] * (len(ctx) - used)
    return [
        DevicePart(
            images[place].as_in_context(context),
            labels[place].as_in_context(context),
            float(number < used),
        )
        for number, (place, context) in enumerate(zip(places, ctx))
    ]
