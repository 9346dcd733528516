"""Reads a run folder and verifies every file (mlr/runs/committed.py). `mlr.runs.writing` writes it.

config.json          resolved options, network, preprocessing, data, argv, versions, git commit
classes.json         class names in label order
metrics.jsonl        one line per epoch; metrics.csv has the same for spreadsheets
last.params          the parameters after the last epoch
best.params          the parameters with the best balanced accuracy on valid, if there is a valid
optimizer.params     the optimizer's state of every parameter, for --resume. Random numbers are not
                     stored: those of a step follow from the seed and the number of the step
previous.params      and previous.optimizer.params, previous.metrics.jsonl: the same after the epoch
                     before, used if a file of the last epoch is damaged
last.temperature.json, best.temperature.json: present if fitted. The number by which the logits of
                     these parameters are divided before the softmax, and the SHA-256 of the
                     parameters
step.params          and step.optimizer.params, step.json: a checkpoint within an epoch, written
                     after a signal or with --checkpoint-every, removed at the end of the epoch
SHA256SUMS           the hashes of all these files
lock                 locked by the process that trains
tensorboard/         with --tensorboard: the metrics for TensorBoard. They are made again from
                     metrics.jsonl, so SHA256SUMS does not list them
"""

import os
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

import numpy as np

from mlr.errors import InputError
from mlr.formats.json import read_json, read_json_lines
from mlr.formats.params import read_params
from mlr.runs.committed import SUMS, CommittedFolder
from mlr.runs.schema import (
    REFIT,
    checked_classes,
    checked_config,
    checked_metrics,
    checked_progress,
    checked_temperature,
    list_of,
    refused,
    whole,
)
from mlr.runtime.output import warn

TENSORBOARD = "tensorboard"
# A checkpoint, from which a training continues: position, parameters, optimizer.
EPOCH = "metrics.jsonl", "last.params", "optimizer.params"
PREVIOUS = tuple("previous." + name.replace("last.", "") for name in EPOCH)
STEP = "step.json", "step.params", "step.optimizer.params"
BEST = "best.params"


def temperature_file(parameters: str) -> str:
    """Return the name of the file with the temperature of the "last" or "best" parameters."""
    return f"{parameters}.temperature.json"


def refuse_existing_run(folder: Union[str, "os.PathLike[str]"]) -> None:
    """Raise InputError if anything exists at the path of a new run, even a broken link."""
    if os.path.lexists(folder):
        raise InputError(
            f"run folder {folder} exists already: give another --out, remove it, or continue it "
            "with --resume"
        )


class Run:
    """A run folder, read only.

    Attributes: `folder`; `config` and `classes` as in the files; `metrics`, a list with one dict
    per epoch.
    """

    def __init__(
        self,
        folder: Union[str, "os.PathLike[str]"],
        config: Dict[str, Any],
        classes: List[str],
        metrics: Iterable[Dict[str, Any]] = (),
    ):
        self.folder, self._files = Path(folder), CommittedFolder(folder)
        self.config, self.classes, self.metrics = config, classes, list(metrics)

    @classmethod
    def open(cls, folder: Union[str, "os.PathLike[str]"]) -> "Run":
        """Return the run in a folder. Raises InputError if there is none or a file is damaged.

        `mlr.methods.open_run_folder` also checks whether the parts of the run fit each other.
        """
        run = cls._found(folder)
        run._read()
        return run

    @classmethod
    def config_of(cls, folder: Union[str, "os.PathLike[str]"]) -> Dict[str, Any]:
        """Return the config of the run in a folder, even if other files of the run are damaged.

        Raises InputError if there is no run or config.json is damaged.
        """
        return cls._found(folder)._config()

    @classmethod
    def _found(cls, folder: Union[str, "os.PathLike[str]"]) -> "Run":
        if not os.path.isfile(Path(folder) / SUMS):  # Path's raises for a name that is too long
            raise InputError(
                f"{folder} is not a run folder (it has no {SUMS}): give the --out of a training"
            )
        return cls(folder, {}, [])

    def _read(self) -> None:
        self.config = self._config()
        path = self.verified("classes.json")
        self.classes = checked_classes(read_json(path), path)
        if self.has(EPOCH[0]):
            self.metrics = metrics_in(self.verified(EPOCH[0]))

    def _config(self) -> Dict[str, Any]:
        path = self.verified("config.json")
        return checked_config(read_json(path), path)

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint."""
        return bool(self.metrics) or self.has(STEP[0])

    def has(self, name: str) -> bool:
        """Tell whether a file was committed."""
        return self._files.has(name)

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a committed file."""
        return self._files.sums()[name]

    def verified_sha256(self, name: str) -> str:
        """Return the SHA-256 of a committed file after verifying its content, as `verified`."""
        self.verified(name)
        return self.sha256(name)

    def files_of(self, parameters: str) -> Dict[str, str]:
        """Return {name: SHA-256} of the .params files that a prediction with the "last" or "best"
        parameters depends on.
        """
        checkpoints = {*EPOCH, *PREVIOUS, *STEP, BEST} - {f"{parameters}.params"}
        return {
            name: digest
            for name, digest in self._files.sums().items()
            if name.endswith(".params") and name not in checkpoints
        }

    def training_counts(self) -> List[int]:
        """Return the number of training images of each class; if there is a target, of the target.
        Raises Refused if config.json doesn't say it.
        """
        name = "target" if self.config["options"].get("target") else "data"
        counts = self.config[name].get("counts")
        train = counts.get("train") if isinstance(counts, dict) else None
        rule = list_of(whole(1, 10**9))
        if train is None or not rule.holds(train) or len(train) != len(self.classes):
            path, expected = self.folder / "config.json", f"one for each class, {rule.expected}"
            raise refused(path, f"{name}.counts.train", train, expected)
        return train

    def parameters(self) -> int:
        """Return the number of trained parameters, without the running statistics of batch norm."""
        arrays = read_params(self.verified("last.params"))
        running = "running_mean", "running_var"
        return sum(array.size for name, array in arrays.items() if not name.endswith(running))

    def checkpoint(
        self,
    ) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray], Optional[Dict[str, Any]]]:
        """Return the last committed state: parameters, optimizer state and the position within an
        epoch, which is the fields of a `mlr.training.loop.Progress`, or None at the end of an
        epoch.
        """
        within = self.has(STEP[0])
        where, parameters, optimizer = map(self.verified, STEP if within else EPOCH)
        progress = checked_progress(read_json(where), where) if within else None
        return read_params(parameters), read_params(optimizer), progress

    def checkpoint_files(self) -> Tuple[Path, Path]:
        """Return the files of the last state's parameters and optimizer, to name them in errors."""
        _, parameters, optimizer = STEP if self.has(STEP[0]) else EPOCH
        return self.folder / parameters, self.folder / optimizer

    def temperature(self, parameters: str) -> Optional[float]:
        """Return the temperature that was fitted for the "last" or "best" parameters, or None.

        If the parameters have changed since the fit, this warns and returns None. Raises InputError
        if the file of the temperature is damaged.
        """
        name = temperature_file(parameters)
        if not self.has(name):
            return None
        path = self.verified(name, REFIT)
        fitted = checked_temperature(read_json(path, REFIT), path)
        if fitted["files"] == self.files_of(parameters):
            return fitted["temperature"]
        warn(
            f"{path} was fitted to other parameters than {parameters}.params holds now, likely "
            f"because the training continued; the probabilities don't use it: {REFIT}"
        )
        return None

    def verified(self, name: str, remedy: str = "train again") -> Path:
        """Return the path of a file of the run after verifying its content.

        The check is needed because MXNet loads most damaged parameter files without an error.
        remedy: what the error tells the user to do without a copy. Raises InputError if the file is
        missing or damaged.
        """
        if not self.has(name) and not name.endswith(".params"):
            raise InputError(
                f"{self.folder / SUMS} does not list {name}, so the list is damaged: restore it "
                "from a copy, or train again"
            )
        if not self.has(name):
            why = "the training stopped before its first epoch ended"
            if self.metrics:
                why = (
                    "the run was shipped or converted without it; use --parameters last"
                    if any("valid_balanced_accuracy" in epoch for epoch in self.metrics)
                    else "its data has no split valid to choose the best epoch, or its method has "
                    "no epochs"
                )
            if name == EPOCH[2]:
                why = (
                    "the run was shipped or converted from PyTorch, so it can predict, but its "
                    "training can't be continued; start a training with --pretrained last.params"
                )
            raise InputError(f"run folder {self.folder} has no {name}: {why}")
        path = self._files.find(name)
        if not path:
            raise InputError(
                f"{self.folder / name} is missing, damaged or changed (its SHA-256 is not the "
                f"one in {SUMS}): restore it from a copy, or {remedy}"
            )
        return path


def metrics_in(path: Path) -> List[Dict[str, Any]]:
    """Return what metrics.jsonl holds, checked."""
    return checked_metrics(read_json_lines(path), path)
