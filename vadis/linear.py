"""A last layer for features that stay as they are: logistic regression, or a linear support vector machine.

Features are brought to mean 0 and deviation 1 by the training part, and divided by the square root of their
number, so that one strength of regularisation suits networks of any width; the layer that comes out takes
the features as they were. Logistic regression minimises C times the sum of losses plus half the squared
weights by full-batch L-BFGS in double precision: no step size, no seed, the same layer every time. The
strength C is chosen by cross-validation on the training part alone, whole sources together.

Legend: N examples, V views, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from vadis.data.splitting import find_groups
from vadis.records import Example, VadisError

Floats = npt.NDArray[np.float64]
STRENGTHS = (1.0, 10.0, 100.0, 1000.0, 10000.0)
DEFAULT_STRENGTH = 100.0
SVM_STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
DEFAULT_SVM_STRENGTH = 1.0
NUM_FOLDS = 4
MAX_STEPS = 300


@dataclass(frozen=True)
class LinearLayer:
    """weight_KD and bias_K: logits are `feature_D @ weight_KD.T + bias_K`. strength: the C that was taken.

    chosen: mean accuracy (mean AP for several labels) in cross-validation for each C that was tried, empty
    where the examples were too few for it.
    """

    weight_KD: Floats
    bias_K: Floats
    strength: float
    chosen: dict[float, float]

    def logits(self, feature_ND: npt.ArrayLike) -> Floats:
        """logits_NK (any axes before D)."""
        return np.asarray(np.asarray(feature_ND, np.float64) @ self.weight_KD.T + self.bias_K)


def fit_layer(
    feature_NVD: npt.NDArray[np.float32],
    target_NK: npt.NDArray[np.float64],
    examples: Sequence[Example],
    *,
    kind: str = "logistic",
    multi_label: bool = False,
    strength: float | None = None,
    standardise: bool = True,
) -> LinearLayer:
    """The last layer that the examples teach; each view counts, those of a video stay together.

    feature_NVD: finite. target_NK: 0 and 1. kind: "logistic" or "svm". strength: C, a factor; None chooses it
    by cross-validation, or takes the default where a class has examples of fewer than two sources.
    standardise: False takes the features as they are. Raises ValueError for no examples or a kind that there
    is not, VadisError where scikit-learn is missing.
    """
    fits = {"logistic": _fit_logistic, "svm": _fit_svm}
    if kind not in fits:
        raise ValueError(f"kind must be one of {', '.join(fits)}, not {kind!r}")
    if not len(feature_NVD):
        raise ValueError("there is not one example to learn from")
    fit = fits[kind]
    grid = STRENGTHS if kind == "logistic" else SVM_STRENGTHS
    default = DEFAULT_STRENGTH if kind == "logistic" else DEFAULT_SVM_STRENGTH
    found: dict[float, float] = {}
    if strength is None:
        fold_N = make_folds(examples, target_NK)
        if fold_N is not None:
            found = _cross_validate(feature_NVD, target_NK, fold_N, fit, grid, multi_label, standardise)
        best = max(found.values(), default=0.0)
        strength = min((c for c, value in found.items() if value >= best - 1e-12), default=default)
    (weight_KD, bias_K) = _fit(feature_NVD, target_NK, fit, (strength,), multi_label, standardise)[0]
    return LinearLayer(weight_KD, bias_K, strength, found)


def make_folds(
    examples: Sequence[Example], target_NK: npt.NDArray[np.float64], num_folds: int = NUM_FOLDS
) -> npt.NDArray[np.int64] | None:
    """fold_N: the part of cross-validation that each example belongs to, whole sources together.

    Sources go, in a seeded order, to the fold with the fewest examples of their classes. None where a class
    has examples of one source only: it could not be learnt and tested.
    """
    groups = find_groups(examples)
    num_folds = min(num_folds, len(groups))
    sources_K = np.zeros(target_NK.shape[1])
    for group in groups:
        sources_K += target_NK[group].any(axis=0)
    if num_folds < 2 or (sources_K == 1).any():
        return None
    rng = np.random.default_rng(0)
    have_FK = np.zeros((num_folds, target_NK.shape[1]))
    size_F = np.zeros(num_folds)
    fold_N = np.zeros(len(examples), np.int64)
    order = sorted(rng.permutation(len(groups)).tolist(), key=lambda index: -len(groups[index]))
    for index in order:
        group = groups[index]
        count_K = target_NK[group].sum(axis=0)
        fold = int(np.lexsort((size_F, have_FK @ count_K))[0])
        fold_N[group] = fold
        have_FK[fold] += count_K
        size_F[fold] += len(group)
    return fold_N


Fit = Callable[[Tensor, Tensor, Sequence[float], bool], list[tuple[Tensor, Tensor]]]


def _cross_validate(
    feature_NVD: npt.NDArray[np.float32],
    target_NK: npt.NDArray[np.float64],
    fold_N: npt.NDArray[np.int64],
    fit: Fit,
    grid: Sequence[float],
    multi_label: bool,
    standardise: bool,
) -> dict[float, float]:
    """Mean accuracy over all examples, each scored by a layer that its source had no part in."""
    logits_CNK = np.zeros((len(grid), *target_NK.shape))
    for fold in np.unique(fold_N):
        inside = fold_N != fold
        layers = _fit(feature_NVD[inside], target_NK[inside], fit, grid, multi_label, standardise)
        for place, (weight_KD, bias_K) in enumerate(layers):
            logits_NVK = feature_NVD[~inside].astype(np.float64) @ weight_KD.T + bias_K
            logits_CNK[place, ~inside] = logits_NVK.mean(axis=1)
    if multi_label:
        from vadis.metrics.classification import average_precision

        found = {}
        positive_K = target_NK.any(axis=0)
        for strength, logits_NK in zip(grid, logits_CNK, strict=True):
            values = [
                average_precision(logits_NK[:, label], target_NK[:, label] > 0)
                for label in np.flatnonzero(positive_K)
            ]
            found[strength] = float(np.mean(values))
        return found
    label_N = target_NK.argmax(axis=1)
    return {
        strength: float((logits_NK.argmax(axis=1) == label_N).mean())
        for strength, logits_NK in zip(grid, logits_CNK, strict=True)
    }


def _fit(
    feature_NVD: npt.NDArray[np.float32],
    target_NK: npt.NDArray[np.float64],
    fit: Fit,
    grid: Sequence[float],
    multi_label: bool,
    standardise: bool,
) -> list[tuple[Floats, Floats]]:
    """A layer for each strength, on features as they are: the scaling is folded into it."""
    num_views, num_features = feature_NVD.shape[1:]
    x = torch.from_numpy(feature_NVD.reshape(-1, num_features).astype(np.float64))
    target = torch.from_numpy(np.repeat(target_NK, num_views, axis=0).astype(np.float64))
    mean = x.mean(dim=0)
    scale = torch.ones_like(mean)
    if standardise:
        scale = x.std(dim=0, correction=0)
        scale = torch.where(scale > 1e-8 * scale.max().clamp(min=1e-12), scale, torch.inf) * num_features**0.5
    else:
        mean = torch.zeros_like(mean)
    x = (x - mean) / scale  # a feature that never changes is left out
    basis = None
    if len(x) < num_features:  # the answer lies in the span of the examples: work there
        basis, triangle = torch.linalg.qr(x.T)
        x = triangle.T.contiguous()
    layers = []
    for weight, bias in fit(x, target, grid, multi_label):
        whole = (weight if basis is None else weight @ basis.T) / scale
        layers.append((whole.numpy(), (bias - whole @ mean).numpy()))
    return layers


def _fit_logistic(
    x_ND: Tensor, target_NK: Tensor, grid: Sequence[float], multi_label: bool
) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases for each strength, from the strongest regularisation on, each from the last."""
    num_classes = target_NK.shape[1]
    layer = torch.zeros(num_classes, x_ND.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    found: dict[float, tuple[Tensor, Tensor]] = {}
    for strength in sorted(grid):
        optimiser = torch.optim.LBFGS(
            [layer],
            max_iter=MAX_STEPS,
            tolerance_grad=1e-7,
            tolerance_change=1e-12,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def loss(strength: float = strength) -> Tensor:
            logits_NK = torch.addmm(layer[:, -1], x_ND, layer[:, :-1].T)
            if multi_label:
                fit = functional.binary_cross_entropy_with_logits(logits_NK, target_NK, reduction="none")
                per_example = fit.sum(dim=1)
            else:
                per_example = -(target_NK * logits_NK.log_softmax(dim=1)).sum(dim=1)
            return per_example.mean() + layer[:, :-1].square().sum() / (2 * strength * len(x_ND))

        def step(optimiser: torch.optim.Optimizer = optimiser, loss: Callable[[], Tensor] = loss) -> Tensor:
            optimiser.zero_grad()
            value = loss()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(step)  # type: ignore[no-untyped-call]
        final = layer.detach().clone()
        found[strength] = (final[:, :-1], final[:, -1])
    return [found[strength] for strength in grid]


def _fit_svm(
    x_ND: Tensor, target_NK: Tensor, grid: Sequence[float], multi_label: bool
) -> list[tuple[Tensor, Tensor]]:
    """One classifier a class against the rest, squared hinge loss (LIBLINEAR)."""
    try:
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise VadisError(
            "the support vector machine needs scikit-learn: pip install 'vadis[train]'"
        ) from error
    num_classes = target_NK.shape[1]
    found = []
    for strength in grid:
        weight = torch.zeros(num_classes, x_ND.shape[1], dtype=torch.float64)
        bias = torch.full((num_classes,), -1.0, dtype=torch.float64)  # of classes that have no example
        for label in range(num_classes):
            positive_N = target_NK[:, label].numpy() > 0
            if positive_N.all():
                bias[label] = 1.0
            if positive_N.all() or not positive_N.any():
                continue
            machine = LinearSVC(C=strength, dual="auto", max_iter=5000, tol=1e-5, random_state=0)
            machine.fit(x_ND.numpy(), positive_N)
            weight[label] = torch.from_numpy(machine.coef_[0])
            bias[label] = float(machine.intercept_[0])
        found.append((weight, bias))
    return found
