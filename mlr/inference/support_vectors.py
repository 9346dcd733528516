"""A support vector machine on features, as the binary results of DeepSentiBank in the literature
have it; saved without a pickle.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Dict, Mapping, Optional, Tuple, Union

import numpy as np

from mlr.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Shapes of the arrays that are kept, D features, P pairs of classes, V support vectors.
COMMON = {"mean": "D", "scale": "D", "intercepts": "P"}
SHAPES = {
    "linear": {**COMMON, "weights": "PD"},
    "rbf": {**COMMON, "support_vectors": "VD", "coefficients": "PV", "gamma": "1"},
}
POSITIVE = ("scale", "gamma")
# of a kernel matrix, whose columns are the support vectors: there may be ten thousands
ROWS_AT_ONCE = 1024


def fit(
    features: "ArrayLike",
    labels: "ArrayLike",
    kernel: str = "linear",
    c: float = 1.0,
    class_weight: Optional[str] = "balanced",
    seed: int = 0,
) -> "SupportVectorMachine":
    """Return the `SupportVectorMachine` of features (N, D) and labels (N,), integers 0 to K - 1,
    each of which must occur.

    It is LIBSVM's, by scikit-learn, as papers report "LIBSVM" on the features of DeepSentiBank.
    Kernel and C they do not state, so these are our choices: kernel "linear" or "rbf" with gamma 1
    / D, LIBSVM's default; C 1; features standardised by the training set's mean and deviation;
    class_weight "balanced" (None: as the images come). Raises InputError for what can't be trained
    on.
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
            f"{len(features):d} feature vectors need as many labels, not {labels.shape}"
        )
    classes = np.unique(labels)
    if len(classes) < 2 or not np.array_equal(classes, np.arange(len(classes))):
        raise InputError(
            "a support vector machine needs images of every class, at least two, labelled from "
            f"0; there are images of {', '.join(map(str, classes[:20])) or 'none'}"
        )
    scaler = StandardScaler().fit(features)
    machine = SVC(
        C=c, kernel=kernel, gamma="auto", class_weight=class_weight, random_state=seed
    ).fit(scaler.transform(features), labels)
    # scikit-learn has a positive decision mean the first class of a pair, but with two classes the
    # second.
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
    """Return which class the first and the second of each pair is, (P, K) each, 1 or 0."""
    firsts, seconds = (np.eye(classes)[of_pair] for of_pair in _pairs(classes))
    return firsts, seconds


def _pairs(classes: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return the first and the second class of each pair, in LIBSVM's order: (0, 1), (0, 2), ...,
    (1, 2), ...
    """
    return np.triu_indices(classes, 1)


def _pairwise(dual: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return for each of P pairs of classes the coefficients of all V support vectors (P, V), 0
    where they are of neither class.

    dual: (K - 1, V), LIBSVM's: entry r of a vector of class k is for its pair with class r, or r
    + 1 from k on. counts: vectors a class.
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
    """A trained support vector machine for K classes, made by `fit` or `from_arrays`. Its
    prediction is the highest of its scores.

    Each of the P = K (K - 1) / 2 pairs of classes has a decision, positive for the first of the
    two. Attributes: `classes`, K; `width`, D.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], source: Union[str, Path] = "the arrays"
    ) -> None:
        """arrays: what `arrays` returns. source: the file's name, for errors."""
        self._arrays, self._source = arrays, source
        classes = _classes(len(arrays["intercepts"]))
        assert classes is not None  # as it was checked
        self.classes, self.width = classes, len(arrays["mean"])

    def scores(self, features: "ArrayLike") -> np.ndarray:
        """Return scores (N, K), float64, of features (N, D), equal to scikit-learn's decision
        function of the kind "ovr".

        With K = 2 it has one value d, the second class's: they are -d and d. With more they are the
        votes of all pairs, and below 1/3 the sum of the decisions for a class, which tells apart
        classes with equal votes. Raises InputError for features of another D, and where a decision
        is no number.
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
        """Return the softmax (N, K) of the scores: a ranking that adds up to 1, not calibrated, and
        no likelihood of being right.
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
        """Return all of it, {name: array}, float64: mean (D,), scale (D,), intercepts (P,), and of
        a linear one weights (P, D), else support_vectors (V, D), coefficients (P, V) and gamma
        (1,).
        """
        return dict(self._arrays)

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray], source: Union[str, Path] = "the arrays"
    ) -> "SupportVectorMachine":
        """Return the machine of what `arrays` returned, NumPy arrays. source: the file's name, for
        the error.

        Raises InputError where anything is missing, too much, of a wrong shape or type, not finite,
        or a scale or gamma not above 0.
        """
        shapes = SHAPES["linear" if "weights" in arrays else "rbf"]
        if set(shapes) != set(arrays):
            lacking, surplus = (
                ", ".join(sorted(names)) or "nothing"
                for names in (set(shapes) - set(arrays), set(arrays) - set(shapes))
            )
            raise _damaged(source, f"it lacks {lacking}, and has {surplus} too much")
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
            raise _damaged(source, f"{sizes['P']:d} intercepts are of no number of pairs")
        return cls({name: arrays[name].astype(float) for name in shapes}, source)


def _classes(pairs: int) -> Optional[int]:
    """Return K of K (K - 1) / 2 pairs, None where there is none."""
    classes = int((1 + np.sqrt(1 + 8 * pairs)) / 2)
    return classes if classes * (classes - 1) == 2 * pairs else None


def _checked_features(features: "ArrayLike", width: Optional[int] = None) -> np.ndarray:
    features = np.asarray(features, dtype=float)
    if features.ndim != 2 or not features.size or width not in (None, features.shape[1]):
        raise InputError(
            f"features are of shape {features.shape}, not (N, {width or 'D'}): they must come "
            "from the network that the machine was trained on"
        )
    if not np.isfinite(features).all():
        raise InputError(
            "features are NaN or infinite, likely of a network whose training diverged or whose "
            "weights don't fit: look at those"
        )
    return features


def _damaged(source: Union[str, Path], what: str) -> InputError:
    return InputError(
        f"{source} holds no support vector machine, or a damaged one: {what}; train again, or "
        "restore it from a copy"
    )
