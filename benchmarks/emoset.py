"""Draw a set of EmoSet-118K's layout and size, of small JPEGs that all differ; measure time and
memory of `mlr prepare` on it, and of an epoch of `mlr train`, with the pixel cache and on a disk
that has no room for it.

python benchmarks/emoset.py --out /tmp/emoset      draws, prepares, trains, prints a table

The folder takes 2.5 GB; remove it afterwards.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

TRAINING = [
    "--method", "finetuned", "--backbone", "squeezenet1.1", "--pretrained", "none", "--image-size",
    "64", "--batch-size", "64", "--learning-rate", "0.01", "--epochs", "1", "--ctx", "cpu",
]  # fmt: skip
FULL_DISK = (
    "import shutil, sys, types; shutil.disk_usage = lambda path: types.SimpleNamespace(free=0); "
    "import mlr.train; sys.exit(mlr.train.main(sys.argv[1:]))"
)
EMOTIONS = (
    "amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness",
)  # fmt: skip


def picture(rng, label):
    """Return the content of a JPEG, 64 x 48 pixels of blots, whose colours tell the class."""
    blots = rng.randint(0, 200, (6, 8, 3)).astype(np.uint8)
    blots[:, :, label % 3] //= 1 + label // 3
    pixels = cv2.resize(blots, (64, 48), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def annotation(rng, number):
    """Return the attributes of an image: some lack all but brightness and colorfulness."""
    found = {"brightness": rng.randint(11) / 10, "colorfulness": rng.randint(11) / 10}
    if number % 2:
        found["scene"] = f"scene {rng.randint(254):d}"
    if number % 3:
        found["object"] = [f"Object {each:d}" for each in rng.randint(0, 409, 3)]
    if number % 5 == 0:
        found["facial_expression"] = "happiness"
    if number % 4 == 0:
        found["human_action"] = f"action {rng.randint(264):d}"
    return found


def draw(folder, images):
    """Write a set of so many images; each class has the same part of each split."""
    rng, lists = np.random.RandomState(0), {"train": [], "val": [], "test": []}
    for emotion in EMOTIONS:
        for kind in ("image", "annotation"):
            (folder / kind / emotion).mkdir(parents=True)
    for number in range(images):
        of_class, label = divmod(number, len(EMOTIONS))
        emotion = EMOTIONS[label]
        name = f"{emotion}_{of_class:05d}"
        image, annotated = f"image/{emotion}/{name}.jpg", f"annotation/{emotion}/{name}.json"
        (folder / image).write_bytes(picture(rng, label))
        content = {"image_id": name, "emotion": emotion, **annotation(rng, number)}
        (folder / annotated).write_text(json.dumps(content))
        place = of_class % 20  # 80/5/15 %
        split = "train" if place < 16 else "val" if place == 16 else "test"
        lists[split].append([emotion, name, image, annotated])
    for split, rows in lists.items():
        (folder / f"{split}.json").write_text(json.dumps(rows, indent=1))


def measured(arguments, cache):
    """Run Python with arguments; return its seconds, and its peak of memory in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)], env={**os.environ, "MLR_CACHE": str(cache)}
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("the command failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def made(caches):
    """Return what pixel caches took, in seconds between creation and last write, and in GB."""
    times = [
        subprocess.check_output(["stat", "--format", "%.3W %.3Y", str(path)]).split()
        for path in caches
    ]
    seconds = sum(float(written) - float(created) for created, written in times)
    return seconds, sum(path.stat().st_size for path in caches) / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--images", type=int, default=118102)
    options = parser.parse_args()
    out = options.out
    draw(out / "drawn", options.images)
    prepare = ["--dataset", "emoset", "--root", out / "drawn", "--out", out / "data"]
    seconds, memory = measured(["-m", "mlr", "prepare", *prepare], out / "pixels")
    rows = [f"| prepare | {seconds:.0f} | {memory:.0f} | - | - | - |"]
    for name, start in (("cache", ["-m", "mlr", "train"]), ("full disk", ["-c", FULL_DISK])):
        pixels, run = out / f"pixels of {name}", out / name
        train = [*start, *TRAINING, "--data", out / "data", "--out", run]
        seconds, memory = measured(train, pixels)
        making, size = made(list(pixels.glob("pixels-*.npy")))
        epoch = json.loads((run / "metrics.jsonl").read_text())
        rows.append(
            f"| train, {name} | {seconds:.0f} | {memory:.0f} | {epoch['images_per_second']:.0f} | "
            f"{making:.0f} | {size:.2f} |"
        )
    print(
        "| what | seconds | peak memory, MiB | images/s in the epoch | making the cache, s | "
        "cache, GB |\n| --- | --- | --- | --- | --- | --- |",
        *rows,
        sep="\n",
    )


if __name__ == "__main__":
    main()
