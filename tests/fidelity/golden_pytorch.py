"""The golden run in PyTorch: for the fidelity tests, and for benchmarks/pytorch_device.py."""

import numpy as np
import torch
from golden_numbers import batch, drawn_parameters

from mlr import paper
from mlr.exporting import multilevel

WEIGHTS = list(paper.FI_CLASS_WEIGHTS.values())


def single(number):
    """MXNet keeps an operator's settings in single precision, whatever its numbers are in."""
    return float(np.float32(number))


def network(dtype):
    """The module's network with the golden run's parameters, without dropout."""
    net, drawn = multilevel.MultiLevelNet(8, dropout=0), drawn_parameters()
    assert len(net.state_dict()) == len(drawn)
    # the released code has its layers in this order
    state = zip(net.state_dict(), map(torch.from_numpy, drawn.values()))
    net.load_state_dict(dict(state))
    return net.to(dtype)


def logits(net, device="cpu"):
    """The logits (8, 8) of the golden batch."""
    images = torch.from_numpy(batch()[0]).to(device, next(net.parameters()).dtype)
    net = net.to(device)  # not in inference mode, which would make it impossible to train
    with torch.inference_mode():
        return net.eval()(images).cpu().numpy()


def optimizer_of(net):
    settings = {
        "name": "sgd",
        "learning_rate": single(paper.LEARNING_RATE),
        "momentum": single(paper.MOMENTUM),
        "weight_decay": single(paper.WEIGHT_DECAY),
        "multipliers": {},
    }
    return multilevel.new_optimizer(net, {"training": {"optimizer": settings}})


def five_steps(net, device="cpu"):
    """Train; return the losses (5, 8)."""
    images, labels = (torch.from_numpy(array).to(device) for array in batch())
    images = images.to(next(net.parameters()).dtype)
    net = net.to(device).train()
    optimizer, loss, losses = optimizer_of(net), multilevel.ClassImbalanceLoss(WEIGHTS), []
    loss = loss.to(device)
    for _ in range(5):
        optimizer.zero_grad()
        losses.append(loss(net(images), labels))
        losses[-1].mean().backward()
        optimizer.step()
    return torch.stack(losses).detach().cpu().numpy()
