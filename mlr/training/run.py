"""Trains one run: from resolved options to a finished run folder."""

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

import mxnet as mx
from mxnet import gluon

from mlr import paper
from mlr.data.drawn import DRAWN, data_folder
from mlr.data.joined import join, read_sets
from mlr.data.manifest import folds_of
from mlr.data.splits import (
    fingerprint,
    manifest_sha256,
    part_of_classes,
    read_training_splits,
    trainable,
)
from mlr.data.transforms import preprocessing
from mlr.data.walk import words_on
from mlr.errors import InputError
from mlr.inference.predictor import Predictor
from mlr.model.parameters import materialize
from mlr.options.option import in_words
from mlr.options.training import TrainingOptions
from mlr.runs.folder import Run
from mlr.runs.provenance import environment
from mlr.runs.schema import Refused
from mlr.runs.writing import RunWriter, refuse_unreadable, refused_anew
from mlr.training.batches import evaluation_batches, training_batches
from mlr.training.checkpoints import restore
from mlr.training.distributed import Workers
from mlr.training.metrics import classification_metrics
from mlr.training.optimizer import new_trainer
from mlr.training.session import Machine, Source, Training
from mlr.viz.figures import save_confusion, save_curves

if TYPE_CHECKING:
    from mlr.methods.method import Method

# values that are not a path, of options that may be paths
NO_FILES = ("grid", "zoo", "none", *DRAWN)


def train_run(
    out: Path,
    method: "Method",
    options: TrainingOptions,
    folders: Sequence[Path],
    machine: Machine,
) -> Optional[Dict[str, Any]]:
    """Train one system in a new run folder, or, if the folder exists, continue from its last
    checkpoint.

    options: those of config.json; a resumed run may have its target at another path. folders: the
    folder of each data set. Returns the evaluation at the end, or None in a worker that is not the
    first.

    Raises InputError for data, weights or a run that don't fit, and for a run that another process
    trains; RunError if the loss is NaN or infinite; Interrupted after a signal, with a checkpoint
    after the last finished step.
    """
    with ExitStack() as at_the_end:
        run = resumed_run(out, machine.workers)
        if isinstance(run, RunWriter):
            at_the_end.callback(run.unlock)
        training = prepared(out, method, with_whole_paths(options), folders, machine, run)
        if isinstance(training.run, RunWriter):
            if not run:
                at_the_end.callback(training.run.unlock)
            training.run.write_tensorboard(machine.tensorboard)
            announce(training, folders)
        method.fit(training)
        return finish(training) if machine.workers.first else None


def with_whole_paths(options: TrainingOptions) -> TrainingOptions:
    """Return the options with absolute paths, as a run is also used from other working
    directories.
    """
    whole: Dict[str, Any] = {}
    for name in ("proposals", "target", "pretrained"):
        text = getattr(options, name)
        if text and text not in NO_FILES:
            whole[name] = os.path.realpath(text)
    return replace(options, **whole)


def resumed_run(out: Path, workers: Workers) -> Optional[Run]:
    """Return the run in a folder, to continue it, or None if the folder does not exist.

    Of several workers the first one looks for the folder, and repairs it.
    """
    (there,) = workers.gather([float(workers.first and out.exists())])[0]
    if not there:
        return None
    run = RunWriter.resumed(out) if workers.first else None
    workers.barrier()
    return run or Run.open(out)


def prepared(
    out: Path,
    method: "Method",
    options: TrainingOptions,
    folders: Sequence[Path],
    machine: Machine,
    run: Optional[Run],
) -> Training:
    """Return a training that is ready to start, or to continue `run`. Everything that can be wrong
    with data, weights and options is found here, before a run folder is made.
    """
    if options.batch_size < len(machine.ctx):
        raise InputError(
            f"a batch of {options.batch_size} can't be split over {len(machine.ctx)} devices: "
            "give a larger --batch-size"
        )
    source, target, images = read_sources(options, folders, run)
    check_workers(machine.workers, method, options, images, source)
    classes = source.train.classes
    mx.random.seed(options.seed)
    net = new_network(method, method.network(options, len(classes)), machine.ctx)
    if run and run.begun:
        pretrained = run.config["pretrained"]
    else:
        pretrained = method.load_pretrained(net, options.pretrained)
        if run:
            refuse_other_weights(run, pretrained)
    config = (
        run.config if run else new_config(method, options, machine, images, pretrained, classes)
    )
    refuse_contradictions(method, config, classes, out)
    # The classifier may read a file of proposals: a wrong one must stop the training now, not after
    # hours.
    predictor = Predictor(method.classifier(net, config, machine.ctx), classes)
    predictor.classifier.refuse_without_proposals((target or source).evaluation.names)
    if not run and method.by_gradients:
        # This makes the pixel cache, so a cache folder that is not writable stops the training
        # before it has a run folder.
        preprocessed = method.preprocessing(config)
        training_batches(preprocessed, options, source.train)
        evaluation_batches(preprocessed, options, source.evaluation)
    resumed = run is not None
    run = run or new_run(out, config, classes, machine.workers)
    multipliers = new_layers(net, options, pretrained)
    trainer = trainer_of(net, options, multipliers, machine.workers)
    progress = restore(run, net, trainer) if resumed else None
    if resumed and isinstance(run, RunWriter):
        run.move(images)  # after all that can be refused
    return Training(method, options, run, machine, predictor, trainer, source, target, progress)


def refuse_other_weights(run: Run, pretrained: Dict[str, Any]) -> None:
    """Raise InputError if these pretrained weights are not those that a run was started with. A run
    that stopped before its first step reads them again.
    """
    before = run.config["pretrained"]
    if before.get("sha256") != pretrained.get("sha256"):
        raise InputError(
            f"the pretrained weights in {pretrained['source']} are not those that {run.folder} was "
            f"started with (their SHA-256 is {pretrained.get('sha256')}; that of "
            f"{before['source']} was {before.get('sha256')}): restore them, or start a new run"
        )


def refuse_contradictions(
    method: "Method", config: Dict[str, Any], classes: List[str], out: Path
) -> None:
    """Raise InputError if a run with this config and these classes could not be opened again."""
    refuse_unreadable(out, config, classes)
    try:
        method.check(config, classes, out / "config.json")
    except Refused as error:
        raise refused_anew(error) from None


def new_run(out: Path, config: Dict[str, Any], classes: List[str], workers: Workers) -> Run:
    """Return a new run. The first of several workers writes and locks it; the others only read its
    config.
    """
    if not workers.first:
        return Run(out, config, classes)
    run = RunWriter.create(out, config, classes)
    run.lock()
    return run


def read_sources(
    options: TrainingOptions, folders: Sequence[Path], run: Optional[Run]
) -> Tuple[Source, Optional[Source], Dict[str, Any]]:
    """Return the data to train on, the target to transfer to, and the description of both for
    config.json.

    Raises InputError if their classes differ, or if they are not the images of the run.
    """
    target_folder = data_folder(options.target) if options.target else None
    target_fold = options.fold if target_folder and folds_of(target_folder) else None
    in_folds, words = any(map(folds_of, folders)), in_words(folders)
    if run and bool(run.config["options"]["fold"]) != bool(in_folds or target_fold):
        raise InputError(
            f"the images in {words} are not those that {run.folder} was trained on, which were "
            f"{'' if options.fold else 'not '}split into folds: restore them, or start a new run"
        )
    fold = None if target_fold and not in_folds else options.fold
    if len(folders) == 1:
        whole = Source(*read_training_splits(folders[0], options.labels, fold, options.targets))
    else:
        whole = joined_source(options, folders, fold)
    train = part_of_classes(whole.train, options.train_part)
    source = replace(whole, splits={**whole.splits, "train": train})
    target, images = None, {"data": describe_data(folders, source)}
    if target_folder:
        target = Source(
            *read_training_splits(target_folder, options.labels, target_fold, options.targets)
        )
        if target.train.classes != source.train.classes:
            raise InputError(
                f"--target {options.target} has the classes {', '.join(target.train.classes)}, but "
                f"{words} has {', '.join(source.train.classes)}: both need the same"
            )
        images["target"] = describe(target_folder, target)
    for name, described in images.items():
        if run and run.config[name]["sha256"] != described["sha256"]:
            before = run.config[name]
            raise InputError(
                f"the images in {described['folder']} are not those that {run.folder} was trained "
                f"on (their SHA-256 is {described['sha256']}; that of the images in "
                f"{before['folder']} was {before['sha256']}): restore them, or start a new run"
            )
        if run and manifests(run.config[name]) != manifests(described):
            raise InputError(
                f"the manifest of {described['folder']} is not the one that {run.folder} was "
                "trained with, so labels or splits may differ: restore it, or start a new run"
            )
    return source, target, images


def joined_source(options: TrainingOptions, folders: Sequence[Path], fold: Optional[int]) -> Source:
    """Return several data sets joined. Raises InputError if one of them can't be trained on by
    itself, or if their classes differ.
    """
    sets = read_sets(folders, options.labels, fold)
    for folder, splits in zip(folders, sets):
        trainable(splits, folder, options.labels, options.targets)
    together = trainable(join(sets), in_words(folders), options.labels, options.targets)
    return Source(*together, sets)


def describe_data(folders: Sequence[Path], source: Source) -> Dict[str, Any]:
    """Return the description for config.json of a data set, or of several joined; then `sets`
    describes each.
    """
    if not source.sets:
        return describe(folders[0], source)
    sets = [
        describe(folder, Source(splits, source.evaluated))
        for folder, splits in zip(folders, source.sets)
    ]
    words = in_words([each["folder"] for each in sets])
    return {**describe(folders[0], source), "folder": words, "manifest": None, "sets": sets}


def manifests(described: Dict[str, Any]) -> List[Optional[str]]:
    """Return the SHA-256 of the manifests in a description of data. Only in image folders do the
    names of images contain the class; of prepared data the manifest tells whether labels changed.
    """
    return [each.get("manifest") for each in described.get("sets", [described])]


def describe(folder: Path, source: Source) -> Dict[str, Any]:
    """Return the description of a data set for config.json, after checking every image."""
    return {
        "folder": str(folder.resolve()),
        "sha256": fingerprint(source.splits),
        "manifest": manifest_sha256(folder),
        "splits": {name: fingerprint({name: split}) for name, split in source.splits.items()},
        "counts": {name: split.counts for name, split in source.splits.items()},
    }


def check_workers(
    workers: Workers,
    method: "Method",
    options: TrainingOptions,
    images: Dict[str, Any],
    source: Source,
) -> None:
    """Raise InputError if several workers can't train this, or if they have different images."""
    if workers.number == 1:
        return
    if not method.several_workers:
        raise InputError(
            f"--method {method.name} can't be trained by several workers, as it is not trained by "
            "gradients alone: leave out --kvstore"
        )
    batches = {"a batch": options.batch_size, "an evaluation": len(source.evaluation)}
    for what, number in batches.items():
        if number < workers.number:
            raise InputError(
                f"{what} of {number} images can't be split over {workers.number} workers: start "
                "fewer workers"
            )
    hashes = [
        digest
        for described in images.values()
        for digest in (described["sha256"], *manifests(described))
    ]
    digests = workers.gather([[int((digest or "0")[:6], 16) for digest in hashes]])
    other = [str(rank) for rank, digest in enumerate(digests) if (digest != digests[0]).any()]
    if other:
        raise InputError(
            f"the workers {', '.join(other)} have other images or labels than worker 0: give each "
            "of them the same data folder"
        )


def new_config(
    method: "Method",
    options: TrainingOptions,
    machine: Machine,
    images: Dict[str, Any],
    pretrained: Dict[str, Any],
    classes: List[str],
) -> Dict[str, Any]:
    """Return the config.json of a new run."""
    features = method.features(pretrained)
    return {
        "format": 2,
        "options": method.plain(options),
        "network": method.network(options, len(classes)),
        "preprocessing": preprocessing(options.image_size),
        **images,
        "pretrained": pretrained,
        **({"features": features} if features else {}),
        "contexts": [str(context) for context in machine.ctx],
        "workers": machine.workers.number,
        "gradient_compression": machine.workers.compression,
        **environment(),
    }


def new_network(
    method: "Method", description: Dict[str, Any], ctx: List[mx.Context]
) -> gluon.HybridBlock:
    """Return a new network on the contexts, initialized as in the released code and hybridized to a
    static graph.
    """
    net = method.build(description)
    materialize(net, ctx, mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def trainer_of(
    net: gluon.HybridBlock,
    options: TrainingOptions,
    multipliers: Dict[gluon.Parameter, float],
    workers: Optional[Workers] = None,
) -> gluon.Trainer:
    """Return the trainer that the options describe. multipliers: {parameter: multiplier of its
    learning rate}.
    """
    arguments = {"learning_rate": options.learning_rate, "wd": options.weight_decay}
    if options.optimizer == "sgd":
        arguments["momentum"] = paper.MOMENTUM
    return new_trainer(net, options.optimizer, arguments, multipliers, workers)


def new_layers(
    net: gluon.HybridBlock, options: TrainingOptions, pretrained: Dict[str, Any]
) -> Dict[gluon.Parameter, float]:
    """Return {parameter: multiplier of its learning rate} for the parameters without pretrained
    weights.
    """
    if options.new_layers_rate == 1 or pretrained["source"] == "none":
        return {}
    backbone = getattr(net, "backbone", net)
    loaded = {parameter.name for parameter in backbone.structural_parameters.values()}
    return {
        parameter: options.new_layers_rate
        for parameter in net.collect_params().values()
        if parameter.name not in loaded
    }


def announce(training: Training, folders: Sequence[Path]) -> None:
    """Print the data, options and devices of a training, before it starts."""
    source, run = training.source, training.run
    evaluated = {"valid": "validation", "test": "test"}[source.evaluated]
    print(
        f"{len(source.train)} training and {len(source.evaluation)} {evaluated} images of "
        f"{len(run.classes)} classes from {in_words(folders)}"
    )
    for each in (source, training.target):
        left_out = [
            row for split in (each.splits if each else {}).values() for row in split.left_out
        ]
        if left_out:
            print(words_on(left_out))
    if source.evaluated == "test":
        print(
            "there is no split valid, so the accuracy after each epoch is that on test, and no "
            "best epoch is kept"
        )
    options = ", ".join(
        f"{name} {in_words(value)}" for name, value in run.config["options"].items()
    )
    print(f"options: {options}")
    devices = ", ".join(str(context) for context in training.machine.ctx)
    print(f"training on {devices}, run folder {run.folder}", flush=True)


def finish(training: Training) -> Dict[str, Any]:
    """Draw the curves and the confusion matrix of a finished training; return its evaluation."""
    run, source = training.run, training.target or training.source
    if "loss" in run.metrics[0]:
        save_curves(run.metrics, run.folder / "curves.png")
    split = source.evaluation
    probabilities = training.predictor.of_files(split.paths, split.names)
    result = classification_metrics(split.labels, probabilities.argmax(axis=1), run.classes)
    title = f"{source.evaluated}, {result['images']} images"
    save_confusion(result, run.classes, title, run.folder / "confusion.png")
    figures = [run.folder / name for name in ("curves.png", "confusion.png")]
    print(
        f"{source.evaluated}: accuracy {result['accuracy']:.3f}, balanced accuracy "
        f"{result['balanced_accuracy']:.3f}; see "
        f"{' and '.join(str(path) for path in figures if path.exists())}"
    )
    for name, each in source.apart:
        apart = training.predictor.of_files(each.paths, each.names).argmax(axis=1)
        measured = classification_metrics(each.labels, apart, run.classes)
        print(
            f"{name} of {each.source}: accuracy {measured['accuracy']:.3f}, balanced accuracy "
            f"{measured['balanced_accuracy']:.3f} on {measured['images']} images"
        )
    described = run.config["target" if training.target else "data"]
    return {
        "split": source.evaluated,
        "folder": described["folder"],
        "sha256": fingerprint({source.evaluated: source.evaluation}),
        "manifest": described["manifest"],
        "fold": training.options.fold,
        "parameters": "last",
        "files": run.files_of("last"),
        **result,
    }
