"""The row AR: every formula against numbers worked out by hand, and the fusion against the arrays
that its authors released.
"""

import io
import os
import struct
import sys
import types
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose, assert_array_equal

from mlr import paper
from mlr.data.preprocessing import Preprocessing
from mlr.errors import InputError
from mlr.inference import proposals, regions
from mlr.inference.classifiers import RegionsClassifier
from mlr.inference.proposals import grid, propose, read_proposals
from mlr.inference.regions import (
    AffectiveRegions,
    Constants,
    RegionCrops,
    affective_scores,
    fuse,
    overlaps,
    region_crops,
    select_candidates,
    sentiment_scores,
    settings_of,
    size_filter,
    ten_crops,
)
from mlr.viz.figures import BLUE, ORANGE, new_figure, plot_regions

GOLDEN = Path(__file__).parents[2] / "golden" / "ar_fi_candidates.npz"


@pytest.fixture(scope="module")
def released():
    """Candidates of the first 1,704 of FI's test images and what the authors' networks said, from
    tmp/*.mat of AR_discovery.
    """
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_the_fusion_changes_the_labels_that_the_released_arrays_say(released):
    fused = [
        fuse(image, boxes, objectness)[0]
        for image, boxes, objectness in zip(
            released["image_probabilities"], released["box_probabilities"], released["objectness"]
        )
    ]
    before, after = released["image_probabilities"].argmax(axis=1), np.argmax(fused, axis=1)
    assert (len(before), before.sum(), after.sum(), (before != after).sum()) == (
        1704,
        1145,
        1105,
        50,
    )


def test_the_size_filter_lets_the_released_candidates_pass(released):
    boxes = released["boxes"].reshape(-1, 4)
    # released in float32, a few at the very limit
    assert size_filter(boxes, aspect=6.00001).all()
    assert (~size_filter(boxes)).sum() < 10
    for tighter in ({"aspect": 5.9}, {"sides": (29, 500)}, {"sides": (28, 499)}):
        assert not size_filter(boxes, **tighter).all()


@pytest.mark.parametrize(
    "width, height, passes",
    [
        (28, 28, True),
        (27.9, 40, False),
        (40, 27.9, False),
        (500, 500, True),
        (500.1, 400, False),
        (400, 500.1, False),
        (168, 28, True),
        (169, 28, False),
        (28, 169, False),
        (0, 0, False),
    ],
)
def test_size_filter(width, height, passes):
    assert size_filter([[7, 9, 7 + width, 9 + height]]).tolist() == [passes]


def test_overlaps_by_hand():
    boxes = [
        [0, 0, 9, 9],  # 100 pixels
        [5, 5, 14, 9],  # 50, of which 25 are in the first
        [10, 0, 19, 9],
    ]  # 100, beside the first; 5 x 5 of the second
    assert_array_equal(overlaps(boxes), [[1, 0.25, 0], [0.5, 1, 0.5], [0, 0.25, 1]])


def random_boxes(count):
    corner = np.random.uniform(0, 400, (count, 2))
    return np.hstack([corner, corner + np.random.uniform(40, 200, (count, 2))])


def test_kmeans_gets_the_last_left_singular_vectors(monkeypatch):
    # on whole pixels, which can be counted
    boxes, given = random_boxes(60).round(), {}

    class Clusters:
        def __init__(self, count, n_init, random_state):
            given.update(count=count, n_init=n_init, random_state=random_state)

        def fit(self, vectors):
            self.labels_ = np.arange(len(vectors)) % given["count"]
            given["vectors"] = vectors
            return self

    monkeypatch.setattr("sklearn.cluster.KMeans", Clusters)
    select_candidates(boxes, np.arange(60, 0, -1), 7, seed=3)
    assert (given["count"], given["n_init"], given["random_state"]) == (7, 10, 3)
    # As released, written out: W, L = |W| + |W|', I - D^-1/2 L D^-1/2, svd, U(:, end-6:end). What
    # two boxes share is counted on a canvas.
    covered = np.zeros((60, 610, 610), np.float32)
    for canvas, (x1, y1, x2, y2) in zip(covered, boxes.astype(int)):
        canvas[y1 : y2 + 1, x1 : x2 + 1] = 1
    covered = covered.reshape(60, -1)
    # exact: whole numbers below 2 ** 24
    w = (covered @ covered.T).astype(float) / covered.sum(axis=1, dtype=float)[:, None]
    affinity = abs(w) + abs(w).T
    root = np.diag(affinity.sum(axis=1) ** -0.5)
    vectors = np.linalg.svd(np.eye(60) - root @ affinity @ root)[0][:, -7:]
    # The basis of a space may be turned, to k-means it is the same: what is compared is the space.
    # Rounding grows by 1 / eigenvalue gap.
    assert_allclose(given["vectors"] @ given["vectors"].T, vectors @ vectors.T, atol=1e-10)


def test_one_box_of_each_clear_cluster_and_the_most_objectlike_one():
    near, far = (
        [[x, 0, x + 60, 50] for x in range(5)],
        [[300 + x, 200, 340 + x, 290] for x in range(4)],
    )
    objectness = [0.1, 0.2, 0.9, 0.3, 0.4, 0.5, 0.6, 0.95, 0.7]
    for seed in range(5):
        # best first
        assert select_candidates(near + far, objectness, 2, seed).tolist() == [7, 2]
    order = np.random.permutation(9)
    assert order[
        select_candidates(np.array(near + far)[order], np.array(objectness)[order], 2)
    ].tolist() == [7, 2]


def test_of_equal_objectness_the_first_in_the_list_stays():
    assert select_candidates(
        [[x, 0, x + 60, 50] for x in (0, 1, 2, 300, 301, 302)], np.zeros(6), 2
    ).tolist() == [0, 3]


def test_twenty_of_many_and_the_same_again():
    boxes, objectness = random_boxes(300), np.random.uniform(size=300)
    kept = select_candidates(boxes, objectness)
    assert len(set(kept.tolist())) == 20 and (np.diff(objectness[kept]) < 0).all()
    assert_array_equal(kept, select_candidates(boxes, objectness))
    assert any(
        kept.tolist() != select_candidates(boxes, objectness, seed=seed).tolist()
        for seed in (1, 2, 3)
    )


def test_of_few_boxes_all_stay_each_once():
    boxes = random_boxes(5)
    objectness = [0.1, 0.5, 0.3, 0.2, 0.4]
    assert select_candidates(boxes, objectness, 5).tolist() == [1, 4, 2, 3, 0]
    assert select_candidates(boxes[:1], [7]).tolist() == [0]
    assert select_candidates(
        np.vstack([boxes, boxes]), objectness + [0.9, 0, 0, 0, 0], 5
    ).tolist() == [5, 1, 4, 2, 3]


def test_more_copies_than_places_are_no_trouble(recwarn):
    boxes = np.repeat(random_boxes(4), 10, axis=0)
    assert len(select_candidates(boxes, np.arange(40), 3)) == 3
    assert not recwarn.list


@pytest.mark.parametrize(
    "proposals, settings",
    [
        ("grid", {"proposals": "grid"}),
        ("model.yml.gz", {"proposals": "edgeboxes", "model": "model.yml.gz"}),
    ],
)
def test_the_settings_of_a_run(proposals, settings):
    assert settings_of({"proposals": proposals, "seed": 3}) == {**settings, "seed": 3}


def test_sentiment_is_one_less_the_entropy():
    assert_allclose(
        sentiment_scores([[1, 0], [0.5, 0.5], [0.25, 0.75]]),
        # rounding of logarithms
        [1, 1 - np.log(2), 1 + 0.25 * np.log(0.25) + 0.75 * np.log(0.75)],
        rtol=1e-14,
    )
    # of logarithms of about 1, which processors round differently
    assert_allclose(sentiment_scores([[1 / 3] * 3, [0, 1, 0]]), [1 - np.log(3), 1], atol=1e-15)
    # the facts' .307
    assert_allclose(sentiment_scores(np.float32([[0.5, 0.5]])), 0.3069, atol=1e-4)


def test_affective_scores_by_hand():
    # Scaled: sentiment 0, 1/2, 1; objectness 1, 0, 1/4.
    assert_allclose(
        affective_scores([2, 3, 4], [50, 10, 20]), [0.6, 0.4 * 0.5, 0.4 + 0.6 * 0.25], rtol=1e-15
    )
    assert_allclose(affective_scores([2, 3, 4], [50, 10, 20], alpha=1), [1, 0, 0.25])
    # equal scores tell nothing
    assert_array_equal(affective_scores([2, 3], [7, 7], alpha=0.6), [0, 0.4])
    assert_array_equal(affective_scores([5], [5]), [0])


def test_fusion_by_hand():
    boxes = [[0.5, 0.5], [1, 0], [0.2, 0.8], [0, 1]]
    # Sentiment, scaled: 0, 1, between, 1; objectness, scaled: 1, .5, 0, 1: scores .6, .7, below .4,
    # 1.
    fused, chosen = fuse([0.4, 0.6], boxes, [3, 2, 1, 3], top=2)
    assert chosen.tolist() == [3, 1]
    assert_allclose(fused, [0.7 * 0.4 + 0.3 * 0.5, 0.7 * 0.6 + 0.3 * 0.5], rtol=1e-15)
    # of equals the first one first
    fused, chosen = fuse([0.4, 0.6], boxes, [3, 2, 1, 3], top=3, alpha=0, beta=1)
    assert chosen.tolist() == [1, 3, 2]
    assert_allclose(fused, [1.2 / 3, 1.8 / 3], rtol=1e-15)


def test_fusion_of_three_classes_and_of_fewer_regions_than_asked_for():
    fused, chosen = fuse([0.2, 0.3, 0.5], [[0.1, 0.1, 0.8], [1, 0, 0]], [0, 1])
    assert chosen.tolist() == [1, 0]
    assert_allclose(
        fused, np.array([0.14, 0.21, 0.35]) + 0.3 * np.array([0.55, 0.05, 0.4]), rtol=1e-15
    )
    # eight
    assert fuse([0.5, 0.5], [[0.5, 0.5]] * 20, np.arange(20))[1].tolist() == list(range(19, 11, -1))


@pytest.fixture
def ramp():
    """24 rows, 40 columns; red is 6 times the column, green 6 times the row, blue 0."""
    rows, columns = np.mgrid[:24, :40]
    return np.stack([6 * columns, 6 * rows, 0 * rows], axis=-1).astype(np.uint8)


def sampled(first, count, into):
    """Where bilinear scaling of `count` pixels from `first` to `into` looks: pixel centres, at the
    ends the last one's.
    """
    return np.clip((np.arange(into) + 0.5) * count / into - 0.5, 0, count - 1) + first


def test_a_crop_inside_of_the_image(ramp):
    # Factor 20 / 16. Across: 16 px from 10, centre 19 counted from 1, 19 - 10 to 19 + 10; down: 8
    # px from 9, centre 14, 9 to 19.
    (crop,) = region_crops(ramp, [[10, 9, 25, 16]], 20, context=2)
    assert crop.shape == (20, 20, 3) and crop.dtype == np.uint8
    expected = np.zeros((20, 20, 3))
    expected[:, :, 0], expected[:, :, 1] = 6 * sampled(8, 21, 20), 6 * sampled(8, 11, 20)[:, None]
    # a grey level: OpenCV interpolates in fixed point
    assert_allclose(crop, expected, atol=1)


def test_beyond_the_image_a_crop_is_filled(ramp):
    # Across: 16 px from 0, centre 9, -1 to 19: 21 px, 2 of them beyond, which take round(2 * 20 /
    # 21) = 2 columns.
    # Down: 8 px from 16, centre 21, 16 to 26: 11 px, 9 of them on the image, which take round(9 *
    # 20 / 11) = 16 rows.
    (crop,) = region_crops(ramp, [[0, 16, 15, 23]], 20, context=2, fill=(1, 2, 255))
    assert_array_equal(crop[:, :2], np.broadcast_to(np.uint8([1, 2, 255]), (20, 2, 3)))
    assert_array_equal(crop[16:], np.broadcast_to(np.uint8([1, 2, 255]), (4, 20, 3)))
    # fixed point, as above
    assert_allclose(crop[:16, 2:, 0], np.broadcast_to(6 * sampled(0, 19, 18), (16, 18)), atol=1)
    assert_allclose(
        crop[:16, 2:, 1], np.broadcast_to(6 * sampled(15, 9, 16)[:, None], (16, 18)), atol=1
    )
    assert_array_equal(crop[:16, 2:, 2], 0)


def test_crops_are_filled_with_what_normalises_to_zero(ramp):
    (crop,) = region_crops(ramp, [[0, 0, 39, 23]], 64)
    assert crop[0, 0].tolist() == [124, 116, 104]
    # rounded to a grey level
    assert_allclose(crop[0, 0] / 255, paper.PIXEL_MEAN, atol=0.5 / 255)


def test_halves_are_rounded_away_from_zero(ramp):
    # 12 px from 0: 1 + 6 - 7.5 = -.5 becomes -1, 14.5 becomes 15: 17 px, 2 beyond, round(2 * 20 /
    # 17) = 2 columns; to even it would be 1.
    (crop,) = region_crops(ramp, [[0, 8, 11, 15]], 20, context=2, fill=(0, 0, 255))
    assert (crop[10, :, 2] == 255).tolist() == [True] * 2 + [False] * 18


def test_crops_of_boxes_that_hardly_fit_anything():
    pixels = np.full((1, 1, 3), 200, np.uint8)
    (crop,) = region_crops(pixels, [[0, 0, 0, 0]], 20, context=2)
    assert (crop == 200).all(axis=2).any()
    crops = region_crops(
        np.full((30, 30, 3), 200, np.uint8),
        [[29, 29, 400, 400], [-400, -400, 0, 0], [-9, -9, 99, 99]],
        224,
    )
    assert crops.shape == (3, 224, 224, 3) and all(
        (crop == 200).all(axis=2).any() for crop in crops
    )
    # 1 px of 5,000, none of 20: it still shows
    (crop,) = region_crops(pixels, [[0, 0, 4000, 4000]], 20, context=2)
    assert (crop == 200).all(axis=2).sum() == 1
    assert region_crops(pixels, np.empty((0, 4)), 64).shape == (0, 64, 64, 3)


@pytest.mark.parametrize(
    "box", [[40, 0, 60, 20], [0, 24, 20, 60], [-30, 0, -1, 20], [0, -30, 20, -1]]
)
def test_boxes_beside_the_image(ramp, box):
    with pytest.raises(
        InputError,
        match=r"outside the image of 40 x 24 pixels, likely because the proposals "
        r"belong",
    ):
        region_crops(ramp, [[0, 0, 10, 10], box], 224)


def test_context_that_leaves_nothing(ramp):
    with pytest.raises(
        InputError,
        match="16 pixels of context on both sides leave no room in a crop of 32 pixels: choose "
        "less than half of the crop",
    ):
        region_crops(ramp, [[0, 0, 10, 10]], 32)
    assert region_crops(ramp, [[0, 0, 10, 10]], 33).shape == (1, 33, 33, 3)


@pytest.mark.parametrize("lacking", ["scipy.linalg", "sklearn.cluster", "threadpoolctl"])
def test_candidates_without_a_package(monkeypatch, lacking):
    monkeypatch.setitem(sys.modules, lacking, None)
    with pytest.raises(
        InputError, match=r"a prediction with AR \(affective regions\).*mlr\[.*regions"
    ):
        select_candidates(random_boxes(50), np.zeros(50))


def test_ten_crops_of_a_square():
    # resized to itself
    pixels = np.random.randint(0, 256, (256, 256, 3), dtype=np.uint8)
    crops = ten_crops(pixels)
    assert crops.shape == (10, 224, 224, 3) and crops.dtype == np.uint8
    for number, (top, left) in enumerate([(0, 0), (32, 0), (0, 32), (32, 32), (16, 16)]):
        assert_array_equal(crops[number], pixels[top : top + 224, left : left + 224])
        assert_array_equal(crops[number + 5], pixels[top : top + 224, left : left + 224][:, ::-1])


def test_the_centre_of_an_odd_margin_is_where_the_released_code_has_it():
    pixels = np.random.randint(0, 256, (11, 11, 3), dtype=np.uint8)
    # floor(8 / 2) + 1 counted from 1
    assert_array_equal(ten_crops(pixels, 11, 4)[4], pixels[4:8, 4:8])


def test_shrinking_smooths_and_enlarging_interpolates():
    stripes = np.zeros((80, 120, 3), np.uint8)
    stripes[:, ::2] = 200
    inner = ten_crops(stripes, 16, 8)[4]
    # their mean, 100; unsmoothed they alias
    assert inner.min() >= 98 and inner.max() <= 102
    small = np.random.randint(0, 256, (20, 30, 3), dtype=np.uint8)
    # A grey level: Pillow and OpenCV round the same interpolation differently.
    assert_allclose(
        ten_crops(small, 64, 64)[0],
        cv2.resize(small, (64, 64), interpolation=cv2.INTER_LINEAR),
        atol=1,
    )


def test_no_crop_is_larger_than_the_image():
    with pytest.raises(InputError, match="a crop of 224 pixels does not fit into an image of 200"):
        ten_crops(np.zeros((9, 9, 3), np.uint8), 200, 224)


def scene(height=240, width=320):
    """A plain ground with a textured rectangle at x 80 to 199, y 60 to 179."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    pixels[60:180, 80:200] = (
        np.random.RandomState(0).randint(0, 256, (12, 12, 3)).repeat(10, axis=0).repeat(10, axis=1)
    )
    return pixels


def test_the_grid_finds_what_stands_out():
    boxes, objectness = grid(scene())
    assert_array_equal(boxes.shape, (len(objectness), 4))
    x1, y1, x2, y2 = boxes[0]
    # Enclosed, by the next larger of windows whose sides grow by the root of 2.
    assert (
        x1 <= 80
        and y1 <= 60
        and x2 >= 199
        and y2 >= 179
        and 120 * 120 / ((x2 - x1 + 1) * (y2 - y1 + 1)) > 0.5
    )


def test_scores_of_the_grid_by_hand():
    edges = np.zeros((12, 12), np.float32)
    edges[4:8, 4:8] = 1
    windows = np.array(
        [
            [2, 2, 10, 10],  # encloses all 16, nothing on its border; perimeter 32
            # its left side, 2 x 10 pixels, has 4; area 48; perimeter 28
            [4, 2, 10, 10],
            [0, 0, 12, 12],
        ]
    )  # perimeter 48; a pixel of its border is off the image
    assert_allclose(
        proposals._enclosed_edges(edges, windows),
        [16 / 32**1.5, (16 - 48 * 4 / 20) / 28**1.5, 16 / 48**1.5],
        rtol=1e-14,
    )


def test_places_of_the_grid_by_hand():
    assert proposals._places(100, 40).tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert proposals._places(43, 40).tolist() == [0, 3] and proposals._places(40, 40).tolist() == [
        0
    ]


@pytest.mark.parametrize("shape", [(240, 320), (900, 1200), (64, 64), (29, 400), (3000, 200)])
def test_grid(shape):
    pixels = cv2.resize(
        np.random.randint(0, 256, (12, 12, 3), dtype=np.uint8),
        shape[::-1],
        interpolation=cv2.INTER_CUBIC,
    )
    boxes, objectness = propose(pixels)
    assert (
        0 < len(boxes) <= 500
        and boxes.shape == (len(boxes), 4)
        and objectness.shape == (len(boxes),)
    )
    assert (
        boxes.min() >= 0 and boxes[:, 2].max() <= shape[1] - 1 and boxes[:, 3].max() <= shape[0] - 1
    )
    assert size_filter(boxes).all() and (np.diff(objectness) <= 0).all()
    for again in (propose(pixels), propose(pixels, "grid")):
        assert_array_equal(boxes, again[0])
        assert_array_equal(objectness, again[1])
    x1, y1, x2, y2 = boxes.T
    shared = np.clip(np.minimum.outer(x2, x2) - np.maximum.outer(x1, x1) + 1, 0, None) * np.clip(
        np.minimum.outer(y2, y2) - np.maximum.outer(y1, y1) + 1, 0, None
    )
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    share = shared / (area + area[:, None] - shared)
    assert (share[~np.eye(len(boxes), dtype=bool)] <= 0.7501).all()  # rounded in float32


def test_the_grid_covers_the_image():
    boxes, _ = grid(np.random.RandomState(1).randint(0, 256, (240, 320, 3)).astype(np.uint8))
    assert boxes[:, :2].min(axis=0).tolist() == [0, 0] and boxes[:, 2:].max(axis=0).tolist() == [
        319,
        239,
    ]


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (20, 300)])
def test_images_too_small_for_any_box(shape):
    boxes, objectness = propose(np.zeros((*shape, 3), np.uint8))
    assert boxes.shape == (0, 4) and objectness.shape == (0,)


def test_an_image_without_edges_has_boxes_that_are_all_equal():
    boxes, objectness = propose(np.full((100, 100, 3), 7, np.uint8))
    assert len(boxes) > 20
    assert_array_equal(objectness, 0)


def test_unknown_kind():
    with pytest.raises(
        InputError,
        match="no proposals of kind 'objectness': choose grid or edgeboxes, or give a file",
    ):
        propose(scene(), "objectness")


class FakeEdgeBoxes:
    """OpenCV's ximgproc, as far as it is used. found: what getBoundingBoxes returns."""

    def __init__(self, found):
        self.found = found

    def createStructuredEdgeDetection(self, model):
        return types.SimpleNamespace(
            detectEdges=self.detect_edges,
            computeOrientation=lambda edges: edges + 1,
            edgesNms=lambda edges, angles: edges + angles,
        )

    def detect_edges(self, image):
        assert image.dtype == np.float32 and image.max() <= 1
        return image[:, :, 0]

    def createEdgeBoxes(self, **settings):
        assert settings["alpha"] == 0.65 and settings["maxBoxes"] == 10000 and len(settings) == 12
        return types.SimpleNamespace(getBoundingBoxes=self.boxes)

    def boxes(self, edges, angles):
        assert_allclose(edges, 2 * angles - 1, rtol=1e-6)  # float32
        return self.found


DETECTOR = (
    "%YAML:1.0\n---\noptions:\n"
    + "".join(f"   {name}: 2\n" for name in proposals.DETECTOR_OPTIONS)
    + "".join(
        f"{name}:\n   - [ 0, 1 ]\n"
        for name in ("childs", "featureIds", "thresholds", "edgeBoundaries", "edgeBins")
    )
)


@pytest.fixture
def detector(tmp_path):
    path = tmp_path / "model.yml"
    path.write_text(DETECTOR)
    return path


def test_edge_boxes_become_corners(monkeypatch, detector):
    """Run once by hand with opencv-contrib-python 4.11 and a small forest, too: this holds what
    that showed.
    """
    found = np.int32([[10, 20, 30, 40], [1, 2, 3, 4]]), np.float32([[0.25], [0.5]])
    monkeypatch.setattr(cv2, "ximgproc", FakeEdgeBoxes(found), raising=False)
    boxes, objectness = propose(scene(), "edgeboxes", detector)
    assert_array_equal(boxes, [[1, 2, 3, 5], [10, 20, 39, 59]])
    assert_array_equal(objectness, [0.5, 0.25])
    assert len(proposals.edge_boxes(scene(), detector, count=1)[0]) == 1
    assert propose(scene()[:28], "edgeboxes", detector)[0].shape == (0, 4)


def test_edge_boxes_that_find_nothing(monkeypatch, detector):
    monkeypatch.setattr(cv2, "ximgproc", FakeEdgeBoxes(((), None)), raising=False)
    boxes, objectness = propose(scene(), "edgeboxes", detector)
    assert boxes.shape == (0, 4) and objectness.shape == (0,)


def test_edge_boxes_of_an_old_opencv(monkeypatch, detector):
    monkeypatch.setattr(
        cv2, "ximgproc", FakeEdgeBoxes(np.int32([[10, 20, 30, 40], [1, 2, 3, 4]])), raising=False
    )
    with pytest.raises(InputError, match="return no scores: install a newer opencv-contrib-python"):
        propose(scene(), "edgeboxes", detector)


def test_edge_boxes_without_their_module(monkeypatch, detector):
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    with pytest.raises(InputError, match="lacks: replace opencv-python by opencv-contrib-python"):
        propose(scene(), "edgeboxes", detector)


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "there is no file .*model.yml: give the file model.yml.gz"),
        ("", "model.yml is not a model of OpenCV's structured edge detector"),
        ("no model", "model.yml is not a model"),
        ("%YAML:1.0\n---\noptions: 3\n", "model.yml is not a model"),
        (DETECTOR.replace("numberOfTrees: 2", "numberOfTrees: 0"), "model.yml is not a model"),
        (DETECTOR.replace("edgeBins", "edges"), "model.yml is not a model"),
    ],
    ids=["absent", "empty", "text", "other", "no trees", "no bins"],
)
def test_edge_boxes_without_their_model(monkeypatch, tmp_path, content, message):
    monkeypatch.setattr(cv2, "ximgproc", FakeEdgeBoxes(None), raising=False)
    if content is not None:
        (tmp_path / "model.yml").write_text(content)
    with pytest.raises(InputError, match=message):
        propose(scene(), "edgeboxes", tmp_path / "model.yml")


@pytest.mark.parametrize("module", [True, False], ids=["ximgproc", "no ximgproc"])
def test_edge_boxes_are_tried_before_the_work(monkeypatch, detector, tmp_path, module):
    """A wrong path is the cause that is named, also where OpenCV lacks the module."""
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    if module:
        monkeypatch.setattr(cv2, "ximgproc", FakeEdgeBoxes(None), raising=False)
    crops = RegionCrops(32, **settings_of({"proposals": str(tmp_path / "gird"), "seed": 0}))
    with pytest.raises(InputError, match="there is no file .*gird: give the file model.yml.gz"):
        crops.refuse_without_proposals(["a.jpg"])
    crops = RegionCrops(32, "edgeboxes", str(detector))
    if module:
        crops.refuse_without_proposals(["a.jpg"])
    else:
        with pytest.raises(InputError, match="replace opencv-python by opencv-contrib-python"):
            crops.refuse_without_proposals(["a.jpg"])


def test_edge_boxes_need_a_model_to_be_given(monkeypatch):
    monkeypatch.setattr(cv2, "ximgproc", FakeEdgeBoxes(None), raising=False)
    with pytest.raises(InputError, match="none was given: give the file model.yml.gz"):
        propose(scene(), "edgeboxes")


TABLES = {
    "a/1.jpg": np.array([[1, 2, 30, 40, 0.5], [3, 4, 50.5, 60, 0.75]]),
    "b.jpg": np.float32([[1, 2, 30, 40, 0.5]]),
}


def cells(values):
    """A cell array as SciPy writes it."""
    array = np.empty((len(values), 1), object)
    array[:, 0] = values
    return array


@pytest.fixture
def npz(tmp_path):
    np.savez(tmp_path / "p.npz", **TABLES)
    return tmp_path / "p.npz"


@pytest.fixture
def mat(tmp_path):
    scipy.io.savemat(
        tmp_path / "p.mat", {"boxes": cells(list(TABLES.values())), "imgname": cells(list(TABLES))}
    )
    return tmp_path / "p.mat"


def test_a_mat_file_without_scipy(mat, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(InputError, match=r"p.mat needs the package scipy.*'mlr\[regions\]'"):
        read_proposals(mat)


@pytest.mark.parametrize("kind, first_pixel", [("npz", 0), ("mat", 1)])
def test_proposals_of_a_file(request, kind, first_pixel):
    found = read_proposals(request.getfixturevalue(kind))
    assert list(found) == ["a/1.jpg", "b.jpg"]
    boxes, objectness = found["a/1.jpg"]
    # best first
    assert_array_equal(boxes, np.array([[3, 4, 50.5, 60], [1, 2, 30, 40]]) - first_pixel)
    assert_array_equal(objectness, [0.75, 0.5])
    assert boxes.dtype == objectness.dtype == found["b.jpg"][0].dtype == np.float64
    # the path of an image in a manifest, below the root of its data
    assert found["data/train/a/1.jpg"] == found["a/1.jpg"]
    assert found["a/b.jpg"] == found["b.jpg"]
    with pytest.raises(
        InputError,
        match=f"p\\.{kind} has no proposals for the image a/1; it has them for 2 other "
        "images, such as a/1.jpg",
    ):
        found["a/1"]


def test_no_truncated_npz_is_read(npz):
    content = npz.read_bytes()
    for length in range(len(content)):
        npz.write_bytes(content[:length])
        with pytest.raises(InputError, match="p.npz is not a .npz file, or is damaged"):
            read_proposals(npz)


def test_every_flipped_bit_of_an_npz_is_refused_or_changes_no_number(npz):
    whole, content = read_proposals(npz), npz.read_bytes()
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        npz.write_bytes(flipped)
        try:
            found = read_proposals(npz)
        except InputError:
            continue
        # ZIP can lose its last file this way: then that is missing
        for name, (boxes, objectness) in found.items():
            assert_array_equal(boxes, whole[name][0])
            assert_array_equal(objectness, whole[name][1])


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: content[:100],
        lambda content: content[:400],
        lambda content: b"\0" * 300,
        # A cell of a class that there is none of: SciPy 1.10's reader dies of it.
        lambda content: content[:201] + bytes([0o354]) + content[202:],
    ],
    ids=["empty", "header", "half", "zeros", "deadly"],
)
def test_damaged_mat_files(mat, change):
    mat.write_bytes(change(mat.read_bytes()))
    with pytest.raises(
        InputError, match="p.mat (is not a .mat file, or is damaged|lacks the cell arrays)"
    ):
        read_proposals(mat)


def test_a_mat_file_of_matlab_7_3(mat):
    mat.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(InputError, match="p.mat is not a .mat file, or is damaged .*7.3"):
        read_proposals(mat)


@pytest.mark.parametrize(
    "content, message",
    [
        (
            {"boxes": cells([TABLES["b.jpg"]])},
            "lacks the cell arrays boxes and imgname, of equal length",
        ),
        ({"boxes": TABLES["b.jpg"], "imgname": cells(["b.jpg"])}, "lacks the cell arrays"),
        (
            {"boxes": cells([TABLES["b.jpg"]] * 2), "imgname": cells(["b.jpg", "b.jpg"])},
            "imgname must hold a different text for every image",
        ),
        (
            {"boxes": cells([TABLES["b.jpg"]]), "imgname": cells([np.ones(3)])},
            "imgname must hold a different text",
        ),
        (
            {"boxes": cells([np.ones((2, 4))]), "imgname": cells(["b.jpg"])},
            r"the proposals of b.jpg are float64 of shape \(2, 4\)",
        ),
    ],
    ids=["no names", "no cells", "twice", "numbers", "shape"],
)
def test_mat_files_with_something_else(mat, content, message):
    scipy.io.savemat(mat, content)
    with pytest.raises(InputError, match="p.mat.*" + message):
        read_proposals(mat)


@pytest.mark.parametrize(
    "table, message",
    [
        (
            np.ones((3, 4)),
            r"the proposals of x are float64 of shape \(3, 4\): expected numbers of shape \(M, 5\)",
        ),
        (np.ones(5), r"of shape \(5,\)"),
        (np.ones((0, 5)), r"of shape \(0, 5\)"),
        (np.full((2, 5), "1"), "are <U1 of shape"),
        (np.ones((1, 5), complex), "are complex128"),
        (np.array([[0, 0, 9, np.nan, 1]]), "a box of x is NaN, infinite or ends before"),
        (np.array([[0, 0, 9, 9, np.inf]]), "is NaN"),
        (np.array([[5, 0, 4, 9, 1]]), "ends before it starts"),
        (np.array([[{}]]), "is not a .npz file, or is damaged .Object arrays"),
    ],
)
def test_arrays_that_hold_no_boxes(tmp_path, table, message):
    np.savez(tmp_path / "p.npz", x=table)
    with pytest.raises(InputError, match="p.npz.*" + message):
        read_proposals(tmp_path / "p.npz")


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_in_a_file_is_executed(tmp_path):
    np.savez(tmp_path / "p.npz", x=np.array([[Harmful(str(tmp_path / "made"))] * 5], object))
    with pytest.raises(InputError, match="Object arrays cannot be loaded"):
        read_proposals(tmp_path / "p.npz")
    assert not (tmp_path / "made").exists()


def npy(shape):
    """The start of a .npy file that claims a shape, and 80 bytes of numbers."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + bytes(80)


@pytest.mark.parametrize(
    "members, message",
    [
        ([("x.npy", npy((2**45, 5)))], "is not a .npz file, or is damaged"),
        ([("x.npy", npy((3, 5)))], "is not a .npz file, or is damaged"),
        ([("x.npy", npy((-2, 5)))], "is not a .npz file, or is damaged|of shape"),
        ([("x", b"text")], "the proposals of x are"),
        ([("x.npy", npy((2, 5))), ("x.npy", npy((2, 5)))], "it names an array twice"),
        ([], "holds no proposals"),
    ],
    ids=["huge", "short", "negative", "no array", "twice", "none"],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_hold_no_boxes(tmp_path, members, message):
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    with pytest.raises(InputError, match=f"p.npz.*({message})"):
        read_proposals(tmp_path / "p.npz")


def test_an_archive_that_claims_the_memory(npz):
    """Two arrays that say they take 4 GiB each when unpacked."""
    content = bytearray(npz.read_bytes())
    for start in [at for at in range(len(content)) if content[at : at + 4] == b"PK\x01\x02"]:
        content[start + 24 : start + 28] = struct.pack("<I", 2**32 - 2)
    npz.write_bytes(content)
    with pytest.raises(InputError, match="would take more than 4 GiB of memory"):
        read_proposals(npz)


@pytest.mark.parametrize(
    "name, message",
    [
        ("none.npz", "there is no file of proposals .*none.npz"),
        ("p.csv", "end in .npz or .mat"),
        ("folder.mat", "there is no file of proposals"),
    ],
)
def test_files_that_are_none(tmp_path, name, message):
    (tmp_path / "folder.mat").mkdir()
    with pytest.raises(InputError, match=message):
        read_proposals(tmp_path / name)


def network(crops):
    """Negative, neutral and positive, from the colour of a crop."""
    assert crops.dtype == np.uint8 and crops.shape[1:] == (32, 32, 3)
    strength = np.exp(crops.astype(float).mean(axis=(1, 2)) / 50)
    return strength / strength.sum(axis=1, keepdims=True)


@pytest.fixture
def rows():
    """Two pictures as they come: one larger, one of other sides."""
    return scene(), np.random.RandomState(2).randint(0, 256, (60, 90, 3)).astype(np.uint8)


def test_prediction_is_made_of_the_parts():
    pixels = scene()
    found = AffectiveRegions(network, 32, seed=5).predict(pixels)
    boxes, objectness = propose(pixels)
    kept = select_candidates(boxes, objectness, seed=5)
    assert_array_equal(found.boxes, boxes[kept])
    assert_array_equal(found.objectness, objectness[kept])
    assert found.proposed == len(boxes)
    # 256 / 224 of 32 is 36.6
    assert_array_equal(found.image_probabilities, network(ten_crops(pixels, 37, 32)).mean(axis=0))
    assert_array_equal(
        found.box_probabilities, network(region_crops(pixels, found.boxes, 32, context=2))
    )
    expected, chosen = fuse(found.image_probabilities, found.box_probabilities, found.objectness)
    assert_array_equal(found.probabilities, expected)
    assert_array_equal(found.chosen, chosen)
    assert_array_equal(
        found.scores, affective_scores(sentiment_scores(found.box_probabilities), found.objectness)
    )
    assert (
        found.probabilities.shape == (3,)
        and found.boxes.shape == (20, 4)
        and found.chosen.shape == (8,)
    )
    assert_allclose(found.probabilities.sum(), 1, rtol=1e-12)  # rounding


def test_settings_reach_the_parts():
    found = AffectiveRegions(network, 32, constants=Constants(6, 2, 0, 1)).predict(scene())
    assert len(found.boxes) == 6 and len(found.chosen) == 2
    assert_array_equal(found.probabilities, found.box_probabilities[found.chosen].mean(axis=0))
    assert_allclose(
        found.scores,
        affective_scores(sentiment_scores(found.box_probabilities), found.objectness, 0),
    )


def test_no_image_depends_on_those_before_it(rows):
    one, other = AffectiveRegions(network, 32), AffectiveRegions(network, 32)
    forwards = [one.predict(pixels) for pixels in rows]
    np.random.seed(99)
    backwards = [other.predict(pixels) for pixels in rows[::-1]][::-1]
    for first, second in zip(forwards, backwards):
        for a, b in zip(first, second):
            assert_array_equal(a, b)


@pytest.mark.parametrize("height, width", [(1, 1), (10, 20), (28, 28), (28, 300)])
def test_of_a_small_image_the_whole_is_the_one_region(height, width):
    pixels = np.random.randint(0, 256, (height, width, 3), dtype=np.uint8)
    found = AffectiveRegions(network, 32).predict(pixels)
    assert_array_equal(found.boxes, [[0, 0, width - 1, height - 1]])
    assert found.proposed == 0 and found.chosen.tolist() == [0] and found.scores.tolist() == [0]
    assert_allclose(
        found.probabilities,
        0.7 * found.image_probabilities + 0.3 * found.box_probabilities[0],
        rtol=1e-15,
    )


def test_proposals_of_a_file_are_taken_by_name(tmp_path):
    # too small, too long
    good = [[10, 10, 60, 70, 0.5], [100, 20, 180, 90, 0.9], [0, 0, 10, 10, 1], [0, 0, 300, 40, 0.8]]
    np.savez(
        tmp_path / "p.npz",
        **{"1.jpg": np.array(good), "2.jpg": np.array([[900, 900, 950, 950, 1]])},
    )
    regions = AffectiveRegions(network, 32, read_proposals(tmp_path / "p.npz"))
    found = regions.predict(scene(), "1.jpg")
    assert_array_equal(found.boxes, [[100, 20, 180, 90], [10, 10, 60, 70]])
    assert found.proposed == 2 and len(found.chosen) == 2
    with pytest.raises(
        InputError, match="image 2.jpg: box .900.* lies outside the image of 320 x 240"
    ):
        regions.predict(scene(), "2.jpg")
    with pytest.raises(InputError, match="p.npz has no proposals for the image 3.jpg"):
        regions.predict(scene(), "3.jpg")


def test_two_thousand_proposals_are_looked_at(tmp_path, monkeypatch):
    boxes = random_boxes(2300)
    np.savez(tmp_path / "p.npz", x=np.hstack([boxes, np.arange(2300)[:, None]]))
    seen = []
    monkeypatch.setattr(
        regions,
        "select_candidates",
        lambda boxes, objectness, count, seed: seen.append(objectness) or np.arange(3),
    )
    *_, proposed = AffectiveRegions(
        network, 32, read_proposals(tmp_path / "p.npz")
    ).candidate_regions(np.zeros((700, 700, 3), np.uint8), "x")
    assert proposed == 2000
    assert_array_equal(seen[0], np.arange(2299, 299, -1))


def test_regions_are_drawn_best_on_top():
    _, axes = new_figure(3, 3)
    boxes = np.array([[i, 2 * i, 50 + i, 40 + 2 * i] for i in range(10)])
    scores = np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.5, 0.05])
    assert plot_regions(scene(), boxes, scores, "a title", axes) is axes
    assert axes.get_title() == "a title"
    assert [to_hex(patch.get_edgecolor()).upper() for patch in axes.patches] == [BLUE] * 2 + [
        ORANGE
    ] * 8
    assert [text.get_text() for text in axes.texts] == list("87654321")
    best = axes.patches[-1]
    assert (best.get_x(), best.get_y(), best.get_width(), best.get_height()) == (1, 2, 50, 40)


@pytest.mark.parametrize("name", ["boxes.NPZ", "boxes.Mat"])
def test_endings_of_proposals_in_capitals(tmp_path, name):
    """They are boxes, and no model of edge boxes."""
    options = {"proposals": str(tmp_path / name), "seed": 0}
    with pytest.raises(InputError, match=f"there is no file of proposals .*{name}"):
        RegionsClassifier(None, Preprocessing(64), [], options)
