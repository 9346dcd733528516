import cv2
import mxnet as mx
import numpy as np
import pytest
from conftest import write_images

import mlr
from mlr import paper
from mlr.methods.exported import MODEL
from mlr.model.parameters import materialize
from mlr.runs.shipped import DEMO_RUN, SHIPPED_RUN
from mlr.visualize import main
from mlr.viz.diagram import boxes_and_arrows, structure_figure
from mlr.viz.figures import (
    activation_figure,
    grad_cam_figure,
    gram_figure,
    new_figure,
    plot_contributions,
    plot_image,
    plot_map,
)

BLOCKS = ("stage1", "stage2", "stage3", "stage4")


@pytest.fixture
def photos(tmp_path):
    """Two images of the shipped run's classes: wide and tall."""
    write_images(tmp_path, size=(60, 120), train=1, valid=0, test=0)
    return [tmp_path / "train" / "awe" / "00.jpg", tmp_path / "train" / "fear" / "00.jpg"]


def drawn(arguments, monkeypatch):
    """The figure that the command would write."""
    import mlr.viz.figures

    figures = []
    monkeypatch.setattr(mlr.viz.figures, "save_figure", lambda figure, path: figures.append(figure))
    assert (
        main(
            [
                *map(str, arguments),
                *([] if "--view" in arguments else ["--steps", "2"]),
                "--ctx",
                "cpu",
            ]
        )
        == 0
    )
    return figures[0]


def titles(figure):
    return [panel.get_title() for panel in figure.axes if panel.get_title()]


def test_the_activation_figure_has_its_panels(trained, photos, monkeypatch):
    figure = drawn(["--run", trained[0], "--image", *photos, "--out", "a.png"], monkeypatch)
    seen = titles(figure)
    assert seen.count("input image") == 2
    for number in range(1, 5):
        assert sum(title.startswith(f"block {number:d}, filter ") for title in seen) == 2
    assert sum(title.startswith("pattern of filter ") for title in seen) == 8
    maps = [panel for panel in figure.axes if panel.get_title().startswith("block")]
    # the aspect of the image
    assert all(panel.images[0].get_array().shape == (60, 120) for panel in maps)


def test_the_captions_tell_the_strongest_filters(trained, photos, monkeypatch):
    from mlr.methods import load_network, open_run
    from mlr.viz.images import read_images_and_inputs

    seen = titles(
        drawn(
            [
                "--run",
                trained[0],
                "--image",
                photos[0],
                "--out",
                "a.png",
                "--top",
                3,
                "--measure",
                "max",
            ],
            monkeypatch,
        )
    )
    net = load_network(open_run(trained[0]), [mx.cpu()])
    maps = [
        values.asnumpy()[0]
        for values in net.backbone(read_images_and_inputs(photos[:1], 64, mx.cpu())[1])[2:6]
    ]
    for number, values in enumerate(maps, start=1):
        highest = values.max(axis=(1, 2))
        order = np.argsort(highest)[::-1][:3]
        assert [
            f"block {number:d}, filter {filter_:d}\nactivation {highest[filter_]:.2f}"
            for filter_ in order
        ] == [title for title in seen if title.startswith(f"block {number:d}")]


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf"])
def test_formats(trained, photos, tmp_path, command, name):
    done = command(
        "visualize",
        "--run",
        trained[0],
        "--image",
        photos[0],
        "--out",
        tmp_path / name,
        "--view",
        "grad-cam",
        "--ctx",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).read_bytes()[:4] == {
        "a.png": b"\x89PNG",
        "a.svg": b"<?xm",
        "a.pdf": b"%PDF",
    }[name]


def test_the_same_seed_draws_the_same_picture(trained, photos, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert (
            main(
                [
                    "--run",
                    str(trained[0]),
                    "--image",
                    str(photos[0]),
                    "--out",
                    str(tmp_path / (name + ".png")),
                    "--steps",
                    "3",
                    "--seed",
                    str(seed),
                    "--ctx",
                    "cpu",
                ]
            )
            == 0
        )
    a, b, c = (cv2.imread(str(tmp_path / (name + ".png"))) for name in "abc")
    assert (a == b).all() and (a != c).any()


def test_grad_cam_and_gram_of_a_class(trained, photos, monkeypatch):
    seen = titles(
        drawn(
            [
                "--run",
                trained[0],
                "--image",
                *photos,
                "--out",
                "a.png",
                "--view",
                "grad-cam",
                "--class",
                "fear",
            ],
            monkeypatch,
        )
    )
    assert seen == ["input image", "Grad-CAM for fear"] * 2
    seen = titles(
        drawn(
            [
                "--run",
                trained[0],
                "--image",
                photos[0],
                "--out",
                "a.png",
                "--view",
                "gram",
                "--class",
                "awe",
            ],
            monkeypatch,
        )
    )
    assert [title.partition("\n")[0] for title in seen] == [
        "input image",
        "stem, for awe",
        "pool, for awe",
        "stage1, for awe",
    ]
    assert all(title.count("channels") == 3 for title in seen[1:])


def test_plots_return_the_axes_they_drew_on():
    _, (left, middle, right) = new_figure(3, 1, 3)
    picture = np.zeros((4, 6, 3), np.uint8)
    assert plot_image(picture, "a", left) is left
    assert plot_map(np.eye(2), picture.shape, "b", middle) is middle
    assert plot_contributions(np.eye(3), "c", right) is right
    assert middle.images[0].get_array().shape == (4, 6)


def test_figures_of_one_image():
    picture = np.zeros((4, 6, 3), np.uint8)
    found = {
        block: [
            [{"filter": 1, "map": np.eye(2), "activation": 1.0, "pattern": picture, "excited": 2.0}]
        ]
        for block in BLOCKS
    }
    assert len(titles(activation_figure([picture], found))) == 9
    assert len(titles(grad_cam_figure([picture], np.ones((1, 2, 2)), ["awe"]))) == 2
    assert (
        len(
            titles(
                gram_figure(
                    [picture], {"stem": np.ones((1, 3, 3))}, {"stem": [[(0, 1, 0.5)]]}, ["awe"]
                )
            )
        )
        == 2
    )


@pytest.mark.parametrize(
    "options, texts",
    [
        (
            {},
            {
                "pool": "pool\n32 x 16 x 16",
                "branch 0": "Gram matrix\n32 x 32\nDense 64",
                "branch 2": "max-pool\nGram matrix\n32 x 32\nDense 512",
                "style": "concat 832\nDropout 0.8\nDense 8",
                "fusion": "concat 168\nbatch norm\nDense 3",
            },
        ),
        (
            {"taps": ("stem", "stage3"), "widths": (5, 7), "dropout": 0},
            {
                "branch 1": "max-pool\nGram matrix\n96 x 96\nDense 7",
                "style": "concat 12\nDropout 0.0\nDense 8",
            },
        ),
    ],
)
def test_the_structure_is_read_off_the_network(options, texts):
    net = mlr.MultiLevelNet(3, backbone=paper.SLIM_BACKBONE, style_width=8, **options)
    materialize(net, [mx.cpu()], mx.init.Zero())
    boxes, arrows = boxes_and_arrows(net, 64)
    for name, text in texts.items():
        assert boxes[name][2] == text
    assert {end for start, end in arrows if start == "style"} == {"shallow"}
    assert {start for start, end in arrows if end == "fusion"} == {"deep", "shallow"}
    assert {start for start, end in arrows if end.startswith("branch")} == set(net.taps)
    shown = {text.get_text() for text in structure_figure(net, 64).axes[0].texts}
    assert shown == {text for _, _, text, _ in boxes.values()}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("--out", "a.gif"),
            "--out a.gif: give the name of a file that ends with .png or .svg or .pdf",
        ),
        (("--class", "joy", "--view", "gram"), "the run has no class joy: choose one of awe, fear"),
        (("--image", "nothing.jpg"), "can't read image nothing.jpg"),
        (("--run", "nowhere"), "nowhere is not a run folder"),
        (("--top", "0"), "argument --top"),
        (
            ("--class", "awe"),
            "--class has no effect on --view filters, only on grad-cam and gram: leave it out",
        ),
        (
            ("--view", "regions", "--class", "awe"),
            "--class has no effect on --view regions, only on grad-cam and gram",
        ),
        *[
            (
                ("--view", "grad-cam", option, value),
                f"{option} has no effect on --view grad-cam, only on filters",
            )
            for option, value in (
                ("--top", "1"),
                ("--measure", "mean"),
                ("--seed", "0"),
                ("--steps", "2"),
                ("--jitter", "0"),
                ("--blur", "0"),
                ("--total-variation", "0"),
            )
        ],
        (
            ("--seed", 2**32),
            "argument --seed: '4294967296' is not a whole number from 0 to 4294967295",
        ),
        (("--jitter", 10**19), "argument --jitter"),
        (("--blur", "1e300"), "argument --blur"),
        (
            ("--view", "regions"),
            "a run of the method l_cil: give --view filters or grad-cam or gram, or a run of ar",
        ),
    ],
)
def test_wrong_usage(trained, photos, capsys, tmp_path, arguments, message):
    usual = {"--run": trained[0], "--image": photos[0], "--out": tmp_path / "a.png"}
    usual.update(zip(arguments[::2], arguments[1::2]))
    try:
        code = main([str(part) for item in usual.items() for part in item])
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()


def test_the_image_itself_is_not_replaced(trained, photos, capsys, tmp_path):
    image = tmp_path / "photo.png"
    cv2.imwrite(str(image), cv2.imread(str(photos[0])))
    before = image.read_bytes()
    given = ("--run", trained[0], "--image", image, "--out", tmp_path / "." / "photo.png")
    assert main(list(map(str, given))) == 2
    assert f"--out {image} is one of the images: give another --out" in capsys.readouterr().err
    assert image.read_bytes() == before


def test_the_regions_of_ar(data, photos, command, tmp_path, monkeypatch):
    """The figure numbers the eight regions that are asked; other views need the blocks of L_cil's
    network.
    """
    run = tmp_path / "run"
    done = command(
        "train",
        "--method",
        "ar",
        "--data",
        data,
        "--out",
        run,
        "--backbone",
        "vgg16_slim",
        "--pretrained",
        "none",
        "--image-size",
        "64",
        "--epochs",
        "1",
        "--batch-size",
        "4",
        "--ctx",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    figure = drawn(
        ["--run", run, "--image", *photos, "--out", "a.png", "--view", "regions"], monkeypatch
    )
    assert [title.partition(":")[0] for title in titles(figure)] == [
        "image alone",
        "with its regions",
    ] * 2
    for panel in figure.axes[1::2]:
        assert sorted(int(text.get_text()) for text in panel.texts) == list(range(1, 9))
        assert len(panel.patches) == 8
    done = command("visualize", "--run", run, "--image", photos[0], "--out", tmp_path / "a.png")
    assert (
        done.returncode == 2
        and "a run of the method ar: give --view regions, or a run of l_cil" in done.stderr
    )


def test_the_shipped_run(command, tmp_path, photos):
    """What a fresh clone can do at once, without options; at most 12 and 10 MB, and 6 for what
    answers without MXNet.
    """
    for run, most in ((SHIPPED_RUN, 18), (DEMO_RUN, 10)):
        assert sum(path.stat().st_size for path in run.iterdir()) <= most * 10**6
    assert (SHIPPED_RUN / MODEL).stat().st_size <= 6 * 10**6
    alike = mlr.load(SHIPPED_RUN / MODEL)(DEMO_RUN.parents[1] / "imgs" / "example.jpg")
    assert alike.label == "awe" and 0.4 < alike.probabilities["awe"] < 0.5  # the run says 0.464
    done = command("predict", DEMO_RUN.parents[1] / "imgs" / "example.jpg")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 9
