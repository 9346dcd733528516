"""Our network in PyTorch, channels last: eager, or with --compile through torch.compile. A
contestant of `mlr benchmark`, which takes the folder that `mlr export --format torch` would write.
"""

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


if __name__ == "__main__":
    contestant.main(
        {"torch": torch.__version__, "threads": torch.get_num_threads()},
        ["compile"],
        training=training,
        inference=inference,
    )
