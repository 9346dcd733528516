"""python -m mlr.train: train the multi-level network, or another method, on a data folder or on the
demo data.
"""

import argparse
import os
import shlex
import sys
import traceback
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from mlr import cli
from mlr.errors import InputError, Interrupted, as_interrupted
from mlr.methods import METHODS, Method, method_named
from mlr.options.command_line import add_options, read_options, written
from mlr.options.option import each_of, flag, in_words
from mlr.options.training import DRAWN, TrainingOptions, definitions
from mlr.runs.folds import save_folds
from mlr.runs.tensorboard import require_tensorboard
from mlr.runtime.installation import require_mxnet
from mlr.runtime.signals import leave
from mlr.training.distributed import KINDS, Workers, in_a_job, serve

MOVED = ("data", "target")  # the images of a resumed run may have moved
CUDA_GRAPHS = "MXNET_ENABLE_CUDA_GRAPHS"
WITH_CUDA_GRAPHS = 1, 8


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.Parser("train", __doc__)
    groups: Dict[str, Any] = {}
    add_options(parser, {name: defaults_of(name) for name in definitions()}, groups)
    groups["data"].add_argument(
        "--folds",
        choices=("all",),
        help=(
            "all: train every fold in turn, each in <out>/fold-K; prints mean and standard "
            "deviation"
        ),
    )
    groups["network"].add_argument("--row", help=argparse.SUPPRESS)  # --method, until 0.3.0
    add_run_options(groups["run"])
    add_machine_options(groups["machine"])
    parser.epilog = f"Other methods have other defaults: {other_defaults()}."
    return parser


def add_run_options(run: Any) -> None:
    """Add the options that say where a run's options come from and where it is written."""
    run.add_argument(
        "--config",
        metavar="FILE",
        help=(
            "file of options, YAML or JSON, or a run's config.json; options on the command line "
            "override it"
        ),
    )
    run.add_argument(
        "--print-config",
        action="store_true",
        help="print the options that the training would have, as a file for --config, and exit",
    )
    run.add_argument(
        "--out",
        metavar="DIR",
        help="run folder, which must not exist yet (default: runs/<data>-<date>-<time>)",
    )
    run.add_argument(
        "--resume",
        action="store_true",
        help=(
            "continue the run in --out; options on the command line must equal the run's, except "
            "--data and --target, which may say where the same images are now"
        ),
    )
    run.add_argument(
        "--checkpoint-every",
        type=cli.number(int, 1),
        metavar="N",
        help=(
            "also write a checkpoint every N steps, so that a crash loses less than an epoch "
            "(default: after each epoch, and when Ctrl-C, SIGTERM or SIGHUP stops the training)"
        ),
    )
    run.add_argument(
        "--tensorboard",
        action="store_true",
        help=(
            "also write the metrics for TensorBoard into the run folder's tensorboard/ (--resume "
            "continues them)"
        ),
    )


def add_machine_options(machine: Any) -> None:
    """Add the options that say where a training runs."""
    cli.add_context(machine)
    machine.add_argument(
        "--kvstore",
        choices=KINDS,
        help="train with the other workers of a job, by MXNet's parameter server: see mlr launch "
        "and docs/several-machines.md",
    )
    machine.add_argument(
        "--gradient-compression",
        type=cli.number(float, 0, above=True),
        metavar="T",
        help="with --kvstore dist_sync or dist_device_sync: workers send each number of a gradient "
        "in 2 bits, as T, 0 or -T, and add what that leaves out to their next gradient. T is for "
        "gradients that are summed over a worker's images",
    )
    machine.add_argument(
        "--cuda-graphs",
        action="store_true",
        help=(
            f"on a GPU launch each step as one CUDA graph: sets {CUDA_GRAPHS}=1, for MXNet from "
            "1.8 on; not tested, as no GPU was available"
        ),
    )


def defaults_of(name: str) -> str:
    """Return the part of an option's help that gives its defaults and the methods that have it."""
    having = [method for method in METHODS.values() if name in method.options]
    shown = next((method for method in having if method.name == TrainingOptions.method), having[0])
    released, demo = getattr(shown.released, name), getattr(shown.demo, name)
    only = ", ".join(method.name for method in having)
    prefix = f"; for {only}" if len(having) < len(METHODS) - 1 else ""
    released, demo = ("none" if each is None else each for each in (released, demo))
    if name in ("data", "labels", "fold", "seed"):
        return f" (default: {released})"
    if name == "method":
        titles = "; ".join(f"{method.name}: {method.title}" for method in METHODS.values())
        return f": {titles} (default: {released})"
    if name == "backbone":
        networks = "; ".join(f"{method.name}: {', '.join(method.backbones)}" for method in having)
        return f"; {networks} (default: {released}; demo: {demo})"
    return f"{prefix} (default: {released}; demo: {demo})"


def other_defaults() -> str:
    """Return, for the end of the help, the methods' defaults that differ from the usual ones."""
    usual = TrainingOptions()
    described = []
    for method in METHODS.values():
        differing = [
            f"{name} {value}"
            for name, value in method.plain(method.released).items()
            if name != "method" and value != getattr(usual, name)
        ]
        if differing:
            described.append(f"{method.name}: {', '.join(differing)}")
    return "; ".join(described)


def given_options(options: argparse.Namespace) -> Dict[str, Any]:
    """Return the given options of the run, {name: value}; those on the command line override those
    in --config.
    """
    if options.row is not None:
        if options.method not in (None, options.row):
            raise InputError(
                f"--row {options.row} and --method {options.method} mean the same: give only "
                "--method"
            )
        print("mlr train: --row is now called --method; 0.3.0 will remove --row", file=sys.stderr)
        options.method = options.row
    typed = {name: getattr(options, name) for name in definitions()}
    typed = {name: value for name, value in typed.items() if value is not None}
    return {**(read_options(Path(options.config)) if options.config else {}), **typed}


def resolve(given: Dict[str, Any]) -> Tuple[Method, TrainingOptions]:
    """Return the method and the options of a new run; given options override the method's defaults.

    Raises InputError for options or a backbone that the method does not have, and for options that
    conflict.
    """
    method = method_named(given.get("method", TrainingOptions.method))
    for name in given:
        if name not in method.options:
            having = ", ".join(each.name for each in METHODS.values() if name in each.options)
            raise InputError(f"{flag(name)} is not for --method {method.name}, only for {having}")
    on_drawn_data = all(each in DRAWN for each in each_of(given.get("data", TrainingOptions.data)))
    options = replace(method.demo if on_drawn_data else method.released, **given)
    if options.backbone not in method.backbones:
        raise InputError(
            f"--backbone {options.backbone} is not for --method {method.name}: choose one of "
            f"{', '.join(method.backbones)}"
        )
    if options.targets == "votes" and options.loss != "cross_entropy":
        raise InputError(
            f"--targets votes is not for --loss {options.loss}, which needs one label for each "
            "image: add --loss cross_entropy"
        )
    if len(each_of(options.data)) > 1 and Path(options.proposals).suffix in (".npz", ".mat"):
        raise InputError(
            f"--proposals {options.proposals} is not for several data sets, whose images may have "
            "the same names: leave it out, or give the model of edge boxes"
        )
    return method, options


def train(options: argparse.Namespace) -> None:
    """Begin or resume a training, or print its options."""
    given = given_options(options)
    if options.folds and given.get("fold") is not None:
        raise InputError("--fold trains one fold and --folds all of them: give one of the two")
    if options.resume and options.print_config:
        raise InputError("--print-config is not for --resume: the options are in its config.json")
    if options.print_config:
        method, resolved = resolve(given)
        print(written(method.plain(resolved)), end="")
        return
    if options.resume and not options.out:
        raise InputError("--resume needs --out, the run folder to continue")
    if options.cuda_graphs:
        enable_cuda_graphs()
    require_mxnet()
    if options.tensorboard:
        require_tensorboard()
    (resume if options.resume else begin)(options, given)


def begin(options: argparse.Namespace, given: Dict[str, Any]) -> None:
    """Train in a new run folder."""
    from mlr.data.drawn import data_folder
    from mlr.runs.folder import refuse_existing_run

    method, resolved = resolve(given)
    name = "-".join(Path(os.path.realpath(each)).name for each in each_of(resolved.data))
    out = Path(options.out or f"runs/{name}-{datetime.now().strftime('%Y%m%d-%H%M%S')}")
    refuse_existing_run(out)
    cli.refuse_unwritable("--out", out)
    folders = [data_folder(each) for each in each_of(resolved.data)]
    train_all(options, out, method, resolved, folders, options.folds is not None)


def resume(options: argparse.Namespace, given: Dict[str, Any]) -> None:
    """Continue the run in --out."""
    from mlr.methods import method_of
    from mlr.options.training import options_of
    from mlr.runs.folder import Run
    from mlr.runs.folds import fold_folder
    from mlr.training.run import with_whole_paths

    out = Path(options.out)
    in_folds = fold_folder(out, 1).exists()
    one = fold_folder(out, 1) if in_folds else out
    config = Run.config_of(one)
    if in_folds and given.get("fold"):
        raise InputError(f"--fold: {out} has all folds, which are resumed together: leave it out")
    if options.folds and not in_folds:
        raise InputError(f"--folds: {out} is not a training of all folds: leave it out")
    method = method_of(config, one / "config.json")
    resolved = options_of(config)
    again = with_whole_paths(replace(resolved, **given))
    for name, value in given.items():
        kept = getattr(resolved, name)
        same = kept in (value, getattr(again, name))
        if name not in MOVED and not same:
            raise InputError(
                f"{flag(name)} {value}: {out} was started with {flag(name)} {kept}, and a resumed "
                "run keeps its options: leave it out, or start a new run"
            )
    folders = images_of(config, "data", given.get("data"), out)
    if given.get("target") or resolved.target:
        (target,) = images_of(config, "target", given.get("target"), out)
        resolved = replace(resolved, target=str(target))
    train_all(options, out, method, resolved, folders, in_folds)


def train_all(
    options: argparse.Namespace,
    out: Path,
    method: Method,
    resolved: TrainingOptions,
    folders: List[Path],
    in_folds: bool,
) -> None:
    """Train one run, or one run for each fold."""
    from mlr.runs.folds import fold_folder
    from mlr.runtime.context import parse_context
    from mlr.training.run import train_run
    from mlr.training.session import Machine

    if options.checkpoint_every and not method.by_gradients:
        raise InputError(
            f"--checkpoint-every has no effect on --method {method.name}, which is trained in one "
            "step: leave it out"
        )
    if options.kvstore and in_folds:
        raise InputError("--kvstore trains one fold at a time: give --fold K instead of --folds")
    folds = all_folds(folders) if in_folds else []
    machine = Machine(
        parse_context(options.ctx),
        Workers(options.kvstore, options.gradient_compression),
        options.tensorboard,
        options.checkpoint_every,
    )
    try:
        if not in_folds:
            train_run(out, method, resolved, folders, machine)
            machine.workers.close()
            return
        evaluations = []
        for fold in folds:
            of_fold = replace(resolved, fold=fold)
            evaluations.append(
                train_run(fold_folder(out, fold), method, of_fold, folders, machine) or {}
            )
        save_folds(evaluations, out, evaluations[0]["split"])
    except KeyboardInterrupt as error:
        if not out.exists():
            raise
        stopped = as_interrupted(error)
        raise Interrupted(
            f"{stopped}; to go on: mlr train --resume --out {shlex.quote(str(out))}", stopped.signal
        ) from None


def all_folds(folders: List[Path]) -> List[int]:
    """Return the folds of data folders. Raises InputError if no folder has folds, if the folders
    have different ones, or if the first folder does not exist.
    """
    from mlr.data.manifest import folds_of

    found = [folds for folds in map(folds_of, folders) if folds]
    if found and all(folds == found[0] for folds in found):
        return found[0]
    if found:
        raise InputError(f"{in_words(folders)} are split into different folds: leave out --folds")
    folder = folders[0]
    raise InputError(
        f"{folder} is not split into folds: leave out --folds"
        if folder.is_dir()
        else f"data folder {folder} does not exist: check its path"
    )


def images_of(config: Dict[str, Any], name: str, given: Any, out: Path) -> List[Path]:
    """Return the folders of the data or the target of a resumed run: the given ones, or those that
    the training used.
    """
    from mlr.data.drawn import data_folder
    from mlr.runs.results import folders_of

    if not config["options"].get(name):
        raise InputError(f"{out} was trained without {flag(name)}: leave it out")
    recorded, now = folders_of(config[name]), each_of(given) if given else ()
    # If the command line repeats the training's, the recorded folders count: the user may now be in
    # another working directory.
    again = now == each_of(config["options"][name]) and all(map(Path.is_dir, recorded))
    folders = list(map(data_folder, now)) if now and not again else recorded
    if len(folders) != len(recorded):
        raise InputError(
            f"{flag(name)} {in_words(given)}: {out} was trained on {in_words(recorded)}: give as "
            "many folders, in the same order, or leave it out"
        )
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"{folder}, with the images that {out} was trained on, does not exist: give their "
                f"present folder with {flag(name)}"
            )
    return folders


def enable_cuda_graphs() -> None:
    """Make MXNet, which must not be loaded yet, launch its static graphs as CUDA graphs; print a
    line if this version can't.
    """
    from mlr.runtime.builds import installed_builds, version_numbers

    for name, version in installed_builds().items():
        if version_numbers(version) < WITH_CUDA_GRAPHS:
            print(
                f"{name} {version} has no CUDA graphs, which came with 1.8: training uses only "
                "the static graph (static_alloc, static_shape)",
                flush=True,
            )
            return
    os.environ[CUDA_GRAPHS] = "1"


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; return the exit code."""
    serve()
    try:
        code = cli.run(parser(), train, argv)
    except Exception:
        if not in_a_job():
            raise
        traceback.print_exc()
        code = 1
    # A regular exit would hang: MXNet would wait for the other workers, which wait for this one.
    if code and in_a_job():
        leave(code)
    return code


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
