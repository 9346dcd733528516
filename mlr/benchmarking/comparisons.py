"""What `mlr benchmark` compares: the rows of its table, and what they make of the figures."""

import itertools
import statistics
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from mlr.benchmarking.contestants import LOADER, NAMED, give, interpreter, run
from mlr.errors import RunError

Key = Tuple[str, int, str]  # task, batch, contestant
Results = Dict[Key, List[Dict[str, Any]]]  # one dict for each round
LeftOut = Dict[Key, str]  # why


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
        Comparison(training, "training", batch, speed, "PyTorch", 1.3),
        Comparison(training, "training", batch, speed, "PyTorch, compiled", 1.4),
        Comparison(
            "peak memory of training",
            "training",
            batch,
            "peak_mib",
            "released style, this build",
            1,
        ),
        Comparison(answer, "inference", batch, speed, "released style, this build", None),
        Comparison(answer, "inference", batch, speed, "PyTorch, compiled", 1.2),
        Comparison(answer, "inference", batch, speed, "ONNX Runtime", 1.2),
        Comparison(answer, "inference", batch, speed, "ONNX Runtime, int8", None),
        Comparison(answer, "inference", batch, speed, "MXNet int8, this build", None),
        Comparison(answer, "inference", batch, speed, "MXNet int8, mxnet 1.9.1", None),
        Comparison(
            answer + ", one image", "inference", 1, "seconds", "released style, this build", None
        ),
        Comparison(answer + ", one image", "inference", 1, "seconds", "PyTorch, compiled", 0.75),
        Comparison(answer + ", one image", "inference", 1, "seconds", "ONNX Runtime", 1.0),
        Comparison(answer + ", one image", "inference", 1, "seconds", "ONNX Runtime, int8", None),
        Comparison("input pipeline, one core", "pipeline", batch, speed, LOADER, 10),
    ]


def measure(
    compared: Sequence[Comparison], folder: Path, options: Namespace
) -> Tuple[Results, LeftOut]:
    """Return {(task, batch, contestant): its figures, one dict for each round} and {the same key:
    why it was left out}.
    """
    tasks = sorted({(row.task, row.batch) for row in compared})
    if tasks:
        give(folder, options, {row.peer for row in compared})
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
    return results, left_out


def median(results: Results, key: Key, figure: str) -> float:
    """Return the median of a figure over the rounds."""
    return statistics.median(run[figure] for run in results[key])


def ratios(row: Comparison, results: Results) -> List[float]:
    """Return the ratio of the package's figure to the peer's in each round."""
    ours, theirs = (results[row.task, row.batch, name] for name in ("mlr", row.peer))
    return [our[row.figure] / their[row.figure] for our, their in zip(ours, theirs)]


def line(row: Comparison, results: Results, left_out: LeftOut) -> List[str]:
    """Return the cells of a row of the table."""
    if (row.task, row.batch, row.peer) in left_out:
        return [row.what, row.peer, left_out[row.task, row.batch, row.peer], "", "", "", ""]
    keys = [(row.task, row.batch, name) for name in ("mlr", row.peer)]
    ours, theirs = (median(results, key, row.figure) for key in keys)
    ratio = statistics.median(ratios(row, results))
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


def table(lines: Iterable[Sequence[str]]) -> str:
    """Return the cells as a Markdown table."""
    head = ["what", "against", "mlr", "the other", "ratio", "target", "met"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *lines])
