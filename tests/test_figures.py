from numpy.testing import assert_allclose

from mlr.figures import new_figure, plot_accuracy, plot_classes, plot_confusion
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
