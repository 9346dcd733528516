"""Loads the CUDA libraries that pip installed, and finds which libraries MXNet lacks.

The extra modern-cu117 installs NVIDIA's own wheels beside mxnet-cu117. The dynamic linker does not
search the folders of these wheels, but it uses a library of the right name that the process has
already loaded.
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
# {library that mxnet-cu117 1.9.1 links to: folder of the wheel that contains it}, read from the
# wheels. Two more must be loaded before others need them. libcublasLt: otherwise cublas would use
# the one of a CUDA toolkit in LD_LIBRARY_PATH. libcudnn_cnn_infer: if cuDNN 8.5 loads it itself, it
# looks for libnvrtc.so, a name that no wheel contains, and ends the process at the first
# convolution; it does not do so if we have loaded cnn_infer before.
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
    """Load the CUDA libraries of NVIDIA's wheels, so that mxnet-cu117 finds them.

    path: the folders to search, by default sys.path. Without mxnet-cu117 or the wheels this does
    nothing. A library that can't be loaded is skipped here: the import of MXNet will fail and name
    it.
    """
    for library in installed_cuda_libraries(path).values():
        with suppress(OSError):
            ctypes.CDLL(str(library))


def installed_cuda_libraries(path: Optional[List[str]] = None) -> Dict[str, Path]:
    """Return {name: file} of the CUDA_LIBRARIES that are installed beside mxnet-cu117, {} without
    it.

    path: the folders to search, by default sys.path.
    """
    for folder in sys.path if path is None else path:
        wheels = Path(folder) / "nvidia"
        if os.path.isdir(wheels) and any(Path(folder).glob("mxnet_cu117-*.dist-info")):
            files = {name: wheels / where / "lib" / name for name, where in CUDA_LIBRARIES.items()}
            return {name: file for name, file in files.items() if file.is_file()}
    return {}


def missing_libraries() -> List[str]:
    """Return the names of the libraries that MXNet needs and that neither the dynamic linker nor
    `load_cuda_libraries` finds. The list is empty, too, if MXNet or ldd is not installed.
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
    # ldd lists a library once for each library that needs it
    return list(dict.fromkeys(re.findall(r"^\s*(\S+) => not found", listed.stdout, re.MULTILINE)))
