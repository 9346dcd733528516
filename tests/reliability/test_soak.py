"""The benchmark of long use: what it calls flat, and that it sees what a process holds."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.fixture
def soak(monkeypatch):
    monkeypatch.syspath_prepend(str(SOAK.parent))
    spec = importlib.util.spec_from_file_location("soak", str(SOAK))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def series(soak, memory, files=5, threads=7):
    """States of 100 samples, 20 steps apart; memory in KiB and the others are numbers or arrays
    (100,).
    """
    return [
        soak.State(*map(int, values))
        for values in np.broadcast(
            memory, np.broadcast_to(files, 100), np.broadcast_to(threads, 100)
        )
    ]


STEPS = 20 * np.arange(100)
# the allocator's, in KiB, more than was ever seen
NOISE = np.random.RandomState(0).randint(-3000, 3000, 100)
STEADY = 400000 + NOISE


@pytest.mark.parametrize(
    "memory",
    [
        pytest.param(STEADY, id="noise"),
        pytest.param(STEADY - 20 * STEPS, id="less at the end"),
        pytest.param(STEADY + 200000 * np.minimum(STEPS / 200, 1), id="a warm-up"),
        pytest.param(
            STEADY + 200000 * (STEPS % 400 == 380) * (STEPS > 1000), id="a large object, given back"
        ),
    ],
)
def test_flat(soak, memory):
    assert soak.is_flat(series(soak, memory))


@pytest.mark.parametrize("leak", [8 * 48, 48, 12])
def test_a_leak_is_found(soak, leak):
    """leak: KiB a step; an image of 64 px in float32 has 48, its batch eight of these."""
    assert not soak.is_flat(series(soak, STEADY + leak * STEPS))


def test_files_and_threads_must_not_grow(soak):
    some = np.arange(100) % 3 == 0  # a file that is being written
    assert soak.is_flat(series(soak, STEADY, files=5 + some))
    assert not soak.is_flat(series(soak, STEADY, files=5 + some + np.arange(100) // 50))
    assert not soak.is_flat(series(soak, STEADY, threads=7 + np.arange(100) // 50))


def test_a_row_tells_the_slope_and_the_verdict(soak):
    cells = soak.row("steps", series(soak, 409600 + 51.2 * STEPS), 20).split(" | ")
    # After 10 of 100 samples; 51.2 KiB a step are 1 MiB a sample; 23 samples are a quarter of 90,
    # so their medians are 67 samples apart.
    assert cells == [
        "| steps",
        "2,000",
        "410.0",
        "432.2, 454.5, 476.8",
        "499.0",
        "+67.0",
        "+51200",
        "5, 5",
        "7, 7",
        "no |",
    ]


HOLDING = """
import sys, threading
import numpy as np
end, held, files = threading.Event(), None, []
for line in sys.stdin:
    if line == "take\\n":
        held, files = np.ones(2 ** 23), [open(sys.executable) for _ in range(2)]
        thread = threading.Thread(target=end.wait)
        thread.start()
    if line == "give\\n":
        held = [file.close() for file in files]
        end.set()
        thread.join()
    print("done", flush=True)
"""


def test_what_a_process_holds_is_seen(soak):
    """64 MiB, two files and a thread, in a process that does nothing else."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        universal_newlines=True,
    ) as process:
        states = []
        for line in ("look", "take", "give"):
            print(line, file=process.stdin, flush=True)
            assert process.stdout.readline() == "done\n"
            state = soak.state(process.pid)
            # a thread that was joined may be there for another moment
            while line == "give" and state.threads > states[0].threads:
                state = soak.state(process.pid)
            states.append(state)
        process.stdin.close()
    for other in (states[0], states[2]):
        assert states[1].memory - other.memory > 60 * 1024 and (
            states[1].files,
            states[1].threads,
        ) == (other.files + 2, other.threads + 1)


@pytest.mark.slow
def test_the_benchmark_runs_small():
    done = subprocess.run(
        [sys.executable, str(SOAK), "--steps", "100", "--predictions", "500"],
        capture_output=True,
        text=True,
    )
    # so short, it may be still in the warm-up
    assert done.returncode == 0 or done.stderr.startswith("not flat: "), done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()]
    assert [(cells[0], cells[1]) for cells in rows[2:]] == [
        ("| training steps, --pipeline cached", "100"),
        ("| training steps, --pipeline released", "100"),
        ("| predictions", "500"),
    ]
    assert all(len(cells) == len(rows[0]) for cells in rows[2:])
    assert ("no |" in [cells[-1] for cells in rows]) == bool(done.returncode)
