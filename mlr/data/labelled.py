"""Images with labels: what training and evaluation need of a split, wherever it comes from."""

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
    """The images of one split, a data set as Gluon's loaders take it. An item is an image (H, W,
    3), uint8 RGB NDArray, and its label, int.

    Attributes: `source`, where they come from, for messages; `classes`, names in label order;
    `paths` and `labels`, one an image; `names`, which tell the images apart within the data set;
    `attributes`, what a manifest says of each beside its label, {column: text}; `counts`, images
    per class; `votes`, how many people voted for each class, (N, K), or None; `left_out`, a
    `mlr.data.walk.LeftOut` for each file that is no image
    of it; `whole`, the split that this is a part of, or itself, and `indices`, its images'
    numbers there.
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
        """Call the classes by other names, one each, and put them in alphabetical order."""
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

        Raises InputError for the first that is empty, truncated or damaged.
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

        Raises InputError where it is empty, truncated or damaged.
        """
        return hashlib.sha256(checked_bytes(self.paths[index])).hexdigest()


class Subset(LabelledImages):
    """Some images of a split, by their numbers."""

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
    """A split with votes, the label of an image being their distribution, (K,) float32."""

    def __init__(self, split: LabelledImages) -> None:
        super().__init__(split, range(len(split)))
        self.labels: List[Any] = list(distributions(self.votes).astype(np.float32))


def distributions(votes: Any) -> np.ndarray:
    """Return the shares of votes, (N, K) float64, each row of which sums to 1.

    votes: (N, K) numbers from 0 up, some above 0 in each row.
    """
    votes = np.asarray(votes, np.float64)
    return votes / votes.sum(axis=1, keepdims=True)
