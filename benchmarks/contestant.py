"""What every contestant of `mlr benchmark` does: read what is given, check its logits, time itself
in its own process, print JSON.

Only NumPy is needed, as the contestants run in environments of their own.
"""

import argparse
import json
import re
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

AGREEMENT = 1e-4  # of logits, relative to the largest: float32, summed in another order
WARM_UP = 2  # steps: the first compiles or plans, the second allocates

# The side of square matrices, and convolutions of ResNet-50 on images of 224 px: channels in, side
# of the map, channels out, side of the kernel. Winograd's algorithm, which would need fewer
# operations, is in none of the libraries' choices here.
SQUARE = 4096
CONVOLUTIONS = ((64, 56, 64, 3), (256, 56, 64, 1), (512, 28, 128, 1), (1024, 14, 256, 1))
CONVOLUTIONS += ((256, 14, 256, 3), (512, 7, 2048, 1))

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, DROPOUT, CLASS_WEIGHT = 1e-4, 0.9, 1e-4, 0.8, 0.125
SGD = {"learning_rate": LEARNING_RATE, "momentum": MOMENTUM, "wd": WEIGHT_DECAY}  # in MXNet's words


class Given(NamedTuple):
    """parameters: {name as in mlr: array}. images: (N, 3, S, S) float32. labels, logits: (N,), (N,
    K). folder: of all that is given.
    """

    parameters: dict
    images: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    folder: Path


def main(versions, options=(), agreement=AGREEMENT, **tasks):
    """Run the task that the command line names, and print its figures as JSON.

    versions: {name: version} of what is measured. options: names of flags of its own. agreement: of
    its logits, None to only tell.
    tasks: {name: a function of what is given and the flags that returns a function that does one
    whole step, finished when it returns}. A step of "inference" returns the logits (N, K), a NumPy
    array; of "pipeline" its number of images. For "roof" the function returns {way: (a function,
    the number of its operations)} instead.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=sorted(tasks))
    parser.add_argument(
        "--given", type=Path, required=True, help="the folder that mlr benchmark has filled"
    )
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    for option in options:
        parser.add_argument("--" + option, action="store_true")
    chosen = parser.parse_args()
    given = read(chosen.given, chosen.batch)
    step = tasks[chosen.task](given, chosen)
    versions = {"python": sys.version.split()[0], **versions}
    if chosen.task == "roof":
        print(json.dumps({**highest_rate(step, chosen.steps), "versions": versions}))
        return
    made, figures = step(), {"difference": None, "same_label": None}
    if chosen.task == "inference":
        figures = compared(made, given.logits)
        if agreement is not None and not figures["difference"] <= agreement:
            sys.exit(
                f"the logits differ by {figures['difference']:.1e}, so this is another network"
            )
    seconds = statistics.median(timed(step, chosen.steps))
    figures["images_per_second"] = (made if chosen.task == "pipeline" else chosen.batch) / seconds
    print(
        json.dumps(
            {
                "seconds": seconds,
                **figures,
                "peak_mib": peak(),
                "versions": versions,
            }
        )
    )


def compared(logits, expected):
    """Return the largest difference of the logits (N, K), relative to the largest logit, and for
    what part of them the class is the same.
    """
    return {
        "difference": float(abs(logits - expected).max() / abs(expected).max()),
        "same_label": float((logits.argmax(axis=1) == expected.argmax(axis=1)).mean()),
    }


def peak():
    """Return the most memory that this process has held, in MiB; getrusage also counts what the
    parent held when it started this one.
    """
    return (
        int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 1024
    )


def read(folder, batch):
    """Return what is given in a folder, its images repeated to as many as a batch has."""
    with np.load(str(folder / "given.npz")) as arrays:
        parameters = {
            name.split("/", 1)[1]: arrays[name]
            for name in arrays.files
            if name.startswith("parameter/")
        }
        rows = np.resize(np.arange(len(arrays["labels"])), batch)
        return Given(
            parameters, *(arrays[name][rows] for name in ("images", "labels", "logits")), folder
        )


def timed(step, steps):
    """Return the seconds that each of some steps takes, after warm-up."""
    for _ in range(WARM_UP):
        step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


def highest_rate(ways, steps):
    """Return the highest rate of operations and its way. ways: {way: (a function, the number of its
    operations)}.
    """
    rates = {way: flop / min(timed(step, steps)) for way, (step, flop) in ways.items()}
    best = max(rates, key=rates.get)
    return {"flop_per_second": rates[best], "way": best, "ways": rates}
