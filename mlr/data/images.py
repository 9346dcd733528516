"""From an image file to pixels, or to an error that names the file: the one reader of all commands.

Pillow decodes: it says nothing on the standard error, and for JPEG and PNG its pixels are those of
MXNet's imdecode, which the released code calls, with the exceptions that `image_of` hands to MXNet.
What is in a file decides, not what its name ends with.

In every format orientation (EXIF) and transparency are ignored, 16 bits lose the lower 8, grey
becomes three equal channels, and CMYK is converted as OpenCV does it. Of several pages or frames
the first is the image.
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

# A file of some kB can claim to be an image that fills the memory.
MOST_PIXELS = 2**27  # 400 MB as RGB
MOST_BYTES = 2**28
# a progressive JPEG of some MB can go over its pixels for hours; usual ones do it ten times
MOST_WORK = 16 * MOST_PIXELS
READ_AT_ONCE = 2**20  # bytes
# pixels: a copy of the whole would take five times as long, and as much memory again
CONVERTED_AT_ONCE = 2**18

# The classes themselves: Image.open would ask every plugin that a program has registered, and warn
# of large images.
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
# Those that not every Pillow reads: where a class for it may be, and what to install.
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
EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "CMYK")

# Any JPEG marker but those inside of compressed data: FF 00 (a stuffed byte) and FF D0-D7
# (restarts).
JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
JPEG_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
JPEG_START, JPEG_END, JPEG_SCAN = 0xD8, 0xD9, 0xDA
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JPEG_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
END = bytes([0xFF, JPEG_END])

# What Pillow says of a TIFF's metadata names no file, and makes no difference to its pixels.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")
# TIFF's and GIF's classes warn themselves of large pictures, for which there is a limit here.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_bytes(path: Name) -> bytes:
    """Return the content of an image file, which is read once, so that it may be a pipe.

    Raises InputError for a file that can't be read, is empty, is in no format that is read here,
    ends too early or claims too much.
    """
    try:
        with open(path, "rb") as file:
            data = content_of(file, path)
    except OSError as error:
        why = error.strerror
        if os.path.islink(path) and not os.path.exists(path):
            why = "it is a link that leads nowhere: restore what it leads to, or remove it"
        raise InputError(f"can't read image {path}: {why}") from None
    return checked_content(data, path)


def content_of(file: BinaryIO, name: Name) -> bytes:
    """Return what is in a binary file, up to its end. Raises InputError where that is more than an
    image has, or text.
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
                f"image {name} has more than {MOST_BYTES >> 20:d} MiB, likely not an image: "
                "remove it"
            )


def checked_content(data: bytes, name: Name) -> bytes:
    """Return the content of an image file, having looked at how it is made up.

    name: for messages. Raises InputError as `read_bytes`.
    """
    if not data:
        raise InputError(
            f"image {name} is empty, likely an interrupted copy: copy it again or remove it"
        )
    kind = format_of(data[:FIRST_BYTES])
    if not kind:
        raise _undecodable(name)
    pixels, work = _claimed(data, kind, name)
    if not pixels:
        raise _undecodable(name)
    if pixels > MOST_PIXELS:
        raise InputError(
            f"image {name} claims more than {MOST_PIXELS // 10**6:d} million pixels, likely a "
            "damaged header or an attack: remove it"
        )
    if pixels * work > MOST_WORK:
        raise InputError(
            f"image {name} goes over its {pixels:d} pixels {work:d} times, likely an attack, as "
            "it takes for ever: remove it"
        )
    return data


def _claimed(data: bytes, kind: str, name: Name) -> Tuple[int, int]:
    """Return the pixels that an image claims, and how often its reader goes over them. Raises
    InputError where it is truncated, or its header damaged.
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

    Raises InputError, naming the file, where it can't be read, is no image at all, or is damaged.
    """
    return image_of(read_bytes(path), path)


def image_of(data: bytes, name: Name) -> "mx.nd.NDArray":
    """Return the pixels of the content of an image file, which was checked, as NDArray (H, W, 3),
    uint8 RGB.

    JPEGs whose chroma has half the height and the whole width (4:4:0, of cameras' turned images),
    or that leave out the last bits of a progression, are smoothed since libjpeg-turbo 2.1: where
    Pillow has found no error, MXNet's older one decodes them, as released.
    """
    # at the first image: mlr prepare looks at files, and starts four times as fast without
    import mxnet as mx

    pixels = decode(data, name)
    if is_for_mxnet(data):
        image = mx.image.imdecode(data + END)
        image.wait_to_read()
        return image
    return mx.nd.array(pixels, mx.cpu(), np.uint8)


def pixels_of(data: bytes, name: Name) -> np.ndarray:
    """Return what `image_of` returns as a NumPy array. Any thread but that of networks may call
    this: it has MXNet decode what only MXNet decodes as released.

    Without MXNet these have Pillow's pixels, and a warning says so.
    """
    if not is_for_mxnet(data):
        return decode(data, name)
    if is_installed("mxnet"):
        return on_networks_thread(lambda: image_of(data, name).asnumpy())
    _say_that_chroma_is_smoothed(os.fspath(name))
    return decode(data, name)


def is_for_mxnet(data: bytes) -> bool:
    """Tell whether the content of an image file is a JPEG that only MXNet decodes as released, see
    `image_of`.
    """
    return format_of(data[:FIRST_BYTES]) == "JPEG" and _jpeg(data).smoothed


def checked_bytes(path: Name) -> bytes:
    """Return the content of an image file that decodes without error. Raises InputError, naming the
    file, otherwise.
    """
    data = read_bytes(path)
    _loaded(data, path)
    return data


def decode(data: bytes, name: Name) -> np.ndarray:
    """Return the pixels (H, W, 3), uint8 RGB, of the content of an image file, which was checked.
    Raises InputError where it is damaged.
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
    """Return levels (H, W, 3) or (H, W, 1), uint8, of an image of Pillow's."""
    if image.mode == "CMYK":
        # (H, W, 4), as JPEG files have it
        ink = 255 - np.asarray(image).astype(np.uint16)
        black = ink[:, :, 3:]
        return black - ((255 - ink[:, :, :3]) * black >> 8)  # OpenCV's formula
    if image.mode == "I" or image.mode in SIXTEEN_BITS:
        return (np.asarray(image) >> 8)[:, :, None]
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def rgb_of(image: Image.Image) -> np.ndarray:
    """Return the pixels (H, W, 3), uint8 RGB, of an image that was opened or made with Pillow, its
    EXIF orientation ignored.

    Raises InputError for one without levels from 0 to 255, or that can't be loaded.
    """
    try:
        image.load()
    except Exception as error:  # of damage Pillow raises nearly everything
        raise InputError(
            f"the PIL image can't be loaded ({error}): is its file damaged, or closed already?"
        ) from None
    if image.mode not in EIGHT_BITS + SIXTEEN_BITS or not image.width or not image.height:
        raise InputError(
            f"the PIL image is {image.width:d} x {image.height:d} of the mode {image.mode}, and "
            "its levels are unknown: convert it to RGB"
        )
    return np.ascontiguousarray(
        np.broadcast_to(_rgb(_opaque(image.copy())), (image.height, image.width, 3)).astype(
            np.uint8
        )
    )


def _opaque(image: Image.Image) -> Image.Image:
    # of a palette or one colour: Pillow would warn of it, or make a channel of it
    image.info.pop("transparency", None)
    return image


def _opened(data: bytes, name: Name) -> Image.Image:
    """Return an image of Pillow's whose header was read. Raises InputError, and
    Image.DecompressionBombError.
    """
    kind = format_of(data[:FIRST_BYTES]) or ""
    reader = READERS.get(kind) or _plugin(kind)
    if not reader:
        raise InputError(
            f"image {name} is {'an' if kind[0] == 'A' else 'a'} {kind}, which this installation "
            f"can't read: pip install {PLUGINS[kind][1]}, or convert it to JPEG"
        )
    if kind == "JPEG":
        data += END  # where only that is missing; what comes after the end does no harm
    elif kind == "PNG":
        data = _png(data)[1]
    try:
        return reader(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise
    except Exception as error:  # of a damaged header Pillow raises nearly everything
        raise _damaged(kind, name, error) from None


def _loaded(data: bytes, name: Name) -> Image.Image:
    """Return an image of Pillow's with its pixels, in a mode that `_rgb` converts. Raises
    InputError.
    """
    image, kind = _opened(data, name), format_of(data[:FIRST_BYTES])
    try:
        # Of these formats TIFF is the one that Pillow turns by itself; the copy has the sides of
        # what was not turned.
        turned = kind == "TIFF" and image.getexif().pop(ExifTags.Base.Orientation, None)
        image.load()
        image = image.copy() if turned else image
    except Exception as error:
        raise _damaged(kind, name, error) from None
    if image.mode not in EIGHT_BITS + SIXTEEN_BITS and not (
        image.mode == "I" and kind in ("PNG", "PPM")
    ):
        raise InputError(
            f"image {name} is a {kind} of the mode {image.mode}, whose levels are unknown: save "
            "it with 8 or 16 bits a channel"
        )
    return _opaque(image)


def _undecodable(name: Name) -> InputError:
    return InputError(
        f"{name} can't be decoded, likely not an image or a damaged one: replace or remove it"
    )


def _truncated(name: Name) -> InputError:
    return InputError(
        f"image {name} is truncated, likely an interrupted download: get it again or remove it"
    )


def _damaged(kind: Optional[str], name: Name, error: Exception) -> InputError:
    if "truncated" in str(error):
        return _truncated(name)
    if kind in ("JPEG", "PNG"):
        return _undecodable(name)
    return InputError(
        f"image {name} can't be decoded, likely a truncated or damaged {kind}: get it again or "
        "remove it"
    )


@lru_cache(maxsize=None)
def _plugin(kind: str) -> Optional[Reader]:
    """Return the class that opens a format which not every Pillow reads, or None."""
    for module, reader in PLUGINS[kind][0]:
        try:
            plugin = importlib.import_module(module)
        except ImportError:
            continue
        # Pillow's own module is there without its library, too
        if getattr(plugin, "SUPPORTED", True):
            return getattr(plugin, reader, None)
    return None


class _Jpeg(NamedTuple):
    """What the markers of a JPEG say. pixels: that it claims. scans: how often it goes over them.
    ended: whether it has an end marker.

    missing: for each component the coefficients, of 64, that no scan has had to the last bit.
    sampling: of each, (horizontal, vertical).
    restarts: markers in the last scan.
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
    """Tell whether a JPEG lacks nothing but its end marker: then its pixels are the same whatever
    comes behind what there is.

    found: its `_Jpeg`. An interrupted download can leave zeros to the full size.
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
        f"image {name} has no end marker, but all its pixels, and is read: to mend it, save it anew"
    )


@lru_cache(maxsize=4096)
def _say_that_chroma_is_smoothed(name: str) -> None:
    warn(
        f"image {name} is a JPEG whose colours MXNet's older decoder smooths less: without MXNet "
        "some of its levels differ from those of training"
    )


def _png(data: bytes) -> Tuple[int, bytes]:
    """Return the pixels that a PNG claims, and the PNG without what is no part of its image; empty
    where it is truncated.

    What is left out are metadata, which libpng warns of, other frames, and transparency.
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
