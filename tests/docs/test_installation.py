"""What pip builds, as somebody without a checkout gets it."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def run(*arguments, **options):
    done = subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build the sdist from the files that git knows, and from it, as pip does, the wheel; return
    both.
    """
    folder = tmp_path_factory.mktemp("dist")
    clone = folder / "clone"
    run("git", "clone", "--quiet", CHECKOUT, clone)
    run(
        sys.executable,
        "-c",
        f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})",
        cwd=clone,
    )
    (sdist,) = folder.glob("*.tar.gz")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        sdist,
    )
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def test_the_sdist_has_what_a_packager_needs(built):
    names = {name.partition("/")[2] for name in tarfile.open(str(built[0])).getnames()}
    assert {
        "README.md",
        "LICENSE",
        "setup.py",
        "constraints.txt",
        "Makefile",
        "SECURITY.md",
        "mkdocs.yml",
        "proselint.json",
        ".ci/release.py",
        "tests/conftest.py",
        "checkpoints/demo/last.params",
        "checkpoints/photos/last.params",
        "imgs/example.jpg",
        "benchmarks/contestant.py",
    } <= names


def test_the_wheel_has_the_package_and_the_shipped_runs_alone(built):
    names = zipfile.ZipFile(str(built[1])).namelist()
    for run in ("photos", "demo"):
        shipped = {path.name for path in (CHECKOUT / "checkpoints" / run).iterdir()}
        assert {f"mlr/shipped/{run}/{name}" for name in shipped} <= set(names)
    assert {f"mlr/serving/page.{kind}" for kind in ("html", "css", "js")} <= set(names)
    for name in ("page.html", "parts.html", "report.html", "comparison.html", "sorting.js"):
        assert f"mlr/viz/{name}" in names
    assert {name.partition("/")[0] for name in names} == {
        "mlr",
        next(name.partition("/")[0] for name in names if ".dist-info/" in name),
    }


def test_the_wheel_works_without_the_checkout(built, tmp_path):
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        built[1],
    )
    # The requirements are this environment's; a .pth file in a folder that another one names is not
    # read, so not its mlr.
    (Path(site) / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert run(python, "-c", "import mlr; print(mlr.__file__)", cwd=tmp_path).startswith(site)
    photo = CHECKOUT / "imgs" / "example.jpg"
    answers = [
        json.loads(run(*command, "predict", "--json", photo, cwd=tmp_path))
        for command in ([tmp_path / "venv" / "bin" / "mlr"], [sys.executable, "-m", "mlr"])
    ]
    assert answers[0] == answers[1]
