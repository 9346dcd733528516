"""Images for figures: unchanged, as the network sees them, and scaled down."""

from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence, Tuple, Union

if TYPE_CHECKING:
    import mxnet as mx
    import numpy as np

# pixels of the longest side in a figure, which needs some hundred bytes for each pixel
LONGEST = 1024


def read_images_and_inputs(
    paths: Sequence[Union[str, Path]], image_size: int, ctx: "mx.Context"
) -> Tuple[List["np.ndarray"], "mx.nd.NDArray"]:
    """Return the images to show, a list of `shrunk` (h, w, 3) uint8, and as the network sees them,
    an NDArray (N, 3, S, S).

    Raises InputError, which names the file, for the first image that is missing or damaged.
    """
    from mxnet import nd

    pictures, seen = read_images_and_arrays(paths, image_size)
    return pictures, nd.array(seen, ctx)


def read_images_and_arrays(
    paths: Sequence[Union[str, Path]], image_size: int
) -> Tuple[List["np.ndarray"], "np.ndarray"]:
    """Return what `read_images_and_inputs` returns, without MXNet: the second is a NumPy array (N,
    3, S, S) float32.
    """
    import numpy as np

    from mlr.data.images import pixels_of, read_bytes
    from mlr.data.preprocessing import Preprocessing

    preprocessing, pictures, seen = Preprocessing(image_size), [], []
    for path in paths:
        pixels = pixels_of(read_bytes(path), path)
        pictures.append(shrunk(pixels, LONGEST))
        seen.append(preprocessing.network_input(pixels))
    return pictures, np.stack(seen)


def shrunk(pixels: "np.ndarray", longest: int) -> "np.ndarray":
    """Return an image, (H, W, 3) uint8, scaled down if its longest side has more than `longest`
    pixels.
    """
    import cv2

    scale = longest / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    return cv2.resize(
        pixels,
        tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1]),
        interpolation=cv2.INTER_AREA,
    )


def thumbnail(path: Union[str, Path], longest: int = 200) -> "np.ndarray":
    """Return an image from a file, (h, w, 3) uint8 RGB, scaled down if its longest side has more
    than `longest` pixels.

    Raises InputError, which names the file, if it is missing or damaged.
    """
    from mlr.data.images import decode, read_bytes

    return shrunk(decode(read_bytes(path), path), longest)
