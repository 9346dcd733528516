"""A network as an .npz file of plain arrays, there and back."""

import io
import json
import os
from typing import Any, Callable, Dict, List, Mapping, Union

import mxnet as mx
import numpy as np
from mxnet import gluon

from mlr.errors import InputError
from mlr.formats.npz import read_npz
from mlr.model.parameters import infer_shapes, set_parameters
from mlr.runs.schema import upgraded

# characters of a network's options, and pixels of its images, that are taken for earnest
LONGEST, LARGEST = 2000, 4096


def npz_of(net: gluon.HybridBlock, config: Mapping[str, Any], about: Mapping[str, Any]) -> bytes:
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


def network_of(
    path: Union[str, "os.PathLike[str]"],
    build: Callable[[Dict[str, Any]], gluon.HybridBlock],
    ctx: Union[None, mx.Context, List[mx.Context]] = None,
) -> gluon.HybridBlock:
    """Return the network, hybridized, that an .npz file of `npz_of` holds.

    build: makes the network of the config in the file; other arguments and errors as of
    `mlr.import_npz`.
    """
    arrays = read_npz(path)
    config = _config_in(arrays.get("config"), path)
    try:
        net = build(config)
        infer_shapes(net)
    except Exception as error:  # of arguments that were never meant, Gluon raises nearly everything
        why = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{path} describes no network that this package can build ({why}): get it again, or "
            "export it anew"
        ) from None
    parameters = {name: array for name, array in arrays.items() if "." in name}
    set_parameters(net._collect_params_with_prefix(), parameters, path, ctx)
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def _config_in(text: Any, path: Union[str, "os.PathLike[str]"]) -> Dict[str, Any]:
    """Return the config.json in a file, with a network small enough to be built by way of trial."""
    try:
        config = upgraded(json.loads(text.item()), path)
        network = config["network"]
        if len(json.dumps(network)) > LONGEST or network.get("image_size", 0) > LARGEST:
            raise ValueError("a network too large")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise InputError(
            f"{path} holds no network of mlr export --format npz: its `config` is missing or "
            "damaged; get it again, or export it anew"
        ) from None
    return config
