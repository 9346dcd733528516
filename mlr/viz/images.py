"""Images to be looked at: as they are, as the network sees them, and small."""

from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence, Tuple, Union

if TYPE_CHECKING:
    import mxnet as mx
    import numpy as np

LONGEST = 1024  # pixels of a side that a figure shows; it would take some hundred bytes for each


def read_images_and_inputs(
    paths: Sequence[Union[str, Path]], image_size: int, ctx: "mx.Context"
) -> Tuple[List["np.ndarray"], "mx.nd.NDArray"]:
    """Return the images to be looked at, a list of (h, w, 3) uint8, `shrunk`, and as the network
    sees them, NDArray (N, 3, S, S).

    Raises InputError, naming the file, for the first that is missing or damaged.
    """
    from mxnet import nd

    pictures, seen = read_images_and_arrays(paths, image_size)
    return pictures, nd.array(seen, ctx)


def read_images_and_arrays(
    paths: Sequence[Union[str, Path]], image_size: int
) -> Tuple[List["np.ndarray"], "np.ndarray"]:
    """Return the same without MXNet, the second as a NumPy array (N, 3, S, S) float32."""
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
    """Return an image, (H, W, 3) uint8, scaled down where its longest side has more pixels than
    that.
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
    """Return an image, (h, w, 3) uint8 RGB, scaled down where its longest side has more pixels than
    that.

    Raises InputError, naming the file, where it is missing or damaged.
    """
    from mlr.data.images import decode, read_bytes

    return shrunk(decode(read_bytes(path), path), longest)
