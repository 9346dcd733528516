import re
from dataclasses import replace

import pytest

from mlr import paper
from mlr.methods import METHODS
from mlr.reproduce import PUBLISHED, SIZES, TABLES, USUAL_TABLES, tables_of
from mlr.train import given_options, parser, resolve

ALL = list(paper.PUBLISHED)


def experiments(demo):
    tables = tables_of(PUBLISHED, demo)
    return [experiment for _, listed in tables.values() for experiment in listed]


def run_of(experiment, demo, settings):
    return experiment.run(METHODS[experiment.options["method"]], demo, settings)


def defaults_of(name, demo):
    return METHODS[name].demo if demo else METHODS[name].released


def resolved_of(*arguments):
    """Read by the very parser of mlr train: the method, and its options."""
    return resolve(given_options(parser().parse_args(arguments)))


@pytest.mark.parametrize("demo", [False, True], ids=["released", "demo"])
def test_the_tables_hold_what_was_asked(demo):
    made = tables_of(PUBLISHED, demo)
    assert tuple(made) == (USUAL_TABLES if demo else TABLES)
    assert set(TABLES) - set(USUAL_TABLES) == {"claims", "others", "settings", "curve"}
    assert [experiment.title for experiment in made["methods"][1]] == [
        METHODS[name].title for name in ALL
    ]
    ablated = [experiment.options for experiment in made["ablations"][1]]
    assert {"method": "resnet50", "loss": "class_imbalance"} in ablated and {
        "method": "l_cil",
        "loss": "cross_entropy",
    } in ablated
    assert [
        options["taps"]
        for options in ablated
        if options["method"] == "shallow" and "taps" in options
    ] == list(paper.TAPS)
    assert {options["fusion"] for options in ablated if "fusion" in options} == {"add", "multiply"}
    assert [
        options["loss_form"]
        for options in (e.options for e in made["imbalance"][1])
        if "loss_form" in options
    ] == ["released", "written"]
    assert list(tables_of({"vgg16": METHODS["vgg16"]}, demo)) == ["methods"]


@pytest.mark.parametrize(
    "demo, data", [(False, "somewhere"), (True, "demo")], ids=["released", "demo"]
)
@pytest.mark.parametrize("settings", [{}, {"epochs": 3, "pretrained": "weights.params"}])
def test_the_arguments_make_what_the_experiment_says(demo, data, settings):
    """Read by the very parser of mlr train; an experiment's own option goes before what all
    have.
    """
    names = {}
    for experiment in experiments(demo):
        name, arguments = run_of(experiment, demo, settings)
        method, resolved = resolved_of("--data", data, *arguments)
        assert method.name == experiment.options["method"]
        wanted = {**settings, **experiment.options, "data": data}
        for key, value in method.plain(defaults_of(method.name, demo)).items():
            assert getattr(resolved, key) == wanted.get(key, value), (experiment.title, key)
        # a name is of one system
        assert names.setdefault(name, arguments) == arguments
    # and equal systems share it
    assert len({tuple(arguments) for arguments in names.values()}) == len(names)


def test_every_method_of_the_demo_has_weights_to_start_from():
    assert sorted(METHODS) == sorted([*ALL, "finetuned", "shallow"])
    for method in METHODS.values():
        name, options = method.demo_pretraining
        backbone = options.get("backbone", METHODS[options["method"]].demo.backbone)
        assert name and method.demo.backbone == backbone
    # a name is of one training
    trainings = [method.demo_pretraining for method in METHODS.values()]
    assert all(options == dict(trainings)[name] for name, options in trainings)
    assert SIZES["tiny"][0] == 0


def test_names_of_runs():
    """The method, and what of an experiment is not as its method has it; a name is a folder's,
    whatever the settings are.
    """

    def names(demo, settings):
        return [run_of(experiment, demo, settings)[0] for experiment in experiments(demo)]

    of_claims = ["finetuned", "l_cil-cross_entropy", "finetuned-class_imbalance-written"]
    of_curve = [
        "finetuned-0.1",
        "l_cil-0.1-cross_entropy",
        "finetuned-0.3",
        "l_cil-0.3-cross_entropy",
        "finetuned",
        "l_cil-cross_entropy",
    ]

    released = names(False, {})
    assert released[:9] == [*ALL, "l_cil", "l_cil-cross_entropy"]
    assert released[24:27] == of_claims and released[-6:] == of_curve
    assert released[9:24] == [
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
    demo = names(True, {"pretrained": "a/b.params", "epochs": 5})
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


def test_an_experiment_resolves_to_its_defaults():
    for experiment in experiments(True):
        demo = METHODS[experiment.options["method"]].demo
        for settings in ({}, {"epochs": 5, "pretrained": "weights.params"}):
            method, resolved = resolved_of("--data", "demo", *run_of(experiment, True, settings)[1])
            wanted = replace(demo, **{**settings, **experiment.options})
            assert method.plain(resolved) == method.plain(wanted), experiment.title


def test_fusions_of_equal_widths_get_them():
    for demo, width in ((False, 2048), (True, 160)):
        fused = [
            experiment.options for experiment in experiments(demo) if "fusion" in experiment.options
        ]
        assert [options["style_width"] for options in fused] == [width, width]
