"""What the documents name is there: links, files, names of the package, make's targets, commands
with their options, versions, counts, and the code that they quote.
"""

import doctest
import json
import re
import shlex
import textwrap
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import mlr
from mlr.__main__ import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name / "README.md" for name in ("checkpoints", "data", "imgs", "notebooks")),
    ]
)
# which also names what has gone
TODAYS = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
# data/ and runs/ are made by commands
FOLDERS = (
    ".ci",
    "benchmarks",
    "checkpoints",
    "docker",
    "docs",
    "imgs",
    "mlr",
    "notebooks",
    "tests",
)

COMMAND = re.compile(f"^(?:\\S*/)?mlr ({'|'.join(COMMANDS)})\\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
FILE_BELOW = re.compile(f"(?<![\\w./~$>-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\\w./-]*\\w")
FILE_NAME = re.compile(r"(?<![\w./-])[\w-]+\.(?:py|md|ipynb|cff)\b")
NAME = re.compile(r"(?<![\w./-])mlr(?:\.[A-Za-z_]\w*)+")


def code_of(path):
    """Return the lines of a document's code blocks, those that are continued joined, and its code
    spans.
    """
    lines, prose, fenced, block, before = [], [], False, False, ""
    text = re.sub(r" \\\n +", " ", path.read_text(encoding="utf-8"))
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
            continue
        block = (
            line.startswith("    ") and (block or not before.strip()) or block and not line.strip()
        )
        (lines if fenced or block else prose).append(line)
        before = line
    return [line.strip() for line in lines], [
        " ".join(span.split()) for span in re.findall(r"`([^`]+)`", "\n".join(prose))
    ]


def parser(command):
    return import_module("mlr." + command).parser()


@lru_cache(maxsize=None)  # a parser takes milliseconds, and a page has hundreds of options
def options_of(command):
    usage = parser(command).format_usage()
    for action in parser(command)._subparsers._group_actions if parser(command)._subparsers else ():
        usage += "".join(each.format_usage() for each in action.choices.values())
    return {*re.findall(r"--[a-z][\w-]*", usage), "--help"}


@pytest.fixture(params=TODAYS, ids=lambda path: str(path.relative_to(ROOT)))
def code(request):
    return code_of(request.param)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    assert [
        target
        for target in targets
        if not re.match(r"\w+:", target) and not (path.parent / target).exists()
    ] == []


def test_options_are_known_to_their_commands(code):
    """Also those that a comment behind a command speaks of; an option that stands alone is one of
    any command.
    """
    lines, spans = code
    unknown = []
    # behind it, mlr launch has the workers' command
    for text in [part for whole in lines + spans for part in whole.split(" -- ")]:
        command = COMMAND.match(text)
        known = (
            options_of(command[1])
            if command
            else set().union(*map(options_of, COMMANDS))
            if text.startswith("--")
            else None
        )
        if known is not None:
            unknown += [
                f"{option} in {text}" for option in OPTION.findall(text) if option not in known
            ]
    assert unknown == []


def test_commands_in_blocks_can_be_typed(code):
    """With what they require, and with values that their options take: else the parser says what is
    wrong, and exits.
    """
    for line in code[0]:
        command = COMMAND.match(line)
        if command:
            words = shlex.split(line, comments=True)
            print(line)
            parser(command[1]).parse_args(words[2:])


def test_files_are_there(code):
    """By their path from the root; Python's, Markdown's and notebooks also by their name alone."""
    names = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*")} | {
        path.name for path in ROOT.iterdir()
    }
    named = [text for part in code for text in part]
    below = [name for text in named for name in FILE_BELOW.findall(text) if "FILE" not in name]
    assert [name for name in below if not (ROOT / name).exists()] == []
    assert [name for text in named for name in FILE_NAME.findall(text) if name not in names] == []


def test_names_of_the_package_are_there(code):
    for name in {name for part in code for text in part for name in NAME.findall(text)}:
        print(name)
        found = mlr
        for number, part in enumerate(name.split(".")[1:], 2):
            try:
                found = getattr(found, part)
            except AttributeError:
                found = import_module(".".join(name.split(".")[:number]))


def test_targets_of_make_are_there(code):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    asked = {
        target
        for part in code
        for text in part
        for target in re.findall(r"(?:^|&& )make ([a-z][a-z-]*)", text)
    }
    assert asked <= targets


def test_documents_are_read():
    """The readers above see what is there: in each list something that this package must have."""
    lines, spans = code_of(ROOT / "README.md")
    assert any(
        line.startswith(".venv/bin/mlr train --config ") and line.endswith(" --out runs/mine")
        for line in lines
    )
    assert "mlr train --data data/mine --out runs/mine" in spans
    assert "--seed" in options_of("train") and FILE_BELOW.findall("see mlr/model/network.py.") == [
        "mlr/model/network.py"
    ]
    assert NAME.findall("`mlr.data.drawn.paintings.paint(x)`") == ["mlr.data.drawn.paintings.paint"]


def test_one_version_and_one_licence():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = dict(
        re.findall(r'^    (version|license)="(.+)",$', (ROOT / "setup.py").read_text(), flags=re.M)
    )
    assert (
        cited["cff-version"] == "1.2.0" and {"message", "title"} <= set(cited) and cited["authors"]
    )
    assert cited["version"] == package["version"] == mlr.__version__
    assert f"\n## {mlr.__version__} - " in (ROOT / "CHANGELOG.md").read_text()
    assert (
        cited["license"] == package["license"] == "Apache-2.0"
        and "Apache License" in (ROOT / "LICENSE").read_text()
    )


def test_card_and_sheet_are_of_what_ships():
    run = ROOT / "checkpoints" / "demo"
    card, sheet = (
        (ROOT / "docs" / name).read_text() for name in ("model-card-demo.md", "data-sheet.md")
    )
    sums = {
        name: digest
        for digest, name in map(str.split, (run / "SHA256SUMS").read_text().splitlines())
    }
    assert (
        sums["last.params"] in card
        and "{:,} bytes".format((run / "last.params").stat().st_size) in card
    )
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"{last['valid_balanced_accuracy']:.3f} on 160" in card
    for split, counts in json.loads((run / "config.json").read_text())["data"]["counts"].items():
        assert f"| {split} | {' | '.join(map(str, counts))} | {format(sum(counts), ',')} |" in sheet


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


def test_python_in_the_readme_prints_what_stands_there(monkeypatch):
    monkeypatch.chdir(ROOT)
    found = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert found.attempted == 3 and found.failed == 0


@pytest.mark.parametrize("path", TODAYS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_are_not_long(path):
    """But for tables and code, which can't be broken; RESULTS.md is a command's."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    long = [
        line for line in text.splitlines() if len(line) > 120 and not line.startswith(("|", "    "))
    ]
    assert long == [] or path.name == "RESULTS.md"


def test_quoted_code_is_in_the_files():
    page = (ROOT / "docs" / "the-paper.md").read_text(encoding="utf-8")
    quotes = re.findall(r'```python title="(.+?)"\n(.+?)```', page, flags=re.S)
    assert len(quotes) >= 10
    for name, quote in quotes:
        lines = [line.strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines()]
        wanted = [line.strip() for line in textwrap.dedent(quote).splitlines()]
        print(name, quote, sep="\n")
        assert any(lines[start : start + len(wanted)] == wanted for start in range(len(lines))), (
            f"docs/the-paper.md quotes what {name} has not"
        )


def test_every_public_name_is_in_the_reference():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in mlr.__all__:
        assert f"`mlr.{name}`" in page
        assert re.search(rf"^::: mlr\.[\w.]+\.{name}$", page, flags=re.M)
