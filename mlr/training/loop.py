"""The training loop, in the style of d2lzh's `train`. Nothing in it is specific to the paper."""

import itertools
import math
import random
import time
import zlib
from dataclasses import dataclass, field
from operator import length_hint
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Protocol, Tuple

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd

from mlr.data.loader import Batches
from mlr.errors import RunError
from mlr.inference.forward import predict, split_batch
from mlr.runtime.progress import Bar, progress_over, time_left
from mlr.training.distributed import Workers
from mlr.training.metrics import classification_metrics
from mlr.training.optimizer import set_learning_rate

Batch = Tuple[nd.NDArray, nd.NDArray]  # images (N, ...), labels (N,) or distributions (N, K)


@dataclass
class Progress:
    """The position of a training within an `epoch`, counted from 0: `step` batches are done, and
    `loss` and the number of `correct` predictions are sums over their `images`.

    If the workers wait for each other, the sums are over all workers; with dist_async they are this
    worker's own.
    """

    epoch: int
    step: int = 0
    loss: float = 0.0
    correct: float = 0.0
    images: int = 0
    seconds: float = 0.0


class Saves(Protocol):
    """The interface that saves within an epoch, implemented by
    `mlr.training.checkpoints.Checkpoints`.
    """

    @property
    def stopping(self) -> bool:
        """Whether a signal asked the training to stop."""

    def due(self, step: int) -> bool:
        """Tell whether to save after a step. step: the number of steps done in the epoch."""

    def save_step(self, progress: Progress) -> None:
        """Save; may raise Interrupted."""


@dataclass
class Learner:
    """A network in training, with its loss, (logits, labels) -> (N,), its trainer, the contexts
    over which every batch is split, and the workers of its job.

    As always in Gluon's data-parallel training, batch norm computes its statistics from one
    context's part of the batch.
    """

    net: gluon.HybridBlock
    loss: Callable[[nd.NDArray, nd.NDArray], nd.NDArray]
    trainer: gluon.Trainer
    ctx: List[mx.Context]
    workers: Workers = field(default_factory=Workers)


@dataclass(frozen=True)
class Evaluation:
    """The evaluation after each epoch: the batches of a split, valid or test, and the names of its
    K classes.
    """

    split: str
    batches: Iterable[Batch]
    classes: List[str]


@dataclass(frozen=True)
class Schedule:
    """The epochs to train, counted from 0, the learning rate of each, and the seed of all random
    draws.
    """

    epochs: range
    learning_rate_at: Callable[[int], float]
    seed: int


class NotFinite(Exception):
    """A number in training that is NaN or infinite: at which `step`, and, in words, `what` it
    is.
    """

    def __init__(self, step: int, what: str):
        super().__init__(what)
        self.step, self.what = step, what


def train(
    learner: Learner,
    batches: Batches,
    evaluation: Evaluation,
    schedule: Schedule,
    after_epoch: Callable[[Dict[str, Any]], None],
    checkpoints: Optional[Saves] = None,
    progress: Optional[Progress] = None,
) -> None:
    """Train; after each epoch evaluate, call `after_epoch(metrics)` and print one line.

    metrics: a dict of numbers; its "epoch" is counted from 1. checkpoints: asked after each step,
    and after each batch of the evaluation, whether to save. progress: where to continue within an
    epoch. Each of several workers calls this with its own part of batches and evaluation.

    The random draws of a step depend only on seed, epoch and step (and, with several workers, on
    the worker's rank), so a resumed training draws the same. Raises RunError if a loss, a gradient
    or a logit is NaN or infinite.
    """
    began, epochs = time.monotonic(), schedule.epochs
    for epoch in epochs:
        title = f"epoch {epoch + 1}/{epochs.stop}"
        if epoch > epochs.start:
            left = time_left(began, epoch - epochs.start, epochs.stop - epoch)
            title += f" (training: {left})"
        if not progress or progress.epoch != epoch:
            progress = Progress(epoch)
        set_learning_rate(learner.trainer, schedule.learning_rate_at(epoch), learner.workers)
        seed_generators(schedule.seed, epoch)
        first = learner.workers.first
        with Bar(title, len(batches), "batches", progress.step, first) as bar:
            mean_loss, accuracy, images = _one_epoch(
                learner, batches, schedule, checkpoints, progress, bar
            )
        result = _evaluated(learner, evaluation, checkpoints, progress)
        speed = images / progress.seconds
        metrics = {
            "epoch": epoch + 1,
            "loss": mean_loss,
            "train_accuracy": accuracy,
            f"{evaluation.split}_accuracy": result["accuracy"],
            f"{evaluation.split}_balanced_accuracy": result["balanced_accuracy"],
            "seconds": progress.seconds,
            "images_per_second": speed,
            "learning_rate": learner.trainer.learning_rate,
        }
        after_epoch(metrics)  # before printing, which fails if the reader of the output has gone
        if learner.workers.first:
            print(
                f"epoch {epoch + 1}, loss {mean_loss:.4f}, train acc {accuracy:.3f}, "
                f"{evaluation.split} acc {result['accuracy']:.3f}, {progress.seconds:.1f} sec, "
                f"{speed:.1f} images/s, lr {learner.trainer.learning_rate:.3g}",
                flush=True,
            )


def _one_epoch(
    learner: Learner,
    batches: Batches,
    schedule: Schedule,
    checkpoints: Optional[Saves],
    progress: Progress,
    bar: Bar,
) -> Tuple[float, float, int]:
    """Return what `train_epoch` returns. Raises RunError, which names the images, if a number is
    not finite.
    """
    seeded = _seeded(batches.epoch(progress.step), schedule.seed, progress, learner.workers.rank)
    try:
        return train_epoch(learner, bar.over(seeded), progress, checkpoints, batches.size)
    except NotFinite as error:
        raise RunError(
            f"{error.what} in epoch {progress.epoch + 1}, step {error.step + 1} of "
            f"{len(batches)}, at the images {', '.join(batches.names(error.step))}. The likely "
            "cause is a learning rate that is too high: start a new run with a lower one (this "
            "run keeps what it saved before)"
        ) from None


def _evaluated(
    learner: Learner,
    evaluation: Evaluation,
    checkpoints: Optional[Saves],
    progress: Progress,
) -> Dict[str, Any]:
    """Return the metrics of the evaluation, over all workers. Raises RunError if a logit is not
    finite.
    """
    shown = progress_over(
        evaluation.batches,
        f"epoch {progress.epoch + 1}, {evaluation.split}",
        length_hint(evaluation.batches) or None,
        "batches",
        learner.workers.first,
    )
    watched = _watched(shown, checkpoints, progress)
    logits, labels = (
        np.concatenate(learner.workers.gather(part))
        for part in predict(learner.net, watched, learner.ctx)
    )
    if not np.isfinite(logits).all():
        raise RunError(
            f"the network's logits for images of {evaluation.split} are NaN or infinite after "
            f"epoch {progress.epoch + 1}. Likely its running statistics have overflowed: start a "
            "new run with a lower learning rate (this run keeps what it saved before)"
        )
    return classification_metrics(labels, logits.argmax(axis=1), evaluation.classes)


def seed_generators(*numbers: int) -> None:
    """Seed the random generators of Python, NumPy and MXNet with whole numbers."""
    number = zlib.crc32(":".join(map(str, numbers)).encode()) & 0x7FFFFFFF
    random.seed(number)
    np.random.seed(number)
    mx.random.seed(number)


def _seeded(batches: Iterator[Batch], seed: int, progress: Progress, rank: int) -> Iterator[Batch]:
    """Yield the remaining batches of an epoch; before each one seed the random generators, for the
    draws that make the batch and train on it.
    """
    for step in itertools.count(progress.step):
        seed_generators(seed, progress.epoch, step, *([rank] if rank else []))
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch


def _watched(
    batches: Iterable[Batch], checkpoints: Optional[Saves], progress: Progress
) -> Iterator[Batch]:
    """Yield batches, and save after a signal, as an evaluation may be long."""
    for batch in batches:
        yield batch
        if checkpoints and checkpoints.stopping:
            checkpoints.save_step(progress)


def train_epoch(
    learner: Learner,
    batches: Iterable[Batch],
    progress: Optional[Progress] = None,
    checkpoints: Optional[Saves] = None,
    sizes: Optional[Callable[[int], int]] = None,
) -> Tuple[float, float, int]:
    """Train on the remaining batches of an epoch; return the mean loss and the accuracy over all
    images of the epoch, and the number of images.

    progress, checkpoints: as for `train`. sizes: for several workers, step -> number of images in
    the batch over all workers. Raises NotFinite.
    """
    workers, progress = learner.workers, progress or Progress(0)
    # the restored sums are those of the first worker
    if not (workers.first or workers.wait_for_each_other):
        progress.loss, progress.correct, progress.images = 0.0, 0.0, 0
    start = time.time() - progress.seconds
    sums = nd.array([progress.loss, progress.correct], learner.ctx[0])
    trained = [each for each in learner.net.collect_params().values() if each.grad_req != "null"]
    gradients = [parameter.grad(learner.ctx[0]) for parameter in trained]
    unchecked = None
    for images, labels in batches:
        size = sizes(progress.step) if sizes and workers.number > 1 else len(images)
        # If a batch is too small to give this worker an image, it computes another worker's, with
        # weight 0.
        own = len(images) if workers.rank < size else 0
        of_step = _step(learner, images, labels, size, float(bool(own)))
        sums += workers.add_up(of_step) if workers.wait_for_each_other else of_step
        # Python runs ahead of the device. Checking the step before keeps the device busy, and
        # bounds the number of batches in memory.
        _check(unchecked)
        unchecked = progress.step, sums.copy(), _squares(gradients)
        progress.step += 1
        progress.images += size if workers.wait_for_each_other else own
        if checkpoints and checkpoints.due(progress.step):
            _check(unchecked)
            progress.loss, progress.correct = map(float, sums.asnumpy())
            progress.seconds = time.time() - start
            checkpoints.save_step(progress)
    _check(unchecked)
    # MXNet updates the running statistics of batch norm in the backward pass, and reading them does
    # not wait for that: an evaluation or a checkpoint would miss the last update.
    nd.waitall()
    progress.loss, progress.correct = map(float, sums.asnumpy())
    progress.seconds = time.time() - start
    _average_running_statistics(learner)
    return _of_all_workers(learner, progress)


def _step(
    learner: Learner, images: nd.NDArray, labels: nd.NDArray, size: int, own: float
) -> nd.NDArray:
    """Do one step; return the sum of its losses and the number of correct predictions, (2,).

    If labels are distributions (N, K), the class with the largest share counts as correct. size: of
    the batch over all workers. own: 1, or 0 if none of its images is this worker's.
    """
    parts = split_batch(images, labels, learner.ctx)
    with autograd.record():
        logits = [learner.net(part.images) for part in parts]
        losses = [
            learner.loss(z, part.labels) * (part.weight * own) for z, part in zip(logits, parts)
        ]
    if learner.workers.wait_for_each_other:
        autograd.backward(losses)
        learner.trainer.step(size)
    else:  # the optimizer on the servers keeps the first batch size that it gets
        heads = [nd.full(loss.shape, 1 / size, loss.context, loss.dtype) for loss in losses]
        autograd.backward(losses, heads)
        learner.trainer.step(1)
    sums = nd.zeros(2, learner.ctx[0])
    for z, loss, part in zip(logits, losses, parts):
        labels = part.labels if part.labels.ndim == 1 else part.labels.argmax(axis=1)
        correct = (z.argmax(axis=1) == labels) * (part.weight * own)
        both = nd.concat(loss.sum(), correct.sum(), dim=0)
        sums += both.astype("float32").as_in_context(learner.ctx[0])
    return sums


def _of_all_workers(learner: Learner, progress: Progress) -> Tuple[float, float, int]:
    """Return the epoch's mean loss, accuracy and images, over all workers."""
    done = progress.loss, progress.correct, progress.images
    if not learner.workers.wait_for_each_other:
        done = np.sum(learner.workers.gather(done), axis=0).tolist()
        for number, parameter in enumerate(learner.trainer._params):
            if parameter.grad_req != "null":
                learner.workers.kvstore.pull(number, parameter.list_data())
    loss, correct, images = done
    return loss / images, correct / images, int(images)


def _average_running_statistics(learner: Learner) -> None:
    """Average the running statistics of batch norm over all contexts of all workers: each has those
    of its own images.

    The mean is what is saved and evaluated, and the next epoch starts from it.
    """
    parameters = learner.net.collect_params().values()
    statistics = [parameter for parameter in parameters if parameter.grad_req == "null"]
    if not statistics or learner.workers.number * len(statistics[0].list_ctx()) == 1:
        return
    own = [
        np.mean([value.asnumpy() for value in parameter.list_data()], axis=0)
        for parameter in statistics
    ]
    mean = np.mean(learner.workers.gather(np.concatenate(own)), axis=0)
    ends = np.cumsum([len(array) for array in own])
    for parameter, part in zip(statistics, np.split(mean, ends[:-1])):
        for value in parameter.list_data():  # set_data() fails for parameters on servers
            value[:] = nd.array(part, value.context, value.dtype)


def _squares(arrays: List[nd.NDArray]) -> nd.NDArray:
    """Return the sum of squares of all numbers in the arrays, (1,). It is finite if and only if all
    numbers are, unless the squares overflow float32.
    """
    # MXNet's own multi_all_finite takes a hundred times as long on a CPU.
    flat = [array.reshape(-1) for array in arrays]
    return nd.add_n(*[nd.dot(array, array) for array in flat])


def _check(step: Optional[Tuple[int, nd.NDArray, nd.NDArray]]) -> None:
    """Wait for a step. Raises NotFinite if its loss or gradient is not finite.

    step: its number; the sums of losses and of correct predictions; the sum of squared gradients.
    """
    if step is None:
        return
    number, sums, squares = step
    for what, value in (("the loss", sums[0]), ("the gradient's norm", squares)):
        value = value.asscalar()
        if not math.isfinite(value):
            raise NotFinite(number, f"{what} became {value}")
