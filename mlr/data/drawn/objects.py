"""Drawn objects: a data set for pretraining before the demo, as the paper pretrains on ImageNet.

The class of an object depends only on its shape and surface. Colours, place, size and orientation
have the same distribution in all classes. The classes have nothing to do with emotions.
"""

import math
from pathlib import Path

import cv2
import numpy as np

from mlr.data.drawn.paintings import SEED, SIZE, draw, rgb, scalar, wash

SHAPES = ("disc", "box", "triangle", "star")
SURFACES = ("plain", "striped", "dotted")
CLASSES = tuple(f"{surface}_{shape}" for shape in SHAPES for surface in SURFACES)
COUNTS = {"train": 200, "valid": 20}  # of each class


def draw_objects(folder: Path, seed: int = SEED) -> None:
    """Draw the objects into `folder`: {train,valid}/<surface>_<shape>/<nnnn>.jpg. The same seed
    gives the same images on every machine.

    A folder that already has them is left as it is. Raises InputError if the folder has anything
    else.
    """
    draw(
        folder,
        {"seed": seed, "objects": list(CLASSES), **COUNTS, "size": SIZE},
        {(split, name): count for split, count in COUNTS.items() for name in CLASSES},
        paint_object,
    )


def paint_object(name: str, random: np.random.RandomState) -> np.ndarray:
    """Return the image of an object of a class, (SIZE, SIZE, 3) uint8 RGB."""
    surface, shape = name.split("_")
    canvas = wash(_any_color(random), _any_color(random), random)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(mask, [_outline(shape, random)], (255,))
    canvas[mask > 0] = _surface(surface, random)[mask > 0]
    return canvas


def _outline(shape: str, random: np.random.RandomState) -> np.ndarray:
    """Return the corners of a shape at a random place on the canvas, (M, 2) int32."""
    corners = {"disc": 40, "box": 4, "triangle": 3, "star": 10}[shape]
    radius = random.uniform(0.28, 0.46) * SIZE
    angles = 2 * math.pi * (np.arange(corners) / corners + random.uniform())
    radii = radius * (
        np.where(np.arange(corners) % 2, 0.42, 1) if shape == "star" else np.ones(corners)
    )
    centre = random.uniform(0.4 * SIZE, 0.6 * SIZE, 2)
    return np.round(
        centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ).astype(np.int32)


def _surface(surface: str, random: np.random.RandomState) -> np.ndarray:
    """Return a canvas that is covered with a surface, (SIZE, SIZE, 3) uint8."""
    ground, figure = _any_color(random), scalar(_any_color(random))
    canvas = np.tile(ground.astype(np.uint8), (SIZE, SIZE, 1))
    if surface == "plain":
        return canvas
    spacing, angle = int(random.randint(8, 15)), random.uniform(0, math.pi)
    along, across = (
        np.array([math.cos(angle), math.sin(angle)]),
        np.array([-math.sin(angle), math.cos(angle)]),
    )
    for offset in range(-SIZE, SIZE, spacing):
        middle = SIZE / 2 + offset * across
        if surface == "striped":
            start, end = (
                tuple(np.round(middle + side * SIZE * along).astype(int).tolist())
                for side in (-1, 1)
            )
            cv2.line(canvas, start, end, figure, spacing // 2)
        else:
            for place in range(-SIZE, SIZE, spacing):
                cv2.circle(
                    canvas,
                    tuple(np.round(middle + place * along).astype(int).tolist()),
                    spacing // 3,
                    figure,
                    -1,
                    cv2.LINE_AA,
                )
    return canvas


def _any_color(random: np.random.RandomState) -> np.ndarray:
    return rgb(random.uniform(0, 360), random.uniform(0.1, 0.9), random.uniform(0.15, 0.95))
