"""CUDA's libraries from NVIDIA's wheels, with libraries that a C compiler makes of nothing."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlr.runtime import cuda_libraries
from mlr.runtime.cuda_libraries import (
    CUDA_LIBRARIES,
    installed_cuda_libraries,
    load_cuda_libraries,
    missing_libraries,
)

ROOT = Path(__file__).parents[3]
BUILD = "mxnet_cu117-1.9.1.dist-info"


def site_packages(folder, build=BUILD, libraries=tuple(CUDA_LIBRARIES)):
    """Make a folder of packages with a build of MXNet and empty files for the libraries."""
    (folder / build).mkdir(parents=True)
    for name in libraries:
        file = folder / "nvidia" / CUDA_LIBRARIES[name] / "lib" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return folder


@pytest.fixture
def loaded(monkeypatch):
    """Put down the names of the libraries that are to be loaded, and load none."""
    names = []
    monkeypatch.setattr(ctypes, "CDLL", lambda file: names.append(Path(file).name))
    return names


def test_every_library_of_the_wheels_is_loaded(tmp_path, loaded):
    load_cuda_libraries([str(tmp_path / "absent"), "", str(site_packages(tmp_path / "site"))])
    assert loaded == list(CUDA_LIBRARIES)
    # which takes the other along, perhaps from elsewhere
    assert loaded.index("libcublasLt.so.11") < loaded.index("libcublas.so.11")


@pytest.mark.parametrize(
    "site",
    [
        {"build": "mxnet_mkl-1.5.1.dist-info"},
        {"build": "mxnet_cu112-1.9.1.dist-info"},
        {"libraries": ()},
    ],
)
def test_nothing_is_loaded_without_build_or_wheels(tmp_path, loaded, site):
    load_cuda_libraries([str(site_packages(tmp_path, **site))])
    assert loaded == []


def test_a_wheel_that_is_absent_or_damaged_is_left_to_mxnet(tmp_path):
    site_packages(tmp_path, libraries=["libnccl.so.2"])
    assert list(installed_cuda_libraries([str(tmp_path)])) == ["libnccl.so.2"]
    load_cuda_libraries([str(tmp_path)])  # the empty file is no library


def test_the_extra_has_a_wheel_for_each_library():
    wheels = re.findall(r'"nvidia-(.+)-cu11==[\d.]+"', (ROOT / "setup.py").read_text())
    assert sorted(wheels) == sorted({name.replace("_", "-") for name in CUDA_LIBRARIES.values()})


def library(file, *needed):
    """Compile an empty library that needs others."""
    file.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["cc", "-shared", "-nostdlib", "-x", "c", "/dev/null", "-o", file]
        + [f"-Wl,-soname,{file.name}", "-Wl,--no-as-needed", "-x", "none", *needed],
        check=True,
    )
    return file


@pytest.fixture
def mxnet(tmp_path, monkeypatch):
    """An mxnet whose library needs the CUDA runtime, which a wheel has, and, as that does, too, the
    driver, which is in a folder of its own.
    """
    if not shutil.which("cc"):
        pytest.skip("needs a C compiler, to make libraries")
    site = site_packages(tmp_path / "site", libraries=())
    driver = library(tmp_path / "driver" / "libcuda.so.1")
    runtime = library(site / "nvidia" / "cuda_runtime" / "lib" / "libcudart.so.11.0", driver)
    library(site / "mxnet" / "libmxnet.so", runtime, driver)
    (site / "mxnet" / "__init__.py").write_text(
        "import ctypes, os\nctypes.CDLL(os.path.dirname(__file__) + '/libmxnet.so')\n"
    )
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    # the one of this environment is found no more
    monkeypatch.delitem(sys.modules, "mxnet", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    return site


@pytest.mark.parametrize(
    "code, error", [("import mlr, mxnet", ""), ("import mxnet", "libcudart.so.11.0: cannot open")]
)
def test_mxnet_loads_after_mlr_alone(mxnet, code, error):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": f"{mxnet}:{ROOT}",
            "LD_LIBRARY_PATH": str(mxnet.parent / "driver"),
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert error in done.stderr and bool(done.returncode) == bool(error), done.stderr


def test_what_mxnet_lacks(mxnet, monkeypatch):
    assert missing_libraries() == ["libcuda.so.1"]
    shutil.rmtree(mxnet / "nvidia")
    assert missing_libraries() == ["libcudart.so.11.0", "libcuda.so.1"]
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/absent:{mxnet.parent / 'driver'}")
    assert missing_libraries() == ["libcudart.so.11.0"]
    monkeypatch.setenv("PATH", "/absent")  # without ldd
    assert missing_libraries() == []


def test_without_mxnet_no_library_of_it_is_missing(monkeypatch):
    monkeypatch.setattr(cuda_libraries, "find_spec", lambda name: None)
    assert missing_libraries() == []
