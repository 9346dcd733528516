"""Maps above their image."""

import cv2
import numpy as np
from matplotlib import colormaps
from numpy.testing import assert_allclose

from mlr.viz.overlays import OPACITY, overlay


def test_a_map_is_above_its_image_in_the_colours_of_the_figures():
    image = np.full((40, 60, 3), (250, 100, 10), np.uint8)
    values = np.tile(np.linspace(1, 5, 60), (40, 1))
    drawn = overlay(image, values)
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    coloured = 255 * colormaps["viridis"]((values - 1) / 4)[:, :, :3]
    # OpenCV's table and Matplotlib's differ by some levels
    assert_allclose(drawn, OPACITY * coloured + (1 - OPACITY) * image, atol=4)


def test_a_map_without_differences_is_drawn():
    drawn = overlay(np.zeros((8, 8, 3), np.uint8), np.zeros((2, 2)))
    lowest = cv2.applyColorMap(np.zeros((1, 1), np.uint8), cv2.COLORMAP_VIRIDIS)[0, 0, ::-1]
    assert_allclose(drawn[4, 4], OPACITY * lowest, atol=1)  # rounded
