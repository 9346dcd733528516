"""CUDA's libraries where pip installed them, and the libraries that MXNet lacks.

The extra modern-cu117 installs NVIDIA's own wheels beside mxnet-cu117. The dynamic linker does not
look into their folders, but takes a library of the right name that the process has loaded already.
"""

import ctypes
import os
import re
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, List, Optional

DRIVER = "libcuda.so.1"
# What mxnet-cu117 1.9.1 links to, and the folder of the wheel that has it (read off the wheels).
# Two more have to be there before others ask for them. cublas would take the cublasLt of a toolkit
# in LD_LIBRARY_PATH. cuDNN 8.5 ends the process at the first convolution if it loads cnn_infer
# itself and libnvrtc.so, a name that no wheel has, is not found; loaded by us, cnn_infer is kept.
CUDA_LIBRARIES = {
    "libcudart.so.11.0": "cuda_runtime",
    "libcublasLt.so.11": "cublas",
    "libcublas.so.11": "cublas",
    "libcudnn.so.8": "cudnn",
    "libcudnn_cnn_infer.so.8": "cudnn",
    "libnccl.so.2": "nccl",
    "libcufft.so.10": "cufft",
    "libcusolver.so.11": "cusolver",
    "libcusparse.so.11": "cusparse",
    "libcurand.so.10": "curand",
    "libnvrtc.so.11.2": "cuda_nvrtc",
    "libnvToolsExt.so.1": "nvtx",
}


def load_cuda_libraries(path: Optional[List[str]] = None) -> None:
    """Load CUDA's libraries of NVIDIA's wheels for mxnet-cu117, which MXNet then finds.

    path: the folders to look into, by default sys.path. Without mxnet-cu117 and the wheels this
    does nothing. A library that can't be loaded is left to MXNet's import, which names it.
    """
    for library in installed_cuda_libraries(path).values():
        with suppress(OSError):
            ctypes.CDLL(str(library))


def installed_cuda_libraries(path: Optional[List[str]] = None) -> Dict[str, Path]:
    """Return {name: file} of those of CUDA_LIBRARIES that lie beside mxnet-cu117, {} without it.

    path: the folders to look into, by default sys.path.
    """
    for folder in sys.path if path is None else path:
        wheels = Path(folder) / "nvidia"
        if os.path.isdir(wheels) and any(Path(folder).glob("mxnet_cu117-*.dist-info")):
            files = {name: wheels / where / "lib" / name for name, where in CUDA_LIBRARIES.items()}
            return {name: file for name, file in files.items() if file.is_file()}
    return {}


def missing_libraries() -> List[str]:
    """Return the names of the libraries that neither the dynamic linker nor `load_cuda_libraries`
    finds for MXNet; [] where all are there, and where MXNet or ldd is not.
    """
    mxnet = find_spec("mxnet")
    if mxnet is None or not mxnet.submodule_search_locations:
        return []
    folders = [str(file.parent) for file in installed_cuda_libraries().values()]
    folders += filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    try:
        listed = subprocess.run(
            ["ldd", str(Path(mxnet.submodule_search_locations[0]) / "libmxnet.so")],
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(folders)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except OSError:
        return []
    # of what several libraries need ldd tells once for each
    return list(dict.fromkeys(re.findall(r"^\s*(\S+) => not found", listed.stdout, re.MULTILINE)))
