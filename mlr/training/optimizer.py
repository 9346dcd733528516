"""Gluon's trainer, and its state as plain arrays."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import mxnet as mx
import numpy as np
from mxnet import gluon, nd

from mlr.errors import InputError, shown
from mlr.training.distributed import Workers

Source = Union[str, Path]  # the file's name, for errors
Arrays = Dict[str, np.ndarray]
ByIndex = Dict[int, List[np.ndarray]]  # the key is the parameter's number in the trainer


class MomentumSGD(mx.optimizer.SGD):
    """MXNet's SGD with momentum, with the kernel for one parameter: the same bits.

    MXNet's own class takes the kernel for several parameters even for one. On a CPU that takes 1.3
    times as long, because its inner loop goes over the parameters.
    """

    def update_multi_precision(self, index: int, weight: Any, grad: Any, state: Any) -> None:
        """Update one parameter and its momentum, in place."""
        self._update_count(index)
        nd.sgd_mom_update(
            weight,
            grad,
            state,
            out=weight,
            lr=self._get_lr(index),
            wd=self._get_wd(index),
            momentum=self.momentum,
            rescale_grad=self.rescale_grad,
        )


def set_learning_rate(trainer: gluon.Trainer, rate: float, workers: Workers) -> None:
    """Set the learning rate of a trainer, even if its optimizer is on the servers. If the rate
    changes, the servers then start with new momentum.
    """
    changed = rate != trainer.learning_rate
    trainer.set_learning_rate(rate)
    if changed and not workers.wait_for_each_other and trainer._kv_initialized:
        workers.barrier()
        if workers.first:
            workers.kvstore.set_optimizer(trainer._optimizer)
        workers.barrier()


def new_trainer(
    net: gluon.Block,
    optimizer: str,
    arguments: Mapping[str, Any],
    multipliers: Optional[Mapping[gluon.Parameter, float]] = None,
    workers: Optional[Workers] = None,
) -> gluon.Trainer:
    """Return a gluon.Trainer for all parameters of an initialized network.

    optimizer: its name in MXNet. arguments: those of the optimizer. multipliers: {parameter:
    multiplier of the learning rate}. workers: the trainer starts with the parameters of the first
    worker.
    """
    workers, multipliers, parameters = workers or Workers(), multipliers or {}, net.collect_params()
    on_cpu = all(
        context.device_type == "cpu"
        for parameter in parameters.values()
        for context in parameter.list_ctx()
    )
    # A server unpickles the optimizer while it imports MXNet, so it can't import a class of ours.
    updated_here = on_cpu and workers.wait_for_each_other
    if updated_here and optimizer == "sgd" and arguments.get("momentum"):
        updates = MomentumSGD(**arguments)
    else:
        updates = mx.optimizer.create(optimizer, **arguments)
    if on_cpu:
        # The fused update of several parameters saves kernel launches on a GPU. On a CPU it is
        # slow, as its inner loop goes over the parameters.
        updates.aggregate_num = 0
    for parameter, multiplier in multipliers.items():
        parameter.lr_mult = multiplier
    # The servers' copy of the optimizer knows parameters only by their numbers.
    updates.set_lr_mult(
        {
            number: multipliers[parameter]
            for number, parameter in enumerate(parameters.values())
            if parameter in multipliers
        }
    )
    # Without update_on_kvstore this process has the optimizer's state even with several contexts
    # and workers. dist_async requires update_on_kvstore.
    trainer = gluon.Trainer(
        parameters,
        updates,
        kvstore=workers.kvstore or "device",
        update_on_kvstore=not workers.wait_for_each_other,
    )
    if workers.wait_for_each_other:
        # With several contexts the first call copies every parameter from the first context to all
        # others. MXNet would do that in the first step, and undo the update of batch norm's running
        # statistics.
        trainer.allreduce_grads()
    return trainer


def optimizer_arrays(trainer: gluon.Trainer) -> Dict[str, nd.NDArray]:
    """Return a trainer's state apart from the parameters, {name: NDArray}. Gluon itself would save
    it as a pickle.

    "<parameter index>.<number>" are the optimizer's moments, "updates" is the number of steps so
    far. With several contexts each has its own running statistics of batch norm:
    "running.<parameter index>.<context's number>".
    """
    arrays = {"updates": nd.array([trainer._optimizer.num_update], dtype="int64")}
    for index, state in sorted(trainer._updaters[0].states.items()):
        for number, moment in enumerate(state if isinstance(state, tuple) else (state,)):
            arrays[f"{index:d}.{number:d}"] = moment
    if len(trainer._contexts) > 1:
        arrays.update(
            (f"running.{index:d}.{number:d}", value)
            for index, parameter in enumerate(trainer._params)
            if parameter.grad_req == "null"
            for number, value in enumerate(parameter.list_data())
        )
    return arrays


def restore_optimizer(
    trainer: gluon.Trainer, arrays: Mapping[str, np.ndarray], source: Source = "the arrays"
) -> None:
    """Put the arrays of `optimizer_arrays`, as NumPy arrays, back into a trainer that has done no
    step yet.

    The moments go to every context, running statistics only if the number of contexts is the same
    as before. source: the file's name. Raises InputError if an array is missing, unexpected, of
    another shape or type, or not finite: MXNet would write beyond the end of a moment that is too
    short.
    """
    updates, moments, running = _checked_optimizer(trainer, dict(arrays), source)
    trainer._optimizer.begin_num_update = trainer._optimizer.num_update = updates
    for updater, context in zip(trainer._updaters, trainer._contexts):
        for index, state in moments.items():
            copies = tuple(nd.array(moment, context, moment.dtype) for moment in state)
            updater.states[index] = copies if len(copies) > 1 else copies[0]
            updater.states_synced[index] = True
    for index, values in running.items():
        if len(values) == len(trainer._contexts):
            for ours, value in zip(trainer._params[index].list_data(), values):
                ours[:] = nd.array(value, ours.context, value.dtype)


def _checked_optimizer(
    trainer: gluon.Trainer, arrays: Arrays, source: Source
) -> Tuple[int, ByIndex, ByIndex]:
    """Return the number of updates, {parameter's index: [moments]} and {parameter's index: [running
    statistics, one for each context]}. Removes them from `arrays`.
    """
    updates = arrays.pop("updates", None)
    if (
        updates is None
        or updates.shape != (1,)
        or updates.dtype != np.int64
        or not 0 <= updates[0] < 2**31
    ):
        raise _refused(source, f"its number of updates is {updates}")
    moments: ByIndex = {}
    running: ByIndex = {}
    contexts = sum(name.startswith("running.") for name in arrays) // (
        sum(parameter.grad_req == "null" for parameter in trainer._params) or 1
    )
    # as with dist_async, whose servers keep the moments
    on_servers = not any(name[:1].isdigit() for name in arrays)
    for index, parameter in enumerate(trainer._params):
        data = parameter.list_data()[0]
        if parameter.grad_req == "null":
            running[index] = [
                _taken(arrays, f"running.{index}.{number}", data, source)
                for number in range(contexts)
            ]
        elif not on_servers:
            state = trainer._optimizer.create_state_multi_precision(index, data)
            moments[index] = [
                _taken(arrays, f"{index}.{number}", like, source)
                for number, like in enumerate(state if isinstance(state, tuple) else (state,))
            ]
    if arrays:
        raise _refused(source, f"it also has {shown(', '.join(arrays))}")
    return int(updates[0]), moments, running


def _taken(arrays: Arrays, name: str, like: nd.NDArray, source: Source) -> np.ndarray:
    """Remove an array from `arrays` and return it. Raises InputError if it is missing, not finite,
    or has another shape or type than `like`.
    """
    array = arrays.pop(name, None)
    if array is not None and (array.shape, array.dtype) == (like.shape, like.dtype):
        if np.isfinite(array).all():
            return array
    found = "missing" if array is None else f"{array.dtype} of shape {array.shape}"
    expected = f"finite {np.dtype(like.dtype).name} of shape {like.shape}"
    raise _refused(source, f"{name} is {found}, expected {expected}")


def _refused(source: Source, what: str) -> InputError:
    return InputError(
        f"{source} is not the optimizer's state of this training ({what}): restore it from a "
        "copy, or train again"
    )
