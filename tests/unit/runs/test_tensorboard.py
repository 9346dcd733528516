"""What a training leaves where people look: metrics.csv, TensorBoard's events; and the switch for
CUDA graphs.
"""

import csv
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY, run_config, write_images
from mxnet import gluon
from numpy.testing import assert_allclose

from mlr import train
from mlr.methods import METHODS
from mlr.runs.folder import Run
from mlr.runs.tensorboard import TensorBoardFile
from mlr.runs.writing import RunWriter
from mlr.train import CUDA_GRAPHS
from mlr.training.checkpoints import state_of

ROOT = Path(__file__).parents[3]


def scalars(folder):
    """Read the one event file in a folder, by the format's description: {tag: [(step, value),
    ...]}.
    """
    from tensorboardX.proto.event_pb2 import Event

    (path,) = folder.iterdir()
    content, found, position = path.read_bytes(), {}, 0
    while position < len(content):
        (length,) = struct.unpack_from("<Q", content, position)
        event = Event.FromString(content[position + 12 : position + 12 + length])
        # length, its checksum, the event, its checksum
        position += 8 + 4 + length + 4
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.mark.slow
def test_events_and_csv_of_a_run_that_was_killed_and_resumed(command, tmp_path):
    data, run = write_images(tmp_path / "data"), tmp_path / "run"
    code = (
        "import os, sys, mlr.train; from mlr.runs.writing import RunWriter\n"
        "save = RunWriter.save_epoch\n"
        "RunWriter.save_epoch = lambda *arguments: (save(*arguments), os.kill(os.getpid(), 9))\n"
        "mlr.train.main(sys.argv[1:])"
    )
    arguments = ["--data", str(data), "--out", str(run), *TINY, "--epochs", "2", "--tensorboard"]
    assert (
        subprocess.run(
            [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL
        ).returncode
        == -9
    )
    # on the disk at the end of each epoch
    assert [step for step, _ in scalars(run / "tensorboard")["loss"]] == [1]
    assert "tensorboard" not in (run / "config.json").read_text().replace("--tensorboard", "")
    # which a run that has events keeps
    done = command("train", "--resume", "--out", run, "--ctx", "cpu")
    assert done.returncode == 0, done.stderr

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    found = scalars(run / "tensorboard")
    assert sorted(found) == sorted(set(lines[0]) - {"epoch"})
    for name, values in found.items():
        assert [step for step, _ in values] == [1, 2]
        # TensorBoard's scalars are float32
        assert_allclose([value for _, value in values], [line[name] for line in lines], rtol=1e-6)
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == lines
    assert Run.open(run).verified("metrics.csv") == run / "metrics.csv"


def test_events_are_written_anew(tmp_path):
    lines = [
        {"epoch": 1, "loss": 0.5, "test_accuracy": 0.25},
        {"epoch": 2, "loss": 0.25, "test_accuracy": 0.75, "target": True},
    ]
    # which the run then did not commit
    TensorBoardFile(tmp_path / "events", lines[:1]).add({"epoch": 2, "loss": 9.0})
    (tmp_path / "events" / "notes.txt").write_text("mine")
    (written,) = (tmp_path / "events").glob("events.*")
    # of an earlier second
    written.rename(written.with_name("events.out.tfevents.1.host"))
    TensorBoardFile(tmp_path / "events", lines[:1]).add(lines[1])
    assert (tmp_path / "events" / "notes.txt").read_text() == "mine"
    (tmp_path / "events" / "notes.txt").unlink()
    assert scalars(tmp_path / "events") == {
        "loss": [(1, 0.5)],
        "test_accuracy": [(1, 0.25)],
        "target/loss": [(2, 0.25)],
        "target/test_accuracy": [(2, 0.75)],
    }


def test_csv_has_a_column_for_whatever_an_epoch_tells(tmp_path):
    net = gluon.nn.Dense(1, in_units=1)
    net.initialize()
    trainer = gluon.Trainer(net.collect_params(), "sgd", update_on_kvstore=False)
    config = run_config(METHODS["l_cil"].demo, 2)
    run = RunWriter.create(tmp_path / "run", config, ["awe", "fear"])
    run.save_epoch(state_of(net, trainer), {"epoch": 1, "loss": 1 / 3})
    run.save_epoch(state_of(net, trainer), {"epoch": 2, "loss": 0.5, "target": True})
    assert (
        run.folder / "metrics.csv"
    ).read_bytes() == b"epoch,loss,target\n1,0.3333333333333333,\n2,0.5,True\n"


def test_without_tensorboardx_nothing_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    data = write_images(tmp_path / "data")
    assert (
        train.main(["--data", str(data), "--out", str(tmp_path / "run"), *TINY, "--tensorboard"])
        == 2
    )
    assert capsys.readouterr().err == (
        "mlr train: error: --tensorboard needs the package tensorboardX: pip install "
        "'mlr[tensorboard]'\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "version, value, said",
    [
        (
            "1.5.1",
            None,
            (
                "mxnet-cu101 1.5.1 has no CUDA graphs, which came with 1.8: training uses only "
                "the static graph (static_alloc, static_shape)"
            ),
        ),
        ("1.7.0", None, "mxnet-cu101 1.7.0 has no CUDA graphs"),
        ("1.8.0", "1", ""),
        ("1.10.0", "1", ""),
        (None, "1", ""),
    ],
)
def test_cuda_graphs_are_asked_for_before_mxnet_loads(tmp_path, version, value, said):
    """With an MXNet that only tells whether it was asked. Without a distribution it is built from
    source, of any version.
    """
    (tmp_path / "mxnet.py").write_text(
        f"import os\nprint('asked', os.environ.get({CUDA_GRAPHS!r}))\nraise OSError('no more "
        "than this')\n"
    )
    if version:
        (tmp_path / (f"mxnet_cu101-{version}.dist-info")).mkdir()
        (tmp_path / (f"mxnet_cu101-{version}.dist-info") / "METADATA").write_text(
            f"Name: mxnet-cu101\nVersion: {version}\n"
        )
    # MXNet's own distribution
    code = (
        "import sys, mlr.train; sys.path[:] = [path for path in sys.path if 'site-packages' not "
        "in path]\n"
        "sys.exit(mlr.train.main(['--cuda-graphs', '--resume', '--out', 'x']))"
    )
    environment = {name: text for name, text in os.environ.items() if name != CUDA_GRAPHS}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "no more than this" in done.stderr
    assert done.stdout.startswith(said) and done.stdout.endswith(f"asked {value}\n")
    assert len(done.stdout.splitlines()) == (2 if said else 1)
