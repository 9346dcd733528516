"""Row PCNN: train on everything, leave out at random what the network is undecided about, fine-tune
on the rest.

Q. You, J. Luo, H. Jin, J. Yang, "Robust image sentiment analysis using progressively trained and
domain transferred deep networks", AAAI 2015, arXiv 1509.06041. The formula and the numbers of steps
are recalled, not re-read. The table's "PCNN (VGGNet)" is the same with a VGG-16 (inferred from its
name), trained on the half million weakly labelled images of Flickr or on FI itself: that is open.
"""

import numpy as np


def removal_probabilities(probabilities):
    """Return the probability, (N,), of leaving out each image: max(0, 2 - exp(d)), d the difference
    of the highest two probabilities.

    probabilities: (N, K). It is 1 at a tie and 0 from d = ln 2 on. The paper has two classes;
    taking the highest two of more is ours. What the label is makes no difference, so that what the
    network is confidently wrong about stays (inferred from the formula).
    """
    # (N, 2)
    highest = np.sort(np.asarray(probabilities, float), axis=1)[:, -2:]
    return np.maximum(0, 2 - np.exp(highest[:, 1] - highest[:, 0]))


def select(probabilities, labels, seed):
    """Return the indices of the images that are kept, drawn with `removal_probabilities`.

    seed: a whole number from 0; of more than 32 bits the lowest 32 count. A class all of whose
    images would be left out keeps its most decided one, as a class without images can't be trained
    (ours).
    """
    removal = removal_probabilities(probabilities)
    kept = np.random.RandomState(seed % 2**32).uniform(size=len(removal)) >= removal
    labels = np.asarray(labels)
    for label in np.unique(labels):
        if not kept[labels == label].any():
            of_class = np.flatnonzero(labels == label)
            kept[of_class[removal[of_class].argmin()]] = True
    return np.flatnonzero(kept)
