"""The contestants of `mlr benchmark`: what they are given, and how each runs in a process of its
own.
"""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Sequence, Set, Tuple, Union

from mlr import paper
from mlr.errors import RunError
from mlr.runtime.cpu import given, usable_cores

CHECKOUT = Path(__file__).parents[2]
CONTESTANTS = CHECKOUT / "benchmarks"
STEPS = {"training": 2, "inference": 8, "pipeline": 3, "roof": 3}
CLASSES = len(paper.FI_CLASS_WEIGHTS)
# shifted copies of scikit-learn's two photographs, 640 x 427, to measure the loaders on
PHOTOS = 256


class Contestant(NamedTuple):
    """A program in benchmarks/. build: the folder in .builds whose Python runs the program; None:
    the Python that runs this command.
    """

    script: str
    build: Optional[str] = None
    flags: Tuple[str, ...] = ()
    own_threads: bool = False  # MXNet's own default, half of the cores


LOADER = "released loader"
RELEASED, PYTORCH, ONNX_RUNTIME = "released.py", "pytorch.py", "onnx_runtime.py"
NAMED = {
    "mlr": Contestant("package.py"),
    "released style, mxnet 1.5.1": Contestant(RELEASED, "mxnet-1.5.1", own_threads=True),
    "released style, mxnet 1.5.1, all cores": Contestant(RELEASED, "mxnet-1.5.1"),
    "released style, mxnet 1.9.1": Contestant(RELEASED, "mxnet-1.9.1", own_threads=True),
    "released style, mxnet 1.9.1, all cores": Contestant(RELEASED, "mxnet-1.9.1"),
    "released style, this build": Contestant(RELEASED),
    "PyTorch": Contestant(PYTORCH, "torch"),
    "PyTorch, compiled": Contestant(PYTORCH, "torch", ("--compile",)),
    "ONNX Runtime": Contestant(ONNX_RUNTIME, "torch"),
    "ONNX Runtime, int8": Contestant(ONNX_RUNTIME, "torch", ("--int8",)),
    "MXNet int8, this build": Contestant("low_precision.py"),
    "MXNet int8, mxnet 1.9.1": Contestant("low_precision.py", "mxnet-1.9.1"),
    LOADER: Contestant("package.py", flags=("--released",)),
}


def give(folder: Path, options: Namespace, peers: Set[str]) -> None:
    """Write what the contestants use: parameters, images and logits, in the format of each peer;
    and photographs for the loaders.
    """
    import mxnet as mx
    import numpy as np

    from mlr.methods.multilevel import METHOD
    from mlr.model.network import MultiLevelNet
    from mlr.model.parameters import materialize
    from mlr.model.released_weights import save_original_parameters

    rng = np.random.RandomState(0)
    if LOADER in peers:
        import cv2
        from sklearn.datasets import load_sample_images

        (folder / "photos").mkdir()
        photos = load_sample_images().images
        for number in range(PHOTOS):
            photo = np.roll(photos[number % len(photos)], 3 * number, axis=1)
            cv2.imwrite(str(folder / "photos" / f"{number:03d}.jpg"), photo[:, :, ::-1])
    net = MultiLevelNet(classes=CLASSES)
    mx.random.seed(0)
    materialize(net, mx.cpu(), mx.init.Xavier())
    images = rng.normal(
        size=(options.batch_size, 3, options.image_size, options.image_size)
    ).astype(np.float32)
    logits = net(mx.nd.array(images)).asnumpy()
    np.savez(
        str(folder / "given.npz"),
        images=images,
        labels=np.arange(len(images)) % CLASSES,
        logits=logits,
        **{
            "parameter/" + name: parameter.data().asnumpy()
            for name, parameter in net._collect_params_with_prefix().items()
        },
    )
    save_original_parameters(net, folder / "released.params")
    scripts = {NAMED[peer].script for peer in peers}
    if PYTORCH in scripts:
        from mlr.exporting.pytorch import save_pytorch, training_settings

        training = training_settings(METHOD.released, [1 / CLASSES] * CLASSES, {}, net)
        about = {"network": METHOD.network(METHOD.released, CLASSES), "training": training}
        save_pytorch(net, about, folder / "pytorch")
    if ONNX_RUNTIME in scripts:
        from mlr.exporting.int8 import quantized
        from mlr.exporting.onnx import onnx_model

        model = onnx_model(net, options.image_size)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        (folder / "model-int8.onnx").write_bytes(quantized(model, images).SerializeToString())


def interpreter(contestant: Contestant, builds: Path) -> Union[str, Path]:
    """Return the Python that runs a contestant. Raises RunError if its environment is missing."""
    if contestant.build is None:
        return sys.executable
    python = builds / contestant.build / "bin" / "python"
    if not python.exists():
        raise RunError(
            f"not run: there is no {builds / contestant.build} (make benchmark installs it)"
        )
    return python


def run(
    contestant: Contestant, python: Union[str, Path], task: str, batch: int, folder: Path
) -> Dict[str, Any]:
    """Run a contestant and return the figures that it prints. Raises RunError if it fails."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(usable_cores()),
        "PYTHONPATH": str(CHECKOUT),
        "MLR_CACHE": str(folder / "cache"),
    }
    if contestant.own_threads:
        del environment["OMP_NUM_THREADS"]
    done = subprocess.run(
        [
            str(python),
            str(CONTESTANTS / contestant.script),
            task,
            "--given",
            str(folder),
            "--batch",
            str(batch),
            "--steps",
            str(STEPS[task]),
            *contestant.flags,
        ],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RunError(
            f"{contestant.script} failed: "
            f"{(done.stderr.strip().splitlines() or ['it printed no error'])[-1]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def run_command(
    arguments: Sequence[str], folder: Optional[Path] = None, threads: Optional[int] = None
) -> None:
    """Run a command of mlr, `mlr` left out. Raises RunError if it fails.

    folder: where it runs and keeps its cache; None: here, with the user's own. threads: of MXNet;
    None: what the user gave, else what the command takes by itself.
    """
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    # not this process's own value, which importing mlr set: a command takes it for the user's
    environment["OMP_NUM_THREADS"] = str(threads or given("OMP_NUM_THREADS"))
    if folder:
        environment["MLR_CACHE"] = str(folder / "cache")
    command = [sys.executable, "-m", "mlr", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"mlr {arguments[0]} failed: {done.stderr.strip()}")
