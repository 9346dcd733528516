"""The data sets that the package draws itself, by the names that --data knows them by."""

from pathlib import Path

from mlr.data.drawn.objects import draw_objects
from mlr.data.drawn.paintings import draw_demo_data

DRAWN = {
    "demo": (Path("data/demo"), draw_demo_data),
    "demo-objects": (Path("data/demo-objects"), draw_objects),
}


def data_folder(text: str) -> Path:
    """Return the folder that --data names: a path, or one of the drawn data sets, which is drawn
    there if it isn't yet.
    """
    if text not in DRAWN:
        return Path(text)
    folder, draw = DRAWN[text]
    draw(folder)
    return folder
