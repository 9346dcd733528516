"""Checkpoints within an epoch."""

from mlr.errors import Interrupted
from mlr.runtime.signals import NAMES


class Checkpoints:
    """Those within an epoch: every `every` steps, if that is not None, and when a signal was
    postponed.
    """

    def __init__(self, run, net, trainer, steps, every, postponed):
        self._state, self._save, self._steps, self._every, self._postponed = (
            (net, trainer),
            run.save_step,
            steps,
            every,
            postponed,
        )

    @property
    def stopping(self):
        return self._postponed.signal is not None

    def due(self, step):
        """Tell whether to save after a step, by the number of steps that are done in its epoch."""
        return self.stopping or self._every and step % self._every == 0

    def save_step(self, progress):
        """Save the state within an epoch. Raises Interrupted where a signal asked for it."""
        self._save(*self._state, progress)
        if self.stopping:
            raise Interrupted(
                (
                    f"{NAMES[self._postponed.signal]} in epoch {progress.epoch + 1:d}, after step "
                    f"{progress.step:d} of {self._steps:d}, and saved"
                ),
                self._postponed.signal,
            )
