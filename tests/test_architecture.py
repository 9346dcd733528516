"""The layers of the package: imports go down only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mlr"
COMMANDS = (
    "prepare",
    "train",
    "launch",
    "evaluate",
    "predict",
    "visualize",
    "reproduce",
    "benchmark",
    "compare",
    "export",
    "doctor",
)
# From the commands down; a module may import from its own layer, but a command from no other
# command.
LAYERS = (
    COMMANDS + ("__main__",),
    ("report", "training", "results"),
    ("prediction",),
    (
        "engine",
        "inference",
        "checkpoint",
        "portable",
        "onnx_graph",
        "quantization",
        "figures",
        "folds",
        "attribution",
        "filters",
        "structure",
        "pictures",
    ),
    ("run_config",),
    ("data", "model", "rows"),
    ("augmentation",),
    (
        "transforms",
        "loss",
        "metrics",
        "original",
        "weights",
        "committed",
        "presets",
        "experiments",
        "command",
    ),
    (
        "params_file",
        "paper",
        "context",
        "emotions",
        "installation",
        "files",
        "workers",
        "errors",
        "interruption",
        "json_file",
        "processor",
        "builds",
        "events",
        "output",
        "drawing",
        "__init__",
    ),
)


def layer(name):
    return next(number for number, names in enumerate(LAYERS) if name in names)


def imports(path):
    """Yield the first name below mlr of everything of the package that a file imports, wherever in
    the file.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "mlr":
            names = (
                [node.module]
                if node.module != "mlr"
                else [
                    "mlr."
                    + (alias.name if (PACKAGE / (alias.name + ".py")).exists() else "__init__")
                    for alias in node.names
                ]
            )
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("mlr.")]
        else:
            continue
        yield from (name.split(".")[1] for name in names)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = path.relative_to(PACKAGE).parts[0].replace(".py", "")
    for imported in imports(path):
        assert layer(imported) >= layer(own), f"{own} imports {imported}, which is above it"
        assert imported == own or imported not in COMMANDS, f"{own} imports the command {imported}"


def test_the_network_knows_nothing_of_data_loss_or_engine():
    for path in (PACKAGE / "model").glob("*.py"):
        assert set(imports(path)) <= {"model", "paper", "errors"}, path


def test_no_pickle_and_no_utils():
    for path in FILES:
        assert path.name != "utils.py"
        assert "pickle" not in {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_mxnet(name):
    """--help shows every default, and answers at once because nothing heavy is loaded for it."""
    code = (
        f"import sys, mlr.{name} as command\ntry: command.main(['--help'])\nfinally: print([name "
        "for name in ('mxnet', 'numpy', 'cv2', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.endswith("[]\n")


def test_help_of_train_shows_the_defaults():
    done = subprocess.run(
        [sys.executable, "-m", "mlr.train", "--help"], stdout=subprocess.PIPE, text=True, check=True
    )
    text = " ".join(done.stdout.split())
    from mlr.options.presets import DEMO, RELEASED

    demo, released = DEMO["l_cil"], RELEASED["l_cil"]

    for name in (
        "backbone",
        "pretrained",
        "image_size",
        "batch_size",
        "epochs",
        "learning_rate",
        "schedule",
        "loss",
        "loss_form",
        "gamma",
    ):
        assert f"(default: {getattr(released, name)}; demo: {getattr(demo, name)})" in text, name
