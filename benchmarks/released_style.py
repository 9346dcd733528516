"""The network written as the released one is: plain blocks run operator by operator, with its
names. In our own words.

It is what the package is compared with, in tests and, as a contestant of `mlr benchmark`, in speed.
Unlike the released Gram layer, this one lets batch_dot do the transposition, as a transpose after
the reshape aborts on mxnet-mkl 1.5.1.
"""

import os

import mxnet as mx
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn
from mxnet.gluon.model_zoo import vision


class Gram(nn.Block):
    def forward(self, x):
        n, c, h, w = x.shape
        x = x.reshape((n, c, h * w))
        return nd.batch_dot(x, x, transpose_b=True) / (c * h * w)


class ReleasedStyleNet(nn.Block):
    """Images (N, 3, H, W) -> logits (N, classes). `save_parameters` gives the 275 names of the
    released code.
    """

    def __init__(self, classes, dropout=0.8, **kwargs):
        super().__init__(**kwargs)
        self.feature_extractor = vision.resnet50_v2().features
        self.branch_1 = sequence(Gram(), nn.Flatten(), nn.Dense(64, activation="relu"))
        self.branch_2 = sequence(
            nn.MaxPool2D(3, 2, 1), Gram(), nn.Flatten(), nn.Dense(256, activation="relu")
        )
        self.branch_3 = sequence(
            nn.MaxPool2D(3, 2, 1), Gram(), nn.Flatten(), nn.Dense(512, activation="relu")
        )
        self.styleVector = sequence(
            nn.Dropout(dropout),
            nn.Dense(2048, activation="relu"),
            nn.BatchNorm(epsilon=2e-5, momentum=0.9),
        )
        self.output = sequence(nn.BatchNorm(epsilon=2e-5, momentum=0.9), nn.Dense(classes))

    def forward(self, x):
        style = []
        for child, layer in enumerate(self.feature_extractor):
            x = layer(x)
            if child == 3:
                style.append(self.branch_1(x))
            elif child == 4:
                style.append(self.branch_2(x))
            elif child == 5:
                style.append(self.branch_3(x))
        style = self.styleVector(nd.concat(*style, dim=1))
        return self.output(nd.concat(x, style, dim=1))


def sequence(*layers):
    block = nn.Sequential()
    block.add(*layers)
    return block


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
    trainer = gluon.Trainer(
        net.collect_params(),
        "sgd",
        {
            "learning_rate": contestant.LEARNING_RATE,
            "momentum": contestant.MOMENTUM,
            "wd": contestant.WEIGHT_DECAY,
        },
    )
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
    import contestant

    contestant.main(
        {"mxnet": mx.__version__, "threads": os.environ.get("OMP_NUM_THREADS")},
        training=training,
        inference=inference,
    )
