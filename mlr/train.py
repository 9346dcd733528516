"""python -m mlr.train: train the multi-level network on a data folder or on the demo data."""

import sys
from dataclasses import asdict, fields, replace
from datetime import datetime
from pathlib import Path

from mlr import command, paper
from mlr.errors import InputError
from mlr.folds import save_folds
from mlr.installation import require_mxnet
from mlr.presets import DEMO, RELEASED, Preset

EVALUATION_BATCH = 64

PRESET_OPTIONS = {
    "backbone": dict(choices=(*paper.BACKBONES, paper.SLIM_BACKBONE), help="network of the Gluon zoo, or ResNet-18 with fewer channels"),
    "pretrained": dict(metavar="zoo|FILE|none", help="ImageNet weights of the backbone; FILE: .params or .onnx"),
    "taps": dict(choices=("released", "by-width"),
                 help="maps under the shallow branches: stem, pool, stage 1; or stem, stage 1, stage 2"),
    "style_width": dict(type=command.number(int, 1), metavar="N", help="width of the shallow representation"),
    "image_size": dict(type=command.number(int, 64), metavar="PX", help="side of the square that the network sees"),
    "augmentation": dict(choices=("released", "gentle"),
                         help="crops of 8 to 100 %% of the area and jitter 0.4; or 75 to 100 %% and 0.1"),
    "loss": dict(choices=("class_imbalance", "cross_entropy"), help="loss"),
    "loss_form": dict(choices=("released", "written"),
                      help="class imbalance with softmax twice, as released, or as its comment says"),
    "gamma": dict(type=command.number(float, 0), metavar="G", help="focusing exponent of the class imbalance loss"),
    "batch_size": dict(type=command.number(int, 1), metavar="N", help="images a step, over all devices"),
    "epochs": dict(type=command.number(int, 1), metavar="N", help="passes over the training images"),
    "optimizer": dict(choices=("sgd", "adam"), help="SGD with momentum 0.9, or Adam; both with weight decay 1e-4 on all parameters"),
    "learning_rate": dict(type=command.number(float, 0, above=True), metavar="LR", help="learning rate"),
    "schedule": dict(choices=("step", "cosine"),
                     help="halve at epochs 10, 20, 30, 40, 50; or an epoch of warm-up, then down to 0"),
}


def parser():
    parser = command.Parser("train", __doc__)
    parser.add_argument("--data", metavar="DIR|demo",
                        help="folder with {train,valid,test}/<class>/<image>, or one that mlr prepare wrote (default: demo, drawn into data/demo)")
    command.add_context(parser)
    parser.add_argument("--out", metavar="DIR", help="run folder, must not exist yet (default: runs/<data>-<date>-<time>)")
    parser.add_argument("--labels", choices=("emotion", "sentiment"),
                        help="the class folders, or negative and positive, to which emotions are mapped (default: emotion)")
    command.add_folds(parser)
    parser.add_argument("--seed", type=command.number(int, 0), metavar="N",
                        help="of initial parameters, order, augmentation and dropout (default: 0)")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out with its own options")
    for field in fields(Preset):
        described = dict(PRESET_OPTIONS[field.name])
        defaults = "(default: %s; demo: %s)" % (getattr(RELEASED, field.name), getattr(DEMO, field.name))
        described["help"] += " " + defaults
        parser.add_argument("--" + field.name.replace("_", "-"), **described)
    return parser


def resolve(options):
    """Return the options of a new run, as they go into its config.json: what was given, over the preset of the data."""
    data = options.data or "demo"
    given = {field.name: getattr(options, field.name) for field in fields(Preset) if getattr(options, field.name) is not None}
    preset = replace(DEMO if data == "demo" else RELEASED, **given)
    return {"data": data, "labels": options.labels or "emotion", "fold": options.fold, "seed": options.seed or 0, **asdict(preset)}


def train(options):
    given = [name for name, value in vars(options).items() if value is not None and name not in ("out", "resume", "ctx")]
    if options.resume and given:
        raise InputError("a resumed run keeps its own options: leave out --%s" % ", --".join(given).replace("_", "-"))
    if options.resume and not options.out:
        raise InputError("--resume needs --out, the run folder to continue")
    require_mxnet()
    from mlr.checkpoint import Run, fold_folder, refuse_existing
    from mlr.context import parse_context
    from mlr.data.demo import data_folder
    from mlr.data.manifest import folds_of

    ctx = parse_context(options.ctx)
    if options.resume:
        out = Path(options.out)
        in_folds = fold_folder(out, 1).exists()
        config = Run.open(fold_folder(out, 1) if in_folds else out).config
        resolved, folder = config["options"], Path(config["data"]["folder"])
    else:
        out = Path(options.out or "runs/%s-%s" % (Path(options.data or "demo").name, datetime.now().strftime("%Y%m%d-%H%M%S")))
        refuse_existing(out)
        in_folds, resolved = options.folds is not None, resolve(options)
        folder = data_folder(resolved["data"])
    if not in_folds:
        train_run(out, resolved, folder, ctx)
        return
    folds = folds_of(folder)
    if not folds:
        raise InputError("%s is not in folds: leave out --folds" % folder)
    save_folds([train_run(fold_folder(out, fold), {**resolved, "fold": fold}, folder, ctx) for fold in folds], out)


def train_run(out, resolved, folder, ctx):
    """Train one network, in a new run folder or, where there is one, from its last epoch on; return the metrics at the end."""
    import mxnet as mx

    from mlr import engine, transforms
    from mlr.checkpoint import Run, environment, preprocessing
    from mlr.data.loader import batches
    from mlr.data.splits import fingerprint, manifest_sha256, read_training_splits
    from mlr.figures import save_confusion, save_curves
    from mlr.metrics import classification_metrics
    from mlr.weights import load_pretrained

    run = Run.open(out) if out.exists() else None
    preset = Preset(**{field.name: resolved[field.name] for field in fields(Preset)})
    if preset.batch_size < len(ctx):
        raise InputError("a batch of %d can't be split over %d devices: give a larger --batch-size" % (preset.batch_size, len(ctx)))
    splits, evaluated = read_training_splits(folder, resolved["labels"], resolved["fold"])
    data = {
        "folder": str(folder.resolve()), "sha256": fingerprint(splits), "manifest": manifest_sha256(folder),
        "counts": {name: split.counts for name, split in splits.items()},
    }
    train_split, evaluation_split = splits["train"], splits[evaluated]
    classes = train_split.classes

    mx.random.seed(resolved["seed"])
    network = network_options(preset, classes)
    net = build_network(network, ctx)
    loss = build_loss(preset, train_split.counts)
    trainer = engine.new_trainer(net, preset.optimizer, optimizer_options(preset))

    if run and run.config["data"]["sha256"] != data["sha256"]:
        raise InputError("the images in %s are not those that %s was trained on: restore them, or start a new run" % (folder, out))
    if run and run.metrics:
        run.restore(net, trainer)
    else:
        pretrained = load_pretrained(net.backbone, preset.pretrained)
    if not run:
        run = Run.create(out, {
            "options": resolved, "network": network, "preprocessing": preprocessing(preset.image_size), "data": data,
            "pretrained": pretrained, "contexts": [str(context) for context in ctx], **environment(),
        }, classes)
    left_out = sum(len(split.left_out) for split in splits.values())
    print("%d training and %d %s images of %d classes from %s%s" % (
        len(train_split), len(evaluation_split), {"valid": "validation", "test": "test"}[evaluated], len(classes), folder,
        ", %d files that are no images left out" % left_out if left_out else ""))
    if evaluated == "test":
        print("there is no split valid, so the accuracy after each epoch is of test, and no best epoch is kept")
    print("options: %s" % ", ".join("%s %s" % item for item in resolved.items()))
    print("training on %s, run folder %s" % (", ".join(str(context) for context in ctx), out), flush=True)

    train_batches = batches(
        train_split, transforms.training_transform(preset.image_size, preset.augmentation), preset.batch_size, shuffle=True)
    evaluation_batches = batches(evaluation_split, transforms.evaluation_transform(preset.image_size), EVALUATION_BATCH)
    engine.train(
        train_batches, (evaluated, evaluation_batches), net, loss, trainer, ctx, range(len(run.metrics), preset.epochs),
        preset.learning_rate_at, classes, resolved["seed"], after_epoch=lambda line: run.save_epoch(net, trainer, line))

    save_curves(run.metrics, out / "curves.png")
    logits, labels = engine.predict(net, evaluation_batches, ctx)
    result = classification_metrics(labels, logits.argmax(axis=1), classes)
    save_confusion(result, classes, "%s, %d images" % (evaluated, result["images"]), out / "confusion.png")
    print("%s: accuracy %.3f, balanced accuracy %.3f; see %s and %s" % (
        evaluated, result["accuracy"], result["balanced_accuracy"], out / "curves.png", out / "confusion.png"))
    return result


def network_options(preset, classes):
    """Return the arguments of MultiLevelNet, as they go into config.json."""
    return {
        "classes": len(classes), "backbone": preset.backbone, "style_width": preset.style_width,
        "taps": paper.TAPS if preset.taps == "released" else paper.TAPS_BY_WIDTH,
    }


def optimizer_options(preset):
    """Return the arguments of the preset's MXNet optimizer."""
    momentum = {"momentum": paper.MOMENTUM} if preset.optimizer == "sgd" else {}
    return {"learning_rate": preset.learning_rate, "wd": paper.WEIGHT_DECAY, **momentum}


def build_network(network, ctx):
    """Return a new network on the contexts, initialized as in the released code and made a static graph."""
    import mxnet as mx

    from mlr.model.network import MultiLevelNet
    from mlr.weights import materialize

    net = MultiLevelNet(**network)
    materialize(net, ctx, mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def build_loss(preset, counts):
    """Return the preset's loss; the class weights follow from the training images per class."""
    from mlr.loss import ClassImbalanceLoss, CrossEntropyLoss, inverse_frequency_weights

    if preset.loss == "cross_entropy":
        loss = CrossEntropyLoss()
    else:
        loss = ClassImbalanceLoss(inverse_frequency_weights(counts), preset.gamma, as_released=preset.loss_form == "released")
    loss.hybridize(static_alloc=True, static_shape=True)
    return loss


def main(argv=None):
    return command.run(parser(), train, argv)


if __name__ == "__main__":
    sys.exit(main())
