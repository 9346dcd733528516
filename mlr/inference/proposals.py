"""Boxes that may hold something, for the affective regions: made here, by OpenCV, or read from a
file.

Every box is x1, y1, x2, y2 in pixels of the image as it is, counted from 0, the last ones included:
it is x2 - x1 + 1 wide.
"""

import difflib
import functools
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Tuple, Union

import cv2
import numpy as np

from mlr import paper
from mlr.errors import InputError, shown

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PathLike = Union[str, "os.PathLike[str]"]
Boxes = Tuple[np.ndarray, np.ndarray]  # (M, 4) and their objectness (M,), float64, best first

# The grid, all ours: on an image scaled down to so many pixels, windows of so many sizes, aspects
# and places.
WORKING_PIXELS = 320 * 240
SMALLEST_WINDOW = 12  # pixels of the scaled image: below, no edges are inside
SCALE_STEP = 2**0.5
ASPECTS = (1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 3)
STRIDE = 1 / 4  # of the window's side
BORDER = 1  # pixels on both sides of the window's outline
POOL = 6000  # best windows among which near-duplicates are looked for
GRID_BOXES = 500

DETECTOR_OPTIONS = (
    "stride",
    "shrinkNumber",
    "patchSize",
    "patchInnerSize",
    "numberOfGradientOrientations",
    "numberOfTrees",
    "numberOfTreesToEvaluate",
    "selfsimilarityGridSize",
)

MOST_BYTES = 2**32  # of a file of proposals, unpacked: 2,000 boxes of 50,000 images


def propose(pixels: np.ndarray, kind: str = "grid", model: Optional[PathLike] = None) -> Boxes:
    """Return boxes (M, 4) and their objectness (M,), float64, best first; M may be 0 for an image
    of few pixels.

    pixels: (H, W, 3) uint8 RGB. kind: "grid", see `grid`, or "edgeboxes", see `edge_boxes`, which
    needs `model`, its file.
    Raises InputError where the kind can't be had.
    """
    if kind == "grid":
        return grid(pixels)
    if kind == "edgeboxes":
        return edge_boxes(pixels, model)
    raise InputError(
        f"there are no proposals of kind {kind!r}: choose grid or edgeboxes, or give a file of them"
    )


def grid(pixels: np.ndarray, count: int = GRID_BOXES) -> Boxes:
    """Return at most `count` sliding windows that enclose edges which their outline does not cross,
    as `propose` does.

    Ours: it stands in for the MATLAB program Objectness (Alexe, Deselaers, Ferrari, TPAMI 2012),
    whose boxes the released code reads, and knows less: no saliency, no colour, no superpixels. The
    idea is that of Edge Boxes. A window's score is the sum of its edges (gradient magnitude), less
    that of a window as full of them as the fullest of its four sides is, by perimeter ** 1.5; of
    windows whose intersection is 3/4 of their union the better one stays. Nothing is random.
    """
    height, width = pixels.shape[:2]
    scale = min(1, math.sqrt(WORKING_PIXELS / (height * width)))
    small = cv2.resize(
        pixels,
        (max(1, round(width * scale)), max(1, round(height * scale))),
        interpolation=cv2.INTER_AREA,
    )
    ratio = np.array([small.shape[1] / width, small.shape[0] / height])
    windows = _windows(small.shape, ratio)
    if not len(windows):
        return np.empty((0, 4)), np.empty(0)
    scores = _enclosed_edges(_gradient(small), windows)
    kept = _without_duplicates(windows, scores, count)
    boxes = windows[kept] / np.tile(ratio, 2) - (0, 0, 1, 1)
    return boxes, scores[kept]


def edge_boxes(
    pixels: np.ndarray, model: Optional[PathLike], count: int = paper.AR_PROPOSALS
) -> Boxes:
    """Return the `count` best of OpenCV's Edge Boxes (Zitnick, Dollar, ECCV 2014), as `propose`
    does; paper.EDGE_BOXES its settings.

    model: the file of its structured edge detector, model.yml.gz of OpenCV's extra data. Raises
    InputError without that, without the ximgproc module, which opencv-contrib-python has and
    opencv-python lacks, or with one too old to return scores.
    """
    if not hasattr(cv2, "ximgproc"):
        raise InputError(
            f"Edge Boxes need OpenCV's ximgproc, which this OpenCV {cv2.__version__} lacks: "
            "install opencv-contrib-python in place of opencv-python, of the same version, or "
            "take the grid's proposals or a file of them"
        )
    if model is None or not Path(model).is_file():
        raise InputError(
            "Edge Boxes need the model of OpenCV's structured edge detector, "
            f"{'none was given' if model is None else f'there is no file {model}'}: give the "
            "file model.yml.gz, of opencv_extra, testdata/cv/ximgproc"
        )
    detector = _edge_detector(str(model))
    # no box passes the size filter, and on less than its patch the detector fails
    if min(pixels.shape[:2]) <= paper.AR_SIDES[0]:
        return np.empty((0, 4)), np.empty(0)
    edges = detector.detectEdges(pixels.astype(np.float32) / 255)
    orientation = detector.computeOrientation(edges)
    # A new one each time, as one that has been used finds other boxes.
    found = cv2.ximgproc.createEdgeBoxes(**paper.EDGE_BOXES).getBoundingBoxes(
        detector.edgesNms(edges, orientation), orientation
    )
    if not isinstance(found, tuple) or len(found) != 2:
        raise InputError(
            f"the Edge Boxes of this OpenCV {cv2.__version__} return no scores: install a newer "
            "opencv-contrib-python"
        )
    if not len(found[0]):
        return np.empty((0, 4)), np.empty(0)  # OpenCV's scores are None then
    corners, scores = np.asarray(found[0], float), np.ravel(found[1]).astype(float)
    return _best_first(
        np.hstack([corners[:, :2], corners[:, :2] + corners[:, 2:] - 1]), scores, count
    )


@functools.lru_cache(maxsize=1)  # reading it takes longer than its work on an image
def _edge_detector(model: str) -> Any:
    """Return OpenCV's detector. Raises InputError for a file that is no model of it: what is
    missing, OpenCV would divide by.
    """
    try:
        file = cv2.FileStorage(model, cv2.FILE_STORAGE_READ)
        whole = file.getNode("options").isMap() and not any(
            file.getNode(name).empty()
            for name in ("childs", "featureIds", "thresholds", "edgeBoundaries", "edgeBins")
        )
        if (
            whole
            and min(file.getNode("options").getNode(name).real() for name in DETECTOR_OPTIONS) >= 1
        ):
            # of opencv-contrib-python alone
            return cv2.ximgproc.createStructuredEdgeDetection(model)  # type: ignore[attr-defined]
    except (cv2.error, SystemError):
        pass
    raise InputError(
        f"{model} is no model of OpenCV's structured edge detector, or a damaged one: get "
        "model.yml.gz again"
    )


class Proposals(Dict[str, Boxes]):
    """{image name: (boxes (M, 4), objectness (M,))}, best first, of a file.

    An image is found under <class>/<file> or, where the file of proposals has names without
    folders, under <file>. Raises InputError for one that is not in it.
    """

    def __init__(self, path: Path, of_images: Mapping[str, Boxes]) -> None:
        super().__init__(of_images)
        self.path = path

    def __missing__(self, name: str) -> Boxes:
        bare = str(name).rpartition("/")[2]
        if bare in self.keys():
            return self[bare]
        near = difflib.get_close_matches(str(name), self, n=1) or [next(iter(self))]
        raise InputError(
            f"{self.path} has no proposals of image {name}, but of {len(self):d} others, as "
            f"{shown(near[0])}: name images as the file does, or add it"
        )


def read_proposals(path: PathLike) -> Proposals:
    """Return the `Proposals` of a file: all are read and checked at once, and take 40 bytes a box.

    .npz: for every image an array (M, 5) of x1, y1, x2, y2, score under the image's name, as of
    numpy.savez(path, **{"a/1.jpg": array, ...}); pixels are counted from 0.
    .mat: two cell arrays of equal length, `boxes`, an M x 5 matrix each, and `imgname`, as the
    released code calls them (which reads them from two files: load both, then save(path, 'boxes',
    'imgname'), not with -v7.3); pixels are counted from 1, as in MATLAB.

    Raises InputError for another ending, a file that is absent or damaged, or an array that holds
    no boxes. Nothing that is in a file is executed.
    """
    path = Path(path)
    readers = {".npz": (_npz_tables, 0), ".mat": (_mat_tables, 1)}
    if path.suffix.lower() not in readers:
        raise InputError(
            f"{path}: proposals are read from files that end in {' or '.join(readers)}"
        )
    if not path.is_file():
        raise InputError(f"there is no file of proposals {path}")
    read, first_pixel = readers[path.suffix.lower()]
    try:
        tables = read(path)
    except InputError:
        raise
    # of a damaged file zipfile, zlib, NumPy and SciPy raise nearly everything, and none of it names
    # the file
    except Exception as error:
        why = shown(str(error).partition("\n")[0]) or type(error).__name__
        raise InputError(
            f"{path} is no {path.suffix.lower()} file, or a damaged one ({why}): restore it from a "
            "copy"
        ) from None
    if not tables:
        raise InputError(f"{path} holds no proposals: expected an array (M, 5) for every image")
    return Proposals(path, {name: _boxes(table, first_pixel, name, path) for name, table in tables})


def _npz_tables(path: PathLike) -> List[Tuple[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if sum(member.file_size for member in members) > MOST_BYTES:
        raise InputError(
            f"{path} would take more than {MOST_BYTES >> 30:d} GiB of memory, likely a damaged "
            "header or an attack: if it is neither, split it"
        )
    if len({member.filename for member in members}) != len(members):
        raise ValueError("it names an array twice")
    with np.load(path, allow_pickle=False) as arrays:
        return [(name, arrays[name]) for name in arrays.files]


def _mat_tables(path: PathLike) -> List[Tuple[str, np.ndarray]]:
    """Read with SciPy in a process of its own, as SciPy's reader dies of some damaged files."""
    with tempfile.TemporaryDirectory() as folder:
        converted = os.path.join(folder, "proposals.npz")
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                (
                    "import sys; from mlr.inference.proposals import convert_mat; "
                    "convert_mat(*sys.argv[1:])"
                ),
                str(path),
                converted,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise ValueError(
                "SciPy's reader died of it"
                if done.returncode < 0
                else done.stderr.strip().rpartition("\n")[2]
            )
        arrays = _npz_tables(converted)
    tables, names = (
        [array for name, array in arrays if name.startswith(variable)]
        for variable in ("boxes", "imgname")
    )
    if not tables or len(tables) != len(names):
        raise InputError(
            f"{path} lacks the cell arrays boxes and imgname, of equal length: load both in "
            "MATLAB, then save(file, 'boxes', 'imgname')"
        )
    texts = ["".join(name.ravel()) if name.dtype.kind == "U" else "" for name in names]
    if "" in texts or len(set(texts)) != len(texts):
        raise InputError(f"{path}: imgname must have another text for every image")
    return list(zip(texts, tables))


def convert_mat(path: PathLike, converted: PathLike) -> None:
    """Write the cells of boxes and imgname in a .mat file to a .npz file, as "boxes 0", "boxes 1",
    ..., "imgname 0", ...
    """
    from scipy import io

    content = io.loadmat(path, variable_names=["boxes", "imgname"])
    np.savez(
        converted,
        **{
            f"{variable} {number:d}": cell
            for variable in ("boxes", "imgname")
            if variable in content and content[variable].dtype == object
            for number, cell in enumerate(content[variable].ravel())
        },
    )


def _boxes(table: "ArrayLike", first_pixel: int, name: str, path: Path) -> Boxes:
    """Return boxes, of pixels counted from 0, and scores of an image's array in a file, best
    first.
    """
    table, name = np.asarray(table), shown(name)
    if table.dtype.kind not in "fiu" or table.ndim != 2 or table.shape[1] != 5 or not len(table):
        raise InputError(
            f"{path}: the proposals of {name} are {table.dtype} of shape {table.shape}: expected "
            "numbers of shape (M, 5), x1 y1 x2 y2 score"
        )
    table = table.astype(float)
    if not np.isfinite(table).all() or (table[:, 2:4] < table[:, :2]).any():
        raise InputError(
            f"{path}: a box of {name} is NaN, infinite or ends before it starts: expected x1 <= "
            "x2 and y1 <= y2"
        )
    return _best_first(table[:, :4] - first_pixel, table[:, 4], len(table))


def _best_first(boxes: np.ndarray, scores: np.ndarray, count: int) -> Boxes:
    order = np.argsort(-scores, kind="stable")[:count]
    return boxes[order], scores[order]


def _windows(shape: Tuple[int, ...], ratio: np.ndarray) -> np.ndarray:
    """Return the grid's windows on the scaled image as x1, y1, x2, y2, the last not included, (M,
    4) int.

    shape: (height, width, 3). ratio: (2,), pixels of the scaled image for one of the image, across
    and down.
    """
    # The sides that the size filter lets through; it takes x2 - x1 as the width.
    longest = np.minimum((paper.AR_SIDES[1] + 1) * ratio, shape[1::-1])
    shortest = np.minimum(
        np.maximum((paper.AR_SIDES[0] + 1) * ratio, SMALLEST_WINDOW),
        (paper.AR_SIDES[1] + 1) * ratio / 2,
    )
    found = []
    side = shortest.min()
    while side <= longest.max():
        for aspect in ASPECTS:
            size = np.rint(side * np.array([aspect**0.5, aspect**-0.5])).astype(int)
            if (size >= shortest).all() and (size <= longest).all():
                x, y = (_places(length, window) for length, window in zip(shape[1::-1], size))
                found.append(
                    np.stack(
                        np.broadcast_arrays(x, y[:, None], x + size[0], y[:, None] + size[1]),
                        axis=-1,
                    ).reshape(-1, 4)
                )
        side *= SCALE_STEP
    return np.concatenate(found) if found else np.empty((0, 4), int)


def _places(length: int, window: int) -> np.ndarray:
    """Return where windows start that cover a side evenly, its ends included."""
    steps = math.ceil((length - window) / (window * STRIDE))
    return np.rint(np.linspace(0, length - window, steps + 1)).astype(int)


def _gradient(pixels: np.ndarray) -> np.ndarray:
    """Return the magnitude of the gradient of an image's brightness, (H, W) float32, whole numbers.

    Those, so that sums are exact in any order: OpenCV takes one or another, and its own magnitude
    differs in the last bit.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    across, down = (
        cv2.Sobel(grey, cv2.CV_16S, *direction).astype(np.float32) for direction in ((1, 0), (0, 1))
    )
    return np.rint(np.sqrt(across * across + down * down))


def _enclosed_edges(edges: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Return the scores of windows (M, 4) on a map of edges (H, W): see `grid`."""
    sums = cv2.integral(edges)  # (H + 1, W + 1) float64
    x1, y1, x2, y2 = windows.T

    def total_and_area(
        x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray
    ) -> Tuple[np.ndarray, np.ndarray]:
        """What of rectangles is on the image: sum of the edges in it, and pixels."""
        x1, x2 = np.clip((x1, x2), 0, edges.shape[1])
        y1, y2 = np.clip((y1, y2), 0, edges.shape[0])
        return sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1], (x2 - x1) * (y2 - y1)

    inside, area = total_and_area(x1, y1, x2, y2)
    left, top, right, bottom, b = x1 - BORDER, y1 - BORDER, x2 + BORDER, y2 + BORDER, 2 * BORDER
    sides = (
        (left, top, left + b, bottom),
        (right - b, top, right, bottom),
        (left, top, right, top + b),
        (left, bottom - b, right, bottom),
    )
    fullest = np.max(
        [total / area for total, area in (total_and_area(*side) for side in sides)], axis=0
    )
    perimeter = 2 * (x2 - x1 + y2 - y1)
    return (inside - fullest * area) / (perimeter * np.sqrt(perimeter))


def _without_duplicates(windows: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of at most `count` windows, best first, none of which has too much in
    common with a better one.
    """
    order = np.argsort(-scores, kind="stable")[:POOL]
    x1, y1, x2, y2 = windows[order].T.astype(np.float32)
    area = (x2 - x1) * (y2 - y1)
    left = np.ones(len(order), bool)
    kept: List[int] = []
    for best in range(len(order)):
        if not left[best]:
            continue
        kept.append(best)
        if len(kept) == count:
            break
        in_both = np.clip(np.minimum(x2, x2[best]) - np.maximum(x1, x1[best]), 0, None) * np.clip(
            np.minimum(y2, y2[best]) - np.maximum(y1, y1[best]), 0, None
        )
        left &= in_both <= paper.EDGE_BOXES["beta"] * (area + area[best] - in_both)
    return order[kept]


def name_of(path: PathLike) -> str:
    """Return the name by which a file of proposals knows an image: <class>/<file>, the last two
    parts of its path.
    """
    return "/".join(Path(path).parts[-2:])
