"""docs/results/style_statistics.py: the statistics of the style's batch norm without dropout."""

import csv
import io
import runpy
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from conftest import run_config
from mxnet import nd
from numpy.testing import assert_allclose

from mlr.data.splits import read_training_splits
from mlr.data.transforms import evaluation_transform
from mlr.methods import METHODS, load_network, open_run_folder
from mlr.runs.writing import RunWriter

SCRIPT = Path(__file__).parents[2] / "docs" / "results" / "style_statistics.py"


@pytest.fixture
def learned(trained):
    """The network of a run, its training images, and their styles before the batch norm."""
    run, data = trained
    net = load_network(open_run_folder(run), mx.cpu())
    net.hybridize(active=False)
    train = read_training_splits(data)[0]["train"]
    images = nd.stack(*[evaluation_transform(64)(image) for image, _ in train])
    maps = dict(zip(net.backbone.levels, net.backbone(images)))
    vectors = [branch(maps[tap]) for branch, tap in zip(net.shallow.branches, net.taps)]
    return net, images, net.shallow.mix[1](nd.concat(*vectors, dim=1)).asnumpy()


def test_the_statistics_are_those_of_the_images(learned):
    net, images, styles = learned
    batches = [(images[:5], nd.zeros(5)), (images[5:], nd.zeros(len(images) - 5))]
    runpy.run_path(str(SCRIPT))["set_without_dropout"](net, batches, [mx.cpu()])
    norm = net.shallow.mix[-1]
    # float32 sums, in batches of another size
    assert_allclose(norm.running_mean.data().asnumpy(), styles.mean(axis=0), rtol=1e-4)
    assert_allclose(norm.running_var.data().asnumpy(), styles.var(axis=0), rtol=1e-4)


def test_a_run_has_two_lines(trained, learned, capsys):
    run, _ = trained
    before = (run / "last.params").read_bytes()
    runpy.run_path(str(SCRIPT))["main"]([run])
    as_trained, without = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (as_trained["statistics"], without["statistics"]) == ("as trained", "without dropout")
    expected = np.median(learned[2].var(axis=0))
    # float32 sums, in batches of another size
    assert float(without["variance"]) == pytest.approx(expected, rel=1e-4)
    assert float(as_trained["variance"]) > 2 * expected  # a dropout of 0.8
    line = open_run_folder(run).metrics[-1]
    assert float(as_trained["valid_accuracy"]) == line["valid_accuracy"]
    assert (run / "last.params").read_bytes() == before


def test_runs_without_style_and_no_runs(tmp_path):
    main = runpy.run_path(str(SCRIPT))["main"]
    config = run_config(METHODS["finetuned"].released, 2)
    RunWriter.create(tmp_path / "run", config, ["awe", "fear"])
    with pytest.raises(SystemExit, match="run is a run of finetuned, which has no style: leave"):
        main([tmp_path / "run"])
    with pytest.raises(SystemExit, match="give the folders of runs of the methods l_cil or"):
        main([])
