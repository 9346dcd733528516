"""The golden numbers of the released code, as in test_fidelity.py, of the module that mlr export
writes for PyTorch.
"""

import sys

import numpy as np
import pytest
from golden_numbers import batch, drawn_parameters, golden
from numpy.testing import assert_allclose

from mlr import paper

if sys.version_info < (3, 10):
    pytest.skip("the test extra has no PyTorch before Python 3.10", allow_module_level=True)

# isort: split

import torch

from mlr.exporting import multilevel

WEIGHTS = list(paper.FI_CLASS_WEIGHTS.values())


def golden_network(dtype):
    """The module's network with the golden run's parameters, without dropout."""
    net, drawn = multilevel.MultiLevelNet(8, dropout=0), drawn_parameters()
    assert len(net.state_dict()) == len(drawn)
    # the released code has its layers in this order
    state = zip(net.state_dict(), map(torch.from_numpy, drawn.values()))
    net.load_state_dict(dict(state))
    return net.to(dtype)


@pytest.mark.parametrize("dtype, bound", [("float32", 1e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("name, gamma", [("aug_focal", 1), ("aug_focal_gamma2", 2)])
def test_losses(name, gamma, dtype, bound):
    record = golden(dtype)
    loss = multilevel.ClassImbalanceLoss(WEIGHTS, gamma)
    found = loss(torch.from_numpy(record["logits"]), torch.from_numpy(record["labels"]).long())
    assert found.numpy().dtype == dtype
    assert_allclose(found.numpy(), record[name], rtol=0, atol=bound)  # as of MXNet's


@pytest.mark.slow
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_logits_in_single_precision(layout):
    net, (images, _) = golden_network(torch.float32).eval(), batch()
    with torch.inference_mode():
        logits = net.to(memory_format=layout)(torch.from_numpy(images).to(memory_format=layout))
    assert_allclose(logits.numpy(), golden("float32")["logits"], rtol=0, atol=1e-5)  # as of MXNet's


@pytest.mark.slow
def test_logits_and_five_steps_in_double_precision(monkeypatch):
    def single(number):
        """MXNet keeps an operator's settings in single precision, whatever its numbers are in."""
        return float(np.float32(number))

    monkeypatch.setattr(multilevel, "MOMENTUM", single(paper.BATCH_NORM_MOMENTUM))
    record, (images, labels) = golden("float64"), map(torch.from_numpy, batch())
    images, net = images.double(), golden_network(torch.float64)
    settings = {
        "name": "sgd",
        "learning_rate": single(paper.LEARNING_RATE),
        "momentum": single(paper.MOMENTUM),
        "weight_decay": single(paper.WEIGHT_DECAY),
        "multipliers": {},
    }
    optimizer = multilevel.new_optimizer(net, {"training": {"optimizer": settings}})
    loss, losses = multilevel.ClassImbalanceLoss(WEIGHTS), []
    with torch.inference_mode():
        assert_allclose(net.eval()(images).numpy(), record["logits"], rtol=0, atol=1e-12)
    net.train()
    for _ in range(5):
        optimizer.zero_grad()
        losses.append(loss(net(images), labels))
        losses[-1].mean().backward()
        optimizer.step()
    losses = torch.stack(losses).detach().numpy()
    # double precision; what is left is rounding, in other orders of addition
    assert_allclose(losses, record["train_losses"], rtol=0, atol=1e-11)
    with torch.inference_mode():
        assert_allclose(net.eval()(images).numpy(), record["logits_after"], rtol=0, atol=1e-11)
