"""Reads image files, or raises an error that names the file. All commands use this reader.

Pillow decodes, because it prints nothing on the standard error. For JPEG and PNG its pixels equal
those of MXNet's imdecode, which the released code calls; `image_of` gives the exceptions to MXNet.
The content of a file decides its format, not the file name extension.

In every format the EXIF orientation and transparency are ignored, of 16 bits only the upper 8 are
kept, grey becomes three equal channels, and CMYK is converted as OpenCV does it. If there are
several pages or frames, the first is the image.
"""

import importlib
import io
import math
import os
import random
import re
import struct
import warnings
from functools import lru_cache
from typing import (
    TYPE_CHECKING,
    BinaryIO,
    Callable,
    Dict,
    List,
    NamedTuple,
    Optional,
    Set,
    Tuple,
    Union,
)

import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from mlr.data.formats import FIRST_BYTES, format_of
from mlr.errors import InputError
from mlr.runtime.installation import is_installed
from mlr.runtime.network_thread import on_networks_thread
from mlr.runtime.output import warn

if TYPE_CHECKING:
    import mxnet as mx

Name = Union[str, "os.PathLike[str]"]
Reader = Callable[[BinaryIO], Image.Image]

# The header of a small file can claim an image that fills the memory.
MOST_PIXELS = 2**27  # 400 MB as RGB
MOST_BYTES = 2**28
# Pixels times scans. A progressive JPEG of some MB can have so many scans that decoding takes
# hours; usual ones have about ten.
MOST_WORK = 16 * MOST_PIXELS
READ_AT_ONCE = 2**20  # bytes
# pixels: converting the whole image at once would take five times as long, and twice the memory
CONVERTED_AT_ONCE = 2**18

# Pillow's classes are called directly: Image.open would try every plugin that a program has
# registered, and would warn of large images.
READERS: Dict[str, Reader] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
}
# Formats that not every Pillow reads: the possible modules and classes, and the package to install.
PLUGINS = {
    "HEIC": ((("pillow_heif", "HeifImageFile"),), "pillow-heif"),
    "AVIF": (
        (
            ("PIL.AvifImagePlugin", "AvifImageFile"),
            ("pillow_avif.AvifImagePlugin", "AvifImageFile"),
        ),
        "pillow-avif-plugin",
    ),
}

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "CMYK")

# Any JPEG marker except those inside compressed data: FF 00 (a stuffed byte) and FF D0-D7
# (restarts).
JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
JPEG_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
JPEG_START, JPEG_END, JPEG_SCAN = 0xD8, 0xD9, 0xDA
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JPEG_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
END = bytes([0xFF, JPEG_END])

# Pillow's warnings about a TIFF's metadata don't name the file, and don't concern its pixels.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")
# The classes for TIFF and GIF warn of large images; this module has its own limit.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_bytes(path: Name) -> bytes:
    """Return the content of an image file. The file is read only once, so it may be a pipe.

    Raises InputError for a file that can't be read, is empty, has an unknown format, ends too
    early, or claims more pixels than MOST_PIXELS.
    """
    try:
        with open(path, "rb") as file:
            data = content_of(file, path)
    except ValueError as error:  # a NUL byte in the name
        raise InputError(f"can't read image {path!r}: {error}") from None
    except OSError as error:
        why = error.strerror
        if os.path.islink(path) and not os.path.exists(path):
            why = "it is a link to a missing file: restore the file, or remove the link"
        raise InputError(f"can't read image {path}: {why}") from None
    return checked_content(data, path)


def content_of(file: BinaryIO, name: Name) -> bytes:
    """Return the content of a binary file, up to its end.

    Raises InputError if it has more than MOST_BYTES, or if the file was opened as text.
    """
    parts: List[bytes] = []
    size = 0
    while True:
        part = file.read(READ_AT_ONCE)
        if not part:
            return b"".join(parts)
        if not isinstance(part, bytes):
            raise InputError(
                f'image {name} is a file that was opened as text: open it with mode "rb"'
            )
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise InputError(
                f"image {name} has more than {MOST_BYTES >> 20:d} MiB, so it is likely not an "
                "image: remove it"
            )


def checked_content(data: bytes, name: Name) -> bytes:
    """Check the structure of the content of an image file, and return the content.

    name: for messages. Raises InputError as `read_bytes`.
    """
    if not data:
        raise InputError(
            f"image {name} is empty, likely because copying it was interrupted: copy it again or "
            "remove it"
        )
    kind = format_of(data[:FIRST_BYTES])
    if not kind:
        raise _undecodable(name)
    pixels, work = _claimed(data, kind, name)
    if not pixels:
        raise _undecodable(name)
    if pixels > MOST_PIXELS:
        raise InputError(
            f"image {name} claims more than {MOST_PIXELS // 10**6:d} million pixels, likely "
            "because its header is damaged or it was made to do harm: remove it"
        )
    if pixels * work > MOST_WORK:
        raise InputError(
            f"image {name} has {work:d} scans over its {pixels:d} pixels, which would take very "
            "long to decode; it was likely made to do harm: remove it"
        )
    return data


def _claimed(data: bytes, kind: str, name: Name) -> Tuple[int, int]:
    """Return the number of pixels that an image claims, and the number of scans over them. Raises
    InputError if the image is truncated or its header is damaged.
    """
    if kind == "JPEG":
        found = _jpeg(data)
        pixels, work = found.pixels, found.scans
        if not found.ended and pixels <= MOST_PIXELS and pixels * work <= MOST_WORK:
            if not _all_pixels_are_there(data, found):
                raise _truncated(name)
            _say_that_the_end_is_missing(os.fspath(name))
        return pixels, work
    if kind == "PNG":
        pixels, bare = _png(data)
        if not bare:
            raise _truncated(name)
        return pixels, 1
    try:
        width, height = _opened(data, name).size
    except Image.DecompressionBombError:
        return MOST_PIXELS + 1, 1
    return width * height, 1


def read_image(path: Name) -> "mx.nd.NDArray":
    """Return the pixels of an image file as NDArray (H, W, 3), uint8 RGB, decoded as in the
    released code.

    Raises InputError, which names the file, if it can't be read, is not an image, or is damaged.
    """
    return image_of(read_bytes(path), path)


def image_of(data: bytes, name: Name) -> "mx.nd.NDArray":
    """Return the pixels of an image file as NDArray (H, W, 3), uint8 RGB.

    data: the checked content of the file. Since version 2.1 libjpeg-turbo smooths two kinds of
    JPEG: those whose chroma has half the height and the full width (4:4:0, from images that were
    turned by 90 degrees), and progressive ones without the last bits. If Pillow finds no error in
    such a file, MXNet's older libjpeg-turbo decodes it, as in the released code. Raises InputError
    if the image is damaged.
    """
    # Imported here because mlr prepare starts four times as fast without it.
    import mxnet as mx

    pixels = decode(data, name)
    if is_for_mxnet(data):
        image = mx.image.imdecode(data + END)
        image.wait_to_read()
        return image
    return mx.nd.array(pixels, mx.cpu(), np.uint8)


def pixels_of(data: bytes, name: Name) -> np.ndarray:
    """Return the result of `image_of` as a NumPy array.

    Any thread except that of networks may call this: an image that MXNet must decode is decoded on
    the thread of networks. Without MXNet such an image is decoded by Pillow, with a warning.
    """
    if not is_for_mxnet(data):
        return decode(data, name)
    if is_installed("mxnet"):
        return on_networks_thread(lambda: image_of(data, name).asnumpy())
    _say_that_chroma_is_smoothed(os.fspath(name))
    return decode(data, name)


def is_for_mxnet(data: bytes) -> bool:
    """Tell whether the content of an image file is a JPEG that only MXNet decodes to the released
    code's pixels, see `image_of`.
    """
    return format_of(data[:FIRST_BYTES]) == "JPEG" and _jpeg(data).smoothed


def checked_bytes(path: Name) -> bytes:
    """Return the content of an image file. Raises InputError, which names the file, if it can't be
    read or decoded.
    """
    data = read_bytes(path)
    _loaded(data, path)
    return data


def decode(data: bytes, name: Name) -> np.ndarray:
    """Return the pixels (H, W, 3), uint8 RGB, of an image file, decoded by Pillow.

    data: the checked content of the file. Raises InputError if it is damaged.
    """
    image = _loaded(data, name)
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    lines = max(1, CONVERTED_AT_ONCE // image.width)
    for top in range(0, image.height, lines):
        pixels[top : top + lines] = _rgb(
            image.crop((0, top, image.width, min(top + lines, image.height)))
        )
    return pixels


def _rgb(image: Image.Image) -> np.ndarray:
    """Return the levels of a Pillow image, (H, W, 3) or (H, W, 1), from 0 to 255."""
    if image.mode == "CMYK":
        # (H, W, 4), inverted as in JPEG files
        ink = 255 - np.asarray(image).astype(np.uint16)
        black = ink[:, :, 3:]
        return black - ((255 - ink[:, :, :3]) * black >> 8)  # OpenCV's formula
    if image.mode == "I" or image.mode in SIXTEEN_BITS:
        return (np.asarray(image) >> 8)[:, :, None]
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def rgb_of(image: Image.Image) -> np.ndarray:
    """Return the pixels (H, W, 3), uint8 RGB, of an image that was opened or made with Pillow. The
    EXIF orientation is ignored.

    Raises InputError if its mode does not have 8 or 16 bits per channel, or if it can't be loaded.
    """
    try:
        image.load()
    except Exception as error:  # Pillow raises nearly everything on damaged files
        raise InputError(
            f"the PIL image can't be loaded ({error}), likely because its file is damaged or "
            "already closed: open it again"
        ) from None
    if image.mode not in EIGHT_BITS + SIXTEEN_BITS or not image.width or not image.height:
        raise InputError(
            f"the PIL image is {image.width:d} x {image.height:d} pixels of the mode {image.mode}, "
            "whose range of levels is unknown: convert it to RGB"
        )
    return np.ascontiguousarray(
        np.broadcast_to(_rgb(_opaque(image.copy())), (image.height, image.width, 3)).astype(
            np.uint8
        )
    )


def _opaque(image: Image.Image) -> Image.Image:
    # Pillow would warn about the transparency of a palette or a colour, or make it a channel.
    image.info.pop("transparency", None)
    return image


def _opened(data: bytes, name: Name) -> Image.Image:
    """Return a Pillow image of which only the header was read. Raises InputError if that fails, and
    Image.DecompressionBombError for a very large image.
    """
    kind = format_of(data[:FIRST_BYTES]) or ""
    reader = READERS.get(kind) or _plugin(kind)
    if not reader:
        raise InputError(
            f"image {name} is {'an' if kind[0] == 'A' else 'a'} {kind}, which this installation "
            f"can't read: pip install {PLUGINS[kind][1]}, or convert it to JPEG"
        )
    if kind == "JPEG":
        data += END  # in case only this is missing; a second end marker does no harm
    elif kind == "PNG":
        data = _png(data)[1]
    try:
        return reader(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise
    except Exception as error:  # Pillow raises nearly everything on damaged headers
        raise _damaged(kind, name, error) from None


def _loaded(data: bytes, name: Name) -> Image.Image:
    """Return a decoded Pillow image, in a mode that `_rgb` converts. Raises InputError if that
    fails.
    """
    image, kind = _opened(data, name), format_of(data[:FIRST_BYTES])
    try:
        # Pillow applies the EXIF orientation by itself only to TIFF, so it is removed. The copy has
        # the width and height of the image as stored.
        turned = kind == "TIFF" and image.getexif().pop(ExifTags.Base.Orientation, None)
        image.load()
        image = image.copy() if turned else image
    except Exception as error:
        raise _damaged(kind, name, error) from None
    if image.mode not in EIGHT_BITS + SIXTEEN_BITS and not (
        image.mode == "I" and kind in ("PNG", "PPM")
    ):
        raise InputError(
            f"image {name} is a {kind} of the mode {image.mode}, whose range of levels is unknown: "
            "save it with 8 or 16 bits per channel"
        )
    return _opaque(image)


def _undecodable(name: Name) -> InputError:
    return InputError(
        f"{name} can't be decoded, likely because it is damaged or not an image: replace or remove "
        "it"
    )


def _truncated(name: Name) -> InputError:
    return InputError(
        f"image {name} is truncated, likely because its download was interrupted: get it again or "
        "remove it"
    )


def _damaged(kind: Optional[str], name: Name, error: Exception) -> InputError:
    if "truncated" in str(error):
        return _truncated(name)
    if kind in ("JPEG", "PNG"):
        return _undecodable(name)
    return InputError(
        f"image {name} can't be decoded, likely because the {kind} is truncated or damaged: get it "
        "again or remove it"
    )


@lru_cache(maxsize=None)
def _plugin(kind: str) -> Optional[Reader]:
    """Return the class that opens one of PLUGINS' formats, or None if it is not installed."""
    for module, reader in PLUGINS[kind][0]:
        try:
            plugin = importlib.import_module(module)
        except ImportError:
            continue
        # Pillow's own module exists even if Pillow was built without the library
        if getattr(plugin, "SUPPORTED", True):
            return getattr(plugin, reader, None)
    return None


class _Jpeg(NamedTuple):
    """What the markers of a JPEG say.

    pixels: the number of pixels that it claims. scans: the number of scans over them. ended:
    whether it has an end marker. missing: for each component those of the 64 coefficients whose
    last bit is in no scan. sampling: (horizontal, vertical) of each component. restarts: the number
    of restart markers in the last scan.
    """

    pixels: int
    scans: int
    ended: bool
    missing: Dict[int, Set[int]]
    sampling: Dict[int, Tuple[int, int]]
    restarts: int

    @property
    def smoothed(self) -> bool:
        widest, highest = (max(sides) for sides in zip((1, 1), *self.sampling.values()))
        return any(self.missing.values()) or (widest, highest) in [
            (across, 2 * down) for across, down in self.sampling.values()
        ]


def _jpeg(data: bytes) -> _Jpeg:
    position = pixels = scans = last_scan = 0
    missing: Dict[int, Set[int]] = {}
    sampling: Dict[int, Tuple[int, int]] = {}
    progressive = False
    while True:
        marker = JPEG_MARKER.search(data, position)
        kind = marker and data[marker.end() - 1]
        if (
            not marker
            or kind == JPEG_END
            or len(data) < marker.end() + 2
            and kind not in (JPEG_START, 0x01)
        ):
            return _Jpeg(
                pixels,
                max(1, scans),
                kind == JPEG_END,
                missing,
                sampling,
                len(JPEG_RESTART.findall(data, last_scan)),
            )
        position = marker.end()
        if kind in (JPEG_START, 0x01):
            continue
        segment = data[position : position + struct.unpack(">H", data[position : position + 2])[0]]
        position += max(2, len(segment))
        if kind in JPEG_FRAMES and len(segment) > 7:
            height, width, number = struct.unpack(">HHB", segment[3:8])
            components = list(zip(segment[8::3], segment[9::3]))[:number]
            pixels, progressive = max(pixels, height * width), kind in JPEG_PROGRESSIVE
            missing = {name: set(range(64)) for name, _ in components}
            sampling = {name: (factors >> 4, factors & 15) for name, factors in components}
        elif kind == JPEG_SCAN:
            scans, last_scan = scans + 1, position
            names, limits = segment[3:-3:2], segment[-3:]
            if not progressive or len(limits) == 3 and not limits[2] & 15:
                for name in names:
                    missing.get(name, set()).difference_update(
                        range(limits[0], limits[1] + 1) if progressive else range(64)
                    )


def _all_pixels_are_there(data: bytes, found: _Jpeg) -> bool:
    """Tell whether a JPEG lacks only its end marker. If so, its pixels don't depend on the bytes
    that are added at its end.

    found: its `_Jpeg`. Zeros at the end are ignored: an interrupted download can leave a file that
    is filled with zeros up to its full size.
    """
    if not found.missing or any(found.missing.values()):
        return False
    data = data.rstrip(b"\0\xff")
    chance = random.Random(0)
    noise = bytes(chance.randrange(255) for _ in range(256))
    restarts = b"".join(
        bytes([0xFF, 0xD0 + (found.restarts + number) % 8]) + noise for number in range(8)
    )
    try:
        bare, followed = (
            _loaded(data + behind + END, "").tobytes() for behind in (b"", noise + restarts)
        )
    except InputError:
        return False
    return bare == followed


@lru_cache(maxsize=4096)
def _say_that_the_end_is_missing(name: str) -> None:
    warn(
        f"image {name} has no end marker, but has all its pixels, so it is used: to repair it, "
        "save it again"
    )


@lru_cache(maxsize=4096)
def _say_that_chroma_is_smoothed(name: str) -> None:
    warn(
        f"image {name} is a JPEG that MXNet decodes with less smoothing of its colours: MXNet is "
        "not installed, so some of its pixels differ from those in training; install MXNet for the "
        "same pixels"
    )


def _png(data: bytes) -> Tuple[int, bytes]:
    """Return the number of pixels that a PNG claims, and the PNG with only the chunks of its image;
    empty if it is truncated.

    The chunks that are left out are metadata, of which libpng warns, other frames, and
    transparency.
    """
    pixels = math.prod(struct.unpack(">II", data[16:24].ljust(8, b"\0")))
    position, kept = 8, [data[:8]]
    while position + 12 <= len(data):
        start, (length, kind) = position, struct.unpack(">I4s", data[position : position + 8])
        position += 12 + length
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            kept.append(data[start:position])
        if kind == b"IEND":
            return pixels, b"".join(kept) if position <= len(data) else b""
    return pixels, b""
