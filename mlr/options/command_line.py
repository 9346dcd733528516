"""The options of a training on the command line and in a file."""

import argparse
import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional

from mlr.errors import InputError, shown
from mlr.options.option import SECTIONS, each_of, flag
from mlr.options.training import definitions, options_of_0_1_0

if TYPE_CHECKING:
    import yaml


def add_options(
    parser: argparse.ArgumentParser, words: Mapping[str, str], groups: Dict[str, Any]
) -> None:
    """Add every option of a training to a command, in groups; an option not given is None.

    words: {option: text to add to its help, such as its defaults}. groups: {section: group of
    argparse}; new groups are added to it.
    """
    for section in SECTIONS:
        groups.setdefault(section, parser.add_argument_group(section))
    for name, option in definitions().items():
        values: Dict[str, Any] = {"metavar": option.metavar}
        if option.choices and not option.parts:
            values = {"choices": option.choices}
        else:
            values["type"] = option.parse
        if option.several:
            values["action"] = Several
        described = option.help + words.get(name, "")
        groups[option.section].add_argument(
            flag(name), dest=name, help=described.replace("%", "%%"), **values
        )


class Several(argparse.Action):
    """Collects the values of an option that is given several times: one value, or a tuple."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        value: Any,
        option_string: Optional[str] = None,
    ) -> None:
        """Add a value. Raises ArgumentError if it was given before."""
        before = getattr(namespace, self.dest)
        if before is not None and value in each_of(before):
            raise argparse.ArgumentError(self, f"{value} is given twice")
        setattr(namespace, self.dest, value if before is None else (*each_of(before), value))


def read_options(path: Path) -> Dict[str, Any]:
    """Return the options in a YAML or JSON file, {name: value}, each checked.

    The file is a mapping of options, or a run's config.json, of which only `options` counts. Raises
    InputError if it can't be read, or has an unknown option or a wrong value.
    """
    import yaml

    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't read --config {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"--config {path} is not a text file: give a YAML or JSON file") from None
    try:
        document = yaml.compose(text, yaml.SafeLoader)
        loaded = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise InputError(
            f"--config {path}{line} is not valid YAML or JSON: correct it, or make a new file with "
            "--print-config"
        ) from None
    if isinstance(loaded, dict):
        refuse_repeated(document, path)
        if isinstance(loaded.get("options"), dict):
            of_today = "format" in loaded
            loaded = loaded["options"] if of_today else options_of_0_1_0(loaded["options"])
    if not isinstance(loaded, dict):
        raise InputError(
            f"--config {path} is not a mapping of options to values: write a line such as "
            "'epochs: 60' for each option, or make a file with --print-config"
        )
    known = definitions()
    for name, value in loaded.items():
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"the options are {', '.join(known)}"
            raise InputError(
                f"--config {path} sets {shown(str(name), 80)}, which is not an option: {hint}"
            )
        value = loaded[name] = known[name].read(value)
        if not known[name].holds(value):
            raise InputError(
                f"--config {path}: {name} is {shown(ascii(value), 80)}, expected "
                f"{known[name].expected}"
            )
    return loaded


def refuse_repeated(mapping: "yaml.MappingNode", path: Path) -> None:
    """Raise InputError if a mapping has a key twice, of which PyYAML takes the last."""
    lines: Dict[str, int] = {}
    for key, _ in mapping.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            raise InputError(
                f"--config {path} sets {shown(name, 80)} twice, in lines {lines[name]} and {line}: "
                "keep one of them"
            )
        lines[name] = line


def written(options: Mapping[str, Any]) -> str:
    """Return options as YAML text that `read_options` can read back from a file."""
    import yaml

    return yaml.safe_dump(dict(options), sort_keys=False, allow_unicode=True)
