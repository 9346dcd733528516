"""AR (affective regions): finds the regions of an image that carry its sentiment, and fuses their
predictions with that of the whole image.

J. Yang, D. She, M. Sun, M.-M. Cheng, P. L. Rosin, L. Wang, "Visual sentiment prediction based on
automatic discovery of affective regions", IEEE Transactions on Multimedia 20:2513-2525, 2018.
"Released" means their MATLAB code, AR_discovery. Boxes are as in `mlr.inference.proposals`. The
network is any function of crops; nothing here trains it. All random numbers come from a seed.
"""

from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import cv2
import numpy as np
from PIL import Image

from mlr import paper
from mlr.errors import InputError
from mlr.inference.proposals import Proposals, edge_detector, propose, read_proposals
from mlr.runtime.installation import require_package

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# R-CNN subtracts the mean and fills the area outside the image with 0. This colour becomes 0 after
# this package's normalisation, up to the rounding to a whole level.
FILL = tuple(round(255 * mean) for mean in paper.PIXEL_MEAN)


def size_filter(
    boxes: "ArrayLike",
    aspect: float = paper.AR_ASPECT,
    sides: Tuple[float, float] = paper.AR_SIDES,
) -> np.ndarray:
    """Return which boxes (M, 4) are not too elongated, too small or too large, (M,) bool.

    As released: the sides are x2 - x1 and y2 - y1, without the pixel that `overlaps` adds; sides
    equal to a limit pass.
    """
    lengths = np.asarray(boxes, float)[:, 2:] - np.asarray(boxes, float)[:, :2]
    shorter, longer = lengths.min(axis=1), lengths.max(axis=1)
    return (shorter >= sides[0]) & (longer <= sides[1]) & (longer <= aspect * shorter)


def overlaps(boxes: "ArrayLike") -> np.ndarray:
    """Return the overlaps of boxes (M, 4), W (M, M) in [0, 1]: the number of pixels in both i and
    j, divided by the number of pixels in i.

    As released (boxoverlap.m of the newest commit): sizes are x2 - x1 + 1, and W is not symmetric.
    An older version, deleted in 2018, divided by the number of pixels in the union.
    """
    x1, y1, x2, y2 = np.asarray(boxes, float).T
    across, down = (  # (M, M) each
        np.minimum.outer(last, last) - np.maximum.outer(first, first) + 1
        for first, last in ((x1, x2), (y1, y2))
    )
    in_both = np.maximum(across, 0) * np.maximum(down, 0)
    return in_both / ((x2 - x1 + 1) * (y2 - y1 + 1))[:, None]


def select_candidates(
    boxes: "ArrayLike", objectness: "ArrayLike", count: int = paper.AR_CANDIDATES, seed: int = 0
) -> np.ndarray:
    """Return the indices (R,) of at most `count` boxes that represent all, the highest objectness
    first.

    This is a normalised cut, as released. With L = W + W^T, where W are the overlaps, it takes the
    last `count` left singular vectors of I - D^-1/2 L D^-1/2. This matrix is symmetric and has no
    negative eigenvalues, so they are the eigenvectors of the lowest eigenvalues. k-means with 10
    starts from `seed` clusters them, and the box with the highest objectness of each cluster is
    kept. The released code keeps the first box in its list; we infer that the list is ordered by
    objectness. k-means is that of scikit-learn instead of MATLAB's, so clusters may differ.

    boxes: (M, 4). objectness: (M,). If there are at most `count` different boxes, each is kept
    once.
    """
    boxes = np.asarray(boxes, float)
    order = np.argsort(-np.asarray(objectness, float), kind="stable")
    different = np.sort(np.unique(boxes[order], axis=0, return_index=True)[1])
    if len(different) <= count:
        return order[different]
    overlap = overlaps(boxes[order])
    affinity = overlap + overlap.T
    root = affinity.sum(axis=1) ** -0.5
    laplacian = np.eye(len(boxes)) - root[:, None] * affinity * root
    # Optional: no other method needs these packages, and they are larger than all others together.
    linalg, cluster, threads = (
        require_package(name, "regions", "a prediction with AR (affective regions)")
        for name in ("scipy.linalg", "sklearn.cluster", "threadpoolctl")
    )
    # with so few boxes threads cost more time than they save, several times more on busy cores
    with threads.threadpool_limits(1):
        # (M, count)
        vectors = linalg.eigh(
            laplacian, subset_by_index=(0, count - 1), overwrite_a=True, check_finite=False
        )[1]
        means = cluster.KMeans(count, n_init=paper.AR_REPLICATES, random_state=seed)
        clusters = means.fit(vectors).labels_
    return order[np.sort(np.unique(clusters, return_index=True)[1])]


def sentiment_scores(probabilities: "ArrayLike") -> np.ndarray:
    """Return how sure the network is of each region, (R,): 1 minus the entropy in nats, from 1 - ln
    K to 1.

    probabilities: (R, K), which sum to 1 for each region; 0 ln 0 counts as 0.
    """
    p = np.asarray(probabilities, float)
    return 1 + (p * np.log(np.where(p > 0, p, 1))).sum(axis=1)


def affective_scores(
    sentiment: "ArrayLike", objectness: "ArrayLike", alpha: float = paper.AR_ALPHA
) -> np.ndarray:
    """Return (1 - alpha) sentiment + alpha objectness, (R,), both scaled to [0, 1] over the regions
    of the image.

    sentiment, objectness: (R,). If all scores are equal, they count as 0, because they don't
    distinguish the regions.
    """
    return (1 - alpha) * _scaled(sentiment) + alpha * _scaled(objectness)


def _scaled(scores: "ArrayLike") -> np.ndarray:
    scores = np.asarray(scores, float)
    extent = np.ptp(scores)
    return (scores - scores.min()) / extent if extent > 0 else np.zeros_like(scores)


def fuse(
    image_probabilities: "ArrayLike",
    box_probabilities: "ArrayLike",
    objectness: "ArrayLike",
    top: int = paper.AR_TOP,
    alpha: float = paper.AR_ALPHA,
    beta: float = paper.AR_BETA,
) -> Tuple[np.ndarray, np.ndarray]:
    """Return the fused probabilities of image and regions, (K,), and the indices of the regions
    that were used, best first.

    The result is (1 - beta) image + beta regions, where regions is the mean over the `top` regions
    with the highest affective score, or over all if there are fewer. image_probabilities: (K,).
    box_probabilities: (R, K), R > 0. objectness: (R,).
    """
    box_probabilities = np.asarray(box_probabilities, float)
    scores = affective_scores(sentiment_scores(box_probabilities), objectness, alpha)
    chosen = np.argsort(-scores, kind="stable")[:top]
    return (1 - beta) * np.asarray(image_probabilities, float) + beta * box_probabilities[
        chosen
    ].mean(axis=0), chosen


def region_crops(
    pixels: np.ndarray,
    boxes: "ArrayLike",
    size: int,
    context: int = paper.AR_CONTEXT,
    fill: Sequence[int] = FILL,
) -> np.ndarray:
    """Return the crops of boxes, warped to a square, (R, size, size, 3) uint8.

    These are the crops of R-CNN (Girshick, Donahue, Darrell, Malik, CVPR 2014) in its mode "warp".
    The released code ends up in that mode: it asks for "Square", but R-CNN only knows "square".
    Each box is enlarged so that `context` pixels of the crop surround it; the area outside the
    image is `fill`. As in R-CNN the centre is half a pixel too far to the right and down, halves
    are rounded away from 0 in pixels counted from 1, and the bilinear scaling does not smooth.

    pixels: (H, W, 3) uint8. boxes: (R, 4). fill: a colour with the same channels as the pixels
    (default: this package's ImageNet mean, RGB). Raises InputError if `context` leaves no room for
    the box, and if a box lies outside the image.
    """
    if not 0 <= 2 * context < size:
        raise InputError(
            f"{context:d} pixels of context on both sides leave no room in a crop of {size:d} "
            "pixels: choose less than half of the crop"
        )
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    height, width = pixels.shape[:2]
    half = (boxes[:, 2:] - boxes[:, :2] + 1) / 2
    centre = boxes[:, :2] + 1 + half  # in pixels counted from 1
    grown = half * size / (size - 2 * context)
    corners = _rounded(np.hstack([centre - grown, centre + grown])).astype(int)
    crops = np.empty((len(boxes), size, size, 3), np.uint8)
    crops[:] = fill
    for crop, box, (x1, y1, x2, y2) in zip(crops, boxes, corners):
        if box[0] > width - 1 or box[1] > height - 1 or box[2] < 0 or box[3] < 0:
            raise InputError(
                f"box {box.tolist()} lies outside the image of {width:d} x {height:d} pixels, "
                "likely because the proposals belong to another image: check the image's name in "
                "the file of proposals"
            )
        left, columns = _placed(x1, x2, width, size)
        top, lines = _placed(y1, y2, height, size)
        part = np.ascontiguousarray(pixels[max(y1, 1) - 1 : y2, max(x1, 1) - 1 : x2])
        crop[top : top + lines, left : left + columns] = cv2.resize(
            part, (columns, lines), interpolation=cv2.INTER_LINEAR
        )
    return crops


def _placed(first: int, last: int, length: int, size: int) -> Tuple[int, int]:
    """Return the start and the length, in the crop, of the part of a box that lies on the image.

    first, last: the box's first and last pixel on this axis, counted from 1. length: of the image.
    size: of the crop.
    """
    scale = size / (last - first + 1)
    start = min(int(_rounded(max(0, 1 - first) * scale)), size - 1)
    return start, max(
        1, min(int(_rounded((min(last, length) - max(first, 1) + 1) * scale)), size - start)
    )


def _rounded(numbers: "ArrayLike") -> np.ndarray:
    """Round halves away from 0, as MATLAB does and NumPy does not."""
    return np.sign(numbers) * np.floor(np.abs(numbers) + 0.5)


def ten_crops(
    pixels: np.ndarray, resize: int = paper.RESIZE, size: int = paper.IMAGE_SIZE
) -> np.ndarray:
    """Return the crops of the four corners and the centre, then their mirror images, (10, size,
    size, 3) uint8.

    The image is first resized to resize x resize pixels, without keeping its aspect ratio. The
    scaling is bilinear and smooths when it shrinks the image, as in Pillow and, from memory, in
    MATLAB's imresize by default, but not in OpenCV. The order of the corners is top left, bottom
    left, top right, bottom right. Raises InputError if size is larger than resize.
    """
    if size > resize:
        raise InputError(
            f"a crop of {size:d} pixels does not fit into an image of {resize:d}: choose a smaller "
            "crop"
        )
    square = np.asarray(
        Image.fromarray(np.ascontiguousarray(pixels)).resize(
            (resize, resize), Image.Resampling.BILINEAR
        )
    )
    last = resize - size
    middle = (last + 1) // 2
    places = [(x, y) for x in (0, last) for y in (0, last)] + [(middle, middle)]
    crops = np.stack([square[y : y + size, x : x + size] for x, y in places])
    return np.concatenate([crops, crops[:, :, ::-1]])


class Regions(NamedTuple):
    """What `AffectiveRegions` finds in an image, for R candidate regions."""

    probabilities: np.ndarray  # (K,) of image and regions, fused
    image_probabilities: np.ndarray  # (K,) mean over ten crops of the image
    boxes: np.ndarray  # (R, 4)
    scores: np.ndarray  # (R,) affective score
    objectness: np.ndarray  # (R,)
    box_probabilities: np.ndarray  # (R, K)
    chosen: np.ndarray  # indices of the regions that the fusion used, best first
    # number of boxes that passed the size filter; if 0, the whole image is the only region
    proposed: int


class Constants(NamedTuple):
    """The paper's constants of AR.

    candidates: number of regions that the network classifies. top: number of these regions, those
    with the highest affective score, that the fusion uses. alpha: weight of objectness in that
    score; sentiment has 1 - alpha. beta: weight of the regions in the fusion; the image has 1 -
    beta.
    """

    candidates: int = paper.AR_CANDIDATES
    top: int = paper.AR_TOP
    alpha: float = paper.AR_ALPHA
    beta: float = paper.AR_BETA


DEFAULT_CONSTANTS = Constants()


class Crops(NamedTuple):
    """The network's inputs for an image with R candidate regions."""

    whole: np.ndarray  # (10, S, S, 3) uint8, the image
    regions: np.ndarray  # (R, S, S, 3) uint8
    boxes: np.ndarray  # (R, 4)
    objectness: np.ndarray  # (R,)
    proposed: int  # number of boxes that passed the size filter


class RegionCrops:
    """The crops of images and of their candidate regions, without a network.

    size: side of the crops. If it is not 224, the square from which the ten crops are cut (256) and
    the context of the regions (16) are scaled with it. proposals: "grid", "edgeboxes" with the file
    `model`, or what `mlr.inference.proposals.read_proposals` returns. seed: of k-means; it is the
    same for every image, so that no image depends on the images before it.

    The 2,000 proposals with the highest objectness are used. If fewer than 20 pass the size filter,
    all of these are regions; if none passes, as in images below 29 pixels, the whole image is the
    only region. The released code stops with an error if there are fewer than 100 proposals.
    """

    def __init__(
        self,
        size: int = paper.IMAGE_SIZE,
        proposals: Union[str, Proposals] = "grid",
        model: Optional[str] = None,
        constants: Constants = DEFAULT_CONSTANTS,
        seed: int = 0,
    ) -> None:
        self.size, self.proposals, self.model = size, proposals, model
        self.constants, self.seed = constants, seed

    def refuse_without_proposals(self, names: Sequence[str]) -> None:
        """Raise InputError, before any work, if there are no proposals for one of the images, or if
        they can't be computed. names: as in a file of proposals.
        """
        if isinstance(self.proposals, Proposals):
            for name in names:
                self.proposals[name]
        elif self.proposals == "edgeboxes":
            edge_detector(self.model)

    def crops(self, pixels: np.ndarray, name: Optional[str] = None) -> Crops:
        """Return the `Crops` of an image (H, W, 3) uint8, with the same order of channels.

        name: the image's name in a file of proposals. Raises InputError if there are no proposals
        for the image, or if they belong to another image.
        """
        boxes, objectness, proposed = self.candidate_regions(pixels, name)
        try:
            regions = region_crops(
                pixels, boxes, self.size, round(self.size * paper.AR_CONTEXT / paper.IMAGE_SIZE)
            )
        except InputError as error:
            raise InputError(f"image {name}: {error}" if name else str(error)) from None
        whole = ten_crops(pixels, round(self.size * paper.RESIZE / paper.IMAGE_SIZE), self.size)
        return Crops(whole, regions, boxes, objectness, proposed)

    def candidate_regions(
        self, pixels: np.ndarray, name: Optional[str] = None
    ) -> Tuple[np.ndarray, np.ndarray, int]:
        """Return the candidate boxes (R, 4), their objectness (R,), and the number of boxes that
        passed the size filter.
        """
        boxes, objectness = (
            self.proposals[str(name)]
            if isinstance(self.proposals, Proposals)
            else propose(pixels, self.proposals, self.model)
        )
        boxes, objectness = boxes[: paper.AR_PROPOSALS], objectness[: paper.AR_PROPOSALS]
        passed = size_filter(boxes)
        boxes, objectness = boxes[passed], objectness[passed]
        if not len(boxes):
            return np.array([[0.0, 0.0, pixels.shape[1] - 1, pixels.shape[0] - 1]]), np.zeros(1), 0
        kept = select_candidates(boxes, objectness, self.constants.candidates, self.seed)
        return boxes[kept], objectness[kept], len(boxes)


class AffectiveRegions(RegionCrops):
    """The prediction of AR with any network.

    probabilities_of: a function that takes crops (R, size, size, 3) uint8, with the channels of the
    image that `predict` gets, and returns their probabilities (R, K). The other arguments are those
    of `RegionCrops`.
    """

    def __init__(
        self,
        probabilities_of: Callable[[np.ndarray], np.ndarray],
        size: int = paper.IMAGE_SIZE,
        proposals: Union[str, Proposals] = "grid",
        model: Optional[str] = None,
        constants: Constants = DEFAULT_CONSTANTS,
        seed: int = 0,
    ) -> None:
        super().__init__(size, proposals, model, constants, seed)
        self.probabilities_of = probabilities_of

    def predict(self, pixels: np.ndarray, name: Optional[str] = None) -> Regions:
        """Return the `Regions` of an image; arguments and errors are those of `crops`."""
        return self.answer(self.crops(pixels, name))

    def answer(self, crops: Crops) -> Regions:
        """Return the `Regions` of an image from its `Crops`."""
        _, top, alpha, beta = self.constants
        image_probabilities = np.mean(self.probabilities_of(crops.whole), axis=0, dtype=float)
        box_probabilities = np.asarray(self.probabilities_of(crops.regions), float)
        probabilities, chosen = fuse(
            image_probabilities, box_probabilities, crops.objectness, top, alpha, beta
        )
        scores = affective_scores(sentiment_scores(box_probabilities), crops.objectness, alpha)
        return Regions(
            probabilities,
            image_probabilities,
            crops.boxes,
            scores,
            crops.objectness,
            box_probabilities,
            chosen,
            crops.proposed,
        )


def settings_of(options: Mapping[str, Any]) -> Dict[str, Any]:
    """Return `proposals`, `model` and `seed` of a run, as arguments for `RegionCrops`.

    options: the run's options. Raises InputError if the file of proposals can't be read.
    """
    source, seed = options["proposals"], {"seed": options["seed"]}
    if source == "grid":
        return {"proposals": source, **seed}
    if Path(source).suffix.lower() in (".npz", ".mat"):
        return {"proposals": read_proposals(source), **seed}
    return {"proposals": "edgeboxes", "model": source, **seed}
