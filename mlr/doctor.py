"""python -m mlr.doctor: check this machine and this installation, and tell how to mend each
problem.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from mlr import cli
from mlr.errors import InputError, RunError
from mlr.runs.shipped import DEMO_RUN, SHIPPED_RUN
from mlr.runtime.builds import installed_builds, version_numbers
from mlr.runtime.cpu import given, usable_cores
from mlr.runtime.cuda_libraries import CUDA_LIBRARIES, DRIVER, missing_libraries
from mlr.runtime.installation import EXTRAS, is_installed
from mlr.runtime.signals import signal_name

PYTHONS = (3, 8), (3, 13)
PYTHONS_OF_MXNET = (3, 8), (3, 11)
TOO_NEW_NUMPY = 1, 24
WEIGHTS = ".params", ".onnx"  # of the Gluon zoo, and of the ONNX model zoo in its place
FEATURES = "CUDA", "CUDNN", "MKLDNN", "OPENCV"
OPTIONAL = "onnx", "onnxruntime", "safetensors", "tensorboardX", "d2lzh"  # of the extras
LITTLE_DISK = 10**9  # bytes; an epoch of ResNet-50 is committed in some 600 MB

# {distribution, without a trailing mkl: (the extra of this package that installs it, the lowest and
# the highest compute capability that it runs on)}. CUDA 10.1 knows nothing newer than Turing. The
# wheels of 1.9.1 contain machine code for 5.0 to 8.6 and no PTX (checked in the wheels). By
# NVIDIA's rule code for 8.6 also runs on 8.9, but not on 9.0.
GPU_BUILDS = {
    "mxnet-cu101": ("'mlr[cu101]' (on a machine with CUDA 10.1)", 0, 7.5),
    "mxnet-cu117": ("'mlr[modern-cu117]' (which brings CUDA)", 5.0, 8.9),
    "mxnet-cu112": ("'mlr[modern-cu112]' (on a machine with CUDA 11.2)", 5.0, 8.9),
}
NO_WHEEL = (
    "train on the CPU, or on a GPU of compute capability 8.9 or less; to predict on this GPU, use "
    "ONNX Runtime with a file of `mlr export`"
)

PROBE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from mlr import doctor; "
    "doctor.probe()"
)
PROBE_SECONDS = 120
UNKNOWN = "unknown, as this package can't be loaded"
NOT_LOADED = "can't be loaded"

Facts = Mapping[str, Any]  # what `examine` returns, or a part of it


class Problem(NamedTuple):
    """A problem, its remedy, and whether nothing works until the problem is solved."""

    problem: str
    remedy: str
    broken: bool


def parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.Parser("doctor", __doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser


def doctor(options: argparse.Namespace) -> None:
    """Print what is installed and what is wrong with it. Raises RunError if nothing can work."""
    facts = examine()
    problems = find_problems(facts)
    broken = [found.problem for found in problems if found.broken]
    if options.json:
        print(
            json.dumps(
                {**facts, "problems": [found._asdict() for found in problems], "works": not broken},
                indent=2,
            )
        )
    else:
        print("\n".join(f"{name:<12} {what}" for name, what in described(facts)))
        print(
            "\n".join(
                f"\n{'broken' if found.broken else 'problem'}: {found.problem}\n  {found.remedy}"
                for found in problems
            )
            or "\nnothing is wrong"
        )
    if broken:
        raise RunError(f"mlr can't work here: {'; '.join(broken)}")


def examine() -> Dict[str, Any]:
    """Return what is installed, as a dict for JSON. MXNet is only loaded in another process, and
    may be absent.
    """
    mxnet, package = ask_mxnet()
    if "error" in mxnet:
        mxnet = {**mxnet, "missing": missing_libraries()}
    builds = installed_builds()
    required = required_packages(bool(builds))
    return {
        "mlr": _version("mlr"),
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "builds": builds,
        "mxnet": mxnet,
        "package": package,
        "packages": {name: _version(name) for name in ["numpy", *required, *OPTIONAL]},
        "missing": [name for name in required if not is_installed(name)],
        "threads": {
            "cores": usable_cores(),
            "mxnet_before_mlr": mxnet_before_mlr(),
            **{
                name: given(name) or os.environ.get(name)
                for name in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")
            },
        },
        "gpus": ask_nvidia_smi(),
        "free_bytes": {
            str(path): shutil.disk_usage(path).free
            for path in {Path.cwd(), *_cache_parent(package)}
        },
    }


def find_problems(facts: Facts) -> List[Problem]:
    """Return the problems in what `examine` returned, first those that make every command fail."""
    found = [
        *_problems_of_python(facts),
        *_problems_of_mxnet(facts),
        *_problems_of_threads(facts["threads"]),
        *_problems_of_gpus(facts),
    ]
    if "checkpoint_error" in facts["package"]:
        found.append(
            Problem(
                facts["package"]["checkpoint_error"],
                "in a clone: git checkout checkpoints; otherwise give your own run with --run",
                False,
            )
        )
    if "cache_error" in facts["package"]:
        found.append(Problem(facts["package"]["cache_error"], "export MLR_CACHE=FOLDER", False))
    for path, free in facts["free_bytes"].items():
        if free < LITTLE_DISK:
            found.append(
                Problem(
                    f"{path} has {free / 1e9:.1f} GB left",
                    "free some space, or use another disk: --out for runs, MLR_CACHE for the "
                    "pixel cache",
                    False,
                )
            )
    return sorted(found, key=lambda problem: not problem.broken)


def described(facts: Facts) -> Iterator[Tuple[str, str]]:
    """Yield the lines of the text, (name, what is installed), from what `examine` returned."""
    yield (
        "can",
        "; ".join(_engines(facts)) or "nothing: neither MXNet nor ONNX Runtime is installed",
    )
    yield "Python", f"{facts['python']['version']}, {facts['python']['executable']}"
    yield from _described_mxnet(facts)
    packages = {name: version or "not installed" for name, version in facts["packages"].items()}
    required = [name for name in packages if name not in OPTIONAL]
    yield "packages", ", ".join(f"{name} {packages[name]}" for name in required)
    yield "optional", ", ".join(f"{name} {packages[name]}" for name in OPTIONAL)
    threads = facts["threads"]
    yield (
        "threads",
        f"{threads['cores']:d} cores, OMP_NUM_THREADS {threads['OMP_NUM_THREADS']}, "
        f"MKL_DEBUG_CPU_TYPE {threads['MKL_DEBUG_CPU_TYPE'] or 'not set'}",
    )
    yield "GPUs", _described_gpus(facts["mxnet"], facts["gpus"])
    yield from _described_files(facts["package"])
    free = [f"{free / 1e9:.1f} GB free in {path}" for path, free in facts["free_bytes"].items()]
    yield "disk", ", ".join(free)


def _engines(facts: Facts) -> Iterator[str]:
    """Yield what each installed engine can do."""
    if "error" not in facts["mxnet"]:
        yield "train and everything else, with MXNet"
    if _has_onnx_runtime(facts):
        yield "predict, evaluate and draw Grad-CAM with exported runs (.onnx), with ONNX Runtime"


def _has_onnx_runtime(facts: Facts) -> bool:
    return all(facts["packages"].get(name) for name in ("onnx", "onnxruntime"))


def _described_mxnet(facts: Facts) -> Iterator[Tuple[str, str]]:
    mxnet = facts["mxnet"]
    builds = ", ".join(map(" ".join, facts["builds"].items())) or "no package of it"
    absent = "error" in mxnet and not facts["builds"]
    version = "not installed" if absent else mxnet.get("version", NOT_LOADED)
    yield "MXNet", version if absent else f"{version}; installed: {builds}"
    if "features" in mxnet:
        yield (
            "features",
            ", ".join(
                f"{name} {'yes' if there else 'no'}" for name, there in mxnet["features"].items()
            ),
        )


def _described_gpus(mxnet: Facts, smi: Facts) -> str:
    seen = (
        f"sees {', '.join(map(_gpu, smi['seen'])) or 'none'}" if smi["path"] else "is not installed"
    )
    return f"MXNet sees {mxnet.get('gpus', 'unknown')}; nvidia-smi {smi['error'] or seen}"


def _described_files(package: Facts) -> Iterator[Tuple[str, str]]:
    if "error" in package:
        for name in ("pixel cache", "pretrained", "checkpoint"):
            yield name, UNKNOWN
        return
    cache, models = package.get("cache"), package.get("models")
    yield (
        "pixel cache",
        f"{cache['path']}: {cache['files']:d} files, {cache['gigabytes']:.2f} GB"
        if cache
        else package["cache_error"],
    )
    if models:
        yield "pretrained", f"{models['path']}: {', '.join(models['files']) or 'none'}"
    whole = f"{package.get('checkpoint')}, undamaged"
    yield "checkpoint", package.get("checkpoint_error") or whole


def ask_mxnet() -> List[Dict[str, Any]]:
    """Return two dicts: what MXNet reports about itself, and what this package reports; {"error":
    text} for one that can't be loaded.

    This runs in a process of its own: a build that does not fit the machine may end its process,
    and the doctor must go on.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, json.dumps(sys.path)],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return [{"error": f"it did not load within {PROBE_SECONDS:g} seconds"}] * 2
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode < 0:
        error = f"signal {signal_name(-done.returncode)} ended its process"
    else:
        error = (done.stderr.strip().splitlines() or ["it printed no error"])[-1]
    return answers + [{"error": error}] * (2 - len(answers))


def probe() -> None:
    """Print two lines of JSON for `ask_mxnet`: what MXNet reports about itself, and what this
    package reports.
    """
    package: Dict[str, Any] = {}
    try:
        import mxnet as mx
    except ModuleNotFoundError as error:
        if error.name != "mxnet":
            raise
        print(json.dumps({"error": f"ModuleNotFoundError: {error}"}), flush=True)
    else:
        print(json.dumps(_build(mx)), flush=True)
        models = Path(mx.base.data_dir()) / "models"
        files = sorted(path.name for path in models.glob("*") if path.suffix in WEIGHTS)
        package["models"] = {"path": str(models), "files": files}

    from mlr.formats.onnx import sealed_content
    from mlr.methods.exported import MODEL
    from mlr.runs.folder import Run
    from mlr.runtime.cache import cache_folder

    try:
        cached = cache_folder()
        sizes = [path.stat().st_size for path in cached.glob("*") if path.is_file()]
        package["cache"] = {"path": str(cached), "files": len(sizes), "gigabytes": sum(sizes) / 1e9}
    except InputError as error:
        package["cache_error"] = str(error)
    try:
        runs = [Run.open(run) for run in (SHIPPED_RUN, DEMO_RUN)]
        for run in runs:
            run.verified("last.params")
            run.temperature("last")
            if (run.folder / MODEL).is_file():
                sealed_content(run.folder / MODEL)
        package["checkpoint"] = " and ".join(str(run.folder) for run in runs)
    except InputError as error:
        package["checkpoint_error"] = str(error)
    print(json.dumps(package), flush=True)


def _build(mx: Any) -> Dict[str, Any]:
    """Return what MXNet reports about itself."""
    from mxnet.runtime import Features

    features = Features()
    build: Dict[str, Any] = {
        "version": mx.__version__,
        "features": {name: name in features and features.is_enabled(name) for name in FEATURES},
    }
    try:
        build["gpus"] = mx.context.num_gpus()
    except mx.MXNetError as error:  # raised by a CUDA build without a matching driver
        build.update(gpus=0, gpu_error=str(error).splitlines()[0])
    return build


def ask_nvidia_smi() -> Dict[str, Any]:
    """Return the GPUs that the driver's nvidia-smi sees: {"path": None if it is not installed,
    "error", "seen": [{"name", "driver", "capability"}]}.

    capability: the compute capability, a number; None if the driver is too old to report it.
    """
    path = shutil.which("nvidia-smi")
    answer: Dict[str, Any] = {"path": path, "error": None, "seen": []}
    for fields in ("driver_version", "compute_cap"), ("driver_version",):
        if not path:
            break
        try:
            done = subprocess.run(
                [path, "--query-gpu=" + ",".join(("name", *fields)), "--format=csv,noheader"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PROBE_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            answer["error"] = f"fails: {error}"
            break
        lines = done.stdout.strip().splitlines()
        if done.returncode == 0:
            return {**answer, "error": None, "seen": _gpus_in(lines, len(fields))}
        answer["error"] = f"fails: {lines[0] if lines else f'exit code {done.returncode:d}'}"
    return answer


def _gpus_in(lines: List[str], fields: int) -> List[Dict[str, Any]]:
    """Return the GPUs in lines of nvidia-smi. A line has a name, which may contain commas, and then
    `fields` other fields.
    """
    gpus = []
    for line in lines:
        if line.count(",") >= fields:
            name, driver, *rest = (field.strip() for field in line.rsplit(",", fields))
            capability = _number(rest[0]) if rest else None
            gpus.append({"name": name, "driver": driver, "capability": capability})
    return gpus


def required_packages(with_mxnet: bool) -> List[str]:
    """Return the names of the packages that this one requires, with MXNet also those of the extra
    cpu; [] if this package is not installed but runs from its folder.
    """
    try:
        lines = metadata.requires("mlr") or []
    except metadata.PackageNotFoundError:
        return []
    extras = '"cpu"' if with_mxnet else None
    names = [
        re.split(r"[^\w.-]", line)[0]
        for line in lines
        if "extra ==" not in line or (extras and extras in line.replace("'", '"'))
    ]
    return [name for name in dict.fromkeys(names) if not name.startswith("mxnet")]


def mxnet_before_mlr() -> bool:
    """Tell whether MXNet was imported before this package, which then set the number of threads too
    late.
    """
    order = list(sys.modules)
    return "mxnet" in order and order.index("mxnet") < order.index("mlr")


def _problems_of_python(facts: Facts) -> Iterator[Problem]:
    lowest, highest = PYTHONS_OF_MXNET if facts["builds"] else PYTHONS
    if not lowest <= version_numbers(facts["python"]["version"]) <= highest:
        yield Problem(
            (
                f"Python {facts['python']['version']} is not in 3.8 to {highest[0]}.{highest[1]}, "
                f"the versions that {'MXNet' if facts['builds'] else 'this package'} runs on"
            ),
            "install this package with one of these: make install PYTHON=python3.11",
            True,
        )
    numpy = facts["packages"].get("numpy")
    if facts["builds"] and numpy and version_numbers(numpy) >= TOO_NEW_NUMPY:
        yield Problem(
            f"NumPy {numpy} lacks names that MXNet uses, which 1.24 removed",
            "pip install 'numpy<1.24'",
            True,
        )
    if not facts["mlr"]:
        yield Problem(
            (
                "this package is not installed, but runs from its folder, so its required "
                "packages are not known"
            ),
            "make install",
            False,
        )
    for name in facts["missing"]:
        yield Problem(
            f"the package {name} is missing",
            f"PIP_CONSTRAINT=constraints.txt pip install {name}, or make install",
            True,
        )


def _problems_of_mxnet(facts: Facts) -> Iterator[Problem]:
    builds = facts["builds"]
    if len(builds) > 1:
        yield Problem(
            (
                f"{' and '.join(map(' '.join, builds.items()))} are installed, into the same "
                "folder, so their files are mixed"
            ),
            f"pip uninstall --yes {' '.join(builds)}, then pip install one of {EXTRAS}",
            True,
        )
    error = facts["mxnet"].get("error")
    absent = error and not builds
    if absent and not _has_onnx_runtime(facts):
        yield Problem(
            f"MXNet is not installed ({error}), and neither is ONNX Runtime",
            f"pip install one of {EXTRAS}; or, to use only exported runs, 'mlr[onnxruntime]'",
            True,
        )
    elif error and builds:
        missing, seen = facts["mxnet"].get("missing", []), facts["gpus"]["seen"]
        yield Problem(
            f"MXNet is installed but can't be loaded: {error}"
            + (f"; missing: {', '.join(missing)}" if missing else ""),
            "; ".join(
                [
                    *_sources(missing, builds),
                    f"or install another build: {_another_build(seen, builds)}",
                ]
            ),
            True,
        )
    elif "error" in facts["package"]:
        yield Problem(
            f"this package can't be loaded: {facts['package']['error']}",
            "install its required packages again: make install",
            True,
        )


def _sources(missing: List[str], builds: Facts) -> Iterator[str]:
    """Yield where to get the missing shared libraries that MXNet needs."""
    cuda = [name for name in missing if name != DRIVER and re.match("lib(cu|nccl|nv)", name)]
    system = [name for name in missing if name != DRIVER and name not in cuda]
    if DRIVER in missing:
        yield f"{DRIVER} comes with NVIDIA's driver; a CUDA build does not load without it"
    if cuda and "mxnet-cu117" in builds and set(cuda) <= set(CUDA_LIBRARIES):
        yield "pip install 'mlr[modern-cu117]' brings CUDA's libraries"
    elif cuda:
        yield "a CUDA build needs its version of CUDA on the machine"
    if system:
        # Debian names a library's package after its file: libNAME.so.1 is in libNAME1
        packages = " ".join(name.replace(".so.", "") for name in system)
        yield f"on Debian and Ubuntu: apt-get install {packages}"


def _another_build(seen: List[Facts], builds: Facts) -> str:
    """Return how to replace a build that can't be loaded by another one."""
    removal = f"pip uninstall --yes {' '.join(builds)}, then pip install"
    if not seen:
        return f"{removal} one of {EXTRAS}"
    fitting = _replacement(seen, builds)
    if fitting:
        return f"{fitting} or 'mlr[cpu]'"
    return f"{removal} 'mlr[cpu]': no other wheel fits the GPU"


def _problems_of_threads(threads: Facts) -> Iterator[Problem]:
    cores, wanted = threads["cores"], threads["OMP_NUM_THREADS"]
    right = f"export OMP_NUM_THREADS={cores:d}, or unset it: this package then sets it"
    number = _number((wanted or "").split(",")[0])
    if not number or number < 1:
        yield Problem(
            f"OMP_NUM_THREADS is {wanted or 'not set'}, not a number of threads",
            right,
            False,
        )
    elif number > cores:
        yield Problem(
            f"OMP_NUM_THREADS is {wanted}, but this process may use {cores:d} core(s): threads "
            "wait for each other",
            right,
            False,
        )
    if threads["mxnet_before_mlr"]:
        yield Problem(
            (
                "mxnet was imported before mlr, so it uses its own number of threads, half of the "
                "cores, unless OMP_NUM_THREADS was set before"
            ),
            f"import mlr first, or export OMP_NUM_THREADS={cores:d} before Python starts",
            False,
        )


def _problems_of_gpus(facts: Facts) -> Iterator[Problem]:
    mxnet, smi = facts["mxnet"], facts["gpus"]
    if smi["error"]:
        yield Problem(
            f"nvidia-smi is installed, but {smi['error']}",
            "install the NVIDIA driver again, or use --ctx cpu",
            False,
        )
    if not smi["seen"] or "error" in mxnet:
        return
    if not mxnet["features"]["CUDA"]:
        yield _cpu_build_beside_gpu(smi["seen"], facts["builds"])
        return
    yield from _foreign_gpus(smi["seen"], facts["builds"])
    if not mxnet["gpus"]:
        why = f": {mxnet['gpu_error']}" if "gpu_error" in mxnet else ""
        yield Problem(
            f"nvidia-smi sees {', '.join(map(_gpu, smi['seen']))}, but MXNet sees no GPU{why}",
            (
                "likely the driver is too old for this build's CUDA: update it; or unset "
                "CUDA_VISIBLE_DEVICES"
            ),
            False,
        )


def _cpu_build_beside_gpu(seen: List[Facts], builds: Facts) -> Problem:
    names = ", ".join(map(_gpu, seen))
    replacement = _replacement(seen, builds)
    if replacement:
        return Problem(
            f"this machine has a GPU, {names}, but this MXNet is built for CPUs", replacement, False
        )
    return Problem(f"no MXNet wheel contains code for the GPU {names}", NO_WHEEL, False)


def _foreign_gpus(seen: List[Facts], builds: Facts) -> Iterator[Problem]:
    """Yield a problem for each installed build that lacks code for some of the GPUs."""
    for name, (_, low, high) in GPU_BUILDS.items():
        foreign = [gpu for gpu in seen if not _within(gpu, low, high)]
        if not foreign or name not in {re.sub("mkl$", "", build) for build in builds}:
            continue
        if len(foreign) < len(seen):
            remedy = "use the other GPUs, with --ctx"
        else:
            remedy = f"{_replacement(seen, builds) or NO_WHEEL}; --ctx cpu works"
        yield Problem(
            (
                f"{name} contains no code for the GPU {', '.join(map(_gpu, foreign))}, only for "
                f"compute capabilities up to {high}"
            ),
            remedy,
            len(foreign) == len(seen),
        )


def _replacement(seen: List[Facts], builds: Facts) -> Optional[str]:
    """Return how to replace the installed build by one that has code for a GPU here; None if there
    is no such build.
    """
    fitting = [
        extra
        for name, (extra, low, high) in GPU_BUILDS.items()
        if name not in builds and any(_within(gpu, low, high) for gpu in seen)
    ]
    if not fitting:
        return None
    return f"pip uninstall --yes {' '.join(builds)}, then pip install {' or '.join(fitting)}"


def _within(gpu: Facts, low: float, high: float) -> bool:
    return gpu["capability"] is None or low <= gpu["capability"] <= high


def _gpu(gpu: Facts) -> str:
    return (
        f"{gpu['name']} (compute capability {gpu['capability'] or 'unknown'}, driver "
        f"{gpu['driver']})"
    )


def _cache_parent(package: Facts) -> Iterator[Path]:
    """Yield the pixel cache's folder, or the nearest existing one above it, if its path is
    known.
    """
    if "cache" in package:
        path = Path(package["cache"]["path"])
        yield next(parent for parent in (path, *path.parents) if parent.exists())


def _version(name: str) -> Optional[str]:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _number(text: str) -> Optional[float]:
    try:
        return float(text)
    except ValueError:
        return None


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command; return the exit code."""
    return cli.run(parser(), doctor, argv)


if __name__ == "__main__":
    sys.exit(cli.leave_if_stopped(main()))
