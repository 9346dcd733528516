"""What commands print: with names that no terminal shows, and where nobody takes it."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import TINY, write_images

from mlr import evaluate, predict, train, visualize
from mlr.cli import ended
from mlr.methods import METHODS
from mlr.runtime.output import guarded_streams, printable, warn

# a name in Latin-1 as Python reads it, and one that colours what follows
NO_TEXT, RED = "col\udce8re", "red\x1b[31m"
BACKBONE = METHODS["l_cil"].demo.backbone


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a\tb\nc é 悲 \u200c\u3000", "a\tb\nc é 悲 \u200c\u3000"),
        (NO_TEXT, "col\\xe8re"),
        (RED, "red\\x1b[31m"),
        ("\x07\r\x7f\x9b", "\\x07\\r\\x7f\\x9b"),
        ("\u2028\u202egpj", "\\u2028\\u202egpj"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_or_can_not_show_is_escaped(text, shown):
    assert printable(text) == shown


def test_a_warning_is_one_line_and_does_no_harm(monkeypatch, capsys):
    warn("a\n" + RED)
    assert capsys.readouterr().err == "warning: a\\nred\\x1b[31m\n"
    # closed from the beginning, and a pipe without a reader
    for stream in (None, Stream(fails_at="a")):
        monkeypatch.setattr(sys, "stderr", stream)
        warn("a")
    assert not capsys.readouterr().out


class Stream(io.TextIOWrapper):
    """A standard stream of an encoding, strict as in most locales. It fails once something is in it
    that is to be printed.
    """

    def __init__(self, encoding="utf-8", fails_at=None, error=errno.EPIPE):
        super().__init__(io.BytesIO(), encoding=encoding)
        self.fails_at, self.error = fails_at, error

    def write(self, text):
        if self.fails_at and self.fails_at in text:
            raise OSError(self.error, os.strerror(self.error))
        return super().write(text)

    @property
    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize(
    "encoding, shown",
    [("ascii", "\\xe9 \\u60b2 \\xe8"), ("latin-1", "é \\u60b2 \\xe8"), ("utf-8", "é 悲 \\xe8")],
)
def test_what_the_encoding_lacks_is_escaped(monkeypatch, encoding, shown):
    monkeypatch.setattr(sys, "stdout", Stream(encoding))
    monkeypatch.setattr(sys, "stderr", Stream(encoding))
    with guarded_streams():
        print("é 悲 \udce8")
        print("\r50 % \udce8\r", end="", file=sys.stderr)
    # a bar of progress goes back over the one before
    assert sys.stdout.text == shown + "\n" and sys.stderr.text == "\r50 % \\xe8\\r"


def mlr(*arguments, **options):
    """Run mlr with its output buffered, as it is outside of tests; return exit code and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "mlr", *arguments],
        text=True,
        **{"stderr": subprocess.PIPE, **options},
        env={
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONUNBUFFERED", "LANG")
        },
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help")])
def test_output_that_nobody_takes(arguments):
    """Python itself would complain at its end, and exit with 120."""
    reader, writer = os.pipe()
    os.close(reader)
    assert mlr(*arguments, stdout=writer) == (141, "")
    os.close(writer)
    with open("/dev/full", "w") as full:
        code, errors = mlr(*arguments, stdout=full)
    assert (
        code == 1
        and errors.count("\n") == 1
        and "error: the output of the command can't be written: No space left on device" in errors
    )


def test_streams_that_are_closed_from_the_beginning(tmp_path):
    def close(*numbers):
        return lambda: [os.close(number) for number in numbers]

    assert mlr("--help", preexec_fn=close(1)) == (0, "")
    assert mlr("dance", stderr=None, preexec_fn=close(0, 1, 2)) == (2, None)
    with open("/dev/full", "w") as full:
        assert mlr("dance", stderr=full) == (2, None)


@pytest.mark.parametrize(
    "error, said",
    [
        (MemoryError(), "mlr x: error: there is not enough memory: end other programs, or take"),
        (
            type("Fail", (RuntimeError,), {"__module__": "onnxruntime.capi.state"})("\nbad_alloc"),
            "mlr x: error: ONNX Runtime failed: bad_alloc",
        ),
    ],
)
def test_the_memory_does_not_suffice(capsys, error, said):
    def work():
        raise error

    assert ended("mlr x", work) == 1
    assert capsys.readouterr().err.startswith(said)


def test_a_name_that_is_too_long_is_wrong_input(tmp_path, capsys):
    assert ended("mlr x", (tmp_path / (300 * "a")).stat) == 2
    assert capsys.readouterr().err.startswith("mlr x: error: File name too long: ")


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    """Or what MXNet and the system print would be written into it."""
    code = (
        "import os, sys; from mlr.cli import ended\ndef work(): "
        f"open({str(tmp_path / 'file')!r}, 'w').write('kept'); os.write(2, b'noise'); "
        "os.system('echo noise')\nsys.exit(ended('mlr', work))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], preexec_fn=lambda: (os.close(1), os.close(2))
        ).returncode
        == 0
    )
    assert (tmp_path / "file").read_text() == "kept"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Renamed: OpenCV writes no file of a name that is not text."""
    data = write_images(
        tmp_path_factory.mktemp("odd") / "data", classes=("first", "second"), train=4
    )
    for split in data.iterdir():
        (split / "first").rename(split / NO_TEXT)
        (split / "second").rename(split / RED)
    data.rename(data.with_name("d\udce9j\udce0"))
    return data.with_name("d\udce9j\udce0")


def arguments(data, out):
    return ["--data", str(data), "--out", str(out), *TINY, "--backbone", BACKBONE, "--epochs", "2"]


@pytest.fixture(scope="module")
def odd(data, tmp_path_factory):
    """A run of classes with such names, and what its training printed."""
    run, stdout = tmp_path_factory.mktemp("run") / "run", sys.stdout
    sys.stdout = Stream()
    try:
        assert train.main(arguments(data, run)) == 0
        return run, sys.stdout.text
    finally:
        sys.stdout = stdout


@pytest.mark.parametrize(
    "error, code, said",
    [
        (
            errno.EPIPE,
            141,
            (
                "the program that reads its output has ended; what was saved before is kept; to go "
                "on: mlr train --resume --out "
            ),
        ),
        (errno.ENOSPC, 1, "the output of the command can't be written: No space left on device"),
    ],
)
def test_an_epoch_is_saved_before_it_is_printed(
    data, tmp_path, monkeypatch, capsys, error, code, said
):
    monkeypatch.setattr(sys, "stdout", Stream(fails_at="epoch 1", error=error))
    assert train.main(arguments(data, tmp_path / "run")) == code
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
    assert said in capsys.readouterr().err


def test_an_evaluation_is_saved_before_it_is_printed(odd, tmp_path, monkeypatch):
    run = shutil.copytree(str(odd[0]), str(tmp_path / "run"))
    monkeypatch.setattr(sys, "stdout", Stream(fails_at="accuracy"))
    assert evaluate.main(["--run", run]) == 141
    assert (tmp_path / "run" / "evaluation_test.json").exists()


def test_every_command_takes_every_name(odd, data, tmp_path, monkeypatch):
    run, printed = odd
    assert "d\\xe9j\\xe0" in printed and (run / "confusion.png").exists()
    out = Stream()
    monkeypatch.setattr(sys, "stdout", out)
    assert evaluate.main(["--run", str(run)]) == 0
    assert "col\\xe8re" in out.text and "red\\x1b[31m" in out.text and "\x1b" not in out.text
    image = data / "test" / RED / "00.jpg"
    assert predict.main(["--run", str(run), str(image)]) == 0
    assert "/d\\xe9j\\xe0/test/red\\x1b[31m/00.jpg\n" in out.text
    monkeypatch.setattr(sys, "stdout", Stream())
    assert predict.main(["--run", str(run), "--json", str(image)]) == 0
    answer = json.loads(sys.stdout.text)
    assert answer["image"] == str(image) and set(answer["probabilities"]) == {NO_TEXT, RED}
    assert (
        visualize.main(
            [
                "--run",
                str(run),
                "--image",
                str(image),
                "--view",
                "grad-cam",
                "--class",
                RED,
                "--out",
                str(tmp_path / "a.svg"),
            ]
        )
        == 0
    )
    # no control character is in well-formed XML
    ElementTree.parse(str(tmp_path / "a.svg"))
