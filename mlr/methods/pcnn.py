"""PCNN: train on all images, leave out at random images that the network is unsure of, fine-tune.

Q. You, J. Luo, H. Jin, J. Yang, "Robust image sentiment analysis using progressively trained and
domain transferred deep networks", AAAI 2015, arXiv 1509.06041. The formula and the numbers of steps
are recalled, not re-read. The table's "PCNN (VGGNet)" is the same method with a VGG-16 (inferred
from its name). It is not known whether it was trained on the half million weakly labelled images of
Flickr or on FI.
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
    """Stages of gradient descent: on all images, then on those that a selection keeps, then on a
    target.
    """

    several_workers = False

    def stages(self, options: TrainingOptions) -> List[range]:
        """Return the stages: `options.epochs` epochs at first, and a third of that in each round
        and for the target.
        """
        tuning = max(1, round(options.epochs * paper.PCNN_FINE_TUNING))
        later = options.rounds + bool(options.target)
        starts = [0] + [options.epochs + tuning * number for number in range(later + 1)]
        return [range(*pair) for pair in zip(starts, starts[1:])]

    def fit(self, training: "Training") -> None:
        from mlr.training.fitting import fit_by_gradients

        fit_by_gradients(training, self.stages(training.options), select)


def removal_probabilities(probabilities: "np.ndarray") -> "np.ndarray":
    """Return the probability of leaving out each image, (N,): max(0, 2 - exp(d)).

    probabilities: (N, K). d is the difference between the two highest probabilities; the result is
    1 at a tie and 0 from d = ln 2 on. The paper has two classes; using the two highest of more
    classes is ours. The label has no influence, so images that the network is confidently wrong
    about stay (inferred).
    """
    import numpy as np

    highest = np.sort(np.asarray(probabilities, float), axis=1)[:, -2:]  # (N, 2)
    return np.maximum(0, 2 - np.exp(highest[:, 1] - highest[:, 0]))


def select(probabilities: "np.ndarray", labels: "np.ndarray", seed: int) -> "np.ndarray":
    """Return the indices of the images that are kept, drawn with `removal_probabilities`.

    seed: a whole number from 0; only its lowest 32 bits count. If all images of a class would be
    left out, the one that the network is surest of stays, as a class without images can't be
    trained (ours).
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
