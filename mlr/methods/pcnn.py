"""PCNN: train on everything, leave out at random what the network is undecided about, fine-tune.

Q. You, J. Luo, H. Jin, J. Yang, "Robust image sentiment analysis using progressively trained and
domain transferred deep networks", AAAI 2015, arXiv 1509.06041. The formula and the numbers of steps
are recalled, not re-read. The table's "PCNN (VGGNet)" is the same with a VGG-16 (inferred from its
name), trained on the half million weakly labelled images of Flickr or on FI itself: that is open.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, List

from mlr import paper
from mlr.methods.finetuned import AR_VGG, VGG16
from mlr.methods.method import Method
from mlr.model.backbones import BACKBONES
from mlr.options.training import TrainingOptions

if TYPE_CHECKING:
    import numpy as np

    from mlr.training.session import Training


@dataclass(frozen=True)
class Pcnn(Method):
    """Stages of gradient descent: all images, then those that a selection keeps, then a target."""

    several_workers = False

    def stages(self, options: TrainingOptions) -> List[range]:
        """A third as many epochs in each round, and for the target, as before the first."""
        tuning = max(1, round(options.epochs * paper.PCNN_FINE_TUNING))
        later = options.rounds + bool(options.target)
        starts = [0] + [options.epochs + tuning * number for number in range(later + 1)]
        return [range(*pair) for pair in zip(starts, starts[1:])]

    def fit(self, training: "Training") -> None:
        from mlr.training.fitting import fit_by_gradients

        fit_by_gradients(training, self.stages(training.options), select)


def removal_probabilities(probabilities: "np.ndarray") -> "np.ndarray":
    """Return the probability of leaving out each image, (N,): max(0, 2 - exp(d)).

    probabilities: (N, K). d is the difference of the highest two; the result is 1 at a tie and 0
    from d = ln 2 on. The paper has two classes; taking the highest two of more is ours. The label
    makes no difference, so that what the network is confidently wrong about stays (inferred).
    """
    import numpy as np

    highest = np.sort(np.asarray(probabilities, float), axis=1)[:, -2:]  # (N, 2)
    return np.maximum(0, 2 - np.exp(highest[:, 1] - highest[:, 0]))


def select(probabilities: "np.ndarray", labels: "np.ndarray", seed: int) -> "np.ndarray":
    """Return the indices of the images that are kept, drawn with `removal_probabilities`.

    seed: a whole number from 0; of more than 32 bits the lowest 32 count. A class all of whose
    images would be left out keeps its most decided one, as a class without images can't be trained
    (ours).
    """
    import numpy as np

    removal = removal_probabilities(probabilities)
    kept = np.random.RandomState(seed % 2**32).uniform(size=len(removal)) >= removal
    labels = np.asarray(labels)
    for label in np.unique(labels):
        if not kept[labels == label].any():
            of_class = np.flatnonzero(labels == label)
            kept[of_class[removal[of_class].argmin()]] = True
    return np.flatnonzero(kept)


METHOD = Pcnn(
    name="pcnn",
    title="PCNN (VGGNet)",
    published=paper.PUBLISHED["pcnn"],
    backbones=(*BACKBONES, "pcnn_small"),
    released=replace(AR_VGG, method="pcnn"),
    own=("rounds", "target"),
    demo_pretraining=VGG16.demo_pretraining,
    cost=2,
)
