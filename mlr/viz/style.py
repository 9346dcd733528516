"""Matplotlib independent of the user's settings, and fonts for all names. Import this module before
any module of Matplotlib.
"""

import atexit
import os
import shutil
import sys
import tempfile
import unicodedata
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator, List, Set

from mlr.runtime.output import warn

FONT = "DejaVu Sans"  # Matplotlib's own
# the first words of these characters' names in Unicode
EAST_ASIAN = "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH", "BOPOMOFO"

_told: Set[str] = set()  # characters without a font, which were already warned of


def _imported() -> ModuleType:
    """Import Matplotlib, which reads the user's settings when imported, even if these are damaged
    or there is no home folder.
    """
    if os.path.expanduser("~") == "~" and not os.environ.get("MPLCONFIGDIR"):
        os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="mlr-matplotlib-")
        atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)
    try:
        return import_module("matplotlib")
    # raised for a settings file that is not text or can't be read, or for a wrong MPLBACKEND
    except (ValueError, OSError):
        return _imported_alone()


def _imported_alone() -> ModuleType:
    """Import Matplotlib in the folder of its own settings file: it looks into the working folder
    first.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]  # left by the first attempt
    found: Any = find_spec("matplotlib")
    here, backend = os.open(".", os.O_RDONLY), os.environ.pop("MPLBACKEND", None)
    try:
        os.chdir(Path(found.origin).parent / "mpl-data")
        return import_module("matplotlib")
    finally:
        os.fchdir(here)
        os.close(here)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


matplotlib = _imported()


@contextmanager
def own_settings() -> Iterator[None]:
    """Return a context, also usable as a decorator, in which Matplotlib draws with its own defaults
    and ignores the user's matplotlibrc.
    """
    with matplotlib.rc_context(
        {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    ):
        yield


def fonts_for(text: str) -> List[str]:
    """Return the font families to draw a text with: Matplotlib's own, and installed ones for the
    characters that it lacks.

    Characters without an installed font are drawn as boxes; a warning, once for each character,
    says what to install.
    """
    from matplotlib import font_manager

    missing = _lacking(
        font_manager.findfont(FONT), {character for character in text if not character.isspace()}
    )
    families = [FONT]
    if not missing:
        return families
    _add_new_fonts(font_manager)
    upright = [
        font
        for font in font_manager.fontManager.ttflist
        if font.style == "normal" and font.weight in (400, "normal", "regular")
    ]
    for font in sorted(upright, key=lambda font: ("Sans" not in font.name, font.name)):
        lacking = _lacking(font.fname, missing)
        if len(lacking) < len(missing):
            families, missing = [*families, font.name], lacking
    if missing - _told:
        warn(
            f"no installed font has {''.join(sorted(missing - _told))}, so figures show boxes in "
            "their place: install a font, such as Debian's "
            f"{' and '.join(sorted({_package(character) for character in missing - _told}))}"
        )
        _told.update(missing)
    return families


def _lacking(path: str, characters: Set[str]) -> Set[str]:
    from matplotlib.font_manager import get_font

    font = get_font(path)
    return {character for character in characters if not font.get_char_index(ord(character))}


def _add_new_fonts(font_manager: ModuleType) -> None:
    """Tell Matplotlib the fonts that were installed since it last searched for fonts."""
    for path in set(font_manager.findSystemFonts()) - {
        font.fname for font in font_manager.fontManager.ttflist
    }:
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError):  # a bitmap font, such as one of coloured emoji
            pass


def _package(character: str) -> str:
    if unicodedata.name(character, "").startswith(EAST_ASIAN):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(character)[0] == "S" else "fonts-noto-core"
