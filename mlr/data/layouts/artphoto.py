"""artphoto"""

from pathlib import Path

from mlr.data.emotions import MIKELS, emotion_named
from mlr.data.layouts.finding import _top
from mlr.data.listing import Listing


def read_artphoto(root):
    """ArtPhoto (Machajdik, Hanbury, ACM MM 2010): testImages_artphoto/<emotion>_<anything>.jpg,
    sadness as sad.
    """
    top = _top(root, "testImages_artphoto", "testImages_artphoto/<emotion>_<name>.jpg")
    listing = Listing(root)
    for path in listing.walk(top / "testImages_artphoto"):
        emotion = emotion_named(Path(path).name.partition("_")[0])
        if emotion in MIKELS:
            listing.add(path, emotion)
        else:
            listing.leave_out(path, "no emotion in its name")
    return listing
