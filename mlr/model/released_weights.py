"""Parameter files of the released code (model/train.py): 275 names for its ResNet-50."""

import re
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
    """Return the blocks of a MultiLevelNet, arranged and named as in the released code, so that the
    parameters get the released names.
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
    """Load a file that the released code saved with `save_parameters`, or with Gluon's older
    `save_params`, into a MultiLevelNet.

    net: has the released backbone, taps and widths, and the file's number of classes. If it is not
    initialized yet, this is done on `ctx`, a context or a list (default: the current one). The
    numbers are converted to the network's dtype: exactly from float16, rounded from float64 to
    float32.

    Raises InputError if the network is not of the released kind (`save_original_parameters`) or the
    file is damaged, and ParametersError, with the attributes `missing`,
    `unexpected`, `wrongly_shaped` and `not_numbers`, if it doesn't fit; the network then stays as
    it was. Damaged numbers are only found if they are not finite, or if <path>.sha256 has the
    file's SHA-256, as `save_original_parameters` and sha256sum write it.
    """
    refuse_other_networks(net, path)
    verify_checksum(path)
    infer_shapes(net)
    parameters = released_view(net)._collect_params_with_prefix()
    set_parameters(parameters, _renamed(untagged(read_params(path)), list(parameters)), path, ctx)


def save_original_parameters(net: MultiLevelNet, path: Union[str, Path]) -> None:
    """Write the parameters of a MultiLevelNet in the released code's format, for its
    `load_parameters`, and their checksum in <path>.sha256.

    Raises InputError if the network is not initialized, or if the released code would compute
    something else with its parameters: its backbone is no ResNet v2, or it has other taps, another
    fusion or a factor on the Gram matrices.
    """
    refuse_other_networks(net, path)
    # A forward pass on mxnet-mkl changes the layout of weights in place, and saving does not wait
    # for the pass to end.
    nd.waitall()
    try:
        arrays = parameter_arrays(released_view(net)._collect_params_with_prefix())
    except RuntimeError:  # raised by Gluon for a parameter without data
        raise InputError(
            "the network has no parameters yet: initialize it, or load some, before saving them "
            f"to {path}"
        ) from None
    checksum = Path(f"{path}{CHECKSUM}")
    remove(checksum)  # so an interruption leaves no checksum of another file
    write_file(path, lambda file: write_params(file, arrays))
    write_file(checksum, f"{sha256_of(path)}  {Path(path).name}\n")


def refuse_other_networks(net: MultiLevelNet, path: Union[str, Path]) -> None:
    """Raise InputError for a network that is not as released in what a file of parameters does not
    tell. Widths and the depth of the backbone are in the file, as shapes and names.
    """
    backbone = net.backbone.name_in_zoo
    resnet = re.fullmatch(r"resnet\d+_v2(_slim)?", backbone)
    for what, value, released in (
        ("backbone", "a ResNet v2" if resnet else backbone, "a ResNet v2"),
        ("list of taps", ", ".join(net.taps), ", ".join(TAPS)),
        ("fusion", net.fusion.kind, "concat"),
        ("gram_scale", f"{net.gram_scale:g}", "1"),
    ):
        if value != released:
            raise InputError(
                f"{path}: this network can't share parameters with the released code, because its "
                f"{what} ({value}) is not the released one ({released})"
            )


def _renamed(arrays: Dict[str, np.ndarray], names: Sequence[str]) -> Dict[str, np.ndarray]:
    """Return arrays with Gluon's older names (dense0_weight), whose numbers depend on the process,
    under `names`, which are in the same order.

    If the names are not older ones, or their order or number differs, the arrays are returned as
    they are.
    """
    older = (
        not any("." in name for name in arrays)
        and len(arrays) == len(names)
        and all(old.endswith("_" + name.rpartition(".")[2]) for old, name in zip(arrays, names))
    )
    return dict(zip(names, arrays.values())) if older else arrays
