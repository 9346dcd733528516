"""Check, build and tag a release: make release. RELEASE=--no-tag rehearses it.

It builds from a clone of the commit, so that nothing else comes into the files. The first step that
fails ends it with one line, its cause and its remedy, and exit code 1.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
PHOTOGRAPH = "imgs/example.jpg"
# The version by file: the first group is the number, the second, where there is one, the day.
VERSIONS = {
    "mlr/__init__.py": r'^__version__ = "(.+)"$',
    "setup.py": r'^    version="(.+)",$',
    "CITATION.cff": r"^version: (\S+)$",
    "CHANGELOG.md": r"^## (\d\S*) - (\d{4}-\d\d-\d\d)$",
}
DAY_OF_CITATION = r'^date-released: "?(\d{4}-\d\d-\d\d)"?$'
UNRELEASED = re.compile(r"^## Unreleased\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
IN_THE_WHEEL = (
    *("mlr/py.typed", "mlr/viz/page.html", "mlr/viz/report.html", "mlr/serving/page.html"),
    *("mlr/shipped/photos/last.params", "mlr/shipped/photos/model.onnx"),
    "mlr/shipped/demo/last.params",
)


class Refused(Exception):
    """Why there is no release: the cause, and what to do."""


def git(root: Path, *words: str) -> str:
    """Return what git prints in a checkout. Raises Refused where it fails."""
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"git {words[0]} failed, {_last_line(done.stderr)}: release from a checkout")
    return done.stdout.rstrip()


def check_tree(root: Path, rehearsal: bool = False) -> None:
    """Raise Refused where a checkout is changed, or, if this is no rehearsal, on another branch."""
    changed = git(root, "status", "--porcelain").splitlines()
    if changed:
        raise Refused(
            f"{len(changed)} files are changed or new, the first {changed[0][3:]}: commit, stash "
            "or remove them"
        )
    branch = git(root, "rev-parse", "--abbrev-ref", "HEAD")
    if branch != BRANCH and not rehearsal:
        raise Refused(
            f"the branch is {branch}, and releases are made on {BRANCH}: git switch {BRANCH}, or "
            "rehearse with --no-tag"
        )


def agreed_version(root: Path) -> str:
    """Return the version, which all files must have, with one day in CITATION.cff and CHANGELOG.md,
    where nothing may be left under Unreleased. Raises Refused.
    """
    texts = {name: (root / name).read_text(encoding="utf-8") for name in VERSIONS}
    found: Dict[str, str] = {}
    for name, pattern in VERSIONS.items():
        match = re.search(pattern, texts[name], re.MULTILINE)
        if match is None:
            raise Refused(f"{name} has no line like {pattern}: write the version there")
        found[name] = match[1]
        day = match[2] if match.re.groups == 2 else ""
    if len(set(found.values())) > 1:
        said = ", ".join(f"{version} in {name}" for name, version in found.items())
        raise Refused(f"the version is {said}: write the same one into all")
    cited = re.search(DAY_OF_CITATION, texts["CITATION.cff"], re.MULTILINE)
    if cited is None or cited[1] != day:
        raise Refused(
            f"the day is {day} in CHANGELOG.md and {cited[1] if cited else 'missing'} in "
            "CITATION.cff: write the same date-released there"
        )
    unreleased = UNRELEASED.search(texts["CHANGELOG.md"])
    if unreleased is None or unreleased[1].strip():
        raise Refused(
            "CHANGELOG.md has no empty section Unreleased at its top: move its entries to "
            f"{found['CHANGELOG.md']}, and keep the heading"
        )
    return found["CHANGELOG.md"]


def check_no_tag(root: Path, version: str) -> None:
    """Raise Refused where a version is tagged already."""
    if git(root, "tag", "--list", f"v{version}"):
        raise Refused(f"v{version} is tagged already: a release never changes, raise the version")


class Workshop:
    """A folder for what a release is made of, with a log of each program that ran."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, step: str, words: Sequence[object], remedy: str, cwd: object = None) -> str:
        """Return what a program prints. Raises Refused, with its last line and the log's name.

        PYTHONPATH is the folder where it runs: no other mlr is imported, also by what it starts.
        """
        folder = Path(str(cwd or self.folder))
        environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [str(word) for word in words],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            log = self.folder / f"{step}.log"
            log.write_text(done.stdout, encoding="utf-8")
            ending = f"exit code {done.returncode}"
            if done.returncode < 0:  # as by a machine without memory
                ending = f"ended by {signal.Signals(-done.returncode).name}"
            raise Refused(
                f"{step} failed, {ending}, {_last_line(done.stdout)}: {remedy}; see {log}"
            )
        return done.stdout

    def build(self, root: Path) -> List[Path]:
        """Return sdist and wheel, in this order, of the commit that is checked out."""
        clone, files = self.folder / "clone", self.folder / "files"
        git(root, "clone", "--quiet", str(root), str(clone))
        words = (sys.executable, "-m", "build", "--outdir", files, clone)
        self.run("build", words, "python -m build in a fresh clone shows more")
        built = sorted(files.iterdir(), key=lambda path: path.suffix)
        self.run(
            "twine-check",
            (sys.executable, "-m", "twine", "check", "--strict", *built),
            "mend what setup.py says of the package, the README among it",
        )
        return built

    def predict(self, wheel: Path, clone: Path) -> str:
        """Return what the wheel says of a photograph, in an environment that has nothing else."""
        environment = self.folder / "environment"
        python = environment / "bin" / "python"
        self.run("venv", (sys.executable, "-m", "venv", environment), "install the venv module")
        install = (python, "-m", "pip", "install", "--quiet", "-c", clone / "constraints.txt")
        self.run(
            "pip-install",
            (*install, f"{wheel}[cpu]"),
            "a requirement in setup.py is not to be had, or contradicts constraints.txt",
        )
        words = (environment / "bin" / "mlr", "predict", "--json", clone / PHOTOGRAPH)
        answer = self.run("predict", words, "the wheel lacks something, or a requirement does")
        label = json.loads(answer.splitlines()[-1])["label"]
        return f"{PHOTOGRAPH} is {label}"

    def test(self, sdist: Path, quick: bool) -> str:
        """Unpack the sdist, and run its tests there; return which."""
        with tarfile.open(sdist) as archive:
            archive.extractall(self.folder / "sdist")
        (unpacked,) = (self.folder / "sdist").iterdir()
        remedy = "mend it, or add what it lacks to MANIFEST.in"
        if not quick:
            self.run("sdist-tests", ("make", "test", f"PYTHON={sys.executable}"), remedy, unpacked)
            return "make test"
        steps: List[Tuple[str, Sequence[object]]] = [
            ("sdist-ruff", ("ruff", "check", ".")),
            ("sdist-format", ("ruff", "format", "--check", ".")),
            ("sdist-mypy", ("mypy",)),
        ]
        # A process for each folder: MXNet keeps memory, 8 GB after all of them.
        for folder in sorted({path.parent for path in unpacked.glob("tests/unit/**/test_*.py")}):
            tests = ("pytest", "-q", "-m", "not slow", folder)
            steps.append((f"sdist-tests-{folder.name}", tests))
        for step, words in steps:
            self.run(step, (sys.executable, "-m", *words), remedy, unpacked)
        return "ruff, mypy and the quick tests in tests/unit alone"


def check_wheel(wheel: Path) -> None:
    """Raise Refused where a wheel lacks a file, or has more than the package."""
    names = zipfile.ZipFile(wheel).namelist()
    missing = sorted(set(IN_THE_WHEEL) - set(names))
    if missing:
        raise Refused(f"the wheel lacks {', '.join(missing)}: add it to package_data in setup.py")
    strange = sorted({name for name in names if not re.match(r"mlr(-[^/]+\.dist-info)?/", name)})
    if strange:
        raise Refused(f"the wheel has {strange[0]}, which is not of mlr: see packages in setup.py")


def create_tag(root: Path, version: str) -> None:
    """Tag the commit that is checked out."""
    git(root, "tag", "--annotate", f"v{version}", "--message", f"mlr {version}")


def release(root: Path, rehearsal: bool, quick: bool) -> None:
    """Do all steps, a line each. Raises Refused for the first that fails."""
    check_tree(root, rehearsal)
    version = agreed_version(root)
    check_no_tag(root, version)
    print(f"version: {version}, clean, the same everywhere, not tagged yet", flush=True)
    workshop = Workshop(Path(tempfile.mkdtemp(prefix=f"mlr-{version}-")))
    sdist, wheel = workshop.build(root)
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in (sdist, wheel))
    print(f"built, and checked by twine: {sizes}", flush=True)
    check_wheel(wheel)
    print("wheel: the package, its templates and the runs that ship; nothing else", flush=True)
    print(f"wheel, installed alone: {workshop.predict(wheel, workshop.folder / 'clone')}")
    print(f"sdist, unpacked alone: passes {workshop.test(sdist, quick)}", flush=True)
    for path in (sdist, wheel):
        (root / "dist").mkdir(exist_ok=True)
        shutil.copy(path, root / "dist")
    shutil.rmtree(workshop.folder)
    if not rehearsal:
        create_tag(root, version)
        print(f"tagged: v{version}")
    files = f"dist/{sdist.name} dist/{wheel.name}"
    print(
        f"left to you: {'make release, which tags; then ' * rehearsal}git push origin v{version}; "
        f"python -m twine upload {files}"
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["without a word"])[-1]


def main(arguments: Sequence[str] = ()) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument(
        "--no-tag", action="store_true", help="rehearse: on any branch, and without a tag"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="of the sdist's tests only those in tests/unit, with this environment; needs --no-tag",
    )
    options = parser.parse_args(arguments)
    if options.quick and not options.no_tag:
        parser.error("--quick leaves tests out, and nothing is tagged without them: add --no-tag")
    try:
        release(ROOT, options.no_tag, options.quick)
    except Refused as refused:
        print(f"release: {refused}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
