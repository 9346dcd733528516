"""How much of the processor's highest rate a training reaches."""

import statistics
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, List

from mlr import paper
from mlr.benchmarking.comparisons import Results, judged
from mlr.benchmarking.contestants import NAMED, interpreter, run
from mlr.errors import RunError

# of one image of 224 px: three times the convolutions and dense layers of a prediction
TRAINING_GFLOP = 24.6
WHAT = "training, share of the processor's rate"
TARGET = 0.6


def roof(folder: Path, options: Namespace) -> List[Dict[str, Any]]:
    """Return what each round measured as the highest rate of products and convolutions, by the
    libraries of this build and, if its environment is there, by PyTorch's.
    """
    found = []
    for name in ("mlr", "PyTorch"):
        try:
            python = interpreter(NAMED[name], options.builds)
            for number in range(options.rounds):
                print(
                    f"roof, round {number + 1:d} of {options.rounds:d}: {name}",
                    file=sys.stderr,
                    flush=True,
                )
                found.append(run(NAMED[name], python, "roof", options.batch_size, folder))
        except RunError:
            if name == "mlr":
                raise
    return found


def roof_line(results: Results, measured: List[Dict[str, Any]], options: Namespace) -> List[str]:
    """Return the cells of the share of the highest rate that training reaches.

    measured: what `roof` returned. The highest rate of all ways and rounds counts, so that the
    share can't exceed 1.
    """
    best = max(measured, key=lambda each: each["flop_per_second"])
    highest = best["flop_per_second"] / 1e9
    if options.image_size != paper.IMAGE_SIZE:
        reached = f"counted for {paper.IMAGE_SIZE:d} px only"
        return [WHAT, best["way"], reached, f"{highest:.0f} GFLOP/s", "", "", ""]
    speeds = [each["images_per_second"] for each in results["training", options.batch_size, "mlr"]]
    rate = statistics.median(speeds) * TRAINING_GFLOP
    cells = judged(rate / highest, TARGET, False)
    return [WHAT, best["way"], f"{rate:.0f} GFLOP/s", f"{highest:.0f} GFLOP/s", *cells]
