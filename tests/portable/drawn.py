"""Images that the portable tests draw: the same on every machine, of two classes."""

from pathlib import Path

import cv2
import numpy as np

CLASSES = "awe", "fear"


def picture(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return pixels (height, width, 3), uint8 RGB: a pattern that is bright for awe, the class of
    even numbers, and dark for fear.
    """
    y, x = np.mgrid[:height, :width]
    waves = np.sin((x * (number % 5 + 1) + y * (number % 3)) / 9)[:, :, None]
    colour = np.array([1.0, 0.7 + 0.05 * (number % 4), 0.4])
    middle = 170 if number % 2 == 0 else 70
    return np.round(middle + 60 * waves * colour).clip(0, 255).astype(np.uint8)


def write_data(folder: Path, counts: "dict[str, int]") -> Path:
    """Write an image folder, PNGs of `picture`, with so many images in each split; return it."""
    number = 0
    for split, count in counts.items():
        for _ in range(count):
            path = folder / split / CLASSES[number % 2] / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture(number)[:, :, ::-1])
            number += 1
    return folder
