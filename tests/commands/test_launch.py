"""mlr launch with real processes: what its workers are told and say, how a job ends, and that
nothing is left of it.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlr import launch
from mlr.errors import Interrupted

MARK = "MLR_TEST_JOB"
SECONDS = 60  # a bound against hanging, for a loaded machine: what ends by itself takes a few

# Workers that add up numbers until they are told to stop; a kvstore waits for ever for one that is
# gone.
ADDING = """
import mlr, mxnet as mx
store, total = mx.kv.create("dist_sync"), mx.nd.zeros(1)
store.init(0, total)
while True:
    store.push(0, mx.nd.ones(1))
    store.pull(0, total)
    if total.asscalar() == 2:
        print("adding", flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """Start mlr launch -n 2 with a command; everything that comes of it is marked, and ended after
    the test if need be.
    """
    started = []

    def run(*command, options=("-n", "2"), **environment):
        job = subprocess.Popen(
            [sys.executable, "-m", "mlr", "launch", *options, "--", *command],
            universal_newlines=True,
            env={**os.environ, MARK: str(tmp_path), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(job)
        return job

    yield run
    for pid in marked(tmp_path):
        os.kill(pid, signal.SIGKILL)
    for job in started:
        job.communicate()


@pytest.fixture
def run(start, tmp_path):
    """Run it to its end; nothing may be left of it then. Returns exit code, sorted lines of output,
    and of errors.
    """

    def run(*command, **options):
        job = start(*command, **options)
        return finish(job, tmp_path)

    return run


def finish(job, mark):
    out, errors = job.communicate(timeout=SECONDS)
    assert marked(mark) == {}
    return job.returncode, sorted(out.splitlines()), sorted(errors.splitlines())


def marked(mark):
    """Return {process id: its role} of all processes of a job, by the environment that they have
    inherited.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = dict(
                line.split("=", 1)
                for line in (folder / "environ").read_text(errors="replace").split("\0")
                if "=" in line
            )
        except OSError:  # it has ended in the meantime, or is another user's
            continue
        if variables.get(MARK) == str(mark):
            found[int(folder.name)] = variables.get("DMLC_ROLE")
    return found


def wait_until(condition):
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-n", "2"], "the following arguments are required: COMMAND"),
        (["-n", "0", "--", "true"], "'0' is not a whole number from 1"),
        (["-n", "100000", "--", "true"], "'100000' is not a whole number from 1 to 1000"),
        (["-n", "2", "-s", "0", "--", "true"], "'0' is not a whole number from 1"),
        (["--", "true"], "the following arguments are required: -n"),
        (
            ["-n", "2", "--", "no-such-program", "-x"],
            "no-such-program can't be started: No such file or directory",
        ),
        (
            ["-n", "2", "--", "", "-x"],
            "COMMAND is empty, likely as a shell variable is not set: give the program to run",
        ),
        (["-n", "2", "--", "/"], "/ can't be started: Permission denied"),
        (["-n", "2", "echo", "--rate", "1"], "unrecognized arguments: --rate"),
    ],
)
def test_wrong_usage_is_one_line(command, arguments, said):
    done = command("launch", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.startswith("mlr launch: error: ")
        and said in done.stderr
        and done.stderr.count("\n") == 1
    )


def test_lines_are_told_apart_by_worker_and_stream(run, tmp_path):
    """When all have said it, worker 0, which has the lowest port, fails; the others would go on."""
    fails = (
        "touch $PORT; while [ $(ls | wc -l) -lt 3 ]; do sleep .1; done; [ $(ls | sort -n | head "
        "-n 1) = $PORT ] && exit 3; exec sleep 60"
    )
    code, out, errors = run(
        "sh",
        "-c",
        f"cd {tmp_path}; echo one; echo two; printf unended; echo wrong >&2; {fails}",
        options=("-n", "3"),
    )
    assert code == 1
    assert out == [
        f"worker {number:d}: {line}" for number in range(3) for line in ("one", "two", "unended")
    ]
    assert errors[1:] == [f"worker {number:d}: wrong" for number in range(3)]
    assert errors[0].startswith(
        "mlr launch: error: worker 0 ended with exit code 3; the others can't go on without it "
        "and were ended."
    )


@pytest.mark.parametrize(
    "own, threads", [({}, max(1, launch.usable_cores() // 2)), ({"OMP_NUM_THREADS": "7"}, 7)]
)
def test_workers_know_the_job_and_share_the_threads(run, monkeypatch, tmp_path, own, threads):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # importing mlr has set it
    told = (
        "$DMLC_ROLE $DMLC_NUM_WORKER $DMLC_NUM_SERVER $DMLC_PS_ROOT_URI $DMLC_NODE_HOST "
        "$PS_HEARTBEAT_INTERVAL $OMP_NUM_THREADS"
    )
    # the first to end ends the job, so each waits until both have said it
    both = "touch $PORT; while [ $(ls | wc -l) -lt 2 ]; do sleep .1; done; exit 1"
    words = "sh", "-c", f"cd {tmp_path}; echo {told}; {both}"
    _, out, _ = run(*words, options=("-n", "2", "-s", "3"), **own)
    assert out == [
        f"worker {number:d}: worker 2 3 127.0.0.1 127.0.0.1 2 {threads:d}" for number in (0, 1)
    ]


def test_a_usage_error_of_the_workers_is_one_of_the_job(run):
    code, _, errors = run(sys.executable, "-m", "mlr", "train", "--epochs", "none")
    assert code == 2
    assert re.match(
        r"mlr launch: error: worker [01] ended with exit code 2; "
        r".*its own message stands above",
        errors[0],
    )
    assert {line.split(": mlr train: error: ")[0] for line in errors[1:]} <= {
        "worker 0",
        "worker 1",
    } and len(errors) > 1


def test_one_worker_killed_ends_the_job(monkeypatch, capfd, tmp_path):
    """The first to make the folder kills itself; the other, and the sleep that it starts, take no
    notice of SIGTERM.
    """
    monkeypatch.setenv(MARK, str(tmp_path))
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.5)
    assert (
        launch.main(
            [
                "-n",
                "2",
                "--",
                "sh",
                "-c",
                f"trap '' TERM; mkdir {tmp_path}/claimed && kill -KILL $$; sleep 300; true",
            ]
        )
        == 1
    )
    assert (
        "was killed by signal 9 (SIGKILL); the others can't go on without it and were ended"
    ) in capfd.readouterr().err
    wait_until(lambda: not marked(tmp_path))  # init takes its time to see the sleep's end


def test_nothing_is_left_where_launch_itself_is_killed(start, tmp_path):
    """Not even of what the workers have started."""
    job = start("sh", "-c", "sleep 300 & echo ready; wait")
    assert sorted([job.stdout.readline(), job.stdout.readline()]) == [
        "worker 0: ready\n",
        "worker 1: ready\n",
    ]
    wait_until(
        lambda: (
            sorted(map(str, marked(tmp_path).values()))
            == ["None"] * 2 + ["scheduler", "server"] + ["worker"] * 4
        )
    )
    job.kill()
    wait_until(lambda: not marked(tmp_path))


SAVING = "trap 'sleep 1; echo saved; exit %d' INT TERM HUP; echo ready; while :; do sleep .1; done"


@pytest.mark.parametrize(
    "number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_lets_worker_0_save(start, tmp_path, number, code):
    job = start("sh", "-c", SAVING % code)
    assert sorted([job.stdout.readline(), job.stdout.readline()]) == [
        "worker 0: ready\n",
        "worker 1: ready\n",
    ]
    job.send_signal(number)
    if number == signal.SIGHUP:
        assert "SIGHUP was passed on to worker 0" in job.stderr.readline()
        # as the kernel does after the shell
        job.send_signal(number)
    returned, out, errors = finish(job, tmp_path)
    assert (returned, out) == (code, ["worker 0: saved"])
    if number != signal.SIGHUP:
        assert (
            f"mlr launch: {number.name} was passed on to worker 0, which may save first; send it "
            "again to end everything at once"
        ) in errors
    assert "mlr launch: error: worker 0 was stopped, and so were all others" in errors


def test_worker_0_may_stop_the_job_by_itself(start, tmp_path):
    """As where the signal was sent to it and not to launch."""
    job = start("sh", "-c", SAVING.replace("ready", "$$") % 143)
    process_ids = dict(job.stdout.readline().split(": ") for _ in range(2))
    os.kill(int(process_ids["worker 0"]), signal.SIGTERM)
    assert finish(job, tmp_path) == (
        143,
        ["worker 0: saved"],
        ["mlr launch: error: worker 0 was stopped, and so were all others"],
    )


def test_a_signal_after_the_end_of_worker_0_ends_the_others():
    """It is not passed on to a process that is gone."""
    codes = {"worker 0": 0, "worker 1": None}
    job = SimpleNamespace(signals=[signal.SIGTERM], exit_codes=lambda: codes)
    with pytest.raises(Interrupted, match="worker 0 had ended; all others were ended") as raised:
        launch._pass_signal_on(job, None)
    assert raised.value.signal == signal.SIGTERM


def test_a_second_signal_ends_all_at_once(start, tmp_path):
    job = start("sh", "-c", "trap '' INT TERM; echo ready; while :; do sleep .1; done")
    assert sorted([job.stdout.readline(), job.stdout.readline()]) == [
        "worker 0: ready\n",
        "worker 1: ready\n",
    ]
    job.send_signal(signal.SIGTERM)
    assert "passed on to worker 0" in job.stderr.readline()
    job.send_signal(signal.SIGTERM)
    code, _, errors = finish(job, tmp_path)
    assert (code, errors) == (
        143,
        ["mlr launch: error: ended at once by a second signal; only the last checkpoint is left"],
    )


def test_workers_that_join_no_server(monkeypatch, capfd):
    """They end well, but would leave servers and scheduler waiting."""
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.5)
    assert launch.main(["-n", "2", "--", "echo", "done"]) == 0
    out, errors = capfd.readouterr()
    assert sorted(out.splitlines()) == ["worker 0: done", "worker 1: done"]
    assert (
        errors.startswith("mlr launch: the workers never joined the parameter servers")
        and errors.count("\n") == 1
    )


def test_a_reader_that_goes_ends_the_job(start, tmp_path):
    job = start("sh", "-c", "while :; do echo line; sleep .05; done")
    job.stdout.readline()
    job.stdout.close()
    assert job.wait(SECONDS) == 141
    assert marked(tmp_path) == {} and job.stderr.read() == ""


def test_workers_add_up_by_mxnets_servers(run):
    """Worker 0 is the one of rank 0, and all of the job ends by itself with exit code 0."""
    code, out, errors = run(
        sys.executable,
        "-c",
        """
import mlr, mxnet as mx
store, total = mx.kv.create("dist_sync"), mx.nd.zeros(2)
store.init(0, total)
store.push(0, mx.nd.array([store.rank, 10]))
store.pull(0, total)
print("rank %d of %d adds up to %s" % (store.rank, store.num_workers, total.asnumpy().tolist()))
""",
        options=("-n", "3", "-s", "2"),
    )
    assert (code, errors) == (0, [])
    assert out == [
        f"worker {number:d}: rank {number:d} of 3 adds up to [3.0, 30.0]" for number in range(3)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "role, name", [("worker", "worker [01]"), ("server", "server 0"), ("scheduler", "scheduler")]
)
def test_the_job_ends_in_bounded_time_whatever_is_killed(start, tmp_path, role, name):
    """MXNet itself would wait for ever: the others are within a pull."""
    job = start(sys.executable, "-c", ADDING)
    while "adding" not in job.stdout.readline():
        pass
    os.kill(next(pid for pid, own in marked(tmp_path).items() if own == role), signal.SIGKILL)
    code, _, errors = finish(job, tmp_path)
    assert code == 1
    assert re.search(f"mlr launch: error: {name} was killed by signal 9", errors[0])
