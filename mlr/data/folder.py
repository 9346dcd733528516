"""An image folder: <split>/<class>/<image>, as the released code reads it."""

import hashlib
from collections import Counter
from pathlib import Path

from mxnet import gluon
from tqdm import tqdm

from mlr.data.images import checked_bytes, read_image
from mlr.emotions import EKMAN, MIKELS, SENTIMENTS, sentiment_of
from mlr.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png")  # those of gluon's ImageFolderDataset, which the released code uses
LAYOUT = "<data>/{train,valid,test}/<class>/<image>.jpg"


class ImageFolder(gluon.data.Dataset):
    """The images of one split, in the order of class and file name.

    root: the folder that holds a folder for each class. labels: "emotion", the class folders in alphabetical order; or
    "sentiment", negative and positive, to which the folders' names, Mikels' or Ekman's emotions, are mapped.

    An item is an image (H, W, 3), uint8 RGB NDArray, and its label, int. Attributes: `classes`, names in label order;
    `paths` and `labels`, one an image; `counts`, images per class; `left_out`, files that are no image by their extension.
    Raises InputError where the folder holds no classes, or no images.
    """

    def __init__(self, root, labels="emotion"):
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError("data folder %s does not exist: expected %s (or --data demo)" % (root, LAYOUT))
        folders = sorted(path for path in self.root.iterdir() if path.is_dir())
        if not folders:
            raise InputError("%s has no class folders: expected %s" % (root, LAYOUT))
        self.folders = [folder.name for folder in folders]
        self.classes = self.folders if labels == "emotion" else list(SENTIMENTS)
        self.paths, self.labels, self.left_out = [], [], []
        for folder in folders:
            label = self.classes.index(folder.name if labels == "emotion" else self._sentiment(folder))
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in EXTENSIONS:
                    self.paths.append(path)
                    self.labels.append(label)
                else:
                    self.left_out.append(path)
        if not self.paths:
            raise InputError("%s holds no images (%s): expected %s" % (root, ", ".join(EXTENSIONS), LAYOUT))
        images = Counter(self.labels)
        self.counts = [images[label] for label in range(len(self.classes))]

    @staticmethod
    def _sentiment(folder):
        try:
            return sentiment_of(folder.name)
        except KeyError:
            raise InputError(
                "%s is none of the emotions that have a known sentiment (%s): rename it, or use --labels emotion"
                % (folder, ", ".join(sorted({*MIKELS, *EKMAN})))) from None

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return read_image(self.paths[index]), self.labels[index]


def read_training_folders(root, labels="emotion"):
    """Return the splits of a data folder, {"train": ImageFolder, "valid": ...} and "test" where there is one.

    Raises InputError where train or valid is missing, where a class has no training image, and where a split lacks a
    class folder or has one that train doesn't.
    """
    root = Path(root)
    splits = {}
    for split in ("train", "valid", "test"):
        if split != "test" or (root / split).exists():
            splits[split] = ImageFolder(root / split, labels)
    train = splits["train"]
    for split, folder in splits.items():
        for there, absent, names in ((train, folder, set(train.folders) - set(folder.folders)),
                                     (folder, train, set(folder.folders) - set(train.folders))):
            if names:
                raise InputError(
                    "class folder %s is in %s but not in %s: every split needs the same class folders (an empty one will do "
                    "in valid and test)" % (", ".join(sorted(names)), there.root, absent.root))
    for name, count in zip(train.classes, train.counts):
        if not count:
            raise InputError("class %s has no image in %s: add some, or remove the class from every split" % (name, train.root))
    return splits


def fingerprint(splits):
    """Return the SHA-256 of the splits' file names and contents, having decoded every image once.

    splits: {name: ImageFolder}. Raises InputError for the first image that is empty, truncated or damaged: better now than
    after hours of training.
    """
    total = hashlib.sha256()
    files = [(name, path) for name, folder in splits.items() for path in folder.paths]
    for name, path in tqdm(files, desc="checking images", unit=" files", leave=False, disable=None):
        digest = hashlib.sha256(checked_bytes(path)).hexdigest()
        total.update(("%s/%s/%s %s\n" % (name, path.parent.name, path.name, digest)).encode())
    return total.hexdigest()
