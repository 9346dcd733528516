"""The network that mlr export writes for PyTorch, on a device: how far it is from the released
code's golden numbers, and how fast it trains with and without channels last, mixed precision and
torch.compile. Needs torch, numpy and safetensors, and no MXNet.

    python benchmarks/pytorch_device.py --device cuda --batch 64
"""

import argparse
import copy
import itertools
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

CHECKOUT = Path(__file__).parents[1]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests" / "fidelity")]

import golden_pytorch  # noqa: E402
from golden_numbers import golden  # noqa: E402

from mlr import paper  # noqa: E402
from mlr.exporting import multilevel  # noqa: E402

WARM_UP = 3  # steps: torch.compile compiles in the first, cuDNN chooses its kernels
SETTINGS = ("channels last", "mixed precision", "torch.compile")


def parity(device):
    """Return {what: the largest difference from the golden numbers}."""
    multilevel.MOMENTUM = golden_pytorch.single(paper.BATCH_NORM_MOMENTUM)
    differences = {}
    for dtype in (torch.float32, torch.float64):
        name = str(dtype).rpartition(".")[2]
        net, record = golden_pytorch.network(dtype), golden(name)
        difference = np.abs(golden_pytorch.logits(net, device) - record["logits"]).max()
        differences[f"logits, {name}"] = difference
    losses = golden_pytorch.five_steps(net, device)
    difference = np.abs(losses - record["train_losses"]).max()
    differences[f"losses of five steps, {name}"] = difference
    difference = np.abs(golden_pytorch.logits(net, device) - record["logits_after"]).max()
    return {**differences, f"logits after these steps, {name}": difference}


def images_per_second(net, device, batch, steps, settings):
    """Return how fast copies of a network train, float32 but for mixed precision. On a GPU
    convolutions in float32 use TF32, which is PyTorch's default.
    """
    layout = torch.channels_last if settings["channels last"] else torch.contiguous_format
    net = copy.deepcopy(net).to(device, memory_format=layout).train()
    half = torch.bfloat16
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        half = torch.float16
    images = torch.randn(batch, 3, 224, 224, device=device).to(memory_format=layout)
    labels = torch.arange(batch, device=device) % 8
    optimizer = golden_pytorch.optimizer_of(net)
    criterion = multilevel.ClassImbalanceLoss(golden_pytorch.WEIGHTS).to(device)
    scaler = torch.amp.GradScaler(device.type, enabled=half == torch.float16)

    def loss():
        with torch.autocast(device.type, half, enabled=settings["mixed precision"]):
            return criterion(net(images), labels).mean()

    run, seconds = torch.compile(loss) if settings["torch.compile"] else loss, []
    for _ in range(WARM_UP + steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        scaler.scale(run()).backward()
        scaler.step(optimizer)
        scaler.update()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return batch / statistics.median(seconds[WARM_UP:])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="of which the median is taken")
    parser.add_argument("--only", choices=("parity", "speed"))
    options = parser.parse_args()
    device, name = options.device, platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    print(f"{name}, torch {torch.__version__}, Python {platform.python_version()}\n", flush=True)
    if options.only != "speed":
        print("| from the golden numbers | largest difference |\n| --- | --- |")
        # PyTorch's default, TF32, keeps ten bits of each factor of a convolution.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            differences = parity(device)
        for what, difference in differences.items():
            print(f"| {what} | {difference:.1e} |")
        print(flush=True)
    if options.only == "parity":
        return
    print(f"| {' | '.join(SETTINGS)} | training, images/s at batch {options.batch} |")
    print("| --- " * (len(SETTINGS) + 1) + "|")
    net = multilevel.MultiLevelNet(8)
    for chosen in itertools.product((False, True), repeat=len(SETTINGS)):
        settings = dict(zip(SETTINGS, chosen))
        speed = images_per_second(net, device, options.batch, options.steps, settings)
        cells = ["yes" if value else "no" for value in chosen]
        print(f"| {' | '.join(cells)} | {speed:.1f} |", flush=True)
        torch.compiler.reset()


if __name__ == "__main__":
    main()
