"""What is written in a run folder, checked before anything is made of it: it may be damaged, or
come from somebody who means harm.
"""

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Union

from mlr import paper
from mlr.errors import InputError, shown
from mlr.options.option import LARGEST, LONGEST, Option, each_of
from mlr.options.training import definitions, options_of_0_1_0

TEMPERATURES = 0.05, 20.0  # the lowest and the highest that a run's probabilities may have
FORMAT = 2  # of config.json; runs of 0.1.0 have none
MOST_CLASSES = 10000
REMEASURE = "measure the run again, with mlr evaluate"
REFIT = "fit it again, with mlr evaluate --split valid --fit-temperature"
CAUSE = "it was not written by this package, or is damaged: restore it from a copy, or train again"
# What config.json of 0.1.0 did not say yet.
NETWORK_BEFORE = {
    "kind": "multi_level",
    "taps": paper.TAPS,
    "widths": paper.BRANCH_WIDTHS,
    "gram_scale": 1.0,
    "fusion": "concat",
}


class Rule(NamedTuple):
    """What a value must be: a function that tells, and in words."""

    holds: Callable[[Any], bool]
    expected: str


# by the name of what they are of; a dict of them is for what is inside
Values = Union[Rule, Option]
Rules = Mapping[str, Union[Values, Mapping[str, Values]]]


def whole(lowest: int, highest: int) -> Rule:
    """Return the rule of a whole number, both bounds allowed."""
    return Rule(
        lambda value: type(value) is int and lowest <= value <= highest,
        f"a whole number from {lowest:d} to {highest:d}",
    )


def number(lowest: float, highest: float = LARGEST, above: bool = False) -> Rule:
    """Return the rule of a number, both bounds allowed; above: `lowest` itself is not."""
    return Rule(
        lambda value: (
            type(value) in (int, float)
            and lowest <= value <= highest
            and not (above and value == lowest)
        ),
        f"a number {'above' if above else 'from'} {lowest:g} to {highest:g}",
    )


def one_of(*names: Any) -> Rule:
    """Return the rule of a value that is one of these."""
    return Rule(lambda value: value in names, "one of " + ", ".join(map(str, names)))


def or_none(rule: Rule) -> Rule:
    """Return the rule of what holds for another rule, or is null."""
    return Rule(lambda value: value is None or rule.holds(value), rule.expected + ", or null")


def list_of(rule: Rule) -> Rule:
    """Return the rule of a list, for each item of which another rule holds."""
    return Rule(
        lambda value: isinstance(value, list) and all(map(rule.holds, value)),
        "a list, each item of it " + rule.expected,
    )


TEXT = Rule(
    lambda value: isinstance(value, str) and len(value) <= LONGEST and "\0" not in value,
    f"text of up to {LONGEST:d} characters",
)
PART = number(0, 1)

DATA: Dict[str, Rule] = {"folder": TEXT, "sha256": TEXT, "manifest": or_none(TEXT)}
HASHES = Rule(
    lambda value: isinstance(value, dict) and all(map(TEXT.holds, value.values())),
    "an object of SHA-256 by name",
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
CALIBRATION: Dict[str, Rule] = {  # which evaluations of before have not
    "expected_calibration_error": PART,
    "negative_log_likelihood": number(0),
    "temperature": or_none(number(*TEMPERATURES)),
}
DISTRIBUTION: Dict[str, Rule] = {  # of data with votes; rounding may leave one just out of bounds
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
    """Something that no file of a run may hold.

    Attribute: `found`, what and where, without the cause, which depends on who made it.
    """

    def __init__(self, found: str, cause: str = CAUSE):
        super().__init__(f"{found}; {cause}")
        self.found = found


def checked_config(config: Any, path: Any) -> Dict[str, Any]:
    """Return what config.json holds, in the present format.

    Raises Refused where anything that this package reads of it is missing, of a wrong type, out of
    range or unknown. Whether its parts fit each other, the run's method knows:
    `mlr.methods.method.Method.check`. path: the file's, for the error. What the package doesn't
    know of it is left alone.
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
    check(options, {"method": known["method"]}, path, "options.")
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
    """Raise Refused where what is said of several data sets, or of one, is not of each of them."""
    if len(several) == 1:
        if sets is not None:
            raise refused(path, f"{name}.sets", sets, f"none, as options.{name} is one folder")
    elif not isinstance(sets, list) or len(sets) != len(several):
        expected = f"a list with an object for each of options.{name}"
        raise refused(path, f"{name}.sets", sets, expected)
    for each in sets or ():
        check(each, DATA, path, f"{name}.sets.")


def upgraded(config: Dict[str, Any], path: Any) -> Dict[str, Any]:
    """Return a config.json in the present format: 0.1.0 wrote none, and called a method a row."""
    written = config.get("format", 1)
    if type(written) is not int or written not in (1, FORMAT):
        raise Refused(
            f"{path}: format is {shown(ascii(written), 80)}, and this version of mlr reads 1 and "
            f"{FORMAT}",
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
    """Return what classes.json holds, different names. Raises Refused otherwise."""
    if (
        not isinstance(classes, list)
        or not 2 <= len(classes) <= MOST_CLASSES
        or not all(TEXT.holds(name) and name for name in classes)
        or len(set(classes)) != len(classes)
    ):
        raise refused(path, "the list of classes", classes, "at least two different names")
    return classes


def checked_metrics(metrics: List[Any], path: Any) -> List[Dict[str, Any]]:
    """Return what the lines of metrics.jsonl hold, a list of dicts of numbers, one an epoch. Raises
    InputError otherwise.
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
    """Return what step.json holds, the fields of a `mlr.training.loop.Progress`. Raises InputError
    otherwise.
    """
    if isinstance(progress, dict) and "hits" in progress:  # as 0.1.0 wrote it
        progress = {"correct" if name == "hits" else name: progress[name] for name in progress}
    check(progress, PROGRESS, path)
    if set(progress) != set(PROGRESS):
        raise refused(path, "it", progress, ", ".join(PROGRESS))
    return progress


def checked_kept(kept: Any, images: int, path: Any) -> List[int]:
    """Return the numbers of the images, of so many, that a kept_<round>.json holds. Raises
    InputError otherwise.
    """
    check(kept, {"kept": list_of(whole(0, images - 1))}, path)
    if not kept["kept"] or len(set(kept["kept"])) != len(kept["kept"]):
        raise refused(path, "kept", kept["kept"], "different numbers, at least one")
    return kept["kept"]


def checked_evaluation(evaluation: Any, path: Any) -> Dict[str, Any]:
    """Return what an evaluation_<split>.json holds. Raises InputError where a measure is missing or
    impossible, or what it is of. Only those of calibration and of votes may be missing.
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
    """Return what a <parameters>.temperature.json holds. Raises InputError where the temperature or
    what it is for is missing or impossible.
    """
    try:
        check(fitted, TEMPERATURE, path)
    except Refused as error:
        raise InputError(f"{error.found}; {REFIT}") from None
    return fitted


def check(value: Any, rules: Rules, path: Any, prefix: str = "") -> None:
    """Raise Refused where rules don't hold for an object, or it lacks what they are of."""
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
    """Return a value as JSON compares it: JSON has no tuples, and 1 and 1.0 are one number in it,
    but True is none.
    """
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, bool) else value


def refused(path: Any, name: str, value: Any, expected: Any) -> Refused:
    """Return the error of a value that is not what it must be."""
    return Refused(f"{path}: {shown(name, 80)} is {shown(ascii(value), 80)}, expected {expected}")
