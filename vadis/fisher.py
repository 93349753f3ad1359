"""Fisher vectors: how a set of descriptors differs from what is usual, as one long vector, and an SVM on it.

A Gaussian mixture learns what descriptors look like. The Fisher vector of a video says how its mixture would
have to change to fit the video's descriptors better: the gradient of their mean log-likelihood L by each
Gaussian's mean and deviation, divided by the root of its Fisher information, so that all count alike. After
signed square roots and a length of 1, a linear support vector machine tells the classes apart.

With posteriors q_k(x), weights w, means m, deviations s of K Gaussians (diagonal), over N descriptors:

    by means       1 / (N sqrt(w_k))   sum_x q_k(x) (x - m_k) / s_k            = dL/dm_k * s_k / sqrt(w_k)
    by deviations  1 / (N sqrt(2 w_k)) sum_x q_k(x) (((x - m_k) / s_k)^2 - 1)  = dL/ds_k * s_k / sqrt(2 w_k)

Source: Perronnin, Sanchez & Mensink, ECCV 2010; Wang & Schmid, ICCV 2013 for the sizes: each of the five
descriptors is cut to half its size by PCA, K = 256, so 2 x 213 x 256 = 109,056 numbers; each descriptor's
part is normalised by itself, then they are joined. The mixture is fitted by an EM of our own from k-means.

Legend: N descriptors or videos, D numbers of a descriptor, d numbers that PCA leaves, K Gaussians or classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from vadis.records import DataError, Example
from vadis.video.write import part_file

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FORMAT = 1
NUM_GAUSSIANS = 256
NUM_SAMPLES = 256_000
STRENGTH = 100.0
"""The paper's C of the support vector machine."""
LEAST_VARIANCE = 1e-3
"""Share of a dimension's own variance that a Gaussian keeps at least: a point has infinite density."""
CHUNK = 16_384
MAX_ROUNDS = 60


@dataclass(frozen=True)
class Codebook:
    """What is usual for one descriptor: mean_D and axes_dD of its PCA, and the mixture in what PCA leaves.

    weights_K: sum to 1. means_Kd, variances_Kd: diagonal Gaussians.
    """

    mean_D: Floats
    axes_dD: Floats
    weights_K: Floats
    means_Kd: Floats
    variances_Kd: Floats

    @property
    def size(self) -> int:
        """Numbers of its part of a Fisher vector: 2 x d x K."""
        return 2 * self.means_Kd.size

    def project(self, values_ND: Floats) -> Floats:
        """Descriptors without what PCA leaves out. Returns values_Nd."""
        return np.asarray((values_ND - self.mean_D) @ self.axes_dD.T, np.float32)

    def log_densities(self, values_Nd: NDArray[Any]) -> Doubles:
        """Of each value under each weighted Gaussian, in the precision of the values. Returns logs_NK."""
        return _log_densities(values_Nd, self.weights_K, self.means_Kd, self.variances_Kd)


def fit_codebook(
    samples_ND: NDArray[Any],
    num_gaussians: int = NUM_GAUSSIANS,
    *,
    dimension: int | None = None,
    seed: int = 0,
) -> Codebook:
    """PCA and a mixture of a sample of descriptors. dimension: that PCA leaves, half of them by default.

    Raises ValueError for fewer samples than Gaussians.
    """
    samples_ND = np.asarray(samples_ND, np.float32)
    if len(samples_ND) < num_gaussians:
        raise ValueError(
            f"{num_gaussians} Gaussians need at least as many descriptors, got {len(samples_ND)}: "
            "take fewer Gaussians, or more or longer videos"
        )
    keep = samples_ND.shape[1] // 2 if dimension is None else dimension
    mean_D = samples_ND.mean(0, dtype=np.float64)
    centred_ND = samples_ND - mean_D.astype(np.float32)
    covariance_DD = (centred_ND.T @ centred_ND).astype(np.float64) / len(samples_ND)
    _, vectors_DD = np.linalg.eigh(covariance_DD)
    axes_dD = vectors_DD[:, ::-1][:, :keep].T
    axes_dD = (
        axes_dD * np.sign(axes_dD[np.arange(keep), np.abs(axes_dD).argmax(1)])[:, None]
    )  # one sign for all
    weights_K, means_Kd, variances_Kd = fit_mixture(
        centred_ND @ axes_dD.T.astype(np.float32), num_gaussians, seed=seed
    )
    parts = (mean_D, axes_dD, weights_K, means_Kd, variances_Kd)
    return Codebook(*(np.ascontiguousarray(part, np.float32) for part in parts))


def fit_mixture(
    values_Nd: Floats,
    num_gaussians: int,
    *,
    seed: int = 0,
    max_rounds: int = MAX_ROUNDS,
    tolerance: float = 1e-3,
) -> tuple[Doubles, Doubles, Doubles]:
    """A mixture of diagonal Gaussians by expectation and maximisation, from k-means.

    tolerance: it ends when the mean log-likelihood (in nats, not a share) grows by less in a round. Returns
    weights_K, means_Kd, variances_Kd.
    """
    rng = np.random.default_rng(seed)
    spread_d = np.maximum(values_Nd.var(0, dtype=np.float64), 1e-12)
    means_Kd = values_Nd[rng.choice(len(values_Nd), num_gaussians, replace=False)].astype(np.float64)
    weights_K = np.full(num_gaussians, 1 / num_gaussians)
    variances_Kd = np.tile(spread_d, (num_gaussians, 1))
    for _ in range(10):  # k-means with each dimension in its own deviation
        counts_K, sums_Kd, squares_Kd, _ = _moments(values_Nd, weights_K, means_Kd, variances_Kd, hard=True)
        means_Kd = _refill(sums_Kd, counts_K, values_Nd, rng)
    before = -np.inf
    for number in range(max_rounds):
        counts_K, sums_Kd, squares_Kd, likelihood = _moments(
            values_Nd, weights_K, means_Kd, variances_Kd, hard=number == 0
        )
        means_Kd = _refill(sums_Kd, counts_K, values_Nd, rng)
        share_K1 = np.maximum(counts_K, 1e-9)[:, None]
        variances_Kd = squares_Kd / share_K1 - (sums_Kd / share_K1) ** 2
        variances_Kd[counts_K < 2] = spread_d
        variances_Kd = np.maximum(variances_Kd, LEAST_VARIANCE * spread_d)
        weights_K = np.maximum(counts_K, 1.0)
        weights_K /= weights_K.sum()
        if number > 1 and likelihood - before < tolerance:
            break
        before = likelihood
    return weights_K, means_Kd, variances_Kd


def _refill(sums_Kd: Doubles, counts_K: Doubles, values_Nd: Floats, rng: np.random.Generator) -> Doubles:
    """The means; a Gaussian that lost all its values starts again at one of them."""
    means_Kd = sums_Kd / np.maximum(counts_K, 1e-9)[:, None]
    empty = np.flatnonzero(counts_K < 1e-3)
    means_Kd[empty] = values_Nd[rng.choice(len(values_Nd), len(empty), replace=False)]
    return means_Kd


def _moments(
    values_Nd: Floats, weights_K: Doubles, means_Kd: Doubles, variances_Kd: Doubles, hard: bool
) -> tuple[Doubles, Doubles, Doubles, float]:
    """Sums of the posteriors, of them times values and times squares; the mean log-likelihood."""
    counts_K = np.zeros(len(weights_K))
    sums_Kd, squares_Kd = np.zeros_like(means_Kd), np.zeros_like(means_Kd)
    total = 0.0
    for start in range(0, len(values_Nd), CHUNK):
        part_Nd = values_Nd[start : start + CHUNK]
        logs_NK = _log_densities(part_Nd, weights_K, means_Kd, variances_Kd)
        posterior_NK, log_N = _posteriors(logs_NK)
        total += float(log_N.sum(dtype=np.float64))
        if hard:
            posterior_NK = np.eye(len(weights_K), dtype=np.float32)[logs_NK.argmax(1)]
        counts_K += posterior_NK.sum(0, dtype=np.float64)
        sums_Kd += posterior_NK.T @ part_Nd
        squares_Kd += posterior_NK.T @ (part_Nd * part_Nd)
    return counts_K, sums_Kd, squares_Kd, total / len(values_Nd)


def _log_densities(
    values_Nd: NDArray[Any], weights_K: NDArray[Any], means_Kd: NDArray[Any], variances_Kd: NDArray[Any]
) -> NDArray[Any]:
    """In the precision of the values: logs_NK."""
    kind = values_Nd.dtype
    weights, means = np.asarray(weights_K, np.float64), np.asarray(means_Kd, np.float64)
    inverse = 1.0 / np.asarray(variances_Kd, np.float64)
    constant_K = np.log(weights) - 0.5 * (
        means.shape[1] * np.log(2 * np.pi) - np.log(inverse).sum(1) + (means**2 * inverse).sum(1)
    )
    squares_NK = (values_Nd * values_Nd) @ (-0.5 * inverse).T.astype(kind)
    return squares_NK + values_Nd @ (means * inverse).T.astype(kind) + constant_K.astype(kind)


def _posteriors(logs_NK: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    best_N1 = logs_NK.max(1, keepdims=True)
    powers_NK = np.exp(logs_NK - best_N1)
    total_N1 = powers_NK.sum(1, keepdims=True)
    return powers_NK / total_N1, (best_N1 + np.log(total_N1))[:, 0]


# --- Fisher vectors ---------------------------------------------------------------------------------------


def fisher_vector(values_Nd: NDArray[Any], codebook: Codebook) -> Doubles:
    """The Fisher vector of projected descriptors, not yet normalised, of shape (2 x K x d,): the part of the
    means, Gaussian by Gaussian, then that of the deviations. Zeros where there is no descriptor.

    In the precision of the values; sums in float64.
    """
    weights_K = codebook.weights_K.astype(np.float64)
    deviations_Kd = np.sqrt(codebook.variances_Kd.astype(np.float64))
    means_Kd = codebook.means_Kd.astype(np.float64)
    if not len(values_Nd):
        return np.zeros(codebook.size)
    counts_K = np.zeros(len(weights_K))
    sums_Kd, squares_Kd = np.zeros_like(means_Kd), np.zeros_like(means_Kd)
    for start in range(0, len(values_Nd), CHUNK):
        part_Nd = values_Nd[start : start + CHUNK]
        posterior_NK, _ = _posteriors(codebook.log_densities(part_Nd))
        counts_K += posterior_NK.sum(0, dtype=np.float64)
        sums_Kd += posterior_NK.T @ part_Nd
        squares_Kd += posterior_NK.T @ (part_Nd * part_Nd)
    first_Kd = (sums_Kd - counts_K[:, None] * means_Kd) / deviations_Kd
    second_Kd = (
        squares_Kd - 2 * means_Kd * sums_Kd + counts_K[:, None] * means_Kd**2
    ) / deviations_Kd**2 - counts_K[:, None]
    count = len(values_Nd)
    first_Kd /= count * np.sqrt(weights_K)[:, None]
    second_Kd /= count * np.sqrt(2 * weights_K)[:, None]
    return np.concatenate([first_Kd.ravel(), second_Kd.ravel()])


def normalise(vector_D: NDArray[Any], *, blocks: int = 1) -> Doubles:
    """Signed square roots, then length 1 of each of `blocks` equal parts and of the whole; 0 stays 0."""
    rooted = np.sign(vector_D) * np.sqrt(np.abs(vector_D.astype(np.float64)))
    if blocks > 1:
        rooted = rooted.reshape(blocks, -1)
        rooted = (rooted / _lengths(rooted)).ravel()
    return np.asarray((rooted[None] / _lengths(rooted[None]))[0])


def _lengths(rows: Doubles) -> Doubles:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 0, length, 1.0)


@dataclass(frozen=True)
class FisherEncoder:
    """One codebook for each descriptor; a video's vector is their parts in this order, each of length 1.

    intra: each Gaussian's two parts are brought to length 1 before (Arandjelovic & Zisserman, 2013); the
    paper does not.
    """

    codebooks: Mapping[str, Codebook]
    intra: bool = False

    @property
    def size(self) -> int:
        """Numbers of a video's vector."""
        return sum(codebook.size for codebook in self.codebooks.values())

    def encode(self, descriptors: Mapping[str, NDArray[Any]]) -> Floats:
        """The vector of a video's descriptors, (N, D) of each kind; shape (size,), float32.

        Raises ValueError where a kind is missing or of another size.
        """
        parts = []
        for kind, codebook in self.codebooks.items():
            values_ND = descriptors.get(kind)
            if values_ND is None or values_ND.shape[1:] != codebook.mean_D.shape:
                got = "none" if values_ND is None else f"{values_ND.shape[1]}"
                raise ValueError(f"the codebook of {kind} takes {len(codebook.mean_D)} numbers, got {got}")
            vector = fisher_vector(codebook.project(values_ND.astype(np.float32)), codebook)
            blocks = 2 * len(codebook.weights_K) if self.intra else 1
            parts.append(normalise(vector, blocks=blocks))
        return np.concatenate(parts).astype(np.float32)


def fit_encoder(
    samples: Mapping[str, NDArray[Any]],
    num_gaussians: int = NUM_GAUSSIANS,
    *,
    intra: bool = False,
    seed: int = 0,
) -> FisherEncoder:
    """A codebook of each kind from a sample of descriptors, (N, D) of each kind."""
    return FisherEncoder(
        {kind: fit_codebook(values, num_gaussians, seed=seed) for kind, values in samples.items()}, intra
    )


# --- Classes ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FisherModel:
    """Everything from descriptors to classes. weight_KD, bias_K: margins are `vector @ weight.T + bias`.

    settings: how descriptors are found and what the model was taught with, as plain values.
    """

    encoder: FisherEncoder
    weight_KD: Floats
    bias_K: Floats
    class_names: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def margins(self, vectors_ND: NDArray[Any]) -> Doubles:
        """Distances from each class's border, of vectors as the encoder gives them. Returns margins_NK."""
        return np.asarray(vectors_ND, np.float64) @ self.weight_KD.T.astype(np.float64) + self.bias_K


def fit_classes(
    vectors_ND: NDArray[Any],
    target_NK: NDArray[Any],
    examples: Sequence[Example],
    strength: float = STRENGTH,
) -> tuple[Floats, Floats]:
    """A linear support vector machine for each class against the rest (LIBLINEAR, squared hinge).

    target_NK: 0 and 1. strength: C, a factor. Learnt in the span of the examples, whose products are all that
    counts, so that 109,056 numbers cost no more than N. Returns weight_KD, bias_K.
    """
    from vadis.linear import fit_layer

    products_NN = np.zeros((len(vectors_ND), len(vectors_ND)))
    for start in range(0, vectors_ND.shape[1], CHUNK):
        part = vectors_ND[:, start : start + CHUNK].astype(np.float64)
        products_NN += part @ part.T
    values, vectors = np.linalg.eigh(products_NN)
    keep = values > 1e-9 * max(float(values.max()), 1e-12)
    root = np.sqrt(values[keep])
    inside_NR = vectors[:, keep] * root  # the examples in a basis of their span
    layer = fit_layer(
        inside_NR[:, None].astype(np.float32),
        target_NK.astype(np.float64),
        examples,
        kind="svm",
        strength=strength,
        standardise=False,
    )
    of_examples_KN = layer.weight_KD @ (vectors[:, keep] / root).T
    weight_KD = of_examples_KN.astype(np.float32) @ np.asarray(vectors_ND, np.float32)
    return weight_KD, layer.bias_K.astype(np.float32)


def save_model(path: str | Path, model: FisherModel) -> Path:
    """Write a model as safetensors; the file appears whole or not at all."""
    target = Path(path)
    arrays: dict[str, NDArray[Any]] = {"weight": model.weight_KD, "bias": model.bias_K}
    for kind, codebook in model.encoder.codebooks.items():
        arrays |= {f"{kind}.{name}": values for name, values in vars(codebook).items()}
    said = {
        "format": FORMAT,
        "kinds": list(model.encoder.codebooks),
        "intra": model.encoder.intra,
        "class_names": list(model.class_names),
        "settings": dict(model.settings),
    }
    metadata = {"vadis_fisher": json.dumps(said, sort_keys=True)}
    target.parent.mkdir(parents=True, exist_ok=True)
    with part_file(target) as part:
        contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
        part.write_bytes(safetensors.numpy.save(contiguous, metadata))
    return target


def load_model(path: str | Path) -> FisherModel:
    """Read what `save_model` wrote. Raises DataError for another file."""
    try:
        with safetensors.safe_open(str(path), "numpy") as file:
            said = json.loads((file.metadata() or {})["vadis_fisher"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: not a model of `vadis trajectories --encode` ({error or type(error).__name__})"
        ) from error
    if said.get("format") != FORMAT:
        raise DataError(f"{path}: a model of another version than {FORMAT}; make it again")
    names = Codebook.__dataclass_fields__
    codebooks = {kind: Codebook(*(arrays[f"{kind}.{name}"] for name in names)) for kind in said["kinds"]}
    return FisherModel(
        FisherEncoder(codebooks, said["intra"]),
        arrays["weight"],
        arrays["bias"],
        tuple(said["class_names"]),
        said["settings"],
    )


def sample_rows(parts: Iterable[Mapping[str, NDArray[Any]]], count: int, num_parts: int) -> dict[str, Floats]:
    """About `count` descriptors of all parts (videos), as many of each as there are: (N, D) of each kind.

    The same rows of all kinds, chosen by a seed of their own.
    """
    each = -(-count // max(num_parts, 1))
    rng = np.random.default_rng(0)
    found: dict[str, list[Floats]] = {}
    for part in parts:
        length = len(next(iter(part.values())))
        rows = np.sort(rng.choice(length, min(each, length), replace=False))
        for kind, values in part.items():
            found.setdefault(kind, []).append(values[rows].astype(np.float32))
    return {kind: np.concatenate(values) for kind, values in found.items()}
