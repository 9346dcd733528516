"""The training loop, in the manner of d2lzh's `train`. It knows nothing of the paper."""

import itertools
import math
import random
import time
import zlib
from dataclasses import dataclass

import mxnet as mx
import numpy as np
from mxnet import autograd, nd
from tqdm import tqdm

from mlr.errors import RunError
from mlr.inference.forward import predict, split_batch
from mlr.training.distributed import Workers
from mlr.training.metrics import classification_metrics
from mlr.training.optimizer import set_learning_rate


@dataclass
class Progress:
    """Where in an epoch a training is, counted from 0: `step` batches are done, with `loss` and
    `hits` summed over their `images`.

    The sums are over all workers that wait for each other; with dist_async they are each worker's
    own.
    """

    epoch: int
    step: int = 0
    loss: float = 0.0
    hits: float = 0.0
    images: int = 0
    seconds: float = 0.0


class NotFinite(Exception):
    """A number in training that is none: of which `step`, and in words, `what`."""

    def __init__(self, step, what):
        super().__init__(what)
        self.step, self.what = step, what


def train(
    train_batches,
    evaluation,
    net,
    loss,
    trainer,
    ctx,
    epochs,
    learning_rate_at,
    classes,
    seed,
    after_epoch,
    checkpoints=None,
    progress=None,
    workers=None,
):
    """Train, and after each epoch evaluate, call `after_epoch(metrics)` and print one line.

    train_batches: `mlr.data.loader.Batches`. evaluation: the name of a split, valid or test, and
    its batches. epochs: the epochs to do, counted from 0, as a range. learning_rate_at: epoch ->
    learning rate. classes: K names. metrics: a dict of numbers, its epoch counted from 1.
    checkpoints: has `due(step)`, asked after each step and each batch of the evaluation, and
    `save_step(progress)`, called where it said yes. progress: where to go on within an epoch.
    workers: a `mlr.training.distributed.Workers`, of which each calls this with its own part of
    batches and evaluation.

    What a step draws follows from seed, epoch and step alone, so it is the same whether or not the
    steps before it ran just now (and, with several workers, from the worker's rank).
    Raises RunError where a loss, a gradient or a logit is no longer a finite number.
    """
    (split, evaluation_batches), workers = evaluation, workers or Workers()
    for epoch in epochs:
        if not progress or progress.epoch != epoch:
            progress = Progress(epoch)
        set_learning_rate(trainer, learning_rate_at(epoch), workers)
        seed_generators(seed, epoch)
        batches = _seeded(train_batches.epoch(progress.step), seed, progress, workers.rank)
        shown = tqdm(
            batches,
            f"epoch {epoch + 1:d}/{epochs.stop:d}",
            len(train_batches),
            initial=progress.step,
            unit=" batches",
            leave=False,
            disable=None if workers.first else True,
        )
        try:
            mean_loss, accuracy, images = train_epoch(
                net, shown, loss, trainer, ctx, progress, checkpoints, workers, train_batches.size
            )
        except NotFinite as error:
            raise RunError(
                f"{error.what} in epoch {epoch + 1:d}, step {error.step + 1:d} of "
                f"{len(train_batches):d}, at the images "
                f"{', '.join(train_batches.names(error.step))}. The likely cause is a learning "
                "rate that is too high: lower it, in a new run (what was saved before is kept)"
            ) from None
        logits, labels = (
            np.concatenate(workers.gather(part))
            for part in predict(net, _watched(evaluation_batches, checkpoints, progress), ctx)
        )
        if not np.isfinite(logits).all():
            raise RunError(
                f"the network's answers to images of {split} are no finite numbers after epoch "
                f"{epoch + 1:d}: its running statistics have likely overflowed; lower the "
                "learning rate, in a new run (what was saved before is kept)"
            )
        result = classification_metrics(labels, logits.argmax(axis=1), classes)
        metrics = {
            "epoch": epoch + 1,
            "loss": mean_loss,
            "train_accuracy": accuracy,
            split + "_accuracy": result["accuracy"],
            split + "_balanced_accuracy": result["balanced_accuracy"],
            "seconds": progress.seconds,
            "images_per_second": images / progress.seconds,
            "learning_rate": trainer.learning_rate,
        }
        after_epoch(metrics)  # before it is printed: the reader may have gone
        if workers.first:
            print(
                (
                    f"epoch {epoch + 1:d}, loss {mean_loss:.4f}, train acc {accuracy:.3f}, {split} "
                    f"acc {result['accuracy']:.3f}, {progress.seconds:.1f} sec, "
                    f"{images / progress.seconds:.1f} images/s, lr {trainer.learning_rate:.3g}"
                ),
                flush=True,
            )


def seed_generators(*numbers):
    """Seed every random generator by whole numbers: those of Python, NumPy and MXNet."""
    number = zlib.crc32(":".join(map(str, numbers)).encode()) & 0x7FFFFFFF
    random.seed(number)
    np.random.seed(number)
    mx.random.seed(number)


def _seeded(batches, seed, progress, rank):
    """Yield the batches of an epoch that are left, the generators seeded for what making each and
    training on it draw.
    """
    for step in itertools.count(progress.step):
        seed_generators(seed, progress.epoch, step, *([rank] if rank else []))
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch


def _watched(batches, checkpoints, progress):
    """Yield batches, and save where it was asked to: an evaluation may be long."""
    for batch in batches:
        yield batch
        if checkpoints and checkpoints.stopping:
            checkpoints.save_step(progress)


def train_epoch(
    net, batches, loss, trainer, ctx, progress=None, checkpoints=None, workers=None, sizes=None
):
    """Train on the batches of an epoch that are left; return the mean loss and the accuracy over
    all its images, and their number.

    batches: images (N, ...) and labels (N,). loss: (logits, labels) -> (N,). ctx: list of contexts,
    over which every batch is split. As in all of Gluon's data-parallel training, batch norm sees
    one context's part of the batch at a time.
    progress, checkpoints, workers: as in `train`. sizes: step -> number of images in the batch over
    all workers, for several.
    Raises NotFinite.
    """
    progress, workers = progress or Progress(0), workers or Workers()
    if not (workers.first or workers.wait_for_each_other):  # what was restored is the first's
        progress.loss, progress.hits, progress.images = 0.0, 0.0, 0
    start = time.time() - progress.seconds
    sums = nd.array([progress.loss, progress.hits], ctx[0])
    gradients = [
        parameter.grad(ctx[0])
        for parameter in net.collect_params().values()
        if parameter.grad_req != "null"
    ]
    unchecked = None
    for images, labels in batches:
        size = sizes(progress.step) if workers.number > 1 else len(images)
        # a worker that a small batch has no image for does another's, and leaves it out
        own = len(images) if workers.rank < size else 0
        parts = split_batch(images, labels, ctx)
        with autograd.record():
            logits = [net(x) for x, _, _ in parts]
            losses = [loss(z, y) * (share * bool(own)) for z, (_, y, share) in zip(logits, parts)]
        if workers.wait_for_each_other:
            autograd.backward(losses)
            trainer.step(size)
        else:  # the optimizer on the servers keeps the first batch size that it is told
            autograd.backward(
                losses, [nd.full(part.shape, 1 / size, part.context, part.dtype) for part in losses]
            )
            trainer.step(1)
        of_step = nd.zeros(2, ctx[0])
        for z, part_losses, (_, y, share) in zip(logits, losses, parts):
            hits = (z.argmax(axis=1) == y) * (share * bool(own))
            of_step += (
                nd.concat(part_losses.sum(), hits.sum(), dim=0)
                .astype("float32")
                .as_in_context(ctx[0])
            )
        sums += workers.add_up(of_step) if workers.wait_for_each_other else of_step
        # Python runs ahead of the device; a step behind is near enough to keep it busy, and bounds
        # the batches in memory.
        _check(unchecked)
        unchecked = progress.step, sums.copy(), _squares(gradients)
        progress.step, progress.images = (
            progress.step + 1,
            progress.images + (size if workers.wait_for_each_other else own),
        )
        if checkpoints and checkpoints.due(progress.step):
            _check(unchecked)
            progress.loss, progress.hits = map(float, sums.asnumpy())
            progress.seconds = time.time() - start
            checkpoints.save_step(progress)
    _check(unchecked)
    # MXNet updates the running statistics of batch norm in the backward pass, and a reader does not
    # wait for that by itself: an
    # evaluation or a checkpoint would miss the last step's.
    nd.waitall()
    progress.loss, progress.hits = map(float, sums.asnumpy())
    progress.seconds = time.time() - start
    _share_running_statistics(net, workers)
    done = progress.loss, progress.hits, progress.images
    if not workers.wait_for_each_other:
        done = np.sum(workers.gather(done), axis=0).tolist()
        for number, parameter in enumerate(trainer._params):
            if parameter.grad_req != "null":
                workers.kvstore.pull(number, parameter.list_data())
    loss_sum, hits, images = done
    return loss_sum / images, hits / images, int(images)


def _share_running_statistics(net, workers):
    """Give every context of every worker the mean of all their running statistics of batch norm, of
    which each has those of its own images.

    It is what is saved, and so what is evaluated; the next epoch goes on from it.
    """
    statistics = [
        parameter for parameter in net.collect_params().values() if parameter.grad_req == "null"
    ]
    if not statistics or workers.number * len(statistics[0].list_ctx()) == 1:
        return
    own = [
        np.mean([value.asnumpy() for value in parameter.list_data()], axis=0)
        for parameter in statistics
    ]
    mean = np.mean(workers.gather(np.concatenate(own)), axis=0)
    for parameter, part in zip(
        statistics, np.split(mean, np.cumsum([len(array) for array in own])[:-1])
    ):
        for value in parameter.list_data():  # set_data() is not for parameters that are on servers
            value[:] = nd.array(part, value.context, value.dtype)


def _squares(arrays):
    """Return the sum of squares of all numbers in the arrays, (1,): finite if all are, as far as
    float32 reaches.
    """
    # MXNet's own multi_all_finite takes a hundred times as long on a CPU.
    flat = [array.reshape(-1) for array in arrays]
    return nd.add_n(*[nd.dot(array, array) for array in flat])


def _check(step):
    """Wait for a step, and raise NotFinite where its loss or gradient is not. step: its number,
    sums of losses and hits, and of squares.
    """
    if step is None:
        return
    number, sums, squares = step
    for what, value in (("the loss", sums[0]), ("the gradient's norm", squares)):
        value = value.asscalar()
        if not math.isfinite(value):
            raise NotFinite(number, f"{what} became {value}")
