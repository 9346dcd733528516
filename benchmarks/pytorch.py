"""Our network in PyTorch, channels last: eager, or with --compile through torch.compile. A
contestant of `mlr benchmark`, which takes the folder that `mlr export --format torch` would write.
"""

import functools
import sys

import contestant
import torch


def exported(given):
    """Return the module that computes the network, the network, and its config."""
    folder = given.folder / "pytorch"
    sys.path.insert(0, str(folder))
    import multilevel

    net, config = multilevel.load(folder)
    return multilevel, net.to(memory_format=torch.channels_last), config


def training(given, options):
    multilevel, net, config = exported(given)
    net.train()
    optimizer, criterion = multilevel.new_optimizer(net, config), multilevel.new_loss(config)
    images, labels = (
        torch.from_numpy(given.images).to(memory_format=torch.channels_last),
        torch.from_numpy(given.labels).long(),
    )

    def loss(images):
        return criterion(net(images), labels).mean()

    run = torch.compile(loss) if options.compile else loss

    def step():
        optimizer.zero_grad()
        run(images).backward()
        optimizer.step()

    return step


def inference(given, options):
    _, net, _ = exported(given)
    images = torch.from_numpy(given.images).to(memory_format=torch.channels_last)
    run = torch.compile(net) if options.compile else net

    def step():
        with torch.inference_mode():
            return run(images).numpy()

    return step


def roof(given, options):
    """Products and convolutions by oneDNN and MKL, as PyTorch has them."""
    side = contestant.SQUARE
    matrix = torch.randn(side, side)
    ways = {"PyTorch's product": (lambda: matrix @ matrix, 2 * side**3)}
    for channels, size, filters, kernel in contestant.CONVOLUTIONS:
        maps, weight = (
            torch.randn(*shape).to(memory_format=torch.channels_last)
            for shape in (
                (len(given.images), channels, size, size),
                (filters, channels, kernel, kernel),
            )
        )
        ways[f"PyTorch's convolution, {channels} to {filters} of {kernel} x {kernel}"] = (
            functools.partial(torch.nn.functional.conv2d, maps, weight, padding=kernel // 2),
            2 * len(maps) * size**2 * weight.numel(),
        )
    return ways


if __name__ == "__main__":
    contestant.main(
        {"torch": torch.__version__, "threads": torch.get_num_threads()},
        ["compile"],
        training=training,
        inference=inference,
        roof=roof,
    )
