"""A cache of decoded, resized images, as decoding takes most of the time that an image costs."""

import hashlib
import io
import os
import shutil
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Optional, Tuple

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.gluon.data.vision import transforms
from tqdm import tqdm

from mlr.data.images import read_image
from mlr.data.labelled import LabelledImages
from mlr.errors import InputError
from mlr.runtime.cpu import usable_cores
from mlr.runtime.files import sync

AT_ONCE = 64  # images decoded before they are written
ABANDONED = 3600  # seconds after which nobody writes a partial file any more


def cache_folder() -> Path:
    """Return the folder of the caches: $MLR_CACHE, else mlr in the user's cache folder."""
    try:
        return Path(
            os.environ.get("MLR_CACHE")
            or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlr"
        )
    except (RuntimeError, KeyError):  # of Python 3.8
        raise InputError(
            "there is no home folder for the pixel cache: name a folder in MLR_CACHE"
        ) from None


class CachedImages(gluon.data.Dataset):
    """The images of a split, resized to squares as the released transforms do it first. An item is
    an image (size, size, 3), uint8 RGB NDArray, and its label, int.

    size: in pixels. At the first use they are decoded into one file of 3 size^2 bytes an image
    (192 KiB for the released 256 px), which is named after the contents of the image files and
    their order: other images, another file. It gets its name when it is whole, so that nothing is
    lost by an interruption but time. Behind the images it has their CRC-32, each of which is
    checked when its image is used first. Raises InputError where there is no room for it, or it
    can't be written.

    Attributes: `path`; `labels` and `names`, one an image; `indices`, the images' places in the
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

    def pixels(self) -> np.ndarray:
        """Return all images in the file, (N, size, size, 3) uint8, mapped.

        What is read of them stays in memory while the array does.
        """
        return np.load(str(self.path), mmap_mode="r")

    def checked(self, pixels: np.ndarray, index: int) -> np.ndarray:
        """Return one image of `pixels()`, (size, size, 3) uint8.

        Raises InputError where it is not what was written, having removed the file, so that it is
        made anew.
        """
        place = self.indices[index]
        if not self._checked[place]:
            if zlib.crc32(pixels[place]) != self._checksums[place]:
                self.path.unlink(missing_ok=True)
                raise InputError(
                    f"the pixel cache {self.path} has changed since it was written, in the "
                    f"pixels of {self.names[index]}, likely by a "
                    "failing disk: it has been removed. Start again, a training with --resume, "
                    "and it is made anew"
                )
            self._checked[place] = True
        return pixels[place]

    def _read_checksums(self) -> Optional[np.ndarray]:
        """Return the CRC-32 of each image, (N,) uint32.

        None where the file is not there, or not whole, or of an older version.
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
            raise InputError(
                f"can't write the pixel cache {self.path}: {error.strerror}. Name another "
                "folder in MLR_CACHE, or use --pipeline released"
            ) from None

    def _write(self, split: LabelledImages) -> np.ndarray:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._remove_left_over()
        self._refuse_full_disk(split)
        # Another process may be at it, too, on another machine or in another container with the
        # same process number.
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

        with ThreadPoolExecutor(usable_cores()) as workers, tqdm(
            total=len(split), desc="caching pixels", unit=" images", leave=False, disable=None
        ) as progress:
            for start in range(0, len(split), AT_ONCE):
                for image in workers.map(resized, split.paths[start : start + AT_ONCE]):
                    file.write(image.data)
                    checksums.append(zlib.crc32(image.data))
                    progress.update()
        return np.array(checksums, "<u4")

    def _refuse_full_disk(self, split: LabelledImages) -> None:
        needed = int(np.prod(self._shape)) + 4 * len(split)
        free = shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise InputError(
                f"the pixel cache of {split.source} needs {needed / 1e9:.1f} GB, and "
                f"{self.path.parent} has {free / 1e9:.1f}: make room, name another folder in "
                "MLR_CACHE, or use --pipeline released"
            )

    def _remove_left_over(self) -> None:
        """Remove what killed processes left, which can be gigabytes."""
        for path in self.path.parent.glob("pixels-*.npy.*"):
            try:
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()
            except FileNotFoundError:  # another process was faster
                pass


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
