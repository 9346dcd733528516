"""Images with labels: the interface to a split that training and evaluation use."""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from mlr.data.images import checked_bytes, read_image
from mlr.data.walk import LeftOut
from mlr.runtime.cpu import usable_cores
from mlr.runtime.progress import progress_over

if TYPE_CHECKING:
    import mxnet as mx


class LabelledImages:
    """The images of one split, a data set for Gluon's data loaders. An item is an image, an NDArray
    (H, W, 3) of uint8, RGB, and its label, int.

    Attributes: `source`, where the images come from, for messages; `classes`, names in label order;
    `paths` and `labels`, one for each image; `names`, unique names of the images within the data
    set; `attributes`, for each image the columns that a manifest has besides its label, {column:
    text}; `counts`, images per class; `votes`, how many people voted for each class, (N, K), or
    None; `left_out`, a `mlr.data.walk.LeftOut` for each file that was left out; `whole`, the split
    that this is a part of, or itself; `indices`, the numbers of its images in `whole`.
    """

    def __init__(
        self,
        source: Union[str, Path],
        classes: Iterable[str],
        paths: List[Path],
        labels: List[int],
        names: List[str],
        left_out: Iterable[LeftOut] = (),
        votes: Optional[np.ndarray] = None,
    ) -> None:
        self.source, self.classes, self.left_out = str(source), list(classes), list(left_out)
        self.paths, self.labels, self.names, self.votes = paths, labels, names, votes
        self.attributes: Sequence[Mapping[str, str]] = [{}] * len(paths)
        images = Counter(labels)
        self.counts = [images[label] for label in range(len(self.classes))]
        self.whole: LabelledImages = self
        self.indices: Sequence[int] = range(len(paths))

    def rename(self, names: Sequence[str]) -> None:
        """Give each class a new name, and sort the classes by name. Labels, counts and votes change
        with them.
        """
        self.classes = sorted(names)
        order = [self.classes.index(name) for name in names]
        self.labels = [order[label] for label in self.labels]
        before = [names.index(name) for name in self.classes]
        self.counts = [self.counts[label] for label in before]
        self.votes = None if self.votes is None else self.votes[:, before]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> "Tuple[mx.nd.NDArray, int]":
        return read_image(self.paths[index]), self.labels[index]

    @cached_property
    def digests(self) -> List[str]:
        """The SHA-256 of each image's file.

        Raises InputError for the first file that is empty, truncated or damaged.
        """
        with ThreadPoolExecutor(usable_cores()) as workers:
            return list(
                progress_over(
                    workers.map(self.checked_sha256, range(len(self))),
                    "checking images",
                    len(self),
                    "files",
                )
            )

    def checked_sha256(self, index: int) -> str:
        """Return the SHA-256 of an image's file.

        Raises InputError if it is empty, truncated or damaged.
        """
        return hashlib.sha256(checked_bytes(self.paths[index])).hexdigest()


class Subset(LabelledImages):
    """A part of a split. kept: the numbers of its images in the split."""

    def __init__(self, split: LabelledImages, kept: Sequence[int]) -> None:
        super().__init__(
            split.source,
            split.classes,
            [split.paths[index] for index in kept],
            [split.labels[index] for index in kept],
            [split.names[index] for index in kept],
            votes=None if split.votes is None else split.votes[list(kept)],
        )
        self.attributes = [split.attributes[index] for index in kept]
        self.whole, self.indices = split.whole, [split.indices[index] for index in kept]


class OnVotes(Subset):
    """A split with votes. The label of an image is the distribution of its votes, (K,) float32."""

    def __init__(self, split: LabelledImages) -> None:
        super().__init__(split, range(len(split)))
        self.labels: List[Any] = list(distributions(self.votes).astype(np.float32))


def distributions(votes: Any) -> np.ndarray:
    """Return votes as distributions, (N, K) float64, in which each row sums to 1.

    votes: (N, K), numbers of at least 0, in each row at least one above 0.
    """
    votes = np.asarray(votes, np.float64)
    return votes / votes.sum(axis=1, keepdims=True)
