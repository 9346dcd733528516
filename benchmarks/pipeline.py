"""python benchmarks/pipeline.py FOLDER --runs RUN...: what of a network's own rate is left of
`mlr predict FOLDER`.

For each run, a folder or an .onnx file, in turn and several times: images a second of the network
alone, on images that are read already, and of all, files read, decoded, resized and printed. The
ratio is what counts where the machine is at other work, too.
"""

import argparse
import contextlib
import os
import statistics
import sys
import time
from typing import Dict, List, Tuple

import mlr
from mlr import predict
from mlr.inference.predictor import AT_ONCE, Predictor
from mlr.inference.reading import find_images, pixels_of, read
from mlr.runs.shipped import SHIPPED_RUN
from mlr.runtime.network_thread import on_networks_thread


def rates(predictor: Predictor, folder: str) -> Tuple[float, float]:
    """Return images a second of the network alone, and of all."""
    classifier, paths = predictor.classifier, find_images(folder)
    seen = [classifier.seen(pixels_of(read(path), str(path)), str(path)) for path in paths]
    parts = [seen[start : start + AT_ONCE] for start in range(0, len(seen), AT_ONCE)]
    for part in (parts[0], parts[-1]):  # graphs are made at the first batch of a size
        on_networks_thread(classifier.probabilities, part)
    start = time.perf_counter()
    for part in parts:
        on_networks_thread(classifier.probabilities, part)
    alone = time.perf_counter() - start
    start = time.perf_counter()
    for path, answer in predictor.folder(folder):
        print("\n".join(predict.described(path, answer)))
    return len(seen) / alone, len(seen) / (time.perf_counter() - start)


def main() -> int:
    """Print a line for each run, and return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--runs", nargs="+", default=[str(SHIPPED_RUN)])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    predictors = {run: mlr.load(run) for run in options.runs}
    found: Dict[str, List[Tuple[float, float]]] = {run: [] for run in options.runs}
    for _ in range(options.repeats):
        for run, predictor in predictors.items():
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                found[run].append(rates(predictor, options.folder))
    for run, pairs in found.items():
        alone, whole = (statistics.median(each) for each in zip(*pairs))
        ratio = statistics.median(all_ / network for network, all_ in pairs)
        print(f"{run}: network {alone:.1f} images/s, in all {whole:.1f}: {ratio:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
