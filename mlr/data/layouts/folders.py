"""The user's own images, with a folder for each class. The classes may have any names.

    {train,val,test}/<class>/<image>     the folders are the splits
    <class>/<image>                      mlr prepare splits them

Images in subfolders of a class folder are used, too.
"""

from pathlib import Path

from mlr.data.class_folders import SPLIT_NAMES, beside, folder_of_classes, split_folders
from mlr.data.layouts.data_set import FRACTIONS, DataSet
from mlr.data.layouts.finding import add_class_folders
from mlr.data.listing import Listing
from mlr.data.walk import subfolders
from mlr.errors import InputError


def read_class_folders(root: Path) -> Listing:
    """Return the images in class folders, each with the name of its folder as label."""
    listing = Listing(root)
    splits = split_folders(root)
    if splits:
        for split, folder in splits.items():
            add_class_folders(listing, folder, split, lambda name: name)
        listing.leave_out_all(beside(splits.values()))
        return listing
    top = folder_of_classes(root)
    if top is None:
        raise InputError(
            f"{root} does not contain two folders of images: expected <class>/<image> or "
            "{train,val,test}/<class>/<image>"
        )
    split_named = [path.name for path in subfolders(top) if path.name.lower() in SPLIT_NAMES]
    if len(split_named) > 1:
        raise InputError(
            f"{top} has the folders {', '.join(split_named)} of splits, but no folder train: add "
            "it, or rename them if they are classes"
        )
    add_class_folders(listing, top, label_of=lambda name: name)
    return listing


FOLDERS = DataSet(
    name="folders",
    title="yours, in folders <class>/<image>, split or not",
    layout="<class>/<image>, or {train,val,test}/<class>/<image>, of any classes",
    read=read_class_folders,
    fractions=FRACTIONS,
)
