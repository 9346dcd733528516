import os
import subprocess
import sys
import warnings

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose, assert_array_equal

from mlr.errors import InputError
from mlr.training.metrics import BINS, calibration_metrics, classification_metrics
from mlr.viz import style
from mlr.viz.figures import (
    BLUE,
    VERMILION,
    activation_figure,
    figure_bytes,
    grad_cam_figure,
    new_figure,
    plot_accuracy,
    plot_classes,
    plot_confusion,
    plot_gram,
    plot_image,
    plot_prediction,
    plot_runs,
    predictions_figure,
    reliability_figure,
    save_confusion,
    save_curves,
    save_figure,
    save_reliability,
)

CLASSES = ["awe", "fear", "joy"]
# joy has no image
RESULT = classification_metrics([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0], CLASSES)


def test_a_confusion_matrix_shows_counts_and_rates():
    _, axes = new_figure(3, 3)
    assert plot_confusion(RESULT["confusion"], CLASSES, axes) is axes
    assert [text.get_text() for text in axes.texts] == [
        "3\n0.75",
        "1\n0.25",
        "0",
        "1\n0.50",
        "1\n0.50",
        "0",
        "0",
        "0",
        "0",
    ]
    assert_allclose(axes.images[0].get_array(), [[0.75, 0.25, 0], [0.5, 0.5, 0], [0, 0, 0]])
    assert [label.get_text() for label in axes.get_yticklabels()] == CLASSES


def test_bars_of_precision_and_recall():
    _, axes = new_figure(3, 3)
    assert plot_classes(RESULT, CLASSES, axes) is axes
    recall, precision = axes.containers
    assert (recall.get_label(), precision.get_label()) == ("recall", "precision")
    assert_allclose([bar.get_width() for bar in recall], [3 / 4, 1 / 2, 0])
    assert_allclose([bar.get_width() for bar in precision], [3 / 4, 1 / 2, 0])


def test_a_reliability_diagram_has_a_bar_for_each_bin_with_images(tmp_path):
    """Confidence 0.6 twice, once right, in the ninth bin of 15; 0.9, right, in the fourteenth."""
    result = calibration_metrics([0, 1, 0], [[0.6, 0.4], [0.6, 0.4], [0.9, 0.1]])
    above, below = reliability_figure(result["reliability"]).axes
    (bars,), (counts,) = above.containers, below.containers
    assert_allclose([bar.get_x() for bar in bars], [8 / BINS, 13 / BINS])
    assert_allclose([bar.get_height() for bar in bars], [0.5, 1])
    assert_allclose([line.get_xydata() for line in above.lines], [[[0, 0], [1, 1]]])
    assert [bar.get_height() for bar in counts] == [0] * 8 + [2] + [0] * 4 + [1, 0]
    assert_allclose([bar.get_x() for bar in counts], np.arange(BINS) / BINS, atol=1e-15)
    assert_allclose([bar.get_width() for bar in (*bars, *counts)], 1 / BINS)
    save_reliability(result, "test, 3 images", tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_accuracy_is_of_the_split_that_was_evaluated():
    for split in ("valid", "test"):
        _, axes = new_figure(3, 3)
        lines = [
            {
                "epoch": 1,
                "train_accuracy": 0.5,
                split + "_accuracy": 0.4,
                split + "_balanced_accuracy": 0.3,
            }
        ]
        assert plot_accuracy(lines, axes) is axes
        assert [line.get_label() for line in axes.lines] == [
            "train (augmented)",
            split,
            split + ", balanced",
        ]
        assert_allclose([line.get_ydata()[0] for line in axes.lines], [0.5, 0.4, 0.3])


def test_gram_matrices_of_one_scale_compare():
    _, panels = new_figure(3, 3, 2)
    for matrix, axes in zip(np.array([[[4, 1], [1, 2]], [[1, 0], [0, 0.5]]]), panels):
        assert plot_gram(matrix, 4, "awe", axes) is axes
        # a square for each pair, nothing in between
        assert_array_equal(axes.images[0].get_array(), matrix)
        assert axes.images[0].get_clim() == (0, 4) and axes.get_title() == "awe"


def test_a_prediction_says_in_words_and_lines_whether_it_is_right():
    _, panels = new_figure(3, 3, 2)
    for axes, predicted, text, color, line in (
        (panels[0], "awe", "right: awe\nprobability 0.988", BLUE, "-"),
        (panels[1], "joy", "wrong: joy\nprobability 0.988\ntrue: awe", VERMILION, "--"),
    ):
        pixels = np.random.randint(0, 256, (4, 6, 3), dtype=np.uint8)
        assert plot_prediction(pixels, "awe", predicted, 0.9876, axes) is axes
        assert axes.get_title() == text
        assert_array_equal(axes.images[0].get_array(), pixels)
        assert {
            (to_hex(spine.get_edgecolor()).upper(), spine.get_linestyle())
            for spine in axes.spines.values()
        } == {(color, line)}


def test_the_sheet_begins_a_line_for_each_group():
    def group(count, predicted):
        return [
            (np.full((2, 2, 3), number, np.uint8), "awe", predicted, 0.5) for number in range(count)
        ]

    lines = np.reshape(predictions_figure(group(3, "awe"), group(2, "joy"), columns=2).axes, (3, 2))
    seen = [
        [
            panel.get_title().split(":")[0] + f" {panel.images[0].get_array()[0, 0, 0]:d}"
            if panel.images
            else ""
            for panel in line
        ]
        for line in lines
    ]
    assert seen == [["right 0", "right 1"], ["right 2", ""], ["wrong 0", "wrong 1"]]


def test_names_of_classes_are_no_mathematics():
    """A dollar sign begins a formula in Matplotlib, which here would not even parse."""
    figure, axes = new_figure(3, 3)
    plot_image(np.zeros((2, 2, 3), np.uint8), r"$\frac{$", axes)
    axes.set_xticks([0], [r"$\frac{$"])
    assert figure_bytes(figure)[:4] == b"\x89PNG"


THE_USERS = {
    "text.usetex": True,
    "font.family": ["cursive"],
    "lines.linewidth": 9,
    "axes.facecolor": "red",
    "savefig.bbox": "tight",
    "image.cmap": "jet",
}


def test_the_users_settings_decide_nothing_and_stay(tmp_path):
    """text.usetex alone would end it, where there is no LaTeX."""
    metrics = [
        {
            "epoch": 1,
            "loss": 1.0,
            "train_accuracy": 0.5,
            "valid_accuracy": 0.4,
            "valid_balanced_accuracy": 0.3,
        }
    ]
    picture, drawn = np.zeros((4, 4, 3), np.uint8), []
    for settings in {}, THE_USERS:
        with matplotlib.rc_context(settings):
            save_curves(metrics, tmp_path / "curves.png")
            save_confusion(RESULT, CLASSES, "valid", tmp_path / "confusion.png")
            save_figure(
                activation_figure(
                    [picture],
                    {
                        "stem": [
                            [
                                {
                                    "filter": 1,
                                    "map": np.eye(4),
                                    "activation": 1.0,
                                    "pattern": picture,
                                    "excited": 2.0,
                                }
                            ]
                        ]
                    },
                ),
                tmp_path / "filters.png",
            )
            save_figure(
                grad_cam_figure([picture], np.eye(4)[None], ["awe"]), tmp_path / "grad_cam.png"
            )
            assert all(matplotlib.rcParams[name] == value for name, value in settings.items())
        drawn.append([path.read_bytes() for path in sorted(tmp_path.glob("*.png"))])
    assert drawn[0] == drawn[1]


NO_HOME = (
    "import pwd; from unittest import mock; mock.patch('pwd.getpwuid', "
    "side_effect=KeyError).start()\n"
    "import mlr.viz.figures as f; figure, axes = f.new_figure(1, 1); f.plot_image([[[0, 0, "
    "0]]], 'a', axes); assert f.figure_bytes(figure)\n"
    "import os; print(os.getcwd())"
)


def test_a_damaged_settings_file_and_no_home_folder(tmp_path):
    """The file lies in the working folder, where Matplotlib looks first."""
    (tmp_path / "matplotlibrc").write_bytes(b"text.usetex: \xff")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("HOME", "MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    }
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME],
        cwd=str(tmp_path),
        env={**environment, "MPLBACKEND": "nonsense"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}\n"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["matplotlibrc"]


def test_a_name_of_control_characters():
    figure, panels = new_figure(6, 3, 3)
    plot_image(np.zeros((2, 2, 3), np.uint8), "\x1b[31m", panels[0])
    plot_confusion(RESULT["confusion"], ["\x07", "col\udce8re", "c"], panels[1])
    plot_classes(classification_metrics([0], [0], ["\x07"]), ["\x07"], panels[2])
    content = figure_bytes(figure, "svg").decode()
    assert "<!-- \\x1b[31m -->" in content and "<!-- col\\xe8re -->" in content
    assert not set(content) & {"\x07", "\x1b"}


@pytest.fixture
def fonts(monkeypatch):
    """Matplotlib's own fonts alone, and nothing said yet; returns the fonts that are installed, a
    list of paths to add to.
    """
    installed, own = [], matplotlib.get_data_path()
    monkeypatch.setattr(
        font_manager.fontManager,
        "ttflist",
        [font for font in font_manager.fontManager.ttflist if font.fname.startswith(own)],
    )
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: installed)
    monkeypatch.setattr(style, "_told", set())
    return installed


def titled(title):
    figure, axes = new_figure(1, 1)
    plot_image(np.zeros((2, 2, 3), np.uint8), title, axes)
    return figure_bytes(figure)


def test_what_no_font_has_is_said_once(fonts, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for title in "悲しみ joy", "悲しみ", "joy":
            titled(title)
    assert capsys.readouterr().err == (
        "warning: no installed font has しみ悲, so figures show boxes in their place: install a "
        "font, such as Debian's fonts-noto-cjk\n"
    )
    style.fonts_for("\U0001f9e8")
    assert "fonts-symbola" in capsys.readouterr().err
    assert style.fonts_for("é") == ["DejaVu Sans"] and capsys.readouterr().err == ""


def test_a_font_that_was_installed_meanwhile_is_found(fonts, tmp_path, capsys):
    """Of one glyph, a large square, whose box is another than that of a missing one."""
    boxes = titled("悲")
    pen = TTGlyphPen(None)
    for point in enumerate([(0, 0), (0, 900), (900, 900), (900, 0)]):
        (pen.lineTo if point[0] else pen.moveTo)(point[1])
    pen.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "sad"])
    font.setupCharacterMap({ord("悲"): "sad"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "sad": pen.glyph()})
    font.setupHorizontalMetrics({name: (1000, 0) for name in (".notdef", "sad")})
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Sans of a Test", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(str(tmp_path / "test.ttf"))
    # the second is no font, as that of coloured emoji
    fonts[:] = [str(tmp_path / "test.ttf"), __file__]
    capsys.readouterr()
    assert style.fonts_for("悲 joy") == ["DejaVu Sans", "Sans of a Test"]
    assert titled("悲") != boxes and capsys.readouterr().err == ""


@pytest.mark.parametrize("width, height, side", [(1, 600, "high"), (600, 1, "wide")])
def test_a_figure_that_is_too_large_is_refused_in_words(width, height, side):
    figure, _ = new_figure(width, height)
    with pytest.raises(
        InputError, match=f"72000 pixels {side}, .* at most 65535: give fewer images"
    ):
        figure_bytes(figure)
    assert figure_bytes(figure, "svg")


def test_runs_that_differ_at_the_end_of_their_names():
    names = [f"squeezenet1.1-cross-entropy-all-images-seed{seed}" for seed in range(3)]
    _, axes = new_figure(5, 4)
    plot_runs({name: [(1, 0.5)] for name in names}, "loss", axes)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [f"squeezenet...ages-seed{seed}" for seed in range(3)]
