"""From an image file to pixels, or to an error that names the file."""

import io
import math
import os
import re
import struct
import warnings

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mlr.errors import InputError

UNDECODABLE = "%s can't be decoded, likely not an image or a damaged one: replace or remove it"

# A file of some kB can claim to be a picture that fills the memory.
MOST_PIXELS = 2 ** 27  # 400 MB as RGB
MOST_BYTES = 2 ** 28

# Any JPEG marker but those inside of compressed data: FF 00 (a stuffed byte) and FF D0-D7 (restarts).
JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
JPEG_START, JPEG_END = 0xD8, 0xD9


def read_bytes(path):
    """Return the content of an image file. Raises InputError for a file that can't be read, is empty or ends too early.

    The decoders fill what is missing of a truncated JPEG with grey and say nothing, hence the look at its structure.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise InputError("image %s has more than %d MiB, likely not an image: remove it" % (path, MOST_BYTES >> 20))
            data = file.read()
    except OSError as error:
        raise InputError("can't read image %s: %s" % (path, error.strerror)) from None
    if not data:
        raise InputError("image %s is empty, likely an interrupted copy: copy it again or remove it" % path)
    if (data.startswith(b"\xff\xd8") and not _jpeg_ends(data)) or (data.startswith(b"\x89PNG") and not _png_ends(data)):
        raise InputError("image %s is truncated, likely an interrupted download: get it again or remove it" % path)
    return data


def read_image(path):
    """Return the pixels of an image file as NDArray (H, W, 3), uint8 RGB, decoded as in the released code.

    Raises InputError, naming the file, where it can't be read or is no image at all. The pixels come in the background, beside
    a training step; what is damaged inside, `checked_bytes` finds beforehand. As in the released code orientation (EXIF) and
    transparency are ignored, 16 bits lose the lower 8, grey becomes three equal channels, and CMYK is converted by OpenCV.
    """
    import mxnet as mx  # at the first image: mlr prepare looks at files, and starts four times as fast without

    try:
        return mx.image.imdecode(read_bytes(path))
    except mx.MXNetError:
        raise InputError(UNDECODABLE % path) from None


def checked_bytes(path):
    """Return the content of an image file that decodes without error. Raises InputError, naming the file, otherwise.

    For some damage, as of a JPEG's Huffman tables, MXNet's decoder returns whatever was in memory; this one says so.
    """
    data = read_bytes(path)
    decode(data, path)
    return data


def decode(data, path):
    """Return the pixels (H, W, 3), uint8 BGR, of the content of an image file, its EXIF orientation ignored as in MXNet.

    Raises InputError, naming the file, where there is any error in it.
    """
    if _pixels_claimed(data) > MOST_PIXELS:
        raise InputError("image %s claims more than %d million pixels, likely a damaged header or an attack: remove it" % (
            path, MOST_PIXELS // 10 ** 6))
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise InputError(UNDECODABLE % path)
    return pixels


def _pixels_claimed(data):
    """Return the number of pixels that the header of an image speaks of, 0 where it can't be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return math.prod(Image.open(io.BytesIO(data)).size)
    except Image.DecompressionBombError:
        return math.inf
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, struct.error):
        return 0


def _jpeg_ends(data):
    position = 0
    while True:
        marker = JPEG_MARKER.search(data, position)
        if not marker:
            return False
        kind, position = data[marker.end() - 1], marker.end()
        if kind == JPEG_END:
            return True
        if kind not in (JPEG_START, 0x01):
            length = data[position:position + 2]
            if len(length) < 2:
                return False
            position += struct.unpack(">H", length)[0]


def _png_ends(data):
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[position:position + 8])
        position += 12 + length
        if kind == b"IEND":
            return position <= len(data)
    return False
