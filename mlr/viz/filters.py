"""What the filters of a trained network respond to: the strongest filters for an image, and the
patterns that excite them most.

According to its caption, the paper's activation figure shows convolution filters "which produce an
activation map with the highest activation", for the input image and the 1st to 4th convolutional
block. How it was made is not published. Here the blocks are the four stages of the ResNet, as the
caption suggests (inferred), or the last four levels with convolutions of another backbone. A filter
is a channel of a stage's output. "Shows a filter" can mean two things, and both are drawn: the
filter's activation map for the image, and the pattern that excites it most, found by gradient
ascent from noise, as in the same author's next paper.
"""

from typing import Any, Callable, Dict, Generator, List, Mapping, NamedTuple, Sequence, Tuple

import cv2
import numpy as np
from mxnet import autograd, nd
from mxnet.gluon import Block, nn

from mlr import paper
from mlr.errors import InputError
from mlr.model.backbone import Backbone
from mlr.model.network import MultiLevelNet
from mlr.model.parameters import infer_shapes
from mlr.runtime.progress import progress_over

MEASURES: Dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "max": np.max}
# pixels; networks for smaller images also get patterns of this size, to show large filters
SMALLEST_PATTERN = 128


class Ascent(NamedTuple):
    """The settings of the search for a pattern. 0 switches a regularisation off.

    steps: number of steps of the ascent. step: root mean square of a step, in standard deviations
    of the pixels. jitter: the image is shifted at random by up to this many pixels before each
    step, so that the pattern does not follow the grid of the strides. blur: standard deviation, in
    pixels, of the Gaussian that smooths the image every `blur_every` steps, against checkerboard
    patterns; it fades out over the last third of the steps. total_variation: weight of the penalty
    on differences of neighbouring pixels, relative to the size of the gradient. noise: standard
    deviation of the noise at the start.
    """

    steps: int = 200
    step: float = 0.05
    jitter: int = 4
    blur: float = 0.6
    blur_every: int = 4
    total_variation: float = 0.15
    noise: float = 0.3


DEFAULT_ASCENT = Ascent()


def activation_maps(net: MultiLevelNet, images: nd.NDArray) -> Dict[str, np.ndarray]:
    """Return the activation maps of the four blocks, {block: (N, C, H, W) NumPy array}.

    net: a MultiLevelNet, hybridized or not. images: (N, 3, H, W), normalised.
    """
    maps = dict(zip(net.backbone.levels, net.backbone(images)))
    return {block: maps[block].asnumpy() for block in net.backbone.blocks}


def strongest_filters(
    maps: np.ndarray, top: int = 1, measure: str = "mean"
) -> Tuple[np.ndarray, np.ndarray]:
    """Return for each image the filters with the highest activations, highest first, and these
    activations: (N, top) int, (N, top) float.

    maps: (N, C, H, W). measure: "mean" or "max" over a map.
    """
    scores = MEASURES[measure](maps, axis=(2, 3))  # (N, C)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return order, np.take_along_axis(scores, order, axis=1)


def strongest_with_patterns(
    net: MultiLevelNet,
    images: nd.NDArray,
    top: int = 1,
    measure: str = "mean",
    seed: int = 0,
    ascent: Ascent = DEFAULT_ASCENT,
) -> Dict[str, List[List[Dict[str, Any]]]]:
    """Return the data for `mlr.viz.figures.activation_figure`: the strongest filters of each image
    in each block, with their patterns.

    The result is {block: for each image a list of dicts, strongest first}. A dict has filter, map
    (h, w), activation, pattern (S, S, 3) uint8, and excited, the activation by the pattern.
    Arguments as for `activation_maps`, `strongest_filters` and `maximising_patterns`; S is the side
    of the images, at least 128. Raises InputError if a block has fewer than `top` filters.
    """
    size = max(SMALLEST_PATTERN, images.shape[-1])
    maps, blocks = activation_maps(net, images), net.backbone.blocks
    fewest = min(maps[block].shape[1] for block in blocks)
    if top > fewest:
        raise InputError(
            f"there are no {top} filters to show: the block with the fewest filters has {fewest}"
        )
    strongest = {block: strongest_filters(maps[block], top, measure) for block in blocks}
    # images often share their strongest filter
    unique = {block: sorted(set(strongest[block][0].ravel().tolist())) for block in blocks}
    patterns = patterns_of_blocks(net, unique, size, seed, ascent, measure)
    return {
        block: [
            [
                {
                    "filter": number,
                    "map": maps[block][image, number],
                    "activation": strongest[block][1][image, rank],
                    "pattern": patterns[block].images[unique[block].index(number)],
                    "excited": patterns[block].end[unique[block].index(number)],
                }
                for rank, number in enumerate(row)
            ]
            for image, row in enumerate(strongest[block][0].tolist())
        ]
        for block in blocks
    }


class Patterns(NamedTuple):
    """Images (K, S, S, 3), uint8 RGB, that excite K filters; the activation of the noise at the
    start (K,), and that of the images (K,).
    """

    images: np.ndarray
    start: np.ndarray
    end: np.ndarray


def maximising_patterns(
    net: MultiLevelNet,
    block: str,
    filters: Sequence[int],
    size: int,
    seed: int = 0,
    ascent: Ascent = DEFAULT_ASCENT,
    measure: str = "mean",
) -> Patterns:
    """Return the images that excite filters of one block most; arguments as for
    `patterns_of_blocks`, filters: K channel numbers.
    """
    return patterns_of_blocks(net, {block: filters}, size, seed, ascent, measure)[block]


def patterns_of_blocks(
    net: MultiLevelNet,
    filters: Mapping[str, Sequence[int]],
    size: int,
    seed: int = 0,
    ascent: Ascent = DEFAULT_ASCENT,
    measure: str = "mean",
) -> Dict[str, Patterns]:
    """Return the images that excite filters of blocks most.

    filters: {block: channel numbers}. size: side of the patterns, pixels. The network stays as it
    is; the same seed gives the same patterns.
    """
    backbone, found = frozen(net.backbone), {}
    searches = {
        block: _search(backbone, block, numbers, size, seed, ascent, measure)
        for block, numbers in filters.items()
    }
    # A search stops when it has asked MXNet for a gradient, so several are computed at a time.
    rounds = range(1 + ascent.steps)
    for _ in progress_over(rounds, "patterns that excite filters", len(rounds), "steps"):
        for block, search in searches.items():
            try:
                next(search)
            except StopIteration as ended:
                found[block] = ended.value
    return found


def _search(
    backbone: Backbone,
    block: str,
    filters: Sequence[int],
    size: int,
    seed: int,
    ascent: Ascent,
    measure: str,
) -> Generator[None, None, Patterns]:
    """Yield while the gradient of each step is computed; return the patterns of one block."""
    random = np.random.RandomState(seed)
    images = _inside(random.normal(0, ascent.noise, (len(filters), 3, size, size)))
    start = _activations(backbone, block, filters, images, measure)
    for number in range(ascent.steps):
        shift = random.randint(-ascent.jitter, ascent.jitter + 1, 2)
        images = np.roll(images, shift, axis=(2, 3))
        asked = _ask_gradient(backbone, block, filters, images, measure)
        yield
        images = _stepped(images, asked.asnumpy().astype(np.float64), ascent)
        fade = min(1, 3 * (1 - number / ascent.steps))
        if ascent.blur and number % ascent.blur_every == 0 and ascent.blur * fade > 0.1:
            images = _blurred(images, ascent.blur * fade)
        images = np.roll(images, -shift, axis=(2, 3))
    end = _activations(backbone, block, filters, images, measure)
    # (K, size, size, 3)
    pixels = images.transpose(0, 2, 3, 1) * paper.PIXEL_STD + paper.PIXEL_MEAN
    return Patterns(np.round(255 * pixels).clip(0, 255).astype(np.uint8), start, end)


def _inside(images: np.ndarray) -> np.ndarray:
    """Return images (K, 3, S, S), normalised, cut off where no pixel can be."""
    low, high = ((bound - np.array(paper.PIXEL_MEAN)) / paper.PIXEL_STD for bound in (0, 1))
    return np.clip(images, low[:, None, None], high[:, None, None])


def _stepped(images: np.ndarray, gradient: np.ndarray, ascent: Ascent) -> np.ndarray:
    """Return images after a step up the gradient, (K, 3, S, S) both."""
    gradient = gradient / (_size(gradient) + 1e-12)
    if ascent.total_variation:
        variation = _total_variation_gradient(images)
        gradient -= ascent.total_variation * variation / (_size(variation) + 1e-12)
    return _inside(images + ascent.step * gradient)


def _blurred(images: np.ndarray, deviation: float) -> np.ndarray:
    """Return images (K, 3, S, S), smoothed. deviation: of the Gaussian, pixels."""
    smoothed = (
        cv2.GaussianBlur(image.transpose(1, 2, 0), (0, 0), deviation).transpose(2, 0, 1)
        for image in images
    )
    return np.stack(list(smoothed))


def frozen(backbone: Backbone) -> Backbone:
    """Return a copy of a Backbone for gradients with respect to its input, through `_chosen`; its
    `levels_with_max_pool` are names.

    Levels with a max-pool run in training mode there, so their batch norms must be told to use the
    running statistics. The gradient of MKL-DNN's batch norm in mxnet-mkl 1.5.1 is then wrong.
    MXNet's own batch norm is right, and it runs for any axis but 1: here -3, which is the same
    axis.
    """
    copy = Backbone(backbone.name_in_zoo, backbone.image_size or paper.IMAGE_SIZE)
    copy.initialize(ctx=next(iter(backbone.structural_parameters.values())).list_ctx()[0])
    infer_shapes(copy)
    for name, parameter in copy.structural_parameters.items():
        source = backbone.structural_parameters[name]
        parameter.cast(source.dtype)
        parameter.set_data(source.list_data()[0])
        parameter.grad_req = "null"
    pooled = {name for name in copy.levels if _layers(getattr(copy, name), nn.MaxPool2D)}
    copy.levels_with_max_pool = pooled
    for name in pooled:
        for norm in _layers(getattr(copy, name), nn.BatchNorm):
            norm._kwargs.update(axis=-3, use_global_stats=True)
    copy.hybridize()
    return copy


def _layers(block: Block, kind: type) -> List[Block]:
    """Return the layers of a kind in a block, which may be such a layer itself."""
    found: List[Block] = []
    block.apply(lambda each: found.append(each) if isinstance(each, kind) else None)
    return found


def _as_input(backbone: Backbone, images: np.ndarray) -> nd.NDArray:
    """Return images as an NDArray on the backbone's device, in its dtype."""
    parameter = next(iter(backbone.structural_parameters.values()))
    return nd.array(images, parameter.list_ctx()[0], parameter.dtype)


def _size(gradient: np.ndarray) -> np.ndarray:
    """Return the root mean square of each image's gradient, (K, 1, 1, 1)."""
    return np.sqrt(np.mean(gradient**2, axis=(1, 2, 3), keepdims=True))


def _chosen(
    backbone: Backbone, block: str, filters: Sequence[int], images: nd.NDArray, measure: str
) -> nd.NDArray:
    """Return the activation of filter k by image k, (K,)."""
    maps = images
    for name in backbone.levels[: 1 + backbone.levels.index(block)]:
        level = getattr(backbone, name)
        # MKL-DNN keeps what the gradient of a max-pool needs only in training mode: in evaluation
        # mode that gradient is wrong, and different each time. The rest is faster in that mode.
        pooled = name in backbone.levels_with_max_pool
        with autograd.train_mode() if pooled else autograd.predict_mode():
            maps = level(maps)  # (K, C, H, W)
    scores = getattr(nd, measure)(maps, axis=(2, 3))  # (K, C)
    return nd.pick(scores, nd.array(filters, images.context))


def _activations(
    backbone: Backbone, block: str, filters: Sequence[int], images: np.ndarray, measure: str
) -> np.ndarray:
    return _chosen(backbone, block, filters, _as_input(backbone, images), measure).asnumpy()


def _ask_gradient(
    backbone: Backbone, block: str, filters: Sequence[int], images: np.ndarray, measure: str
) -> nd.NDArray:
    """Return the gradient of each image's activation, (K, 3, S, S), which MXNet may still be
    computing.
    """
    tracked = _as_input(backbone, images)
    tracked.attach_grad()
    with autograd.record():
        activation = _chosen(backbone, block, filters, tracked, measure)
    activation.backward(train_mode=False)
    return tracked.grad


def _total_variation_gradient(images: np.ndarray) -> np.ndarray:
    """Return the gradient of the sum of absolute differences between neighbouring pixels, (K, 3, H,
    W).
    """
    gradient = np.zeros_like(images)
    for axis in (2, 3):
        sign = np.sign(np.diff(images, axis=axis))
        first, last = [slice(None)] * 4, [slice(None)] * 4
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        gradient[tuple(first)] -= sign
        gradient[tuple(last)] += sign
    return gradient
