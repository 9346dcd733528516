"""The floors of the package: every package has one of its own, and imports go down only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "mlr"
COMMANDS = (
    "prepare",
    "train",
    "launch",
    "evaluate",
    "predict",
    "serve",
    "visualize",
    "reproduce",
    "benchmark",
    "compare",
    "report",
    "export",
    "weights",
    "doctor",
)
# From the top down. A module imports from its own package and from floors below; on the first floor
# no command imports another.
FLOORS = (
    (*COMMANDS, "cli", "__main__", "__init__"),
    ("benchmarking",),
    ("methods",),
    ("training",),
    ("inference",),
    ("viz",),
    ("exporting",),
    ("runs",),
    ("data",),
    ("model",),
    ("formats",),
    ("options",),
    ("serving",),
    ("runtime",),
    ("paper",),
    ("errors",),
)
# Upwards in annotations alone, under TYPE_CHECKING: {(importing file, imported package)}. A
# training is handed its method, and says what it calls of it.
ANNOTATIONS = {("training/run.py", "methods"), ("training/session.py", "methods")}
STRANGERS = ("data", "model")  # neither knows the other
MOST_AT_THE_TOP = 19  # modules in mlr/ itself

# Who may load MXNet (and what only comes with it) when imported: training, the networks, the MXNet
# engine, and what is exported from or drawn of these. All else is imported where there is none.
WITH_MXNET = {
    "training/",
    "model/",
    "exporting/",
    "data/loader.py",
    "data/pixels.py",
    "data/transforms.py",
    "inference/classifiers.py",
    "inference/forward.py",
    "inference/fused_graph.py",
    "viz/attribution.py",
    "viz/diagram.py",
    "viz/filters.py",
}
# Of those packages, what measures and describes, and reads no network.
WITHOUT_MXNET = {
    "exporting/description.py",
    "model/backbones.py",
    "training/distributed.py",
    "training/metrics.py",
}
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
COME_WITH_MXNET = {"mxnet", "scipy", "sklearn", "threadpoolctl"}

FILES = sorted(PACKAGE.rglob("*.py"))


def floor(name):
    return next(number for number, names in enumerate(FLOORS) if name in names)


def imports(tree, for_types=False):
    """Yield of everything of the package that a file imports, wherever in it, the first name below
    mlr, and whether it is imported under TYPE_CHECKING alone.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for each in node.body:
                yield from imports(ast.Module([each], []), for_types=True)
            yield from imports(ast.Module(node.orelse, []), for_types)
            continue
        names = []
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports within the package are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [f"{alias.name}.__init__" for alias in node.names]
        for first, second in (name.split(".")[:2] for name in names):
            if (first, second) == ("mlr", "__version__"):
                continue  # mlr/__init__.py, which has it, is run before every module
            if first == "mlr":
                known = any(second in names for names in FLOORS)
                there = (PACKAGE / second).exists() or (PACKAGE / f"{second}.py").exists()
                assert known or not there, f"{second} has no floor: enter it in FLOORS"
                # What is no module is a name that mlr/__init__.py has.
                yield (second if known else "__init__"), for_types
        yield from imports(node, for_types)


def of_package(path):
    return path.relative_to(PACKAGE).parts[0].replace(".py", "")


def imported_by(path):
    return list(imports(ast.parse(path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = of_package(path)
    for imported, for_types in imported_by(path):
        if for_types and (str(path.relative_to(PACKAGE)), imported) in ANNOTATIONS:
            continue
        below = floor(imported) > floor(own)
        beside = imported == own or floor(own) == floor(imported) == 0
        assert below or beside, f"{own} imports {imported}, which is not below it"
        assert imported not in COMMANDS, f"{own} imports the command {imported}"
        assert {own, imported} != set(STRANGERS), f"{own} imports {imported}"


def imported_at_once(tree):
    """Yield the full names that a file imports when it is imported itself."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        yield from imported_at_once(node)


def may_load_mxnet(name):
    in_package = f"{name.partition('/')[0]}/" in WITH_MXNET or name in WITH_MXNET
    return in_package and name not in WITHOUT_MXNET


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_needs_no_mxnet_loads_none(path):
    """Neither itself nor by what it imports."""
    if may_load_mxnet(str(path.relative_to(PACKAGE))):
        return
    for name in imported_at_once(ast.parse(path.read_text(encoding="utf-8"))):
        assert name.split(".")[0] not in COME_WITH_MXNET, name
        parts = name.split(".")[1:3] if name.startswith("mlr.") else []
        module = "/".join(parts) + ".py"
        if len(parts) == 2 and (PACKAGE / module).is_file():
            assert not may_load_mxnet(module), f"{name} loads MXNet"


def test_what_may_load_mxnet_is_there():
    assert all((PACKAGE / name).exists() for name in WITH_MXNET | WITHOUT_MXNET)


def test_what_annotations_need_from_above_is_still_needed():
    upwards = {
        (str(path.relative_to(PACKAGE)), imported)
        for path in FILES
        for imported, for_types in imported_by(path)
        if for_types and floor(imported) < floor(of_package(path))
    }
    assert upwards == ANNOTATIONS


@pytest.mark.parametrize(
    "code, found",
    [
        ("import mlr.data.walk", [("data", False)]),
        ("from mlr import paper", [("paper", False)]),
        ("from mlr import MultiLevelNet, __version__", [("__init__", False)]),
        ("def f():\n    from mlr.runs.folder import Run", [("runs", False)]),
        ("if TYPE_CHECKING:\n    from mlr.runs.folder import Run", [("runs", True)]),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import mlr.viz.style", [("viz", False)]),
        ("class A:\n    def f(self):\n        import mlr.train", [("train", False)]),
    ],
)
def test_an_import_is_found_wherever_it_is(code, found):
    assert list(imports(ast.parse(code))) == found


def test_every_package_has_a_floor_of_its_own():
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    alone = {names[0] for names in FLOORS[1:] if len(names) == 1}
    assert packages | {"paper", "errors"} == alone
    assert len(alone) == len(FLOORS) - 1


def test_few_modules_are_at_the_top():
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules == {*FLOORS[0], "paper", "errors"}
    assert len(modules) <= MOST_AT_THE_TOP


def test_the_network_knows_nothing_of_data_loss_or_training():
    for path in (PACKAGE / "model").rglob("*.py"):
        # Weights are read and written in the formats' files, on the machine that there is.
        known = {"model", "formats", "runtime", "paper", "errors"}
        assert {name for name, _ in imported_by(path)} <= known, path


def test_no_pickle_and_no_utils():
    for path in FILES:
        assert path.name != "utils.py"
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & PICKLES, path


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
    from mlr.methods import METHODS

    demo, released = METHODS["l_cil"].demo, METHODS["l_cil"].released

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
