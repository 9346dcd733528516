"""The package's own commands, run in processes of their own."""

import os
import shlex
import subprocess
import sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Callable, List, Sequence, Set, Tuple

from mlr.errors import RunError
from mlr.runtime.progress import Bar

REDRAWN = 1.0  # seconds between two states of the bar
Run = Tuple[Path, List[str]]  # a run folder, and the arguments of mlr train


class Runner:
    """Runs the package's own commands as a user would type them, several at once, each in a process
    of its own.
    """

    def __init__(self, logs: Path, jobs: int, threads: int, total: int):
        """logs: folder for what they print. threads: for each. total: how many runs there will be,
        for the progress.
        """
        self._logs, self._jobs, self._total = logs, jobs, total
        # or an error would come before what was printed
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
        self._running: Set[subprocess.Popen] = set()
        self._stopped, self._done = False, 0

    def run_all(
        self, work: "Callable[[Runner, Path, List[str]], None]", runs: Sequence[Run]
    ) -> None:
        """Do `work(runner, folder, arguments)` for all runs. Where one fails, or at Ctrl-C, the
        others are interrupted, too.
        """
        with ThreadPoolExecutor(self._jobs) as pool, Bar(
            "training", self._total, "runs", self._done
        ) as bar:
            futures = {pool.submit(work, self, *run): run[0] for run in runs}
            left = set(futures)
            try:
                while left:
                    done, left = wait(left, REDRAWN, FIRST_COMPLETED)
                    for future in done:
                        future.result()
                        self._done += 1
                        bar.update()
                        bar.print(f"[{self._done:d}/{self._total:d}] {futures[future].name}")
                    bar.refresh()
            except BaseException:
                self._stopped = True
                for process in list(self._running):
                    # what is in the background of a shell would not hear an interruption; a
                    # checkpoint stays whole
                    process.terminate()
                raise

    def command(self, folder: Path, *arguments: str) -> None:
        """Run `mlr ARGUMENTS`. Raises RunError where it fails."""
        if self._stopped:
            return
        log = self._logs / (folder.name + ".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as file:
            print(f"$ mlr {shlex.join(arguments)}", file=file, flush=True)
            start = file.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "mlr", *arguments],
                env=self._environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                # or Ctrl-C in a terminal would be a second signal beside `terminate`, and end it
                # without a checkpoint
                start_new_session=True,
            )
            self._running.add(process)
            if self._stopped:  # while the process was started, so that `run_all` did not see it
                process.terminate()
            code = process.wait()
            self._running.remove(process)
        if code and not self._stopped:
            # at once: this thread would begin the next run before `run_all` hears of it
            self._stopped = True
            raise RunError(
                f"mlr {arguments[0]} ended with exit code {code:d}: {error_in(log, start)} (all "
                f"of it: {log})"
            )


def error_in(log: Path, start: int) -> str:
    """Return the line of a log, from a byte on, that says why a command ended: MXNet may print
    behind it.
    """
    lines = [
        line
        for line in log.read_bytes()[start:].decode("utf-8", "replace").splitlines()
        if line.strip()
    ]
    return next(
        (line for line in reversed(lines) if ": error: " in line),
        lines[-1] if lines else "it said nothing",
    )
