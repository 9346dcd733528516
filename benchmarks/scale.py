"""How start-up, an epoch and memory grow with the number of images: small drawn files, `mlr train`
in a process of its own.

python benchmarks/scale.py --out docs/scale.png      draws, trains, prints a table, plots it
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SIZES = (1000, 5000, 25000)
CLASSES, PIXELS, VALID = 8, 96, 80
TRAINING = [
    "--backbone",
    "resnet18_v2_slim",
    "--pretrained",
    "none",
    "--image-size",
    "64",
    "--epochs",
    "2",
    "--batch-size",
    "32",
    "--style-width",
    "64",
    "--ctx",
    "cpu",
]


def draw(folder, images):
    """Write training and validation images of noise on a colour that tells the class, 96 px, one
    class after the other.
    """
    rng = np.random.RandomState(0)
    for split, count in (("train", images), ("valid", VALID)):
        for label in range(CLASSES):
            part = folder / split / (f"class{label:d}")
            part.mkdir(parents=True)
            for number in range(count // CLASSES):
                pixels = rng.randint(0, 64, (PIXELS, PIXELS, 3)) + 24 * label
                cv2.imwrite(str(part / (f"{number:05d}.jpg")), pixels.astype(np.uint8))


def train(data, out, cache):
    """Return what a training took, in seconds and MiB: until its first line, each epoch, and its
    peak of memory.

    The second of the epochs is the one without the pixel cache to be made.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "mlr", "train", "--data", str(data), "--out", str(out), *TRAINING],
        env={**os.environ, "MLR_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        universal_newlines=True,
    )
    seconds = {}
    for line in process.stdout:
        if line.startswith("training on"):
            seconds["start"] = time.perf_counter() - start
        elif line.startswith("epoch"):
            seconds[line.split(",")[0]] = time.perf_counter() - start
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("the training failed")
    return {
        "start": seconds["start"],
        "first epoch": seconds["epoch 1"] - seconds["start"],
        "second epoch": seconds["epoch 2"] - seconds["epoch 1"],
        "memory": usage.ru_maxrss / 1024,
    }


def plot(measured, out):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for name in ("start", "first epoch", "second epoch"):
        left.plot(list(measured), [row[name] for row in measured.values()], "o-", label=name)
    left.set(xscale="log", yscale="log", xlabel="training images", ylabel="seconds", title="Time")
    left.set_yticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
    left.legend(frameon=False)
    right.plot(list(measured), [row["memory"] for row in measured.values()], "o-")
    right.set(
        xscale="log",
        xlabel="training images",
        ylabel="MiB",
        title="Peak memory",
        ylim=(0, 1.1 * max(row["memory"] for row in measured.values())),
    )
    for axes in (left, right):
        axes.set_xticks(list(measured), [f"{images:,}" for images in measured])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.savefig(str(out), dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the figure to write")
    parser.add_argument("--images", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    measured = {}
    print(
        "| training images | start, s | first epoch, s | second epoch, s | peak memory, MiB |\n| "
        "--- | --- | --- | --- | --- |"
    )
    for images in options.images:
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder) / "data", images)
            row = measured[images] = train(
                Path(folder) / "data", Path(folder) / "run", Path(folder) / "cache"
            )
        print(
            "| {:,} | {start:.1f} | {first epoch:.1f} | {second epoch:.1f} | {memory:.0f} |".format(
                images, **row
            ),
            flush=True,
        )
    plot(measured, options.out)


if __name__ == "__main__":
    main()
