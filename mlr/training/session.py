"""A training in progress: its network and data, its machine and its run."""

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
    """The machine that a training runs on, and what it writes beyond the run's own files. These are
    not options of the run.
    """

    ctx: List[mx.Context]
    workers: Workers
    tensorboard: bool = False
    checkpoint_every: Optional[int] = None  # steps


@dataclass(frozen=True)
class Source:
    """The splits of a data set, and the name of the split, valid or test, that is evaluated after
    each epoch.

    sets: for several data sets joined, the splits of each.
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
        """The split that is evaluated after each epoch."""
        return self.splits[self.evaluated]

    @property
    def apart(self) -> List[Tuple[str, LabelledImages]]:
        """For each of several joined data sets, the name of the split that it is measured on at the
        end, and the split.
        """
        wanted = (self.evaluated, "valid", "test")
        names = [next(name for name in wanted if name in splits) for splits in self.sets]
        return [(name, splits[name]) for name, splits in zip(names, self.sets)]


@dataclass
class Training:
    """All that a method's `fit` needs.

    source: the data to train on; target: the data to transfer to at the end, or None. predictor:
    predicts with the network in its present state, trained or not. progress: where to continue
    within an epoch, or None.
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
        """Commit further files of the run. Only the first worker writes; the others do nothing."""
        if isinstance(self.run, RunWriter):
            self.run.save_files(contents)

    def record(self, line: Dict[str, Any]) -> None:
        """Commit the state after an epoch, with the epoch's line of metrics.jsonl."""
        if isinstance(self.run, RunWriter):
            self.run.save_epoch(state_of(self.net, self.trainer), line)
        else:
            self.run.metrics.append(line)

    def checkpoints(self, steps: int, postponed: Postponed) -> Optional[Checkpoints]:
        """Return the object that saves within an epoch, None for a worker that does not write.
        steps: the number of steps in an epoch.
        """
        if not isinstance(self.run, RunWriter):
            return None
        every = self.machine.checkpoint_every
        return Checkpoints(self.run, self.net, self.trainer, steps, every, postponed)
