"""mlr: the network of "Learning Multi-level Representations for Affective Image Recognition", in
MXNet Gluon.

Importing mlr sets the environment that MXNet reads when it loads (threads, type of CPU) and, with
the extra modern-cu117, loads CUDA's libraries. It loads nothing else that is slow: each public name
is imported at its first use.
"""

from importlib import import_module
from typing import Any, List

from mlr.runtime.cpu import prepare_for_mxnet
from mlr.runtime.cuda_libraries import load_cuda_libraries

__version__ = "0.2.0"

prepare_for_mxnet()
load_cuda_libraries()

_MODULES = {
    "MultiLevelNet": "mlr.model.network",
    "ClassImbalanceLoss": "mlr.training.loss",
    "CrossEntropyLoss": "mlr.training.loss",
    "VoteLoss": "mlr.training.loss",
    "import_npz": "mlr.methods",
    "import_torch": "mlr.methods",
    "inverse_frequency_weights": "mlr.training.loss",
    "load": "mlr.methods",
    "load_original_parameters": "mlr.model.released_weights",
    "parse_context": "mlr.runtime.context",
    "save_original_parameters": "mlr.model.released_weights",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mlr' has no attribute '{name}'")
    if name != "load":  # load checks itself what it needs: for an .onnx file ONNX Runtime is enough
        from mlr.runtime.installation import require_mxnet

        require_mxnet()
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> List[str]:
    return sorted([*globals(), *__all__])
