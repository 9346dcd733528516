"""Assigns images to splits."""

import math
from collections import Counter
from typing import Any, Dict, Hashable, Iterable, List, Mapping, Optional, Sequence

import numpy as np

from mlr.data.layouts.data_set import FRACTIONS

RELEASED_VALID_RATIO = 0.2


def released_partition(labels: Sequence[Any]) -> List[str]:
    """Return "train" or "valid" for each label by the rule of the released model/DataPrepare.py.

    labels: in the order of the file names. The released code uses the order of the file system,
    which is not defined. The first n = floor(0.8 N) // K images of each of the K classes go to
    train, which is therefore balanced, and the others to valid. A class with n images or fewer has
    none in valid. The released train_valid contains all images. As in the released code,
    near-duplicates may be in different splits.
    """
    cap = math.floor((1 - RELEASED_VALID_RATIO) * len(labels)) // len(set(labels))
    seen: Dict[Any, int] = Counter()
    splits = []
    for label in labels:
        splits.append("train" if seen[label] < cap else "valid")
        seen[label] += 1
    return splits


def stratified_partition(
    labels: Sequence[Any],
    seed: int,
    fractions: Mapping[str, float] = FRACTIONS,
    groups: Optional[Iterable[Hashable]] = None,
) -> List[str]:
    """Return a split for each label, drawn with `seed`. Each split gets its fraction of every
    class, to within one image, and at least one image if there are as many images as splits.

    fractions: {split: fraction}. groups: a key for each label; images with the same key, such as
    near-duplicates, go to the same split and count for the class of the first of them. A large
    group may leave a split less than its fraction, or empty. The random numbers are those
    of NumPy's RandomState, which are the same in all versions of NumPy.
    """
    members: Dict[Hashable, List[int]] = {}
    for index, key in enumerate(range(len(labels)) if groups is None else groups):
        members.setdefault(key, []).append(index)
    by_class: Dict[Any, List[List[int]]] = {}
    for group in members.values():
        by_class.setdefault(labels[group[0]], []).append(group)
    names, splits, random = list(fractions), [""] * len(labels), np.random.RandomState(seed)
    for label in sorted(by_class):
        class_groups = [
            by_class[label][number] for number in random.permutation(len(by_class[label]))
        ]
        left = _sizes(sum(map(len, class_groups)), np.array(list(fractions.values())))
        # the largest groups first, while there is room for them
        for group in sorted(class_groups, key=len, reverse=True):
            chosen = left.argmax()
            left[chosen] -= len(group)
            for index in group:
                splits[index] = names[chosen]
    return splits


def _sizes(count: int, fractions: np.ndarray) -> np.ndarray:
    """Return how many of `count` images each split gets. The largest remainders are rounded up, and
    no split stays empty if there are enough images.
    """
    exact = count * fractions
    sizes = np.floor(exact).astype(int)
    sizes[np.argsort(sizes - exact, kind="stable")[: count - sizes.sum()]] += 1
    while count >= len(fractions) and sizes.min() == 0:
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes
