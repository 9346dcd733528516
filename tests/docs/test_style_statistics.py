"""docs/results/style_statistics.py: the statistics of the style's batch norm without dropout."""

import csv
import io
import runpy
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from mxnet import nd

from mlr.data.splits import read_training_splits
from mlr.data.transforms import evaluation_transform
from mlr.methods import load_network, open_run_folder

SCRIPT = Path(__file__).parents[2] / "docs" / "results" / "style_statistics.py"


def test_the_variance_without_dropout_is_that_of_the_training_images(trained, capsys):
    run, data = trained
    before = (run / "last.params").read_bytes()
    runpy.run_path(str(SCRIPT))["main"]([run])
    as_trained, without = csv.DictReader(io.StringIO(capsys.readouterr().out))
    net = load_network(open_run_folder(run), mx.cpu())
    train = read_training_splits(data)[0]["train"]
    images = nd.stack(*[evaluation_transform(64)(image) for image, _ in train])
    maps = dict(zip(net.backbone.levels, net.backbone(images)))
    vectors = [branch(maps[tap]) for branch, tap in zip(net.shallow.branches, net.taps)]
    styles = net.shallow.mix[1](nd.concat(*vectors, dim=1)).asnumpy()
    expected = np.median(styles.var(axis=0))
    # float32 sums, in batches of another size
    assert float(without["variance"]) == pytest.approx(expected, rel=1e-4)
    assert float(as_trained["variance"]) > 2 * expected  # a dropout of 0.8
    assert (as_trained["statistics"], without["statistics"]) == ("as trained", "without dropout")
    line = open_run_folder(run).metrics[-1]
    assert float(as_trained["valid_accuracy"]) == line["valid_accuracy"]
    assert (run / "last.params").read_bytes() == before
