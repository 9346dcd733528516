"""mlr report: runs side by side on a page, which is opened in Debian's Chromium, too."""

import json
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from browser import in_chromium, probed
from conftest import evaluation_of, run_config

from mlr.methods import METHODS
from mlr.report import main
from mlr.runs.writing import RunWriter
from mlr.training.metrics import calibration_metrics, classification_metrics

CLASSES = ["awe", "fear"]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Make a run that has ended some of its two epochs, and is measured if there are answers, one
    an image: two of each class. The working folder is that of the folder runs.
    """
    monkeypatch.chdir(tmp_path)

    def make(name, answers=(0, 0, 1, 1), epochs=2, classes=CLASSES, data="d", seed=0, **options):
        method = METHODS[options.pop("method", "l_cil")]
        wanted = replace(method.demo, epochs=2, **options)
        described = {"folder": "data", "sha256": data * 64, "manifest": None, "counts": {}}
        config = run_config(wanted, len(classes), seed, data=described)
        run = RunWriter.create(tmp_path / "runs" / name, config, list(classes))
        lines = [
            {
                "epoch": epoch,
                "loss": 1.0 / epoch,
                "valid_balanced_accuracy": 0.5,
                "seconds": 3.0,
            }
            for epoch in range(1, epochs + 1)
        ]
        if epochs:
            run.save_parameters({"a": np.zeros(1, np.float32)}, lines)
        if answers:
            labels = np.repeat(range(len(classes)), 2)
            probabilities = 0.9 * np.eye(len(classes))[list(answers)] + 0.1 / len(classes)
            result = {
                **classification_metrics(labels, answers, classes),
                **calibration_metrics(labels, probabilities),
            }
            path = run.folder / "evaluation_test.json"
            path.write_text(json.dumps(evaluation_of(run, result, sha256=data * 64)))
        return run.folder

    return make


def rows(html, heading):
    """Return the rows of the table below a heading, lists of text."""
    table = html.partition(f"<h2>{heading}</h2>")[2].partition("</table>")[0]
    return [
        [unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall("<tr>(.*?)</tr>", table)
    ]


def page_of(*arguments, out="report.html"):
    assert main([*map(str, arguments), "--out", out]) == 0
    return Path(out).read_text(encoding="utf-8")


def test_runs_side_by_side(made, capsys):
    runs = [made("one"), made("two", (0, 1, 1, 1), seed=3, gamma=2.0), made("vgg", method="vgg16")]
    html = page_of(*runs)
    assert capsys.readouterr() == ("3 runs side by side: report.html\n", "")
    assert rows(html, "Results") == [
        [
            *("run", "accuracy", "balanced accuracy", "macro F1", "worst class recall"),
            *("calibration error", "split", "images", "epochs", "training, s"),
        ],
        ["one", "1.000", "1.000", "1.000", "1.000", "0.050", "test", "4", "2", "6"],
        # recalls 1/2 and 1; F1 2/3 and 4/5; confidence 0.95 of what is right in 3 of 4
        ["two", "0.750", "0.750", "0.733", "0.500", "0.200", "test", "4", "2", "6"],
        ["vgg", "1.000", "1.000", "1.000", "1.000", "0.050", "test", "4", "2", "6"],
    ]
    options = {name: values for name, *values in rows(html, "Options that differ")}
    assert options["option"] == ["one", "two", "vgg"]
    assert options["seed"] == ["0", "3", "0"] and options["method"] == ["l_cil", "l_cil", "vgg16"]
    assert options["fusion"][2] == "-" and options["gamma"][:2] == ["1.0", "2.0"]
    assert not {"labels", "image_size", "epochs"} & set(options)
    # two curves, three confusion matrices, and losses that are not the same
    assert html.count("<img ") == 5 and "losses, whose values can't be compared" in unescape(html)


def test_equal_options_are_not_listed(made):
    html = unescape(page_of(made("one"), made("two")))
    assert rows(html, "Options that differ") == [] and "All options are the same" in html
    assert "training loss by epoch" in html and "whose values can't be compared" not in html


def test_what_is_wrong_is_said_on_the_page_and_on_the_standard_error(made, tmp_path, capsys):
    good, begun, unmeasured = made("good"), made("begun", None, 1), made("un measured", None)
    never = made("never", None, 0)
    stale, damaged, broken = made("stale"), made("damaged"), made("broken")
    evaluation = json.loads((stale / "evaluation_test.json").read_text())
    evaluation["files"] = {"last.params": "0" * 64}
    (stale / "evaluation_test.json").write_text(json.dumps(evaluation))
    (damaged / "last.params").write_bytes(b"other")
    (broken / "config.json").write_text("{")
    (tmp_path / "file").write_text("x")
    others = [tmp_path / "file", tmp_path / "nowhere", tmp_path]
    html = page_of(good, begun, unmeasured, never, stale, damaged, broken, *others)
    said = [line.partition("warning: ")[2] for line in capsys.readouterr().err.splitlines()]
    assert len(said) == 9
    for line, expected in zip(
        said,
        (
            f"{begun} is not finished, with 1 of 2 epochs: continue it with mlr train --resume "
            f"--out {begun}",
            f"{unmeasured} has no results yet: measure them with mlr evaluate --run '{unmeasured}'",
            f"{never} is not finished, with 0 of 2 epochs",
            f"without results: {stale}/evaluation_test.json was measured with parameters that "
            "the run no long",
            f"without results: {damaged}/last.params is missing, damaged or changed",
            f"left out: {broken}/config.json is missing, damaged or changed",
            f"left out: {tmp_path}/file is not a run folder",
            f"left out: {tmp_path}/nowhere is not a run folder",
            f"left out: {tmp_path} is not a run folder",
        ),
    ):
        assert line.startswith(expected)
    assert [unescape(each) for each in re.findall('<p class="note">(.*?)</p>', html)] == said
    results = {name: cells for name, *cells in rows(html, "Results")[1:]}
    assert list(results) == ["good", "begun", "un measured", "never", "stale", "damaged"]
    assert results["never"] == ["-"] * 7 + ["0 of 2", "-"]
    assert results["begun"] == ["-"] * 7 + ["1 of 2", "3"] and results["stale"][0] == "-"


def test_runs_of_other_images_or_classes_are_told(made, capsys):
    page_of(made("a"), made("b", data="f"), made("c", (0, 0, 1, 1, 2, 2), classes=[*CLASSES, "x"]))
    said = capsys.readouterr().err
    for part in (
        "were trained on different images, so their results can't be compared: a, c: data "
        "(SHA-256 dddddddd); b: data (SHA-256 ffffffff)",
        "were measured on different images, so their results can't be compared: a, c: test of data",
        "have different classes, so their results can't be compared: a, b: awe, fear; "
        "c: awe, fear, x",
    ):
        assert f"warning: the runs {part}" in said


def test_the_same_images_in_another_folder_are_the_same(made, capsys):
    one, two = made("a"), made("b")
    config = json.loads((two / "config.json").read_text())
    config["data"]["folder"] = "elsewhere/data"
    RunWriter.open(two).save_files({"config.json": json.dumps(config)})
    page_of(one, two)
    assert "different images" not in capsys.readouterr().err


def test_no_run_is_an_error(made, tmp_path, capsys):
    assert main([str(tmp_path / "a"), str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "mlr report: error: none of the 2 folders holds a run that can be read" in said
    assert f"{tmp_path}/a is not a run folder" in said and not (tmp_path / "report.html").exists()


def test_each_fold_is_a_run_and_each_run_is_there_once(made, tmp_path):
    made("cross/fold-1"), made("cross/fold-2"), made("other/fold-1")
    cross, other = tmp_path / "runs" / "cross", tmp_path / "runs" / "other"
    html = page_of(cross, cross / "fold-2", f"{other}/", cross / "fold-1")
    names = [row[0] for row in rows(html, "Results")[1:]]
    assert names == ["cross/fold-1", "cross/fold-2", "other/fold-1"]
    html = page_of(cross / "fold-1", shutil.copytree(cross, tmp_path / "b" / "cross") / "fold-1")
    names = [row[0] for row in rows(html, "Results")[1:]]
    assert names == [f"{cross}/fold-1", f"{tmp_path}/b/cross/fold-1"]


def test_the_page_may_lie_beside_the_runs(made, tmp_path, capsys):
    made("one")
    for _ in range(2):
        page_of(*sorted((tmp_path / "runs").iterdir()), out="runs/report.html")
    assert capsys.readouterr().err == ""


def test_an_evaluation_on_valid_stands_in(made):
    run = made("one")
    evaluation = json.loads((run / "evaluation_test.json").read_text())
    (run / "evaluation_test.json").unlink()
    (run / "evaluation_valid.json").write_text(json.dumps({**evaluation, "split": "valid"}))
    assert rows(page_of(run), "Results")[1][6] == "valid"


def test_a_confusion_that_is_none_is_left_out(made):
    run = made("one")
    evaluation = json.loads((run / "evaluation_test.json").read_text())
    for counts in (None, [[1, 2]], [[1, 2], [3, "<b>"]]):
        evaluation["confusion"] = counts
        (run / "evaluation_test.json").write_text(json.dumps(evaluation))
        html = page_of(run)
        assert "<h2>Confusion</h2>" not in html and "1.000" in html


HOSTILE = "<script>alert(1)<b>\"'&amp;"


def test_hostile_names_are_text(made):
    classes = ['"><img src=x onerror=alert(1)>', "$\\frac{$"]
    html = page_of(made(HOSTILE.replace("/", ""), classes=classes), made("b", data="<"))
    assert html.count("<script>") == 1 and "<b>" not in html and "<img src=x" not in html
    assert rows(html, "Results")[1][0] == HOSTILE


def test_only_a_page_of_its_own_is_replaced(made, tmp_path, capsys):
    run = made("one")
    page_of(run)
    page_of(run, made("two"))
    assert "2 runs side by side" in (tmp_path / "report.html").read_text()
    (tmp_path / "mine.html").write_text("mine")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").write_text("x")
    for out, message in (
        ("mine.html", "mine.html exists already: give another --out, or remove it"),
        ("folder.html", "give the name of a file that ends with .html or .htm"),
        ("page.png", "give the name of a file that ends with .html or .htm"),
        ("file/a.html", "is not a folder, or you may not write to it"),
    ):
        assert main([str(run), "--out", out]) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "mine.html").read_text() == "mine"


# The only other script that the page's policy is made to allow: it clicks, and tells what is seen.
PROBE = """<script nonce="probe">
const seen = {errors: [], orders: []};
const refused = event => seen.errors.push(event.violatedDirective);
addEventListener("securitypolicyviolation", refused);
addEventListener("load", () => {
  const table = document.querySelector("table.sortable");
  const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join(" ");
  seen.orders.push(order());
  for (const column of [1, 1, 0, 0]) {
    const heading = table.tHead.rows[0].cells[column];
    heading.querySelector("button").click();
    seen.orders.push(order() + " " + heading.getAttribute("aria-sort"));
  }
  seen.sorted = table.querySelectorAll("[aria-sort]").length;
  seen.width = document.documentElement.scrollWidth;
  const answer = document.createElement("pre");
  answer.id = "probe";
  answer.textContent = JSON.stringify(seen);
  document.body.append(answer);
});
</script>"""


@in_chromium
def test_a_click_on_a_heading_sorts_the_table(made, tmp_path):
    runs = [made("run10", (0, 1, 1, 1)), made("none", None), made("run9"), made("run8", (1,) * 4)]
    html = page_of(*runs).replace("script-src ", "script-src 'nonce-probe' ", 1)
    assert html.count("script-src 'nonce-probe' 'sha256-") == 1
    (tmp_path / "probed.html").write_text(html.replace("<title>", PROBE + "<title>"))
    seen, _ = probed(tmp_path / "probed.html")
    assert seen["orders"] == [
        "run10 none run9 run8",
        "run9 run10 run8 none descending",  # accuracy; what has none stays at the end
        "run8 run10 run9 none ascending",
        "none run8 run9 run10 ascending",  # names, with their numbers as numbers
        "run10 run9 run8 none descending",
    ]
    assert seen["errors"] == [] and seen["sorted"] == 1
    assert seen["width"] <= 600  # the wide tables scroll by themselves
