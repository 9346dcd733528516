"""Training on several machines with MXNet's parameter server: this process may be a worker, a
server or the scheduler.

The facts in docs/several-machines.md were found by experiment with MXNet 1.5.1. MXNet is imported
inside the functions, because importing it turns a process into a server if DMLC_ROLE says so, and
because --help must import neither MXNet nor NumPy.
"""

import ctypes
import math
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Dict, List, NoReturn, Optional, Sequence, Tuple

from mlr.data.parts import part_of
from mlr.errors import InputError

if TYPE_CHECKING:
    import mxnet as mx
    import numpy as np
    from numpy.typing import ArrayLike

SYNCHRONOUS = "dist_sync", "dist_device_sync"
KINDS = (*SYNCHRONOUS, "dist_async")
# seconds; must be the same in all nodes of a job, or they take each other for dead
HEARTBEAT = {"PS_HEARTBEAT_INTERVAL": "2"}
# A node is dead after SILENCE seconds without a sign of life, confirmed by LOOKS checks, one each
# second.
SILENCE, LOOKS = 30, 10
START = 600  # seconds within which all nodes of a job must start
SCHEDULER, SERVERS_AND_WORKERS = 1, 6  # ps-lite's numbers for groups of nodes
# far above the trainer's keys, which are the numbers of its parameters; sums have the keys below
FIRST_KEY = 1 << 20


class Workers:
    """The workers of a job, as one of them sees them; without a kind, a single process that trains
    alone.

    Attributes: `rank`, from 0; `first`, whether this worker has rank 0 and writes the run; `number`
    of workers; `kvstore`, or None; `wait_for_each_other`, whether each step uses the gradients of
    all workers; `compression`, or None.
    """

    def __init__(self, kind: Optional[str] = None, compression: Optional[float] = None) -> None:
        """kind: one of KINDS. compression: the threshold of MXNet's 2-bit compression of gradients,
        or None for whole gradients. Blocks until all nodes of the job have started. Raises
        InputError if a kind is given outside a job, or none is given inside one, or for a
        compression that the kind does not allow.
        """
        if compression and kind not in SYNCHRONOUS:
            raise InputError(
                "--gradient-compression is for workers that wait for each other: give --kvstore "
                f"{' or '.join(SYNCHRONOUS)} too, or leave it out"
            )
        if kind and not in_a_job():
            raise InputError(
                f"--kvstore {kind} is for a worker of a job, but this process was not started as "
                f"a worker: use mlr launch -n WORKERS -s SERVERS -- mlr train ... --kvstore {kind}"
            )
        if in_a_job() and not kind:
            raise InputError(
                "this process is a worker of a job, as DMLC_ROLE says, but has no --kvstore, so "
                f"each worker would train alone: give --kvstore, one of {', '.join(KINDS)}"
            )
        self.kvstore: Any = None
        self.rank, self.number, self._gathered = 0, 1, 0
        self._added: Dict[Tuple[int, ...], Tuple[int, Any]] = {}  # shape: key and array
        self._watch: Optional[_Watch] = None
        self.wait_for_each_other = kind != "dist_async"
        self.compression = compression
        if kind:
            import mxnet as mx

            for name, value in HEARTBEAT.items():
                os.environ.setdefault(name, value)
            missing = threading.Timer(
                START, _end, [f"not all workers and servers of the job started within {START:d} s"]
            )
            missing.daemon = True
            missing.start()
            self.kvstore = mx.kv.create(kind)
            missing.cancel()
            self.rank, self.number = self.kvstore.rank, self.kvstore.num_workers
            if compression:
                self.kvstore.set_gradient_compression({"type": "2bit", "threshold": compression})
                self.barrier()  # the first worker tells the servers
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
        """Stop watching the other nodes, after all work is done. The process then waits for the
        other workers when it ends.
        """
        if self.compression:
            import mxnet as mx

            mx.nd.waitall()  # a process that ends within a compressed push waits for ever
        if self._watch:
            self._watch.stop()

    def gather(self, array: "ArrayLike") -> List["np.ndarray"]:
        """Return every worker's array, in order of rank, as NumPy arrays; with several workers they
        are float32. array: (N, ...); N is at least 1 and may differ between workers, the other
        lengths may not.

        All workers must call this method, and wait for each other in it.
        """
        import numpy as np

        if self.number == 1:
            return [np.asarray(array)]
        # In some jobs servers round float64 to float32, in others they don't.
        array = np.asarray(array, np.float32)
        lengths = self._exchange(np.array([len(array)], np.float32), [(1,)] * self.number)
        return self._exchange(array, [(int(length), *array.shape[1:]) for (length,) in lengths])

    def add_up(self, array: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """Return the sum of all workers' arrays, which are exchanged like gradients, but never
        compressed. array: an NDArray of float32.

        All workers must call this method equally often, with arrays of the same shapes, in the same
        order as their training steps; it is not for dist_async, whose servers do not add. Without
        compression it returns at once; reading the sum waits for the other workers.
        """
        if self.number == 1:
            return array
        if self.compression:
            from mxnet import nd

            return nd.array(sum(self._exchange(array.asnumpy(), [array.shape] * self.number)))
        return self._sum(array)

    def _sum(self, array: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """Return the sum of all workers' arrays, as the servers add up gradients."""
        if array.shape not in self._added:
            self._added[array.shape] = FIRST_KEY - 1 - len(self._added), array.zeros_like()
            self.kvstore.init(*self._added[array.shape])
        # MXNet keeps a key's push, pull and next push in order only if they push the same array.
        # With a new array each time, a push can overtake the last pull, which then gets the next
        # sum.
        key, added = self._added[array.shape]
        array.copyto(added)
        total = array.zeros_like()
        self.kvstore.push(key, added)
        self.kvstore.pull(key, total)
        return total

    def barrier(self) -> None:
        """Wait until all workers have called this method."""
        if self.kvstore:
            self.kvstore._barrier()

    def part(self, count: int) -> slice:
        """Return this worker's part of `count` ordered items, a slice; see
        `mlr.data.parts.part_of`.
        """
        return part_of(count, self.rank, self.number)

    def _exchange(
        self, array: "np.ndarray", shapes: Sequence[Tuple[int, ...]]
    ) -> List["np.ndarray"]:
        """Return every worker's array. shapes: those of the arrays. The first push to a new key
        only sets its value, so servers never add or update these keys, even if they run an
        optimizer.
        """
        from mxnet import nd

        if self.compression:
            return self._exchange_bits(array, shapes)
        start = FIRST_KEY + self._gathered * self.number
        keys, self._gathered = [start + rank for rank in range(self.number)], self._gathered + 1
        self.kvstore.push(keys[self.rank], nd.array(array))
        nd.waitall()  # until the server has answered
        self.barrier()
        arrays = [nd.empty(shape) for shape in shapes]
        self.kvstore.pull(keys, arrays)
        return [array.asnumpy() for array in arrays]

    def _exchange_bits(
        self, array: "np.ndarray", shapes: Sequence[Tuple[int, ...]]
    ) -> List["np.ndarray"]:
        """Return every worker's array, although MXNet compresses all that is pushed: it keeps a
        number that is 0 or the threshold as it is, so each bit is sent as one of these.
        """
        import numpy as np
        from mxnet import nd

        sizes = [math.prod(shape) for shape in shapes]
        bits = np.zeros((self.number, 32 * max(sizes)), np.float32)
        own = np.unpackbits(np.ascontiguousarray(array, np.float32).ravel().view(np.uint8))
        bits[self.rank, : len(own)] = own
        sums = self._sum(nd.array(bits * np.float32(self.compression)))
        received = np.packbits(sums.asnumpy() > 0, axis=1).view(np.float32)
        return [
            numbers[:size].reshape(shape) for numbers, size, shape in zip(received, sizes, shapes)
        ]


class _Watch:
    """A thread that ends the process with exit code 1 when a node of a group has been silent for
    too long: MXNet itself would wait for ever.
    """

    def __init__(self, kvstore: Any, group: int, says: str) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(kvstore, group, says), daemon=True)
        self._thread.start()

    def _look(self, kvstore: Any, group: int, says: str) -> None:
        from mxnet.base import _LIB

        dead, looks = ctypes.c_int(), 0
        while not self._stopped.wait(1):
            # The call fails until this node has started. A node that starts late counts as dead
            # until its first sign of life.
            failed = _LIB.MXKVStoreGetNumDeadNode(
                kvstore.handle, ctypes.c_int(group), ctypes.byref(dead), ctypes.c_int(SILENCE)
            )
            looks = looks + 1 if not failed and dead.value else 0
            if looks == LOOKS:
                _end(f"{says} (no sign of life for {SILENCE + LOOKS:d} s)")

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()  # a thread that still runs at the end of the process would abort it


def in_a_job() -> bool:
    """Tell whether this process was started as a worker of a job."""
    return os.environ.get("DMLC_ROLE") == "worker"


def _end(says: str) -> NoReturn:
    print(
        f"error: {says}; start the job again, a training with --resume", file=sys.stderr, flush=True
    )
    os._exit(1)


def serve() -> None:
    """If this process was started as a server or the scheduler of a job, run as that until the job
    ends, and then exit. Otherwise return at once.

    The exit code is 1 if a node of the job is gone.
    """
    if os.environ.get("DMLC_ROLE") not in ("server", "scheduler"):
        return
    for name, value in HEARTBEAT.items():
        os.environ.setdefault(name, value)
    # With DMLC_ROLE set, the import would run the server and not return, and nothing would watch.
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
