"""The notebooks are stored as they ran, run from nothing, and take other images by one variable."""

import ast
import re
import shutil
from pathlib import Path

import cv2
import nbformat
import pytest
from nbclient import NotebookClient
from sklearn.datasets import load_sample_image

import mlr

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PICTURES = FOLDER.parent / "imgs"
PIXELS = ("image/png", "image/jpeg")
PROGRESS = re.compile(
    r"([^\n]+: \d+ of \d+ [^\n]* left\n)+"
)  # a line a minute, where it takes long
# The line that a user changes, as stored.
SWITCHES = {
    "01_training": 'DATA = "demo"',
    "02_visualization": 'DATA = "../imgs/photos"',
    "03_results": 'DATA = "demo"',
    "04_your_photographs": 'FOLDER = "../imgs/labelled"',
}
WITHOUT_PAINTINGS = {"04_your_photographs"}


def test_each_is_known():
    assert [path.stem for path in NOTEBOOKS] == list(SWITCHES)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def cells(path):
    return [cell for cell in nbformat.read(str(path), 4).cells if cell.cell_type == "code"]


def python(cell):
    """The Python of a cell, its magics left out."""
    return ast.parse(
        "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
    )


def complaints(cells):
    """What went wrong in cells that ran: errors, and what but progress was written to stderr."""
    return [
        output
        for cell in cells
        for output in cell.outputs
        if output.output_type == "error"
        or (output.get("name") == "stderr" and not PROGRESS.fullmatch(output.text))
    ]


def test_it_is_stored_as_it_ran(path, cells):
    assert path.stat().st_size < 1.5e6
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not complaints(cells)
    assert any(
        kind in PIXELS
        for cell in cells
        for output in cell.outputs
        for kind in output.get("data", {})
    )


def test_it_defines_nothing_that_belongs_into_the_package(cells):
    for cell in cells:
        assert not [
            node
            for node in ast.walk(python(cell))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda))
        ], cell.source
        assert len(cell.source.splitlines()) <= 25


def test_one_variable_switches_to_the_users_data(path, cells):
    assigned = [
        node.id
        for cell in cells
        for node in ast.walk(python(cell))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    stored = SWITCHES[path.stem]
    assert assigned.count(stored.split()[0]) == 1 and stored in cells[0].source.splitlines()


def test_it_shows_nothing_of_the_machine_it_ran_on(path):
    notebook = nbformat.read(str(path), 4)
    texts = [cell.source for cell in notebook.cells]
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        texts += [
            output.get("text", ""),
            *(str(text) for kind, text in output.get("data", {}).items() if kind not in PIXELS),
        ]
    assert not [
        text
        for text in texts
        if re.search(r"(?<!\w)/(work|home|root|tmp|Users|var|opt|mnt)\b", text)
        or str(FOLDER.parent) in text
    ]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a notebook, some of its text replaced, in a folder with the photographs beside it and
    nothing else, for a user whose home is empty.
    """

    def run(path, replaced=()):
        notebook = nbformat.read(str(path), 4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        for old, new in replaced:
            assert sum(old in cell.source for cell in code) == 1, old
            for cell in code:
                cell.source = cell.source.replace(old, new)
        (tmp_path / "home").mkdir()
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        (tmp_path / "notebooks").mkdir()
        for pictures in ("photos", "labelled"):
            shutil.copytree(PICTURES / pictures, tmp_path / "imgs" / pictures)
        NotebookClient(
            notebook, timeout=900, resources={"metadata": {"path": str(tmp_path / "notebooks")}}
        ).execute()
        assert not complaints(code)

    return run


# (text of a cell, what a test runs in its place): the stored trainings and patterns take minutes.
FEW_STEPS = [
    (
        "strongest_with_patterns(net, images[few])",
        "strongest_with_patterns(net, images[few], ascent=filters.Ascent(steps=2))",
    ),
    (
        "filters.SMALLEST_PATTERN)",
        "filters.SMALLEST_PATTERN, ascent=filters.Ascent(steps=2))",
    ),
    (
        "strongest_with_patterns(demo_net, demo_images)",
        "strongest_with_patterns(demo_net, demo_images, ascent=filters.Ascent(steps=2))",
    ),
]
ONE_EPOCH = [("--epochs 6", "--epochs 1")]
SHORTENED = {
    "01_training": [("replace(METHOD.demo, epochs=6)", "replace(METHOD.demo, epochs=1)")],
    "02_visualization": FEW_STEPS,
    "03_results": [('"--seeds", "1"', '"--seeds", "1", "--methods", "alexnet", "l_cil"')],
    "04_your_photographs": ONE_EPOCH,
}


@pytest.mark.slow
def test_it_runs_from_nothing(path, tmp_path, run):
    """The demo's paintings are drawn, and what it trains is written, in the folder where it runs.
    `make notebooks-run` runs it as it is stored.
    """
    run(path, SHORTENED[path.stem])
    drawn = tmp_path / "notebooks" / "data" / "demo" / "demo.json"
    assert drawn.is_file() == (path.stem not in WITHOUT_PAINTINGS)


def write_crops(folder, picture, count, top=0):
    """Write so many crops of a photograph, 260 x 200."""
    # (427, 640, 3) BGR
    pixels = load_sample_image(picture)[:, :, ::-1]
    folder.mkdir(parents=True)
    for number in range(count):
        crop = pixels[top : top + 200, 60 * number : 60 * number + 260]
        assert cv2.imwrite(str(folder / f"{number:d}.jpg"), crop)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, more",
    [
        (
            "01_training",
            [
                (
                    "else METHOD.released",
                    (
                        'else replace(METHOD.released, backbone="resnet18_v2_slim", '
                        'pretrained="none", '
                        "epochs=1)"
                    ),
                )
            ],
        ),
        ("02_visualization", FEW_STEPS),
    ],
)
def test_it_runs_on_photographs(name, more, tmp_path, run):
    """A user's folder: two classes of real photographs, wider than high, unequal in number, and no
    split test.
    """
    for label, picture, train in (("buildings", "china.jpg", 5), ("plants", "flower.jpg", 3)):
        for split, count, top in (("train", train, 0), ("valid", 2, 200)):
            write_crops(tmp_path / "photographs" / split / label, picture, count, top)
    run(FOLDER / f"{name}.ipynb", [(SWITCHES[name], 'DATA = "../photographs"'), *more])
    # 02 ends with paintings, whatever its photographs are
    assert (tmp_path / "notebooks" / "data").exists() == (name == "02_visualization")


@pytest.mark.slow
def test_it_fine_tunes_to_classes_that_are_no_emotions(tmp_path, run):
    """Two classes, of the fewest photographs that five folds take."""
    for label, picture in (("buildings", "china.jpg"), ("plants", "flower.jpg")):
        write_crops(tmp_path / "photographs" / label, picture, 5)
    name = "04_your_photographs"
    own = [(SWITCHES[name], 'FOLDER = "../photographs"'), *ONE_EPOCH]
    run(FOLDER / f"{name}.ipynb", own)
    (model,) = (tmp_path / "notebooks" / "runs").glob("*/photographs.onnx")
    assert mlr.load(model).classes == ["buildings", "plants"]
