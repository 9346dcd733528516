"""A run folder: written so that a stop at any moment leaves a whole checkpoint, verified when read.

    config.json          resolved options, network, preprocessing, data, argv, versions, git commit
    classes.json         class names in label order
    metrics.jsonl        a line an epoch, and metrics.csv the same for spreadsheets
    last.params          the parameters after the last epoch, best.params those of the best balanced accuracy on valid, if there is one
    optimizer.params     momentum of every parameter, for --resume; random states follow from the seed and the epoch
    SHA256SUMS           of all these
    tensorboard/         where it was asked for, the metrics for TensorBoard: made anew from metrics.jsonl, so not in SHA256SUMS

Files are staged as <name>.new and synced; the new SHA256SUMS is the commit: from then on a staged file whose hash it lists
is the file, and renaming it is only tidying up.
"""

import csv
import io
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import mxnet as mx
import numpy as np

import mlr
from mlr import engine, paper
from mlr.errors import InputError
from mlr.events import EventFile
from mlr.files import STAGED, stage, sync, write_file
from mlr.params_file import read_params
from mlr.rows.networks import new_network
from mlr.weights import infer_shapes, set_parameters, sha256_of

SUMS = "SHA256SUMS"
EVENTS = "tensorboard"


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


def fold_folder(folder, fold):
    """Return the run folder of a fold in the folder of a training with --folds all."""
    return Path(folder) / ("fold-%d" % fold)


def fold_folders(folder):
    """Return the run folders of all folds that are there."""
    return sorted(path for path in Path(folder).glob("fold-*") if (path / SUMS).is_file())


class Run:
    """A run folder. Attributes: `folder`, `config` and `classes` as in the files, `metrics` a list of dicts, one an epoch."""

    def __init__(self, folder, config, classes, metrics=()):
        self.folder = Path(folder)
        self.config, self.classes, self.metrics = config, classes, list(metrics)
        self._events = None

    @classmethod
    def create(cls, folder, config, classes):
        """Return a new run in a folder that must not exist yet, else InputError."""
        refuse_existing(folder)
        Path(folder).mkdir(parents=True)
        run = cls(folder, config, classes)
        run._commit({"config.json": _json(config), "classes.json": _json(classes)})
        return run

    @classmethod
    def open(cls, folder):
        """Return the run in a folder. Raises InputError where there is none or a file is damaged."""
        folder = Path(folder)
        if not (folder / SUMS).is_file():
            raise InputError("%s is not a run folder (it has no %s): give the --out of a training" % (folder, SUMS))
        run = cls(folder, None, None)
        run.config = json.loads(run.verified("config.json").read_text())
        run.classes = json.loads(run.verified("classes.json").read_text())
        if run.has("metrics.jsonl"):
            run.metrics = [json.loads(line) for line in run.verified("metrics.jsonl").read_text().splitlines()]
        return run

    def has(self, name):
        """Tell whether a file was committed."""
        return name in self._sums()

    def sha256(self, name):
        """Return the SHA-256 of a committed file."""
        return self._sums()[name]

    def parameters(self):
        """Return the number of trained parameters: without the running statistics of batch norm."""
        arrays = read_params(self.verified("last.params"))
        return sum(array.size for name, array in arrays.items() if not name.endswith(("running_mean", "running_var")))

    def save_files(self, contents):
        """Commit further files of the run. contents: {name: text, or a function that writes a path}."""
        self._commit(contents)

    def save_epoch(self, net, trainer, metrics):
        """Commit the state after an epoch. metrics: this epoch's line of metrics.jsonl; with `target` where it is of a transfer's target."""
        # A forward pass on mxnet-mkl changes the layout of weights in place, and saving does not wait for it by itself.
        mx.nd.waitall()
        self.metrics.append(metrics)
        contents = {
            "metrics.jsonl": _json_lines(self.metrics),
            "metrics.csv": _csv_lines(self.metrics),
            "last.params": net.save_parameters,
            "optimizer.params": lambda path: mx.nd.save(path, engine.optimizer_arrays(trainer)),
        }
        on_valid = [line["valid_balanced_accuracy"] for line in self.metrics
                    if "valid_balanced_accuracy" in line and line.get("target") == metrics.get("target")]
        if on_valid and on_valid[-1] >= max(on_valid):
            contents["best.params"] = lambda path: shutil.copyfile(self.folder / ("last.params" + STAGED), path)
        self._commit(contents)
        if self._events:
            self._events.add(metrics)

    def write_events(self, wanted=False):
        """Where it is wanted, or was of a run that goes on, write every epoch's metrics for TensorBoard, too, into tensorboard/.

        Raises InputError where tensorboardX is not installed.
        """
        if wanted or (self.folder / EVENTS).exists():
            self._events = EventFile(self.folder / EVENTS, self.metrics)

    def restore(self, net, trainer):
        """Put the state after the last committed epoch into a materialized network and its trainer."""
        self._load_parameters(net, "last")
        engine.restore_optimizer(trainer, read_params(self.verified("optimizer.params")))

    def ship(self, folder):
        """Write what prediction needs into a new folder: without the best parameters and the optimizer's state."""
        shipped = Run.create(folder, self.config, self.classes)
        shipped.metrics = self.metrics
        shipped._commit({
            "metrics.jsonl": _json_lines(self.metrics),
            **{name: lambda path, name=name: shutil.copyfile(str(self.verified(name)), path)
               for name in self._sums() if name.endswith(".params") and name not in ("best.params", "optimizer.params")}})

    def load_network(self, ctx, parameters="last"):
        """Return the trained network, hybridized, on the contexts. parameters: "last" or "best" (on valid)."""
        net = new_network(self.config["network"])
        infer_shapes(net)
        self._load_parameters(net, parameters, ctx)
        net.hybridize(static_alloc=True, static_shape=True)
        return net

    def _load_parameters(self, net, parameters, ctx=None):
        path = self.verified(parameters + ".params")
        set_parameters(net._collect_params_with_prefix(), read_params(path), path, ctx)

    def verified(self, name):
        """Return the path of a file of the run whose content is the one that was committed.

        Raises InputError where it is missing or damaged: MXNet loads most damaged parameter files without a word.
        """
        digest = self._sums().get(name)
        if digest is None and not name.endswith(".params"):
            raise InputError("%s lists no %s, so it is damaged: restore it from a copy, or train again" % (self.folder / SUMS, name))
        if digest is None:
            raise InputError("run folder %s has no %s: %s" % (self.folder, name, (
                "its data has no split valid to choose an epoch by, or the system is fitted at once" if self.metrics
                else "the training stopped before its first epoch ended")))
        for path in (self.folder / name, self.folder / (name + STAGED)):
            if path.is_file() and sha256_of(path) == digest:
                return path
        raise InputError(
            "%s is missing, damaged or changed (its SHA-256 is not the one in %s): restore it from a copy, or train again"
            % (self.folder / name, SUMS))

    def _sums(self):
        try:
            lines = (self.folder / SUMS).read_text().splitlines()
            return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        except ValueError:
            raise InputError("%s is damaged: restore it from a copy, or train again" % (self.folder / SUMS)) from None

    def _commit(self, contents):
        """Write files together. contents: {name: text, or a function that writes a path}."""
        sums = self._sums() if (self.folder / SUMS).is_file() else {}
        self._tidy(sums)
        for name, content in contents.items():
            sums[name] = sha256_of(stage(self.folder / name, content))
        write_file(self.folder / SUMS, "".join("%s  %s\n" % (digest, name) for name, digest in sorted(sums.items())))
        self._tidy(sums)

    def _tidy(self, sums):
        """Finish an interrupted commit: put staged files that it lists in their place."""
        for name, digest in sums.items():
            staged = self.folder / (name + STAGED)
            if staged.is_file() and sha256_of(staged) == digest:
                os.replace(staged, self.folder / name)
        sync(self.folder)


def _json(value):
    return json.dumps(value, indent=2) + "\n"


def _json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def _csv_lines(rows):
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _git_commit():
    """Return the commit of the checkout that this package runs from, None where it is installed without one."""
    try:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
