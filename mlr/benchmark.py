"""python -m mlr.benchmark: compare the speed and memory of this package with the released code,
PyTorch and ONNX Runtime, as ratios measured in one run.
"""

import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

from mlr import cli, paper
from mlr.errors import InputError, RunError
from mlr.runtime.cpu import usable_cores
from mlr.runtime.files import write_file
from mlr.runtime.installation import require_mxnet

CHECKOUT = Path(__file__).parents[1]
CONTESTANTS = CHECKOUT / "benchmarks"
# for one image of 224 px: three times the operations of a prediction's convolutions and dense
# layers
TRAINING_GFLOP = 24.6
WHAT = ("training", "inference", "pipeline", "start")
STEPS = {"training": 2, "inference": 8, "pipeline": 3, "gemm": 3}
CLASSES = len(paper.FI_CLASS_WEIGHTS)
# shifted copies of scikit-learn's two photographs, 640 x 427, to measure the loaders on
PHOTOS = 256


Key = Tuple[str, int, str]  # task, batch, contestant
Results = Dict[Key, List[Dict[str, Any]]]  # one dict for each round
LeftOut = Dict[Key, str]  # why


class Contestant(NamedTuple):
    """A program in benchmarks/. build: the folder in .builds whose Python runs the program; None:
    the Python that runs this command.
    """

    script: str
    build: Optional[str] = None
    flags: Tuple[str, ...] = ()
    own_threads: bool = False  # MXNet's own default, half of the cores


RELEASED = "released.py"
NAMED = {
    "mlr": Contestant("package.py"),
    "released style, mxnet 1.5.1": Contestant(RELEASED, "mxnet-1.5.1", own_threads=True),
    "released style, mxnet 1.5.1, all cores": Contestant(RELEASED, "mxnet-1.5.1"),
    "released style, mxnet 1.9.1": Contestant(RELEASED, "mxnet-1.9.1", own_threads=True),
    "released style, mxnet 1.9.1, all cores": Contestant(RELEASED, "mxnet-1.9.1"),
    "released style, this build": Contestant(RELEASED),
    "PyTorch": Contestant("pytorch.py", "torch"),
    "PyTorch, compiled": Contestant("pytorch.py", "torch", ("--compile",)),
    "ONNX Runtime": Contestant("onnx_runtime.py", "torch"),
    "ONNX Runtime, int8": Contestant("onnx_runtime.py", "torch", ("--int8",)),
    "MXNet int8, this build": Contestant("low_precision.py"),
    "MXNet int8, mxnet 1.9.1": Contestant("low_precision.py", "mxnet-1.9.1"),
    "released loader": Contestant("package.py", flags=("--released",)),
}


class Comparison(NamedTuple):
    """A row of the table. figure: the key in the contestants' JSON. target: what the ratio to the
    peer should reach, at least, or at most if lower is better.
    """

    what: str
    task: str
    batch: int
    figure: str
    peer: str
    target: Optional[float]

    @property
    def lower_is_better(self) -> bool:
        """Tell whether a lower figure is better, as for seconds and memory."""
        return self.figure != "images_per_second"


def comparisons(batch: int) -> List[Comparison]:
    """Return the rows of the table, in order. batch: the batch size of all rows but those of a
    single image.
    """
    speed, training, answer = "images_per_second", "training step", "prediction"
    return [
        Comparison(training, "training", batch, speed, "released style, mxnet 1.5.1", 8),
        Comparison(
            training, "training", batch, speed, "released style, mxnet 1.5.1, all cores", None
        ),
        Comparison(training, "training", batch, speed, "released style, mxnet 1.9.1", 3),
        Comparison(
            training, "training", batch, speed, "released style, mxnet 1.9.1, all cores", None
        ),
        Comparison(training, "training", batch, speed, "released style, this build", None),
        Comparison(training, "training", batch, speed, "PyTorch", 1.5),
        Comparison(training, "training", batch, speed, "PyTorch, compiled", 1.15),
        Comparison(
            "peak memory of training",
            "training",
            batch,
            "peak_mib",
            "released style, this build",
            1,
        ),
        Comparison(answer, "inference", batch, speed, "PyTorch, compiled", 1.2),
        Comparison(answer, "inference", batch, speed, "ONNX Runtime", 1.2),
        Comparison(answer, "inference", batch, speed, "ONNX Runtime, int8", None),
        Comparison(answer, "inference", batch, speed, "MXNet int8, this build", None),
        Comparison(answer, "inference", batch, speed, "MXNet int8, mxnet 1.9.1", None),
        Comparison(answer + ", one image", "inference", 1, "seconds", "PyTorch, compiled", 0.75),
        Comparison(answer + ", one image", "inference", 1, "seconds", "ONNX Runtime", None),
        Comparison(answer + ", one image", "inference", 1, "seconds", "ONNX Runtime, int8", None),
        Comparison("input pipeline, one core", "pipeline", batch, speed, "released loader", 10),
    ]


def parser() -> cli.Parser:
    """Return the parser of the command line."""
    parser = cli.Parser("benchmark", __doc__)
    parser.add_argument("--only", nargs="+", choices=WHAT, help="what to measure (default: all)")
    parser.add_argument(
        "--batch-size",
        type=cli.number(int, 1),
        default=paper.BATCH_SIZE,
        metavar="N",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--image-size",
        type=cli.number(int, 64),
        default=paper.IMAGE_SIZE,
        metavar="PX",
        help="(default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=cli.number(int, 1),
        default=3,
        metavar="N",
        help=(
            "in each round every contestant runs once, in a fresh process; the table shows the "
            "medians (default: %(default)s)"
        ),
    )
    parser.add_argument(
        "--builds",
        type=Path,
        default=CHECKOUT / ".builds",
        metavar="DIR",
        help=(
            "the folder of the contestants' environments, which make benchmark installs; a "
            "contestant whose environment is missing is left out (default: .builds)"
        ),
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmark.json"),
        metavar="FILE",
        help="the file to write every figure to (default: %(default)s)",
    )
    return parser


def benchmark(options: Namespace) -> None:
    """Measure, write every figure to --out and print the table.

    Raises InputError if this is no checkout or --out exists, RunError if the package's own part
    fails.
    """
    require_mxnet()
    if not CONTESTANTS.is_dir():
        raise InputError(
            f"there is no folder {CONTESTANTS}: the benchmark needs a checkout of the project, "
            "not only the package"
        )
    cli.refuse_existing(options.out)
    wanted = options.only or WHAT
    if wanted == ["start"]:
        _refuse_without_effect(options)
    compared = [row for row in comparisons(options.batch_size) if row.task in wanted]
    with tempfile.TemporaryDirectory(prefix="mlr-benchmark-") as folder:
        results, left_out = measure(compared, Path(folder), options)
    lines = [line(row, results, left_out) for row in compared]
    if "training" in wanted:
        lines.append(roofline(results, options))
    start = start_times(options.rounds) if "start" in wanted else {}
    lines += start_lines(start)
    machine = this_machine()
    figures = {
        "machine": machine,
        "batch_size": options.batch_size,
        "image_size": options.image_size,
        "rounds": options.rounds,
        "results": _with_text_keys(results),
        "left_out": _with_text_keys(left_out),
        "start": start,
        "table": lines,
    }
    write_file(options.out, json.dumps(figures, indent=2) + "\n")
    print(
        f"{machine['processor']}, {machine['threads']:d} threads, batch {options.batch_size:d}, "
        f"{options.image_size:d} px, medians of {options.rounds:d} rounds"
    )
    print(table(lines))
    for name, versions in sorted(
        {key[2]: runs[0]["versions"] for key, runs in results.items()}.items()
    ):
        print(
            f"{name}: {', '.join(f'{package} {version}' for package, version in versions.items())}"
        )


def _refuse_without_effect(options: Namespace) -> None:
    """Raise InputError for an option that has no effect on the time to start."""
    for name in ("batch_size", "image_size", "builds"):
        if getattr(options, name) != parser().get_default(name):
            raise InputError(
                f"--{name.replace('_', '-')} has no effect on --only start: leave it out"
            )


def _with_text_keys(figures: Mapping[Key, Any]) -> Dict[str, Any]:
    """Return the same values under text keys, "task / batch / contestant", as JSON needs them."""
    return {" / ".join(map(str, key)): value for key, value in figures.items()}


def measure(
    compared: Sequence[Comparison], folder: Path, options: Namespace
) -> Tuple[Results, LeftOut]:
    """Return {(task, batch, contestant): its figures, one dict for each round} and {the same key:
    why it was left out}.
    """
    tasks = sorted({(row.task, row.batch) for row in compared})
    give(folder, options, {task for task, _ in tasks})
    results: Results = {}
    left_out: LeftOut = {}
    for task, batch in tasks:
        names = ["mlr"] + sorted(
            {row.peer for row in compared if (row.task, row.batch) == (task, batch)}
        )
        for number, name in itertools.product(range(options.rounds), names):
            key = task, batch, name
            if key in left_out:
                continue
            print(
                f"{task}, batch {batch:d}, round {number + 1:d} of {options.rounds:d}: {name}",
                file=sys.stderr,
                flush=True,
            )
            try:
                python = interpreter(NAMED[name], options.builds)
                if task == "training" and not number:
                    # inference also compares the logits with those of mlr
                    run(NAMED[name], python, "inference", batch, folder)
                results.setdefault(key, []).append(run(NAMED[name], python, task, batch, folder))
            except RunError as error:
                if name == "mlr":
                    raise
                left_out[key] = str(error)
                results.pop(key, None)
        if task == "training":
            results["gemm", batch, "mlr"] = [
                run(NAMED["mlr"], sys.executable, "gemm", batch, folder)
                for _ in range(options.rounds)
            ]
    return results, left_out


def give(folder: Path, options: Namespace, tasks: Set[str]) -> None:
    """Write what all contestants use: parameters, images and logits, in the format of each
    contestant; and photographs for the loaders.
    """
    import mxnet as mx
    import numpy as np

    import mlr
    from mlr.exporting.pytorch import save_pytorch, training_settings
    from mlr.methods.multilevel import METHOD
    from mlr.model.parameters import materialize

    rng = np.random.RandomState(0)
    if "pipeline" in tasks:
        import cv2
        from sklearn.datasets import load_sample_images

        (folder / "photos").mkdir()
        photos = load_sample_images().images
        for number in range(PHOTOS):
            photo = np.roll(photos[number % len(photos)], 3 * number, axis=1)
            cv2.imwrite(str(folder / "photos" / f"{number:03d}.jpg"), photo[:, :, ::-1])
    net = mlr.MultiLevelNet(classes=CLASSES)
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
    mlr.save_original_parameters(net, folder / "released.params")
    training = training_settings(METHOD.released, [1 / CLASSES] * CLASSES, {}, net)
    about = {"network": METHOD.network(METHOD.released, CLASSES), "training": training}
    save_pytorch(net, about, folder / "pytorch")
    if "inference" in tasks:
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


def median(results: Results, key: Key, figure: str) -> float:
    """Return the median of a figure over the rounds."""
    return statistics.median(run[figure] for run in results[key])


def line(row: Comparison, results: Results, left_out: LeftOut) -> List[str]:
    """Return the cells of a row of the table."""
    if (row.task, row.batch, row.peer) in left_out:
        return [row.what, row.peer, left_out[row.task, row.batch, row.peer], "", "", "", ""]
    keys = [(row.task, row.batch, name) for name in ("mlr", row.peer)]
    ours, theirs = (median(results, key, row.figure) for key in keys)
    ratio = statistics.median(
        our[row.figure] / their[row.figure] for our, their in zip(*(results[key] for key in keys))
    )
    same = results[keys[1]][0]["same_label"]
    unit, factor = {
        "images_per_second": ("images/s", 1),
        "seconds": ("ms", 1000),
        "peak_mib": ("MiB", 1),
    }[row.figure]
    cells = [f"{value * factor:.4g} {unit}" for value in (ours, theirs)]
    if same is not None and same < 1:
        cells[1] += f", another class for {100 - 100 * same:.0f} %"
    return [row.what, row.peer, *cells, *judged(ratio, row.target, row.lower_is_better)]


def judged(ratio: float, target: Optional[float], lower_is_better: bool) -> List[str]:
    """Return the cells of a ratio, its target and whether it was met."""
    if target is None:
        return [f"{ratio:.2f}", "", ""]
    met = ratio <= target if lower_is_better else ratio >= target
    return [
        f"{ratio:.2f}",
        f"{'at most' if lower_is_better else 'at least'} {target}",
        "yes" if met else "no",
    ]


def roofline(results: Results, options: Namespace) -> List[str]:
    """Return the cells of the row that gives training's share of the CPU's GEMM rate."""
    key = options.batch_size, "mlr"
    roof = median(results, ("gemm", *key), "flop_per_second") / 1e9
    if options.image_size != paper.IMAGE_SIZE:
        return [
            "training, share of the GEMM rate",
            "the processor",
            f"counted for {paper.IMAGE_SIZE:d} px only",
            f"{roof:.0f} GFLOP/s",
            "",
            "",
            "",
        ]
    reached = median(results, ("training", *key), "images_per_second") * TRAINING_GFLOP
    return [
        "training, share of the GEMM rate",
        "the processor",
        f"{reached:.0f} GFLOP/s",
        f"{roof:.0f} GFLOP/s",
        *judged(reached / roof, 0.6, False),
    ]


def start_times(rounds: int) -> Dict[str, float]:
    """Return the median seconds from the start of `mlr predict` to its first answer with the
    shipped run, and the seconds that each command's --help takes.
    """
    photo = str(CHECKOUT / "imgs" / "example.jpg")
    timed = {
        "mlr predict, first answer": ["predict", photo],
        **{f"mlr {name} --help": [name, "--help"] for name in cli.COMMANDS},
    }
    seconds: Dict[str, List[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, arguments in timed.items():
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "mlr", *arguments],
                capture_output=True,
                text=True,
            )
            seconds[name].append(time.perf_counter() - start)
            if done.returncode:
                raise RunError(f"{name} failed: {done.stderr.strip()}")
    return {name: statistics.median(values) for name, values in seconds.items()}


def start_lines(start: Mapping[str, float]) -> List[List[str]]:
    """Return the cells of the first answer and of the slowest --help. start: what `start_times`
    returned.
    """
    if not start:
        return []
    predict, slowest = (
        start["mlr predict, first answer"],
        max((value, name) for name, value in start.items() if name.endswith("--help")),
    )
    return [
        [
            what,
            "",
            f"{value:.2f} s",
            "",
            *["", f"at most {target} s", "yes" if value <= target else "no"],
        ]
        for what, value, target in (
            ("mlr predict, first answer", predict, 3),
            (slowest[1] + ", the slowest", slowest[0], 0.5),
        )
    ]


def table(lines: Iterable[Sequence[str]]) -> str:
    """Return the cells as a Markdown table."""
    head = ["what", "against", "mlr", "the other", "ratio", "target", "met"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *lines])


def this_machine() -> Dict[str, Any]:
    """Return what the figures depend on: CPU, threads, Python, and environment variables."""
    return {
        "processor": cpu_name(),
        "threads": usable_cores(),
        "python": platform.python_version(),
        "settings": {
            name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")
        },
    }


def cpu_name() -> str:
    """Return the CPU's name as /proc/cpuinfo gives it, or else as Python's platform does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command; return its exit code."""
    return cli.run(parser(), benchmark, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
