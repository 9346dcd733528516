"""Several machines: MXNet's parameter server, and this process as one of its workers, servers or
its scheduler.

What docs/several-machines.md says of it was found by experiment on MXNet 1.5.1. MXNet is imported
inside the functions, as importing it makes a server of a process that DMLC_ROLE calls one; and
--help needs neither it nor NumPy.
"""

import ctypes
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, List, NoReturn, Optional, Sequence, Tuple

from mlr.data.parts import part_of
from mlr.errors import InputError

if TYPE_CHECKING:
    import mxnet as mx
    import numpy as np
    from numpy.typing import ArrayLike

KINDS = "dist_sync", "dist_device_sync", "dist_async"
# seconds; of all nodes of a job, or they take each other for dead
HEARTBEAT = {"PS_HEARTBEAT_INTERVAL": "2"}
# seconds after which a node is dead, where it is found so each second for some more
SILENCE, LOOKS = 30, 10
START = 600  # seconds that a job's nodes have to come together
SCHEDULER, SERVERS_AND_WORKERS = 1, 6  # groups of nodes, by their numbers in ps-lite
# the trainer's keys are the numbers of its parameters
FIRST_KEY = 1 << 20
TOTAL_KEY = FIRST_KEY - 1


class Workers:
    """The workers of a job, as one of them sees it; without a kind, a process on its own.

    Attributes: `rank`, from 0; `first`, whether it is the one that writes; `number`; `kvstore`, or
    None; `wait_for_each_other`, whether a step is made of the gradients of all.
    """

    def __init__(self, kind: Optional[str] = None) -> None:
        """kind: of KINDS. Blocks until all nodes of the job are there. Raises InputError outside of
        a job, or in one without a kind.
        """
        if kind and not in_a_job():
            raise InputError(
                f"--kvstore {kind} is for a worker of a job, but this process was not started as "
                f"one: use mlr launch -n WORKERS -s SERVERS -- mlr train ... --kvstore {kind}"
            )
        if in_a_job() and not kind:
            raise InputError(
                "this process is a worker of a job (DMLC_ROLE), which needs --kvstore, one of "
                f"{', '.join(KINDS)}: else each worker would train alone"
            )
        self.kvstore: Any = None
        self.rank, self.number, self._gathered = 0, 1, 0
        self._added: Any = None
        self._watch: Optional[_Watch] = None
        self.wait_for_each_other = kind != "dist_async"
        if kind:
            import mxnet as mx

            for name, value in HEARTBEAT.items():
                os.environ.setdefault(name, value)
            missing = threading.Timer(
                START, _end, [f"not all workers and servers of the job came within {START:d} s"]
            )
            missing.daemon = True
            missing.start()
            self.kvstore = mx.kv.create(kind)
            missing.cancel()
            self.rank, self.number = self.kvstore.rank, self.kvstore.num_workers
            self._watch = _Watch(
                self.kvstore,
                SCHEDULER,
                (
                    "the job's scheduler is gone, or it has ended the job because a worker or a "
                    "server is gone"
                ),
            )
        self.first = self.rank == 0

    def close(self) -> None:
        """End the part that this worker has, when all is done; it then waits for the others at the
        process's end.
        """
        if self._watch:
            self._watch.stop()

    def gather(self, array: "ArrayLike") -> List["np.ndarray"]:
        """Return every worker's array, in order of rank, as NumPy arrays, of several workers
        float32. array: (N, ...), N at least 1, may differ, the rest not.

        All workers must call it, and wait in it for each other.
        """
        import numpy as np

        if self.number == 1:
            return [np.asarray(array)]
        # servers round float64 to float32 in some jobs and not in others
        array = np.asarray(array, np.float32)
        lengths = self._exchange(np.array([len(array)], np.float32), [(1,)] * self.number)
        return self._exchange(array, [(int(length), *array.shape[1:]) for (length,) in lengths])

    def add_up(self, array: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """Return the sum of every worker's array, an NDArray of float32 whose shape is always the
        same: exchanged as gradients are.

        All workers must call it equally often, in step with each other; not for dist_async, whose
        servers do not add. It comes back at once, and who reads the sum waits for the others.
        """
        if self.number == 1:
            return array
        if self._added is None:
            self._added = array.zeros_like()
            self.kvstore.init(TOTAL_KEY, self._added)
        # MXNet keeps push, pull and the next push of a key in order only by the array that is
        # pushed. Of an array of its own each, a push can overtake the last pull, and the servers
        # then answer that with the next sum.
        array.copyto(self._added)
        total = array.zeros_like()
        self.kvstore.push(TOTAL_KEY, self._added)
        self.kvstore.pull(TOTAL_KEY, total)
        return total

    def barrier(self) -> None:
        """Wait until all workers are here."""
        if self.kvstore:
            self.kvstore._barrier()

    def part(self, count: int) -> slice:
        """Return this worker's part of `count` things in order, a slice; see
        `mlr.data.parts.part_of`.
        """
        return part_of(count, self.rank, self.number)

    def _exchange(
        self, array: "np.ndarray", shapes: Sequence[Tuple[int, ...]]
    ) -> List["np.ndarray"]:
        """Have every worker's array of the shapes given. A server takes a push to a key that it
        does not know as its value, and never adds or updates; so this works beside an optimizer on
        the servers, too.
        """
        from mxnet import nd

        start = FIRST_KEY + self._gathered * self.number
        keys, self._gathered = [start + rank for rank in range(self.number)], self._gathered + 1
        self.kvstore.push(keys[self.rank], nd.array(array))
        nd.waitall()  # answered by the server
        self.barrier()
        arrays = [nd.empty(shape) for shape in shapes]
        self.kvstore.pull(keys, arrays)
        return [array.asnumpy() for array in arrays]


class _Watch:
    """A thread that ends the process, exit code 1, when a node of a group has been silent: MXNet
    itself would wait for it for ever.
    """

    def __init__(self, kvstore: Any, group: int, says: str) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(kvstore, group, says), daemon=True)
        self._thread.start()

    def _look(self, kvstore: Any, group: int, says: str) -> None:
        from mxnet.base import _LIB

        dead, looks = ctypes.c_int(), 0
        while not self._stopped.wait(1):
            # It fails as long as the node has not started. A node that came late is called dead
            # until it first shows life.
            failed = _LIB.MXKVStoreGetNumDeadNode(
                kvstore.handle, ctypes.c_int(group), ctypes.byref(dead), ctypes.c_int(SILENCE)
            )
            looks = looks + 1 if not failed and dead.value else 0
            if looks == LOOKS:
                _end(f"{says} (no sign of life for {SILENCE + LOOKS:d} s)")

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()  # in the process's end it would abort it


def in_a_job() -> bool:
    """Tell whether this process was started as a worker of a job."""
    return os.environ.get("DMLC_ROLE") == "worker"


def _end(says: str) -> NoReturn:
    print(
        f"error: {says}; start the job again, a training with --resume", file=sys.stderr, flush=True
    )
    os._exit(1)


def serve() -> None:
    """Where this process was started as a server or the scheduler of a job, be that until the job
    ends, and exit; else return.

    Exit code 1 where a node of the job is gone.
    """
    if os.environ.get("DMLC_ROLE") not in ("server", "scheduler"):
        return
    for name, value in HEARTBEAT.items():
        os.environ.setdefault(name, value)
    # or the import would not come back, and nothing would watch
    role = os.environ.pop("DMLC_ROLE")
    import mxnet as mx
    from mxnet.kvstore_server import KVStoreServer

    os.environ["DMLC_ROLE"] = role
    kvstore = mx.kv.create("dist")
    watch = _Watch(
        kvstore,
        *(
            (SERVERS_AND_WORKERS, "a worker or a server of the job is gone")
            if role == "scheduler"
            else (
                SCHEDULER,
                (
                    "the job's scheduler is gone, or it has ended the job because a worker or a "
                    "server is gone"
                ),
            )
        ),
    )
    KVStoreServer(kvstore).run()
    watch.stop()
    sys.exit(0)
