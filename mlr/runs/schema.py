"""Checks the JSON files of a run folder before they are used: they may be damaged, or come from an
attacker.
"""

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Union

from mlr import paper
from mlr.errors import InputError, shown
from mlr.options.option import LARGEST, LONGEST, Option, each_of
from mlr.options.training import definitions, options_of_0_1_0

TEMPERATURES = 0.05, 20.0  # the lowest and the highest temperature that a run may have
FORMAT = 2  # the version of config.json; runs of mlr 0.1.0 don't say one
MOST_CLASSES = 10000
REMEASURE = "measure the run again, with mlr evaluate"
REFIT = "fit it again, with mlr evaluate --split valid --fit-temperature"
CAUSE = "it was not written by this package, or is damaged: restore it from a copy, or train again"
# The values that config.json of 0.1.0 did not state.
NETWORK_BEFORE = {
    "kind": "multi_level",
    "taps": paper.TAPS,
    "widths": paper.BRANCH_WIDTHS,
    "gram_scale": 1.0,
    "fusion": "concat",
}


class Rule(NamedTuple):
    """What a value must be: a function that checks it, and a description for errors."""

    holds: Callable[[Any], bool]
    expected: str


# {name of a value: its rule}; a dict in place of a rule has the rules for a nested object
Values = Union[Rule, Option]
Rules = Mapping[str, Union[Values, Mapping[str, Values]]]


def whole(lowest: int, highest: int) -> Rule:
    """Return the rule for a whole number; both bounds are allowed."""
    return Rule(
        lambda value: type(value) is int and lowest <= value <= highest,
        f"a whole number from {lowest:d} to {highest:d}",
    )


def number(lowest: float, highest: float = LARGEST, above: bool = False) -> Rule:
    """Return the rule for a number; both bounds are allowed. above: excludes `lowest` itself."""
    return Rule(
        lambda value: (
            type(value) in (int, float)
            and lowest <= value <= highest
            and not (above and value == lowest)
        ),
        f"a number {'above' if above else 'from'} {lowest:g} to {highest:g}",
    )


def one_of(*names: Any) -> Rule:
    """Return the rule for a value that is one of these."""
    return Rule(lambda value: value in names, "one of " + ", ".join(map(str, names)))


def or_none(rule: Rule) -> Rule:
    """Return the rule for a value that is null or meets another rule."""
    return Rule(lambda value: value is None or rule.holds(value), rule.expected + ", or null")


def list_of(rule: Rule) -> Rule:
    """Return the rule for a list whose items all meet another rule."""
    return Rule(
        lambda value: isinstance(value, list) and all(map(rule.holds, value)),
        "a list in which each item is " + rule.expected,
    )


TEXT = Rule(
    lambda value: isinstance(value, str) and len(value) <= LONGEST and "\0" not in value,
    f"text of up to {LONGEST:d} characters",
)
PART = number(0, 1)

DATA: Dict[str, Rule] = {"folder": TEXT, "sha256": TEXT, "manifest": or_none(TEXT)}
HASHES = Rule(
    lambda value: isinstance(value, dict) and all(map(TEXT.holds, value.values())),
    "an object {name: SHA-256}",
)
CLASSES = whole(2, MOST_CLASSES)
CONFIG: Rules = {
    "options": {},
    "network": {"kind": TEXT, "classes": CLASSES},
    "preprocessing": {"image_size": whole(1, 10**5)},
    "data": DATA,
    "pretrained": {"source": TEXT},
    "contexts": list_of(TEXT),
    "argv": list_of(TEXT),
    "git_commit": or_none(TEXT),
    "threads": or_none(TEXT),
    "versions": {"mxnet": TEXT},
}
EVALUATION: Dict[str, Rule] = {
    **dict.fromkeys(
        ("accuracy", "balanced_accuracy", "macro_f1", "worst_recall", "majority_rate"), PART
    ),
    "images": whole(1, 10**9),
    "split": one_of("train", "valid", "test"),
    "folder": TEXT,
    "sha256": TEXT,
    "manifest": or_none(TEXT),
    "fold": or_none(whole(1, 1000)),
    "parameters": one_of("last", "best"),
    "files": HASHES,
}
CALIBRATION: Dict[str, Rule] = {  # older evaluations lack these
    "expected_calibration_error": PART,
    "negative_log_likelihood": number(0),
    "temperature": or_none(number(*TEMPERATURES)),
}
# For data with votes. Rounding may bring a divergence just below 0.
DISTRIBUTION: Dict[str, Rule] = {
    **dict.fromkeys(("chebyshev", "clark", "canberra", "cosine", "intersection"), number(0)),
    "kullback_leibler": number(-1e-6),
}
TEMPERATURE: Dict[str, Rule] = {"temperature": number(*TEMPERATURES), "files": HASHES}
PROGRESS: Dict[str, Rule] = {
    "epoch": whole(0, 10**9),
    "step": whole(0, 10**9),
    "loss": number(-LARGEST),
    "correct": number(0),
    "images": whole(0, 10**12),
    "seconds": number(0),
}


class Refused(InputError):
    """A value that a file of a run must not hold.

    Attribute: `found`, which says what was found and where. It leaves out the cause, which depends
    on where the file came from.
    """

    def __init__(self, found: str, cause: str = CAUSE):
        super().__init__(f"{found}; {cause}")
        self.found = found


def checked_config(config: Any, path: Any) -> Dict[str, Any]:
    """Return what config.json holds, in the present format.

    path: the path of the file, for the error. Raises Refused if a value that this package reads is
    missing, has a wrong type, or is out of range. Entries that the package doesn't know are left
    alone. `mlr.methods.method.Method.check` checks whether the parts of the config fit each other.
    """
    known = definitions()
    needed = {name: known[name] for name in ("data", "seed")}
    classes = {"classes": CLASSES}  # `kind` is new since 0.1.0
    check(config, {"options": needed, "network": classes}, path)
    config = upgraded(config, path)
    check(config, CONFIG, path)
    options = config["options"]
    for name, value in options.items():
        if name in known and not known[name].holds(value):
            raise refused(path, f"options.{name}", value, known[name].expected)
    always = ("method", "labels", "fold")  # evaluations and --resume need them
    check(options, {name: known[name] for name in always}, path, "options.")
    described = ("data", "target") if options.get("target") else ("data",)
    check(config, dict.fromkeys(described, DATA), path)
    for name in described:
        splits = {"splits": HASHES} if "splits" in config[name] else {}
        check(config[name], splits, path, f"{name}.")
        _check_sets(config[name].get("sets"), each_of(options[name]), path, name)
    digest = {"sha256": TEXT} if "sha256" in config["pretrained"] else {}
    check(config["pretrained"], digest, path, "pretrained.")
    return config


def _check_sets(sets: Any, several: Sequence[str], path: Any, name: str) -> None:
    """Raise Refused if `sets` does not describe each of several data sets. With a single data set
    it must be absent.
    """
    if len(several) == 1:
        if sets is not None:
            raise refused(path, f"{name}.sets", sets, f"none, because options.{name} is one folder")
    elif not isinstance(sets, list) or len(sets) != len(several):
        expected = f"a list with an object for each of options.{name}"
        raise refused(path, f"{name}.sets", sets, expected)
    for each in sets or ():
        check(each, DATA, path, f"{name}.sets.")


def upgraded(config: Dict[str, Any], path: Any) -> Dict[str, Any]:
    """Return a config.json in the present format. Version 0.1.0 wrote no `format`, and called a
    method a row.
    """
    written = config.get("format", 1)
    if type(written) is not int or written not in (1, FORMAT):
        raise Refused(
            f"{path}: format is {shown(ascii(written), 80)}, but this version of mlr reads only 1 "
            f"and {FORMAT}",
            "upgrade mlr",
        )
    if written == FORMAT:
        return config
    options = options_of_0_1_0(config["options"])
    network = dict(config["network"])
    if network.get("kind", "multi_level") == "multi_level":
        network = {**NETWORK_BEFORE, **network}
    return {**config, "format": FORMAT, "options": options, "network": network}


def checked_classes(classes: Any, path: Any) -> List[str]:
    """Return what classes.json holds. Raises Refused unless it is a list of different names."""
    if (
        not isinstance(classes, list)
        or not 2 <= len(classes) <= MOST_CLASSES
        or not all(TEXT.holds(name) and name for name in classes)
        or len(set(classes)) != len(classes)
    ):
        raise refused(path, "the list of classes", classes, "at least two different names")
    return classes


def checked_metrics(metrics: List[Any], path: Any) -> List[Dict[str, Any]]:
    """Return what the lines of metrics.jsonl hold. Raises Refused unless they are dicts of numbers,
    one per epoch, in order.
    """
    for epoch, line in enumerate(metrics, start=1):
        check(line, {"epoch": one_of(epoch)}, path, f"line {epoch:d}, ")
        check(
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


def checked_progress(progress: Any, path: Any) -> Dict[str, Any]:
    """Return what step.json holds. Raises Refused unless it has exactly the fields of a
    `mlr.training.loop.Progress`.
    """
    if isinstance(progress, dict) and "hits" in progress:  # as 0.1.0 wrote it
        progress = {"correct" if name == "hits" else name: progress[name] for name in progress}
    check(progress, PROGRESS, path)
    if set(progress) != set(PROGRESS):
        raise refused(path, "it", progress, ", ".join(PROGRESS))
    return progress


def checked_kept(kept: Any, images: int, path: Any) -> List[int]:
    """Return the numbers of the kept images that a kept_<round>.json holds.

    images: how many images there are. Raises Refused unless the numbers are different and below
    `images`, and there is at least one.
    """
    check(kept, {"kept": list_of(whole(0, images - 1))}, path)
    if not kept["kept"] or len(set(kept["kept"])) != len(kept["kept"]):
        raise refused(path, "kept", kept["kept"], "different numbers, at least one")
    return kept["kept"]


def checked_evaluation(evaluation: Any, path: Any) -> Dict[str, Any]:
    """Return what an evaluation_<split>.json holds.

    Raises InputError if a measure, or the record of what was measured, is missing or impossible.
    Only the measures of calibration and of votes may be missing.
    """
    try:
        check(evaluation, EVALUATION, path)
        calibration = {name: rule for name, rule in CALIBRATION.items() if name in evaluation}
        check(evaluation, calibration, path)
        if "distribution" in evaluation:
            check(evaluation, {"distribution": DISTRIBUTION}, path)
    except Refused as error:
        raise InputError(f"{error.found}; {REMEASURE}") from None
    return evaluation


def checked_temperature(fitted: Any, path: Any) -> Dict[str, Any]:
    """Return what a <parameters>.temperature.json holds.

    Raises InputError if the temperature, or the list of files that it was fitted to, is missing or
    impossible.
    """
    try:
        check(fitted, TEMPERATURE, path)
    except Refused as error:
        raise InputError(f"{error.found}; {REFIT}") from None
    return fitted


def check(value: Any, rules: Rules, path: Any, prefix: str = "") -> None:
    """Raise Refused if a value is not an object, lacks an entry that has a rule, or breaks a
    rule.
    """
    if not isinstance(value, dict):
        raise refused(
            path, prefix.rstrip("., ") or "it", value, f"an object with {', '.join(rules)}"
        )
    for name, rule in rules.items():
        if isinstance(rule, (Rule, Option)):
            if name not in value or not rule.holds(value[name]):
                raise refused(path, prefix + name, value.get(name), rule.expected)
        elif name in value:
            check(value[name], rule, path, f"{prefix}{name}.")
        else:
            raise refused(path, prefix + name, None, f"an object with {', '.join(rule)}")


def plain(value: Any) -> Any:
    """Return a value in a form to compare with values from JSON. JSON has lists in place of tuples;
    1 and 1.0 are the same number in it, but true is not 1.
    """
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, bool) else value


def refused(path: Any, name: str, value: Any, expected: Any) -> Refused:
    """Return the error for a value that is not what it must be."""
    return Refused(f"{path}: {shown(name, 80)} is {shown(ascii(value), 80)}, expected {expected}")
