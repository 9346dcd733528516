"""The Dockerfiles, which no registry of images lets us build: what they name is there."""

import re
from pathlib import Path

import pytest

from mlr.doctor import PYTHONS

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


@pytest.fixture(params=DOCKERFILES, ids=lambda file: file.name)
def steps(request):
    """The steps of a Dockerfile, a list of (instruction, arguments), without comments."""
    text = re.sub(r"^\s*#.*\n", "", request.param.read_text(), flags=re.MULTILINE)
    return [tuple(line.split(None, 1)) for line in text.replace("\\\n", " ").splitlines() if line]


def arguments(steps, instruction):
    return " && ".join(rest for name, rest in steps if name == instruction)


def test_there_are_two():
    assert [file.name for file in DOCKERFILES] == ["cpu.Dockerfile", "cuda101.Dockerfile"]


def test_what_is_copied_is_there_and_enough(steps):
    copied = {name for kind, rest in steps if kind == "COPY" for name in rest.split()[:-1]}
    # what setup.py reads and packs, and what pip is given
    assert copied >= {"README.md", "LICENSE", "checkpoints", "mlr", "pyproject.toml", "setup.py"}
    assert "constraints.txt" in copied
    assert all((ROOT / name).exists() for name in copied)
    sent = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == sent


def test_the_extra_and_the_pip_are_ours(steps):
    (extra,) = re.findall(r"pip install [^&]*'\.\[([\w-]+)\]'", arguments(steps, "RUN"))
    assert f'"{extra}": ["mxnet' in (ROOT / "setup.py").read_text()
    (pip,) = re.findall(r"pip==[\d.]+", arguments(steps, "RUN"))
    assert pip in (ROOT / "Makefile").read_text()
    assert "PIP_CONSTRAINT=constraints.txt" in arguments(steps, "RUN")


def test_one_python_that_the_package_takes(steps):
    (version,) = set(re.findall(r"python(\d\.\d+)", arguments(steps, "RUN")))
    assert PYTHONS[0] <= tuple(map(int, version.split("."))) <= PYTHONS[1]
    assert f"Python :: {version}" in (ROOT / "setup.py").read_text()


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_it_says_that_it_is_not_built(file):
    assert "# Not built here: no registry of images" in file.read_text()
