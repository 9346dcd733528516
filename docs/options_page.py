"""docs/options.md, written from the options' definitions and the methods' defaults.

.venv/bin/python docs/options_page.py > docs/options.md
"""

from typing import Any, List

from mlr.methods import METHODS
from mlr.options.option import SECTIONS, Option, flag
from mlr.options.training import TrainingOptions, definitions

HEAD = """# Options of `mlr train`

Made by `.venv/bin/python docs/options_page.py`; a test holds this page to the definitions in
`mlr/options/training.py` and `mlr/methods/`. The same names, without `--` and with `_` for `-`,
stand in a file for `--config` and in a run's `config.json`. What belongs to one session on one
machine (`--out`, `--resume`, `--ctx`, ...) is in `mlr train --help`.
"""


def page() -> str:
    """Return the page: a table of each section, and one of the methods' own defaults."""
    lines = [HEAD]
    usual = TrainingOptions()
    for section in SECTIONS:
        rows = [
            [
                f"`{flag(name)}`",
                sentence(option),
                option.expected,
                shown(getattr(usual, name)),
                methods_with(name),
            ]
            for name, option in definitions().items()
            if option.section == section
        ]
        if rows:
            lines += [f"## {section.capitalize()}", ""]
            lines += table(["option", "what it is", "values", "default", "methods"], rows) + [""]
    names = [name for name in definitions() if name not in ("data", "labels", "fold", "seed")]
    for title, which in (("Defaults of each method", "released"), ("On the demo data", "demo")):
        defaults = {name: getattr(method, which) for name, method in METHODS.items()}
        rows = [
            [f"`{flag(name)}`"]
            + [
                shown(getattr(defaults[method.name], name)) if name in method.options else ""
                for method in METHODS.values()
            ]
            for name in names
        ]
        lines += [f"## {title}", ""] + table(["option", *METHODS], rows) + [""]
    return "\n".join(lines)


def sentence(option: Option) -> str:
    """Return what an option is, with a capital, unless it begins with a value of the option."""
    first = option.help.partition(":")[0]
    return option.help if first in option.choices else option.help[0].upper() + option.help[1:]


def methods_with(name: str) -> str:
    """Return which methods have an option, in words."""
    having = [method.name for method in METHODS.values() if name in method.options]
    return "all" if len(having) == len(METHODS) else ", ".join(having)


def shown(value: Any) -> str:
    """Return a default as a cell of a table."""
    return "none" if value is None else str(value)


def table(head: List[str], rows: List[List[str]]) -> List[str]:
    """Return the lines of a table in Markdown."""
    cells = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(escaped, row))} |" for row in cells]


def escaped(cell: str) -> str:
    """Return text as a cell of a table shows it."""
    return cell.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
