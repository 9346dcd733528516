"""Trains the network of an exported run anew in PyTorch, from random parameters, with the run's
loss, optimizer and schedule, and measures it on the test images. Needs torch, numpy, Pillow and
safetensors, and no MXNet.

    .venv/bin/mlr prepare --dataset demo --out data/demo
    .venv/bin/mlr export --run checkpoints/demo --format torch --out exported
    python benchmarks/pytorch_training.py exported data/demo --device cuda --out trained

Images are mirrored at random; the run's other augmentations are not in the exported module.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def images_of(folder, multilevel, config, device):
    """Return the images (N, 3, S, S) of <folder>/<class>/<image> and their labels (N,)."""
    images, labels = [], []
    for label, name in enumerate(config["classes"]):
        for path in sorted((folder / name).iterdir()):
            photo = np.asarray(Image.open(path).convert("RGB"))
            images.append(multilevel.preprocess(photo, config))
            labels.append(label)
    return torch.stack(images).to(device), torch.tensor(labels).to(device)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exported", type=Path, help="the folder that mlr export wrote")
    parser.add_argument("data", type=Path, help="with train/<class>/ and test/<class>/")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the folder of the trained network")
    options = parser.parse_args()
    sys.path.insert(0, str(options.exported))
    import multilevel

    _, config = multilevel.load(options.exported)
    train, test = (
        images_of(options.data / split, multilevel, config, options.device)
        for split in ("train", "test")
    )
    torch.manual_seed(options.seed)
    net = multilevel.new_network(config).to(options.device).train()
    loss, optimizer = multilevel.new_loss(config), multilevel.new_optimizer(net, config)
    start = time.perf_counter()
    for epoch in range(config["training"]["epochs"]):
        multilevel.set_learning_rate(optimizer, multilevel.learning_rate_at(config, epoch))
        losses = []
        for chosen in torch.randperm(len(train[1])).split(config["training"]["batch_size"]):
            images, labels = (each[chosen.to(options.device)] for each in train)
            mirrored = torch.rand(len(labels)) < 0.5
            images[mirrored] = images[mirrored].flip(3)
            optimizer.zero_grad()
            value = loss(net(images), labels).mean()
            value.backward()
            optimizer.step()
            losses.append(value.item())
        print(f"epoch {epoch + 1}, loss {np.mean(losses):.4f}", flush=True)
    seconds = time.perf_counter() - start
    images, labels = test
    predicted = multilevel.probabilities(net, config, images).argmax(1)
    recalls = [
        (predicted[labels == label] == label).float().mean().item()
        for label in range(len(config["classes"]))
    ]
    print(
        f"balanced accuracy {np.mean(recalls):.3f} on {len(labels)} test images, trained in "
        f"{seconds:.0f} s on {options.device}, torch {torch.__version__}"
    )
    multilevel.save(net.cpu(), config, options.out)


if __name__ == "__main__":
    main()
