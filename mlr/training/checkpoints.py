"""Saves the state of a training as arrays, within an epoch and after it, and restores it."""

from dataclasses import asdict
from typing import Any, Dict, Optional, Tuple

import mxnet as mx
from mxnet import gluon

from mlr.errors import Interrupted
from mlr.model.parameters import parameter_arrays, set_parameters
from mlr.runs.folder import Run
from mlr.runs.writing import RunWriter
from mlr.runtime.signals import NAMES, Postponed
from mlr.training.loop import Progress
from mlr.training.optimizer import optimizer_arrays, restore_optimizer


def state_of(
    net: gluon.HybridBlock, trainer: gluon.Trainer
) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Return {name: array} of the parameters, and the same of the optimizer's state."""
    # A forward pass on mxnet-mkl changes the layout of weights in place, and saving does not wait
    # for the pass to end.
    mx.nd.waitall()
    return parameter_arrays(net._collect_params_with_prefix()), optimizer_arrays(trainer)


def restore(run: Run, net: gluon.HybridBlock, trainer: gluon.Trainer) -> Optional[Progress]:
    """Put the last committed state of a run into a materialized network and its trainer.

    Return the progress within an epoch; None if the state is that after an epoch, or if nothing was
    committed yet.
    """
    if not run.begun:
        return None
    parameters, optimizer, progress = run.checkpoint()
    parameters_file, optimizer_file = run.checkpoint_files()
    set_parameters(net._collect_params_with_prefix(), parameters, parameters_file)
    restore_optimizer(trainer, optimizer, optimizer_file)
    return Progress(**progress) if progress else None


class Checkpoints:
    """Saves checkpoints within an epoch: every `every` steps, if that is not None, and after a
    signal.
    """

    def __init__(
        self,
        run: RunWriter,
        net: gluon.HybridBlock,
        trainer: gluon.Trainer,
        steps: int,
        every: Optional[int],
        postponed: Postponed,
    ):
        """steps: the number of steps in an epoch, for the message."""
        self._run, self._net, self._trainer = run, net, trainer
        self._steps, self._every, self._postponed = steps, every, postponed

    @property
    def stopping(self) -> bool:
        """Whether a signal asked the training to stop."""
        return self._postponed.signal is not None

    def due(self, step: int) -> bool:
        """Tell whether to save after a step. step: the number of steps done in the epoch."""
        return self.stopping or bool(self._every and step % self._every == 0)

    def save_step(self, progress: Progress) -> None:
        """Save the state within an epoch. Raises Interrupted if a signal asked the training to
        stop.
        """
        self._run.save_step(state_of(self._net, self._trainer), asdict(progress))
        number = self._postponed.signal
        if number is not None:
            raise Interrupted(
                f"{NAMES[number]} in epoch {progress.epoch + 1}, after step {progress.step} of "
                f"{self._steps}; a checkpoint is saved",
                number,
            )
