"""What MkDocs needs to make the web site of this repository's documents.

The pages have the places that they have in the repository, so that a link leads to the same file
there and on the site. The navigation is the list in docs/README.md. What was built is checked:
links, anchors, and that no page fetches anything from elsewhere. `mkdocs build --strict` fails
where something is logged here.
"""

import logging
import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set, Tuple
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "CITATION.cff"),
    *("docs", "imgs", "notebooks", "data/README.md", "checkpoints/README.md"),
)
# What a browser fetches by itself; a link is followed by people.
FETCHED = {
    *(("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src")),
    *(("video", "src"), ("audio", "src"), ("object", "data"), ("embed", "src")),
}
STYLE_URL = re.compile(r"(?:url\(|@import\s*)[\s'\"]*((?:https?:)?//[^\s'\")]+)")

log = logging.getLogger("mkdocs.hooks.site")


def on_config(config: Any) -> Any:
    """Give MkDocs a folder of links to what the site has, and the navigation."""
    folder = tempfile.TemporaryDirectory(prefix="mlr-site-")
    config.extra["tree"] = folder  # which is removed when nothing refers to it any more
    tree = Path(folder.name)
    for name in FILES:
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).symlink_to(ROOT / name)
    config.docs_dir = folder.name
    config.nav = [{"mlr": "README.md"}, *navigation(ROOT / "docs" / "README.md")]
    return config


def on_page_content(html: str, **others: Any) -> str:
    """Mark short names in code: a browser would break an option after its hyphens."""
    return re.sub(r"<code>([^<]{1,28})</code>", r'<code class="whole">\1</code>', html)


def on_post_build(config: Any) -> None:
    """Check what was built."""
    for fault in faults(Path(config.site_dir)):
        log.warning(fault)


def navigation(index: Path) -> List[Dict[str, Any]]:
    """Return the navigation that the headings and list items of a page make.

    Its paths are from the root of the repository.
    """
    sections: List[Dict[str, Any]] = []
    for line in index.read_text(encoding="utf-8").splitlines():
        heading, item = re.match(r"## (.+)", line), re.match(r"- \[([^]]+)\]\(([^)]+)\)", line)
        if heading:
            sections.append({heading[1]: []})
        elif item:
            path = (index.parent / item[2]).resolve().relative_to(ROOT)
            next(iter(sections[-1].values())).append({item[1]: str(path)})
    return sections


class Page(HTMLParser):
    """The links and anchors of a built page, and what a browser fetches for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: List[str] = []
        self.fetched: List[str] = []
        self.anchors: Set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Any]]) -> None:
        """Note what a tag has of these."""
        canonical = ("rel", "canonical") in attrs
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if (tag, name) in FETCHED and value and not canonical:
                self.fetched.append(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.append(value)


def faults(site: Path) -> Iterator[str]:
    """Yield what is wrong in the pages and style sheets of a built site."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    fetched = [(path, address) for path, page in pages.items() for address in page.fetched]
    for path in sorted(site.rglob("*.css")):
        fetched += [(path, url) for url in STYLE_URL.findall(path.read_text(encoding="utf-8"))]
    for path, address in fetched:
        if urlsplit(address).netloc:
            yield f"{path.relative_to(site)} fetches {address}: a page must open without a network"
    for path, page in pages.items():
        for address in page.links + page.fetched:
            missing = what_is_missing(path, address, pages)
            if missing and path.name != "404.html":  # whose addresses are from the root of a host
                yield f"{path.relative_to(site)} links to {address}, {missing}"


def what_is_missing(path: Path, address: str, pages: Dict[Path, Page]) -> str:
    """Return what a link of a page leads to and is not there, in words; empty if nothing is."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return ""
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "which is not there"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "which has no such anchor"
    return ""
