"""A training under way: what there is to train, on what, and where it goes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

import mxnet as mx
from mxnet import gluon

from mlr.data.labelled import LabelledImages
from mlr.inference.predictor import Predictor
from mlr.options.training import TrainingOptions
from mlr.runs.folder import Run
from mlr.runs.writing import RunWriter
from mlr.runtime.files import Content
from mlr.runtime.signals import Postponed
from mlr.training.checkpoints import Checkpoints, state_of
from mlr.training.distributed import Workers
from mlr.training.loop import Progress

if TYPE_CHECKING:
    from mlr.methods.method import Method


@dataclass(frozen=True)
class Machine:
    """Where a training runs, and what it writes beside the run; no options of the run."""

    ctx: List[mx.Context]
    workers: Workers
    tensorboard: bool = False
    checkpoint_every: Optional[int] = None  # steps


@dataclass(frozen=True)
class Source:
    """The splits of a data set, and the one, valid or test, that is looked at after each epoch.

    sets: where it is several data sets together, the splits of each.
    """

    splits: Mapping[str, LabelledImages]
    evaluated: str
    sets: Sequence[Mapping[str, LabelledImages]] = ()

    @property
    def train(self) -> LabelledImages:
        """The split to train on."""
        return self.splits["train"]

    @property
    def evaluation(self) -> LabelledImages:
        """The split that is looked at after each epoch."""
        return self.splits[self.evaluated]

    @property
    def apart(self) -> List[Tuple[str, LabelledImages]]:
        """Of several data sets what each is measured on, its whole split, and that one's name."""
        wanted = (self.evaluated, "valid", "test")
        names = [next(name for name in wanted if name in splits) for splits in self.sets]
        return [(name, splits[name]) for name, splits in zip(names, self.sets)]


@dataclass
class Training:
    """What a method's `fit` works with.

    source: of the images; target: what to transfer to at the end, or None. predictor: of the
    network as it is, untrained parts included. progress: where to go on within an epoch, or None.
    """

    method: "Method"
    options: TrainingOptions
    run: Run
    machine: Machine
    predictor: Predictor
    trainer: gluon.Trainer
    source: Source
    target: Optional[Source]
    progress: Optional[Progress]

    @property
    def net(self) -> gluon.HybridBlock:
        """The network."""
        return self.predictor.net

    def write(self, contents: Mapping[str, Content]) -> None:
        """Commit further files of the run; a worker that is not the first leaves it to that one."""
        if isinstance(self.run, RunWriter):
            self.run.save_files(contents)

    def record(self, line: Dict[str, Any]) -> None:
        """Commit the state after an epoch, with its line of metrics.jsonl."""
        if isinstance(self.run, RunWriter):
            self.run.save_epoch(state_of(self.net, self.trainer), line)
        else:
            self.run.metrics.append(line)

    def checkpoints(self, steps: int, postponed: Postponed) -> Optional[Checkpoints]:
        """Return what saves within an epoch of so many steps, None for one that can't write."""
        if not isinstance(self.run, RunWriter):
            return None
        every = self.machine.checkpoint_every
        return Checkpoints(self.run, self.net, self.trainer, steps, every, postponed)
