"""Data sets are objects: nothing else knows them by name, and one more is one file."""

import argparse
import ast
import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from choices import choices_by
from conftest import TINY, write_images

import mlr
from mlr.data.layouts import DATASETS
from mlr.data.manifest import FOLDS, SPLITS
from mlr.prepare import parser

PACKAGE = Path(mlr.__file__).parent
PAGE = PACKAGE.parent / "docs" / "datasets.md"
# Words with another meaning, too: only where a data set is spoken of.
COMMON_WORDS = {"abstract", "csv", "folders"}

TOY = '''"""Toy: a list of file,emotion,split, for a test."""

from pathlib import Path

from mlr.data.layouts.data_set import FRACTIONS, DataSet, ReadingOption
from mlr.data.layouts.finding import folder_with
from mlr.data.listing import Listing, csv_rows


def read_toy(root: Path, listed: str = "all") -> Listing:
    """Return the images of the toy. listed: all, or those in a split."""
    top = folder_with(root, "toy.csv", "toy.csv")
    listing = Listing(root)
    for row in csv_rows(top / "toy.csv"):
        if len(row) != 3:
            listing.leave_out(",".join(row), "not file,emotion,split")
        elif row[2] or listed == "all":
            listing.add(row[0], row[1], split=row[2], listed=",".join(row))
    return listing


TOY = DataSet(
    name="toy",
    title="Toy",
    layout="toy.csv",
    read=read_toy,
    fractions=FRACTIONS,
    options=(ReadingOption("listed", ("all", "split"), "Toy: which images (default: all)"),),
)
'''


def choices_by_data_set(tree):
    """Yield the line and the names of each comparison with, or table by, a data set's name."""
    for node, found in choices_by(DATASETS, tree):
        if found - COMMON_WORDS or found and "data" in ast.dump(node).lower():
            yield node.lineno, found


@pytest.mark.parametrize(
    "path",
    [path for path in PACKAGE.rglob("*.py") if path.parent.name != "layouts"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_nothing_else_compares_a_data_sets_name(path):
    assert list(choices_by_data_set(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "x == 'fi'",
        "name in ('twitter1', 'y')",
        "{'iapsa': 1}[name]",
        "options.dataset == 'csv'",
        "t['artphoto']",
    ],
)
def test_a_comparison_is_found(code):
    assert list(choices_by_data_set(ast.parse(code)))


def test_every_file_is_a_data_set_or_what_they_share():
    files = {path.stem for path in (PACKAGE / "data" / "layouts").glob("*.py")}
    assert files == {*DATASETS, "__init__", "data_set", "finding"}
    for name, data_set in DATASETS.items():
        assert data_set.name == name
        assert set(data_set.fractions) <= set(SPLITS) or set(data_set.fractions) == set(FOLDS)
        assert sum(data_set.fractions.values()) == pytest.approx(1)  # of decimal fractions


def test_only_fi_has_published_accuracies():
    assert [name for name, each in DATASETS.items() if each.accuracies_published] == ["fi"]


def cells(line):
    return [cell.strip().replace("`", "") for cell in line.strip("|\n").split("|")]


def test_the_table_of_the_documents():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if cells(line)[0] == "data set")
    end = next(n for n, line in enumerate(lines) if n > start and not line.startswith("|"))
    rows = {row[2]: row for row in map(cells, lines[start + 2 : end])}
    assert set(rows) == set(DATASETS)
    for name, data_set in DATASETS.items():
        title, source, _, _, split = rows[name]
        assert (title, source) == (data_set.title, data_set.source)
        assert data_set.split in split


def test_the_help_lists_every_data_set():
    epilog = parser().epilog.split("data sets:\n")[1]
    assert [line.split()[0] for line in epilog.splitlines() if line[:3].strip()] == list(DATASETS)
    for data_set in DATASETS.values():
        assert f"{data_set.title}: {data_set.layout};" in " ".join(epilog.split())


def test_the_options_of_one_data_set_are_options_of_the_command():
    known = {
        option
        for action in parser()._actions
        if not isinstance(action, argparse._HelpAction)
        for option in action.option_strings
    }
    for data_set in DATASETS.values():
        assert {f"--{option.name}" for option in data_set.options} <= known


@pytest.mark.slow
def test_a_data_set_is_one_file(tmp_path, command):
    """A toy in a copy of the package: prepared with its own option, and trained on."""
    assert len(TOY.splitlines()) <= 40
    shutil.copytree(PACKAGE, tmp_path / "mlr", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "mlr" / "data" / "layouts" / "toy.py").write_text(TOY)
    root = tmp_path / "root"
    write_images(root, classes=("awe", "fear"), train=4, valid=2, test=1)
    rows = [
        (path.relative_to(root).as_posix(), path.parent.name, path.parent.parent.name)
        for path in sorted(root.rglob("*.*g"))
    ]
    with open(root / "toy.csv", "w", newline="") as file:
        # those of test are in no split
        csv.writer(file).writerows((*row[:2], row[2].replace("test", "")) for row in rows)
    assert "--listed {all,split}" in command("prepare", "--help", cwd=tmp_path).stdout
    wanted = ("prepare", "--root", root, "--listed", "split")
    done = command(*wanted, "--dataset", "toy", "--out", tmp_path / "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    described = json.loads((tmp_path / "data" / "prepared.json").read_text())
    assert (described["dataset"], described["listed"]) == ("toy", "split")
    assert described["counts"] == {
        "train": {"awe": 4, "fear": 4},
        "valid": {"awe": 2, "fear": 2},
    }
    assert Counter(row[2] for row in rows)["test"] == 2
    done = command(*wanted, "--dataset", "folders", "--out", tmp_path / "other", cwd=tmp_path)
    assert done.returncode == 2 and "--listed is not for --dataset folders" in done.stderr
    done = command(
        "train", "--data", tmp_path / "data", "--out", tmp_path / "run", *TINY, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "8 training and 4 validation images of 2 classes" in done.stdout
