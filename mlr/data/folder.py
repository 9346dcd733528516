"""Reads an image folder, <split>/<class>/<image>, as the released code does."""

import shlex
from pathlib import Path
from typing import Dict, Union

from mlr.data.class_folders import beside, in_subfolders, read_classes, split_folders
from mlr.data.emotions import EKMAN, MIKELS, SENTIMENTS, sentiment_of
from mlr.data.labelled import LabelledImages
from mlr.data.manifest import SPLITS
from mlr.data.walk import content_of, subfolders, words_on
from mlr.errors import InputError

LAYOUT = "<data>/{train,valid,test}/<class>/<image>"


class ImageFolder(LabelledImages):
    """The images of one split, in the order of class and file name.

    root: the folder that contains a folder for each class. labels: with "emotion" the classes are
    the class folders, in alphabetical order; with "sentiment" they are negative and positive, and
    the names of the folders, which must be emotions of Mikels or Ekman, are mapped to them.
    Attribute: `folders`, the names of the class folders. Raises InputError if there are no class
    folders or no images.
    """

    def __init__(self, root: Union[str, Path], labels: str = "emotion") -> None:
        root = Path(root)
        if not root.is_dir():
            raise InputError(f"{root} is not a folder: give one that has a folder for each class")
        found = read_classes(root)
        if not found.folders:
            raise InputError(f"{root} has no class folders: expected {LAYOUT}")
        self.folders = [folder.path.name for folder in found.folders]
        classes = self.folders if labels == "emotion" else list(SENTIMENTS)
        images = []
        for folder in found.folders:
            name = folder.path.name if labels == "emotion" else _sentiment(folder.path)
            images += [(path, classes.index(name)) for path in folder.images]
        left_out = in_subfolders(found) + found.left_out
        if not images:
            raise InputError(
                f"{root} holds no images in its class folders: expected "
                f"{LAYOUT}{'; ' + words_on(left_out) if left_out else ''}"
            )
        super().__init__(
            root,
            classes,
            [path for path, _ in images],
            [label for _, label in images],
            [f"{path.parent.name}/{path.name}" for path, _ in images],
            left_out,
        )


def read_image_folders(root: Union[str, Path], labels: str = "emotion") -> Dict[str, ImageFolder]:
    """Return the splits of a data folder, {"train": ImageFolder, "valid": ...}: those of train,
    valid and test that exist.

    Raises InputError if train is missing, or if a split does not have the same class folders as
    train.
    """
    folders = _folders_of_splits(Path(root), "train")
    splits = {split: ImageFolder(folders[split], labels) for split in SPLITS if split in folders}
    train = splits["train"]
    train.left_out += beside(folders.values())
    for folder in splits.values():
        for there, absent in ((train, folder), (folder, train)):
            names = set(there.folders) - set(absent.folders)
            if names:
                raise InputError(
                    f"class folder {', '.join(sorted(names))} is in {there.source} but not in "
                    f"{absent.source}: every split needs the same class folders (in valid and test "
                    "they may be empty)"
                )
    return splits


def read_image_folder(root: Union[str, Path], split: str, labels: str = "emotion") -> ImageFolder:
    """Return one split of a data folder. Raises InputError if there is none."""
    return ImageFolder(_folders_of_splits(Path(root), split)[split], labels)


def _sentiment(folder: Path) -> str:
    if not sentiment_of(folder.name):
        raise InputError(
            f"the folder {folder} does not have the name of an emotion with a known sentiment "
            f"({', '.join(sorted({*MIKELS, *EKMAN}))}), of negative or of positive: rename it, or "
            "use --labels emotion"
        )
    return sentiment_of(folder.name)


def _folders_of_splits(root: Path, needed: str) -> Dict[str, Path]:
    if not root.is_dir():
        raise InputError(
            f"data folder {root / needed} does not exist: expected {LAYOUT} (or --data demo)"
        )
    folders = split_folders(root, needed)
    if folders:
        return folders
    classes = [folder.name for folder in subfolders(root) if content_of(folder).images]
    if needed == "train" and len(classes) > 1:
        out = root.resolve().name + "-split"
        raise InputError(
            f"{root} is not split: it has folders of images ({', '.join(classes[:8])}), but no "
            "folder train; to split it:\nmlr prepare --dataset folders --root "
            f"{shlex.quote(str(root))} --out data/{shlex.quote(out)}\nand then train with --data "
            f"data/{shlex.quote(out)}"
        )
    hint = (
        "; --split valid measures on valid"
        if needed == "test" and split_folders(root, "valid")
        else ""
    )
    raise InputError(
        f"data folder {root / needed} does not exist: expected {LAYOUT} (or --data demo){hint}"
    )
