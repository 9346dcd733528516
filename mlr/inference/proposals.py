"""Proposals for the affective regions: boxes that may contain an object. They come from a grid,
from OpenCV's Edge Boxes, or from a file.

Every box is x1, y1, x2, y2 in pixels of the original image, counted from 0. The last column and row
belong to the box: it is x2 - x1 + 1 wide.
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
from mlr.runtime.installation import require_package

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PathLike = Union[str, "os.PathLike[str]"]
Boxes = Tuple[np.ndarray, np.ndarray]  # (M, 4) and their objectness (M,), float64, best first

# The settings of `grid`, all chosen by us: the size to which the image is scaled down, and the
# sizes, aspect ratios and positions of the windows.
WORKING_PIXELS = 320 * 240
SMALLEST_WINDOW = 12  # pixels of the scaled image; smaller windows have no edges inside
SCALE_STEP = 2**0.5
ASPECTS = (1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 3)
STRIDE = 1 / 4  # of the window's side
BORDER = 1  # pixels on both sides of the window's outline
POOL = 6000  # the number of best windows that are searched for near-duplicates
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
    """Return boxes (M, 4) and their objectness (M,), float64, best first; M may be 0 for a small
    image.

    pixels: (H, W, 3) uint8 RGB. kind: "grid", see `grid`, or "edgeboxes", see `edge_boxes`, which
    needs the file `model`. Raises InputError for any other kind.
    """
    if kind == "grid":
        return grid(pixels)
    if kind == "edgeboxes":
        return edge_boxes(pixels, model)
    raise InputError(
        f"there are no proposals of kind {kind!r}: choose grid or edgeboxes, or give a file of "
        "proposals"
    )


def grid(pixels: np.ndarray, count: int = GRID_BOXES) -> Boxes:
    """Return at most `count` sliding windows that contain edges which do not cross the window's
    outline, in the form that `propose` returns.

    This is our own method. It replaces the MATLAB program Objectness (Alexe, Deselaers, Ferrari,
    TPAMI 2012), whose boxes the released code reads, and is simpler: it does not use saliency,
    colour or superpixels. The idea is that of Edge Boxes. E is the sum of the gradient magnitudes
    in a window, and F the same sum if the whole window were as dense in edges as the densest of its
    four sides. The score is (E - F) / perimeter ** 1.5. If the intersection of two windows is more
    than 3/4 of their union, only the better one is kept. Nothing is random.
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
    """Return the `count` best of OpenCV's Edge Boxes (Zitnick, Dollar, ECCV 2014), in the form that
    `propose` returns. The settings are paper.EDGE_BOXES.

    model: as in `edge_detector`. Raises InputError as that does, and if OpenCV is too old to return
    scores.
    """
    detector = edge_detector(model)
    # No box of such a small image would pass the size filter, and the detector fails on images
    # smaller than its patch.
    if min(pixels.shape[:2]) <= paper.AR_SIDES[0]:
        return np.empty((0, 4)), np.empty(0)
    edges = detector.detectEdges(pixels.astype(np.float32) / 255)
    orientation = detector.computeOrientation(edges)
    # Create a new one for each image: a used one finds other boxes.
    edge_boxes_of = cv2.ximgproc.createEdgeBoxes  # type: ignore[attr-defined]
    found = edge_boxes_of(**paper.EDGE_BOXES).getBoundingBoxes(
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


def edge_detector(model: Optional[PathLike]) -> Any:
    """Return OpenCV's structured edge detector.

    model: its file, model.yml.gz of OpenCV's extra data. Raises InputError without this file, or
    without OpenCV's module ximgproc (opencv-contrib-python has it, opencv-python lacks it).
    """
    if model is None or not Path(model).is_file():
        raise InputError(
            "Edge Boxes need the model of OpenCV's structured edge detector, but "
            f"{'none was given' if model is None else f'there is no file {model}'}: give the "
            "file model.yml.gz from testdata/cv/ximgproc of the repository opencv_extra"
        )
    if not hasattr(cv2, "ximgproc"):
        raise InputError(
            f"Edge Boxes need OpenCV's module ximgproc, which this OpenCV {cv2.__version__} lacks: "
            "replace opencv-python by opencv-contrib-python of the same version, or use the "
            "proposals of the grid or of a file"
        )
    return _edge_detector(str(model))


@functools.lru_cache(maxsize=1)  # reading the file takes longer than detecting in an image
def _edge_detector(model: str) -> Any:
    """Return OpenCV's detector. Raises InputError if the file is not a model of it.

    The check is needed because OpenCV would take missing numbers as 0 and divide by them.
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
            # only opencv-contrib-python has it
            return cv2.ximgproc.createStructuredEdgeDetection(model)  # type: ignore[attr-defined]
    except (cv2.error, SystemError):
        pass
    raise InputError(
        f"{model} is not a model of OpenCV's structured edge detector, or is damaged: get "
        "model.yml.gz again"
    )


class Proposals(Dict[str, Boxes]):
    """The proposals of a file: {image name: (boxes (M, 4), objectness (M,))}, best first.

    An image is looked up by its whole name, which may be a path below the root of the data, then
    as <class>/<file>, and last, in case the names in the file of proposals have no folders, as
    <file>. Raises InputError for an image that is not in the file.
    """

    def __init__(self, path: Path, of_images: Mapping[str, Boxes]) -> None:
        super().__init__(of_images)
        self.path = path

    def __missing__(self, name: str) -> Boxes:
        for shorter in (name_of(name), Path(name).name):
            if shorter in self.keys():
                return self[shorter]
        near = difflib.get_close_matches(str(name), self, n=1) or [next(iter(self))]
        raise InputError(
            f"{self.path} has no proposals for the image {name}; it has them for {len(self):d} "
            f"other images, such as {shown(near[0])}: use the same image names as the file, or add "
            "the image to the file"
        )


def read_proposals(path: PathLike) -> Proposals:
    """Return the `Proposals` of a file. All are read and checked at once, and take 40 bytes per
    box.

    .npz: for every image an array (M, 5) of x1, y1, x2, y2, score under the image's name, as
    numpy.savez(path, **{"a/1.jpg": array, ...}) writes it; pixels are counted from 0.
    .mat: two cell arrays of equal length: `boxes`, with an M x 5 matrix in each cell, and
    `imgname`. The names are those of the released code, which reads the two from different files:
    load both, then save(path, 'boxes', 'imgname'), without -v7.3. Pixels are counted from 1, as in
    MATLAB.

    Raises InputError for another file name extension, a file that is absent or damaged, or an array
    that does not hold boxes. Nothing in a file is executed.
    """
    path = Path(path)
    readers = {".npz": (_npz_tables, 0), ".mat": (_mat_tables, 1)}
    if path.suffix.lower() not in readers:
        raise InputError(
            f"{path}: proposals are read only from files whose names end in {' or '.join(readers)}"
        )
    if not path.is_file():
        raise InputError(f"there is no file of proposals {path}")
    read, first_pixel = readers[path.suffix.lower()]
    try:
        tables = read(path)
    except InputError:
        raise
    # zipfile, zlib, NumPy and SciPy raise nearly everything on damaged files, and their messages
    # don't name the file
    except Exception as error:
        why = shown(str(error).partition("\n")[0]) or type(error).__name__
        raise InputError(
            f"{path} is not a {path.suffix.lower()} file, or is damaged ({why}): restore it from a "
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
            f"{path} would take more than {MOST_BYTES >> 30:d} GiB of memory, likely because its "
            "header is damaged or it was made to do harm; if it really holds so many proposals, "
            "split it"
        )
    if len({member.filename for member in members}) != len(members):
        raise ValueError("it names an array twice")
    with np.load(path, allow_pickle=False) as arrays:
        return [(name, arrays[name]) for name in arrays.files]


def _mat_tables(path: PathLike) -> List[Tuple[str, np.ndarray]]:
    """Read a .mat file with SciPy, in a separate process, because SciPy's reader crashes on some
    damaged files.
    """
    require_package("scipy.io", "regions", f"reading {path}")
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
                "SciPy's reader crashed on it"
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
        raise InputError(
            f"{path}: imgname must hold a different text for every image: correct the names, and "
            "save the file again"
        )
    return list(zip(texts, tables))


def convert_mat(path: PathLike, converted: PathLike) -> None:
    """Write the cells of `boxes` and `imgname` of a .mat file to a .npz file, under the names
    "boxes 0", "boxes 1", ..., "imgname 0", ...
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
    """Return the boxes, in pixels counted from 0, and scores of one image's array in a file, best
    first. first_pixel: the number of the first pixel in the file, 0 or 1.
    """
    table, name = np.asarray(table), shown(name)
    if table.dtype.kind not in "fiu" or table.ndim != 2 or table.shape[1] != 5 or not len(table):
        raise InputError(
            f"{path}: the proposals of {name} are {table.dtype} of shape {table.shape}: expected "
            "numbers of shape (M, 5), with the columns x1 y1 x2 y2 score"
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
    """Return the windows of the grid on the scaled image, (M, 4) int: x1, y1, x2, y2, where x2 and
    y2 are one pixel past its end.

    shape: (height, width, 3) of the scaled image. ratio: (2,), the horizontal and the vertical
    scale of the scaled image.
    """
    # The sides that pass the size filter, which takes x2 - x1 as the width.
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
    """Return the first pixels of windows that cover a side evenly, from its first pixel to its
    last.
    """
    steps = math.ceil((length - window) / (window * STRIDE))
    return np.rint(np.linspace(0, length - window, steps + 1)).astype(int)


def _gradient(pixels: np.ndarray) -> np.ndarray:
    """Return the gradient magnitude of an image's brightness, (H, W) float32, in whole numbers.

    Sums of whole numbers are exact in any order. This matters because OpenCV's order of summation
    varies; its own function for magnitudes differs in the last bit, too.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    across, down = (
        cv2.Sobel(grey, cv2.CV_16S, *direction).astype(np.float32) for direction in ((1, 0), (0, 1))
    )
    return np.rint(np.sqrt(across * across + down * down))


def _enclosed_edges(edges: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Return the scores (M,) of windows (M, 4) on an edge map (H, W): see `grid`."""
    sums = cv2.integral(edges)  # (H + 1, W + 1) float64
    x1, y1, x2, y2 = windows.T

    def total_and_area(
        x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray
    ) -> Tuple[np.ndarray, np.ndarray]:
        """Return the sum of the edges and the number of pixels in the part of each rectangle that
        lies on the image.
        """
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
    """Return the indices of at most `count` windows, best first, without windows that overlap a
    better one too much.
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
        rest = slice(best, None)
        across = np.minimum(x2[rest], x2[best]) - np.maximum(x1[rest], x1[best])
        down = np.minimum(y2[rest], y2[best]) - np.maximum(y1[rest], y1[best])
        in_both = np.maximum(across, 0) * np.maximum(down, 0)
        left[rest] &= in_both <= paper.EDGE_BOXES["beta"] * (area[rest] + area[best] - in_both)
    return order[kept]


def name_of(path: PathLike) -> str:
    """Return an image's name in a file of proposals: <class>/<file>, the last two parts of its
    path.
    """
    return "/".join(Path(path).parts[-2:])
