"""Reads images that the user gives as a path, a file, bytes, a PIL image or pixels."""

import os
from pathlib import Path
from typing import Any, BinaryIO, List, Optional, Union

import numpy as np
from PIL import Image as pil

from mlr.data.images import checked_content, content_of, read_bytes, rgb_of
from mlr.data.images import pixels_of as pixels_of_file
from mlr.data.walk import LeftOut, walk, words_on
from mlr.errors import InputError

PathLike = Union[str, "os.PathLike[str]"]
BYTES = (bytes, bytearray, memoryview)
File = Union[PathLike, bytes, bytearray, memoryview, BinaryIO, pil.Image]
Image = Union[File, np.ndarray]
ACCEPTED = (
    'the path of an image file, its content as bytes, a file opened with mode "rb", a PIL image, '
    "or a NumPy array (H, W, 3) of uint8, RGB"
)


def find_images(folder: PathLike, left_out: Optional[List[LeftOut]] = None) -> List[Path]:
    """Return the image files in a folder and its subfolders, in order. Pipes are left out, because
    reading them may never end.

    left_out: a list to which a `mlr.data.walk.LeftOut` is added for everything that is left out.
    Raises InputError if the folder does not exist or holds no images.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    paths, others = walk(folder)
    if not paths:
        raise InputError(
            f"no images (JPEG, PNG and other formats) in {folder}"
            f"{'; ' + words_on(others) if others else ''}"
        )
    if left_out is not None:
        left_out += others
    return sorted(paths)


def is_one_image(images: Any) -> bool:
    """Tell whether a value is one image, or anything else that is not a list of images."""
    if isinstance(images, np.ndarray):
        return images.ndim != 4
    is_file = isinstance(images, (str, os.PathLike, *BYTES, pil.Image)) or hasattr(images, "read")
    return is_file or not hasattr(images, "__iter__")


def name_in_messages(image: Any) -> str:
    """Return the path of an image, or words that name it in messages."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    # `name` is of an open file, `filename` of a PIL image
    name = getattr(image, "name", None) or getattr(image, "filename", None)
    if name and isinstance(name, str):
        return name
    if isinstance(image, np.ndarray):
        return "<array>"
    return "<bytes>" if isinstance(image, BYTES) else f"<{type(image).__name__}>"


def read(image: Any) -> Union[bytes, np.ndarray]:
    """Return the content of an image file, or pixels (H, W, 3) of uint8, RGB.

    Raises InputError as `mlr.inference.predictor.Predictor.__call__`.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_bytes(image)
    if isinstance(image, pil.Image):
        return rgb_of(image)
    if isinstance(image, BYTES):
        return checked_content(bytes(image), name_in_messages(image))
    if hasattr(image, "read"):
        try:
            return checked_content(
                content_of(image, name_in_messages(image)), name_in_messages(image)
            )
        except (OSError, ValueError) as error:  # ValueError if the file is closed
            if isinstance(error, InputError):
                raise
            raise InputError(f"can't read image {name_in_messages(image)}: {error}") from None
    if not isinstance(image, np.ndarray):
        raise InputError(f"an image is {ACCEPTED}, not a {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(
            f"an image must be an array (H, W, 3) of uint8, RGB, but this one is {image.shape} of "
            f"{image.dtype}: repeat a grey channel three times, remove an alpha channel, and scale "
            "other numbers to the range 0 to 255 before .astype('uint8')"
        )
    return image


def pixels_of(content: Union[bytes, np.ndarray], name: str) -> np.ndarray:
    """Return what `read` returned as an array (H, W, 3) of uint8, RGB.

    Raises InputError if it can't be decoded.
    """
    return content if isinstance(content, np.ndarray) else pixels_of_file(content, name)
