"""Writes a network as an .npz file of plain arrays, and reads it back."""

import io
import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Union

import mxnet as mx
import numpy as np
from mxnet import gluon

from mlr.errors import InputError
from mlr.formats.npz import read_npz
from mlr.model.parameters import infer_shapes, set_parameters
from mlr.runs.schema import upgraded

# the most characters of a network's description, and pixels of its images' sides, that are accepted
LONGEST, LARGEST = 2000, 4096


def npz_of(net: gluon.HybridBlock, config: Mapping[str, Any], about: Mapping[str, Any]) -> bytes:
    """Return the bytes of an .npz file with a network's parameters and description. config: the
    run's config.json. about: what `description` returned.
    """
    mx.nd.waitall()
    arrays = {
        name: parameter.data(mx.cpu()).asnumpy()
        for name, parameter in net._collect_params_with_prefix().items()
    }
    # in memory, as a zipfile on a full disk raises a second error when it is garbage-collected
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
    path: Union[str, Path],
    build: Callable[[Dict[str, Any]], gluon.HybridBlock],
    ctx: Union[None, mx.Context, List[mx.Context]] = None,
) -> gluon.HybridBlock:
    """Return the network, hybridized, from an .npz file of `npz_of`.

    build: makes a network from the file's config; other arguments and errors as for
    `mlr.import_npz`.
    """
    arrays = read_npz(path)
    config = _config_in(arrays.get("config"), path)
    try:
        net = build(config)
        infer_shapes(net)
    except Exception as error:  # with nonsensical arguments Gluon raises almost any exception
        why = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{path} describes no network that this package can build ({why}), likely as it is "
            "damaged: copy it again, or export it again"
        ) from None
    parameters = {name: array for name, array in arrays.items() if "." in name}
    set_parameters(net._collect_params_with_prefix(), parameters, path, ctx)
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def _config_in(text: Any, path: Union[str, Path]) -> Dict[str, Any]:
    """Return the config from a file. Raises InputError if it is missing or damaged, or if its
    network is too large to be built as a trial.
    """
    try:
        config = upgraded(json.loads(text.item()), path)
        network = config["network"]
        if len(json.dumps(network)) > LONGEST or network.get("image_size", 0) > LARGEST:
            raise ValueError("a network too large")
    except InputError:  # of a newer version of mlr
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise InputError(
            f"{path} holds no network of mlr export --format npz: its `config` is missing or "
            "damaged; copy it again, or export it again"
        ) from None
    return config
