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
from mlr.errors import InputError, Interrupted
from mlr.methods import METHODS, Method, method_named
from mlr.options.command_line import add_options, read_options, written
from mlr.options.option import each_of, flag, in_words
from mlr.options.training import DRAWN, TrainingOptions, definitions
from mlr.runs.folds import save_folds
from mlr.runs.tensorboard import require_tensorboard
from mlr.runtime.installation import require_mxnet
from mlr.runtime.signals import leave
from mlr.training.distributed import KINDS, Workers, in_a_job, serve

MOVED = ("data", "target")  # what a resumed run may find in another folder than before
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
        help="all: every fold in turn, <out>/fold-K each; mean and standard deviation",
    )
    groups["network"].add_argument("--row", help=argparse.SUPPRESS)  # --method, until 0.3.0
    add_run_options(groups["run"])
    add_machine_options(groups["machine"])
    parser.epilog = f"Other methods have other defaults: {other_defaults()}."
    return parser


def add_run_options(run: Any) -> None:
    """Add what says where a run's options come from and where it goes, to a group of a parser."""
    run.add_argument(
        "--config",
        metavar="FILE",
        help="options in YAML or JSON, also a run's config.json; the command line goes before them",
    )
    run.add_argument(
        "--print-config",
        action="store_true",
        help="print the options that a training would have, as a file for --config, and end",
    )
    run.add_argument(
        "--out",
        metavar="DIR",
        help="run folder, must not exist yet (default: runs/<data>-<date>-<time>)",
    )
    run.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out; options that are given must be the run's, but for --data "
        "and --target, which may say where the same images are now",
    )
    run.add_argument(
        "--checkpoint-every",
        type=cli.number(int, 1),
        metavar="N",
        help="write a checkpoint every N steps, too, so that a crash loses less than an epoch "
        "(default: after each epoch, and when stopped by Ctrl-C, SIGTERM or SIGHUP)",
    )
    run.add_argument(
        "--tensorboard",
        action="store_true",
        help="write the metrics for TensorBoard, too, into the run folder's tensorboard/ (a run "
        "that has it keeps it with --resume)",
    )


def add_machine_options(machine: Any) -> None:
    """Add what says where a training runs, to a group of a parser."""
    cli.add_context(machine)
    machine.add_argument(
        "--kvstore",
        choices=KINDS,
        help="train with the other workers of a job, by MXNet's parameter server: see mlr launch "
        "and docs/several-machines.md",
    )
    machine.add_argument(
        "--cuda-graphs",
        action="store_true",
        help=f"on a GPU launch each step as one CUDA graph: sets {CUDA_GRAPHS}=1, which MXNet "
        "knows from 1.8 on; not run here, for lack of a GPU",
    )


def defaults_of(name: str) -> str:
    """Return what the help of an option says of its defaults, and of the methods that have it."""
    having = [method for method in METHODS.values() if name in method.options]
    shown = next((method for method in having if method.name == TrainingOptions.method), having[0])
    released, demo = getattr(shown.released, name), getattr(shown.demo, name)
    only = ", ".join(method.name for method in having)
    prefix = f"; for {only}" if len(having) < len(METHODS) - 1 else ""
    if name in ("data", "labels", "fold", "seed"):
        return f" (default: {'none' if released is None else released})"
    if name == "method":
        titles = "; ".join(f"{method.name}: {method.title}" for method in METHODS.values())
        return f": {titles} (default: {released})"
    if name == "backbone":
        networks = "; ".join(f"{method.name}: {', '.join(method.backbones)}" for method in having)
        return f"; {networks} (default: {released}; demo: {demo})"
    return f"{prefix} (default: {released}; demo: {demo})"


def other_defaults() -> str:
    """Return, for the end of the help, what methods take by default where it differs."""
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
    """Return the options of the run that were given, {name: value}: the command line's over those
    of --config.
    """
    if options.row is not None:
        if options.method not in (None, options.row):
            raise InputError(f"--row {options.row} and --method {options.method}: give --method")
        print("mlr train: --row is now called --method, and goes with 0.3.0", file=sys.stderr)
        options.method = options.row
    typed = {name: getattr(options, name) for name in definitions()}
    typed = {name: value for name, value in typed.items() if value is not None}
    return {**(read_options(Path(options.config)) if options.config else {}), **typed}


def resolve(given: Dict[str, Any]) -> Tuple[Method, TrainingOptions]:
    """Return the method and the options of a new run: what was given, over the method's defaults.

    Raises InputError for options that the method does not have, and a backbone that is not its.
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
            f"--targets votes is not for --loss {options.loss}, which weighs one label an image: "
            "add --loss cross_entropy"
        )
    if len(each_of(options.data)) > 1 and Path(options.proposals).suffix in (".npz", ".mat"):
        raise InputError(
            f"--proposals {options.proposals} is not for several data sets, whose images may have "
            "the same names: leave it out, or give the model of edge boxes"
        )
    return method, options


def train(options: argparse.Namespace) -> None:
    """Train as the command line says."""
    given = given_options(options)
    if options.folds and given.get("fold") is not None:
        raise InputError("--fold and --folds: give one of them")
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
    name = "-".join(Path(each).resolve().name for each in each_of(resolved.data))
    out = Path(options.out or f"runs/{name}-{datetime.now().strftime('%Y%m%d-%H%M%S')}")
    refuse_existing_run(out)
    folders = [data_folder(each) for each in each_of(resolved.data)]
    train_all(options, out, method, resolved, folders, options.folds is not None)


def resume(options: argparse.Namespace, given: Dict[str, Any]) -> None:
    """Go on with the run in --out."""
    from mlr.methods import method_of
    from mlr.options.training import options_of
    from mlr.runs.folder import Run
    from mlr.runs.folds import fold_folder
    from mlr.training.run import with_whole_paths

    out = Path(options.out)
    in_folds = fold_folder(out, 1).exists()
    one = fold_folder(out, 1) if in_folds else out
    config = Run.config_of(one)
    method = method_of(config, one / "config.json")
    resolved = options_of(config)
    again = with_whole_paths(replace(resolved, **given))
    for name, value in given.items():
        kept = getattr(resolved, name)
        same = kept in (value, getattr(again, name)) or in_folds and name == "fold"
        if name not in MOVED and not same:
            raise InputError(
                f"{flag(name)} {value}: {out} was begun with {flag(name)} {kept}, and a resumed "
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
    """Train the run, or one of each fold."""
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
        Workers(options.kvstore),
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
        stopped = error if isinstance(error, Interrupted) else Interrupted()
        raise Interrupted(
            f"{stopped}; to go on: mlr train --resume --out {shlex.quote(str(out))}", stopped.signal
        ) from None


def all_folds(folders: List[Path]) -> List[int]:
    """Return the folds of data folders. Raises InputError where none has any, they have others, or
    the first is not there.
    """
    from mlr.data.manifest import folds_of

    found = [folds for folds in map(folds_of, folders) if folds]
    if found and all(folds == found[0] for folds in found):
        return found[0]
    if found:
        raise InputError(f"{in_words(folders)} are in different folds: leave out --folds")
    folder = folders[0]
    raise InputError(
        f"{folder} is not in folds: leave out --folds"
        if folder.is_dir()
        else f"data folder {folder} does not exist: check its path"
    )


def images_of(config: Dict[str, Any], name: str, given: Any, out: Path) -> List[Path]:
    """Return the folders of the data or the target of a run that is resumed: those that are given,
    or where they were in the training.
    """
    from mlr.data.drawn import data_folder
    from mlr.runs.results import folders_of

    if not config["options"].get(name):
        raise InputError(f"{out} was trained without {flag(name)}: leave it out")
    recorded, now = folders_of(config[name]), each_of(given) if given else ()
    # The same command line again: a relative path may not be meant from where it is typed now.
    again = now == each_of(config["options"][name]) and all(map(Path.is_dir, recorded))
    folders = list(map(data_folder, now)) if now and not again else recorded
    if len(folders) != len(recorded):
        raise InputError(
            f"{flag(name)} {in_words(given)}: {out} was trained on {in_words(recorded)}; say for "
            "each where it is now, in the same order, or leave it out"
        )
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"{folder}, the folder of the images that {out} was trained on, is not there: give "
                f"{flag(name)}, the folder where they are now"
            )
    return folders


def enable_cuda_graphs() -> None:
    """Have MXNet, which must not be loaded yet, launch its static graphs as CUDA graphs, or say
    that this version can't.
    """
    from mlr.runtime.builds import installed_builds, version_numbers

    for name, version in installed_builds().items():
        if version_numbers(version) < WITH_CUDA_GRAPHS:
            print(
                f"{name} {version} has no CUDA graphs, they came with 1.8: the static graph "
                "(static_alloc, static_shape) is what there is, and is used",
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
    # At a regular end MXNet would wait for the other workers, which wait for this one.
    if code and in_a_job():
        leave(code)
    return code


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
