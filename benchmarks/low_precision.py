"""The network in 8 bits by MXNet's own quantization, on its MKL-DNN subgraphs. A contestant of `mlr
benchmark`.
"""

import logging
import os

import mlr  # before MXNet, whose threads it sets

# isort: split

import contestant
import mxnet as mx
from mxnet import io, nd
from mxnet.contrib.quantization import quantize_model
from package import network

from mlr.inference.fused_graph import BACKEND, unlogged

QUANTIZED = "MKLDNN_QUANTIZE"


def inference(given, options):
    """As MXNet's own example does it: convolutions and dense layers, calibrated by the extremes on
    the images that are given.
    """
    net = network(given)
    images = mx.sym.var("data")
    symbol = net(images)
    parameters = {parameter.name: parameter.data() for parameter in net.collect_params().values()}
    arguments = {name: parameters[name] for name in symbol.list_arguments() if name != "data"}
    statistics = {name: parameters[name] for name in symbol.list_auxiliary_states()}
    batch = nd.array(given.images)
    with unlogged():
        symbol = symbol.get_backend_symbol(BACKEND)
        symbol, arguments, statistics = quantize_model(
            symbol,
            arguments,
            statistics,
            ctx=mx.cpu(),
            calib_mode="naive",
            calib_data=io.NDArrayIter(batch, None, len(batch)),
            num_calib_examples=len(batch),
            quantized_dtype="auto",
            label_names=None,
            logger=logging.getLogger("quantization"),
        )
        symbol = symbol.get_backend_symbol(QUANTIZED)
    executor = symbol.bind(
        mx.cpu(), {**arguments, "data": batch}, aux_states=statistics, grad_req="null"
    )
    return lambda: executor.forward(is_train=False)[0].asnumpy()


if __name__ == "__main__":
    contestant.main(
        {"mlr": mlr.__version__, "mxnet": mx.__version__, "threads": os.environ["OMP_NUM_THREADS"]},
        agreement=None,
        inference=inference,
    )
