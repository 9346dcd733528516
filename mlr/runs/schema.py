"""What is written in a run folder, checked before anything is made of it: it may be damaged, or
come from somebody who means harm.
"""

from typing import Callable, NamedTuple

from mlr import paper
from mlr.errors import InputError, shown
from mlr.model.networks import network_options
from mlr.options.presets import BACKBONES, BOUNDS, ROWS, Preset

LONGEST = 4096  # characters of a path, a name or an argument: Linux's own limit
MOST_CLASSES = 10000
LARGEST = 1e300  # of a number that has no other bounds
REMEASURE = "measure the run again, with mlr evaluate"
CAUSE = "it was not written by this package, or is damaged: restore it from a copy, or train again"


class Refused(InputError):
    """What no file of a run may hold. Attribute: `found`, what and where, without a cause."""

    def __init__(self, found, cause=CAUSE):
        super().__init__(f"{found}; {cause}")
        self.found = found


class Rule(NamedTuple):
    """What a value must be: a function that tells, and in words."""

    holds: Callable
    expected: str


def whole(lowest, highest):
    return Rule(
        lambda value: type(value) is int and lowest <= value <= highest,
        f"a whole number from {lowest:d} to {highest:d}",
    )


def number(lowest, highest=LARGEST, above=False):
    return Rule(
        lambda value: (
            type(value) in (int, float)
            and lowest <= value <= highest
            and not (above and value == lowest)
        ),
        f"a number {'above' if above else 'from'} {lowest:g} to {highest:g}",
    )


def one_of(*names):
    return Rule(lambda value: value in names, "one of " + ", ".join(map(str, names)))


def or_none(rule):
    return Rule(lambda value: value is None or rule.holds(value), rule.expected + ", or null")


def list_of(rule):
    return Rule(
        lambda value: isinstance(value, list) and all(map(rule.holds, value)),
        "a list, each item of it " + rule.expected,
    )


TEXT = Rule(
    lambda value: isinstance(value, str) and len(value) <= LONGEST and "\0" not in value,
    f"text of up to {LONGEST:d} characters",
)
PART = number(0, 1)

PRESET = {  # options that runs from before there were such may lack
    "row": one_of(*ROWS),
    "backbone": TEXT,
    "pretrained": TEXT,
    "taps": one_of("released", "by-width", *paper.TAPS),
    "fusion": one_of("concat", "add", "multiply"),
    "style_width": whole(*BOUNDS["style_width"]),
    "gram_scale": number(0, above=True),
    "image_size": whole(*BOUNDS["image_size"]),
    "augmentation": one_of("released", "gentle", "crop"),
    "pipeline": one_of("cached", "released"),
    "loss": one_of("class_imbalance", "cross_entropy"),
    "loss_form": one_of("released", "written"),
    "gamma": number(0),
    "batch_size": whole(*BOUNDS["batch_size"]),
    "epochs": whole(*BOUNDS["epochs"]),
    "optimizer": one_of("sgd", "adam"),
    "learning_rate": number(0, above=True),
    "new_layers_rate": number(0, above=True),
    "weight_decay": number(0),
    "schedule": one_of("step", "step-ar", "cosine"),
    "rounds": whole(*BOUNDS["rounds"]),
    "target": or_none(TEXT),
    "proposals": TEXT,
    "svm_kernel": one_of("linear", "rbf"),
    "svm_c": number(0, above=True),
    "svm_class_weight": one_of("balanced", "none"),
}
DATA = {"folder": TEXT, "sha256": TEXT, "manifest": or_none(TEXT)}
HASHES = Rule(
    lambda value: isinstance(value, dict) and all(map(TEXT.holds, value.values())),
    "an object of SHA-256 by name",
)
FOLD = or_none(whole(1, 1000))
CONFIG = {
    "options": {
        "data": TEXT,
        "labels": one_of("emotion", "sentiment"),
        "fold": FOLD,
        "seed": whole(*BOUNDS["seed"]),
    },
    "network": {"classes": whole(2, MOST_CLASSES)},
    "preprocessing": {"image_size": whole(*BOUNDS["image_size"])},
    "data": DATA,
    "pretrained": {"source": TEXT},
    "contexts": list_of(TEXT),
    "argv": list_of(TEXT),
    "git_commit": or_none(TEXT),
    "threads": or_none(TEXT),
    "versions": {"mxnet": TEXT},
}
# What networks were before config.json said it.
NETWORK_BEFORE = {
    "kind": "multi_level",
    "taps": paper.TAPS,
    "widths": paper.BRANCH_WIDTHS,
    "gram_scale": 1.0,
    "fusion": "concat",
}
EVALUATION = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "worst_recall"), PART),
    "majority_rate": PART,
    "images": whole(1, 10**9),
    "split": one_of("train", "valid", "test"),
    **DATA,
    "fold": FOLD,
    "parameters": one_of("last", "best"),
    "files": HASHES,
}
PROGRESS = {
    "epoch": whole(0, 10**9),
    "step": whole(0, 10**9),
    "loss": number(-LARGEST),
    "hits": number(0),
    "images": whole(0, 10**12),
    "seconds": number(0),
}


def checked_config(config, path):
    """Return what config.json holds. Raises InputError where anything that this package reads of it
    is missing, of a wrong type, out of range or unknown, or where its parts contradict each other:
    the network is the one that the options describe.

    path: the file's, for the error. What it doesn't know is left alone.
    """
    _check(config, CONFIG, path)
    options, network = config["options"], config["network"]
    _check(
        options, {name: rule for name, rule in PRESET.items() if name in options}, path, "options."
    )
    described = ("data", "target") if options.get("target") else ("data",)
    _check(config, dict.fromkeys(described, DATA), path)
    for name in described:
        if "splits" in config[name]:
            _check(config[name], {"splits": HASHES}, path, name + ".")
    _check(
        config["pretrained"],
        {"sha256": TEXT} if "sha256" in config["pretrained"] else {},
        path,
        "pretrained.",
    )
    preset = Preset.of_run(options)
    _check(
        options,
        {"backbone": one_of(*BACKBONES[preset.row])} if "backbone" in options else {},
        path,
        "options.",
    )
    _check(
        config, {"features": one_of("fc7", "fc8")} if preset.row == "deepsentibank" else {}, path
    )
    _check(config, {"preprocessing": {"image_size": one_of(preset.image_size)}}, path)
    said = {**NETWORK_BEFORE, **network} if preset.row == "l_cil" else network
    wanted = network_options(preset, network["classes"])
    for name in (*wanted, *said):
        given, value = said.get(name), wanted.get(name)
        if name not in said or name not in wanted or _plain(given) != _plain(value):
            raise _refused(path, f"network.{name}", given, f"{value}, by its options")
    return config


def checked_classes(classes, config, path):
    """Return what classes.json holds: as many different names as the network of a checked config
    has outputs. Raises InputError otherwise.
    """
    count = config["network"]["classes"]
    if Preset.of_run(config["options"]).row == "deepsentibank":  # its network names concepts
        count = (
            len(classes)
            if isinstance(classes, list) and 2 <= len(classes) <= MOST_CLASSES
            else "2 or more"
        )
    if (
        not isinstance(classes, list)
        or len(classes) != count
        or not all(TEXT.holds(name) and name for name in classes)
        or len(set(classes)) != len(classes)
    ):
        raise _refused(path, "the list of classes", classes, f"{count} different names")
    return classes


def checked_metrics(metrics, path):
    """Return what the lines of metrics.jsonl hold, a list of dicts of numbers, one an epoch. Raises
    InputError otherwise.
    """
    for epoch, line in enumerate(metrics, start=1):
        _check(line, {"epoch": one_of(epoch)}, path, f"line {epoch:d}, ")
        _check(
            line,
            {
                name: number(-LARGEST)
                for name in (*line, *(["loss"] if "loss" in metrics[0] else []))
                if name != "target"
            },
            path,
            f"line {epoch:d}, ",
        )
    return metrics


def checked_progress(progress, path):
    """Return what step.json holds, the fields of a `mlr.training.loop.Progress`. Raises InputError
    otherwise.
    """
    _check(progress, PROGRESS, path)
    if set(progress) != set(PROGRESS):
        raise _refused(path, "it", progress, ", ".join(PROGRESS))
    return progress


def checked_kept(kept, images, path):
    """Return the numbers of the images, of so many, that a kept_<round>.json holds. Raises
    InputError otherwise.
    """
    _check(kept, {"kept": list_of(whole(0, images - 1))}, path)
    if not kept["kept"] or len(set(kept["kept"])) != len(kept["kept"]):
        raise _refused(path, "kept", kept["kept"], "different numbers, at least one")
    return kept["kept"]


def checked_evaluation(evaluation, path):
    """Return what an evaluation_<split>.json holds. Raises InputError where a measure is missing or
    impossible, or what it is of.
    """
    try:
        _check(evaluation, EVALUATION, path)
    except Refused as error:
        raise InputError(f"{error.found}; {REMEASURE}") from None
    return evaluation


def _check(value, rules, path, prefix=""):
    """rules: {name: Rule, or a dict of rules for what is inside}."""
    if not isinstance(value, dict):
        raise _refused(
            path, prefix.rstrip("., ") or "it", value, f"an object with {', '.join(rules)}"
        )
    for name, rule in rules.items():
        inside = isinstance(rule, dict)
        if name not in value:
            raise _refused(
                path,
                prefix + name,
                None,
                (f"an object with {', '.join(rule)}") if inside else rule.expected,
            )
        if inside:
            _check(value[name], rule, path, prefix + name + ".")
        elif not rule.holds(value[name]):
            raise _refused(path, prefix + name, value[name], rule.expected)


def _plain(value):
    """JSON has no tuples, and no difference of 1 and 1.0; True is no number."""
    return (
        list(value)
        if isinstance(value, tuple)
        else str(value)
        if isinstance(value, bool)
        else value
    )


def _refused(path, name, value, expected):
    return Refused(f"{path}: {shown(name, 80)} is {shown(ascii(value), 80)}, expected {expected}")
