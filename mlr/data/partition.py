"""Which image goes to which split."""

import math
from collections import Counter

import numpy as np

RELEASED_VALID_RATIO = 0.2
SHARES = {"train": .80, "valid": .05, "test": .15}  # the protocol of FI (You et al., AAAI 2016)


def released_partition(labels):
    """Return "train" or "valid" for each label by the rule of the released model/DataPrepare.py.

    labels: in the order of the folder, which is that of the file names here, as the released code takes whatever order the
    file system has. The first n = floor(0.8 N) // K images of each of the K classes go to train, so that it is balanced, the
    others to valid: none, of a class with n images or fewer. The released train_valid is all of them.
    """
    cap = math.floor((1 - RELEASED_VALID_RATIO) * len(labels)) // len(set(labels))
    seen, splits = Counter(), []
    for label in labels:
        splits.append("train" if seen[label] < cap else "valid")
        seen[label] += 1
    return splits


def stratified_partition(labels, seed, shares=SHARES):
    """Return a split for each label: of every class its share of each split to within an image, and at least one, drawn by `seed`.

    The draw is NumPy's RandomState, whose streams stay the same in all its versions. A class with fewer images than there are
    splits is in train first.
    """
    labels = np.asarray(labels)
    splits = np.empty(len(labels), dtype=object)
    random = np.random.RandomState(seed)
    for label in sorted(set(labels.tolist())):
        members = random.permutation(np.flatnonzero(labels == label))
        splits[members] = np.repeat(list(shares), _sizes(len(members), np.array(list(shares.values()))))
    return splits.tolist()


def _sizes(count, shares):
    """Return how many of `count` images each split gets: the largest remainders are rounded up, and none stays empty."""
    exact = count * shares
    sizes = np.floor(exact).astype(int)
    sizes[np.argsort(sizes - exact, kind="stable")[:count - sizes.sum()]] += 1
    while count >= len(shares) and sizes.min() == 0:
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes
