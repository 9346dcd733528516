"""folders"""

from mlr.data.class_folders import beside, folder_of_classes, split_folders
from mlr.data.layouts.finding import _add_folders
from mlr.data.listing import Listing
from mlr.errors import InputError


def read_folders(root):
    """{train,val,test}/<class>/<image> or, to be split, <class>/<image>, with any names of classes,
    also in subfolders of a class.
    """
    listing = Listing(root)
    splits = split_folders(root) or {"": folder_of_classes(root)}
    for split, folder in splits.items():
        if folder is None:
            raise InputError(
                f"there are no two folders of images below {root}: expected <class>/<image> or "
                f"{{train,val,test}}/<class>/<image>"
            )
        _add_folders(listing, folder, split, lambda name: name)
    if "" not in splits:
        listing.leave_out_all(beside(splits.values()))
    return listing
