"""The data sets that the package draws itself, under the names that --data accepts."""

from pathlib import Path

from mlr.data.drawn.objects import draw_objects
from mlr.data.drawn.paintings import draw_demo_data

DRAWN = {
    "demo": (Path("data/demo"), draw_demo_data),
    "demo-objects": (Path("data/demo-objects"), draw_objects),
}


def data_folder(text: str) -> Path:
    """Return the folder that --data names. If it is the name of a drawn data set that does not
    exist yet, the data set is drawn.
    """
    if text not in DRAWN:
        return Path(text)
    folder, draw = DRAWN[text]
    draw(folder)
    return folder
