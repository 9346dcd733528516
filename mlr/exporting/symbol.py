"""Writes a network as MXNet's symbol and parameters."""

import json
from pathlib import Path
from typing import Any, Mapping, Union

import mxnet as mx
from mxnet.gluon import HybridBlock

from mlr.errors import RunError
from mlr.runtime.files import new_folder

MODEL = "model"


def save_symbol(
    net: HybridBlock, size: int, about: Mapping[str, Any], folder: Union[str, Path]
) -> None:
    """Write a hybridized network as MXNet's symbol and parameters into a new folder, whole or not
    at all.

    about: for model.json. Raises InputError if an interrupted export has left files beside the
    folder, and RunError if the folder can't be written.
    """
    with new_folder(folder) as staged:
        # Gluon exports the graph of the last call
        net(mx.nd.zeros((1, 3, size, size))).wait_to_read()
        try:
            net.export(str(staged / MODEL))
        except mx.MXNetError as error:
            reason = str(error).partition("\n")[0]
            raise RunError(
                f"{folder} can't be written, likely as the disk is full ({reason}): free some "
                "space, or give another --out"
            ) from None
        (staged / (MODEL + ".json")).write_text(json.dumps(about, indent=2) + "\n")
