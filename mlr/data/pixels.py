"""Decoded and resized images, from a cache: decoding takes most of the time of loading an image. If
the disk has no room for the cache, images are decoded when they are needed.
"""

import errno
import hashlib
import io
import os
import shutil
import tempfile
import time
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Dict, Iterable, Iterator, Optional, Set, Tuple, Union

import cv2
import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.gluon.data.vision import transforms

from mlr.data.images import decode, is_for_mxnet, read_bytes, read_image
from mlr.data.labelled import LabelledImages
from mlr.errors import InputError
from mlr.runtime.cache import cache_folder
from mlr.runtime.cpu import usable_cores
from mlr.runtime.files import sync
from mlr.runtime.output import warn
from mlr.runtime.progress import Bar

AT_ONCE = 64  # images decoded before they are written
ABANDONED = 3600  # seconds without a write after which a partial file counts as abandoned
FULL = (errno.ENOSPC, errno.EDQUOT)
SAID: Set[Path] = set()  # cache folders without room, of which a warning was printed


class NoRoom(InputError):
    """The disk has no room for a pixel cache."""


class CachedImages(gluon.data.Dataset):
    """The images of a split, resized to squares, which is the first step of the released
    transforms. An item is an image, an NDArray (size, size, 3) of uint8, RGB, and its label, int.

    size: in pixels. At the first use the images are decoded into one file with 3 size^2 bytes per
    image (192 KiB for the released 256 px). Its name is a hash of the contents and the order of the
    image files, so other images have another file. The file gets this name only when it is
    complete; an interruption costs nothing but time. After the images the file has their CRC-32,
    which is checked when an image is first used. Raises NoRoom if the disk has no room for the
    file, and InputError if it can't be written for another reason.

    Attributes: `path`; `labels` and `names`, one per image; `indices`, the images' places in the
    file.
    """

    def __init__(self, split: LabelledImages, size: int) -> None:
        self.labels, self.names, self.indices = split.labels, split.names, split.indices
        whole = split.whole
        self._shape = (len(whole), size, size, 3)
        contents = "\n".join([str(self._shape), *whole.digests])
        self.path = cache_folder() / f"pixels-{hashlib.sha256(contents.encode()).hexdigest()}.npy"
        self._header, self._checked = _npy_header(self._shape), np.zeros(len(whole), bool)
        checksums = self._read_checksums()
        self._checksums = self._written(whole) if checksums is None else checksums

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Tuple[mx.nd.NDArray, int]:
        return mx.nd.array(self.checked(self.pixels(), index), dtype=np.uint8), self.labels[index]

    def several(self, indices: Iterable[int]) -> Iterator[np.ndarray]:
        """Yield the images of these indices, (size, size, 3) uint8, without using MXNet."""
        pixels = self.pixels()
        for index in indices:
            yield self.checked(pixels, index)

    def pixels(self) -> np.ndarray:
        """Return all images in the file, (N, size, size, 3) uint8, as a memory-mapped array.

        The parts that are read stay in memory as long as the array exists. Raises InputError if the
        file is gone or too short.
        """
        try:
            return np.load(str(self.path), mmap_mode="r")
        except (FileNotFoundError, EOFError, ValueError):
            self.path.unlink(missing_ok=True)
            raise InputError(
                f"the pixel cache {self.path} was removed or cut short since it was opened: start "
                "the command again, a training with --resume; the cache will be made again"
            ) from None

    def checked(self, pixels: np.ndarray, index: int) -> np.ndarray:
        """Return one image of `pixels()`, (size, size, 3) uint8.

        If its CRC-32 does not match, removes the file, so that it will be made again, and raises
        InputError.
        """
        place = self.indices[index]
        if not self._checked[place]:
            if zlib.crc32(pixels[place]) != self._checksums[place]:
                self.path.unlink(missing_ok=True)
                raise InputError(
                    f"the pixel cache {self.path} has changed since it was written, in the pixels "
                    f"of {self.names[index]}, likely because the disk fails; it has been removed. "
                    "Start the command again, a training with --resume; the cache will be "
                    "made again"
                )
            self._checked[place] = True
        return pixels[place]

    def _read_checksums(self) -> Optional[np.ndarray]:
        """Return the CRC-32 of each image, (N,) uint32; None if the file does not exist, is
        incomplete, or is from an older version.
        """
        size = 4 * len(self._checked)
        try:
            with open(self.path, "rb") as file:
                header = file.read(len(self._header))
                file.seek(int(np.prod(self._shape)), os.SEEK_CUR)
                checksums, own, behind = file.read(size), file.read(4), file.read(1)
        except OSError:
            return None
        whole = header == self._header and own == _crc(checksums) and len(checksums) == size
        return np.frombuffer(checksums, "<u4") if whole and not behind else None

    def _written(self, split: LabelledImages) -> np.ndarray:
        """Write the file, and return the checksums."""
        try:
            return self._write(split)
        except OSError as error:
            found = f"can't write the pixel cache {self.path}: {error.strerror}"
            if error.errno in FULL:
                raise NoRoom(
                    f"{found}; make room, or set the variable MLR_CACHE to another folder"
                ) from None
            raise InputError(
                f"{found}. Set the variable MLR_CACHE to another folder, or use --pipeline released"
            ) from None

    def _write(self, split: LabelledImages) -> np.ndarray:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._remove_left_over()
        self._refuse_full_disk(split)
        # A random name: another process may write the same cache, on another machine or in another
        # container with the same process number.
        descriptor, partial = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name + ".")
        try:
            with open(descriptor, "wb") as file:
                file.write(self._header)
                checksums = self._write_images(split, file)
                file.write(checksums.tobytes() + _crc(checksums.tobytes()))
            sync(partial)
            os.replace(partial, self.path)
        except BaseException:
            os.unlink(partial)
            raise
        sync(self.path.parent)
        return checksums

    def _write_images(self, split: LabelledImages, file: BinaryIO) -> np.ndarray:
        """Write the images, and return their checksums."""
        resize, checksums = transforms.Resize(self._shape[1:3]), []

        def resized(path: Path) -> np.ndarray:
            return resize(read_image(path)).asnumpy()

        with ThreadPoolExecutor(usable_cores()) as workers, Bar(
            "caching pixels", len(split), "images"
        ) as bar:
            for start in range(0, len(split), AT_ONCE):
                for image in workers.map(resized, split.paths[start : start + AT_ONCE]):
                    file.write(image.data)
                    checksums.append(zlib.crc32(image.data))
                    bar.update()
        return np.array(checksums, "<u4")

    def _refuse_full_disk(self, split: LabelledImages) -> None:
        needed = int(np.prod(self._shape)) + 4 * len(split)
        free = shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise NoRoom(
                f"the pixel cache of {split.source} needs {needed / 1e9:.1f} GB, but "
                f"{self.path.parent} has only {free / 1e9:.1f} GB free: make room, or set the "
                "variable MLR_CACHE to another folder"
            )

    def _remove_left_over(self) -> None:
        """Remove the partial files of killed processes, which can be gigabytes."""
        for path in self.path.parent.glob("pixels-*.npy.*"):
            try:
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()
            except FileNotFoundError:  # another process was faster
                pass


class DecodedImages(gluon.data.Dataset):
    """The same images without a cache file: several threads decode them when they are needed. The
    pixels equal those of `CachedImages` to the bit.

    Attributes: `labels` and `names`, one per image.
    """

    def __init__(self, split: LabelledImages, size: int) -> None:
        self.labels, self.names = split.labels, split.names
        self._paths, self._size = split.paths, (size, size)
        self._resize = transforms.Resize(self._size)
        self._workers = ThreadPoolExecutor(usable_cores())
        self._expected: Dict[int, Future[Optional[np.ndarray]]] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Tuple[mx.nd.NDArray, int]:
        expected = self._expected.pop(index, None)
        pixels = expected.result() if expected else self._resized(index)
        if pixels is None:
            return self._resize(read_image(self._paths[index])), self.labels[index]
        return mx.nd.array(pixels, dtype=np.uint8), self.labels[index]

    def expect(self, indices: Iterable[int]) -> None:
        """Start decoding the images that will be needed next."""
        self._expected = {index: self._workers.submit(self._resized, index) for index in indices}

    def several(self, indices: Iterable[int]) -> Iterator[Optional[np.ndarray]]:
        """Yield the images of these indices, (size, size, 3) uint8, without using MXNet, and None
        for those that only MXNet decodes to the released code's pixels.

        Raises InputError, which names the file, for the first image that is missing or damaged.
        """
        return self._workers.map(self._resized, indices)

    def _resized(self, index: int) -> Optional[np.ndarray]:
        data = read_bytes(self._paths[index])
        if is_for_mxnet(data):
            return None
        # MXNet's resize calls this function, too
        return cv2.resize(
            decode(data, self._paths[index]), self._size, interpolation=cv2.INTER_LINEAR
        )


def resized_images(split: LabelledImages, size: int) -> Union[CachedImages, DecodedImages]:
    """Return the images of a split, resized to squares of `size` pixels. They are cached; if the
    disk has no room for the cache, they are decoded when needed, and a warning says so once.

    Raises InputError if the cache can't be written for another reason.
    """
    try:
        return CachedImages(split, size)
    except NoRoom as error:
        if cache_folder() not in SAID:
            SAID.add(cache_folder())
            warn(
                f"{error}; until then {usable_cores()} threads decode all images again in every "
                "epoch, with the same results"
            )
        return DecodedImages(split, size)


def _npy_header(shape: Tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file,
        {
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
            "fortran_order": False,
            "shape": shape,
        },
    )
    return file.getvalue()


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")
