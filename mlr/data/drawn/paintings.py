"""Draws the demo data: abstract paintings whose colours and lines express an emotion.

The model is the data set Abstract (Machajdik and Hanbury, "Affective image classification using
features inspired by psychology and art theory", ACM Multimedia 2010), whose images have only colour
and texture. The look of each emotion is loosely based on

- J. Itten, "The Art of Color", 1961: warm and cold hues, and what contrasts of saturation and
  brightness express;
- P. Valdez and A. Mehrabian, "Effects of color on emotions", J. Exp. Psychology: General
  123:394-409, 1994: pleasure rises with brightness and saturation, arousal with saturation and with
  darkness;
- Machajdik and Hanbury, section 3: horizontal lines are calm, vertical ones dignified, oblique ones
  dynamic; texture and level of detail.

A program draws and labels these paintings; they are not a psychological experiment. A score on them
says nothing about people.
"""

import json
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Tuple

import cv2
import numpy as np

from mlr.data.emotions import MIKELS
from mlr.data.walk import is_hidden
from mlr.errors import InputError
from mlr.formats.json import read_json
from mlr.paper import FI_COUNTS
from mlr.runtime.progress import progress_over

SIZE = 96  # pixels
JPEG_QUALITY = 90
TRAIN_IMAGES = 2400  # about this number, in the proportions of FI's classes
VALID_IMAGES = 20  # per emotion
TEST_IMAGES = 60  # per emotion
SEED = 7
DESCRIPTION = "demo.json"


Trait = Tuple[float, float]  # mean and standard deviation


@dataclass(frozen=True)
class Manner:
    """How an emotion is painted: the mean and standard deviation of each trait, which is drawn
    separately for each painting.
    """

    hue: Trait  # degrees on the colour circle: 0 red, 60 yellow, 120 green, 240 blue
    saturation: Trait  # 0 to 1
    brightness: Trait  # 0 to 1
    direction: Trait  # degrees of the lines: 0 horizontal, 90 vertical
    frequency: Trait  # lines across the painting; the deviation is that of its logarithm
    jaggedness: Trait  # 0 waves, 1 zigzag


MANNERS = {
    "amusement": Manner((48, 26), (0.70, 0.12), (0.80, 0.10), (80, 12), (6, 0.18), (0.05, 0.06)),
    "anger": Manner((4, 22), (0.72, 0.12), (0.48, 0.11), (75, 8), (4, 0.18), (0.95, 0.06)),
    "awe": Manner((212, 32), (0.55, 0.13), (0.66, 0.12), (90, 8), (3, 0.18), (0.05, 0.06)),
    "contentment": Manner((95, 36), (0.48, 0.13), (0.70, 0.11), (0, 8), (3.5, 0.18), (0.05, 0.06)),
    "disgust": Manner((76, 32), (0.52, 0.13), (0.46, 0.11), (90, 45), (12, 0.15), (0.35, 0.12)),
    "excitement": Manner((28, 34), (0.76, 0.12), (0.74, 0.11), (40, 8), (8, 0.18), (0.95, 0.06)),
    "fear": Manner((245, 36), (0.42, 0.13), (0.36, 0.11), (80, 10), (6, 0.18), (0.95, 0.06)),
    "sadness": Manner((222, 32), (0.34, 0.12), (0.46, 0.11), (0, 8), (6, 0.18), (0.05, 0.06)),
}


def draw_demo_data(folder: Path, seed: int = SEED, train: int = TRAIN_IMAGES) -> None:
    """Draw the demo data set into `folder`: {train,valid,test}/<emotion>/<nnnn>.jpg. The same seed
    gives the same images on every machine.

    train: the approximate number of training images. A folder that already has the data set is left
    as it is. Raises InputError if the folder has anything else.
    """
    fi_images = sum(FI_COUNTS.values())
    counts = {
        (split, emotion): round(train * FI_COUNTS[emotion] / fi_images) if count is None else count
        for split, count in (("train", None), ("valid", VALID_IMAGES), ("test", TEST_IMAGES))
        for emotion in MIKELS
    }
    draw(
        folder,
        {"seed": seed, "train": train, "valid": VALID_IMAGES, "test": TEST_IMAGES, "size": SIZE},
        counts,
        lambda emotion, random: paint(MANNERS[emotion], random),
    )


def draw(
    folder: Path,
    description: Mapping[str, Any],
    counts: Mapping[Tuple[str, str], int],
    painter: Callable[[str, np.random.RandomState], np.ndarray],
) -> None:
    """Draw a data set into a folder, unless the folder already has it. A data set that is only
    partly drawn, for example after an interruption, is completed.

    description: all that the drawing depends on, with a `seed`, for demo.json. counts: {(split,
    class): number of images}. painter: a function of a class and a RandomState that returns an
    image (H, W, 3) uint8 RGB. Several processes may draw the same data set at once, because all
    write the same files. Raises InputError if the folder has anything else, and does not change it.
    """
    marker, described = folder / DESCRIPTION, (json.dumps(description) + "\n").encode()
    found = marker.read_bytes() if marker.is_file() else b""
    if not described.startswith(found) or found == described:
        if read_json(marker, "remove the folder, and it will be drawn again") == description:
            return
        raise InputError(
            f"{folder} holds a demo data set that was drawn with other options: give another "
            "folder, or remove this one"
        )
    paintings = {
        folder / split / name / (f"{number:04d}.jpg"): (split, name, number)
        for (split, name), count in counts.items()
        for number in range(count)
    }

    def painting(path: Path) -> bytes:
        split, name, number = paintings[path]
        random = np.random.RandomState(
            zlib.crc32((f"{description['seed']:d}:{split}:{name}:{number:d}").encode())
        )
        pixels = painter(name, random)
        return cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[
            1
        ].tobytes()

    _refuse_others(folder, marker, paintings, painting)
    for path in progress_over(paintings, "drawing", len(paintings), "paintings"):
        content = painting(path)
        if not path.is_file() or path.read_bytes() != content:
            _write(path, content)
    _write(marker, described)


def _refuse_others(
    folder: Path, marker: Path, paintings: Iterable[Path], painting: Callable[[Path], bytes]
) -> None:
    """Raise InputError if a folder has a file that is not part of the data set. Incomplete files of
    the data set are accepted.
    """
    there = [path for path in paintings if os.path.lexists(path)]
    own = {marker, *there}
    others = [
        path
        for path in sorted(folder.rglob("*"))
        if not (path.is_dir() or is_hidden(path.name) or path in own)
    ]
    others += (path for path in there if not painting(path).startswith(path.read_bytes()))
    if others:
        raise InputError(
            f"{folder} exists and is not a demo data set, not even part of one: {others[0]} does "
            "not belong to it; give another folder, or move this one"
        )


def _write(path: Path, content: bytes) -> None:
    """Write a file that other processes may write or read at the same time. Unlike
    `mlr.runtime.files.write_file` it doesn't wait for the disk, which would be slow for 3,000
    files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{os.getpid():d}")
    staged.write_bytes(content)
    os.replace(str(staged), str(path))


def paint(manner: Manner, random: np.random.RandomState) -> np.ndarray:
    """Return one painting, (SIZE, SIZE, 3) uint8 RGB. random: a RandomState, which gives the same
    numbers in all versions of NumPy.
    """
    hue = random.normal(*manner.hue)
    saturation = np.clip(random.normal(*manner.saturation), 0.05, 1)
    brightness = np.clip(random.normal(*manner.brightness), 0.10, 0.95)

    def color(hue_spread: float = 14, brightness_spread: float = 0.16) -> np.ndarray:
        return rgb(
            hue + random.normal(0, hue_spread),
            saturation + random.normal(0, 0.10),
            brightness + random.normal(0, brightness_spread),
        )

    canvas = wash(color(), color(), random)
    for _ in range(random.randint(1, 3)):
        _distract(canvas, random)
    _strokes(canvas, manner, color, random)
    _distract(canvas, random)
    return canvas


def wash(first: np.ndarray, second: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Return a canvas with a gradient from one colour to another in a random direction."""
    angle = random.uniform(0, 2 * math.pi)
    y, x = np.mgrid[:SIZE, :SIZE] / (SIZE - 1) - 0.5
    along = np.clip(x * math.cos(angle) + y * math.sin(angle) + 0.5, 0, 1)[:, :, None]
    return np.round((1 - along) * first + along * second).astype(np.uint8)


def _strokes(
    canvas: np.ndarray,
    manner: Manner,
    color: Callable[[], np.ndarray],
    random: np.random.RandomState,
) -> None:
    """Cover the canvas with lines in the direction, frequency and jaggedness of a manner."""
    angle = math.radians(random.normal(*manner.direction) * random.choice((-1, 1)))
    spacing = SIZE / np.clip(
        manner.frequency[0] * math.exp(random.normal(0, manner.frequency[1])), 2, 20
    )
    jaggedness = np.clip(random.normal(*manner.jaggedness), 0, 1)
    period = (5 - 3.2 * jaggedness) * spacing
    amplitude = (0.3 + 0.6 * jaggedness) * spacing
    forward = np.array([math.cos(angle), -math.sin(angle)])
    sideways = np.array([math.sin(angle), math.cos(angle)])
    for offset in np.arange(-SIZE * 0.75, SIZE * 0.75, spacing):
        along = np.arange(-SIZE * 0.75, SIZE * 0.75, 2)
        phase = (along / period + random.uniform()) % 1
        wave = np.sin(2 * math.pi * phase)
        zigzag = 4 * np.abs(phase - 0.5) - 1
        shift = (
            offset
            + random.normal(0, 0.15 * spacing)
            + amplitude * ((1 - jaggedness) * wave + jaggedness * zigzag)
        )
        points = SIZE / 2 + along[:, None] * forward + shift[:, None] * sideways
        cv2.polylines(
            canvas,
            [np.round(points * 16).astype(np.int32)],
            False,
            scalar(color()),
            max(1, int(round(random.uniform(0.2, 0.5) * spacing))),
            cv2.LINE_AA,
            4,
        )


def _distract(canvas: np.ndarray, random: np.random.RandomState) -> None:
    """Draw a shape of random colour at a random place. It does not depend on the emotion."""
    color = scalar(rgb(random.uniform(0, 360), random.uniform(0.2, 0.9), random.uniform(0.2, 0.9)))
    x, y = (int(value) for value in random.randint(0, SIZE, 2))
    width, height = (int(value) for value in random.randint(SIZE // 12, SIZE // 5, 2))
    shape = random.randint(3)
    if shape == 0:
        cv2.ellipse(
            canvas, (x, y), (width, height), random.randint(180), 0, 360, color, -1, cv2.LINE_AA
        )
    elif shape == 1:
        cv2.rectangle(canvas, (x - width, y - height), (x + width, y + height), color, -1)
    else:
        corners = np.array(
            [[x - width, y + height], [x + width, y + height], [x, y - height]], np.int32
        )
        cv2.fillPoly(canvas, [corners], color, cv2.LINE_AA)


def rgb(hue: float, saturation: float, brightness: float) -> np.ndarray:
    """Return an RGB colour, (3,) integers from 0 to 255. hue: in degrees, any number. saturation,
    brightness: clipped to 0..1.
    """
    saturation, brightness = np.clip([saturation, brightness], 0, 1)
    sector = (np.array([5, 3, 1]) + hue / 60) % 6
    return np.round(
        255 * brightness * (1 - saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1))
    ).astype(int)


def scalar(color: np.ndarray) -> Tuple[int, ...]:
    """Return a colour, (3,), as a tuple for OpenCV's drawing functions."""
    return tuple(int(channel) for channel in color)
