"""The one thread that does all work of MXNet.

MXNet 1.5.1 is not thread-safe: concurrent calls can hang or crash. A lock around the network is not
enough, because other threads may call MXNet to read images or to load a run. So all MXNet work runs
on one thread. Other threads decode and resize images without MXNet.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, TypeVar

T = TypeVar("T")

_THREAD = ThreadPoolExecutor(1, thread_name_prefix="mlr")


def _renew() -> None:
    """Start a new thread after a fork: the child process has only the thread that forked, so work
    for the old thread would wait forever.
    """
    global _THREAD
    _THREAD = ThreadPoolExecutor(1, thread_name_prefix="mlr")


os.register_at_fork(after_in_child=_renew)


def begun_on_networks_thread(work: "Callable[..., T]", *arguments: Any) -> "Future[T]":
    """Start work on the thread of networks, and return its Future at once."""
    return _THREAD.submit(work, *arguments)


def on_networks_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Do work on the thread of networks, wait for it, and return its result."""
    return begun_on_networks_thread(work, *arguments).result()
