"""A support vector machine on features, as in the published binary results of DeepSentiBank. It is
saved without a pickle.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Dict, Mapping, Optional, Tuple, Union

import numpy as np

from mlr.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# The shapes of the saved arrays, for D features, P pairs of classes and V support vectors.
COMMON = {"mean": "D", "scale": "D", "intercepts": "P"}
SHAPES = {
    "linear": {**COMMON, "weights": "PD"},
    "rbf": {**COMMON, "support_vectors": "VD", "coefficients": "PV", "gamma": "1"},
}
POSITIVE = ("scale", "gamma")
# The rows of the kernel matrix that are computed at once. It has a column for each support vector,
# and there may be tens of thousands.
ROWS_AT_ONCE = 1024


def fit(
    features: "ArrayLike",
    labels: "ArrayLike",
    kernel: str = "linear",
    c: float = 1.0,
    class_weight: Optional[str] = "balanced",
    seed: int = 0,
) -> "SupportVectorMachine":
    """Train a `SupportVectorMachine` on features (N, D) and labels (N,), integers 0 to K - 1, each
    of which must occur.

    It is LIBSVM's machine, through scikit-learn, because papers report "LIBSVM" on the features of
    DeepSentiBank. They state neither kernel nor C, so these are our choices: kernel "linear", or
    "rbf" with gamma 1 / D, LIBSVM's default; C 1; features standardised by the mean and the
    standard deviation of the training set; class_weight "balanced" (None: all images have the same
    weight). Raises InputError if it can't train on the arguments.
    """
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if kernel not in SHAPES:
        raise InputError(f"unknown kernel {kernel}: choose one of {', '.join(SHAPES)}")
    if not 0 < c < np.inf:
        raise InputError(f"C of the support vector machine must be above 0, not {c}")
    features, labels = _checked_features(features), np.asarray(labels)
    if labels.shape != features.shape[:1]:
        raise InputError(
            f"{len(features):d} feature vectors need the same number of labels, but the labels "
            f"have the shape {labels.shape}"
        )
    classes = np.unique(labels)
    if len(classes) < 2 or not np.array_equal(classes, np.arange(len(classes))):
        raise InputError(
            "a support vector machine needs images of at least two classes, and of every class, "
            "labelled from 0; there are images with the labels "
            f"{', '.join(map(str, classes[:20]))}"
        )
    scaler = StandardScaler().fit(features)
    machine = SVC(
        C=c, kernel=kernel, gamma="auto", class_weight=class_weight, random_state=seed
    ).fit(scaler.transform(features), labels)
    # In scikit-learn a positive decision means the first class of a pair, except with two classes,
    # where it means the second.
    sign = -1 if len(classes) == 2 else 1
    coefficients = sign * _pairwise(machine.dual_coef_, machine.n_support_)
    arrays = {"mean": scaler.mean_, "scale": scaler.scale_, "intercepts": sign * machine.intercept_}
    if kernel == "linear":
        arrays["weights"] = coefficients @ machine.support_vectors_
    else:
        arrays.update(
            support_vectors=machine.support_vectors_,
            coefficients=coefficients,
            gamma=np.array([1 / features.shape[1]]),
        )
    return SupportVectorMachine(arrays)


def sides_of_pairs(classes: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return one-hot rows of the first and of the second class of each pair, (P, K) each."""
    firsts, seconds = (np.eye(classes)[of_pair] for of_pair in _pairs(classes))
    return firsts, seconds


def _pairs(classes: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return the first and the second class of each pair, in LIBSVM's order: (0, 1), (0, 2), ...,
    (1, 2), ...
    """
    return np.triu_indices(classes, 1)


def _pairwise(dual: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return for each of P pairs of classes the coefficients of all V support vectors, (P, V). They
    are 0 for vectors that belong to neither class.

    dual: (K - 1, V), of LIBSVM: row r of a vector of class k is for the pair of k and class r, or
    class r + 1 if r >= k. counts: (K,), the number of support vectors of each class.
    """
    ends = np.cumsum(counts)
    firsts, seconds = _pairs(len(counts))
    coefficients = np.zeros((len(firsts), dual.shape[1]))
    for of_pair, first, second in zip(coefficients, firsts, seconds):
        for own, other in ((first, second), (second, first)):
            vectors = slice(ends[own] - counts[own], ends[own])
            of_pair[vectors] = dual[other - (other > own), vectors]
    return coefficients


class SupportVectorMachine:
    """A trained support vector machine for K classes, made by `fit` or `from_arrays`. It predicts
    the class with the highest score.

    Each of the P = K (K - 1) / 2 pairs of classes has a decision value, which is positive for the
    first of the two. Attributes: `classes`, K; `width`, D.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], source: Union[str, Path] = "the arrays"
    ) -> None:
        """arrays: in the form that `arrays` returns. source: the file's name, for errors."""
        self._arrays, self._source = arrays, source
        classes = _classes(len(arrays["intercepts"]))
        assert classes is not None  # `fit` and `from_arrays` make sure
        self.classes, self.width = classes, len(arrays["mean"])

    def scores(self, features: "ArrayLike") -> np.ndarray:
        """Return the scores (N, K), float64, of features (N, D). They equal scikit-learn's decision
        function with the shape "ovr".

        With K = 2 that function has one value d, for the second class; the scores are -d and d.
        With more classes a score is the number of pairs that vote for the class, plus a number
        between -1/3 and 1/3 that grows with the sum of the class's decision values; it orders
        classes with equal votes. Raises InputError for features of another D, and if a decision
        value is NaN or infinite.
        """
        features = _checked_features(features, self.width)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (features - self._arrays["mean"]) / self._arrays["scale"]
            # (N, P)
            decisions = self._decisions(scaled) if np.isfinite(scaled).all() else np.array(np.nan)
        if not np.isfinite(decisions).all():
            raise _damaged(self._source, "it answers with NaN or infinity")
        if self.classes == 2:
            return np.hstack([decisions, -decisions])
        firsts, seconds = sides_of_pairs(self.classes)
        sums = decisions @ (firsts - seconds)
        votes = (decisions >= 0) @ firsts + (decisions < 0) @ seconds
        return votes + sums / (3 * (np.abs(sums) + 1))

    def probabilities(self, features: "ArrayLike") -> np.ndarray:
        """Return the softmax (N, K) of the scores. It ranks the classes and sums to 1, but is not
        calibrated: it does not tell how likely a class is right.
        """
        scores = self.scores(features)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def _decisions(self, features: np.ndarray) -> np.ndarray:
        arrays = self._arrays
        if "weights" in arrays:
            return features @ arrays["weights"].T + arrays["intercepts"]
        from sklearn.metrics.pairwise import rbf_kernel

        parts = [
            features[start : start + ROWS_AT_ONCE]
            for start in range(0, len(features), ROWS_AT_ONCE)
        ]
        return (
            np.concatenate(
                [
                    rbf_kernel(part, arrays["support_vectors"], arrays["gamma"][0])
                    @ arrays["coefficients"].T
                    for part in parts
                ]
            )
            + arrays["intercepts"]
        )

    def arrays(self) -> Dict[str, np.ndarray]:
        """Return the whole machine, {name: array}, float64: mean (D,), scale (D,), intercepts (P,);
        with a linear kernel also weights (P, D), otherwise support_vectors (V, D), coefficients (P,
        V) and gamma (1,).
        """
        return dict(self._arrays)

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], source: Union[str, Path] = "the arrays"
    ) -> "SupportVectorMachine":
        """Return the machine that has these arrays, NumPy arrays as `arrays` returns them. source:
        the file's name, for the error.

        Raises InputError if an array is missing, unknown, has a wrong shape or type or a value that
        is not finite, or if a scale or gamma is not above 0.
        """
        shapes = SHAPES["linear" if "weights" in arrays else "rbf"]
        if set(shapes) != set(arrays):
            lacking, surplus = (
                ", ".join(sorted(names)) or "nothing"
                for names in (set(shapes) - set(arrays), set(arrays) - set(shapes))
            )
            raise _damaged(source, f"it lacks {lacking}, and has {surplus} in addition")
        sizes = {"1": 1}
        for name, letters in shapes.items():
            array = arrays[name]
            wanted = tuple(
                sizes.setdefault(letter, size) for letter, size in zip(letters, array.shape)
            )
            if (
                array.dtype.kind != "f"
                or array.ndim != len(letters)
                or array.shape != wanted
                or not array.size
            ):
                raise _damaged(source, f"{name} is {array.dtype} of shape {array.shape}")
            if not np.isfinite(array).all() or (name in POSITIVE and not (array > 0).all()):
                raise _damaged(
                    source,
                    (
                        f"{name} holds a value that is not "
                        f"finite{', or not above 0' if name in POSITIVE else ''}"
                    ),
                )
        if _classes(sizes["P"]) is None:
            raise _damaged(source, f"no number of classes has {sizes['P']:d} pairs (intercepts)")
        return cls({name: arrays[name].astype(float) for name in shapes}, source)


def _classes(pairs: int) -> Optional[int]:
    """Return the K whose number of pairs K (K - 1) / 2 is `pairs`, or None."""
    classes = int((1 + np.sqrt(1 + 8 * pairs)) / 2)
    return classes if classes * (classes - 1) == 2 * pairs else None


def _checked_features(features: "ArrayLike", width: Optional[int] = None) -> np.ndarray:
    features = np.asarray(features, dtype=float)
    if features.ndim != 2 or not features.size or width not in (None, features.shape[1]):
        raise InputError(
            f"features have the shape {features.shape}, not (N, {width or 'D'}): take them from "
            "the network with whose features the machine was trained"
        )
    if not np.isfinite(features).all():
        raise InputError(
            "features are NaN or infinite, likely because the training of the network diverged or "
            "its weights don't fit: check the weights"
        )
    return features


def _damaged(source: Union[str, Path], what: str) -> InputError:
    return InputError(
        f"{source} does not hold a support vector machine, or is damaged: {what}; train again, or "
        "restore it from a copy"
    )
