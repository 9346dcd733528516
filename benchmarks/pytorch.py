"""Our network in PyTorch, channels last: eager, or with --compile through torch.compile. A
contestant of `mlr benchmark`.
"""

import contestant
import torch
from torch import nn
from torch.nn import functional as F

# units, inner and outer channels, stride
STAGES = ((3, 64, 256, 1), (4, 128, 512, 2), (6, 256, 1024, 2), (3, 512, 2048, 2))


class Unit(nn.Module):
    """A bottleneck of ResNet v2."""

    def __init__(self, channels, inner, outer, stride, downsample):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), nn.Conv2d(channels, inner, 1, bias=False)
        self.bn2, self.conv2 = (
            nn.BatchNorm2d(inner),
            nn.Conv2d(inner, inner, 3, stride, 1, bias=False),
        )
        self.bn3, self.conv3 = nn.BatchNorm2d(inner), nn.Conv2d(inner, outer, 1, bias=False)
        self.downsample = nn.Conv2d(channels, outer, 1, stride, bias=False) if downsample else None

    def forward(self, x):
        y = F.relu(self.bn1(x))
        shortcut = self.downsample(y) if self.downsample else x
        y = self.conv1(y)
        y = self.conv2(F.relu(self.bn2(y)))
        return self.conv3(F.relu(self.bn3(y))) + shortcut


class MultiLevelNet(nn.Module):
    """Images (N, 3, H, W) -> logits (N, classes). Its modules have the names of mlr's, so that its
    parameters do, too.
    """

    def __init__(self, classes):
        super().__init__()
        self.backbone = backbone = nn.Module()
        backbone.stem = nn.Sequential(
            nn.BatchNorm2d(3), nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()
        )
        channels = 64
        for number, (units, inner, outer, stride) in enumerate(STAGES, 1):
            stage = nn.Sequential(
                *[
                    Unit(
                        channels if unit == 0 else outer,
                        inner,
                        outer,
                        stride if unit == 0 else 1,
                        unit == 0,
                    )
                    for unit in range(units)
                ]
            )
            setattr(backbone, f"stage{number:d}", stage)
            channels = outer
        backbone.head = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.shallow = nn.Module()
        self.shallow.branches = nn.ModuleList(
            [branch(64, 64, pool=False), branch(64, 256, pool=True), branch(256, 512, pool=True)]
        )
        self.shallow.mix = nn.Sequential(
            nn.Dropout(contestant.DROPOUT), nn.Linear(832, 2048), nn.BatchNorm1d(2048, eps=2e-5)
        )
        self.fusion = nn.Module()
        self.fusion.norm, self.fusion.output = (
            nn.BatchNorm1d(4096, eps=2e-5),
            nn.Linear(4096, classes),
        )

    def forward(self, images):
        stem = self.backbone.stem(images)
        pool = F.max_pool2d(stem, 3, 2, 1)
        stage1 = self.backbone.stage1(pool)
        deep = self.backbone.head(
            self.backbone.stage4(self.backbone.stage3(self.backbone.stage2(stage1)))
        )
        vectors = [read(x) for read, x in zip(self.shallow.branches, (stem, pool, stage1))]
        dropout, dense, norm = self.shallow.mix
        style = norm(F.relu(dense(dropout(torch.cat(vectors, 1)))))
        return self.fusion.output(self.fusion.norm(torch.cat([deep, style], 1)))


class Gram(nn.Module):
    def forward(self, x):
        n, c, h, w = x.shape
        x = x.reshape(n, c, h * w)
        return torch.bmm(x, x.transpose(1, 2)) / (c * h * w)


def branch(channels, width, pool):
    layers = [nn.MaxPool2d(3, 2, 1)] if pool else []
    layers += [Gram(), nn.Linear(channels * channels, width)]
    module = nn.Module()
    module.layers = nn.ModuleList(layers)

    def forward(x):
        *before, dense = module.layers
        for layer in before:
            x = layer(x)
        return F.relu(dense(x.flatten(1)))

    module.forward = forward
    return module


def network(parameters):
    net = MultiLevelNet(len(parameters["fusion.output.bias"]))
    kinds = {"gamma": "weight", "beta": "bias"}
    state = {}
    for name, array in parameters.items():
        layer, _, kind = name.rpartition(".")
        state[f"{layer}.{kinds.get(kind, kind)}"] = torch.from_numpy(array)
    unknown = net.load_state_dict(state, strict=False)
    assert not unknown.unexpected_keys and all(
        key.endswith("num_batches_tracked") for key in unknown.missing_keys
    ), unknown
    return net.to(memory_format=torch.channels_last)


def training(given, options):
    net = network(given.parameters).train()
    # Of these the original learns nothing: scale and shift of the images themselves.
    net.backbone.stem[0].requires_grad_(False)
    optimizer = torch.optim.SGD(
        [p for p in net.parameters() if p.requires_grad],
        contestant.LEARNING_RATE,
        contestant.MOMENTUM,
        weight_decay=contestant.WEIGHT_DECAY,
        fused=True,
    )
    images, labels = (
        torch.from_numpy(given.images).to(memory_format=torch.channels_last),
        torch.from_numpy(given.labels).long(),
    )

    def loss(images):
        probabilities = net(images).softmax(1)
        doubt = 1 - probabilities.gather(1, labels[:, None])[:, 0]
        return (
            contestant.CLASS_WEIGHT
            * doubt
            * F.cross_entropy(probabilities, labels, reduction="none")
        ).mean()

    run = torch.compile(loss) if options.compile else loss

    def step():
        optimizer.zero_grad()
        run(images).backward()
        optimizer.step()

    return step


def inference(given, options):
    net = network(given.parameters).eval()
    images = torch.from_numpy(given.images).to(memory_format=torch.channels_last)
    run = torch.compile(net) if options.compile else net

    def step():
        with torch.inference_mode():
            return run(images).numpy()

    return step


if __name__ == "__main__":
    contestant.main(
        {"torch": torch.__version__, "threads": torch.get_num_threads()},
        ["compile"],
        training=training,
        inference=inference,
    )
