"""Where a training step's time goes, operator by operator: python benchmarks/operators.py

The full network, 16 images of 224 px. MXNet's profiler sees nothing inside a static graph, so the
graph is not static here; the operators are the same. Beside the table stand the processor's limits,
measured in the same process: GEMM and memory.
"""

import re
import tempfile
import time
from pathlib import Path

import mlr  # before MXNet, whose threads it sets

# isort: split

import contestant
import mxnet as mx
import numpy as np
from mxnet import autograd, nd, profiler

from mlr.model.parameters import materialize
from mlr.training.optimizer import new_trainer

BATCH, SIZE, STEPS = 16, 224, 4
GROUPS = {
    "convolution": "Convolution",
    "batch norm": "BatchNorm",
    "ReLU": "Activation",
    "pooling": "Pooling",
    "Gram matrices": "batch_dot|[Rr]eshape|broadcast_div|slice|sum|ones_like|BlockGrad|transpose",
    "sums of maps and gradients": "add_n|elemwise_add",
    "dense layers": "FullyConnected",
    "optimizer": "sgd_mom_update",
}
STREAM = 2**26  # float32 numbers, more than any cache holds


def profiled(step):
    """Return {operator: milliseconds a step}."""
    # MXNet writes the file once more when the process ends.
    profiler.set_config(
        profile_all=True,
        aggregate_stats=True,
        filename=str(Path(tempfile.gettempdir()) / "mlr-operators.json"),
    )
    profiler.set_state("run")
    for _ in range(STEPS):
        step()
    nd.waitall()
    profiler.set_state("stop")
    rows = re.findall(
        r"^(\w+) +(\d+) +([\d.]+) +[\d.]+ +[\d.]+ +[\d.]+ *$", profiler.dumps(), re.MULTILINE
    )
    # Each operator stands in the table twice, once by the engine and once by itself, in one sum.
    return {name: float(total) / STEPS / 2 for name, _, total in rows if not name.startswith("MX")}


def rate(work, amount):
    """Return amount per second, the best of five."""
    work()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return amount / min(seconds)


def main():
    net = mlr.MultiLevelNet(classes=8)
    materialize(net, mx.cpu(), mx.init.Xavier())
    net.hybridize()
    loss = mlr.ClassImbalanceLoss([contestant.CLASS_WEIGHT] * 8)
    trainer = new_trainer(net, "sgd", contestant.SGD)
    images, labels = nd.random.normal(shape=(BATCH, 3, SIZE, SIZE)), nd.array(np.arange(BATCH) % 8)

    def step():
        with autograd.record():
            losses = loss(net(images), labels)
        losses.backward()
        trainer.step(BATCH)

    for _ in range(contestant.WARM_UP):
        step()
    nd.waitall()
    spent = profiled(step)
    print("| operator | forward, ms | backward, ms | part |\n| --- | --- | --- | --- |")
    whole, named = sum(spent.values()), 0
    for group, pattern in GROUPS.items():
        both = [
            sum(
                ms
                for name, ms in spent.items()
                if re.search(pattern, name) and name.startswith("_backward") == back
            )
            for back in (False, True)
        ]
        named += sum(both)
        print("| {} | {:.0f} | {:.0f} | {:.0f} % |".format(group, *both, 100 * sum(both) / whole))
    print(f"| all others | {whole - named:.0f} | | {100 * (whole - named) / whole:.0f} % |")
    matrix = np.random.RandomState(0).normal(size=(contestant.SQUARE,) * 2).astype("float32")
    a, b, c = (nd.ones(STREAM) for _ in range(3))
    products = rate(lambda: matrix @ matrix, 2 * len(matrix) ** 3)
    print(
        f"sum {whole:.0f} ms; GEMM {products / 1e9:.0f} GFLOP/s; memory "
        f"{rate(lambda: nd.elemwise_add(a, b, out=c).wait_to_read(), 3 * 4 * STREAM) / 1e9:.1f} "
        "GB/s (two read, one written)"
    )


if __name__ == "__main__":
    main()
