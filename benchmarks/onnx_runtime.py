"""The network that `mlr export` writes, in ONNX Runtime. A contestant of `mlr benchmark`."""

import os

import contestant
import onnxruntime


def inference(given, options):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    session = onnxruntime.InferenceSession(
        str(given.folder / "model.onnx"), settings, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {session.get_inputs()[0].name: given.images})[0]


if __name__ == "__main__":
    contestant.main(
        {"onnxruntime": onnxruntime.__version__, "threads": os.environ["OMP_NUM_THREADS"]},
        inference=inference,
    )
