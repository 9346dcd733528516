"""From an image file to pixels, or to an error that names the file."""

import io
import math
import os
import re
import struct
import warnings

import cv2
import numpy as np
from PIL import Image

from mlr.errors import InputError

UNDECODABLE = "%s can't be decoded, likely not an image or a damaged one: replace or remove it"

# A file of some kB can claim to be a picture that fills the memory.
MOST_PIXELS = 2 ** 27  # 400 MB as RGB
MOST_BYTES = 2 ** 28
MOST_WORK = 16 * MOST_PIXELS  # a progressive JPEG of some MB can go over its pixels for hours; usual ones do it ten times
# Beside JPEG and PNG, what OpenCV reads and MXNet may.
OTHER_FORMATS = ("BMP", "DIB", "GIF", "JPEG2000", "PPM", "SUN", "TIFF", "WEBP")

# Any JPEG marker but those inside of compressed data: FF 00 (a stuffed byte) and FF D0-D7 (restarts).
JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
JPEG_START, JPEG_END, JPEG_SCAN = 0xD8, 0xD9, 0xDA
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def read_bytes(path):
    """Return the content of an image file. Raises InputError for a file that can't be read, is empty, ends too early or claims too much.

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
    pixels, scans = next(look for start, look in STRUCTURES.items() if data.startswith(start))(data)
    if pixels is None:
        raise InputError(UNDECODABLE % path)
    if not scans:
        raise InputError("image %s is truncated, likely an interrupted download: get it again or remove it" % path)
    if pixels > MOST_PIXELS:
        raise InputError("image %s claims more than %d million pixels, likely a damaged header or an attack: remove it" % (
            path, MOST_PIXELS // 10 ** 6))
    if pixels * scans > MOST_WORK:
        raise InputError("image %s goes over its %d pixels %d times, likely an attack, as it takes for ever: remove it" % (path, pixels, scans))
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


def read_images(paths):
    """Return the pixels of image files, as `read_image`, decoded at once and all there: the error for the first that can't be names it."""
    import mxnet as mx

    images = [read_image(path) for path in paths]
    for path, image in zip(paths, images):
        try:
            image.wait_to_read()
        except mx.MXNetError:
            raise InputError(UNDECODABLE % path) from None
    return images


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
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise InputError(UNDECODABLE % path)
    return pixels


def _jpeg(data):
    """Return the pixels that a JPEG claims, and its scans: how often it goes over them, 0 where it is truncated."""
    position = pixels = scans = 0
    while True:
        marker = JPEG_MARKER.search(data, position)
        if not marker:
            return pixels, 0
        kind, position = data[marker.end() - 1], marker.end()
        if kind == JPEG_END:
            return pixels, max(1, scans)
        if kind not in (JPEG_START, 0x01):
            if len(data) < position + 2:
                return pixels, 0
            length, height, width = struct.unpack(">HxHH", data[position:position + 7].ljust(7, b"\0"))
            if kind in JPEG_FRAMES:
                pixels = max(pixels, height * width)
            scans += kind == JPEG_SCAN
            position += length


def _png(data):
    """Return the pixels that a PNG claims, and 1, or 0 where it is truncated."""
    pixels = math.prod(struct.unpack(">II", data[16:24].ljust(8, b"\0")))
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[position:position + 8])
        position += 12 + length
        if kind == b"IEND":
            return pixels, int(position <= len(data))
    return pixels, 0


def _other(data):
    """Return the pixels that an image in another format claims, None where it is in none that OpenCV may know, and 1."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return math.prod(Image.open(io.BytesIO(data), formats=OTHER_FORMATS).size), 1
    except Image.DecompressionBombError:
        return math.inf, 1
    except Exception:  # of a damaged header Pillow raises nearly everything
        return None, 1


STRUCTURES = {b"\xff\xd8": _jpeg, b"\x89PNG": _png, b"": _other}
