"""EmotionROI: K.-C. Peng, A. Sadovnik, A. Gallagher, T. Chen, "Where do emotions come from?
Predicting the emotion stimuli map", ICIP 2016. 1,980 images, 330 of each of Ekman's six emotions.

    images/<emotion>/<n>.jpg
    training_testing_split/{training,testing}.txt     lines <emotion>/<file>

If the lists exist, they are its split.
"""

from pathlib import Path

from mlr.data.emotions import EKMAN, emotion_named
from mlr.data.layouts.data_set import FRACTIONS_WITHOUT_VALID, DataSet
from mlr.data.layouts.finding import add_class_folders, folder_with, leave_out_unlisted, prefix_of
from mlr.data.listing import Listing, text_lines

LAYOUT = "images/<emotion>/<n>.jpg"
LISTS = {"train": "training.txt", "test": "testing.txt"}


def read_emotionroi(root: Path) -> Listing:
    """Return the images of EmotionROI that its lists name or, without lists, those in its
    folders.
    """
    top = folder_with(root, "images", LAYOUT)
    listing = Listing(root)
    lists = {split: top / "training_testing_split" / name for split, name in LISTS.items()}
    if not any(path.is_file() for path in lists.values()):
        add_class_folders(listing, top / "images")
        return listing
    for split, path in lists.items():
        for line in text_lines(path):
            name = line.strip()
            emotion = emotion_named(name.partition("/")[0])
            if emotion in EKMAN:
                image = prefix_of(root, top / "images") + name
                listing.add(image, emotion, split=split, listed=line)
            else:
                listing.leave_out(line, "not <emotion>/<file>")
    leave_out_unlisted(listing, top / "images")
    return listing


EMOTIONROI = DataSet(
    name="emotionroi",
    title="EmotionROI",
    layout=f"{LAYOUT}, and training_testing_split/ if it exists",
    read=read_emotionroi,
    fractions=FRACTIONS_WITHOUT_VALID,
    offered="its authors, Cornell",
    restricted=True,
    published=1980,
    published_classes=dict.fromkeys(EKMAN, 330),
)
