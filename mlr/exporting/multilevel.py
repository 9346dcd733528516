"""The network of "Learning Multi-level Representations for Affective Image Recognition" in PyTorch:
network, loss, optimizer and schedule, with the weights and settings of a training by mlr.

Paper: H. Zhang, D. Xu, G. Luo, K. He, Neural Computing and Applications 34:14107-14120, 2022, doi
10.1007/s00521-022-07139-y. "Released" is the authors' code; in double precision this module
computes its numbers to within 1e-12.

    net, config = load("exported")                     # written by mlr export --format torch
    loss, optimizer = new_loss(config), new_optimizer(net, config)
    for epoch in range(config["training"]["epochs"]):
        set_learning_rate(optimizer, learning_rate_at(config, epoch))
        for images, labels in batches:                 # (N, 3, S, S) of `preprocess`, (N,)
            optimizer.zero_grad()
            loss(net(images), labels).mean().backward()
            optimizer.step()
    save(net, config, "trained")                       # mlr.import_torch("trained", "runs/trained")

It needs only torch, numpy and safetensors. In shapes N is the batch size, C the number of channels,
H and W the sides of a map, S the side of an image, K the number of classes, and D the width of the
deep representation.
"""

import json
import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

MOMENTUM = 0.9  # of batch norm's running statistics
# of the batch norms after the style layer and in the fusion; the backbones have 1e-5
EPSILON = 2e-5


# The network: the paper's Fig. 2, left to right; released model/train.py.


class MultiLevelNet(nn.Module):
    """Images (N, 3, S, S), normalised -> logits (N, K).

    taps: the levels of the backbone that the shallow branches read. widths: the width of each
    branch. style_width: the width of the shallow representation. fusion: "concat" as released;
    "add" and "multiply" need style_width = D. gram_scale: a factor on the Gram matrices, 1 as
    released. image_size: S, which only matters for AlexNet and VGG.
    """

    def __init__(  # noqa: PLR0913 - the description of a network in config.json
        self,
        classes: int,
        backbone: str = "resnet50_v2",
        taps: Sequence[str] = ("stem", "pool", "stage1"),
        widths: Sequence[int] = (64, 256, 512),
        style_width: int = 2048,
        dropout: float = 0.8,
        fusion: str = "concat",
        gram_scale: float = 1.0,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        levels = levels_of(backbone, image_size)
        self.taps = tuple(taps)
        self.backbone = nn.Sequential()
        for level in levels:
            self.backbone.add_module(level.name, level.module)
        channels = {level.name: level.channels for level in levels}
        self.shallow = ShallowRepresentation(
            taps, [channels[tap] for tap in taps], widths, style_width, dropout, gram_scale
        )
        self.fusion = Fusion(classes, channels["head"], style_width, fusion)

    def forward(self, images: Tensor) -> Tensor:
        maps = {}
        for name, level in self.backbone.named_children():
            images = maps[name] = level(images)  # (N, C, H, W), but (N, D) for the head
        style = self.shallow([maps[tap] for tap in self.taps])  # (N, style_width)
        return self.fusion(maps["head"], style)  # (N, K)


class ShallowRepresentation(nn.Module):
    """A branch for each tapped map (N, C, H, W). A dense layer mixes their concatenated vectors
    into the style (N, style_width): colour, texture and aesthetics.
    """

    def __init__(
        self,
        taps: Sequence[str],
        channels: Sequence[int],
        widths: Sequence[int],
        style_width: int,
        dropout: float,
        gram_scale: float,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            ShallowBranch(count, width, tap != "stem", gram_scale)
            for tap, count, width in zip(taps, channels, widths)
        )
        self.mix = nn.Sequential(
            nn.Dropout(dropout),
            DenseReLU(sum(widths), style_width),
            BatchNorm(style_width, EPSILON),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        vectors = [branch(x) for branch, x in zip(self.branches, maps)]  # (N, width) each
        return self.mix(torch.cat(vectors, 1))


class ShallowBranch(nn.Module):
    """One "visual representation extractor" of Fig. 2: (max-pool,) Gram matrix, dense layer, ReLU.
    A map (N, C, H, W) -> (N, width).
    """

    def __init__(self, channels: int, width: int, pool: bool, gram_scale: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(Gram(gram_scale), DenseReLU(channels * channels, width))
        if pool:
            self.layers = nn.Sequential(nn.MaxPool2d(3, 2, 1), *self.layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Gram(nn.Module):
    """X X^T / (C H W), where X is a map as (C, HW): which channels are active together, regardless
    of the place in the image. (N, C, H, W) -> (N, C, C).
    """

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        _, c, h, w = x.shape
        # Divided before the product, as the sums overflow float16 in mixed precision.
        x = x.flatten(2) / math.sqrt(c * h * w)  # (N, C, HW)
        return self.scale * torch.bmm(x, x.transpose(1, 2))


class Fusion(nn.Module):
    """Deep (N, D) and style (N, S) -> logits (N, K), by batch norm and a linear classifier."""

    def __init__(self, classes: int, deep: int, style: int, kind: str = "concat") -> None:
        super().__init__()
        self.kind = kind
        width = deep + style if kind == "concat" else deep
        self.norm = BatchNorm(width, EPSILON)
        self.output = nn.Linear(width, classes)

    def forward(self, deep: Tensor, style: Tensor) -> Tensor:
        if self.kind == "concat":
            both = torch.cat([deep, style], 1)  # (N, D + S)
        else:
            both = deep + style if self.kind == "add" else deep * style  # (N, D)
        return self.output(self.norm(both))


class FineTuned(nn.Module):
    """A backbone with a new classifier, without shallow branches: images (N, 3, S, S) -> (N, K)."""

    def __init__(self, classes: int, backbone: str, image_size: int = 224) -> None:
        super().__init__()
        levels = levels_of(backbone, image_size)
        self.features = nn.Sequential(*[layer for level in levels for layer in level.layers])
        self.output = nn.Linear(levels[-1].channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.features(images))


class ShallowOnly(nn.Module):
    """The shallow branches alone, an ablation: images (N, 3, S, S) -> logits (N, K).

    Arguments as for MultiLevelNet.
    """

    def __init__(
        self,
        classes: int,
        backbone: str,
        taps: Sequence[str],
        widths: Sequence[int],
        style_width: int,
        gram_scale: float = 1.0,
        dropout: float = 0.8,
    ) -> None:
        super().__init__()
        levels = levels_of(backbone)
        channels = {level.name: level.channels for level in levels}
        self.taps, self.levels = tuple(taps), tuple(channels)
        self.levels = self.levels[: 1 + max(map(self.levels.index, taps))]
        for level in levels[: len(self.levels)]:
            self.add_module(level.name, level.module)
        self.shallow = ShallowRepresentation(
            taps, [channels[tap] for tap in taps], widths, style_width, dropout, gram_scale
        )
        self.output = nn.Linear(style_width, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = {}
        for name in self.levels:
            images = maps[name] = getattr(self, name)(images)
        return self.output(self.shallow([maps[tap] for tap in self.taps]))


# Layers that differ from PyTorch's own.


class BatchNorm(nn.Module):
    """Batch norm as MXNet computes it, for (N, C) or (N, C, H, W). Its running variance averages
    the biased variance of the batches; PyTorch's is n / (n - 1) times as large, with n = N H W.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if not self.training:
            return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.epsilon)
        pytorchs = variance.clone()  # will become the running variance as PyTorch computes it
        y = F.batch_norm(
            x, mean, pytorchs, self.weight, self.bias, True, 1 - MOMENTUM, self.epsilon
        )
        n = x.numel() // x.shape[1]
        variance.mul_(MOMENTUM / n).add_(pytorchs, alpha=(n - 1) / n)
        return y


class ImageNorm(BatchNorm):
    """Batch norm of the images, the first layer of ResNet v2. It is not trained: its scale is
    always 1, whatever `weight` holds, and its running statistics stay fixed, as MXNet only updates
    them where gradients flow.
    """

    def __init__(self) -> None:
        super().__init__(3)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones_like(self.weight)
        if self.training:
            return F.batch_norm(x, None, None, ones, self.bias, True, eps=self.epsilon)
        mean, variance = self.running_mean, self.running_var
        return F.batch_norm(x, mean, variance, ones, self.bias, eps=self.epsilon)


class DenseReLU(nn.Linear):
    """Flattening, a dense layer and ReLU: (N, ...) -> (N, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x.flatten(1)))


class ConvolutionReLU(nn.Conv2d):
    """A convolution and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class Concatenation(nn.Sequential):
    """Modules that read the same input; their maps are concatenated along the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([module(x) for module in self], 1)


# The loss: released model/utils.py, AugFocalLoss.


class ClassImbalanceLoss(nn.Module):
    """L_cil: logits (N, K), labels (N,) -> loss (N,).

    As released:  p = softmax(logits);  loss = w[y] * (1 - p[y])^gamma * CE(p, y), where CE applies
    softmax to p once more. As written in the comment beside it:  loss = w[y] * (1 - p[y])^gamma *
    -ln p[y].

    class_weights: w, (K,). The released ones are proportional to 1 / (number of images of the
    class) and sum to 1.
    """

    class_weights: Tensor

    def __init__(
        self, class_weights: Sequence[float], gamma: float = 1.0, as_released: bool = True
    ) -> None:
        super().__init__()
        weights = torch.tensor(class_weights, dtype=torch.float64)
        self.register_buffer("class_weights", weights)
        self.gamma, self.as_released = gamma, as_released

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        probabilities = logits.softmax(1)  # (N, K)
        # The bound keeps the gradient of x^gamma finite at x = 0 for gamma < 1.
        doubt = (1 - pick(probabilities, labels)).clamp(min=1e-30)  # (N,)
        judged = probabilities if self.as_released else logits
        likelihood = pick(judged.log_softmax(1), labels)  # (N,), logarithms
        weights = self.class_weights.to(likelihood)[labels]  # (N,)
        return -weights * doubt**self.gamma * likelihood


def pick(values: Tensor, labels: Tensor) -> Tensor:
    """Return the value of each row's label, (N,), from values (N, K)."""
    return values.gather(1, labels[:, None])[:, 0]


def new_loss(config: Mapping[str, Any]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a training, logits (N, K) and labels (N,) -> (N,).

    If the training uses votes, the labels are distributions (N, K).
    """
    settings = config["training"]["loss"]
    if settings["name"] == "cross_entropy":
        return partial(F.cross_entropy, reduction="none")
    return ClassImbalanceLoss(
        settings["class_weights"], settings["gamma"], settings["form"] == "released"
    )


# Optimizer and schedule: released model/train.py.


def new_optimizer(net: nn.Module, config: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return the optimizer of a training: SGD with momentum, or Adam. Weight decay applies to all
    parameters, including biases and those of batch norm.

    MXNet's Adam adds its epsilon, 1e-8, before the bias correction, so its steps differ from
    PyTorch's if gradients are that small.
    """
    settings = config["training"]["optimizer"]
    groups: Dict[float, List[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            multiplier = settings["multipliers"].get(name.partition(".")[0], 1.0)
            groups.setdefault(multiplier, []).append(parameter)
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    parameters = [
        {"params": group, "lr": rate * multiplier, "multiplier": multiplier}
        for multiplier, group in groups.items()
    ]
    if settings["name"] == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, settings["momentum"], weight_decay=decay)


def learning_rate_at(config: Mapping[str, Any], epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 0. Released: halved at 10, 20, 30, 40 and
    50 of 60. A cosine schedule ends with the run's epochs; the rate is 0 after them.
    """
    schedule, rate = (
        config["training"]["schedule"],
        config["training"]["optimizer"]["learning_rate"],
    )
    if schedule["name"] == "step":
        return rate * schedule["factor"] ** sum(epoch >= each for each in schedule["epochs"])
    warm_up = schedule["warm_up_epochs"]
    if epoch < warm_up:
        return rate * (epoch + 1) / (warm_up + 1)
    progress = min(1, (epoch - warm_up) / max(1, config["training"]["epochs"] - warm_up))
    return rate * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group to `rate` times the group's multiplier.

    MXNet's momentum accumulates steps, PyTorch's accumulates gradients. So PyTorch's momentum is
    scaled here: a new rate must not change the steps that were already made.
    """
    for group in optimizer.param_groups:
        before, group["lr"] = group["lr"], rate * group["multiplier"]
        for parameter in group["params"]:
            momentum = optimizer.state[parameter].get("momentum_buffer")
            if momentum is not None and group["lr"]:
                momentum.mul_(before / group["lr"])


# Files and photographs.

NETWORKS = {"multi_level": MultiLevelNet, "fine_tuned": FineTuned, "shallow_only": ShallowOnly}
WEIGHTS, CONFIG = "model.safetensors", "config.json"
# entries of config.json that only hold for the exported weights
OF_THE_WEIGHTS = ("temperature", "parameters_sha256", "weights_sha256")


def load(folder: Union[str, Path]) -> Tuple[nn.Module, Dict[str, Any]]:
    """Return the network from a folder of `mlr export --format torch` or of `save`, as float32 on
    the CPU in evaluation mode, and its config.json.
    """
    config = json.loads((Path(folder) / CONFIG).read_text())
    net = new_network(config)
    net.load_state_dict(load_file(str(Path(folder) / WEIGHTS)))
    return net.eval(), config


def new_network(config: Mapping[str, Any]) -> nn.Module:
    """Return the network that a config.json describes, with PyTorch's initial weights."""
    arguments = dict(config["network"])
    return NETWORKS[arguments.pop("kind")](**arguments)


def save(net: nn.Module, config: Mapping[str, Any], folder: Union[str, Path]) -> None:
    """Write a network after more training into a new folder, for `load` and mlr.import_torch. The
    temperature is left out, as it was fitted for the weights before.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    weights = {name: x.float().cpu().contiguous() for name, x in net.state_dict().items()}
    save_file(weights, str(folder / WEIGHTS), {"format": "pt"})
    kept = {name: value for name, value in config.items() if name not in OF_THE_WEIGHTS}
    (folder / CONFIG).write_text(json.dumps(kept, indent=2) + "\n")
    shutil.copy(__file__, folder / "multilevel.py")


def preprocess(photo: np.ndarray, config: Mapping[str, Any]) -> Tensor:
    """Return a photograph (H, W, 3), uint8 RGB, as an image (3, S, S) for the network.

    Resizes to a square, bilinear without antialiasing, and normalises, as released for evaluation.
    Pixels differ by at most one grey level from OpenCV's INTER_LINEAR, which mlr uses.
    """
    steps = config["preprocessing"]
    pixels = torch.from_numpy(np.array(photo, np.float32)).permute(2, 0, 1)  # (3, H, W)
    pixels = F.interpolate(pixels[None], (steps["resize"],) * 2, mode="bilinear")[0].round()
    mean, std = (torch.tensor(steps[name])[:, None, None] for name in ("mean", "std"))  # (3, 1, 1)
    return (pixels * steps["scale"] - mean) / std


def probabilities(net: nn.Module, config: Mapping[str, Any], images: Tensor) -> Tensor:
    """Return the probabilities of the classes (N, K) for images (N, 3, S, S), with the fitted
    temperature, if there is one.
    """
    with torch.inference_mode():
        return (net.eval()(images) / config.get("temperature", 1.0)).softmax(1)


# The backbones: the same layers in the same order as in the Gluon model zoo, to fit its weights.


class Level(NamedTuple):
    """A part of a backbone whose maps can be tapped: one module, or several in a row."""

    name: str
    channels: int  # of its maps; D for the head
    parts: Union[nn.Module, List[nn.Module]]

    @property
    def module(self) -> nn.Module:
        return nn.Sequential(*self.parts) if isinstance(self.parts, list) else self.parts

    @property
    def layers(self) -> List[nn.Module]:
        return self.parts if isinstance(self.parts, list) else [self.parts]


def levels_of(backbone: str, image_size: int = 224) -> List[Level]:
    """Return the levels of a backbone, from the stem to the head: images (N, 3, S, S) -> maps (N,
    C, H, W) -> deep (N, D).
    """
    return BACKBONES[backbone](image_size)


def convolution(
    before: int, after: int, size: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv2d:
    """Return a convolution of size x size, padded so that only its stride changes H and W."""
    return nn.Conv2d(before, after, size, stride, size // 2, groups=groups, bias=bias)


def average(channels: int, *before: nn.Module) -> Level:
    """Return a head: the modules `before`, then the mean over H and W, (N, C)."""
    return Level("head", channels, [*before, nn.AdaptiveAvgPool2d(1), nn.Flatten()])


class ResidualV1(nn.Module):
    """A unit of ResNet v1: batch norm and ReLU after each convolution. As in the Gluon zoo, a
    bottleneck halves the map in its first convolution, and its 1 x 1 convolutions have biases.
    """

    def __init__(self, before: int, after: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        inner = after // 4 if bottleneck else after
        middle = [BatchNorm(inner), nn.ReLU(), convolution(inner, inner, 3), BatchNorm(inner)]
        if bottleneck:
            first = convolution(before, inner, 1, stride, bias=True)
            last = [nn.ReLU(), convolution(inner, after, 1, bias=True), BatchNorm(after)]
        else:
            first, last = convolution(before, after, 3, stride), []
        self.body = nn.Sequential(first, *middle, *last)
        self.downsample = nn.Sequential()
        if before != after:
            self.downsample.append(convolution(before, after, 1, stride))
            self.downsample.append(BatchNorm(after))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.downsample(x))


class ResidualV2(nn.Module):
    """A unit of ResNet v2: batch norm and ReLU before each convolution."""

    def __init__(self, before: int, after: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        inner = after // 4 if bottleneck else after
        first = (1, 1) if bottleneck else (3, stride)  # size, stride
        second = (3, stride) if bottleneck else (3, 1)
        self.bn1, self.conv1 = BatchNorm(before), convolution(before, inner, *first)
        self.bn2, self.conv2 = BatchNorm(inner), convolution(inner, inner, *second)
        self.bottleneck = bottleneck
        if bottleneck:
            self.bn3, self.conv3 = BatchNorm(inner), convolution(inner, after, 1)
        self.downsample = convolution(before, after, 1, stride) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(y)
        y = self.conv2(F.relu(self.bn2(self.conv1(y))))
        if self.bottleneck:
            y = self.conv3(F.relu(self.bn3(y)))
        return y + shortcut


def resnet(
    version: int, units: Sequence[int], channels: Sequence[int], bottleneck: bool, _: int = 0
) -> List[Level]:
    """Return a ResNet. units: their number in each stage. channels: those of the stem and of each
    stage.
    """
    unit = ResidualV1 if version == 1 else ResidualV2
    first, last = channels[0], channels[-1]
    stem = [convolution(3, first, 7, 2), BatchNorm(first), nn.ReLU()]
    if version == 2:
        stem.insert(0, ImageNorm())
    levels = [Level("stem", first, stem), Level("pool", first, nn.MaxPool2d(3, 2, 1))]
    for number, (count, before, after) in enumerate(zip(units, channels, channels[1:]), start=1):
        stage = [unit(before, after, 1 if number == 1 else 2, bottleneck)]
        stage += [unit(after, after, 1, bottleneck) for _ in range(count - 1)]
        levels.append(Level(f"stage{number}", after, nn.Sequential(*stage)))
    return [*levels, average(last, *([BatchNorm(last), nn.ReLU()] if version == 2 else []))]


def fire(before: int, squeezed: int, after: int) -> nn.Sequential:
    """Return a unit of SqueezeNet: 1 x 1 convolutions to few channels, then half of the output
    channels from 1 x 1 and half from 3 x 3 convolutions.
    """

    def layer(before: int, after: int, size: int) -> nn.Sequential:
        return nn.Sequential(convolution(before, after, size, bias=True), nn.ReLU())

    wide = Concatenation(layer(squeezed, after // 2, 1), layer(squeezed, after // 2, 3))
    return nn.Sequential(layer(before, squeezed, 1), wide)


def squeezenet(version: str, _: int = 0) -> List[Level]:
    """Return SqueezeNet 1.0, or 1.1, which pools earlier."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    first, size = (96, 7) if version == "1.0" else (64, 3)
    fires = [
        fire(first, 16, 128), fire(128, 16, 128), fire(128, 32, 256), fire(256, 32, 256),
        fire(256, 48, 384), fire(384, 48, 384), fire(384, 64, 512), fire(512, 64, 512),
    ]  # fmt: skip
    ends = (3, 7) if version == "1.0" else (2, 4)  # of the first and second stage
    return [
        Level("stem", first, [nn.Conv2d(3, first, size, 2), nn.ReLU()]),
        Level("pool", first, pool()),
        Level("stage1", 256 if version == "1.0" else 128, fires[: ends[0]]),
        Level("stage2", 512 if version == "1.0" else 256, [pool(), *fires[ends[0] : ends[1]]]),
        Level("stage3", 512, [pool(), *fires[ends[1] :]]),
        average(512, nn.Dropout(0.5)),
    ]


def normed(
    convolution: nn.Conv2d, activation: Optional[Callable[[], nn.Module]]
) -> List[nn.Module]:
    """Return a convolution, batch norm and an activation."""
    layers = [convolution, BatchNorm(convolution.out_channels)]
    return [*layers, activation()] if activation else layers


def mobilenet(activation: Callable[[], nn.Module], _: int = 0) -> List[Level]:
    """Return MobileNet: 3 x 3 convolutions within each channel, each followed by a 1 x 1
    convolution across channels.
    """
    levels = [Level("stem", 32, normed(convolution(3, 32, 3, 2), activation))]
    channels = 32
    stages = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))  # channels, units
    for number, (after, units) in enumerate(stages, start=1):
        stage: List[nn.Module] = []
        for unit in range(units):
            stride = 2 if number > 1 and unit == 0 else 1
            within = convolution(channels, channels, 3, stride, groups=channels)
            stage += normed(within, activation)
            stage += normed(convolution(channels, after, 1), activation)
            channels = after
        levels.append(Level(f"stage{number}", after, stage))
    return [*levels, average(channels)]


class InvertedResidual(nn.Module):
    """A unit of MobileNet v2: many channels inside the unit, few between units."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.out = nn.Sequential(
            *normed(convolution(before, wide, 1), nn.ReLU6),
            *normed(convolution(wide, wide, 3, stride, groups=wide), nn.ReLU6),
            *normed(convolution(wide, after, 1), None),
        )
        self.shortcut = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) + x if self.shortcut else self.out(x)


def mobilenet_v2(_: int = 0) -> List[Level]:
    """Return MobileNet v2."""
    levels = [Level("stem", 32, normed(convolution(3, 32, 3, 2), nn.ReLU6))]
    before = 32
    stages = ((16,), (24,) * 2, (32,) * 3, (64,) * 4 + (96,) * 3, (160,) * 3 + (320,))
    for number, channels in enumerate(stages, start=1):
        stage: List[nn.Module] = []
        for unit, after in enumerate(channels):
            stride = 2 if number > 1 and unit == 0 else 1
            stage.append(InvertedResidual(before, after, stride, 6 if number > 1 else 1))
            before = after
        levels.append(Level(f"stage{number}", before, stage))
    levels[-1] = Level(
        "stage5", 1280, [*levels[-1].layers, *normed(convolution(320, 1280, 1), nn.ReLU6)]
    )
    return [*levels, average(1280)]


def densenet121(_: int = 0) -> List[Level]:
    """Return DenseNet-121: each layer of a block adds 32 channels to its input."""

    def block(before: int, layers: int) -> nn.Sequential:
        return nn.Sequential(
            *[
                Concatenation(
                    nn.Identity(),
                    nn.Sequential(*activated(channels, 128, 1), *activated(128, 32, 3)),
                )
                for channels in range(before, before + 32 * layers, 32)
            ]
        )

    def activated(before: int, after: int, size: int) -> List[nn.Module]:
        return [BatchNorm(before), nn.ReLU(), convolution(before, after, size)]

    def transition(before: int) -> nn.Sequential:
        return nn.Sequential(*activated(before, before // 2, 1), nn.AvgPool2d(2))

    return [
        Level("stem", 64, normed(convolution(3, 64, 7, 2), nn.ReLU)),
        Level("pool", 64, nn.MaxPool2d(3, 2, 1)),
        Level("stage1", 256, block(64, 6)),
        Level("stage2", 512, [transition(256), block(128, 12)]),
        Level("stage3", 1024, [transition(512), block(256, 24)]),
        Level("stage4", 1024, [transition(1024), block(512, 16), BatchNorm(1024), nn.ReLU()]),
        average(1024),
    ]


def fully_connected(inputs: int, width: int) -> List[nn.Module]:
    """Return the two dense layers of AlexNet and VGG."""
    return [DenseReLU(inputs, width), nn.Dropout(0.5), DenseReLU(width, width), nn.Dropout(0.5)]


def vgg16(narrow: int, image_size: int) -> List[Level]:
    """Return VGG-16, with its channels divided by `narrow`."""
    levels: List[Level] = []
    before = 3
    stages = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions
    for number, (channels, count) in enumerate(stages):
        after = channels // narrow
        stage: List[nn.Module] = [nn.MaxPool2d(2)] if number > 1 else []
        for _ in range(count):
            if narrow == 1:
                stage += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            else:
                stage.append(ConvolutionReLU(before, after, 3, padding=1))
            before = after
        levels.append(Level(f"stage{number}" if number else "stem", after, stage))
    levels.insert(1, Level("pool", levels[0].channels, nn.MaxPool2d(2)))
    inputs, width = before * (image_size // 32) ** 2, 4096 // narrow
    return [*levels, Level("head", width, [nn.MaxPool2d(2), *fully_connected(inputs, width)])]


def alexnet(narrow: int, image_size: int) -> List[Level]:
    """Return the AlexNet of "One weird trick", with its channels divided by `narrow`."""
    a, b, c, d, width = (channels // narrow for channels in (64, 192, 384, 256, 4096))
    side = (image_size - 7) // 4 + 1
    for _ in range(3):  # pools
        side = (side - 3) // 2 + 1
    return [
        Level("stem", a, ConvolutionReLU(3, a, 11, 4, 2)),
        Level("pool", a, nn.MaxPool2d(3, 2)),
        Level("stage1", b, ConvolutionReLU(a, b, 5, padding=2)),
        Level("stage2", c, [nn.MaxPool2d(3, 2), ConvolutionReLU(b, c, 3, padding=1)]),
        Level("stage3", d, ConvolutionReLU(c, d, 3, padding=1)),
        Level("stage4", d, ConvolutionReLU(d, d, 3, padding=1)),
        Level(
            "head", width,
            [nn.MaxPool2d(3, 2), nn.Flatten(), *fully_connected(d * side**2, width)],
        ),
    ]  # fmt: skip


RESNETS = {
    18: ((2, 2, 2, 2), (64, 64, 128, 256, 512), False),
    34: ((3, 4, 6, 3), (64, 64, 128, 256, 512), False),
    50: ((3, 4, 6, 3), (64, 256, 512, 1024, 2048), True),
    101: ((3, 4, 23, 3), (64, 256, 512, 1024, 2048), True),
    152: ((3, 8, 36, 3), (64, 256, 512, 1024, 2048), True),
}
BACKBONES: Dict[str, Callable[[int], List[Level]]] = {
    **{
        f"resnet{depth}_v{version}": partial(resnet, version, *anatomy)
        for version in (1, 2)
        for depth, anatomy in RESNETS.items()
    },
    "resnet18_v2_slim": partial(resnet, 2, (2, 2, 2, 2), (32, 32, 48, 96, 160), False),
    "squeezenet1.0": partial(squeezenet, "1.0"),
    "squeezenet1.1": partial(squeezenet, "1.1"),
    "mobilenet1.0": partial(mobilenet, nn.ReLU),
    "mobilenet1.0_relu6": partial(mobilenet, nn.ReLU6),
    "mobilenetv2_1.0": mobilenet_v2,
    "densenet121": densenet121,
    "vgg16": partial(vgg16, 1),
    "vgg16_slim": partial(vgg16, 4),
    "alexnet": partial(alexnet, 1),
    "alexnet_slim": partial(alexnet, 4),
}
