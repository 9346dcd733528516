"""Matplotlib whatever the user has set for it, and fonts for all names. Import this before anything of Matplotlib."""

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

from mlr.output import warn

FONT = "DejaVu Sans"  # Matplotlib's own
EAST_ASIAN = "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH", "BOPOMOFO"  # as Unicode's names of characters begin

_told = set()  # the characters that no font has


def _imported():
    """Import Matplotlib, which reads the user's settings at once, and fails without a home folder or where they are damaged."""
    if os.path.expanduser("~") == "~" and not os.environ.get("MPLCONFIGDIR"):
        os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="mlr-matplotlib-")
        atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)
    try:
        return import_module("matplotlib")
    except (ValueError, OSError):  # of a file that is no text or can't be read, or of MPLBACKEND
        return _imported_alone()


def _imported_alone():
    """Import Matplotlib where it finds its own settings file: it looks into the working folder first."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]  # what the first attempt has left
    here, backend = os.open(".", os.O_RDONLY), os.environ.pop("MPLBACKEND", None)
    try:
        os.chdir(str(Path(find_spec("matplotlib").origin).parent / "mpl-data"))
        return import_module("matplotlib")
    finally:
        os.fchdir(here)
        os.close(here)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


matplotlib = _imported()


@contextmanager
def own_settings():
    """Return a context, also a decorator, in which Matplotlib draws by its own defaults, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context({name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}):
        yield


def fonts_for(text: str) -> list:
    """Return the families to draw a text with: Matplotlib's own, and what is installed for the characters that it lacks.

    What no installed font has is drawn as boxes; say once what to install.
    """
    from matplotlib import font_manager

    missing = _lacking(font_manager.findfont(FONT), {character for character in text if not character.isspace()})
    families = [FONT]
    if not missing:
        return families
    _add_new_fonts(font_manager)
    upright = [font for font in font_manager.fontManager.ttflist if font.style == "normal" and font.weight in (400, "normal", "regular")]
    for font in sorted(upright, key=lambda font: ("Sans" not in font.name, font.name)):
        lacking = _lacking(font.fname, missing)
        if len(lacking) < len(missing):
            families, missing = [*families, font.name], lacking
    if missing - _told:
        warn(f"no installed font has {''.join(sorted(missing - _told))}, so figures show boxes in their place: install one, "
             f"as of Debian's {' and '.join(sorted({_package(character) for character in missing - _told}))}")
        _told.update(missing)
    return families


def _lacking(path, characters):
    from matplotlib.font_manager import get_font

    font = get_font(path)
    return {character for character in characters if not font.get_char_index(ord(character))}


def _add_new_fonts(font_manager):
    """Have Matplotlib know the fonts that were installed since it last looked for some."""
    for path in set(font_manager.findSystemFonts()) - {font.fname for font in font_manager.fontManager.ttflist}:
        try:
            font_manager.fontManager.addfont(path)
        except (OSError, RuntimeError):  # one of bitmaps, as of coloured emoji
            pass


def _package(character):
    if unicodedata.name(character, "").startswith(EAST_ASIAN):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(character)[0] == "S" else "fonts-noto-core"
