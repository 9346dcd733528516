"""Writes a run folder: a stop at any moment leaves each change done whole or not at all."""

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np

from mlr.errors import InputError
from mlr.formats.json import parse_json
from mlr.formats.params import read_params, write_params
from mlr.runs.committed import CommittedFolder
from mlr.runs.folder import (
    BEST,
    EPOCH,
    PREVIOUS,
    STEP,
    TENSORBOARD,
    Run,
    metrics_in,
    refuse_existing_run,
    temperature_file,
)
from mlr.runs.schema import (
    Refused,
    checked_classes,
    checked_config,
    checked_metrics,
    checked_progress,
)
from mlr.runs.tensorboard import TensorBoardFile
from mlr.runtime.files import STAGED, Content, link, sync
from mlr.runtime.output import warn

State = Tuple[Mapping[str, Any], Mapping[str, Any]]  # arrays of the parameters and the optimizer


class RunWriter(Run):
    """A run folder that a training writes."""

    _tensorboard: Optional[TensorBoardFile] = None

    @classmethod
    def create(
        cls, folder: Union[str, Path], config: Dict[str, Any], classes: List[str]
    ) -> "RunWriter":
        """Create a run in a new folder, and return it.

        Raises InputError if the folder exists already, or if the run could not be opened again.
        """
        refuse_existing_run(folder)
        refuse_unreadable(folder, config, classes)
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Fill it under another name, so that a folder of this name is always a complete run.
        filled = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            filled.mkdir()
            CommittedFolder(filled).commit(
                {"config.json": _json(config), "classes.json": _json(classes)}
            )
            os.rename(str(filled), str(folder))
        except BaseException:
            shutil.rmtree(str(filled), ignore_errors=True)
            raise
        sync(folder.parent)
        return cls(folder, config, classes)

    @classmethod
    def resumed(cls, folder: Union[str, Path]) -> "RunWriter":
        """Lock the run in a folder and return it, to continue its training.

        If its newest checkpoint is damaged, the run goes back to the one before. Raises InputError
        if there is no run, another process trains in it, or no checkpoint is intact.
        """
        run = cls(cls._found(folder).folder, {}, [])
        run.lock()
        try:
            run._repair()
            run._read()
        except BaseException:
            run.unlock()
            raise
        return run

    def lock(self) -> None:
        """Keep all other processes from training in this folder until `unlock`.

        Raises InputError if another process trains in it already.
        """
        self._files.lock()

    def unlock(self) -> None:
        """Let others train in this folder."""
        self._files.unlock()

    def save_files(self, contents: Mapping[str, Content]) -> None:
        """Commit further files of the run. contents: {name: content}."""
        self._files.commit(contents)

    def move(self, described: Mapping[str, Any]) -> None:
        """Commit the folders in which the images of the training are now.

        described: {"data" or "target": what config.json says of the images, with the new `folder`}.
        """
        moved = {name: _moved(self.config[name], now) for name, now in described.items()}
        if any(self.config[name] != now for name, now in moved.items()):
            self.config.update(moved)
            self.save_files({"config.json": _json(self.config)})

    def save_epoch(self, state: State, metrics: Dict[str, Any]) -> None:
        """Commit the state after an epoch.

        metrics: this epoch's line of metrics.jsonl; it has `target` if the epoch trained on a
        transfer's target.
        """
        moved = {name: kept for name, kept in zip(EPOCH, PREVIOUS) if self.metrics}
        checked_metrics(json.loads(_json([*self.metrics, metrics])), self.folder / EPOCH[0])
        self.metrics.append(metrics)
        contents: Dict[str, Content] = {
            "metrics.csv": _csv_lines(self.metrics),
            **dict(zip(EPOCH, (_json_lines(self.metrics), *_writers(state)))),
        }
        on_valid = [
            line["valid_balanced_accuracy"]
            for line in self.metrics
            if "valid_balanced_accuracy" in line and line.get("target") == metrics.get("target")
        ]
        if on_valid and on_valid[-1] >= max(on_valid):
            contents[BEST] = lambda path: link(self.folder / (EPOCH[1] + STAGED), path)
        self._files.commit(contents, moved, removed=STEP)
        if self._tensorboard:
            self._tensorboard.add(metrics)

    def save_parameters(self, arrays: Mapping[str, Any], metrics: List[Dict[str, Any]]) -> None:
        """Commit the parameters of a network that was trained outside this package.

        arrays: {name: array}. metrics: the epochs that this package trained before that.
        """
        self.metrics = metrics
        contents: Dict[str, Content] = {EPOCH[0]: _json_lines(metrics)}
        self._files.commit({**contents, EPOCH[1]: lambda path: write_params(path, arrays)})

    def save_step(self, state: State, progress: Dict[str, Any]) -> None:
        """Commit the state within an epoch. progress: fields of `mlr.training.loop.Progress`."""
        content = _json(progress)
        checked_progress(json.loads(content), self.folder / STEP[0])
        self._files.commit(dict(zip(STEP, (content, *_writers(state)))))

    def save_temperature(self, parameters: str, fitted: Optional[Mapping[str, Any]]) -> None:
        """Commit the temperature of the "last" or "best" parameters, or remove it.

        fitted: the content of its file: {"temperature": number} and what it was fitted to; None to
        remove the file.
        """
        name = temperature_file(parameters)
        if fitted is None:
            self._files.commit({}, removed=[name])
        else:
            self._files.commit({name: _json({**fitted, "files": self.files_of(parameters)})})

    def write_tensorboard(self, wanted: bool = False) -> None:
        """Write the metrics of every epoch for TensorBoard, too, into tensorboard/.

        This is done if it is wanted, or if the run that is continued has such a folder. Raises
        InputError if tensorboardX is not installed, or tensorboard/ is a link.
        """
        folder = self.folder / TENSORBOARD
        if folder.is_symlink():
            raise InputError(
                f"{folder} is a link, but event files are replaced in this folder: put a folder in "
                "its place, or remove it"
            )
        if wanted or folder.exists():
            self._tensorboard = TensorBoardFile(folder, self.metrics)

    def ship(self, folder: Union[str, Path], half: bool = False) -> None:
        """Write the files that prediction needs into a new folder, without the best parameters and
        the optimizer's state.

        half: round the parameters to float16, which halves their files. The temperature is then
        left out, because it was fitted to the unrounded parameters. Raises InputError if a
        parameter is too large for float16.
        """
        checkpoints = (BEST, *EPOCH[2:], *PREVIOUS, *STEP)
        arrays = [name for name in self._files.sums() if name.endswith(".params")]
        names = [name for name in arrays if name not in checkpoints]
        if self.temperature("last") is not None and not half:
            names.append(temperature_file("last"))
        copies = {name: self._halved(name) if half else self._copy(name) for name in names}
        shipped = RunWriter.create(folder, self.config, self.classes)
        shipped.metrics = self.metrics
        shipped.save_files({EPOCH[0]: _json_lines(self.metrics), **copies})

    def _copy(self, name: str) -> Callable[[str], Any]:
        return lambda path: shutil.copyfile(str(self.verified(name)), path)

    def _halved(self, name: str) -> Callable[[str], Any]:
        arrays = read_params(self.verified(name))
        halved = {key: array.astype(np.float16) for key, array in arrays.items()}
        large = [key for key, array in halved.items() if not np.isfinite(array).all()]
        if large:
            raise InputError(
                f"{self.folder / name}: {', '.join(large)} has numbers beyond float16's 65504: "
                "ship the run without rounding"
            )
        return lambda path: write_params(path, halved)

    def _repair(self) -> None:
        """Go back to an intact checkpoint, if files of the newest one are damaged."""
        damaged = [name for name in self._files.sums() if not self._files.find(name)]
        if set(EPOCH) & set(damaged):
            self._go_back_an_epoch(damaged)
        elif set(STEP) & set(damaged):
            self._go_back_to_the_epoch(damaged)
        elif set(PREVIOUS) & set(damaged):
            self._files.commit({}, removed=PREVIOUS)
        if BEST in damaged:
            warn(
                f"{self.folder / BEST} is missing, damaged or changed (SHA-256): the best epoch's "
                "parameters are lost, unless a later epoch is better"
            )
            self._files.commit({}, removed=[BEST])
        metrics = self._files.find(EPOCH[0])
        if "metrics.csv" in damaged and metrics:
            self._files.commit({"metrics.csv": _csv_lines(metrics_in(metrics))})

    def _go_back_an_epoch(self, damaged: List[str]) -> None:
        names = " and ".join(str(self.folder / name) for name in damaged)
        if not self.has(PREVIOUS[0]) or set(PREVIOUS) & set(damaged):
            raise InputError(
                f"{names}: missing, damaged or changed (SHA-256), and there is no intact "
                "checkpoint of the epoch before: restore it from a copy, or train again"
            )
        metrics = metrics_in(self.verified(PREVIOUS[0]))
        warn(
            f"{names}: missing, damaged or changed (SHA-256); continuing from the checkpoint "
            f"before, after epoch {len(metrics)}"
        )
        self._files.commit(
            {"metrics.csv": _csv_lines(metrics)},
            dict(zip(PREVIOUS, EPOCH)),
            removed=(*PREVIOUS, *STEP),
        )

    def _go_back_to_the_epoch(self, damaged: List[str]) -> None:
        names = " and ".join(str(self.folder / name) for name in damaged if name in STEP)
        where = "after the last epoch" if self.has(EPOCH[0]) else "the training's start"
        warn(
            f"{names}: missing, damaged or changed (SHA-256); continuing from the checkpoint "
            f"before, {where}"
        )
        self._files.commit({}, removed=STEP)


def _moved(described: Mapping[str, Any], now: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what config.json says of images, with the folders in which they are now."""
    moved = {**described, "folder": now["folder"]}
    if "sets" in moved:
        moved["sets"] = [_moved(*each) for each in zip(moved["sets"], now["sets"])]
    return moved


def refuse_unreadable(folder: Union[str, Path], config: Any, classes: Any) -> None:
    """Raise InputError if a run folder with this config and these classes could not be opened."""
    paths = [Path(folder) / name for name in ("config.json", "classes.json")]
    try:
        config, classes = (
            parse_json(_json(value), path, "no run is created")
            for value, path in zip((config, classes), paths)
        )
        checked_config(config, paths[0])
        checked_classes(classes, paths[1])
    except Refused as error:
        raise refused_anew(error) from None


def refused_anew(error: Refused) -> InputError:
    """Return the error for a run that is not created, because it could not be opened again."""
    return InputError(f"no run is created, because mlr could not open it again: {error.found}")


def _writers(state: State) -> List[Content]:
    def writer(arrays: Mapping[str, Any]) -> Content:
        return lambda path: write_params(path, arrays)

    return [writer(arrays) for arrays in state]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _json_lines(lines: List[Dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def _csv_lines(lines: List[Dict[str, Any]]) -> str:
    text = io.StringIO()
    names = list(dict.fromkeys(name for line in lines for name in line))
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return text.getvalue()
