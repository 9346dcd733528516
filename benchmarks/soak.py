"""Whether memory stays flat in long use: thousands of training steps and predictions, small drawn
images, a slim ResNet-18 at 64 px.

python benchmarks/soak.py      trains with either pipeline, predicts in every way there is, prints a
table; exit code 1 where something grows
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scale import draw
from scipy import stats

import mlr

IMAGES, BATCH = 160, 8
STEPS = IMAGES // BATCH  # an epoch, after which a sample is taken
AT_A_TIME = 20  # predictions of each kind between two samples
KINDS = 5
# Over the full length 6 KiB a step, an eighth of an image in float32, or 0.6 KiB a prediction.
# The allocator goes up and down by 6 MiB at once.
MOST_GROWTH = 8 * 1024  # KiB
TRAINING = [
    "--backbone",
    "resnet18_v2_slim",
    "--pretrained",
    "none",
    "--image-size",
    "64",
    "--batch-size",
    str(BATCH),
    "--style-width",
    "64",
    "--ctx",
    "cpu",
]


class State(NamedTuple):
    """What a process holds at a moment: resident memory in KiB, open files, threads."""

    memory: int
    files: int
    threads: int


def state(process):
    """Return the State of a process, by its number."""
    folder = Path("/proc") / str(process)
    status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
    return State(
        int(status["VmRSS"].split()[0]), len(os.listdir(str(folder / "fd"))), int(status["Threads"])
    )


def settled(states):
    """Return a list of State, equally far apart, without the warm-up, its first tenth: (samples,
    3).
    """
    return np.array(states)[-(-len(states) // 10) :]


def growth(states):
    """Return a State of how far the last quarter after the warm-up is above the first: medians of
    memory, the fewest files and threads.

    A sample may be taken while a checkpoint is written, with a file more open.
    """
    kept = settled(states)
    quarter = -(-len(kept) // 4)
    memory, files, threads = zip(kept[:quarter].T, kept[-quarter:].T)
    return State(
        np.median(memory[1]) - np.median(memory[0]),
        *(last.min() - first.min() for first, last in (files, threads)),
    )


def is_flat(states):
    """Tell whether memory grows by no more than MOST_GROWTH, and files and threads not at all."""
    grown = growth(states)
    return grown.memory <= MOST_GROWTH and grown.files <= 0 and grown.threads <= 0


def train(data, folder, steps, pipeline):
    """Train in a process of its own; return its State after each epoch."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlr",
            "train",
            "--data",
            str(data),
            "--out",
            str(folder / pipeline),
            *TRAINING,
            "--pipeline",
            pipeline,
            "--epochs",
            str(-(-steps // STEPS)),
        ],
        env={**os.environ, "MLR_CACHE": str(folder / "cache")},
        stdout=subprocess.PIPE,
        universal_newlines=True,
    )
    states = [state(process.pid) for line in process.stdout if line.startswith("epoch ")]
    if process.wait():
        sys.exit("the training failed")
    return states


def predict(run, folder, predictions):
    """Predict in this process, in every way that `mlr.load` offers, images of many sizes; return
    its State after each round of them.
    """
    rng, states = np.random.RandomState(0), []
    photos = folder / "photos"
    photos.mkdir()
    for number, pixels in enumerate(of_many_sizes(rng)):
        cv2.imwrite(str(photos / (f"{number:02d}.jpg")), pixels)
    files, predictor = sorted(photos.iterdir()), mlr.load(run, ctx="cpu")
    for _ in range(-(-predictions // (KINDS * AT_A_TIME))):
        arrays = of_many_sizes(rng)
        answers = [predictor(image) for image in [*files, *arrays]]
        answers += predictor([*files[::2], *arrays[::2]])
        answers += predictor(np.stack([cv2.resize(image, (96, 80)) for image in arrays]))
        answers += [answer for _, answer in predictor.folder(photos)]
        if [type(answer) for answer in answers] != [
            mlr.inference.predictor.Prediction
        ] * KINDS * AT_A_TIME:
            sys.exit("some predictions failed")
        states.append(state(os.getpid()))
    return states


def of_many_sizes(rng):
    """Return images of noise, (H, W, 3) uint8."""
    return [
        rng.randint(0, 256, (*rng.randint(32, 200, 2), 3)).astype(np.uint8)
        for _ in range(AT_A_TIME)
    ]


def row(name, states, interval):
    """Return a line of the table. interval: steps or predictions from one sample to the next."""
    kept, grown = settled(states), growth(states)
    memory = kept[:, 0] / 1024
    # the median of all pairs' slopes
    slope = stats.theilslopes(kept[:, 0], interval / 1000 * np.arange(len(kept)))[0]
    return "| {} | {} | {:.1f} | {} | {:.1f} | {:+.1f} | {:+.0f} | {} | {} | {} |".format(
        name,
        format(interval * len(states), ","),
        memory[0],
        ", ".join(f"{value:.1f}" for value in np.percentile(memory, (25, 50, 75))),
        memory[-1],
        grown.memory / 1024,
        slope,
        *(f"{kept[0, column]:d}, {kept[-1, column]:d}" for column in (1, 2)),
        "yes" if is_flat(states) else "no",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000, help="of training, with each pipeline")
    parser.add_argument("--predictions", type=int, default=20000)
    options = parser.parse_args()
    print(
        "| what | how many | after warm-up, MiB | quartiles, MiB | at the end, MiB | last "
        "quarter less first, MiB | KiB per 1,000 | "
        "open files, first and last | threads | flat |\n| --- | --- | --- | --- | --- | --- | "
        "--- | --- | --- | --- |",
        flush=True,
    )
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        draw(folder / "data", IMAGES)
        for pipeline in ("cached", "released"):
            name = f"training steps, --pipeline {pipeline}"
            measured[name] = train(folder / "data", folder, options.steps, pipeline)
            print(row(name, measured[name], STEPS), flush=True)
        measured["predictions"] = predict(folder / "cached", folder, options.predictions)
        print(row("predictions", measured["predictions"], KINDS * AT_A_TIME), flush=True)
    grows = [name for name, states in measured.items() if not is_flat(states)]
    if grows:
        sys.exit(f"not flat: {', '.join(grows)}")


if __name__ == "__main__":
    main()
