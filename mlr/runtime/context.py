"""Parses the text of --ctx into MXNet contexts."""

import re
from typing import TYPE_CHECKING, List, Optional, Tuple

from mlr.errors import InputError
from mlr.runtime.installation import require_mxnet

if TYPE_CHECKING:
    import mxnet as mx

DEVICE = re.compile(r"^(cpu|gpu)(?:\((\d{1,4})\)|:?(\d{1,4}))?$")


def parse_context(text: Optional[str] = None) -> List["mx.Context"]:
    """Return the list of mx.Context that `text` names.

    text: devices separated by commas: "cpu", "gpu(0)", "gpu(0),gpu(1)"; "gpu", "gpu0" and "gpu:0"
    are accepted, too. None: the first GPU if MXNet sees one, else the CPU. Raises InputError for
    any other text, for a device named twice, and for a GPU that MXNet does not see.
    """
    mx = require_mxnet()
    try:
        gpus = mx.context.num_gpus()
    except mx.MXNetError:  # a CUDA build without a suitable driver
        gpus = 0
    if text is None:
        return [mx.gpu(0) if gpus else mx.cpu(0)]
    contexts = [mx.Context(*device) for device in devices_in(text)]
    for context in contexts:
        if context.device_type == "gpu" and context.device_id >= gpus:
            if gpus:
                raise InputError(
                    f"{context} is not there: MXNet sees {gpus:d} GPU(s), numbered from gpu(0)"
                )
            raise InputError(
                f"{context} is not there: MXNet {mx.__version__} sees no GPU. Use --ctx cpu; or, "
                "if the machine has an NVIDIA GPU and its driver, replace the CPU build of MXNet: "
                "pip uninstall mxnet-mkl mxnet, then pip install 'mlr[cu101]' (CUDA 10.1), "
                "'mlr[modern-cu112]' (CUDA 11.2) or 'mlr[modern-cu117]' (installs CUDA 11.7, too); "
                "`mlr doctor` names those that fit the GPU"
            )
    return contexts


def devices_in(text: str) -> List[Tuple[str, int]]:
    """Return the devices that a text of --ctx names, each as ("cpu" or "gpu", its number).

    It does not check whether they exist. Raises InputError for any other text, and for a device
    named twice.
    """
    devices: List[Tuple[str, int]] = []
    for named in str(text).replace(" ", "").split(","):
        match = DEVICE.match(named)
        if not match:
            raise InputError(
                f'unknown context "{named}" in "{text}": write cpu, gpu(0), or several as '
                '"gpu(0),gpu(1)"'
            )
        device = match.group(1), int(match.group(2) or match.group(3) or 0)
        if device in devices:
            name = f"{device[0]}({device[1]})"
            raise InputError(f'context {name} is named twice in "{text}": name each device once')
        devices.append(device)
    return devices
