"""The web site of the documents: its navigation, and what a built site is checked for."""

from pathlib import Path

import pytest
from site_hooks import FILES, faults, navigation

ROOT = Path(__file__).parents[2]


def test_the_navigation_has_every_page():
    pages = [
        path
        for section in navigation(ROOT / "docs" / "README.md")
        for items in section.values()
        for item in items
        for path in item.values()
    ]
    there = {"README.md", "docs/README.md"}
    for name in FILES:
        path = ROOT / name
        found = [path] if path.is_file() else [*path.rglob("*.md"), *path.glob("*.ipynb")]
        there |= {str(each.relative_to(ROOT)) for each in found if each.suffix in (".md", ".ipynb")}
    # what the notebooks write, which mkdocs.yml excludes
    there = {path for path in there if not path.startswith(("notebooks/runs/", "notebooks/data/"))}
    assert sorted(pages) == sorted(there - {"README.md", "docs/README.md"})


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="b.html">b</a> <a href="#here" id="here">here</a>', None),
        ('<a href="folder/">a folder\'s page</a>', None),
        ('<a href="https://example.org/">another site</a>', None),
        ('<a href="c.html">c</a>', "a.html links to c.html, which is not there"),
        ('<img src="c.png">', "a.html links to c.png, which is not there"),
        ('<a href="b.html#no">b</a>', "a.html links to b.html#no, which has no such anchor"),
        ('<script src="https://cdn.org/x.js"></script>', "a.html fetches https://cdn.org/x.js"),
        ('<link rel="stylesheet" href="//cdn.org/x.css">', "a.html fetches //cdn.org/x.css"),
    ],
)
def test_what_is_wrong_in_a_site_is_found(tmp_path, body, fault):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.html").write_text("<p>folder</p>")
    (tmp_path / "b.html").write_text('<h1 id="yes">b</h1>')
    (tmp_path / "a.html").write_text(body)
    assert [each.partition(": a page")[0] for each in faults(tmp_path)] == [fault] * bool(fault)


def test_a_style_sheet_that_fetches_is_found(tmp_path):
    (tmp_path / "a.css").write_text('@import url("https://fonts.org/f.css"); p {color: red}')
    (fault,) = faults(tmp_path)
    assert fault.startswith("a.css fetches https://fonts.org/f.css")
