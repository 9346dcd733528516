"""Signals within this process."""

import os
import runpy
import signal
import subprocess
import sys

import pytest

from mlr import cli
from mlr.__main__ import COMMANDS
from mlr.runtime.signals import Postponed, signal_name


def test_a_closed_terminal_stops_a_command(capsys):
    """SIGHUP, as the shell and then the kernel send it."""
    before, after = signal.getsignal(signal.SIGHUP), []

    def work():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            after.append("tidied up")

    assert cli.ended("mlr", work) == 129
    assert after == ["tidied up"] and capsys.readouterr().err == "mlr: error: hung up\n"
    assert signal.getsignal(signal.SIGHUP) == before


def test_what_nohup_started_goes_on(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Postponed(None) as postponed:
            os.kill(os.getpid(), signal.SIGHUP)
        assert postponed.signal is None
        assert cli.ended("mlr", lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_training_is_not_ended_by_the_second_hangup(monkeypatch):
    """It would be while the checkpoint is written; nor by a terminal that takes no more."""

    def gone(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", gone)
    with Postponed("stopping") as postponed:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert (
            postponed.signal == signal.SIGHUP and signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        )


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("name", COMMANDS)
def test_python_m_leaves_at_once_too(name, monkeypatch):
    left = []
    monkeypatch.setattr(cli, "run", lambda *arguments: 130)
    monkeypatch.setattr(cli, "leave", left.append)
    with pytest.raises(SystemExit):
        runpy.run_module("mlr." + name, run_name="__main__")
    assert left == [130]


def test_a_thread_that_waits_does_not_keep_the_process():
    code = (
        "import threading; from mlr.cli import leave_if_stopped; "
        "threading.Thread(target=threading.Event().wait).start(); leave_if_stopped(130)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 130


def test_ctrl_c_while_a_command_is_imported():
    script = (
        "import os, signal, sys, mlr.__main__ as command\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "command.import_module = lambda name: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.argv = ['mlr', 'predict']\n"
        "command.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr == "mlr predict: error: interrupted\n"


@pytest.mark.parametrize("number, name", [(signal.SIGKILL, "SIGKILL"), (signal.SIGRTMIN + 6, None)])
def test_a_signal_without_a_name(number, name):
    assert signal_name(number) == (name or str(signal.SIGRTMIN + 6))
