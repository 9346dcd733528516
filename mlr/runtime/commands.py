"""Runs the package's own commands, each in a separate process."""

import os
import shlex
import subprocess
import sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Callable, List, Sequence, Set, Tuple

from mlr.errors import InputError, RunError
from mlr.runtime.progress import Bar

REDRAWN = 1.0  # seconds between two states of the bar
Task = Tuple[Path, List[str]]  # a run folder, and the arguments of mlr train


class Runner:
    """Runs the package's own commands as a user would type them: several at once, each in a
    separate process.
    """

    def __init__(self, logs: Path, jobs: int, threads: int, total: int):
        """logs: folder for the output of the commands. jobs: how many run at once. threads: CPU
        threads of each. total: number of runs, for the progress bar.
        """
        self._logs, self._jobs, self._total = logs, jobs, total
        # Unbuffered, or the log would show an error before the output that preceded it.
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}
        self._running: Set[subprocess.Popen] = set()
        self._stopped, self._done = False, 0

    def run_all(
        self, work: "Callable[[Runner, Path, List[str]], None]", tasks: Sequence[Task]
    ) -> None:
        """Call `work(runner, folder, arguments)` for all tasks. If one fails, or at Ctrl-C, the
        others are terminated, too.
        """
        with ThreadPoolExecutor(self._jobs) as pool, Bar(
            "training", self._total, "runs", self._done
        ) as bar:
            futures = {pool.submit(work, self, *task): task[0] for task in tasks}
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
                    # Not SIGINT: a process started in the background of a shell ignores it. A
                    # training that is terminated saves a checkpoint.
                    process.terminate()
                raise

    def command(self, folder: Path, *arguments: str) -> None:
        """Run `mlr ARGUMENTS`, with its output in the log of the run folder. Raises RunError if it
        fails, and InputError if its usage or input is wrong.
        """
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
                # Otherwise Ctrl-C in a terminal would also reach this process. Together with
                # `terminate` it would get two signals, and the second ends it without a checkpoint.
                start_new_session=True,
            )
            self._running.add(process)
            if self._stopped:  # set while the process was starting: `run_all` did not terminate it
                process.terminate()
            code = process.wait()
            self._running.remove(process)
        if code and not self._stopped:
            # Set it here: this thread would start the next run before `run_all` sees the error.
            self._stopped = True
            raise (InputError if code == 2 else RunError)(
                f"mlr {arguments[0]} ended with exit code {code:d}: {error_in(log, start)} (the "
                f"whole output is in {log})"
            )


def error_in(log: Path, start: int) -> str:
    """Return the line of a log that says why a command ended.

    start: the byte from which to read. It is the last line with ": error: ", because MXNet may
    print after it; otherwise the last line.
    """
    lines = [
        line
        for line in log.read_bytes()[start:].decode("utf-8", "replace").splitlines()
        if line.strip()
    ]
    return next(
        (line for line in reversed(lines) if ": error: " in line),
        lines[-1] if lines else "it printed nothing",
    )
