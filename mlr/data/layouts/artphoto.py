"""ArtPhoto: J. Machajdik, A. Hanbury, "Affective image classification using features inspired by
psychology and art theory", ACM MM 2010. 806 artistic photographs, labelled by those who took them.

    testImages_artphoto/<emotion>_<anything>.jpg     Mikels' eight emotions, sadness as sad
"""

from pathlib import Path

from mlr.data.emotions import MIKELS, emotion_named
from mlr.data.layouts.data_set import FIVE_FOLDS, DataSet
from mlr.data.layouts.finding import folder_with
from mlr.data.listing import Listing

LAYOUT = "testImages_artphoto/<emotion>_<name>.jpg"


def read_artphoto(root: Path) -> Listing:
    """Return the images of ArtPhoto, each with the emotion at the start of its name."""
    top = folder_with(root, "testImages_artphoto", LAYOUT)
    listing = Listing(root)
    for path in listing.walk(top / "testImages_artphoto"):
        emotion = emotion_named(Path(path).name.partition("_")[0])
        if emotion in MIKELS:
            listing.add(path, emotion)
        else:
            listing.leave_out(path, "no emotion in its name")
    return listing


ARTPHOTO = DataSet(
    name="artphoto",
    title="ArtPhoto",
    layout=LAYOUT,
    read=read_artphoto,
    fractions=FIVE_FOLDS,
    offered="imageemotion.org",
    published=806,
)
