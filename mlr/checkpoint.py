"""A run folder: whole after a stop at any moment, verified when read (mlr/committed.py).

    config.json          resolved options, network, preprocessing, data, argv, versions, git commit
    classes.json         class names in label order
    metrics.jsonl        a line an epoch, and metrics.csv the same for spreadsheets
    last.params          the parameters after the last epoch, best.params those of the best balanced accuracy on valid, if there is one
    optimizer.params     momentum of every parameter, for --resume; what a step draws follows from the seed and its number
    previous.params      and previous.optimizer.params, previous.metrics.jsonl: the same of the epoch before, for where one of the last is damaged
    step.params          and step.optimizer.params, step.json: within an epoch, after a signal or with --checkpoint-every; gone at its end
    SHA256SUMS           of all these
    lock                 held by the process that trains
    tensorboard/         where it was asked for, the metrics for TensorBoard: made anew from metrics.jsonl, so not in SHA256SUMS
"""

import csv
import io
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import mxnet as mx
import numpy as np

import mlr
from mlr import engine, paper
from mlr.committed import SUMS, CommittedFolder
from mlr.errors import InputError
from mlr.events import EventFile
from mlr.files import STAGED, link, sync
from mlr.json_file import parse_json, read_json, read_json_lines
from mlr.output import warn
from mlr.params_file import read_params, write_params
from mlr.presets import BY_GRADIENTS, Preset
from mlr.rows.networks import new_network
from mlr.run_config import (
    Refused, checked_classes, checked_config, checked_metrics, checked_progress)
from mlr.weights import infer_shapes, parameter_arrays, set_parameters

EVENTS = "tensorboard"
EPOCH = "metrics.jsonl", "last.params", "optimizer.params"  # where it is, parameters, optimizer: what a training goes on from
PREVIOUS = tuple("previous." + name.replace("last.", "") for name in EPOCH)
STEP = "step.json", "step.params", "step.optimizer.params"


def environment():
    """Return what a result depends on beside options and data, for config.json."""
    return {
        "argv": sys.argv,
        "git_commit": _git_commit(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "versions": {"python": platform.python_version(), "mlr": mlr.__version__, "mxnet": mx.__version__, "numpy": np.__version__},
    }


def preprocessing(image_size):
    """Return, for config.json, what an image goes through before the network."""
    return {"image_size": image_size, "keep_aspect_ratio": False, "mean": paper.PIXEL_MEAN, "std": paper.PIXEL_STD}


def refuse_existing(folder):
    """Raise InputError where a new run's folder exists already."""
    if Path(folder).exists():
        raise InputError("run folder %s exists already: give another --out, remove it, or continue it with --resume" % folder)


def refuse_unreadable(folder: Path, config: dict, classes: list) -> None:
    """Raise InputError where a run folder of this config and these classes could not be opened."""
    paths = [Path(folder) / name for name in ("config.json", "classes.json")]
    try:
        config, classes = (parse_json(_json(value), path, "no run can be made of it")
                           for value, path in zip((config, classes), paths))
        checked_classes(classes, checked_config(config, paths[0]), paths[1])
    except Refused as error:
        raise InputError("no run can be made of this, as it could not be opened again: "
                         f"{error.found}") from None


def fold_folder(folder, fold):
    """Return the run folder of a fold in the folder of a training with --folds all."""
    return Path(folder) / ("fold-%d" % fold)


def fold_folders(folder):
    """Return the run folders of all folds that are there."""
    return sorted(path for path in Path(folder).glob("fold-*") if (path / SUMS).is_file())


class Run:
    """A run folder. Attributes: `folder`, `config` and `classes` as in the files, `metrics` a list of dicts, one an epoch."""

    def __init__(self, folder, config, classes, metrics=()):
        self.folder, self._files = Path(folder), CommittedFolder(folder)
        self.config, self.classes, self.metrics = config, classes, list(metrics)
        self._events = None

    @classmethod
    def create(cls, folder, config, classes):
        """Return a new run in a folder that must not exist yet, else InputError.

        That is raised, too, where the run could not be opened again.
        """
        refuse_existing(folder)
        refuse_unreadable(folder, config, classes)
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # A folder that is there is a run: it is filled under another name.
        filled = folder.with_name(".%s.%d" % (folder.name, os.getpid()))
        try:
            filled.mkdir()
            CommittedFolder(filled).commit({"config.json": _json(config), "classes.json": _json(classes)})
            os.rename(str(filled), str(folder))
        except BaseException:
            shutil.rmtree(str(filled), ignore_errors=True)
            raise
        sync(folder.parent)
        return cls(folder, config, classes)

    @classmethod
    def open(cls, folder):
        """Return the run in a folder. Raises InputError where there is none or a file is damaged."""
        run = cls._found(folder)
        run._read()
        return run

    @classmethod
    def resumed(cls, folder):
        """Return the run in a folder, to go on with, locked, and, where its newest checkpoint is damaged, back at the one before.

        Raises InputError where there is no run, another process trains in it, or no checkpoint is whole.
        """
        run = cls._found(folder)
        run.lock()
        try:
            run._repair()
            run._read()
        except BaseException:
            run.unlock()
            raise
        return run

    @classmethod
    def config_of(cls, folder):
        """Return the config of the run in a folder, whatever else there may be damaged, with InputError as `open`."""
        return cls._found(folder)._config()

    @classmethod
    def _found(cls, folder):
        if not (Path(folder) / SUMS).is_file():
            raise InputError("%s is not a run folder (it has no %s): give the --out of a training" % (folder, SUMS))
        return cls(folder, None, None)

    def _read(self):
        self.config = self._config()
        path = self.verified("classes.json")
        self.classes = checked_classes(read_json(path), self.config, path)
        if self.has("metrics.jsonl"):
            self.metrics = _metrics(self.verified("metrics.jsonl"))

    def _config(self):
        path = self.verified("config.json")
        return checked_config(read_json(path), path)

    def lock(self):
        """Keep all others from training in this folder until `unlock`. Raises InputError where another was first."""
        self._files.lock()

    def unlock(self):
        self._files.unlock()

    @property
    def finished(self) -> bool:
        """Whether all its epochs are done."""
        preset = Preset.of_run(self.config["options"])
        return len(self.metrics) >= (preset.stages()[-1].stop if preset.row in BY_GRADIENTS else 1)

    @property
    def begun(self):
        """Whether there is a checkpoint."""
        return bool(self.metrics) or self.has(STEP[0])

    def has(self, name):
        """Tell whether a file was committed."""
        return self._files.has(name)

    def sha256(self, name):
        """Return the SHA-256 of a committed file."""
        return self._files.sums()[name]

    def parameters(self):
        """Return the number of trained parameters: without the running statistics of batch norm."""
        arrays = read_params(self.verified("last.params"))
        return sum(array.size for name, array in arrays.items() if not name.endswith(("running_mean", "running_var")))

    def save_files(self, contents):
        """Commit further files of the run. contents: {name: text, or a function that writes a path}."""
        self._files.commit(contents)

    def move(self, described: dict) -> None:
        """Commit where the images of the training are now.

        described: {"data" or "target": what config.json says of them, of which `folder` is new}.
        """
        moved = {name: {**self.config[name], "folder": now["folder"]}
                 for name, now in described.items()}
        if any(self.config[name] != now for name, now in moved.items()):
            self.config.update(moved)
            self.save_files({"config.json": _json(self.config)})

    def files_of(self, parameters: str) -> dict:
        """Return {name: SHA-256} of what a prediction by the "last" or "best" parameters is of."""
        return {name: digest for name, digest in self._files.sums().items()
                if name in (parameters + ".params", "svm.params")}

    def save_epoch(self, net, trainer, metrics):
        """Commit the state after an epoch. metrics: this epoch's line of metrics.jsonl; with `target` where it is of a transfer's target."""
        moved = {name: kept for name, kept in zip(EPOCH, PREVIOUS) if self.metrics}
        checked_metrics(json.loads(_json([*self.metrics, metrics])), self.folder / "metrics.jsonl")
        self.metrics.append(metrics)
        contents = {"metrics.csv": _csv_lines(self.metrics), **dict(zip(EPOCH, (_json_lines(self.metrics), *_state(net, trainer))))}
        on_valid = [line["valid_balanced_accuracy"] for line in self.metrics
                    if "valid_balanced_accuracy" in line and line.get("target") == metrics.get("target")]
        if on_valid and on_valid[-1] >= max(on_valid):
            contents["best.params"] = lambda path: link(self.folder / ("last.params" + STAGED), path)
        self._files.commit(contents, moved, removed=STEP)
        if self._events:
            self._events.add(metrics)

    def save_step(self, net, trainer, progress):
        """Commit the state within an epoch, at a `mlr.engine.Progress`."""
        content = _json(asdict(progress))
        checked_progress(json.loads(content), self.folder / STEP[0])
        self._files.commit(dict(zip(STEP, (content, *_state(net, trainer)))))

    def write_events(self, wanted=False):
        """Where it is wanted, or was of a run that goes on, write every epoch's metrics for TensorBoard, too, into tensorboard/.

        Raises InputError where tensorboardX is not installed, or tensorboard/ leads elsewhere.
        """
        if (self.folder / EVENTS).is_symlink():
            raise InputError("%s is a link, and event files are replaced in it: put a folder in its place, or remove it" % (self.folder / EVENTS))
        if wanted or (self.folder / EVENTS).exists():
            self._events = EventFile(self.folder / EVENTS, self.metrics)

    def restore(self, net, trainer):
        """Put the last state that was committed into a materialized network and its trainer. Return the Progress within the epoch
        that was under way, None where the last is that after an epoch, or there is none."""
        if not self.begun:
            return None
        where, parameters, optimizer = map(self.verified, STEP if self.has(STEP[0]) else EPOCH)
        set_parameters(net._collect_params_with_prefix(), read_params(parameters), parameters)
        engine.restore_optimizer(trainer, read_params(optimizer), optimizer)
        return engine.Progress(**checked_progress(read_json(where), where)) if self.has(STEP[0]) else None

    def _repair(self):
        """Go back to a checkpoint that is whole."""
        damaged = [name for name in self._files.sums() if not self._files.find(name)]
        if set(EPOCH) & set(damaged):
            whole = self.has(PREVIOUS[0]) and not set(PREVIOUS) & set(damaged)
            names = " and ".join(str(self.folder / name) for name in damaged)
            if not whole:
                raise InputError("%s: missing, damaged or changed (SHA-256), and there is no whole checkpoint of the epoch before: restore it "
                                 "from a copy, or train again" % names)
            metrics = _metrics(self._files.find(PREVIOUS[0]))
            warn("%s: missing, damaged or changed (SHA-256); going on from the checkpoint before, after epoch %d" % (names, len(metrics)))
            self._files.commit({"metrics.csv": _csv_lines(metrics)}, dict(zip(PREVIOUS, EPOCH)), removed=(*PREVIOUS, *STEP))
        elif set(STEP) & set(damaged):
            warn("%s: missing, damaged or changed (SHA-256); going on from the checkpoint before, %s" % (
                " and ".join(str(self.folder / name) for name in damaged if name in STEP),
                "after the last epoch" if self.has(EPOCH[0]) else "the training's start"))
            self._files.commit({}, removed=STEP)
        elif set(PREVIOUS) & set(damaged):
            self._files.commit({}, removed=PREVIOUS)
        if "best.params" in damaged:
            warn("%s is missing, damaged or changed (SHA-256): the best epoch's parameters are lost, unless a later epoch is better" % (
                self.folder / "best.params"))
            self._files.commit({}, removed=["best.params"])
        if "metrics.csv" in damaged and self._files.find("metrics.jsonl"):
            self._files.commit({"metrics.csv": _csv_lines(_metrics(self._files.find("metrics.jsonl")))})

    def ship(self, folder):
        """Write what prediction needs into a new folder: without the best parameters and the optimizer's state."""
        shipped = Run.create(folder, self.config, self.classes)
        shipped.metrics = self.metrics
        shipped.save_files({
            "metrics.jsonl": _json_lines(self.metrics),
            **{name: lambda path, name=name: shutil.copyfile(str(self.verified(name)), path)
               for name in self._files.sums() if name.endswith(".params") and name not in ("best.params", *EPOCH[2:], *PREVIOUS, *STEP)}})

    def load_network(self, ctx, parameters="last"):
        """Return the trained network, hybridized, on the contexts. parameters: "last" or "best" (on valid)."""
        net = new_network(self.config["network"])
        infer_shapes(net)
        path = self.verified(parameters + ".params")
        set_parameters(net._collect_params_with_prefix(), read_params(path), path, ctx)
        net.hybridize(static_alloc=True, static_shape=True)
        return net

    def verified(self, name):
        """Return the path of a file of the run whose content is the one that was committed.

        Raises InputError where it is missing or damaged: MXNet loads most damaged parameter files without a word.
        """
        if not self.has(name) and not name.endswith(".params"):
            raise InputError("%s lists no %s, so it is damaged: restore it from a copy, or train again" % (self.folder / SUMS, name))
        if not self.has(name):
            raise InputError("run folder %s has no %s: %s" % (self.folder, name, (
                "its data has no split valid to choose an epoch by, or the system is fitted at once" if self.metrics
                else "the training stopped before its first epoch ended")))
        path = self._files.find(name)
        if not path:
            raise InputError(
                "%s is missing, damaged or changed (its SHA-256 is not the one in %s): restore it from a copy, or train again"
                % (self.folder / name, SUMS))
        return path


class Follower(Run):
    """The run of a worker that is not the first of several: it reads what there is, and leaves all writing to the first."""

    @classmethod
    def create(cls, folder, config, classes):
        return cls(folder, config, classes)

    def lock(self):
        pass

    unlock = lock

    def save_files(self, contents):
        pass

    def save_epoch(self, net, trainer, metrics):
        self.metrics.append(metrics)

    def write_events(self, wanted=False):
        pass


def _state(net, trainer):
    """Return what to write parameters and optimizer with, two functions of a path."""
    # A forward pass on mxnet-mkl changes the layout of weights in place, and saving does not wait for it by itself.
    mx.nd.waitall()
    parameters = parameter_arrays(net._collect_params_with_prefix())
    optimizer = engine.optimizer_arrays(trainer)
    return lambda path: write_params(path, parameters), lambda path: write_params(path, optimizer)


def _json(value):
    return json.dumps(value, indent=2) + "\n"


def _metrics(path):
    return checked_metrics(read_json_lines(path), path)


def _json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def _csv_lines(rows):
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _git_commit():
    """Return the commit of the package's own checkout that it runs from.

    None where it is installed without one, be it into somebody's repository.
    """
    path = Path(__file__).resolve()
    top = path.parents[1]
    # A hook of somebody's repository sets the variables that say which one is meant.
    others = "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"
    environment = {name: value for name, value in os.environ.items() if name not in others}

    def git(*arguments):
        return subprocess.run(["git", "-C", str(top), *arguments], capture_output=True, text=True,
                              check=True, env=environment).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "setup.py", str(path.relative_to(top)))
        own = Path(git("rev-parse", "--show-toplevel")).samefile(top)
        return git("rev-parse", "HEAD") if own else None
    except (OSError, subprocess.CalledProcessError):
        return None
