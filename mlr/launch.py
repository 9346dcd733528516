"""python -m mlr.launch: run a command as the workers of one training on this machine, with MXNet's parameter servers beside them."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time

from mlr import command
from mlr.errors import InputError, Interrupted, RunError
from mlr.interruption import CODES, Handled
from mlr.output import ReaderGone
from mlr.processor import given, usable_cores
from mlr.workers import HEARTBEAT

LOOPBACK = "127.0.0.1"
FIRST = "worker 0"      # the one that writes the run folder
LOOK_SECONDS = 0.1
GRACE_SECONDS = 5       # from SIGTERM to SIGKILL, and for servers and scheduler to end after the last worker

SERVER = "from mlr.workers import serve; serve()"  # or the scheduler, as DMLC_ROLE says

# Reads process groups, one a line, until launch has gone, however that came about, and kills what is left of them.
GUARD = """
import os, signal, sys
for group in list(sys.stdin):
    try:
        os.killpg(int(group), signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


def parser():
    parser = command.Parser("launch", __doc__)
    parser.add_argument("-n", dest="workers", type=command.number(int, 1), required=True, metavar="WORKERS", help=(
        "how many processes run the command, each as a machine of its own would"))
    parser.add_argument("-s", dest="servers", type=command.number(int, 1), default=1, metavar="SERVERS", help=(
        "how many parameter servers share the parameters (default: 1)"))
    parser.add_argument("command", type=str, nargs="+", metavar="COMMAND", help=(
        "what a worker runs, behind --, as in: mlr launch -n 2 -s 1 -- mlr train --kvstore dist_sync --out runs/two"))
    return parser


def launch(options):
    ports = free_ports(1 + options.servers + options.workers)
    threads = {} if given("OMP_NUM_THREADS") else {"OMP_NUM_THREADS": str(max(1, usable_cores() // options.workers))}
    shared = {
        "PYTHONUNBUFFERED": "1", **HEARTBEAT, **os.environ, **threads, "DMLC_PS_ROOT_URI": LOOPBACK, "DMLC_PS_ROOT_PORT": str(ports[0]),
        "DMLC_NODE_HOST": LOOPBACK, "DMLC_NUM_WORKER": str(options.workers), "DMLC_NUM_SERVER": str(options.servers)}
    with Job() as job:
        for number in range(options.workers):
            # MXNet numbers the nodes of a host by their ports, so that these make worker 0 the one of rank 0.
            job.start("worker %d" % number, options.command, {**shared, "DMLC_ROLE": "worker", "PORT": str(ports[1 + options.servers + number])})
        for number in range(options.servers):
            job.start("server %d" % number, [sys.executable, "-c", SERVER], {**shared, "DMLC_ROLE": "server", "PORT": str(ports[1 + number])})
        job.start("scheduler", [sys.executable, "-c", SERVER], {**shared, "DMLC_ROLE": "scheduler"})
        try:
            supervise(job)
        except ReaderGone:
            job.end(GRACE_SECONDS)  # worker 0 may save first
            raise


def supervise(job):
    """Wait until all of the job has ended. Raises Interrupted where a signal ended it, RunError or InputError where a node failed."""
    passed_on = workers_ended = None
    while True:
        job.pass_output_on(LOOK_SECONDS)
        if len(job.signals) > 1:
            raise Interrupted("ended at once by a second signal; the last checkpoint is what there is", job.signals[-1])
        if job.signals and not passed_on:
            passed_on = job.signals[0]
            job.send(passed_on, FIRST)
            print("mlr launch: %s passed on to %s, which may save first; once more ends everything at once" % (
                signal.Signals(passed_on).name, FIRST), file=sys.stderr, flush=True)
        codes = job.exit_codes()
        if codes[FIRST] in CODES or passed_on and codes[FIRST] == -passed_on:
            raise Interrupted("%s has stopped, and all others with it" % FIRST, CODES.get(codes[FIRST], passed_on))
        failed = [name for name, code in codes.items() if code and not (passed_on and code in CODES)]
        if failed:
            job.end(GRACE_SECONDS)
            ended = "%s %s, and as no other can go on without it, all have been ended" % (failed[0], ending(codes[failed[0]]))
            if codes[failed[0]] == 2:
                raise InputError("%s; what was wrong it has said above" % ended)
            raise RunError("%s. Where the command writes checkpoints, start it again from the last one, mlr train with --resume" % ended)
        if None not in codes.values():
            return
        if all(code is not None for name, code in codes.items() if name.startswith("worker")):
            workers_ended = workers_ended or time.monotonic()
            if time.monotonic() - workers_ended > GRACE_SECONDS:
                print("mlr launch: the workers ended without having joined the parameter servers, each on its own: a command joins them by "
                      "an MXNet kvstore of a kind dist_..., mlr train by --kvstore", file=sys.stderr, flush=True)
                return


def ending(code):
    """Tell in words how a process ended, by subprocess's returncode."""
    return "was killed by signal %d (%s)" % (-code, signal.Signals(-code).name) if code < 0 else "ended with exit code %d" % code


def free_ports(number):
    """Return as many ports of the loopback device that nobody listens on now, in ascending order."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return sorted(each.getsockname()[1] for each in sockets)
    finally:
        for each in sockets:
            each.close()


class Job:
    """Processes that end together, whatever happens: also where this one is killed. Their lines of output get their name in front.

    Each leads a session of its own, and with it a process group, so that a signal also reaches what it has started in turn, and Ctrl-C
    in the terminal reaches this process alone. `signals`: the numbers of those of SIGNALS that came.
    """

    def __init__(self):
        self.signals = []
        self._processes, self._outputs, self._unended = {}, selectors.DefaultSelector(), {}
        self._handled = Handled(self._note)

    def __enter__(self):
        self._handled.__enter__()
        self._guard = subprocess.Popen([sys.executable, "-I", "-S", "-c", GUARD], stdin=subprocess.PIPE, start_new_session=True)
        return self

    def __exit__(self, *_):
        try:
            self.end()
        finally:
            self._guard.kill()
            self._guard.wait()
            self._guard.stdin.close()
            self._handled.__exit__()

    def _note(self, number, _):
        if number != signal.SIGHUP or not self.signals:  # a terminal that closes sends it twice
            self.signals.append(number)

    def start(self, name, arguments, environment):
        """Start a process. Raises InputError where there is no such program, or one that can't be run."""
        if not arguments[0]:
            raise InputError("COMMAND is empty, likely a variable of the shell that is not set: give the program to run")
        try:
            process = subprocess.Popen(arguments, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       start_new_session=True)
        except OSError as error:
            raise InputError("%s can't be started: %s; check the name of the program, and its path" % (arguments[0], error.strerror)) from None
        self._processes[name] = process
        self._guard.stdin.write(b"%d\n" % process.pid)
        self._guard.stdin.flush()
        for pipe, target in (process.stdout, sys.stdout.buffer), (process.stderr, sys.stderr.buffer):
            self._outputs.register(pipe, selectors.EVENT_READ, (b"%s: " % name.encode(), target))

    def exit_codes(self):
        """Return {name: exit code, minus the signal that killed it, None while it runs}."""
        return {name: process.poll() for name, process in self._processes.items()}

    def send(self, number, name):
        """Send a signal to a process and to what it has started, if there is anything left of them."""
        try:
            os.killpg(self._processes[name].pid, number)
        except ProcessLookupError:
            pass

    def pass_output_on(self, seconds):
        """Write the lines that come within some seconds; return sooner where some came."""
        for key, _ in self._outputs.select(seconds):
            prefix, target = key.data
            content = os.read(key.fd, 1 << 16)
            *lines, rest = (self._unended.pop(key.fd, b"") + content).split(b"\n")
            if content:
                self._unended[key.fd] = rest
            else:
                self._outputs.unregister(key.fileobj)
                key.fileobj.close()
                lines += [rest] if rest else []
            for line in lines:
                target.write(prefix + line + b"\n")
            target.flush()

    def end(self, grace=0):
        """End what is left of all processes: by SIGTERM, and by SIGKILL after some seconds, or at once; write the rest of their output."""
        for name in self._processes if grace else ():
            self.send(signal.SIGTERM, name)
        self._wait(grace, lambda: None in self.exit_codes().values())
        for name, process in self._processes.items():
            self.send(signal.SIGKILL, name)
            process.wait()
        self._wait(1, self._outputs.get_map)    # not longer: what has left its session may hold a pipe open

    def _wait(self, seconds, going_on):
        limit = time.monotonic() + seconds
        while going_on() and time.monotonic() < limit:
            self.pass_output_on(LOOK_SECONDS)


def main(argv=None):
    return command.run(parser(), launch, argv)


if __name__ == "__main__":
    sys.exit(command.leave_if_stopped(main()))
