"""Methods are objects: nothing else knows them by name, and one more is one file."""

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from choices import choices_by
from conftest import write_images

import mlr
from mlr import paper
from mlr.errors import InputError
from mlr.methods import METHODS, _found, method_named, multilevel
from mlr.methods.method import GRADIENT_DESCENT, SLIM, Experiment
from mlr.options.training import COMMON, definitions

PACKAGE = Path(mlr.__file__).parent
# What is called as a method is: a backbone that it fine-tunes, and a box in the network's diagram.
NAMESAKES = {backbone for method in METHODS.values() for backbone in method.backbones} | {"shallow"}


def choices_by_method(text):
    """Yield the comparisons with, and the tables by, the name of a method in Python's text."""
    for node, found in choices_by(METHODS, ast.parse(text)):
        if found - NAMESAKES or (found and "method" in ast.dump(node).lower()):
            yield ast.get_source_segment(text, node)


def test_methods_are_found_in_the_order_of_the_table():
    """Those of the results table first, as it has them, and then the others by name."""
    table = [name for name in paper.PUBLISHED if name in METHODS]
    others = sorted(set(METHODS) - set(table))
    assert table and others and list(_found()) == table + others
    assert all(method is METHODS[name] for name, method in _found().items())


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "methods" and path.name != "paper.py"
    ],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_nothing_else_compares_a_methods_name(path):
    assert list(choices_by_method(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "x == 'ar'",
        "name in ('pcnn', 'y')",
        "{'l_cil': 1}[name]",
        "method == 'vgg16'",
        "t['ar']",
        "METHODS['alexnet'].methods",
    ],
)
def test_a_comparison_is_found(code):
    assert list(choices_by_method(code))


def test_a_backbone_is_no_method():
    assert list(choices_by_method("backbone == 'vgg16' or zoo['alexnet']")) == []


def test_every_option_of_a_method_is_defined():
    for name, method in METHODS.items():
        assert method.name == name and set(method.options) <= set(definitions())
        assert method.released.method == method.demo.method == name
        for options in (method.released, method.demo):
            assert set(method.plain(options)) == set(method.options)
            for option, value in method.plain(options).items():
                assert definitions()[option].holds(value), (name, option, value)
            assert options.backbone in method.backbones


def test_every_option_belongs_to_a_method():
    assert {name for method in METHODS.values() for name in method.options} == set(definitions())


def test_the_methods_are_those_of_the_table_and_two_beside_it():
    assert list(METHODS) == [*paper.PUBLISHED, "finetuned", "shallow"]
    for name, method in METHODS.items():
        assert method.published == paper.PUBLISHED.get(name)
    assert len({method.title for method in METHODS.values()}) == len(METHODS)


def test_an_unknown_method_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match="no method x: choose one of alexnet, vgg16"):
        method_named("x")


@pytest.mark.parametrize(
    "option, names",
    [
        *((option, list(METHODS)) for option in COMMON),
        *(
            (option, [name for name in METHODS if name != "deepsentibank"])
            for option in GRADIENT_DESCENT
        ),
        ("taps", ["l_cil", "shallow"]),
        ("style_width", ["l_cil", "shallow"]),
        ("gram_scale", ["l_cil", "shallow"]),
        ("fusion", ["l_cil"]),
        ("rounds", ["pcnn"]),
        ("target", ["pcnn"]),
        ("proposals", ["ar"]),
        ("svm_kernel", ["deepsentibank"]),
        ("svm_c", ["deepsentibank"]),
        ("svm_class_weight", ["deepsentibank"]),
    ],
)
def test_the_methods_of_an_option(option, names):
    assert [name for name, method in METHODS.items() if option in method.options] == names
    for name, method in METHODS.items():
        assert (option in method.plain(method.released)) == (name in names)


def test_the_stages_of_pcnn():
    """A third as many epochs in each round as before the first, and as many for the target."""
    assert METHODS["vgg16"].stages(METHODS["vgg16"].released) == [range(35)]
    stages, released = METHODS["pcnn"].stages, METHODS["pcnn"].released
    two_rounds = replace(released, epochs=9, rounds=2)
    assert stages(two_rounds) == [range(9), range(9, 12), range(12, 15)]
    assert stages(replace(two_rounds, target="somewhere"))[-1] == range(15, 18)
    assert stages(replace(released, epochs=1, rounds=1)) == [range(1), range(1, 2)]


@pytest.mark.parametrize(
    "name, recipe",
    [
        (
            "l_cil",
            ("resnet50_v2", 224, "released", "class_imbalance", 16, 60, 1e-4, 1e-4, 1, "step"),
        ),
        (
            "shallow",
            ("resnet50_v2", 224, "released", "class_imbalance", 16, 60, 1e-4, 1e-4, 1, "step"),
        ),
        ("alexnet", ("alexnet", 224, "released", "cross_entropy", 16, 60, 1e-4, 1e-4, 1, "step")),
        (
            "resnet50",
            ("resnet50_v2", 224, "released", "cross_entropy", 16, 60, 1e-4, 1e-4, 1, "step"),
        ),
        ("vgg16", ("vgg16", 224, "crop", "cross_entropy", 32, 35, 1e-4, 5e-4, 10, "step-ar")),
        ("pcnn", ("vgg16", 224, "crop", "cross_entropy", 32, 35, 1e-4, 5e-4, 10, "step-ar")),
        ("ar", ("vgg16", 224, "crop", "cross_entropy", 32, 35, 1e-4, 5e-4, 10, "step-ar")),
    ],
)
def test_the_recipe_of_every_method(name, recipe):
    names = (
        "backbone",
        "image_size",
        "augmentation",
        "loss",
        "batch_size",
        "epochs",
        "learning_rate",
        "weight_decay",
        "new_layers_rate",
        "schedule",
    )
    options = METHODS[name].plain(METHODS[name].released)
    assert tuple(options[name] for name in names) == recipe
    assert (
        options["optimizer"],
        options["pretrained"],
        options["gamma"],
        options["loss_form"],
    ) == ("sgd", "zoo", 1, "released")


def test_the_rows_of_the_tables_of_experiments():
    experiments = METHODS["l_cil"].experiments(demo=True)
    assert list(experiments) == ["ablations", "imbalance"]
    assert experiments["ablations"] == (
        "Ablations of L_cil",
        [
            Experiment("L_cil", {"method": "l_cil"}),
            Experiment("with cross entropy", {"method": "l_cil", "loss": "cross_entropy"}),
            Experiment("backbone alone", {"method": "resnet50", "loss": "class_imbalance"}),
            Experiment("branches alone", {"method": "shallow"}),
            Experiment("branch of stem alone", {"method": "shallow", "taps": "stem"}),
            Experiment("branch of pool alone", {"method": "shallow", "taps": "pool"}),
            Experiment("branch of stage1 alone", {"method": "shallow", "taps": "stage1"}),
            Experiment("taps as the widths suggest", {"method": "l_cil", "taps": "by-width"}),
            Experiment(
                "concatenated, style as wide as deep", {"method": "l_cil", "style_width": 160}
            ),
            Experiment("added", {"method": "l_cil", "fusion": "add", "style_width": 160}),
            Experiment("multiplied", {"method": "l_cil", "fusion": "multiply", "style_width": 160}),
            Experiment("Gram matrices times 100", {"method": "l_cil", "gram_scale": 100.0}),
            Experiment(
                "new layers learn three times as fast", {"method": "l_cil", "new_layers_rate": 3.0}
            ),
            Experiment("without pretraining", {"method": "l_cil", "pretrained": "none"}),
        ],
    )
    assert experiments["imbalance"] == (
        "Class imbalance",
        [
            Experiment("with cross entropy", {"method": "l_cil", "loss": "cross_entropy"}),
            Experiment("the loss as released", {"method": "l_cil", "loss_form": "released"}),
            Experiment("the loss as written", {"method": "l_cil", "loss_form": "written"}),
        ],
    )
    on_one_backbone = METHODS["l_cil"].experiments(demo=False)
    assert list(on_one_backbone) == [
        "ablations", "imbalance", "claims", "others", "settings", "curve",
    ]  # fmt: skip
    assert multilevel._backbone("fine-tuned", loss="x") == Experiment(
        "fine-tuned", {"method": "finetuned", "loss": "x"}
    )
    assert multilevel._branches("with branches", taps="x") == Experiment(
        "with branches", {"method": "l_cil", "loss": "cross_entropy", "taps": "x"}
    )


def test_what_deepsentibank_adds():
    options = METHODS["deepsentibank"].plain(METHODS["deepsentibank"].released)
    assert (options["backbone"], options["image_size"]) == ("caffenet", 227)
    assert [options[name] for name in ("svm_kernel", "svm_c", "svm_class_weight")] == [
        "linear",
        1,
        "balanced",
    ]


def test_the_demos_methods_share_a_solver():
    for method in METHODS.values():
        demo, released = method.demo, method.released
        assert demo.backbone == SLIM[released.backbone] and demo.loss == released.loss
        assert (
            demo.image_size,
            demo.optimizer,
            demo.batch_size,
            demo.learning_rate,
            demo.schedule,
            demo.pretrained,
        ) == (64, "adam", 32, 7e-4, "cosine", "none")
        assert demo.epochs == 10


# A method as a person adds one: a network of its own, an option that others have, too, and an
# answer of its own.
TOY = '''"""Toy: the mean colour of an image, and a layer above it; it is never quite sure."""

from dataclasses import dataclass, replace

from mlr.methods.method import Method
from mlr.options.training import TrainingOptions


@dataclass(frozen=True)
class Toy(Method):
    """A network that is no part of the package."""

    several_workers = False

    def network(self, options, classes):
        return {"kind": "toy", "classes": classes, "width": options.style_width}

    def build(self, network):
        from mxnet.gluon import nn

        net = nn.HybridSequential(prefix="")
        net.add(nn.Conv2D(network["width"], 1, activation="relu"), nn.GlobalAvgPool2D())
        net.add(nn.Dense(network["classes"]))
        return net

    def load_pretrained(self, net, source):
        return {"source": "none"}

    def classifier(self, net, config, ctx):
        from mlr.inference.classifiers import SoftmaxClassifier

        class Unsure(SoftmaxClassifier):
            def probabilities(self, seen):
                found = super().probabilities(seen)
                return 0.5 * found + 0.5 / found.shape[1]

        return Unsure(net, self.preprocessing(config), ctx)

    def exported(self, net, config):
        return net, "logits", "logits of a toy"


METHOD = Toy(
    name="toy",
    title="Toy of colours",
    published=12.34,
    backbones=("mean_colour",),
    released=replace(TrainingOptions(), method="toy", backbone="mean_colour"),
    own=("style_width",),
)
'''


@pytest.fixture
def extended(tmp_path):
    """Run commands of a copy of the package that has one file more."""
    shutil.copytree(PACKAGE, tmp_path / "copy" / "mlr", ignore=shutil.ignore_patterns("*.pyc"))
    (tmp_path / "copy" / "mlr" / "methods" / "toy.py").write_text(TOY)

    def run(*arguments, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "mlr", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "copy")},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_a_method_is_one_file_for_every_command(tmp_path, extended):
    assert len(TOY.splitlines()) <= 60
    data, run = write_images(tmp_path / "data", valid=2, test=4), tmp_path / "run"
    extended(
        "train", "--method", "toy", "--data", data, "--out", run, "--image-size", 64,
        "--epochs", 12, "--learning-rate", 0.05, "--optimizer", "adam", "--batch-size", 4,
        "--style-width", 5, "--ctx", "cpu",
    )  # fmt: skip
    config = json.loads((run / "config.json").read_text())
    assert config["network"] == {"kind": "toy", "classes": 2, "width": 5}
    extended("train", "--resume", "--out", run, "--method", "toy", "--style-width", 5)
    assert "keeps its options" in extended(
        "train", "--resume", "--out", run, "--style-width", 6, code=2
    )
    extended("evaluate", "--run", run, "--report")
    evaluation = json.loads((run / "evaluation_test.json").read_text())
    assert evaluation["images"] == 8 and evaluation["accuracy"] == 1  # one is dark, one is bright
    said = extended("predict", "--run", run, "--json", data / "test")
    answers = [json.loads(line)["probabilities"] for line in said.splitlines()]
    assert len(answers) == 8
    # never quite sure: half of each answer says nothing
    assert all(0.25 <= value <= 0.75 for answer in answers for value in answer.values())
    for kind, name in (("onnx", "model.onnx"), ("symbol", "symbol"), ("npz", "model.npz")):
        said = extended("export", "--run", run, "--format", kind, "--out", tmp_path / name)
        assert "logits of a toy" in said
    code = (
        f"import mlr, mxnet as mx; net = mlr.import_npz({str(tmp_path / 'model.npz')!r}); "
        "print(net(mx.nd.zeros((3, 3, 64, 64))).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "copy")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == "(3, 2)\n"
    image = next((data / "test").glob("*/*.jpg"))
    for view in ("filters", "grad-cam", "regions"):
        said = extended(
            "visualize", "--run", run, "--image", image, "--out", "a.png", "--view", view, code=2
        )
        assert (
            f"--view {view} can't be drawn for {run}, a run of the method toy: give a run"
        ) in said
    for missing in ("--taps", "--rounds"):
        said = extended("train", "--method", "toy", missing, "stem" if missing == "--taps" else 1,
                        code=2)  # fmt: skip
        assert f"{missing} is not for --method toy" in said
    assert "toy: Toy of colours" in " ".join(extended("train", "--help").split())


@pytest.mark.slow
def test_a_method_of_one_file_is_in_the_results_table(tmp_path, extended):
    extended(
        "reproduce", "--methods", "toy", "--tables", "methods", "--seeds", 1, "--out", "out",
        "--size", "tiny", "--jobs", 1,
    )  # fmt: skip
    table = (tmp_path / "out" / "RESULTS.md").read_text()
    assert "| Toy of colours | 12.34 % |" in table
    assert "mlr train --data demo --labels emotion --method toy --epochs 1 --seed 0" in table
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == [
        "logs",
        "toy-seed0",
    ]
