"""Finds the image format of a file by its first bytes. The file's name does not matter."""

from pathlib import Path
from typing import Optional, Union

FIRST_BYTES = 32

# Offset, bytes, format. Sources: the formats' specifications, and file(1)'s magic numbers.
SIGNATURES = (
    (0, b"\xff\xd8", "JPEG"),
    (0, b"\x89PNG", "PNG"),
    (8, b"WEBP", "WebP"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),  # BigTIFF, for more than 4 GiB; some programs always write it
    (0, b"MM\0+", "TIFF"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    *(
        (8, brand, "HEIC")
        for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
    ),
    *((8, brand, "AVIF") for brand in (b"avif", b"avis")),
    *((0, b"P%d" % number, "PPM") for number in range(1, 7)),
)


def format_of(start: bytes) -> Optional[str]:
    """Return the name of the image format of a file, or None. start: the first 32 bytes of the
    file, or all of a shorter file.
    """
    for offset, signature, name in SIGNATURES:
        if start[offset : offset + len(signature)] != signature:
            continue
        if (
            name in ("HEIC", "AVIF")
            and start[4:8] != b"ftyp"
            or name == "WebP"
            and start[:4] != b"RIFF"
        ):
            continue
        if name == "HEIC" and (b"avif" in start[16:32] or b"avis" in start[16:32]):
            return "AVIF"  # the first brand, mif1 or msf1, only names the container
        if (
            name == "PPM"
            and not start[2:3].isspace()
            or name == "BMP"
            and start[6:10] != b"\0\0\0\0"
        ):
            continue
        return name
    return None


def format_of_file(path: Union[str, Path]) -> Optional[str]:
    """Return the name of the image format of a regular file, or None. Raises OSError if it can't be
    read.
    """
    with open(path, "rb") as file:
        return format_of(file.read(FIRST_BYTES))
