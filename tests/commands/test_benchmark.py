import ast
import json
import re
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

from mlr import benchmark
from mlr.benchmarking import busy, contestants, roofline
from mlr.benchmarking.changes import changes, read_benchmark
from mlr.benchmarking.comparisons import Comparison, comparisons, judged, line, table
from mlr.benchmarking.roofline import roof_line
from mlr.errors import RunError

ROOT = Path(__file__).parents[2]


def figures(**values):
    return {
        "seconds": 1.0,
        "images_per_second": 1.0,
        "difference": None,
        "same_label": None,
        "peak_mib": 1.0,
        "versions": {},
        **values,
    }


@pytest.mark.parametrize(
    "ratio, target, lower, cells",
    [
        (8, 8, False, ["8.00", "at least 8", "yes"]),
        (7.99, 8, False, ["7.99", "at least 8", "no"]),
        (0.75, 0.75, True, ["0.75", "at most 0.75", "yes"]),
        (0.76, 0.75, True, ["0.76", "at most 0.75", "no"]),
        (2, None, False, ["2.00", "", ""]),
    ],
)
def test_a_target_is_met_or_not(ratio, target, lower, cells):
    assert judged(ratio, target, lower) == cells


def test_a_row_has_the_medians_and_the_median_of_the_rounds_ratios():
    results = {
        ("training", 16, "mlr"): [figures(images_per_second=speed) for speed in (6, 60, 5)],
        ("training", 16, "PyTorch"): [figures(images_per_second=speed) for speed in (4, 0.4, 5)],
        ("inference", 1, "mlr"): [figures(seconds=0.05)],
        ("inference", 1, "PyTorch, compiled"): [figures(seconds=0.1, same_label=0.75)],
    }
    assert line(
        Comparison("a step", "training", 16, "images_per_second", "PyTorch", 1.5), results, {}
    ) == [
        # of 1.5, 150 and 1
        "a step",
        "PyTorch",
        "6 images/s",
        "4 images/s",
        "1.50",
        "at least 1.5",
        "yes",
    ]
    row = Comparison("an answer", "inference", 1, "seconds", "PyTorch, compiled", 0.4)
    assert line(row, results, {}) == [
        "an answer",
        "PyTorch, compiled",
        "50 ms",
        "100 ms, another class for 25 %",
        "0.50",
        "at most 0.4",
        "no",
    ]
    assert line(row, results, {("inference", 1, "PyTorch, compiled"): "not run: no torch"})[2:] == [
        "not run: no torch",
        "",
        "",
        "",
        "",
    ]


def test_every_contestant_is_there():
    for contestant in contestants.NAMED.values():
        assert (contestants.CONTESTANTS / contestant.script).is_file()
    assert {row.peer for row in comparisons(16)} | {"mlr"} == set(contestants.NAMED)


def benchmark_of(ratios, processor="A", lower_is_better=False):
    return {
        "version": "0.2.0",
        "date": "2026-11-26",
        "machine": {"processor": processor},
        "ratios": {
            name: {"rounds": rounds, "lower_is_better": lower_is_better}
            for name, rounds in ratios.items()
        },
    }


def test_a_change_is_beyond_the_spread_of_the_rounds(tmp_path):
    before = benchmark_of({"a": [1, 1.2, 1.1], "b": [2, 2.2, 2.1], "c": [3], "gone": [1]})
    now = benchmark_of({"a": [1.15, 1.3, 1.4], "b": [2.3, 2.4, 2.5], "c": [2.9], "new": [1]})
    first, *lines = changes(before, now, tmp_path / "old.json")
    assert first.endswith(
        "old.json (mlr 0.2.0, 2026-11-26): 2 of 3 ratios changed beyond the spread of the rounds"
    )
    assert lines == [
        "better: b: 2.10 (2.00 to 2.20) before, 2.40 (2.30 to 2.50) now",
        "worse: c: 3.00 (3.00 to 3.00) before, 2.90 (2.90 to 2.90) now",
    ]
    seconds = [benchmark_of({"a": [value]}, "AB"[value - 1], True) for value in (1, 2)]
    assert changes(*seconds, tmp_path)[1:] == [
        "it is from another processor, A: expect other ratios",
        "worse: a: 1.00 (1.00 to 1.00) before, 2.00 (2.00 to 2.00) now",
    ]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda found: found.pop("ratios"), "has no ratios: .* before version 0.2.0"),
        (lambda found: found.update(ratios=[]), "has no ratios"),
        (lambda found: found["ratios"]["a"].update(rounds=[]), "is damaged: give a file"),
        (lambda found: found["ratios"]["a"].update(rounds=["x"]), "is damaged"),
        (lambda found: found["ratios"]["a"].update(rounds=["1.2"]), "is damaged"),
        (lambda found: found["ratios"]["a"].pop("lower_is_better"), "is damaged"),
        (lambda found: found.pop("machine"), "is damaged"),
    ],
)
def test_what_is_no_benchmark_is_refused_before_hours_of_work(damage, message, tmp_path, capsys):
    found, path = benchmark_of({"a": [1]}), tmp_path / "old.json"
    path.write_text(json.dumps(found))
    assert read_benchmark(path) == found
    damage(found)
    path.write_text(json.dumps(found))
    assert benchmark.main(["--compare", str(path), "--out", str(tmp_path / "b.json")]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_other_sizes_are_not_compared(tmp_path, capsys):
    path, out = tmp_path / "old.json", tmp_path / "new.json"
    path.write_text(json.dumps({**benchmark_of({"a": [1]}), "batch_size": 16, "image_size": 224}))
    given = ["--compare", str(path), "--out", str(out)]
    assert benchmark.main([*given, "--image-size", "64"]) == 2
    assert "it was measured with --image-size 224, not 64" in capsys.readouterr().err
    assert benchmark.main([*given, "--only", "start"]) == 2
    assert "--compare has no effect on --only start: leave it out" in capsys.readouterr().err


def test_a_peer_that_fails_has_no_roof(tmp_path, monkeypatch):
    """The figures of hours would be lost; only the package's own failure ends the benchmark."""

    def run(contestant, *_):
        if contestant is failing:
            raise RunError("torch can't be imported")
        return {"way": "a product"}

    monkeypatch.setattr(roofline, "interpreter", lambda *_: Path("python"))
    monkeypatch.setattr(roofline, "run", run)
    options = Namespace(rounds=2, builds=tmp_path, batch_size=16)
    failing = roofline.NAMED["PyTorch"]
    assert roofline.roof(tmp_path, options) == [{"way": "a product"}] * 2
    failing = roofline.NAMED["mlr"]
    with pytest.raises(RunError, match="torch can't be imported"):
        roofline.roof(tmp_path, options)


def test_the_highest_rate_of_all_is_the_roof(monkeypatch):
    roofs = [{"flop_per_second": rate * 1e9, "way": f"at {rate}"} for rate in (100, 246, 200)]
    results = {("training", 16, "mlr"): [figures(images_per_second=speed) for speed in (4, 5, 9)]}
    options = Namespace(batch_size=16, image_size=224)
    assert roof_line(results, roofs, options)[1:] == [
        *("at 246", "123 GFLOP/s", "246 GFLOP/s", "0.50", "at least 0.6", "no")
    ]
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import contestant

    ways = {"slow": (lambda: time.sleep(0.02), 100), "fast": (lambda: None, 100)}
    found = contestant.highest_rate(ways, 1)
    assert found["way"] == "fast" and found["flop_per_second"] == max(found["ways"].values())


@pytest.mark.slow
def test_the_fair_share_beside_other_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(busy, "usable_cores", lambda: 2)
    monkeypatch.setattr(busy, "commands", lambda stem: {"it": ["predict", "--help"]})
    found = busy.busy_times(tmp_path, 1)
    assert list(found) == ["it"] and {load: len(each) for load, each in found["it"].items()} == {
        **{0: 1, 1: 1, 2: 1}
    }
    # alone 10 s: fair are 15 s beside one process, 20 s beside two
    assert busy.busy_lines({"it": {0: [10, 9, 12], 1: [15], 2: [40]}}) == [
        ["it, part of its fair share", "1 busy process", "10.0 s alone", "15.0 s"]
        + ["1.00", "at least 0.7", "yes"],
        ["it, part of its fair share", "2 busy processes", "10.0 s alone", "40.0 s"]
        + ["0.50", "at least 0.7", "no"],
    ]


def test_a_table_is_markdown():
    assert table([["a", "b", "c", "d", "e", "f", "g"]]).splitlines()[1:] == [
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| a | b | c | d | e | f | g |",
    ]


def test_an_existing_file_is_kept(tmp_path, command):
    out = tmp_path / "b.json"
    out.write_text("mine")
    done = command("benchmark", "--out", out)
    assert done.returncode == 2 and "exists already" in done.stderr and out.read_text() == "mine"


@pytest.mark.parametrize(
    "option, value", [("--batch-size", "4"), ("--image-size", "64"), ("--builds", "elsewhere")]
)
def test_options_without_effect_are_refused(tmp_path, capsys, option, value):
    assert (
        benchmark.main(
            ["--only", "start", option, value, "--out", str(tmp_path / "benchmark.json")]
        )
        == 2
    )
    assert f"{option} has no effect on --only start: leave it out" in capsys.readouterr().err


def test_a_quick_one_uses_no_builds(tmp_path, capsys):
    arguments = ["--quick", "--builds", "elsewhere", "--out", str(tmp_path / "benchmark.json")]
    assert benchmark.main(arguments) == 2
    assert "--builds has no effect on --quick: leave it out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option, value, highest",
    [("--batch-size", "100000", "65536"), ("--image-size", "4096", "2048")],
)
def test_sizes_that_no_memory_holds(capsys, option, value, highest):
    with pytest.raises(SystemExit, match="2"):
        benchmark.main([option, value])
    said = capsys.readouterr().err
    assert option in said and highest in said


def test_a_network_that_is_another_fails(tmp_path):
    """A contestant whose logits are not the given ones says so instead of a time."""
    (tmp_path / "one.py").write_text(
        f"import sys; sys.path.insert(0, {str(contestants.CONTESTANTS)!r})\nimport "
        f"contestant\ncontestant.main({{}}, inference=lambda given, options: lambda: "
        "given.logits * 1.001)\n"
    )
    import numpy as np

    np.savez(
        str(tmp_path / "given.npz"),
        images=np.zeros((2, 3, 4, 4)),
        labels=np.zeros(2),
        logits=np.ones((2, 8)),
    )
    done = subprocess.run(
        [
            sys.executable,
            str(tmp_path / "one.py"),
            "inference",
            "--given",
            str(tmp_path),
            "--batch",
            "2",
            "--steps",
            "1",
        ],
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 1
        and "the logits differ by 1.0e-03, so this is another network" in done.stderr
    )


def test_the_package_is_imported_before_mxnet():
    """It sets MXNet's threads, and MXNet reads them once: sorting the imports would lose that."""
    found = 0
    for path in [*(ROOT / "benchmarks").glob("*.py"), ROOT / "tests" / "conftest.py"]:
        imported = [
            name.split(".")[0]
            for node in ast.parse(path.read_text()).body
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in (
                [node.module]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
        ]
        if {"mlr", "mxnet"} <= set(imported):
            found += 1
            assert imported.index("mlr") < imported.index("mxnet"), path
    assert found >= 5


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 10), reason="the test extra has no PyTorch before 3.10")
@pytest.mark.parametrize("task", ["inference", "training"])
def test_pytorch_takes_what_is_exported(tmp_path, task):
    contestants.give(tmp_path, Namespace(batch_size=2, image_size=64), {"PyTorch"})
    found = contestants.run(contestants.NAMED["PyTorch"], sys.executable, task, 2, tmp_path)
    assert found["images_per_second"] > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 10), reason="the test extra has no PyTorch before 3.10")
def test_pytorch_trains_in_mixed_precision(monkeypatch):
    """As on a GPU, but on the CPU, and without torch.compile, which takes minutes."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import pytorch_device
    import torch

    net = pytorch_device.multilevel.MultiLevelNet(8, backbone="resnet18_v2_slim")
    settings = {"channels last": True, "mixed precision": True, "torch.compile": False}
    assert pytorch_device.images_per_second(net, torch.device("cpu"), 4, 1, settings) > 0


def rate(measured):
    return measured["flop_per_second"]


@pytest.mark.slow
def test_the_command_runs_on_tiny_sizes(tmp_path, command):
    out = tmp_path / "b.json"
    done = command(
        "benchmark",
        "--batch-size",
        2,
        "--image-size",
        64,
        "--rounds",
        1,
        "--builds",
        tmp_path / "none",
        "--out",
        out,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads(out.read_text())
    assert written["rounds"] == 1 and written["machine"]["threads"] >= 1
    cells = {(row[0], row[1]): row for row in written["table"]}
    assert "not run: there is no" in cells["training step", "PyTorch"][2]
    for row in (
        ("training step", "released style, this build"),
        ("input pipeline, one core", "released loader"),
    ):
        assert re.fullmatch(r"\d+\.\d\d", cells[row][4])
        assert f"| {' | '.join(cells[row])} |" in done.stdout
    assert cells["mlr predict, first answer", ""][2].endswith(" s")
    share = cells["training, share of the processor's rate", max(written["roof"], key=rate)["way"]]
    assert "counted for 224 px only" in share
    again = command(
        *("benchmark", "--quick", "--only", "pipeline", "--batch-size", 2, "--image-size", 64),
        *("--rounds", 1, "--compare", out, "--out", tmp_path / "again.json"),
    )
    assert again.returncode == 0 and f"against {out} (mlr " in again.stdout
