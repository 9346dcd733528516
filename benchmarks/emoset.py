"""Draw a set of EmoSet-118K's layout and size, of small JPEGs that all differ, to measure
`mlr prepare` and `mlr train` on as many entries.

python benchmarks/emoset.py --out /tmp/emoset
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder to draw into")
    parser.add_argument("--images", type=int, default=118102)
    options = parser.parse_args()
    rng, lists = np.random.RandomState(0), {"train": [], "val": [], "test": []}
    for emotion in EMOTIONS:
        for kind in ("image", "annotation"):
            (options.out / kind / emotion).mkdir(parents=True)
    for number in range(options.images):
        emotion = EMOTIONS[number % len(EMOTIONS)]
        name = f"{emotion}_{number // len(EMOTIONS):05d}"
        image, annotated = f"image/{emotion}/{name}.jpg", f"annotation/{emotion}/{name}.json"
        (options.out / image).write_bytes(picture(rng, number % len(EMOTIONS)))
        content = {"image_id": name, "emotion": emotion, **annotation(rng, number)}
        (options.out / annotated).write_text(json.dumps(content))
        place = (number // len(EMOTIONS) * 7 + number) % 20  # 80/5/15 %
        split = "train" if place < 16 else "val" if place == 16 else "test"
        lists[split].append([emotion, name, image, annotated])
    for split, rows in lists.items():
        (options.out / f"{split}.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
