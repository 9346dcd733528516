"""python -m mlr.launch: run a command as the workers of one training on this machine, with MXNet's
parameter servers beside them.
"""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from typing import IO, Any, Callable, Dict, List, Mapping, NoReturn, Optional, Sequence, cast

from mlr import cli
from mlr.errors import InputError, Interrupted, RunError
from mlr.runtime.cpu import given, usable_cores
from mlr.runtime.output import ReaderGone
from mlr.runtime.signals import CODES, Handled, signal_name
from mlr.training.distributed import HEARTBEAT

LOOPBACK = "127.0.0.1"
FIRST = "worker 0"  # the worker that writes the run folder
LOOK_SECONDS = 0.1
# between SIGTERM and SIGKILL, and how long servers and scheduler may take to end after the last
# worker
GRACE_SECONDS = 5
MOST_PROCESSES = 1000  # each needs a port and a pipe of this machine

# Runs the scheduler instead if DMLC_ROLE says so.
SERVER = "from mlr.training.distributed import serve; serve()"

# Reads process groups, one on each line, until the launching process ends for any reason, and then
# kills what is left of them.
GUARD = """
import os, signal, sys
for group in list(sys.stdin):
    try:
        os.killpg(int(group), signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


def parser() -> cli.Parser:
    """Return the parser of the command line."""
    parser = cli.Parser("launch", __doc__)
    parser.add_argument(
        "-n",
        dest="workers",
        type=cli.number(int, 1, MOST_PROCESSES),
        required=True,
        metavar="WORKERS",
        help="how many processes run the command, each like a separate machine",
    )
    parser.add_argument(
        "-s",
        dest="servers",
        type=cli.number(int, 1, MOST_PROCESSES),
        default=1,
        metavar="SERVERS",
        help="how many parameter servers share the parameters (default: 1)",
    )
    parser.add_argument(
        "command",
        type=str,
        nargs="+",
        metavar="COMMAND",
        help=(
            "what each worker runs, after --, for example: mlr launch -n 2 -s 1 -- mlr train "
            "--kvstore dist_sync --out runs/two"
        ),
    )
    return parser


def launch(options: Namespace) -> None:
    """Run the command as workers, with servers and a scheduler beside them, until all have ended.

    Raises what `supervise` raises, and InputError for a command that can't be started.
    """
    ports = free_ports(1 + options.servers + options.workers)
    threads = (
        {}
        if given("OMP_NUM_THREADS")
        else {"OMP_NUM_THREADS": str(max(1, usable_cores() // options.workers))}
    )
    shared = {
        "PYTHONUNBUFFERED": "1",
        **HEARTBEAT,
        **os.environ,
        **threads,
        "DMLC_PS_ROOT_URI": LOOPBACK,
        "DMLC_PS_ROOT_PORT": str(ports[0]),
        "DMLC_NODE_HOST": LOOPBACK,
        "DMLC_NUM_WORKER": str(options.workers),
        "DMLC_NUM_SERVER": str(options.servers),
    }
    with Job() as job:
        for number in range(options.workers):
            # MXNet ranks the nodes of a host by their ports: ascending ports give worker 0 rank 0.
            job.start(
                f"worker {number:d}",
                options.command,
                {**shared, "DMLC_ROLE": "worker", "PORT": str(ports[1 + options.servers + number])},
            )
        for number in range(options.servers):
            job.start(
                f"server {number:d}",
                [sys.executable, "-c", SERVER],
                {**shared, "DMLC_ROLE": "server", "PORT": str(ports[1 + number])},
            )
        job.start("scheduler", [sys.executable, "-c", SERVER], {**shared, "DMLC_ROLE": "scheduler"})
        try:
            supervise(job)
        except ReaderGone:
            job.end(GRACE_SECONDS)  # worker 0 may save first
            raise


def supervise(job: "Job") -> None:
    """Wait until the whole job has ended. Raises Interrupted if a signal ended it, RunError or
    InputError if a process failed.
    """
    passed_on: Optional[int] = None
    workers_ended: Optional[float] = None
    while True:
        job.pass_output_on(LOOK_SECONDS)
        passed_on = _pass_signal_on(job, passed_on)
        codes = job.exit_codes()
        first = codes[FIRST]
        if first is not None and (first in CODES or passed_on and first == -passed_on):
            raise Interrupted(
                f"{FIRST} was stopped, and so were all others", CODES.get(first, -first)
            )
        for name, code in codes.items():
            if code and not (passed_on and code in CODES):
                _fail(job, name, code)
        if None not in codes.values():
            return
        if all(code is not None for name, code in codes.items() if name.startswith("worker")):
            workers_ended = workers_ended or time.monotonic()
            if time.monotonic() - workers_ended > GRACE_SECONDS:
                print(
                    "mlr launch: the workers never joined the parameter servers, so each one ran "
                    "on its own: create an MXNet kvstore of a kind dist_... in the command, or "
                    "give mlr train --kvstore",
                    file=sys.stderr,
                    flush=True,
                )
                return


def _pass_signal_on(job: "Job", passed_on: Optional[int]) -> Optional[int]:
    """Pass the first signal that this process got to the first worker, and return it. passed_on:
    what this function returned before. Raises Interrupted at the second signal.
    """
    if len(job.signals) > 1:
        raise Interrupted(
            "ended at once by a second signal; only the last checkpoint is left",
            job.signals[-1],
        )
    if passed_on or not job.signals:
        return passed_on
    if job.exit_codes()[FIRST] is not None:  # nothing is left to save
        raise Interrupted(f"{FIRST} had ended; all others were ended", job.signals[0])
    job.send(job.signals[0], FIRST)
    print(
        f"mlr launch: {signal.Signals(job.signals[0]).name} was passed on to {FIRST}, which may "
        "save first; send it again to end everything at once",
        file=sys.stderr,
        flush=True,
    )
    return job.signals[0]


def _fail(job: "Job", name: str, code: int) -> NoReturn:
    """End a job after one of its processes has failed; raise InputError or RunError, by its exit
    code.
    """
    job.end(GRACE_SECONDS)
    ended = f"{name} {ending(code)}; the others can't go on without it and were ended"
    if code == 2:
        raise InputError(f"{ended}; its own message stands above")
    raise RunError(
        f"{ended}. If the command writes checkpoints, start it again from the last one: for mlr "
        "train with --resume"
    )


def ending(code: int) -> str:
    """Return in words how a process ended, from subprocess's returncode."""
    return (
        f"was killed by signal {-code:d} ({signal_name(-code)})"
        if code < 0
        else f"ended with exit code {code:d}"
    )


def free_ports(number: int) -> List[int]:
    """Return `number` ports of the loopback device on which no program listens now, in ascending
    order.
    """
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return sorted(each.getsockname()[1] for each in sockets)
    finally:
        for each in sockets:
            each.close()


class Job:
    """Processes that end together, even if this process is killed. Each line of their output is
    printed after the name of its process.

    Each process leads its own session and process group, so that a signal also reaches the
    processes that it has started, and Ctrl-C in the terminal reaches only this process. `signals`:
    the numbers of the signals that this process got.
    """

    def __init__(self) -> None:
        self.signals: List[int] = []
        self._processes: Dict[str, subprocess.Popen[bytes]] = {}
        self._outputs = selectors.DefaultSelector()
        self._unended: Dict[int, bytes] = {}
        self._handled = Handled(self._note)

    def __enter__(self) -> "Job":
        self._handled.__enter__()
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", GUARD], stdin=subprocess.PIPE, start_new_session=True
        )
        self._guarded = cast(IO[bytes], self._guard.stdin)
        return self

    def __exit__(self, *_: Any) -> None:
        try:
            self.end()
        finally:
            self._guard.kill()
            self._guard.wait()
            self._guarded.close()
            self._handled.__exit__()

    def _note(self, number: int, _: Any) -> None:
        # closed terminals send SIGHUP twice
        if number != signal.SIGHUP or not self.signals:
            self.signals.append(number)

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a process. Raises InputError if the program does not exist or can't be run."""
        if not arguments[0]:
            raise InputError(
                "COMMAND is empty, likely as a shell variable is not set: give the program to run"
            )
        try:
            process = subprocess.Popen(
                arguments,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(
                f"{arguments[0]} can't be started: {error.strerror}; check the name of the "
                "program, and its path"
            ) from None
        self._processes[name] = process
        self._guarded.write(f"{process.pid:d}\n".encode())
        self._guarded.flush()
        for pipe, target in (
            (cast(IO[bytes], process.stdout), sys.stdout.buffer),
            (cast(IO[bytes], process.stderr), sys.stderr.buffer),
        ):
            data = f"{name}: ".encode(), pipe, target
            self._outputs.register(pipe, selectors.EVENT_READ, data)

    def exit_codes(self) -> Dict[str, Optional[int]]:
        """Return {name: exit code}; the code is None while the process runs, and minus the signal's
        number if a signal killed it.
        """
        return {name: process.poll() for name, process in self._processes.items()}

    def send(self, number: int, name: str) -> None:
        """Send a signal to a process and to those that it has started, if any still runs."""
        try:
            os.killpg(self._processes[name].pid, number)
        except ProcessLookupError:
            pass

    def pass_output_on(self, seconds: float) -> None:
        """Print the output of the processes, after waiting up to `seconds` for some."""
        for key, _ in self._outputs.select(seconds):
            prefix, pipe, target = key.data
            content = os.read(key.fd, 1 << 16)
            *lines, rest = (self._unended.pop(key.fd, b"") + content).split(b"\n")
            if content:
                self._unended[key.fd] = rest
            else:
                self._outputs.unregister(pipe)
                pipe.close()
                lines += [rest] if rest else []
            for line in lines:
                target.write(prefix + line + b"\n")
            target.flush()

    def end(self, grace: float = 0) -> None:
        """End all processes that still run: by SIGTERM and, after `grace` seconds, by SIGKILL; at
        once by SIGKILL if `grace` is 0. Print the rest of their output.
        """
        for name in self._processes if grace else ():
            self.send(signal.SIGTERM, name)
        self._wait(grace, lambda: None in self.exit_codes().values())
        for name, process in self._processes.items():
            self.send(signal.SIGKILL, name)
            process.wait()
        # for 1 second only, as a process that has left its session may hold a pipe open
        self._wait(1, self._outputs.get_map)

    def _wait(self, seconds: float, going_on: Callable[[], Any]) -> None:
        limit = time.monotonic() + seconds
        while going_on() and time.monotonic() < limit:
            self.pass_output_on(LOOK_SECONDS)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command; return its exit code."""
    return cli.run(parser(), launch, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
