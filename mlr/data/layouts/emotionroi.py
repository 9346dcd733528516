"""emotionroi"""

from mlr.data.emotions import EKMAN, emotion_named
from mlr.data.layouts.finding import _add_folders, _below, _leave_out_unlisted, _top
from mlr.data.listing import Listing, text_lines


def read_emotionroi(root):
    """EmotionROI (Peng, Sadovnik, Gallagher, Chen, ICIP 2016): images/<emotion>/<n>.jpg, six
    emotions of Ekman.

    training_testing_split/{training,testing}.txt with lines `<emotion>/<file>` are its split, where
    they are there.
    """
    top = _top(root, "images", "images/<emotion>/<n>.jpg")
    listing = Listing(root)
    lists = {
        split: top / "training_testing_split" / name
        for split, name in (("train", "training.txt"), ("test", "testing.txt"))
    }
    if not any(path.is_file() for path in lists.values()):
        _add_folders(listing, top / "images")
        return listing
    for split, path in lists.items():
        for line in text_lines(path):
            name = line.strip()
            emotion = emotion_named(name.partition("/")[0])
            if emotion in EKMAN:
                listing.add(_below(root, top / "images") + name, emotion, split=split, listed=line)
            else:
                listing.leave_out(line, "not <emotion>/<file>")
    _leave_out_unlisted(listing, top / "images")
    return listing
