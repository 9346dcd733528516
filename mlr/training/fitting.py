"""Fits methods: by gradient descent in stages, or as a support vector machine."""

import json
import time
from typing import Any, Callable, Dict, List, Optional

import numpy as np
from mxnet import gluon

from mlr.data.labelled import LabelledImages, Subset
from mlr.data.loader import GluonBatches
from mlr.errors import Interrupted
from mlr.formats.json import read_json
from mlr.formats.params import write_params
from mlr.inference import support_vectors
from mlr.inference.classifiers import SupportVectorClassifier
from mlr.options.training import TrainingOptions, learning_rate_at
from mlr.runs.schema import checked_kept
from mlr.runtime.progress import progress_over
from mlr.runtime.signals import NAMES, Postponed
from mlr.training import loop
from mlr.training.batches import (
    EVALUATION_BATCH,
    evaluation_batches,
    threads_beside,
    training_batches,
)
from mlr.training.loss import (
    ClassImbalanceLoss,
    CrossEntropyLoss,
    SoftCrossEntropyLoss,
    inverse_frequency_weights,
)
from mlr.training.session import Source, Training

# Selects the images that a stage keeps: probabilities (N, K), labels (N,), seed -> indices.
Selection = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def fit_by_gradients(
    training: Training, stages: List[range], select: Optional[Selection] = None
) -> None:
    """Train the network in stages of epochs, each with its own images.

    The first stage uses all images, each later one the images that `select` keeps. If there is a
    target, the last stage uses the target's images.
    """
    for number, epochs in enumerate(stages):
        last = number == len(stages) - 1
        if training.target and last:
            source = training.target
            images = source.train
        else:
            source = training.source
            images = kept_images(training, number, select) if number and select else source.train
        if len(training.run.metrics) < epochs.stop:
            fit_stage(training, source, images, epochs)


def fit_stage(training: Training, source: Source, images: LabelledImages, epochs: range) -> None:
    """Train the network for the remaining epochs of a stage. images: the training images."""
    run, options, workers = training.run, training.options, training.machine.workers
    preprocessing = training.method.preprocessing(run.config)
    threads = threads_beside(training.machine.ctx)
    batches = training_batches(preprocessing, options, images, workers.part, threads)
    of_worker = range(len(source.evaluation))[workers.part(len(source.evaluation))]
    own = evaluation_batches(preprocessing, options, Subset(source.evaluation, of_worker), threads)
    says = (
        "stopping at the end of this step, with a checkpoint; send the signal again to stop at once"
    )

    def save(line: Dict[str, Any]) -> None:
        training.record({**line, **({"target": True} if source is training.target else {})})

    learner = loop.Learner(
        training.net,
        new_loss(options, images.counts),
        training.trainer,
        training.machine.ctx,
        workers,
    )
    schedule = loop.Schedule(
        range(max(len(run.metrics), epochs.start), epochs.stop),
        lambda epoch: learning_rate_at(options, epoch - epochs.start, len(epochs)),
        options.seed,
    )
    evaluation = loop.Evaluation(source.evaluated, own, run.classes)
    with Postponed(says if workers.first else None) as postponed:
        checkpoints = training.checkpoints(len(batches), postponed)
        loop.train(learner, batches, evaluation, schedule, save, checkpoints, training.progress)
    if postponed.signal is not None and workers.first:
        # the signal came after the last step, while the epoch was saved
        raise Interrupted(
            f"{NAMES[postponed.signal]} after epoch {len(run.metrics)}", postponed.signal
        )


def kept_images(training: Training, round_: int, select: Selection) -> Subset:
    """Return the training images that a round keeps: those that the run has recorded, or, the first
    time, a selection that is then recorded.
    """
    run, images = training.run, training.source.train
    name = f"kept_{round_}.json"
    if run.has(name):
        kept = checked_kept(read_json(run.verified(name)), len(images), run.folder / name)
    else:
        probabilities = training.predictor.of_files(images.paths, images.names)
        labels, seed = np.asarray(images.labels), training.options.seed + round_
        kept = select(probabilities, labels, seed).tolist()
        names = [images.names[index] for index in kept]
        training.write({name: json.dumps({"kept": kept, "names": names}) + "\n"})
    print(
        f"round {round_}: {len(kept)} of {len(images)} training images kept, see "
        f"{run.folder / name}",
        flush=True,
    )
    return Subset(images, kept)


def fit_support_vectors(training: Training, file_name: str) -> None:
    """Fit the support vector machine of a classifier to the training images, and save it.

    file_name: the name of its file in the run folder.
    """
    run, options, images = training.run, training.options, training.source.train
    classifier, start = training.predictor.classifier, time.time()
    assert isinstance(classifier, SupportVectorClassifier)  # the method's classifier
    batches = GluonBatches(images, classifier.transform, EVALUATION_BATCH)
    shown = progress_over(batches, "features", len(batches), "batches")
    features = np.concatenate([classifier.outputs(batch.asnumpy()) for batch, _ in shown])
    machine = support_vectors.fit(
        features,
        images.labels,
        options.svm_kernel,
        options.svm_c,
        None if options.svm_class_weight == "none" else options.svm_class_weight,
        options.seed,
    )
    classifier.machine = machine
    accuracy = float(np.mean(machine.scores(features).argmax(axis=1) == images.labels))
    training.write({file_name: lambda path: write_params(path, machine.arrays())})
    if not run.metrics:
        line = {"epoch": 1, "train_accuracy": accuracy, "seconds": time.time() - start}
        training.record(line)


def new_loss(options: TrainingOptions, counts: List[int]) -> gluon.HybridBlock:
    """Return the loss. counts: the number of training images of each class, from which the class
    weights follow.
    """
    if options.targets == "votes":
        loss = SoftCrossEntropyLoss()
    elif options.loss == "cross_entropy":
        loss = CrossEntropyLoss()
    else:
        loss = ClassImbalanceLoss(
            inverse_frequency_weights(counts),
            options.gamma,
            as_released=options.loss_form == "released",
        )
    loss.hybridize(static_alloc=True, static_shape=True)
    return loss
