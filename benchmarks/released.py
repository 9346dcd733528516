"""The released style as a contestant of `mlr benchmark`: its network, loss and training step, run
operator by operator.
"""

import os
import sys
from pathlib import Path

import contestant
import mxnet as mx
from mxnet import autograd, gluon, nd

# Not as mlr.model.released_style: importing mlr chooses the number of threads and MKL's kernels.
sys.path.append(str(Path(__file__).parents[1] / "mlr" / "model"))

from released_style import ReleasedStyleNet


class ReleasedStyleLoss(gluon.loss.Loss):
    """The released loss, gamma 1, softmax applied twice. Logits (N, K) and labels (N,) -> (N,)."""

    def __init__(self, class_weight, **kwargs):
        super().__init__(None, 0, **kwargs)
        self._class_weight, self._cross_entropy = class_weight, gluon.loss.SoftmaxCrossEntropyLoss()

    def forward(self, logits, labels):
        probabilities = nd.softmax(logits)
        return (
            self._class_weight
            * (1 - nd.pick(probabilities, labels))
            * self._cross_entropy(probabilities, labels)
        )


def network(given):
    net = ReleasedStyleNet(given.logits.shape[1])
    net.load_parameters(str(given.folder / "released.params"))
    return net


def training(given, options):
    net, loss = network(given), ReleasedStyleLoss(contestant.CLASS_WEIGHT)
    trainer = gluon.Trainer(net.collect_params(), "sgd", contestant.SGD)
    images, labels = nd.array(given.images), nd.array(given.labels)

    def step():
        with autograd.record():
            logits = net(images)
            losses = loss(logits, labels)
        losses.backward()
        trainer.step(len(images))
        # what it adds up in every step
        losses.sum().asscalar(), (logits.argmax(axis=1) == labels).sum().asscalar()
        nd.waitall()

    return step


def inference(given, options):
    net, images = network(given), nd.array(given.images)
    return lambda: net(images).asnumpy()


if __name__ == "__main__":
    contestant.main(
        {"mxnet": mx.__version__, "threads": os.environ.get("OMP_NUM_THREADS")},
        training=training,
        inference=inference,
    )
