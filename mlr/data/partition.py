"""Which image goes to which split."""

import math
from collections import Counter
from typing import Any, Dict, Hashable, Iterable, List, Mapping, Optional, Sequence

import numpy as np

from mlr.data.layouts.data_set import FRACTIONS

RELEASED_VALID_RATIO = 0.2


def released_partition(labels: Sequence[Any]) -> List[str]:
    """Return "train" or "valid" for each label by the rule of the released model/DataPrepare.py.

    labels: in the order of the folder, which is that of the file names here, as the released code
    takes whatever order the file system has. The first n = floor(0.8 N) // K images of each of the
    K classes go to train, so that it is balanced, the others to valid: none, of a class with n
    images or fewer. The released train_valid is all of them. Nothing is done about near-duplicates,
    as there.
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
    """Return a split for each label, drawn by `seed`: of every class each split gets its
    fraction, to within an image, and at least one.

    fractions: of each split, by its name.

    groups: a key for each label; what has the same key, as near-duplicate images do, goes to the
    same split, by the class of the first. A class with fewer images than there are splits fills
    them from the first on. The draw is NumPy's RandomState, whose streams stay the same in all its
    versions.
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
        # large ones while there is room for them
        for group in sorted(class_groups, key=len, reverse=True):
            chosen = left.argmax()
            left[chosen] -= len(group)
            for index in group:
                splits[index] = names[chosen]
    return splits


def _sizes(count: int, fractions: np.ndarray) -> np.ndarray:
    """Return how many of `count` images each split gets: the largest remainders are rounded up, and
    none stays empty.
    """
    exact = count * fractions
    sizes = np.floor(exact).astype(int)
    sizes[np.argsort(sizes - exact, kind="stable")[: count - sizes.sum()]] += 1
    while count >= len(fractions) and sizes.min() == 0:
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes
