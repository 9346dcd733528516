"""Batches from a pixel cache that is on the disk and not in memory:
python benchmarks/cache.py FOLDER

FOLDER has photographs, which are repeated up to the number of images. Prints images per second, on
one core, of three passes in random order over all images, with the released augmentation: the first
after the system was told to forget the file, as if the cache were much larger than memory; the last
two from memory, if it has room.
"""

import argparse
import itertools
import os
import time
from pathlib import Path

import cv2

import mlr  # noqa: F401  before MXNet, whose threads it sets

# isort: split

from mxnet import nd

from mlr.data.augmentation import Augmentation
from mlr.data.labelled import LabelledImages
from mlr.data.loader import CachedBatches
from mlr.data.pixels import CachedImages
from mlr.data.resizing import training_resize
from mlr.inference.reading import find_images

BATCH, PASSES = 16, 3


def forget(path):
    """Tell the system to drop a file from memory."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=25000)
    parser.add_argument("--image-size", type=int, default=224)
    options = parser.parse_args()
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
    cv2.setNumThreads(1)
    paths = list(
        itertools.islice(itertools.cycle(find_images(str(options.folder))), options.images)
    )
    split = LabelledImages("photos", ["any"], paths, [0] * len(paths), list(map(str, paths)))
    start = time.perf_counter()
    images = CachedImages(split, training_resize(options.image_size))
    size = images.path.stat().st_size
    print(f"{len(paths)} images, {size / 1e9:.2f} GB; made in {time.perf_counter() - start:.0f} s")
    forget(images.path)
    made = CachedBatches(
        images, Augmentation(options.image_size), options.image_size, BATCH, shuffle=True
    )
    for number in range(PASSES):
        start = time.perf_counter()
        count = sum(len(part) for part, _ in made)
        nd.waitall()
        print(f"pass {number + 1}: {count / (time.perf_counter() - start):.0f} images/s")


if __name__ == "__main__":
    main()
