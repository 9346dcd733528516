"""A network as an .npz file of plain arrays, there and back."""

import io
import json
from pathlib import Path
from typing import Any, Dict, Mapping, Union

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock

from mlr.errors import InputError
from mlr.formats.npz import read_npz
from mlr.model.networks import new_network
from mlr.model.parameters import Contexts, infer_shapes, set_parameters

# characters of a network's options, and pixels of its images, that are taken for earnest
LONGEST, LARGEST = 2000, 4096


def npz_of(net: HybridBlock, config: Mapping[str, Any], about: Mapping[str, Any]) -> bytes:
    """Return the bytes of an .npz file of a network's parameters and what goes with them. config:
    of the run. about: its `description`.
    """
    mx.nd.waitall()
    arrays = {
        name: parameter.data(mx.cpu()).asnumpy()
        for name, parameter in net._collect_params_with_prefix().items()
    }
    # a zipfile on a full disk complains once more when it is collected
    file = io.BytesIO()
    np.savez(
        file,
        config=json.dumps(config),
        classes=about["classes"],
        description=json.dumps(about),
        **arrays,
    )
    return file.getvalue()


def import_npz(path: Union[str, Path], ctx: Contexts = None) -> HybridBlock:
    """Return the network, hybridized, that an .npz file of `mlr export --format npz` holds, its
    parameters equal to the bit.

    ctx: a context or a list (default: the current one). Raises InputError for a file that is
    damaged, holds objects, describes no network of this package, or has parameters that don't fit
    it. Nothing in it is run, whoever made it.
    """
    arrays = read_npz(path)
    options = _network_options(arrays.get("config"), path)
    try:
        net = new_network(options)
        infer_shapes(net)
    except Exception as error:  # of arguments that were never meant, Gluon raises nearly everything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{path} describes no network that this package can build "
            f"({reason}): get it again, or export it anew"
        ) from None
    set_parameters(
        net._collect_params_with_prefix(),
        {name: array for name, array in arrays.items() if "." in name},
        path,
        ctx,
    )
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def _network_options(text: Any, path: Union[str, Path]) -> Dict[str, Any]:
    """Return what the text of a config.json says of its network, small enough to be built by way of
    trial.
    """
    try:
        options = json.loads(text.item())["network"]
        if len(json.dumps(options)) > LONGEST or options.get("image_size", 0) > LARGEST:
            raise ValueError("a network too large")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise InputError(
            f"{path} holds no network of mlr export --format npz: its `config` is missing or "
            "damaged; get it again, or export it anew"
        ) from None
    return options
