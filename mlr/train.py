"""python -m mlr.train: train the multi-level network, or another system of the results table, on a data folder or on the demo data."""

import os
import shlex
import sys
import traceback
from dataclasses import fields, replace
from datetime import datetime
from pathlib import Path

from mlr import command, paper
from mlr.command import DRAWN
from mlr.errors import InputError, Interrupted
from mlr.events import require_tensorboard
from mlr.folds import save_folds
from mlr.installation import require_mxnet
from mlr.interruption import leave
from mlr.presets import BACKBONES, BOUNDS, BY_GRADIENTS, DEMO, RELEASED, ROWS, Preset, rows_of
from mlr.workers import KINDS, Workers, in_a_job, serve

MOVED = ("data", "target")  # what a resumed run may find in another folder than before
OF_THE_MACHINE = ("out", "resume", "ctx", "tensorboard", "cuda_graphs", "checkpoint_every", "kvstore")  # no options of the run
CUDA_GRAPHS = "MXNET_ENABLE_CUDA_GRAPHS"
WITH_CUDA_GRAPHS = 1, 8

PRESET_OPTIONS = {
    "row": dict(choices=ROWS, help="; ".join("%s: %s" % (row, title) for row, (title, _) in paper.ROWS.items()) + (
        "; shallow: the shallow branches of L_cil alone")),
    "backbone": dict(choices=sorted({name for names in BACKBONES.values() for name in names}), metavar="NAME", help=(
        "network; slim ones have fewer channels; " + "; ".join("%s: %s" % (row, ", ".join(names)) for row, names in BACKBONES.items()))),
    "pretrained": dict(metavar="zoo|FILE|none", help="ImageNet weights of the backbone; FILE: .params, also a run's, or .onnx; .npz for a CaffeNet"),
    "taps": dict(choices=("released", "by-width", *paper.TAPS),
                 help="maps under the shallow branches: stem, pool, stage1; or stem, stage1, stage2; or one alone"),
    "fusion": dict(choices=("concat", "add", "multiply"), help="of deep and shallow representation; add and multiply need equal widths"),
    "style_width": dict(type=command.number(int, *BOUNDS["style_width"]), metavar="N", help="width of the shallow representation"),
    "gram_scale": dict(type=command.number(float, 0, above=True), metavar="F", help="factor on the Gram matrices"),
    "image_size": dict(type=command.number(int, *BOUNDS["image_size"]), metavar="PX", help="side of the square that the network sees"),
    "augmentation": dict(choices=("released", "gentle", "crop"), help=(
        "crops of 8 to 100 %% of the area and jitter 0.4; or 75 to 100 %% and 0.1; or a square anywhere, as Caffe does")),
    "pipeline": dict(choices=("cached", "released"), help=(
        "decode each image once, into ~/.cache/mlr or $MLR_CACHE, or in every epoch, in gluon's own chain")),
    "loss": dict(choices=("class_imbalance", "cross_entropy"), help="loss"),
    "loss_form": dict(choices=("released", "written"),
                      help="class imbalance with softmax twice, as released, or as its comment says"),
    "gamma": dict(type=command.number(float, 0), metavar="G", help="focusing exponent of the class imbalance loss"),
    "batch_size": dict(type=command.number(int, *BOUNDS["batch_size"]), metavar="N", help="images a step, over all devices"),
    "epochs": dict(type=command.number(int, *BOUNDS["epochs"]), metavar="N", help="passes over the training images; pcnn: before its first selection"),
    "optimizer": dict(choices=("sgd", "adam"), help="SGD with momentum 0.9, or Adam"),
    "learning_rate": dict(type=command.number(float, 0, above=True), metavar="LR", help="learning rate"),
    "new_layers_rate": dict(type=command.number(float, 0, above=True), metavar="F", help="times the learning rate, for layers without pretrained weights"),
    "weight_decay": dict(type=command.number(float, 0), metavar="W", help="on all parameters"),
    "schedule": dict(choices=("step", "step-ar", "cosine"), help=(
        "halve at epochs 10, 20, 30, 40, 50; or a tenth every 7 epochs; or an epoch of warm-up, then down to 0")),
    "rounds": dict(type=command.number(int, *BOUNDS["rounds"]), metavar="N", help="of selection and fine-tuning"),
    "target": dict(metavar="DIR", help="data of the same classes to transfer to, and to evaluate on, at the end"),
    "proposals": dict(metavar="grid|FILE", help=(
        "regions: the package's own; boxes with scores in FILE.npz or .mat; or the model file of OpenCV's edge boxes")),
    "svm_kernel": dict(choices=("linear", "rbf"), help="kernel"),
    "svm_c": dict(type=command.number(float, 0, above=True), metavar="C", help="penalty C"),
    "svm_class_weight": dict(choices=("balanced", "none"), help="weight classes against imbalance, or not"),
}


def parser():
    parser = command.Parser("train", __doc__)
    parser.add_argument("--data", metavar="DIR|demo", help=(
        "folder with {train,valid,test}/<class>/<image>, or one that mlr prepare wrote (default: demo, drawn into data/demo); with --resume, "
        "where the same images are now"))
    command.add_context(parser)
    parser.add_argument("--out", metavar="DIR", help="run folder, must not exist yet (default: runs/<data>-<date>-<time>)")
    parser.add_argument("--labels", choices=("emotion", "sentiment"),
                        help="the class folders, or negative and positive, to which emotions are mapped (default: emotion)")
    command.add_folds(parser)
    parser.add_argument("--seed", type=command.number(int, *BOUNDS["seed"]), metavar="N",
                        help="of initial parameters, order, augmentation and dropout (default: 0)")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out with its own options")
    parser.add_argument("--kvstore", choices=KINDS, help=(
        "train with the other workers of a job, by MXNet's parameter server: see mlr launch and docs/SEVERAL_MACHINES.md"))
    parser.add_argument("--checkpoint-every", type=command.number(int, 1), metavar="N", help=(
        "write a checkpoint every N steps, too, so that a crash loses less than an epoch (default: after each epoch, and when stopped by "
        "Ctrl-C, SIGTERM or SIGHUP)"))
    parser.add_argument("--tensorboard", action="store_true", help=(
        "write the metrics for TensorBoard, too, into the run folder's tensorboard/ (a run that has it keeps it with --resume)"))
    parser.add_argument("--cuda-graphs", action="store_true", help=(
        "on a GPU launch each step as one CUDA graph: sets %s=1, which MXNet knows from 1.8 on; not run here, for lack of a GPU" % CUDA_GRAPHS))
    for field in fields(Preset):
        described = dict(PRESET_OPTIONS[field.name])
        rows = rows_of(field.name)
        shown = "l_cil" if "l_cil" in rows else rows[0]
        described["help"] = "%s%s (default: %s; demo: %s)" % (
            "for %s: " % ", ".join(rows) if len(rows) < len(ROWS) - 1 else "", described["help"],
            getattr(RELEASED[shown], field.name), getattr(DEMO[shown], field.name))
        parser.add_argument("--" + field.name.replace("_", "-"), **described)
    parser.epilog = "Other rows have other defaults: %s." % "; ".join("%s: %s" % (row, ", ".join(
        "%s %s" % (name, value) for name, value in preset.options().items()
        if name != "row" and value != getattr(RELEASED["l_cil"], name))) for row, preset in RELEASED.items() if row not in ("l_cil", "shallow"))
    return parser


def resolve(options):
    """Return the options of a new run, as they go into its config.json: what was given, over the preset of the data."""
    data, row = options.data or "demo", options.row or "l_cil"
    given = {field.name: getattr(options, field.name) for field in fields(Preset) if getattr(options, field.name) is not None}
    for name in given:
        if row not in rows_of(name):
            raise InputError("--%s is not for --row %s, only for %s" % (name.replace("_", "-"), row, ", ".join(rows_of(name))))
    preset = replace((DEMO if data in DRAWN else RELEASED)[row], **given)
    if preset.backbone not in BACKBONES[row]:
        raise InputError("--backbone %s is not for --row %s: choose one of %s" % (preset.backbone, row, ", ".join(BACKBONES[row])))
    return {"data": data, "labels": options.labels or "emotion", "fold": options.fold, "seed": options.seed or 0, **preset.options()}


def train(options):
    given = [name for name, value in vars(options).items() if value is not None and name not in OF_THE_MACHINE]
    kept = [name for name in given if name not in MOVED]
    if options.resume and kept:
        raise InputError("a resumed run keeps its own options: leave out --%s" % ", --".join(kept).replace("_", "-"))
    if options.resume and not options.out:
        raise InputError("--resume needs --out, the run folder to continue")
    if options.cuda_graphs:
        enable_cuda_graphs()
    require_mxnet()
    if options.tensorboard:
        require_tensorboard()
    from mlr.checkpoint import Run, fold_folder, refuse_existing
    from mlr.context import parse_context
    from mlr.data.drawn import data_folder
    from mlr.data.manifest import folds_of
    from mlr.training import train_run

    ctx = parse_context(options.ctx)
    if options.resume:
        out = Path(options.out)
        in_folds = fold_folder(out, 1).exists()
        config = Run.config_of(fold_folder(out, 1) if in_folds else out)
        resolved, folder = config["options"], found(config, "data", options.data, out)
        if options.target or resolved.get("target"):
            resolved = {**resolved, "target": str(found(config, "target", options.target, out))}
    else:
        out = Path(options.out or "runs/%s-%s" % (Path(options.data or "demo").name, datetime.now().strftime("%Y%m%d-%H%M%S")))
        refuse_existing(out)
        in_folds, resolved = options.folds is not None, resolve(options)
        folder = data_folder(resolved["data"])
    if options.checkpoint_every and resolved.get("row", "l_cil") not in BY_GRADIENTS:
        raise InputError(f"--checkpoint-every has no effect on --row {resolved['row']}, which is trained in one step: leave it out")
    if options.kvstore and in_folds:
        raise InputError("--kvstore trains one fold at a time: give --fold K instead of --folds")
    workers = Workers(options.kvstore)
    try:
        if not in_folds:
            train_run(out, resolved, folder, ctx, options.tensorboard, options.checkpoint_every, workers)
            workers.close()
            return
        folds = folds_of(folder)
        if not folds:
            raise InputError("%s is not in folds: leave out --folds" % folder if folder.is_dir() else (
                "data folder %s does not exist: check its path" % folder))
        results = [train_run(fold_folder(out, fold), {**resolved, "fold": fold}, folder, ctx,
                             options.tensorboard, options.checkpoint_every) for fold in folds]
        save_folds(results, out, results[0]["split"])
    except KeyboardInterrupt as error:
        if not out.exists():
            raise
        stopped = error if isinstance(error, Interrupted) else Interrupted()
        raise Interrupted("%s; to go on: mlr train --resume --out %s" % (stopped, shlex.quote(str(out))), stopped.signal) from None


def found(config, name, given, out):
    """Return the folder of the data or the target of a run that is resumed.

    It is the one that is given, or where it was in the training.
    """
    from mlr.data.drawn import data_folder

    if not config["options"].get(name):
        raise InputError(f"{out} was trained without --{name}: leave it out")
    folder = data_folder(given) if given else Path(config[name]["folder"])
    if not folder.is_dir():
        raise InputError(f"{folder}, the folder of the images that {out} was trained on, is not there: "
                         f"give --{name}, the folder where they are now")
    return folder


def enable_cuda_graphs():
    """Have MXNet, which must not be loaded yet, launch its static graphs as CUDA graphs, or say that this version can't."""
    from mlr.builds import installed_builds, version_numbers

    for name, version in installed_builds().items():
        if version_numbers(version) < WITH_CUDA_GRAPHS:
            print("%s %s has no CUDA graphs, they came with 1.8: the static graph (static_alloc, static_shape) is what there is, and is used" % (
                name, version), flush=True)
            return
    os.environ[CUDA_GRAPHS] = "1"


def main(argv=None):
    serve()
    try:
        code = command.run(parser(), train, argv)
    except Exception:
        if not in_a_job():
            raise
        traceback.print_exc()
        code = 1
    if code and in_a_job():  # at a regular end MXNet would wait for the other workers, which wait for this one
        leave(code)
    return code


if __name__ == "__main__":
    sys.exit(command.leave_if_stopped(main()))
