"""What the shallow branches cost in training: python benchmarks/branches.py

Steps of SGD, in turn, of the multi-level network and of its backbone alone with a new classifier:
SqueezeNet 1.1 on batches of 32 random images of 160 px. Prints images per second, and how much of
the backbone's rate is left.
"""

import statistics
import time

import mlr  # before MXNet, whose threads it sets

# isort: split

import contestant
import mxnet as mx
import numpy as np
from mxnet import nd

from mlr.model.finetuned import FineTuned
from mlr.model.parameters import materialize
from mlr.training import loop
from mlr.training.optimizer import new_trainer

BACKBONE, BATCH, SIZE, ROUNDS = "squeezenet1.1", 32, 160, 15


def training_step(net):
    """Return a function that does a step as `mlr train` does it, finished when it returns."""
    materialize(net, mx.cpu(), mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    trainer = new_trainer(net, "sgd", contestant.SGD)
    learner = loop.Learner(net, mlr.CrossEntropyLoss(), trainer, [mx.cpu()])
    images, labels = nd.random.normal(shape=(BATCH, 3, SIZE, SIZE)), nd.array(np.arange(BATCH) % 8)
    return lambda: loop.train_epoch(learner, [(images, labels)])


def main():
    steps = {
        "with branches": training_step(mlr.MultiLevelNet(8, BACKBONE)),
        "with branches 64 wide": training_step(mlr.MultiLevelNet(8, BACKBONE, widths=(64,) * 3)),
        "backbone alone": training_step(FineTuned(8, BACKBONE)),
    }
    seconds = {name: [] for name in steps}
    for number in range(contestant.WARM_UP + ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= contestant.WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    rates = {name: BATCH / statistics.median(taken) for name, taken in seconds.items()}
    for name, rate in rates.items():
        print(f"{name}: {rate:.0f} images/s, {rate / rates['backbone alone']:.2f}")


if __name__ == "__main__":
    main()
