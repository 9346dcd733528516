"""Affective regions without their network: python benchmarks/regions.py FOLDER

Prints images per second, on one core, of 20 images of the folder, for crops of 64 and of 224 px.
"""

import os
import sys
import time

import numpy as np

from mlr.inference.reading import find_images, pixels_of, read
from mlr.inference.regions import AffectiveRegions

IMAGES, SIZES = 20, (64, 224)


def main():
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])
    paths = find_images(sys.argv[1])
    images = [
        pixels_of(read(path), str(path)) for path in paths[:: max(1, len(paths) // IMAGES)][:IMAGES]
    ]
    for size in SIZES:
        regions = AffectiveRegions(lambda crops: np.full((len(crops), 8), 1 / 8), size)
        regions.predict(images[0])
        start = time.perf_counter()
        for image in images:
            regions.predict(image)
        rate = len(images) / (time.perf_counter() - start)
        print(f"crops of {size} px: {rate:.1f} images/s")


if __name__ == "__main__":
    main()
