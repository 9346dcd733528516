"""One training: from resolved options to a finished run folder."""

import json
import time
from contextlib import ExitStack
from pathlib import Path

import mxnet as mx
import numpy as np

from mlr import augmentation, engine, paper
from mlr.checkpoint import Follower, Run, environment, preprocessing, refuse_unreadable
from mlr.data.drawn import DRAWN, data_folder
from mlr.data.labelled import Subset
from mlr.data.loader import CachedBatches, GluonBatches
from mlr.data.manifest import folds_of
from mlr.data.pixels import CachedImages
from mlr.data.splits import fingerprint, manifest_sha256, read_training_splits
from mlr.data.walk import words_on
from mlr.errors import InputError, Interrupted
from mlr.figures import save_confusion, save_curves
from mlr.interruption import NAMES, Postponed
from mlr.json_file import read_json
from mlr.loss import ClassImbalanceLoss, CrossEntropyLoss, inverse_frequency_weights
from mlr.metrics import classification_metrics
from mlr.params_file import write_params
from mlr.prediction import SVM, Predictor, evaluation_transform, training_transform
from mlr.presets import BY_GRADIENTS, Preset
from mlr.rows import pcnn, support_vectors
from mlr.rows.deepsentibank import CaffeNet, caffe_resize, load_caffe_weights
from mlr.rows.networks import CAFFENETS, network_options, new_network
from mlr.run_config import checked_kept
from mlr.transforms import training_resize
from mlr.weights import load_pretrained, materialize
from mlr.workers import Workers

EVALUATION_BATCH = 64


def train_run(out, resolved, folder, ctx, tensorboard=False, checkpoint_every=None, workers=None):
    """Train one system, in a new run folder or, where there is one, from its last checkpoint on; return the metrics at the end.

    resolved: the options as in config.json; of a run that goes on the target may be where it is now. folder: of the data. tensorboard: write the metrics for TensorBoard, too.
    checkpoint_every: steps between checkpoints within an epoch, None for none. workers: the `mlr.workers.Workers` of which this is one;
    the first writes, and the others return None.
    Raises InputError for data, weights or a run that don't fit, or a run that another process trains; RunError where the loss is no
    longer a number; Interrupted after SIGINT or SIGTERM, with a checkpoint at the step that was finished.
    """
    with ExitStack() as at_the_end:
        return _train_run(at_the_end, out, resolved, folder, ctx, tensorboard, checkpoint_every, workers or Workers())


def _train_run(at_the_end, out, resolved, folder, ctx, tensorboard, checkpoint_every, workers):
    run = resumed_run(out, workers)
    if run:
        at_the_end.callback(run.unlock)
    resolved = {**resolved, **{name: str(Path(resolved[name]).resolve()) for name in ("proposals", "target")
                               if resolved.get(name) and resolved[name] not in ("grid", *DRAWN)}}  # a run is also used from other folders
    preset = Preset.of_run(resolved)
    if preset.batch_size < len(ctx):
        raise InputError("a batch of %d can't be split over %d devices: give a larger --batch-size" % (preset.batch_size, len(ctx)))
    target_folder = data_folder(preset.target) if preset.target else None
    target_fold = resolved["fold"] if target_folder and folds_of(target_folder) else None
    if run and bool(run.config["options"]["fold"]) != bool(folds_of(folder) or target_fold):
        raise InputError(
            f"the images in {folder} are not those that {out} was trained on, which were "
            f"{'' if resolved['fold'] else 'not '}in folds: restore them, or start a new run")
    splits, evaluated = read_training_splits(folder, resolved["labels"], None if target_fold and not folds_of(folder) else resolved["fold"])
    classes = splits["train"].classes
    images, target = {"data": describe(folder, splits)}, None
    if target_folder:
        target = read_training_splits(target_folder, resolved["labels"], target_fold)
        if target[0]["train"].classes != classes:
            raise InputError("--target %s has the classes %s, but %s has %s: both need the same" % (
                preset.target, ", ".join(target[0]["train"].classes), folder, ", ".join(classes)))
        images["target"] = describe(target_folder, target[0])
    for name, described in images.items():
        if run and run.config[name]["sha256"] != described["sha256"]:
            before = run.config[name]
            raise InputError(
                f"the images in {described['folder']} are not those that {out} was trained on "
                f"(SHA-256 {described['sha256']}, and {before['sha256']} of those that were in "
                f"{before['folder']}): restore them, or start a new run")

    check_workers(workers, preset, images, splits[evaluated])
    if run:
        run.move(images)

    mx.random.seed(resolved["seed"])
    network = network_options(preset, len(classes))
    net = build_network(network, ctx)
    pretrained = run.config["pretrained"] if run and run.begun else load_weights(net, preset.pretrained)
    config = run.config if run else {
        "options": resolved, "network": network, "preprocessing": preprocessing(preset.image_size), **images, "pretrained": pretrained,
        **({"features": "fc8" if pretrained.get("classifier") else "fc7"} if preset.row == "deepsentibank" else {}),
        "contexts": [str(context) for context in ctx], "workers": workers.number, **environment(),
    }
    refuse_unreadable(out, config, classes)
    predictor = Predictor(net, classes, config, ctx)  # it reads AR's proposals, which may be wrong: better before than after hours
    if not run and preset.row in BY_GRADIENTS:  # here the pixel cache is made: it may find no room, and a run folder keeps its pipeline
        training_batches(config, preset, splits["train"])
        evaluation_batches(config, preset, splits[evaluated])
    resumed = run is not None
    if not resumed:
        run = (Run if workers.first else Follower).create(out, config, classes)
        run.lock()
        at_the_end.callback(run.unlock)
    trainer = engine.new_trainer(net, preset.optimizer, optimizer_options(preset), new_layers(net, preset, run.config["pretrained"]), workers)
    progress = run.restore(net, trainer) if resumed else None
    run.write_events(tensorboard)
    if workers.first:
        announce(splits, evaluated, target, classes, folder, resolved, ctx, out)

    if preset.row == "deepsentibank":
        train_support_vectors(run, preset, predictor, trainer, splits)
    else:
        train_network(run, preset, predictor, trainer, splits, evaluated, target, progress, checkpoint_every, workers)
    if not workers.first:
        return None

    if "loss" in run.metrics[0]:
        save_curves(run.metrics, out / "curves.png")
    if target:
        splits, evaluated = target
    split = splits[evaluated]
    probabilities = predictor.of_files(split.paths, split.names)
    result = classification_metrics(split.labels, probabilities.argmax(axis=1), classes)
    save_confusion(result, classes, "%s, %d images" % (evaluated, result["images"]), out / "confusion.png")
    print("%s: accuracy %.3f, balanced accuracy %.3f; see %s" % (
        evaluated, result["accuracy"], result["balanced_accuracy"], " and ".join(
            str(out / name) for name in ("curves.png", "confusion.png") if (out / name).exists())))
    sha256 = images["target" if target else "data"]["splits"][evaluated]
    return {"split": evaluated, "fold": resolved["fold"], "sha256": sha256, "parameters": "last",
            "files": run.files_of("last"), **result}


def resumed_run(out, workers):
    """Return the run in a folder, to go on with, or None where there is no folder. The first of several workers looks and repairs."""
    there, = workers.gather([float(workers.first and out.exists())])[0]
    if not there:
        return None
    run = Run.resumed(out) if workers.first else None
    workers.barrier()
    return run or Follower.open(out)


def check_workers(workers, preset, images, evaluated):
    """Raise InputError where several workers can't train this, or see other images."""
    if workers.number == 1:
        return
    if preset.row in ("pcnn", "deepsentibank"):
        raise InputError("--row %s can't be trained by several workers: it is not trained by gradients alone" % preset.row)
    for what, number in (("a batch", preset.batch_size), ("an evaluation", len(evaluated))):
        if number < workers.number:
            raise InputError("%s of %d images can't be split over %d workers: take fewer" % (what, number, workers.number))
    digests = workers.gather([[int(described["sha256"][:6], 16) for described in images.values()]])
    if any((digest != digests[0]).any() for digest in digests):
        raise InputError("the workers %s have other images than worker 0: each needs the same data folder" % ", ".join(
            str(rank) for rank, digest in enumerate(digests) if (digest != digests[0]).any()))


def describe(folder, splits):
    """Return what config.json says of a data set, having checked every image."""
    return {
        "folder": str(folder.resolve()), "sha256": fingerprint(splits), "manifest": manifest_sha256(folder),
        "splits": {name: fingerprint({name: split}) for name, split in splits.items()},
        "counts": {name: split.counts for name, split in splits.items()},
    }


def announce(splits, evaluated, target, classes, folder, resolved, ctx, out):
    """Print what is about to be trained."""
    print("%d training and %d %s images of %d classes from %s" % (
        len(splits["train"]), len(splits[evaluated]), {"valid": "validation", "test": "test"}[evaluated], len(classes), folder))
    for read in (splits, target[0] if target else {}):
        left_out = [row for split in read.values() for row in split.left_out]
        if left_out:
            print(words_on(left_out))
    if evaluated == "test":
        print("there is no split valid, so the accuracy after each epoch is of test, and no best epoch is kept")
    print("options: %s" % ", ".join("%s %s" % item for item in resolved.items()))
    print("training on %s, run folder %s" % (", ".join(str(context) for context in ctx), out), flush=True)


def train_network(run, preset, predictor, trainer, splits, evaluated, target, progress, checkpoint_every, workers):
    """Train a predictor's network by gradient descent, for PCNN in its stages. progress: where to go on within an epoch, or None."""
    net, source, train_split, stages = predictor.net, splits, splits["train"], preset.stages()
    for number, epochs in enumerate(stages):
        if target and number == len(stages) - 1:
            splits, evaluated = target
            train_split = splits["train"]
        elif number:
            train_split = kept_images(run, number, predictor, splits["train"])
        if len(run.metrics) >= epochs.stop:
            continue
        batches = training_batches(run.config, preset, train_split, workers.part)
        own = Subset(splits[evaluated], range(len(splits[evaluated]))[workers.part(len(splits[evaluated]))])
        with Postponed("stopping at the end of this step, with a checkpoint; once more, and it stops at once" if workers.first else None) as postponed:
            engine.train(
                batches, (evaluated, evaluation_batches(run.config, preset, own)), net, build_loss(preset, train_split.counts), trainer,
                predictor.ctx, range(max(len(run.metrics), epochs.start), epochs.stop),
                lambda epoch: preset.learning_rate_at(epoch - epochs.start, len(epochs)), run.classes, run.config["options"]["seed"],
                lambda line: run.save_epoch(net, trainer, {**line, "target": True} if splits is not source else line),
                Checkpoints(run, net, trainer, len(batches), checkpoint_every, postponed) if workers.first else None, progress, workers)
        if postponed.signal is not None and workers.first:  # it came after the last step, while the epoch was saved
            raise Interrupted("%s after epoch %d" % (NAMES[postponed.signal], len(run.metrics)), postponed.signal)


class Checkpoints:
    """Those within an epoch: every `every` steps, if that is not None, and when a signal was postponed."""

    def __init__(self, run, net, trainer, steps, every, postponed):
        self._state, self._save, self._steps, self._every, self._postponed = (net, trainer), run.save_step, steps, every, postponed

    @property
    def stopping(self):
        return self._postponed.signal is not None

    def due(self, step):
        """Tell whether to save after a step, by the number of steps that are done in its epoch."""
        return self.stopping or self._every and step % self._every == 0

    def save_step(self, progress):
        """Save the state within an epoch. Raises Interrupted where a signal asked for it."""
        self._save(*self._state, progress)
        if self.stopping:
            raise Interrupted("%s in epoch %d, after step %d of %d, and saved" % (
                NAMES[self._postponed.signal], progress.epoch + 1, progress.step, self._steps), self._postponed.signal)


def training_batches(config, preset, split, part=None):
    """Return the batches of a training set, in a new order for each pass, by the preset's pipeline. part: as in `mlr.data.loader.Batches`."""
    size = config["preprocessing"]["image_size"]
    return _batches(preset, split, size, training_transform(config, preset.augmentation), training_resize(size),
                    augmentation.Augmentation(size, preset.augmentation), preset.batch_size, True, part)


def evaluation_batches(config, preset, split):
    """Return the batches of a split to look at after each epoch, by the preset's pipeline."""
    size = config["preprocessing"]["image_size"]
    return _batches(preset, split, size, evaluation_transform(config), size, augmentation.evaluation, EVALUATION_BATCH)


def _batches(preset, split, size, transform, resize, finish, batch_size, *order_and_part):
    """transform: gluon's whole preset. resize, finish: what it begins with, the edge of a square, and the rest of it."""
    if preset.pipeline == "released":
        return GluonBatches(split, transform, batch_size, *order_and_part)
    if preset.backbone in CAFFENETS:  # Caffe's own preset, whose resize has nothing left to do
        return GluonBatches(CachedImages(split, caffe_resize(size)), transform, batch_size, *order_and_part)
    return CachedBatches(CachedImages(split, resize), finish, size, batch_size, *order_and_part)


def kept_images(run, round_, predictor, train_split):
    """Return the images that PCNN's round keeps of the training set, as the run recorded it or, the first time, drawn and recorded."""
    name = "kept_%d.json" % round_
    if run.has(name):
        kept = checked_kept(read_json(run.verified(name)), len(train_split), run.folder / name)
    else:
        probabilities = predictor.of_files(train_split.paths, train_split.names)
        seed = run.config["options"]["seed"] + round_  # NumPy's highest is one less
        kept = pcnn.select(probabilities, train_split.labels, seed).tolist()
        run.save_files({name: json.dumps({"kept": kept, "names": [train_split.names[index] for index in kept]}) + "\n"})
    print("round %d: %d of %d training images kept, see %s" % (round_, len(kept), len(train_split), run.folder / name), flush=True)
    return Subset(train_split, kept)


def train_support_vectors(run, preset, predictor, trainer, splits):
    """Fit the SVM of DeepSentiBank to the features of the training images."""
    if run.config["features"] == "fc7":
        print("without the 2,089 concepts' weights the features are those of fc7, a stand-in for DeepSentiBank's", flush=True)
    start, train_split = time.time(), splits["train"]
    features = np.concatenate([
        predictor.features(images) for images, _ in GluonBatches(train_split, predictor.transform, EVALUATION_BATCH)])
    predictor.machine = machine = support_vectors.fit(
        features, train_split.labels, preset.svm_kernel, preset.svm_c, None if preset.svm_class_weight == "none" else preset.svm_class_weight,
        run.config["options"]["seed"])
    accuracy = float(np.mean(machine.scores(features).argmax(axis=1) == train_split.labels))
    run.save_files({SVM: lambda path: write_params(path, machine.arrays())})
    if not run.metrics:
        run.save_epoch(predictor.net, trainer, {"epoch": 1, "train_accuracy": accuracy, "seconds": time.time() - start})


def build_network(network, ctx):
    """Return a new network on the contexts, initialized as in the released code and made a static graph."""
    net = new_network(network)
    materialize(net, ctx, mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def load_weights(net, source):
    """Put pretrained weights into what of a network can take them; return a record of what was loaded."""
    if not isinstance(net, CaffeNet):
        return load_pretrained(getattr(net, "backbone", net), source)
    if source == "zoo":
        raise InputError("the Gluon zoo has no CaffeNet: give --pretrained FILE, of DeepSentiBank (.npz) or of ImageNet (.onnx), or none")
    return {"source": "none"} if source == "none" else load_caffe_weights(net, source)


def new_layers(net, preset, pretrained):
    """Return the parameters that learn at another rate, {Parameter: factor}: those that have no pretrained weights."""
    if preset.new_layers_rate == 1 or pretrained["source"] == "none":
        return {}
    loaded = {parameter.name for parameter in getattr(net, "backbone", net).structural_parameters.values()}
    return {parameter: preset.new_layers_rate for parameter in net.collect_params().values() if parameter.name not in loaded}


def optimizer_options(preset):
    """Return the arguments of the preset's MXNet optimizer."""
    momentum = {"momentum": paper.MOMENTUM} if preset.optimizer == "sgd" else {}
    return {"learning_rate": preset.learning_rate, "wd": preset.weight_decay, **momentum}


def build_loss(preset, counts):
    """Return the preset's loss; the class weights follow from the training images per class."""
    if preset.loss == "cross_entropy":
        loss = CrossEntropyLoss()
    else:
        loss = ClassImbalanceLoss(inverse_frequency_weights(counts), preset.gamma, as_released=preset.loss_form == "released")
    loss.hybridize(static_alloc=True, static_shape=True)
    return loss
