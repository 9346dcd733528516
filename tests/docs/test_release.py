"""The checks of .ci/release.py, on a tiny repository that is ready, but for one fault."""

import importlib.util
import subprocess
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "release.py"
FILES = {
    "mlr/__init__.py": '__version__ = "1.2.0"\n',
    "setup.py": 'setup(\n    version="1.2.0",\n)\n',
    "CITATION.cff": "version: 1.2.0\ndate-released: 2026-11-26\n",
    "CHANGELOG.md": "# Changelog\n\n## Unreleased\n\n## 1.2.0 - 2026-11-26\n\n### Added\n\n- x\n",
}


@pytest.fixture
def release():
    spec = importlib.util.spec_from_file_location("release", str(SCRIPT))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(folder, *words):
    return subprocess.run(
        ["git", "-c", "user.name=A Tester", "-c", "user.email=tester@example.org", *words],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.fixture
def checkout(tmp_path):
    """A repository on main, with one commit and a version that all files agree on."""
    folder = tmp_path / "checkout"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "--quiet")
    git(folder, "checkout", "--quiet", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Begin")
    return folder


def test_a_checkout_that_is_ready(release, checkout):
    release.check_tree(checkout)
    assert release.agreed_version(checkout) == "1.2.0"
    release.check_no_tag(checkout, "1.2.0")


def test_a_changed_file_is_refused(release, checkout):
    (checkout / "new.py").write_text("")
    with pytest.raises(release.Refused, match=r"1 files .*the first new\.py: commit, stash or rem"):
        release.check_tree(checkout, rehearsal=True)


def test_another_branch_is_refused_but_for_a_rehearsal(release, checkout):
    git(checkout, "checkout", "--quiet", "-b", "aside")
    with pytest.raises(release.Refused, match=r"the branch is aside, .*: git switch main"):
        release.check_tree(checkout)
    release.check_tree(checkout, rehearsal=True)


@pytest.mark.parametrize(
    "name, old, new, said",
    [
        ("mlr/__init__.py", "1.2.0", "1.1.0", r"1\.1\.0 in mlr/__init__\.py, 1\.2\.0 in setup\.py"),
        ("setup.py", '"1.2.0"', "VERSION", r"setup\.py has no line like"),
        ("CITATION.cff", "version: 1.2.0", "version: 1.2.1", r"1\.2\.1 in CITATION\.cff"),
        ("CITATION.cff", "11-26", "11-25", r"is 2026-11-26 in CHANGELOG\.md and 2026-11-25 in CIT"),
        ("CITATION.cff", "date-released", "date", r"and missing in CITATION\.cff: write the same"),
        ("CHANGELOG.md", "1.2.0 - ", "1.3.0 - ", r"1\.3\.0 in CHANGELOG\.md"),
        ("CHANGELOG.md", " - 2026-11-26", "", r"CHANGELOG\.md has no line like"),
        ("CHANGELOG.md", "Unreleased\n", "Unreleased\n\n- new\n", r"no empty section Unreleased"),
        ("CHANGELOG.md", "## Unreleased\n\n", "", r"no empty section Unreleased .*: move its entr"),
    ],
)
def test_what_does_not_agree_is_refused(release, checkout, name, old, new, said):
    text = (checkout / name).read_text()
    assert old in text
    (checkout / name).write_text(text.replace(old, new))
    with pytest.raises(release.Refused, match=said):
        release.agreed_version(checkout)


def test_the_tag_has_a_message_and_is_made_once(release, checkout):
    git(checkout, "config", "user.name", "A Tester")
    git(checkout, "config", "user.email", "tester@example.org")
    release.create_tag(checkout, "1.2.0")
    assert git(checkout, "cat-file", "-t", "v1.2.0") == "tag\n"
    assert "mlr 1.2.0" in git(checkout, "cat-file", "tag", "v1.2.0")
    with pytest.raises(release.Refused, match=r"v1\.2\.0 is tagged already: .* raise the version"):
        release.check_no_tag(checkout, "1.2.0")


@pytest.mark.parametrize(
    "left_out, added, said",
    [
        ("mlr/py.typed", (), r"lacks mlr/py\.typed: add it to package_data"),
        (None, ("tests/test_x.py",), r"has tests/test_x\.py, which is not of mlr"),
        (None, ("notebooks/01_training.ipynb",), r"has notebooks/01_training\.ipynb"),
        (None, (), None),
    ],
)
def test_what_a_wheel_holds(release, tmp_path, left_out, added, said):
    wheel = tmp_path / "mlr-1.2.0-py3-none-any.whl"
    with zipfile.ZipFile(str(wheel), "w") as archive:
        for name in {*release.IN_THE_WHEEL, "mlr-1.2.0.dist-info/METADATA", *added} - {left_out}:
            archive.writestr(name, "")
    if said is None:
        release.check_wheel(wheel)
    else:
        with pytest.raises(release.Refused, match=said):
            release.check_wheel(wheel)


def test_a_program_that_fails_is_told_in_a_line(release, tmp_path):
    workshop = release.Workshop(tmp_path)
    assert workshop.run("twine-check", ("echo", "fine"), "mend it") == "fine\n"
    with pytest.raises(
        release.Refused, match=r"^twine-check failed, exit code 1, no README: mend it; see"
    ):
        workshop.run(
            "twine-check", ("sh", "-c", "echo first; echo no README >&2; false"), "mend it"
        )
    assert (tmp_path / "twine-check.log").read_text() == "first\nno README\n"
    with pytest.raises(release.Refused, match=r"^tests failed, ended by SIGKILL, \.\.\.: mend it"):
        workshop.run("tests", ("sh", "-c", "echo ...; kill -KILL $$"), "mend it")


def test_the_command_ends_at_the_first_fault(release, checkout, monkeypatch, capsys):
    (checkout / "CHANGELOG.md").write_text("# Changelog\n")
    monkeypatch.setattr(release, "ROOT", checkout)
    assert release.main(["--no-tag"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(
        "release: 1 files are changed or new, the first C"
    )
    assert said.err.count("\n") == 1 and not git(checkout, "tag")


def test_without_all_tests_there_is_no_tag(release, capsys):
    with pytest.raises(SystemExit):
        release.main(["--quick"])
    assert "add --no-tag" in capsys.readouterr().err
