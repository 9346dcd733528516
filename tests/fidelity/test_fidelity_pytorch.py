"""The golden numbers of the released code, as in test_fidelity.py, of the module that mlr export
writes for PyTorch.
"""

import sys

import pytest
from golden_numbers import golden
from numpy.testing import assert_allclose

from mlr import paper

if sys.version_info < (3, 10):
    pytest.skip("the test extra has no PyTorch before Python 3.10", allow_module_level=True)

# isort: split

import golden_pytorch
import torch

from mlr.exporting import multilevel


@pytest.mark.parametrize("dtype, bound", [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("name, gamma", [("aug_focal", 1), ("aug_focal_gamma2", 2)])
def test_losses(name, gamma, dtype, bound):
    record = golden(dtype)
    loss = multilevel.ClassImbalanceLoss(golden_pytorch.WEIGHTS, gamma)
    found = loss(torch.from_numpy(record["logits"]), torch.from_numpy(record["labels"]).long())
    assert found.numpy().dtype == dtype
    assert_allclose(found.numpy(), record[name], rtol=0, atol=bound)  # as of MXNet's


@pytest.mark.slow
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_logits_in_single_precision(layout):
    net = golden_pytorch.network(torch.float32).to(memory_format=layout)
    # as of MXNet's
    assert_allclose(golden_pytorch.logits(net), golden("float32")["logits"], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_logits_and_five_steps_in_double_precision(monkeypatch):
    momentum = golden_pytorch.single(paper.BATCH_NORM_MOMENTUM)
    monkeypatch.setattr(multilevel, "MOMENTUM", momentum)
    net, record = golden_pytorch.network(torch.float64), golden("float64")
    assert_allclose(golden_pytorch.logits(net), record["logits"], rtol=0, atol=1e-12)
    # double precision; what is left is rounding, in other orders of addition
    losses = golden_pytorch.five_steps(net)
    assert_allclose(losses, record["train_losses"], rtol=0, atol=1e-11)
    assert_allclose(golden_pytorch.logits(net), record["logits_after"], rtol=0, atol=1e-11)
