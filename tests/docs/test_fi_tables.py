"""The tables of docs/results/FI.md are of the runs in the CSV files beside it."""

import csv
import re
import runpy
from pathlib import Path
from statistics import mean, stdev

import pytest

from mlr.runs.results import METRICS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
# {row of a table: (CSV file, name of the run without its seed)}
CLAIMS = {
    "fine-tuned, cross entropy": "finetuned",
    "with shallow branches, cross entropy": "l_cil-cross_entropy",
    "fine-tuned, the loss as written": "finetuned-class_imbalance-written",
    "fine-tuned, the loss as released": "finetuned-class_imbalance",
    "L_cil (shallow branches), the loss as written": "l_cil-written",
    "L_cil (shallow branches), the loss as released": "l_cil",
}
SETTINGS = {
    "taps as the widths suggest": "l_cil-by-width-cross_entropy",
    "taps of the last three levels": "l_cil-last-cross_entropy",
    "branches 64 wide": "l_cil-64-cross_entropy",
    "Gram matrices times 100": "l_cil-100.0-cross_entropy",
    "new layers learn as fast as the others": "l_cil-cross_entropy-1.0",
    "style 256 wide": "l_cil-256-cross_entropy",
    "dropout 0.5": "l_cil-0.5-cross_entropy",
}
OTHERS = {
    "AR: affective regions": "ar",
    "PCNN": "pcnn",
    "shallow branches alone, cross entropy": "shallow-cross_entropy",
}
TABLES = {
    "The two claims, 8 classes": {row: ("fi-claims-8", run) for row, run in CLAIMS.items()},
    "The two claims, 2 classes": {row: ("fi-claims-2", run) for row, run in CLAIMS.items()},
    "Settings of the shallow branches, 8 classes": {
        "no branches": ("fi-claims-8", "finetuned"),
        "as released": ("fi-claims-8", "l_cil-cross_entropy"),
        **{row: ("fi-settings-8", run) for row, run in SETTINGS.items()},
    },
    "Other methods, 8 classes": {
        "fine-tuned, cross entropy": ("fi-claims-8", "finetuned"),
        **{row: ("fi-others-8", run) for row, run in OTHERS.items()},
    },
    "Other methods, 2 classes": {
        "fine-tuned, cross entropy": ("fi-claims-2", "finetuned"),
        **{row: ("fi-others-2", run) for row, run in OTHERS.items()},
    },
}
# Columns of FI.md, and those of the CSV files. Runs from before docs/results/fi_runs.py lack some.
COLUMNS = {
    **{shown: name for name, shown in METRICS.items()},
    "test: accuracy": "accuracy",
    "valid: accuracy": "valid_accuracy",
    "sentiment": "sentiment_accuracy",
    **{
        f"recall of {name}": f"recall_{name}"
        for name in ("fear", "anger", "contentment", "negative", "positive")
    },
}


def runs_of(name, run):
    with open(RESULTS / f"{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if re.fullmatch(re.escape(run) + "-seed[0-9]+", row["run"])]


def spread(values):
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def table_below(heading):
    """Return the header and the rows of the first table below a heading of FI.md."""
    section = (RESULTS / "FI.md").read_text().partition(f"### {heading}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    header, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return header, {row[0]: dict(zip(header, row)) for row in rows}


@pytest.mark.parametrize("heading", TABLES)
def test_a_table_is_of_its_runs(heading):
    header, rows = table_below(heading)
    assert set(rows) == set(TABLES[heading])
    for title, (file, run) in TABLES[heading].items():
        runs = runs_of(file, run)
        assert rows[title]["seeds"] == str(len(runs)), title
        for shown in set(header) & set(COLUMNS):
            values = [float(each[COLUMNS[shown]]) for each in runs if each.get(COLUMNS[shown])]
            if len(values) == len(runs):
                assert rows[title][shown] == spread(values), (title, shown)
        assert "accuracy" in header or "test: accuracy" in header


def test_the_curve_is_of_its_runs():
    header, rows = table_below("The number of training images, 8 classes")
    of_parts = dict(zip(header[1:], ("-0.1", "-0.3", "")))
    for title, name in (
        ("fine-tuned, no branches", "finetuned{}"),
        ("with shallow branches", "l_cil{}-cross_entropy"),
    ):
        for shown, part in of_parts.items():
            runs = runs_of("fi-curve-8" if part else "fi-claims-8", name.format(part))
            measures = [
                spread([float(each[measure]) for each in runs])
                for measure in ("accuracy", "balanced_accuracy")
            ]
            assert rows[title][shown] == f"{'; '.join(measures)} ({len(runs)})"


STYLES = {
    "shallow branches alone, 8 classes": "others-8/shallow-cross_entropy",
    "shallow branches alone, 2 classes": "others-2/shallow-cross_entropy",
    "with shallow branches, cross entropy, 2 classes": "claims-2/l_cil-cross_entropy",
    "L_cil, the loss as written, 2 classes": "claims-2/l_cil-written",
    "L_cil, the loss as released, 2 classes": "claims-2/l_cil",
    "with shallow branches, cross entropy, 8 classes, 10 % of the images": (
        "curve-8/l_cil-0.1-cross_entropy"
    ),
}


def test_the_styles_statistics_are_of_their_runs():
    _, rows = table_below("The branches' batch norm, on valid")
    assert set(rows) == set(STYLES)
    for title, run in STYLES.items():
        runs = runs_of("fi-style", run)
        cells = [
            spread([float(each[measure]) for each in runs if each["statistics"] == statistics])
            for measure in ("valid_accuracy", "valid_balanced_accuracy")
            for statistics in ("as trained", "without dropout")
        ]
        line = f"| {title} | {len(runs) // 2} | {' | '.join(cells)} |"
        assert line in (RESULTS / "FI.md").read_text()


def test_the_accuracy_by_sentiment():
    """Of 10 images 6 have the right class, and 2 another one of the same sentiment."""
    script = runpy.run_path(str(RESULTS / "fi_runs.py"))
    confusion = [[3, 0, 1], [0, 2, 1], [1, 1, 1]]
    assert script["sentiment_accuracy"](confusion, ["anger", "awe", "fear"]) == 0.8


def test_a_folder_without_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["fi_runs.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="holds no run that was measured on test"):
        runpy.run_path(str(RESULTS / "fi_runs.py"), run_name="__main__")
