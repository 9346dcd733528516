"""The training loop, in the manner of d2lzh's `train`. It knows nothing of the paper."""

import math
import random
import time
import zlib

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd
from tqdm import tqdm

from mlr.errors import RunError
from mlr.metrics import classification_metrics


def train(train_batches, evaluation, net, loss, trainer, ctx, epochs, learning_rate_at, classes, seed, after_epoch):
    """Train, and after each epoch evaluate, print one line and call `after_epoch(metrics)`.

    evaluation: the name of a split, valid or test, and its batches. epochs: the epochs to do, counted from 0, as a range.
    learning_rate_at: epoch -> learning rate. classes: K names. metrics: a dict of numbers, its epoch counted from 1.
    Raises RunError where the loss is no longer a finite number.
    """
    split, evaluation_batches = evaluation
    for epoch in epochs:
        seed_epoch(seed, epoch)
        trainer.set_learning_rate(learning_rate_at(epoch))
        start = time.time()
        progress = tqdm(train_batches, desc="epoch %d/%d" % (epoch + 1, epochs.stop), unit=" batches", leave=False, disable=None)
        mean_loss, accuracy, images = train_epoch(net, progress, loss, trainer, ctx)
        seconds = time.time() - start
        if not math.isfinite(mean_loss):
            raise RunError("the loss became %s in epoch %d, likely a learning rate that is too high: lower it, in a new run (what "
                           "earlier epochs saved is kept)" % (mean_loss, epoch + 1))
        logits, labels = predict(net, evaluation_batches, ctx)
        result = classification_metrics(labels, logits.argmax(axis=1), classes)
        metrics = {
            "epoch": epoch + 1, "loss": mean_loss, "train_accuracy": accuracy, split + "_accuracy": result["accuracy"],
            split + "_balanced_accuracy": result["balanced_accuracy"], "seconds": seconds, "images_per_second": images / seconds,
            "learning_rate": trainer.learning_rate,
        }
        print("epoch %d, loss %.4f, train acc %.3f, %s acc %.3f, %.1f sec, %.1f images/s, lr %.3g" % (
            epoch + 1, mean_loss, accuracy, split, result["accuracy"], seconds, images / seconds, trainer.learning_rate), flush=True)
        after_epoch(metrics)


def seed_epoch(seed, epoch):
    """Seed every random generator for an epoch, so that it is the same whether or not the epochs before it ran just now."""
    number = zlib.crc32(("%d:%d" % (seed, epoch)).encode()) & 0x7fffffff
    random.seed(number)
    np.random.seed(number)
    mx.random.seed(number)


def train_epoch(net, batches, loss, trainer, ctx):
    """Train for one pass over `batches`; return the mean loss and the accuracy over its images, and their number.

    batches: images (N, ...) and labels (N,). loss: (logits, labels) -> (N,). ctx: list of contexts, over which every batch
    is split. As in all of Gluon's data-parallel training, batch norm sees one context's part of the batch at a time.
    """
    totals = [nd.zeros(2, context) for context in ctx]                # sum of losses, number of hits
    images_seen, previous = 0, []
    for images, labels in batches:
        parts = split_batch(images, labels, ctx)
        with autograd.record():
            logits = [net(x) for x, _, _ in parts]
            losses = [loss(z, y) * share for z, (_, y, share) in zip(logits, parts)]
        autograd.backward(losses)
        trainer.step(len(images))
        for total, z, part_losses, (_, y, share) in zip(totals, logits, losses, parts):
            hits = (z.argmax(axis=1) == y) * share
            total += nd.concat(part_losses.sum(), hits.sum(), dim=0).astype("float32")
        images_seen += len(images)
        # Python runs ahead of the device; a step behind is near enough to keep it busy, and bounds the batches in memory.
        for part_losses in previous:
            part_losses.wait_to_read()
        previous = losses
    # MXNet updates the running statistics of batch norm in the backward pass, and a reader does not wait for that by itself: an
    # evaluation or a checkpoint would miss the last step's.
    nd.waitall()
    loss_sum, hits = np.sum([total.asnumpy() for total in totals], axis=0)
    return float(loss_sum / images_seen), float(hits / images_seen), images_seen


def predict(net, batches, ctx):
    """Return logits (N, K) and labels (N,), NumPy arrays, of all images of `batches`."""
    outputs = []
    for images, labels in batches:
        parts = split_batch(images, labels, ctx)[:len(images)]
        outputs.append(([net(x) for x, _, _ in parts], labels))
        for z in outputs[-2][0] if len(outputs) > 1 else ():
            z.wait_to_read()
    logits = np.concatenate([z.asnumpy() for parts, _ in outputs for z in parts])
    return logits, np.concatenate([labels.asnumpy() for _, labels in outputs]).astype(int)


def split_batch(images, labels, ctx):
    """Return a part of the batch for each context: (images, labels, share), labels in the dtype of the images.

    share is 1. Where a batch has fewer images than there are contexts, the contexts that are left get a copy of the first
    image with share 0, as MXNet needs a gradient from each of them.
    """
    labels = labels.astype(images.dtype)
    used = ctx[:len(images)]
    parts = [
        (x, y, 1.0) for x, y in zip(gluon.utils.split_and_load(images, used, even_split=False),
                                    gluon.utils.split_and_load(labels, used, even_split=False))]
    return parts + [(images[:1].as_in_context(idle), labels[:1].as_in_context(idle), 0.0) for idle in ctx[len(images):]]


def new_trainer(net, optimizer, options, factors=()):
    """Return a gluon.Trainer for all parameters of an initialized network.

    options: the optimizer's arguments. factors: {Parameter: what its learning rate is multiplied by}.
    """
    for parameter in factors:
        parameter.lr_mult = factors[parameter]
    optimizer, parameters = mx.optimizer.create(optimizer, **options), net.collect_params()
    if all(context.device_type == "cpu" for parameter in parameters.values() for context in parameter.list_ctx()):
        # The fused update of several parameters saves launches on a GPU; on a CPU its inner loop goes over the parameters.
        optimizer.aggregate_num = 0
    # Without update_on_kvstore the optimizer's state is at hand with several contexts, too.
    trainer = gluon.Trainer(parameters, optimizer, update_on_kvstore=False)
    # With several contexts the first use copies every parameter from the first to all; in the first step, where MXNet does it
    # by default, that would undo the update of batch norm's running statistics.
    trainer.allreduce_grads()
    return trainer


def optimizer_arrays(trainer):
    """Return the optimizer's state, {name: NDArray}, ready to be saved; Gluon's own way of saving it is a pickle.

    "<parameter index>.<number>" are its moments, "updates" is the number of steps so far.
    """
    arrays = {"updates": nd.array([trainer._optimizer.num_update], dtype="int64")}
    for index, state in trainer._updaters[0].states.items():
        for number, moment in enumerate(state if isinstance(state, tuple) else (state,)):
            arrays["%d.%d" % (index, number)] = moment
    return arrays


def restore_optimizer(trainer, arrays):
    """Put back what `optimizer_arrays` returned, as NumPy arrays, on every context of a trainer that has done no step yet."""
    trainer._optimizer.begin_num_update = trainer._optimizer.num_update = int(arrays["updates"][0])
    moments = {}
    for name in sorted(set(arrays) - {"updates"}):
        moments.setdefault(int(name.split(".")[0]), []).append(arrays[name])
    for updater, context in zip(trainer._updaters, trainer._contexts):
        for index, state in moments.items():
            copies = tuple(nd.array(moment, context, moment.dtype) for moment in state)
            updater.states[index] = copies if len(copies) > 1 else copies[0]
            updater.states_synced[index] = True
