"""The one thread on which networks answer.

MXNet 1.5.1 is not thread-safe: concurrent calls can hang or crash, also where a lock is around the
network alone and others read images or load a run meanwhile. So one thread does all its work; what
is beside it, decoding and resizing, needs no MXNet.
"""

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, TypeVar

T = TypeVar("T")

_THREAD = ThreadPoolExecutor(1, thread_name_prefix="mlr")


def _renew() -> None:
    """A forked process has no thread but the one that forked, and what is asked of the others would
    never be answered.
    """
    global _THREAD
    _THREAD = ThreadPoolExecutor(1, thread_name_prefix="mlr")


os.register_at_fork(after_in_child=_renew)


def begun_on_networks_thread(work: "Callable[..., T]", *arguments: Any) -> "Future[T]":
    """Have work done on the thread of networks, and return its Future at once."""
    return _THREAD.submit(work, *arguments)


def on_networks_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Do work on the thread of networks, and return its result."""
    return begun_on_networks_thread(work, *arguments).result()
