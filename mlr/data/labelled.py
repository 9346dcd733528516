"""Images with labels: what training and evaluation need of a split, wherever it comes from."""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from mxnet import gluon
from tqdm import tqdm

from mlr.data.images import checked_bytes, read_image
from mlr.runtime.cpu import usable_cores


class LabelledImages(gluon.data.Dataset):
    """The images of one split. An item is an image (H, W, 3), uint8 RGB NDArray, and its label,
    int.

    Attributes: `source`, where they come from, for messages; `classes`, names in label order;
    `paths` and `labels`, one an image; `names`, which tell the images apart within the data set;
    `counts`, images per class; `left_out`, a `mlr.data.walk.LeftOut` for each file that is no image
    of it; `whole`, the split that this is a part of, or itself, and `rows`, its images' numbers
    there.
    """

    def __init__(self, source, classes, paths, labels, names, left_out=()):
        self.source, self.classes, self.left_out = str(source), list(classes), list(left_out)
        self.paths, self.labels, self.names = paths, labels, names
        images = Counter(labels)
        self.counts = [images[label] for label in range(len(self.classes))]
        self.whole, self.rows = self, range(len(paths))

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return read_image(self.paths[index]), self.labels[index]

    @cached_property
    def digests(self):
        """The SHA-256 of each image's file. Raises InputError for the first that is empty,
        truncated or damaged.
        """
        with ThreadPoolExecutor(usable_cores()) as workers:
            return list(
                tqdm(
                    workers.map(self.checked_sha256, range(len(self))),
                    total=len(self),
                    desc="checking images",
                    unit=" files",
                    leave=False,
                    disable=None,
                )
            )

    def checked_sha256(self, index):
        """Return the SHA-256 of an image's file. Raises InputError where it is empty, truncated or
        damaged.
        """
        return hashlib.sha256(checked_bytes(self.paths[index])).hexdigest()


class Subset(LabelledImages):
    """Some images of a split, by their numbers."""

    def __init__(self, split, kept):
        super().__init__(
            split.source,
            split.classes,
            *(
                [values[index] for index in kept]
                for values in (split.paths, split.labels, split.names)
            ),
        )
        self.whole, self.rows = split.whole, [split.rows[index] for index in kept]
