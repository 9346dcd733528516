"""How commands fare on a machine with others on it."""

import contextlib
import itertools
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, Iterator, List

from mlr.benchmarking.comparisons import judged
from mlr.benchmarking.contestants import CHECKOUT, run_command
from mlr.runtime.cpu import usable_cores

TARGET = 0.7  # of the fair share


def busy_times(folder: Path, rounds: int) -> Dict[str, Dict[int, List[float]]]:
    """Return {command: {number of other busy processes: the seconds of each round}}.

    Beside others a training has OMP_NUM_THREADS=1, as docs/performance.md recommends. folder: an
    empty one, for what the commands read and write.
    """
    run_command(["prepare", "--dataset", "demo", "--out", "data/demo"], folder)
    seconds: Dict[str, Dict[int, List[float]]] = {}
    for number, load in itertools.product(range(rounds), (0, *sorted({1, usable_cores()}))):
        for name, arguments in commands(f"{number}-{load}").items():
            print(
                f"busy, round {number + 1:d} of {rounds:d}: {name}, beside {load:d} others",
                file=sys.stderr,
                flush=True,
            )
            # A training does not choose the number by itself, because its bits depend on it.
            threads = 1 if load and arguments[0] == "train" else None
            with _others(load):
                start = time.perf_counter()
                run_command(arguments, folder, threads)
                spent = time.perf_counter() - start
            seconds.setdefault(name, {}).setdefault(load, []).append(spent)
    return seconds


def commands(stem: str) -> Dict[str, List[str]]:
    """Return {name: the arguments of a command that a person waits for}, for a folder that has the
    demo's data. stem: of what is written there.
    """
    photo = str(CHECKOUT / "imgs" / "example.jpg")
    return {
        "mlr predict, a folder": ["predict", "data/demo/test"],
        "mlr visualize": ["visualize", "--image", photo, "--out", f"{stem}.png"],
        "mlr train, an epoch of the demo": [
            *("train", "--data", "demo", "--epochs", "1", "--out", f"run-{stem}")
        ],
    }


def busy_lines(seconds: Dict[str, Dict[int, List[float]]]) -> List[List[str]]:
    """Return the cells of each command under each load: the time alone and under load, and the
    part of its fair share that it kept. seconds: what `busy_times` returned.

    The fair share of a command that uses all cores beside L busy processes is C of C + L parts.
    """
    lines, cores = [], usable_cores()
    for name, by_load in seconds.items():
        alone = statistics.median(by_load[0])
        for load, times in by_load.items():
            if load:
                under = statistics.median(times)
                kept = alone * (cores + load) / cores / under
                others = f"{load:d} busy process{'es' if load > 1 else ''}"
                cells = [f"{alone:.1f} s alone", f"{under:.1f} s"]
                lines.append([f"{name}, part of its fair share", others, *cells])
                lines[-1] += judged(kept, TARGET, False)
    return lines


@contextlib.contextmanager
def _others(number: int) -> Iterator[None]:
    """Keep so many other processes busy, each with one thread."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
