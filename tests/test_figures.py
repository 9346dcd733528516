import numpy as np
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose, assert_array_equal

from mlr.figures import (
    BLUE, VERMILION, figure_bytes, new_figure, plot_accuracy, plot_classes, plot_confusion, plot_gram, plot_picture, plot_prediction, predictions_figure)
from mlr.metrics import classification_metrics

CLASSES = ["awe", "fear", "joy"]
RESULT = classification_metrics([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0], CLASSES)          # joy has no image


def test_a_confusion_matrix_shows_counts_and_rates():
    _, axes = new_figure(3, 3)
    assert plot_confusion(RESULT["confusion"], CLASSES, axes) is axes
    assert [text.get_text() for text in axes.texts] == ["3\n0.75", "1\n0.25", "0", "1\n0.50", "1\n0.50", "0", "0", "0", "0"]
    assert_allclose(axes.images[0].get_array(), [[.75, .25, 0], [.5, .5, 0], [0, 0, 0]])
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES


def test_bars_of_precision_and_recall():
    _, axes = new_figure(3, 3)
    assert plot_classes(RESULT, CLASSES, axes) is axes
    recall, precision = axes.containers
    assert (recall.get_label(), precision.get_label()) == ("recall", "precision")
    assert_allclose([bar.get_width() for bar in recall], [3 / 4, 1 / 2, 0])
    assert_allclose([bar.get_width() for bar in precision], [3 / 4, 1 / 2, 0])


def test_accuracy_is_of_the_split_that_was_evaluated():
    for split in ("valid", "test"):
        _, axes = new_figure(3, 3)
        lines = [{"epoch": 1, "train_accuracy": .5, split + "_accuracy": .4, split + "_balanced_accuracy": .3}]
        assert plot_accuracy(lines, axes) is axes
        assert [line.get_label() for line in axes.lines] == ["train (augmented)", split, split + ", balanced"]
        assert_allclose([line.get_ydata()[0] for line in axes.lines], [.5, .4, .3])


def test_gram_matrices_of_one_scale_compare():
    _, panels = new_figure(3, 3, 2)
    for matrix, axes in zip(np.array([[[4, 1], [1, 2]], [[1, 0], [0, .5]]]), panels):
        assert plot_gram(matrix, 4, "awe", axes) is axes
        assert_array_equal(axes.images[0].get_array(), matrix)                    # a square for each pair, nothing in between
        assert axes.images[0].get_clim() == (0, 4) and axes.get_title() == "awe"


def test_a_prediction_says_in_words_and_lines_whether_it_is_right():
    _, panels = new_figure(3, 3, 2)
    for axes, predicted, text, color, style in ((panels[0], "awe", "right: awe\nprobability 0.988", BLUE, "-"),
                                                (panels[1], "joy", "wrong: joy\nprobability 0.988\ntrue: awe", VERMILION, "--")):
        pixels = np.random.randint(0, 256, (4, 6, 3), dtype=np.uint8)
        assert plot_prediction(pixels, "awe", predicted, .9876, axes) is axes
        assert axes.get_title() == text
        assert_array_equal(axes.images[0].get_array(), pixels)
        assert {(to_hex(spine.get_edgecolor()).upper(), spine.get_linestyle()) for spine in axes.spines.values()} == {(color, style)}


def test_the_sheet_begins_a_line_for_each_group():
    def group(count, predicted):
        return [(np.full((2, 2, 3), number, np.uint8), "awe", predicted, .5) for number in range(count)]
    lines = np.reshape(predictions_figure(group(3, "awe"), group(2, "joy"), columns=2).axes, (3, 2))
    seen = [[panel.get_title().split(":")[0] + " %d" % panel.images[0].get_array()[0, 0, 0] if panel.images else "" for panel in line] for line in lines]
    assert seen == [["right 0", "right 1"], ["right 2", ""], ["wrong 0", "wrong 1"]]


def test_names_of_classes_are_no_mathematics():
    """A dollar sign begins a formula in Matplotlib, which here would not even parse."""
    figure, axes = new_figure(3, 3)
    plot_picture(np.zeros((2, 2, 3), np.uint8), r"$\frac{$", axes)
    axes.set_xticks([0], [r"$\frac{$"])
    assert figure_bytes(figure)[:4] == b"\x89PNG"
