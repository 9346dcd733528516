"""Which parts of an image, and which pairs of channels, support a class."""

from typing import Dict, List, Sequence, Tuple

import numpy as np
from mxnet import autograd, nd
from mxnet.gluon import nn

from mlr.model.network import MultiLevelNet


def grad_cam(net: MultiLevelNet, images: nd.NDArray, classes: Sequence[int]) -> np.ndarray:
    """Return the Grad-CAM map of each image for its class, (N, h, w) NumPy array, at least 0
    (Selvaraju et al., ICCV 2017).

    The map is the sum of the channels of the backbone's deepest map (in a ResNet the output of
    stage 4), each weighted by the mean gradient of the class's logit; negative values become 0.
    Only the deep representation counts, also if a branch reads the deepest map. net: a
    MultiLevelNet. images: (N, 3, H, W), normalised. classes: (N,) class numbers.
    """
    maps, grams, _ = _representations(net, images)
    # mxnet-mkl 1.5.1 computes a wrong gradient with respect to an array in MKL-DNN's layout, which
    # a map may have. A copy has the usual layout.
    deepest = maps[net.backbone.levels[-1]].copy()
    deepest.attach_grad()
    layers = list(net.backbone.head)
    # MKL-DNN keeps what a max-pool needs for its gradient only in training mode. All other layers
    # run in evaluation mode.
    pools = [layers.pop(0)] if isinstance(layers[0], nn.MaxPool2D) else []
    with autograd.record():
        pooled = pools[0](deepest) if pools else deepest
    tracked = pooled.detach().copy()
    tracked.attach_grad()
    with autograd.record(train_mode=False):
        deep = tracked
        for layer in layers:
            deep = layer(deep)
        logit = nd.pick(_logits(net, deep, grams), nd.array(classes, images.context))  # (N,)
    logit.backward(train_mode=False)
    if pools:
        pooled.backward(tracked.grad)
    gradient = deepest.grad if pools else tracked.grad
    # (N, C, 1, 1)
    weights = gradient.mean(axis=(2, 3), keepdims=True)
    return nd.relu((weights * deepest).sum(axis=1)).asnumpy()


def gram_contributions(
    net: MultiLevelNet, images: nd.NDArray, classes: Sequence[int]
) -> List[np.ndarray]:
    """Return for each shallow branch the contributions of the pairs of channels to the logit of
    each image's class.

    A list of symmetric NumPy arrays (N, C, C): the Gram matrix times the logit's gradient with
    respect to it, averaged over (a, b) and (b, a). Arguments as for `grad_cam`.
    """
    _, grams, deep = _representations(net, images)
    for gram in grams:
        gram.attach_grad()
    with autograd.record(train_mode=False):
        logit = nd.pick(_logits(net, deep, grams), nd.array(classes, images.context))
    logit.backward(train_mode=False)
    contributions = [(gram * gram.grad).asnumpy() for gram in grams]
    return [(matrix + matrix.transpose(0, 2, 1)) / 2 for matrix in contributions]


def strongest_pairs(contribution: np.ndarray, top: int) -> List[Tuple[int, int, float]]:
    """Return the pairs of channels with the largest absolute contributions, largest first: [(a, b,
    sum over both orders)], a <= b.

    contribution: (C, C), symmetric.
    """
    pairs = [
        (a, b, float(contribution[a, b] * (1 if a == b else 2)))
        for a in range(len(contribution))
        for b in range(a, len(contribution))
    ]
    return sorted(pairs, key=lambda pair: -abs(pair[2]))[:top]


def _representations(
    net: MultiLevelNet, images: nd.NDArray
) -> Tuple[Dict[str, nd.NDArray], List[nd.NDArray], nd.NDArray]:
    """Return the backbone's maps by name, the branches' Gram matrices, (N, C, C) each, and the deep
    representation (N, D).
    """
    *maps, deep = net.backbone(images)
    maps = dict(zip(net.backbone.levels, maps))
    grams = [branch.layers[:-1](maps[tap]) for tap, branch in zip(net.taps, net.shallow.branches)]
    return maps, grams, deep


def _logits(net: MultiLevelNet, deep: nd.NDArray, grams: Sequence[nd.NDArray]) -> nd.NDArray:
    """Return the logits (N, K) from the deep representation and the Gram matrices."""
    vectors = [branch.layers[-1](gram) for branch, gram in zip(net.shallow.branches, grams)]
    return net.fusion(deep, net.shallow.mix(nd.concat(*vectors, dim=1)))
