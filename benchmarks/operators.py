"""Where the time goes, operator by operator, in a training step or in the prediction of one image:
python benchmarks/operators.py [prediction]

The full network at 224 px, training in batches of 16. MXNet's profiler sees nothing inside a static
graph, so the graph is not static here; the operators are the same. Below the table stand the
processor's limits, measured in the same process: GEMM and memory.
"""

import os
import re
import sys
import tempfile
import time
from pathlib import Path

# Else the profiler sees many operators as one.
os.environ["MXNET_EXEC_BULK_EXEC_INFERENCE"] = "0"

import mlr  # before MXNet, whose threads it sets

# isort: split

import contestant
import mxnet as mx
import numpy as np
from mxnet import autograd, nd, profiler

from mlr.inference.fused_graph import fused
from mlr.model.parameters import materialize
from mlr.training.optimizer import new_trainer

BATCH, SIZE, STEPS, PREDICTIONS = 16, 224, 4, 40
GROUPS = {
    "convolution": "Convolution|_sg_mkldnn_conv",
    "batch norm": "BatchNorm",
    "ReLU": "Activation",
    "pooling": "Pooling",
    "Gram matrices": "batch_dot|[Rr]eshape|broadcast_div|slice|sum|ones_like|elemwise_mul|BlockGrad"
    "|transpose|take",
    "sums of maps and gradients": "add_n|elemwise_add",
    "dense layers": "FullyConnected|_sg_mkldnn_fully_connected",
    "optimizer": "sgd_mom_update",
}
STREAM = 2**26  # float32 numbers, more than any cache holds


def profiled(step, steps):
    """Return {operator: milliseconds a step}."""
    # MXNet writes the file once more when the process ends.
    profiler.set_config(
        profile_all=True,
        aggregate_stats=True,
        filename=str(Path(tempfile.gettempdir()) / "mlr-operators.json"),
    )
    profiler.set_state("run")
    for _ in range(steps):
        step()
    nd.waitall()
    profiler.set_state("stop")
    rows = re.findall(
        r"^(\w+) +(\d+) +([\d.]+) +[\d.]+ +[\d.]+ +[\d.]+ *$", profiler.dumps(), re.MULTILINE
    )
    # Each operator stands in the table twice, once by the engine and once by itself, in one sum.
    return {name: float(total) / steps / 2 for name, _, total in rows if not name.startswith("MX")}


def rate(work, amount):
    """Return amount per second, the best of five."""
    work()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return amount / min(seconds)


def training_step(net):
    """Return a function that does a step, and how often to call it."""
    net.hybridize()
    loss = mlr.ClassImbalanceLoss([contestant.CLASS_WEIGHT] * 8)
    trainer = new_trainer(net, "sgd", contestant.SGD)
    images, labels = nd.random.normal(shape=(BATCH, 3, SIZE, SIZE)), nd.array(np.arange(BATCH) % 8)

    def step():
        with autograd.record():
            losses = loss(net(images), labels)
        losses.backward()
        trainer.step(BATCH)

    return step, STEPS


def prediction(net):
    """Return a function that predicts one image, and how often to call it.

    Only an executor or a static graph keeps the weights in MKL-DNN's layout between calls.
    """
    images = nd.random.normal(shape=(1, 3, SIZE, SIZE))
    block = fused(net)
    symbol, arrays = block(mx.sym.var("data")), {"data": images}
    arrays.update((name, each.data()) for name, each in block.collect_params().items())
    executor = symbol.bind(
        mx.cpu(),
        {name: arrays[name] for name in symbol.list_arguments()},
        aux_states={name: arrays[name] for name in symbol.list_auxiliary_states()},
        grad_req="null",
    )
    return lambda: executor.forward()[0].wait_to_read(), PREDICTIONS


def main():
    net = mlr.MultiLevelNet(classes=8)
    materialize(net, mx.cpu(), mx.init.Xavier())
    step, steps = (prediction if sys.argv[1:] == ["prediction"] else training_step)(net)
    for _ in range(contestant.WARM_UP):
        step()
    nd.waitall()
    spent = profiled(step, steps)
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
        print("| {} | {:.3g} | {:.3g} | {:.0f} % |".format(group, *both, 100 * sum(both) / whole))
    print(f"| all others | {whole - named:.3g} | | {100 * (whole - named) / whole:.0f} % |")
    matrix = np.random.RandomState(0).normal(size=(contestant.SQUARE,) * 2).astype("float32")
    a, b, c = (nd.ones(STREAM) for _ in range(3))
    products = rate(lambda: matrix @ matrix, 2 * len(matrix) ** 3)
    print(
        f"sum {whole:.4g} ms; GEMM {products / 1e9:.0f} GFLOP/s; memory "
        f"{rate(lambda: nd.elemwise_add(a, b, out=c).wait_to_read(), 3 * 4 * STREAM) / 1e9:.1f} "
        "GB/s (two read, one written)"
    )


if __name__ == "__main__":
    main()
