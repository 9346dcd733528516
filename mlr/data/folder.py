"""An image folder: <split>/<class>/<image>, as the released code reads it."""

from pathlib import Path

from mlr.data.labelled import LabelledImages
from mlr.data.listing import EXTENSIONS, is_image
from mlr.emotions import EKMAN, MIKELS, SENTIMENTS, sentiment_of
from mlr.errors import InputError

LAYOUT = "<data>/{train,valid,test}/<class>/<image>.jpg"


class ImageFolder(LabelledImages):
    """The images of one split, in the order of class and file name.

    root: the folder that holds a folder for each class. labels: "emotion", the class folders in alphabetical order; or
    "sentiment", negative and positive, to which the folders' names, Mikels' or Ekman's emotions, are mapped. `folders` has the
    names of the class folders. Raises InputError where the folder holds no classes, or no images.
    """

    def __init__(self, root, labels="emotion"):
        root = Path(root)
        if not root.is_dir():
            raise InputError("data folder %s does not exist: expected %s (or --data demo)" % (root, LAYOUT))
        folders = sorted(path for path in root.iterdir() if path.is_dir())
        if not folders:
            raise InputError("%s has no class folders: expected %s" % (root, LAYOUT))
        self.folders = [folder.name for folder in folders]
        classes = self.folders if labels == "emotion" else list(SENTIMENTS)
        images, left_out = [], []
        for folder in folders:
            label = classes.index(folder.name if labels == "emotion" else self._sentiment(folder))
            for path in sorted(folder.iterdir()):
                if is_image(path.name):
                    images.append((path, label))
                else:
                    left_out.append(path)
        if not images:
            raise InputError("%s holds no images (%s): expected %s" % (root, ", ".join(EXTENSIONS), LAYOUT))
        paths, labels = map(list, zip(*images))
        super().__init__(root, classes, paths, labels, ["%s/%s" % (path.parent.name, path.name) for path in paths], left_out)

    @staticmethod
    def _sentiment(folder):
        if not sentiment_of(folder.name):
            raise InputError(
                "%s is none of the emotions that have a known sentiment (%s): rename it, or use --labels emotion"
                % (folder, ", ".join(sorted({*MIKELS, *EKMAN}))))
        return sentiment_of(folder.name)


def read_folders(root, labels="emotion"):
    """Return the splits of a data folder, {"train": ImageFolder, "valid": ...} and "test" where there is one.

    Raises InputError where train or valid is missing, and where a split lacks a class folder or has one that train doesn't.
    """
    root = Path(root)
    splits = {}
    for split in ("train", "valid", "test"):
        if split != "test" or (root / split).exists():
            splits[split] = ImageFolder(root / split, labels)
    train = splits["train"]
    for folder in splits.values():
        for there, absent in ((train, folder), (folder, train)):
            names = set(there.folders) - set(absent.folders)
            if names:
                raise InputError(
                    "class folder %s is in %s but not in %s: every split needs the same class folders (an empty one will do "
                    "in valid and test)" % (", ".join(sorted(names)), there.source, absent.source))
    return splits
