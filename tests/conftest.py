import gc
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import mlr  # noqa: F401  sets the threads before anything loads MXNet

# isort: split

import cv2
import mxnet as mx
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def seed(request):
    """Seed every generator for each test by its name; MLR_TEST_SEED=N replays a failure or tries
    another draw.
    """
    number = int(os.environ.get("MLR_TEST_SEED", zlib.crc32(request.node.name.encode()) % 10000))
    random.seed(number)
    np.random.seed(number)
    mx.random.seed(number)
    print(
        f"seed {number:d}: MLR_TEST_SEED={number:d} pytest '{request.node.nodeid}' repeats this "
        "test"
    )
    return number


PAGES = 2**17  # 512 MiB
_kept = [0]  # pages in memory after the last collection


def pages():
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.fixture(autouse=True)
def without_garbage():
    """Collect networks, which are in reference cycles, when they have become large.

    Python collects by the number of objects, not by their size: a run of all tests took 9 GB.
    """
    yield
    if pages() > _kept[0] + PAGES:
        gc.collect()
        _kept[0] = pages()


@pytest.fixture(scope="session", autouse=True)
def pixel_cache(tmp_path_factory):
    """Keep the user's own cache out of the tests."""
    os.environ["MLR_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def pytest_configure():
    """Let signals and the proxy be as the tests expect them, whatever started the suite.

    Prepare the process of a mutant, and remove what those before it left of temporary files, up
    to 0.8 GB each: mutmut ends its processes without pytest's own cleanup.
    """
    if threading.current_thread() is threading.main_thread():
        # nohup, and a shell's background jobs, hand ignored signals on
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ["no_proxy"] = "127.0.0.1"
    if "MUTANT_UNDER_TEST" in os.environ:
        temporary = Path(tempfile.gettempdir())
        for left in temporary.glob("mutant-*"):
            if not Path("/proc", left.name.split("-")[1]).exists():
                shutil.rmtree(left, ignore_errors=True)  # another process may remove it too
        # new names in each run: a warning is given once of a path
        own = tempfile.mkdtemp(prefix=f"mutant-{os.getpid()}-")
        os.environ["PYTEST_DEBUG_TEMPROOT"] = own
        # A mutant's process is a fork of one of gigabytes: collecting its garbage would copy them.
        gc.freeze()


def pytest_collection_modifyitems(items):
    """Let a mutant meet the quick tests first, file by file: mutmut gives them in no order. Last
    are the tests that need all inputs of test_fuzz.py, which take seconds to write.
    """
    if "MUTANT_UNDER_TEST" in os.environ and Path("mutmut-stats.json").exists():
        seconds = json.loads(Path("mutmut-stats.json").read_text())["duration_by_test"]
        of_file = Counter()
        for item in items:
            of_file[item.path] += seconds.get(item.nodeid, 0)

        def cost(item):
            fuzzed = "templates" in item.fixturenames
            return fuzzed, of_file[item.path], item.path, seconds.get(item.nodeid, 0)

        items.sort(key=cost)


def pytest_addoption(parser):
    parser.addoption(
        "--fidelity",
        metavar="FILE",
        help="add a JSON line for every difference from the original that a test saw",
    )


@pytest.fixture
def fidelity(request):
    """Hold a difference from the original to its bound; --fidelity FILE keeps it for the table of
    builds.
    """

    def check(what, difference, bound):
        file = request.config.getoption("--fidelity")
        if file:
            with open(file, "a") as lines:
                lines.write(
                    json.dumps({"what": what, "difference": float(difference), "bound": bound})
                    + "\n"
                )
        assert difference <= bound, f"{what}: {difference:.3g} is above {bound:.3g}"

    return check


@pytest.fixture
def command():
    """Run a command of the package as a user does, in a process of its own."""

    def run(*arguments, cwd=None, timeout=300):
        return subprocess.run(
            [sys.executable, "-m", "mlr", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def command_here(capfd):
    """Run a command within the test's process, for tests of what it says of its input. It is ten
    times as fast as `command`.
    """

    def run(name, *arguments):
        capfd.readouterr()
        try:
            code = import_module(f"mlr.{name}").main(list(map(str, arguments)))
        except SystemExit as exited:
            code = exited.code
        return subprocess.CompletedProcess((name, *arguments), code, *capfd.readouterr())

    return run


def write_images(root, classes=("awe", "fear"), train=6, valid=2, test=2, size=(64, 80)):
    """Write a small data folder of noise with a mean that tells the class; return its path. size:
    height and width.
    """
    noise = np.random.RandomState(0)
    for split, count in (("train", train), ("valid", valid), ("test", test)):
        for label, name in enumerate(classes):
            folder = Path(root) / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = noise.randint(0, 56, (*size, 3)) + 200 * label // max(1, len(classes) - 1)
                cv2.imwrite(str(folder / (f"{number:02d}.jpg")), pixels.astype(np.uint8))
    return Path(root)


def png_header(width, height):
    """Return a PNG of some bytes that claims so many pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            chunk(b"IDAT", zlib.compress(b"\0")),
            chunk(b"IEND", b""),
        ]
    )


def run_config(options, classes, seed=0, **others):
    """Return a config.json as a training of a `mlr.options.training.TrainingOptions` writes it.

    classes: K.
    """
    from mlr.methods import METHODS

    method = METHODS[options.method]
    sets = others.get("data", {}).get("sets")
    folders = [each["folder"] for each in sets] if sets else "data"
    return {
        "format": 2,
        "options": method.plain(replace(options, data=folders, seed=seed)),
        "network": method.network(options, classes),
        "preprocessing": {"image_size": options.image_size},
        "data": {"folder": "data", "sha256": "d" * 64, "manifest": None, "counts": {}},
        "pretrained": {"source": "none"},
        "contexts": ["cpu(0)"],
        "argv": ["train"],
        "git_commit": None,
        "threads": "1",
        "versions": {"mxnet": mx.__version__},
        **others,
    }


def evaluation_of(run, result, **others):
    """Return what mlr evaluate writes of a run's own test images. result: of
    `mlr.training.metrics.classification_metrics`.
    """
    described = run.config["data"]
    return {
        "data": "data/test",
        "folder": described["folder"],
        "split": "test",
        "sha256": described.get("splits", {}).get("test", "e" * 64),
        "manifest": described["manifest"],
        "fold": None,
        "parameters": "last",
        "files": run.files_of("last"),
        **result,
        **others,
    }


@pytest.fixture
def data(tmp_path):
    return write_images(tmp_path / "data")


# A run of seconds: the smallest backbone at the smallest size, without weights from elsewhere.
TINY = (
    "--backbone",
    "resnet18_v2_slim",
    "--pretrained",
    "none",
    "--image-size",
    "64",
    "--epochs",
    "1",
    "--batch-size",
    "4",
    "--style-width",
    "8",
    "--learning-rate",
    "0.01",
    "--ctx",
    "cpu",
)


# The options of the run below. With fewer steps the running statistics of its batch norms are still
# far from the statistics of a batch, and the answers depend on how a processor rounds.
OF_TRAINED = (
    *(*TINY, "--epochs", "8", "--optimizer", "adam"),
    *("--learning-rate", "0.0003", "--schedule", "cosine"),
)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished tiny run and its data folder, to read from. It tells the two classes apart: an
    answer that is the same for all images would hide what a test should see.
    """
    folder = tmp_path_factory.mktemp("trained")
    data, run = write_images(folder / "data"), folder / "run"
    given = ("--data", str(data), "--out", str(run), *OF_TRAINED)
    subprocess.run([sys.executable, "-m", "mlr", "train", *given], check=True)
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["valid_accuracy"] == 1
    return run, data
