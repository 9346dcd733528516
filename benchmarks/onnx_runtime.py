"""The network that `mlr export` writes, in ONNX Runtime, also in 8 bits. A contestant of `mlr
benchmark`.
"""

import os
import sys

import contestant
import onnxruntime

INT8 = "int8"  # of random weights, whose rounding is large beside the differences of their logits


def inference(given, options):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    session = onnxruntime.InferenceSession(
        str(given.folder / ("model-int8.onnx" if options.int8 else "model.onnx")),
        settings,
        providers=["CPUExecutionProvider"],
    )
    return lambda: session.run(None, {session.get_inputs()[0].name: given.images})[0]


if __name__ == "__main__":
    contestant.main(
        {"onnxruntime": onnxruntime.__version__, "threads": os.environ["OMP_NUM_THREADS"]},
        options=(INT8,),
        agreement=None if f"--{INT8}" in sys.argv else contestant.AGREEMENT,
        inference=inference,
    )
