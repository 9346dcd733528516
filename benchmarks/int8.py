"""What 8 bits bring in ONNX Runtime: python benchmarks/int8.py

The full network at 224 px with random weights, and statistics of batch norm and ranges of maps from
photographs, quantized as `mlr export --int8` does it. Float32 and 8 bits take turns in one process;
the table has medians, and the quartiles of the ratio.
"""

import time

import mlr  # before MXNet, whose threads it sets

# isort: split

import mxnet as mx
import numpy as np
import onnxruntime
from mxnet import autograd, nd
from sklearn.datasets import load_sample_images

from mlr.data.transforms import training_transform
from mlr.exporting.int8 import quantized
from mlr.exporting.onnx import IMAGES, onnx_model
from mlr.model.parameters import materialize
from mlr.runtime.cpu import usable_cores

SIZE, PASSES, CALIBRATED, ROUNDS = 224, 10, 64, 25


def crops(number):
    """Return crops of scikit-learn's two photographs as the network takes them in training, (N, 3,
    S, S) float32 NDArray.
    """
    photos, transform = (
        [nd.array(photo, dtype="uint8") for photo in load_sample_images().images],
        training_transform(SIZE),
    )
    return nd.stack(*[transform(photos[index % len(photos)]) for index in range(number)])


def network():
    """Return the network, the statistics of its batch norms brought near those of photographs:
    MXNet updates them on the way back.
    """
    net = mlr.MultiLevelNet(classes=8)
    materialize(net, mx.cpu(), mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    for _ in range(PASSES):
        with autograd.record():
            logits = net(crops(16))
        logits.backward()
    nd.waitall()
    return net


def session(model):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = usable_cores()
    # or the threads of the one slow down the other
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )


def main():
    mx.random.seed(0)
    np.random.seed(0)
    model = onnx_model(network(), SIZE)
    start = time.perf_counter()
    small = quantized(model, crops(CALIBRATED).asnumpy())
    print(
        f"ONNX Runtime {onnxruntime.__version__}, {usable_cores():d} threads; "
        f"{small.ByteSize() / 1e6:.0f} MB instead of {model.ByteSize() / 1e6:.0f}, quantized in "
        f"{time.perf_counter() - start:.0f} s"
    )
    print(
        "| batch | float32, images/s | 8 bits, images/s | ratio (quartiles) |\n| --- | --- | --- "
        "| --- |"
    )
    sessions = [session(one) for one in (model, small)]
    for batch in (1, 16):
        images, seconds = crops(batch).asnumpy(), []
        for _ in range(ROUNDS):
            times = []
            for one in sessions:
                start = time.perf_counter()
                one.run(None, {IMAGES: images})
                times.append(time.perf_counter() - start)
            seconds.append(times)
        seconds = np.array(seconds[2:])  # the first two warm up
        print(
            "| {:d} | {:.1f} | {:.1f} | {:.2f} ({:.2f}, {:.2f}) |".format(
                batch,
                *(batch / np.median(seconds, axis=0)),
                *np.percentile(seconds[:, 0] / seconds[:, 1], (50, 25, 75)),
            )
        )


if __name__ == "__main__":
    main()
