"""Batches through a network, on one or several devices."""

import numpy as np

from mlr.runtime.parts import part_of


def predict(net, batches, ctx):
    """Return logits (N, K) and labels (N,), NumPy arrays, of all images of `batches`."""
    outputs = []
    for images, labels in batches:
        parts = split_batch(images, labels, ctx)[: len(images)]
        outputs.append(([net(x) for x, _, _ in parts], labels))
        for z in outputs[-2][0] if len(outputs) > 1 else ():
            z.wait_to_read()
    logits = np.concatenate([z.asnumpy() for parts, _ in outputs for z in parts])
    return logits, np.concatenate([labels.asnumpy() for _, labels in outputs]).astype(int)


def split_batch(images, labels, ctx):
    """Return a part of the batch for each context: (images, labels, share), labels in the dtype of
    the images.

    share is 1. Where a batch has fewer images than there are contexts, the contexts that are left
    get a copy of the first image with share 0, as MXNet needs a gradient from each of them.
    """
    labels = labels.astype(images.dtype)
    used = min(len(images), len(ctx))
    rows = [part_of(len(images), number, used) for number in range(used)] + [slice(1)] * (
        len(ctx) - used
    )
    return [
        (
            images[part].as_in_context(context),
            labels[part].as_in_context(context),
            float(number < used),
        )
        for number, (part, context) in enumerate(zip(rows, ctx))
    ]
