"""What the dropout before the style's batch norm costs, on the valid images of runs of l_cil or
shallow, as CSV.

In training the batch norm sees what the dropout leaves, whose variance is larger than without it.
In use there is no dropout, but the batch norm divides by the variance of training. Here its
statistics are computed anew, without dropout, from 2,048 training images. No file changes.

.venv/bin/python docs/results/style_statistics.py runs/claims-2/l_cil-*
"""

import sys
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, List

import numpy as np
from mxnet import Context, nd
from mxnet.gluon import HybridBlock

import mlr
from mlr.data.loader import Batch, GluonBatches
from mlr.data.splits import read_training_splits
from mlr.data.transforms import evaluation_transform
from mlr.inference.forward import predict
from mlr.methods import load_network, open_run_folder
from mlr.runs.measured_images import measured_folders
from mlr.runs.results import csv_table
from mlr.training.batches import EVALUATION_BATCH
from mlr.training.loop import seed_generators
from mlr.training.metrics import classification_metrics

TRAINING_IMAGES = 2048


def main(folders: List[Path]) -> None:
    """Print two lines for each run, one for each kind of statistics."""
    if not folders:
        sys.exit("give the folders of runs of the methods l_cil or shallow")
    print(csv_table({"": [row for folder in folders for row in rows(folder)]}), end="")


def rows(folder: Path) -> List[Dict[str, Any]]:
    """Return [{column: value}] of a run, with the statistics of training and with those without
    dropout. "variance" is the median over the style's outputs.
    """
    run, ctx = open_run_folder(folder), mlr.parse_context()
    options = run.config["options"]
    if options["method"] not in ("l_cil", "shallow"):
        sys.exit(f"{folder} is a run of {options['method']}, which has no style: leave it out")
    (data,) = measured_folders(run.config)
    splits, _ = read_training_splits(data, options["labels"], options["fold"])
    transform = evaluation_transform(run.config["preprocessing"]["image_size"])
    valid = GluonBatches(splits["valid"], transform, EVALUATION_BATCH)
    training = GluonBatches(splits["train"], transform, EVALUATION_BATCH, shuffle=True)
    net = load_network(run, ctx)
    net.hybridize(active=False)
    norm = net.shallow.mix[-1]

    def measured(statistics: str) -> Dict[str, Any]:
        logits, labels = predict(net, valid, ctx)
        result = classification_metrics(labels, logits.argmax(axis=1), run.classes)
        return {
            "run": f"{folder.parent.name}/{folder.name}",
            "statistics": statistics,
            "variance": float(np.median(norm.running_var.data(ctx[0]).asnumpy())),
            **{f"valid_{name}": result[name] for name in ("accuracy", "balanced_accuracy")},
        }

    as_trained = measured("as trained")
    seed_generators(0, 0)
    set_without_dropout(net, islice(training, TRAINING_IMAGES // EVALUATION_BATCH), ctx)
    return [as_trained, measured("without dropout")]


def set_without_dropout(net: HybridBlock, batches: Iterable[Batch], ctx: List[Context]) -> None:
    """Set the statistics of the style's batch norm to those of images without dropout. net: not
    hybridized, as a static graph calls no hook.
    """
    norm, seen = net.shallow.mix[-1], []
    hook = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].asnumpy()))
    predict(net, batches, ctx)
    hook.detach()
    styles = np.concatenate(seen).astype(np.float64)  # (N, style width)
    norm.running_mean.set_data(nd.array(styles.mean(axis=0)))
    norm.running_var.set_data(nd.array(styles.var(axis=0)))


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]])
