"""What the filters of a trained network respond to: the strongest ones for an image, and the
patterns that excite them most.

The paper's activation figure shows, by its caption, convolution filters "which produce an
activation map with the highest activation", for the input image and the 1st to 4th convolutional
block. Its recipe is unpublished. Here the blocks are the four stages of the ResNet, as its words
suggest (inferred), or the last four of another backbone. A filter is a channel of a stage's output,
and both readings of "shows a filter" are given: its activation map for the image, and its
maximising pattern, found by gradient ascent from noise, as the same author's next paper does.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np
from mxnet import autograd, nd
from mxnet.gluon import Block, nn

from mlr import paper
from mlr.model.backbone import Backbone
from mlr.model.network import MultiLevelNet
from mlr.model.parameters import infer_shapes
from mlr.runtime.progress import progress_over

MEASURES: Dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "max": np.max}
SMALLEST_PATTERN = 128  # pixels; a network for smaller images still shows its large filters there


class Ascent(NamedTuple):
    """How a pattern is sought. Every regularisation may be switched off with 0.

    steps: of the ascent. step: root mean square of one, in standard deviations of the pixels.
    jitter: pixels by which the image is shifted at random before each step, so that the pattern
    doesn't cling to the grid of the strides. blur: standard deviation, in pixels, of the Gaussian
    by which the image is smoothed every `blur_every` steps, against the checkerboard of high
    frequencies; it fades out over the last third. total_variation: weight of the mean absolute
    difference of neighbouring pixels, relative to the gradient's own size. noise: standard
    deviation of the start.
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

    net: a MultiLevelNet, hybridized or not, whose backbone returns its maps itself. images: (N, 3,
    H, W), normalised.
    """
    maps = dict(zip(net.backbone.levels, net.backbone(images)))
    return {block: maps[block].asnumpy() for block in net.backbone.blocks}


def strongest_filters(
    maps: np.ndarray, top: int = 1, measure: str = "mean"
) -> Tuple[np.ndarray, np.ndarray]:
    """Return for each image the filters of the highest activation, the highest first, and these:
    (N, top) int, (N, top) float.

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
    """Return what `mlr.viz.figures.activation_figure` shows: the strongest filters of each image in
    each block, with their patterns.

    {block: for each image a list, the strongest first, of dicts filter, map (h, w), activation,
    pattern (S, S, 3) uint8, excited}. Arguments as in `activation_maps`, `strongest_filters` and
    `maximising_patterns`; S is the side of the images, at least 128.
    """
    size = max(SMALLEST_PATTERN, images.shape[-1])
    maps, found = activation_maps(net, images), {}
    for block in net.backbone.blocks:
        filters, activations = strongest_filters(maps[block], top, measure)
        unique = sorted(set(filters.ravel().tolist()))  # images often share their strongest filter
        patterns, _, excited = maximising_patterns(net, block, unique, size, seed, ascent, measure)
        found[block] = [
            [
                {
                    "filter": number,
                    "map": maps[block][image, number],
                    "activation": activations[image, rank],
                    "pattern": patterns[unique.index(number)],
                    "excited": excited[unique.index(number)],
                }
                for rank, number in enumerate(row)
            ]
            for image, row in enumerate(filters.tolist())
        ]
    return found


def maximising_patterns(
    net: MultiLevelNet,
    block: str,
    filters: Sequence[int],
    size: int,
    seed: int = 0,
    ascent: Ascent = DEFAULT_ASCENT,
    measure: str = "mean",
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the images that excite filters of a block most, and what they excite before and after.

    filters: K channel numbers. size: side of the patterns, pixels. Returns patterns (K, size, size,
    3), uint8 RGB, the activation of the noise at the start (K,) and that of the patterns (K,). The
    network stays as it is; the same seed gives the same patterns.
    """
    random = np.random.RandomState(seed)
    low, high = ((bound - np.array(paper.PIXEL_MEAN)) / paper.PIXEL_STD for bound in (0, 1))

    def inside(images: np.ndarray) -> np.ndarray:
        return np.clip(images, low[:, None, None], high[:, None, None])

    images = inside(random.normal(0, ascent.noise, (len(filters), 3, size, size)))
    backbone = frozen(net.backbone)
    start = _activations(backbone, block, filters, images, measure)
    steps = range(ascent.steps)
    for number in progress_over(steps, f"patterns of {block}", len(steps), "steps"):
        shift = random.randint(-ascent.jitter, ascent.jitter + 1, 2)
        images = np.roll(images, shift, axis=(2, 3))
        gradient = _gradient(backbone, block, filters, images, measure)
        gradient /= _size(gradient) + 1e-12
        if ascent.total_variation:
            variation = _total_variation_gradient(images)
            gradient -= ascent.total_variation * variation / (_size(variation) + 1e-12)
        images = inside(images + ascent.step * gradient)
        fade = min(1, 3 * (1 - number / ascent.steps))
        if ascent.blur and number % ascent.blur_every == 0 and ascent.blur * fade > 0.1:
            images = np.stack(
                [
                    cv2.GaussianBlur(
                        image.transpose(1, 2, 0), (0, 0), ascent.blur * fade
                    ).transpose(2, 0, 1)
                    for image in images
                ]
            )
        images = np.roll(images, -shift, axis=(2, 3))
    end = _activations(backbone, block, filters, images, measure)
    # (K, size, size, 3)
    pixels = images.transpose(0, 2, 3, 1) * paper.PIXEL_STD + paper.PIXEL_MEAN
    return np.round(255 * pixels).clip(0, 255).astype(np.uint8), start, end


def frozen(backbone: Backbone) -> Backbone:
    """Return a copy of a Backbone for gradients by its input alone, through `_chosen`.

    Levels with a max-pool have to run in training mode, so there batch norm must be told to keep
    its running statistics. MKL-DNN's batch norm of mxnet-mkl 1.5.1 has a wrong gradient then;
    MXNet's own, which takes over for any axis but 1, has the right one: -3 is the same axis.
    """
    copy = Backbone(backbone.name_in_zoo, backbone.image_size or paper.IMAGE_SIZE)
    copy.initialize(ctx=next(iter(backbone.structural_parameters.values())).list_ctx()[0])
    infer_shapes(copy)
    for name, parameter in copy.structural_parameters.items():
        source = backbone.structural_parameters[name]
        parameter.cast(source.dtype)
        parameter.set_data(source.list_data()[0])
        parameter.grad_req = "null"
    for level in filter(_has_max_pool, (getattr(copy, name) for name in copy.levels)):
        for norm in _layers(level, nn.BatchNorm):
            norm._kwargs.update(axis=-3, use_global_stats=True)
    copy.hybridize()
    return copy


def _layers(block: Block, kind: type) -> List[Block]:
    """The layers of a kind within a block, which may be one itself."""
    found: List[Block] = []
    block.apply(lambda each: found.append(each) if isinstance(each, kind) else None)
    return found


def _has_max_pool(level: Block) -> bool:
    return bool(_layers(level, nn.MaxPool2D))


def _as_input(backbone: Backbone, images: np.ndarray) -> nd.NDArray:
    """An NDArray on the backbone's device, in its type."""
    parameter = next(iter(backbone.structural_parameters.values()))
    return nd.array(images, parameter.list_ctx()[0], parameter.dtype)


def _size(gradient: np.ndarray) -> np.ndarray:
    """Root mean square of each image's gradient, (K, 1, 1, 1)."""
    return np.sqrt(np.mean(gradient**2, axis=(1, 2, 3), keepdims=True))


def _chosen(
    backbone: Backbone, block: str, filters: Sequence[int], images: nd.NDArray, measure: str
) -> nd.NDArray:
    """The activation of each image's own filter, (K,). backbone: a frozen one."""
    maps = images
    for name in backbone.levels[: 1 + backbone.levels.index(block)]:
        level = getattr(backbone, name)
        # MKL-DNN keeps what the gradient of a max-pool needs in training mode alone: in evaluation
        # mode that gradient is wrong, and differs each time. The rest is faster in evaluation mode.
        with autograd.train_mode() if _has_max_pool(level) else autograd.predict_mode():
            maps = level(maps)  # (K, C, H, W)
    scores = getattr(nd, measure)(maps, axis=(2, 3))  # (K, C)
    return nd.pick(scores, nd.array(filters, images.context))


def _activations(
    backbone: Backbone, block: str, filters: Sequence[int], images: np.ndarray, measure: str
) -> np.ndarray:
    return _chosen(backbone, block, filters, _as_input(backbone, images), measure).asnumpy()


def _gradient(
    backbone: Backbone, block: str, filters: Sequence[int], images: np.ndarray, measure: str
) -> np.ndarray:
    tracked = _as_input(backbone, images)
    tracked.attach_grad()
    with autograd.record():
        activation = _chosen(backbone, block, filters, tracked, measure)
    activation.backward(train_mode=False)
    return tracked.grad.asnumpy().astype(np.float64)


def _total_variation_gradient(images: np.ndarray) -> np.ndarray:
    """The gradient of the sum of absolute differences between neighbours, (K, 3, H, W)."""
    gradient = np.zeros_like(images)
    for axis in (2, 3):
        sign = np.sign(np.diff(images, axis=axis))
        first, last = [slice(None)] * 4, [slice(None)] * 4
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        gradient[tuple(first)] -= sign
        gradient[tuple(last)] += sign
    return gradient
