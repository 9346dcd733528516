"""Bars on a terminal, lines in a log, and that neither is in the way of the work."""

import errno
import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import TINY, write_images

from mlr import evaluate
from mlr.data import splits
from mlr.data.examine import examine_images
from mlr.data.pixels import CachedImages
from mlr.inference.predictor import Predictor
from mlr.runtime import progress
from mlr.runtime.commands import Runner
from mlr.runtime.download import download
from mlr.runtime.output import guarded_streams
from mlr.runtime.progress import Bar, progress_over


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and fails once `error` is set."""

    encoding, error = "utf-8", None

    def isatty(self):
        return True

    def write(self, text):
        if self.error:
            raise self.error
        return super().write(text)


# Called within a test: pytest puts its own standard error back after the fixtures.
def a_terminal(monkeypatch):
    """Return a terminal, from now on the standard error."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def a_log(monkeypatch):
    """Return a stream that is no terminal, from now on the standard error, and the clock, in
    seconds, which stands until it is set.
    """
    clock = [0.0]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return sys.stderr, clock


def test_a_bar_on_a_terminal_has_the_time_that_is_left(monkeypatch):
    terminal = a_terminal(monkeypatch)
    with Bar("caching", 4, "images", done=1) as bar:
        bar.update()
        bar.refresh()
        shown = terminal.getvalue()
    assert "caching:  25%" in shown and "caching:  50%" in shown and "2/4 [" in shown
    assert "images/s]" in shown and "<" in shown  # [passed<left, pace]
    assert terminal.getvalue().endswith("\r") and "\n" not in terminal.getvalue()


def test_bytes_are_scaled(monkeypatch):
    terminal = a_terminal(monkeypatch)
    with Bar("a.params", 3_000_000, "B") as bar:
        bar.update(1_500_000)
        bar.refresh()
    assert "1.50M/3.00M" in terminal.getvalue()


def test_a_bar_is_drawn_a_few_times_a_second(monkeypatch):
    terminal = a_terminal(monkeypatch)
    assert len(list(progress_over(range(20000), "a", 20000, "b"))) == 20000
    # the machine would have to take five seconds for it
    assert terminal.getvalue().count("\r") < 25


def test_a_log_has_a_line_a_minute(monkeypatch):
    stream, clock = a_log(monkeypatch)
    with Bar("checking\nimages", 100, "files", done=10) as bar:
        for clock[0] in range(0, 180, 2):
            bar.update()
            bar.refresh()
    assert stream.getvalue().splitlines() == [
        # 31 in 60 seconds and 59 to do, then 61 in 120 and 29
        "checking\\nimages: 41 of 100 files, 01:54 left",
        "checking\\nimages: 71 of 100 files, 00:57 left",
    ]


def test_a_log_of_what_has_no_end_and_of_bytes(monkeypatch):
    stream, clock = a_log(monkeypatch)
    with Bar("a.zip", None, "B") as bar:
        clock[0] = 61
        bar.update(2_500_000)
    assert stream.getvalue() == "a.zip: 2.50MB\n"


def test_short_work_leaves_nothing_in_a_log(monkeypatch):
    stream, clock = a_log(monkeypatch)
    for clock[0] in progress_over(range(59), "a", 59, "b"):
        pass
    assert stream.getvalue() == ""


def test_the_other_workers_show_nothing(monkeypatch):
    terminal = a_terminal(monkeypatch)
    assert list(progress_over([1, 2], "a", 2, "b", shown=False)) == [1, 2]
    assert not terminal.getvalue()
    stream, clock = a_log(monkeypatch)
    for clock[0] in progress_over([100], "a", 1, "b", shown=False):
        pass
    assert not stream.getvalue()


def gone(stream):
    stream.error = OSError(errno.EIO, os.strerror(errno.EIO))


def broken(stream):
    stream.error = OSError(errno.EPIPE, os.strerror(errno.EPIPE))


@pytest.mark.parametrize("fails", [gone, broken, Terminal.close])
@pytest.mark.parametrize("before", [True, False])
def test_a_terminal_that_goes_does_not_end_the_work(monkeypatch, fails, before):
    terminal = a_terminal(monkeypatch)
    if before:
        fails(terminal)
    with Bar("a", 3, "b") as bar:
        for number in bar.over(range(3)):
            bar.refresh()
            if number == 1:
                fails(terminal)
    assert number == 2
    # nor that of another thread, which would wait for a lock that was never given back
    other = Thread(target=list, args=[progress_over([1], "a", 1, "b")], daemon=True)
    other.start()
    other.join(timeout=30)
    assert not other.is_alive()


def test_no_standard_error_at_all(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(progress, "LOGGED", 0.0)
    assert list(progress_over([1, 2], "a", 2, "b")) == [1, 2]


def test_a_bar_through_the_guarded_streams(monkeypatch):
    terminal = a_terminal(monkeypatch)
    with guarded_streams(), Bar("caf\x1b[31m", 2, "b") as bar:
        bar.refresh()
    assert "caf\\x1b[31m:   0%" in terminal.getvalue() and "\x1b" not in terminal.getvalue()


def test_every_reader_of_images_shows_a_bar(monkeypatch, tmp_path):
    terminal = a_terminal(monkeypatch)
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "cache"))
    data = write_images(tmp_path / "data")
    split = splits.read_split(data, "train")
    assert len(split.digests) == len(CachedImages(split, 16)) == 12
    names = [str(path.relative_to(data)) for path in split.paths]
    assert len(list(examine_images(data, names, tmp_path / "journal"))) == 12
    for what in ("checking images", "caching pixels", "reading images"):
        assert f"{what}:   0%" in terminal.getvalue()
    assert "| 0/12 [" in terminal.getvalue()


def test_a_download_shows_its_bytes(monkeypatch, tmp_path):
    terminal = a_terminal(monkeypatch)
    (tmp_path / "from").write_bytes(bytes(2000))
    download((tmp_path / "from").as_uri(), tmp_path / "a.params")
    assert "a.params: 0.00B [" in terminal.getvalue()  # of a file nobody tells the length


def test_predictions_are_counted_an_image_at_a_time(monkeypatch, tmp_path):
    """AR spends its time on the regions of each, long before a batch of them is answered."""
    terminal = a_terminal(monkeypatch)
    monkeypatch.setattr(progress, "REDRAWN", 0)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    seen = []

    def answer(images):
        seen.append(terminal.getvalue())
        return np.stack(images)

    classifier = SimpleNamespace(seen=lambda image, name: np.ones(2), probabilities=answer)
    Predictor(classifier, ["awe", "fear"]).of_files([tmp_path / "a.png"] * 3, ["a.png"] * 3)
    (before,) = seen
    assert all(f"| {part} [" in before for part in ("1/3", "2/3")) and "predicting:" in before


def test_int8_shows_its_calibration(monkeypatch, tmp_path):
    terminal = a_terminal(monkeypatch)
    pytest.importorskip("onnxruntime")
    from mlr.exporting.int8 import Reader, calibration_images

    split = splits.read_split(write_images(tmp_path / "data"), "train")
    images = calibration_images(split, lambda image: image)
    reader = Reader(np.repeat(images, 6, axis=0))  # 72 of them
    assert [len(reader.get_next()["images"]) for _ in range(3)] == [24] * 3
    assert reader.get_next() is None
    assert "reading images to calibrate on:   0%" in terminal.getvalue()
    assert "calibrating:   0%" in terminal.getvalue() and "| 0/3 [" in terminal.getvalue()


def test_reproduce_has_one_bar_of_trainings(monkeypatch, tmp_path, capsys):
    terminal = a_terminal(monkeypatch)
    runner = Runner(tmp_path, 1, 1, 3)
    runner.run_all(lambda *_: None, [(Path("first"), [])])
    runner.run_all(lambda *_: None, [(Path("second"), []), (Path("third"), [])])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/3] first" and {line[6:] for line in lines[1:]} == {"second", "third"}
    for done in range(4):
        assert f"{done}/3 [" in terminal.getvalue()


def test_an_evaluation_prints_the_same_with_a_bar_and_without(monkeypatch, trained, capsys):
    terminal = a_terminal(monkeypatch)
    arguments = ["--run", str(trained[0]), "--ctx", "cpu"]
    assert evaluate.main(arguments) == 0
    with_bar = capsys.readouterr().out
    assert "predicting:   0%" in terminal.getvalue()
    log, _ = a_log(monkeypatch)
    assert evaluate.main(arguments) == 0
    assert capsys.readouterr().out == with_bar and "%|" not in with_bar
    assert log.getvalue() == ""


def in_a_terminal(*arguments, leave=False):
    """Run mlr with a pseudo-terminal as its standard error. Return the exit code, the standard
    output and what the terminal got. leave: the terminal goes at once.
    """
    ours, its = pty.openpty()
    if leave:
        os.close(ours)
    process = subprocess.Popen(
        [sys.executable, "-m", "mlr", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=its,
        text=True,
    )
    os.close(its)
    shown = b""
    while not leave:
        try:
            part = os.read(ours, 4096)
        except OSError:  # EIO: the other end is closed
            part = b""
        if not part:
            os.close(ours)
            break
        shown += part
    printed, _ = process.communicate()
    return process.returncode, printed, shown.decode()


@pytest.mark.slow
def test_a_training_in_a_real_terminal(monkeypatch, data, tmp_path):
    monkeypatch.setenv("MLR_CACHE", str(tmp_path / "cache"))
    code, printed, shown = in_a_terminal(
        "train", "--data", data, "--out", tmp_path / "run", *TINY, "--epochs", "2"
    )
    assert code == 0, shown
    for what in ("checking images:", "caching pixels:", "epoch 1/2:", "epoch 1, valid:"):
        assert what in shown
    assert "epoch 2/2 (training: 00:" in shown
    lines = printed.splitlines()
    assert [line[:8] for line in lines[3:5]] == ["epoch 1,", "epoch 2,"] and len(lines) == 6
    assert "\r" not in printed and "\x1b" not in shown


def test_a_preparation_in_a_real_terminal(data, tmp_path):
    code, printed, shown = in_a_terminal(
        "prepare", "--dataset", "folders", "--root", data, "--out", tmp_path / "out"
    )
    assert code == 0 and "prepared: " in printed and "\r" not in printed
    assert "\rreading images:   0%|" in shown and shown.endswith("\r")


def test_a_real_terminal_that_has_gone(data, tmp_path):
    code, printed, _ = in_a_terminal(
        "prepare", "--dataset", "folders", "--root", data, "--out", tmp_path / "out", leave=True
    )
    assert code == 0 and "prepared: " in printed


def test_every_bar_is_of_this_module():
    """Or logs would get the carriage returns of another."""
    package = Path(progress.__file__).parents[1]
    users = {path for path in package.rglob("*.py") if "tqdm" in path.read_text()}
    assert users == {Path(progress.__file__)}
