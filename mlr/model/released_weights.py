"""Parameter files of the released code (model/train.py): 275 names for its ResNet-50."""

from pathlib import Path
from typing import Dict, Sequence, Union

import numpy as np
from mxnet import gluon, nd
from mxnet.gluon import nn

from mlr.errors import InputError
from mlr.formats.params import read_params, write_params
from mlr.model.network import MultiLevelNet
from mlr.model.parameters import Contexts, infer_shapes, parameter_arrays, set_parameters, untagged
from mlr.model.released_style import sequence
from mlr.paper import TAPS
from mlr.runtime.files import remove, write_file
from mlr.runtime.hashing import CHECKSUM, sha256_of, verify_checksum


def released_view(net: MultiLevelNet) -> gluon.Block:
    """Return the blocks of a MultiLevelNet, arranged and named as in the released code, which names
    its parameters after that.
    """
    backbone, view = net.backbone, gluon.Block()
    view.feature_extractor = sequence(
        *backbone.stem,
        backbone.pool,
        backbone.stage1,
        backbone.stage2,
        backbone.stage3,
        backbone.stage4,
        *backbone.head,
    )
    for number, branch in enumerate(net.shallow.branches, start=1):
        *pool_and_gram, dense = branch.layers
        setattr(view, f"branch_{number:d}", sequence(*pool_and_gram, nn.Flatten(), dense))
    view.styleVector = net.shallow.mix
    view.output = sequence(net.fusion.norm, net.fusion.output)
    return view


def load_original_parameters(
    net: MultiLevelNet, path: Union[str, Path], ctx: Contexts = None
) -> None:
    """Put a file that the released code saved with `save_parameters`, or Gluon's older
    `save_params`, into a MultiLevelNet.

    net: with the released backbone, taps and widths and the file's number of classes; where it was
    not initialized yet, that is done on `ctx`, a context or a list (default: the current one). The
    numbers take the network's dtype: float16 is widened, exactly; float64 rounded where the network
    is float32.

    Raises InputError where the file is damaged or doesn't fit: the error has the names that are
    `missing`, `unexpected`, `wrongly_shaped` or `not_numbers`, and the network stays as it was.
    Damage to the numbers alone shows where they are no longer finite, or by the file's SHA-256 in
    <path>.sha256, as `save_original_parameters` and sha256sum write it.
    """
    verify_checksum(path)
    infer_shapes(net)
    parameters = released_view(net)._collect_params_with_prefix()
    set_parameters(parameters, _renamed(untagged(read_params(path)), list(parameters)), path, ctx)


def save_original_parameters(net: MultiLevelNet, path: Union[str, Path]) -> None:
    """Write the parameters of a MultiLevelNet as the released code does, for its `load_parameters`,
    and <path>.sha256.

    Raises InputError for a network that is not initialized, or that has other taps than the
    released code.
    """
    if net.taps != TAPS:
        raise InputError(
            f"the released code reads the maps {', '.join(TAPS)} and can't load a network that "
            f"reads {', '.join(net.taps)}"
        )
    # a forward pass on mxnet-mkl changes the layout of weights in place, and saving does not wait
    # for it by itself
    nd.waitall()
    try:
        arrays = parameter_arrays(released_view(net)._collect_params_with_prefix())
    except RuntimeError:  # Gluon's, of a parameter without data
        raise InputError(
            "the network has no parameters yet: initialize it, or load some, before saving them "
            f"to {path}"
        ) from None
    checksum = Path(f"{path}{CHECKSUM}")
    remove(checksum)  # a stop between the two files leaves a whole one without a checksum
    write_file(path, lambda file: write_params(file, arrays))
    write_file(checksum, f"{sha256_of(path)}  {Path(path).name}\n")


def _renamed(arrays: Dict[str, np.ndarray], names: Sequence[str]) -> Dict[str, np.ndarray]:
    """Return arrays with Gluon's older names (dense0_weight), which count layers by the process,
    under `names`, which have their order.

    What has other names, or another order or number, is returned as it is.
    """
    older = (
        not any("." in name for name in arrays)
        and len(arrays) == len(names)
        and all(old.endswith("_" + name.rpartition(".")[2]) for old, name in zip(arrays, names))
    )
    return dict(zip(names, arrays.values())) if older else arrays
