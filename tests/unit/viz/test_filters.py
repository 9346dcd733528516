import mxnet as mx
import numpy as np
import pytest
from mxnet import nd
from numpy.testing import assert_allclose, assert_array_equal

import mlr
from mlr import paper
from mlr.errors import InputError
from mlr.methods import load_network, open_run
from mlr.model.backbones import anatomy_of
from mlr.model.parameters import materialize
from mlr.runs.shipped import DEMO_RUN
from mlr.viz import filters
from mlr.viz.attribution import grad_cam, gram_contributions, strongest_pairs
from mlr.viz.filters import (
    Ascent,
    activation_maps,
    maximising_patterns,
    strongest_filters,
    strongest_with_patterns,
)
from mlr.viz.images import read_images_and_inputs


@pytest.fixture(scope="module")
def net():
    """Random but for running statistics, which a network that has seen images has."""
    mx.random.seed(3)
    net = mlr.MultiLevelNet(3, backbone=paper.SLIM_BACKBONE, style_width=16)
    materialize(net, [mx.cpu()], mx.init.Xavier())
    with mx.autograd.train_mode():
        for _ in range(20):
            net(nd.random.normal(shape=(8, 3, 64, 64)))
    nd.waitall()
    return net


@pytest.fixture(scope="module")
def precise(net):
    """The same network in float64, for differences over small steps."""
    copy = mlr.MultiLevelNet(3, backbone=paper.SLIM_BACKBONE, style_width=16)
    materialize(copy, [mx.cpu()], mx.init.Xavier())
    copy.cast("float64")
    for ours, theirs in zip(copy.collect_params().values(), net.collect_params().values()):
        ours.set_data(theirs.data().astype("float64"))
    return copy


@pytest.fixture
def images():
    return nd.random.normal(shape=(2, 3, 64, 96))


def test_maps_are_those_of_the_blocks_hybridized_or_not(net, images):
    maps = activation_maps(net, images)
    assert {block: values.shape for block, values in maps.items()} == {
        "stage1": (2, 32, 16, 24),
        "stage2": (2, 48, 8, 12),
        "stage3": (2, 96, 4, 6),
        "stage4": (2, 160, 2, 3),
    }
    net.hybridize(static_alloc=True, static_shape=True)
    for block, values in activation_maps(net, images).items():
        # float32 in another order of addition
        assert_allclose(values, maps[block], rtol=1e-5, atol=1e-5)
    net.hybridize(False)


@pytest.mark.parametrize("measure, numpys", [("mean", np.mean), ("max", np.max)])
def test_the_strongest_filter_is_the_one_numpy_finds(measure, numpys):
    maps = np.random.normal(size=(3, 7, 4, 5)).astype(np.float32)
    chosen, activations = strongest_filters(maps, top=3, measure=measure)
    for image, order, values in zip(maps, chosen, activations):
        scores = [numpys(channel) for channel in image]
        assert order[0] == int(np.argmax(scores))
        assert_array_equal(order, np.argsort(scores)[::-1][:3])
        assert_allclose(values, np.sort(scores)[::-1][:3], rtol=1e-6)


def test_more_filters_than_a_block_has(net, images):
    with pytest.raises(InputError, match="no 33 filters .* the fewest filters has 32"):
        strongest_with_patterns(net, images, top=33)


@pytest.mark.parametrize("measure", ["mean", "max"])
@pytest.mark.parametrize("block, number", [("stage1", 5), ("stage4", 100)])
def test_the_ascent_follows_the_gradient(net, precise, block, number, measure):
    """Its gradient by the input against finite differences: batch norm keeps to its running
    statistics.
    """
    images = np.random.normal(size=(1, 3, 64, 64))
    backbone = filters.frozen(precise.backbone)
    gradient = filters._ask_gradient(backbone, block, [number], images, measure).asnumpy()
    direction = gradient / np.sqrt((gradient**2).sum())
    step = 1e-5
    ahead, behind = (
        filters._activations(backbone, block, [number], images + sign * step * direction, measure)[
            0
        ]
        for sign in (1, -1)
    )
    # The square of the step, and rounding over it; a ReLU or maximum rarely changes on so short a
    # way, and then little of the sum.
    assert_allclose((ahead - behind) / (2 * step), (gradient * direction).sum(), rtol=1e-3)
    single = filters._ask_gradient(
        filters.frozen(net.backbone), block, [number], images, measure
    ).asnumpy()
    # float32 through 18 layers and back
    assert_allclose(single, gradient, rtol=1e-3, atol=1e-4 * np.abs(gradient).max())


@pytest.mark.parametrize("block", anatomy_of(paper.SLIM_BACKBONE).blocks)
def test_the_ascent_raises_its_filter(net, block):
    before = [parameter.data().asnumpy() for parameter in net.collect_params().values()]
    patterns, start, end = maximising_patterns(
        net, block, [3, 7], 64, seed=1, ascent=Ascent(steps=40)
    )
    assert patterns.shape == (2, 64, 64, 3) and patterns.dtype == np.uint8
    assert (end > start).all()
    own = np.array(
        [(pattern / 255 - paper.PIXEL_MEAN) / paper.PIXEL_STD for pattern in patterns]
    ).transpose(0, 3, 1, 2)
    seen = activation_maps(net, nd.array(own))[block].mean(axis=(2, 3))[[0, 1], [3, 7]]
    # the pattern that is returned, rounded to 8 bits
    assert_allclose(seen, end, rtol=0.05, atol=0.01)
    for parameter, value in zip(net.collect_params().values(), before):
        assert_array_equal(parameter.data().asnumpy(), value)


def test_the_same_seed_gives_the_same_patterns(net):
    first, second, other = (
        maximising_patterns(net, "stage2", [1], 64, seed, Ascent(steps=5))[0] for seed in (0, 0, 1)
    )
    assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.slow
def test_patterns_of_the_shipped_run_excite_five_times_as_much_as_noise():
    """The strongest filters for the example image, with little regularisation, which costs the deep
    blocks activation.
    """
    net = load_network(open_run(DEMO_RUN), [mx.cpu()])
    _, images = read_images_and_inputs([DEMO_RUN.parents[1] / "imgs" / "example.jpg"], 64, mx.cpu())
    for block, maps in activation_maps(net, images).items():
        chosen, _ = strongest_filters(maps)
        _, start, end = maximising_patterns(
            net,
            block,
            chosen[0].tolist(),
            128,
            ascent=Ascent(step=0.1, blur=0, total_variation=0.05),
        )
        assert end[0] >= 5 * abs(start[0]), block


@pytest.mark.parametrize("off", ["jitter", "blur", "total_variation"])
def test_each_regularisation_does_something(net, off):
    whole, without = (
        maximising_patterns(net, "stage1", [1], 64, 0, Ascent(steps=10, **options))[0]
        for options in ({}, {off: 0})
    )
    assert (whole != without).any()


def test_regularised_patterns_are_smoother(net):
    def roughness(ascent):
        pattern = maximising_patterns(net, "stage2", [4], 64, 0, ascent)[0].astype(float)
        return np.abs(np.diff(pattern, axis=1)).mean()

    assert roughness(Ascent(steps=40)) < roughness(
        Ascent(steps=40, jitter=0, blur=0, total_variation=0)
    )


def test_total_variation_gradient_by_finite_differences():
    images = np.random.normal(size=(1, 3, 5, 6))

    def variation(x):
        return np.abs(np.diff(x, axis=2)).sum() + np.abs(np.diff(x, axis=3)).sum()

    numeric = np.zeros_like(images)
    for index in np.ndindex(images.shape):
        shift = np.zeros_like(images)
        shift[index] = 1e-7
        numeric[index] = (variation(images + shift) - variation(images - shift)) / 2e-7
    assert_allclose(filters._total_variation_gradient(images), numeric, atol=1e-6)


def test_grad_cam_is_that_of_finite_differences(precise, images):
    """Every channel of the deep map shifted as a whole: the logit's change is the sum of the
    gradient over the map.
    """
    cam = grad_cam(precise, images.astype("float64"), [2, 0])
    assert cam.shape == (2, 2, 3) and (cam >= 0).all()
    stage4 = precise.backbone(images.astype("float64"))[5].asnumpy()
    style = style_of(precise, images.astype("float64"))
    weights, step = np.zeros(stage4.shape[:2]), 1e-6
    for channel in range(stage4.shape[1]):
        change = []
        for sign in (1, -1):
            shifted = stage4.copy()
            shifted[:, channel] += sign * step
            logits = precise.fusion(
                precise.backbone.head(nd.array(shifted, dtype="float64")), style
            ).asnumpy()
            change.append(logits[[0, 1], [2, 0]])
        weights[:, channel] = (change[0] - change[1]) / (2 * step) / (2 * 3)
    expected = np.maximum((weights[:, :, None, None] * stage4).sum(axis=1), 0)
    # rounding over the step
    assert_allclose(cam, expected, rtol=1e-5, atol=1e-8)


def test_attributions_after_a_training_in_the_same_process(net, precise):
    """The deep map then has MKL-DNN's layout, in which its gradient would be wrong."""
    images = nd.random.normal(shape=(2, 3, 64, 64))
    trained = mlr.MultiLevelNet(2, backbone=paper.SLIM_BACKBONE, style_width=8)
    materialize(trained, [mx.cpu()], mx.init.Xavier())
    trained.hybridize(static_alloc=True, static_shape=True)
    with mx.autograd.record():
        loss = trained(images).sum()
    loss.backward()
    nd.waitall()
    double = images.astype("float64")
    cam = grad_cam(precise, double, [2, 0])
    net.hybridize(static_alloc=True, static_shape=True)
    # rounding through the network
    assert_allclose(grad_cam(net, images, [2, 0]), cam, rtol=1e-3, atol=1e-4 * cam.max())
    for ours, exact in zip(
        gram_contributions(net, images, [1, 1]), gram_contributions(precise, double, [1, 1])
    ):
        assert_allclose(ours, exact, rtol=1e-3, atol=1e-4 * abs(exact).max())  # the same
    net.hybridize(False)


def style_of(net, images):
    maps = dict(zip(("stem", "pool", "stage1"), net.backbone(images)))
    return net.shallow(*[maps[tap] for tap in net.taps])


def test_attributions_in_float32_are_those_in_float64(net, precise, images):
    double = images.astype("float64")
    cam = grad_cam(precise, double, [2, 0])
    # rounding through the network
    assert_allclose(grad_cam(net, images, [2, 0]), cam, rtol=1e-3, atol=1e-4 * cam.max())
    for ours, exact in zip(
        gram_contributions(net, images, [1, 1]), gram_contributions(precise, double, [1, 1])
    ):
        # the same, and a Gram matrix, whose sums are over all pixels
        assert_allclose(ours, exact, rtol=1e-3, atol=1e-4 * np.abs(exact).max())


def test_gram_contributions_by_finite_differences(precise, images):
    contributions = gram_contributions(precise, images.astype("float64"), [1, 1])
    assert [matrix.shape for matrix in contributions] == [(2, 32, 32)] * 3
    maps = dict(zip(("stem", "pool", "stage1"), precise.backbone(images.astype("float64"))))
    deep = precise.backbone(images.astype("float64"))[-1]
    grams = [
        branch.layers[:-1](maps[tap]).asnumpy().astype(np.float64)
        for tap, branch in zip(precise.taps, precise.shallow.branches)
    ]
    for number, matrix in enumerate(contributions):
        assert_allclose(matrix, matrix.transpose(0, 2, 1))
        scale, logits = 1e-5, []
        # along the matrix itself: the sum of its contributions
        for sign in (1, -1):
            scaled = [
                gram * (1 + sign * scale * (branch == number)) for branch, gram in enumerate(grams)
            ]
            vectors = [
                branch.layers[-1](nd.array(gram, dtype="float64"))
                for branch, gram in zip(precise.shallow.branches, scaled)
            ]
            logits.append(
                precise.fusion(deep, precise.shallow.mix(nd.concat(*vectors, dim=1))).asnumpy()[
                    :, 1
                ]
            )
        slope = (logits[0] - logits[1]) / (2 * scale)
        # rounding over the step
        assert_allclose(matrix.sum(axis=(1, 2)), slope, rtol=1e-5, atol=1e-9)


def test_strongest_pairs_by_hand():
    contribution = np.array([[1, -3, 0], [-3, 2.5, 0.2], [0, 0.2, -4]])
    assert strongest_pairs(contribution, 3) == [(0, 1, -6.0), (2, 2, -4.0), (1, 1, 2.5)]
