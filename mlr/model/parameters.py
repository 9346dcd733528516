"""Checks weights from files by name and shape, and puts them into a network."""

from pathlib import Path
from typing import Any, Dict, List, Mapping, Union

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.gluon.parameter import DeferredInitializationError, Parameter

from mlr.errors import InputError, shown

Contexts = Union[mx.Context, List[mx.Context], None]

NAMES_SHOWN = 10  # of each kind in an error's message


class ParametersError(InputError):
    """Arrays that don't fit a network. Attributes: the names of the arrays that are `missing`,
    `unexpected`, `wrongly_shaped`, or, with other values than finite floats, `not_numbers`.
    """

    def __init__(self, source: Union[str, Path], **faults: Any) -> None:
        self.missing, self.unexpected = faults["missing"], faults["unexpected"]
        self.wrongly_shaped, self.not_numbers = (
            list(faults["wrongly_shaped"]),
            list(faults["not_numbers"]),
        )
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "wrongly shaped": [
                f"{name} {found} instead of {expected}"
                for name, (found, expected) in faults["wrongly_shaped"].items()
            ],
            "not finite floating-point numbers": [
                f"{name} {what}" for name, what in faults["not_numbers"].items()
            ],
        }
        listed = "; ".join(_listed(kind, names) for kind, names in kinds.items() if names)
        super().__init__(f"the parameters in {source} don't fit the network: {listed}")


def _listed(kind: str, names: List[str]) -> str:
    """Return the number of names with a kind of fault, and the first of these names."""
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return f"{len(names):d} {kind} ({', '.join(map(shown, names[:NAMES_SHOWN]))}{more})"


def infer_shapes(net: gluon.HybridBlock) -> None:
    """Infer the shapes of a network's parameters from an image of its `image_size`, or of 64 px if
    no shape depends on the size.
    """
    size = getattr(net, "image_size", None) or 64
    net.infer_shape(mx.nd.zeros((1, 3, size, size)))


def materialize(net: gluon.HybridBlock, ctx: Contexts, initializer: mx.init.Initializer) -> None:
    """Create all parameters of a network on the contexts."""
    infer_shapes(net)
    net.initialize(initializer, ctx=ctx)


def set_parameters(
    parameters: Dict[str, Parameter],
    arrays: Dict[str, np.ndarray],
    source: Union[str, Path],
    ctx: Contexts = None,
) -> None:
    """Put arrays, {name: NumPy array}, into parameters, {name: Parameter}, in the parameters'
    dtype. Raises ParametersError, and sets none, if any does not fit.

    source: the file's name, for the error. ctx: where to create parameters that have a shape but
    were never initialized, a context or a list (default: the current one). Integers, NaN and
    infinity don't fit: no training that succeeded saves them.
    """
    common = [name for name in parameters if name in arrays]
    faults = {
        "missing": [name for name in parameters if name not in arrays],
        "unexpected": [name for name in arrays if name not in parameters],
        "wrongly_shaped": {
            name: (arrays[name].shape, parameters[name].shape)
            for name in common
            if arrays[name].shape != parameters[name].shape
        },
        "not_numbers": {
            name: what for name in common for what in [_not_numbers(arrays[name])] if what
        },
    }
    if any(faults.values()):
        raise ParametersError(source, **faults)
    for name, parameter in parameters.items():
        _create(parameter, ctx)
        parameter.set_data(mx.nd.array(arrays[name], dtype=parameter.dtype))


def parameter_arrays(
    parameters: Dict[str, Parameter],
) -> Dict[str, Union[mx.nd.NDArray, np.ndarray]]:
    """Return the arrays to save for parameters, {name: array} for {name: Parameter}; call it when
    MXNet is idle.

    Weights are the same on every device. Each device has its own running statistics of batch norm;
    their mean is returned, as Gluon saves it. Raises RuntimeError if the parameters have no data
    yet.
    """
    return {
        name: parameter.list_data()[0]
        if parameter.grad_req != "null"
        else np.mean([value.asnumpy() for value in parameter.list_data()], axis=0)
        for name, parameter in parameters.items()
    }


def _not_numbers(array: np.ndarray) -> str:
    if array.dtype.kind != "f":
        return str(array.dtype)
    return "" if np.isfinite(array).all() else "NaN or infinite"


def _create(parameter: Parameter, ctx: Contexts) -> None:
    try:
        parameter.list_data()
        return
    except DeferredInitializationError:
        ctx = parameter.list_ctx()
    except RuntimeError:  # never initialized
        pass
    parameter.initialize(mx.init.Zero(), ctx, force_reinit=True)


def untagged(arrays: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Return arrays, {name: array}, without the tags arg: and aux: in the names, which MXNet's
    symbols and modules write.
    """
    return {
        name[4:] if name.startswith(("arg:", "aux:")) else name: array
        for name, array in arrays.items()
    }
