import re
from dataclasses import replace

import pytest

from mlr import paper
from mlr.methods.experiments import PRETRAINING, SIZES, TABLES, tables
from mlr.options.presets import DEMO, RELEASED, Preset
from mlr.train import parser, resolve

ALL = list(paper.ROWS)


def experiments(presets):
    return [experiment for _, listed in tables(presets, ALL).values() for experiment in listed]


@pytest.mark.parametrize("presets", [RELEASED, DEMO], ids=["released", "demo"])
def test_the_tables_hold_what_was_asked(presets):
    made = tables(presets, ALL)
    assert tuple(made) == TABLES
    assert [experiment.title for experiment in made["rows"][1]] == [
        title for title, _ in paper.ROWS.values()
    ]
    ablated = [experiment.options for experiment in made["ablations"][1]]
    assert {"method": "resnet50", "loss": "class_imbalance"} in ablated and {
        "method": "l_cil",
        "loss": "cross_entropy",
    } in ablated
    assert [
        options["taps"] for options in ablated if options["method"] == "shallow" and "taps" in options
    ] == list(paper.TAPS)
    assert {options["fusion"] for options in ablated if "fusion" in options} == {"add", "multiply"}
    assert [
        options["loss_form"]
        for options in (e.options for e in made["imbalance"][1])
        if "loss_form" in options
    ] == ["released", "written"]
    assert list(tables(presets, ["vgg16"])) == ["rows"]


@pytest.mark.parametrize(
    "presets, data", [(RELEASED, "somewhere"), (DEMO, "demo")], ids=["released", "demo"]
)
@pytest.mark.parametrize("settings", [{}, {"epochs": 3, "pretrained": "weights.params"}])
def test_the_arguments_make_what_the_experiment_says(presets, data, settings):
    """Read by the very parser of mlr train; an experiment's own option goes before what all
    have.
    """
    names = {}
    for experiment in experiments(presets):
        name, arguments = experiment.run(presets, settings)
        resolved = resolve(parser().parse_args(["--data", data, *arguments]))
        wanted = {**settings, **experiment.options}
        for key, value in presets[experiment.options["method"]].options().items():
            assert resolved[key] == wanted.get(key, value), (experiment.title, key)
        # a name is of one system
        assert names.setdefault(name, arguments) == arguments
    # and equal systems share it
    assert len({tuple(arguments) for arguments in names.values()}) == len(names)


def test_every_row_of_the_demo_has_weights_to_start_from():
    served = [row for rows, _ in PRETRAINING.values() for row in rows]
    assert sorted(served) == sorted([*paper.ROWS, "shallow"])
    for rows, options in PRETRAINING.values():
        backbone = options.get("backbone", DEMO[options["method"]].backbone)
        assert {DEMO[row].backbone for row in rows} == {backbone}
    assert SIZES["tiny"][0] == 0


def test_names_of_runs():
    """The row, and what of an experiment is not as its row has it; a name is a folder's, whatever
    the settings are.
    """

    def names(presets, settings):
        return [experiment.run(presets, settings)[0] for experiment in experiments(presets)]

    released = names(RELEASED, {})
    assert released[:9] == [*ALL, "l_cil", "l_cil-cross_entropy"]
    assert released[9:] == [
        "resnet50-class_imbalance",
        "shallow",
        "shallow-stem",
        "shallow-pool",
        "shallow-stage1",
        "l_cil-by-width",
        "l_cil",
        "l_cil-add",
        "l_cil-multiply",
        "l_cil-100.0",
        "l_cil-3.0",
        "l_cil-none",
        "l_cil-cross_entropy",
        "l_cil",
        "l_cil-written",
    ]
    demo = names(DEMO, {"pretrained": "a/b.params", "epochs": 5})
    assert demo[15:] == [
        "l_cil-160",
        "l_cil-add-160",
        "l_cil-multiply-160",
        "l_cil-100.0",
        "l_cil-3.0",
        "l_cil-none",
        "l_cil-cross_entropy",
        "l_cil-released",
        "l_cil",
    ]
    assert all(re.fullmatch(r"[\w.-]+", name) for name in released + demo)


def test_an_experiment_resolves_to_its_preset():
    for experiment in experiments(DEMO):
        row = experiment.options["method"]
        for settings in ({}, {"epochs": 5, "pretrained": "weights.params"}):
            resolved = resolve(
                parser().parse_args(["--data", "demo", *experiment.run(DEMO, settings)[1]])
            )
            wanted = replace(DEMO[row], **{**settings, **experiment.options})
            assert Preset.of_run(resolved).options() == wanted.options(), experiment.title


def test_fusions_of_equal_widths_get_them():
    for presets, width in ((RELEASED, 2048), (DEMO, 160)):
        fused = [
            experiment.options
            for experiment in experiments(presets)
            if "fusion" in experiment.options
        ]
        assert [options["style_width"] for options in fused] == [width, width]
