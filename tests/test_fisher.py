"""Fisher vectors against the definition: derivatives of the log-likelihood; and models that stay the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vadis.fisher import (
    Codebook,
    FisherEncoder,
    FisherModel,
    fisher_vector,
    fit_classes,
    fit_codebook,
    fit_encoder,
    fit_mixture,
    load_model,
    normalise,
    sample_rows,
    save_model,
)
from vadis.records import DataError, Example
from vadis.video.descriptors import descriptor_sizes


def mixture(num: int, size: int, seed: int = 0) -> Codebook:
    """A codebook of random Gaussians, after a PCA that leaves everything."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 2, num)
    return Codebook(
        np.zeros(size, np.float32),
        np.eye(size, dtype=np.float32),
        (weights / weights.sum()).astype(np.float32),
        rng.normal(0, 2, (num, size)).astype(np.float32),
        rng.uniform(0.3, 2, (num, size)).astype(np.float32),
    )


def mean_log_likelihood(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    means: NDArray[np.float64],
    deviations: NDArray[np.float64],
) -> float:
    """By the definition, with no shared line of code."""
    total = 0.0
    for value in values:
        density = 0.0
        for weight, mean, deviation in zip(weights, means, deviations, strict=True):
            exponents = -((value - mean) ** 2) / (2 * deviation**2)
            density += weight * np.prod(np.exp(exponents) / np.sqrt(2 * np.pi * deviation**2))
        total += np.log(density)
    return total / len(values)


def test_against_finite_differences_of_the_log_likelihood() -> None:
    book = mixture(4, 3)
    values = np.random.default_rng(1).normal(0, 2, (30, 3))
    weights = book.weights_K.astype(np.float64)
    means = book.means_Kd.astype(np.float64)
    deviations = np.sqrt(book.variances_Kd.astype(np.float64))
    by_mean, by_deviation = np.zeros((4, 3)), np.zeros((4, 3))
    step = 1e-5
    for k in range(4):
        for j in range(3):
            change = np.zeros((4, 3))
            change[k, j] = step
            by_mean[k, j] = (
                mean_log_likelihood(values, weights, means + change, deviations)
                - mean_log_likelihood(values, weights, means - change, deviations)
            ) / (2 * step)
            by_deviation[k, j] = (
                mean_log_likelihood(values, weights, means, deviations + change)
                - mean_log_likelihood(values, weights, means, deviations - change)
            ) / (2 * step)
    # the Fisher information of one value is about w / s^2 for a mean and 2 w / s^2 for a deviation
    wanted_mean = by_mean / np.sqrt(weights[:, None] / deviations**2)
    wanted_deviation = by_deviation / np.sqrt(2 * weights[:, None] / deviations**2)
    found = fisher_vector(values, book)
    assert np.allclose(found[:12], wanted_mean.ravel(), atol=1e-8)
    assert np.allclose(found[12:], wanted_deviation.ravel(), atol=1e-8)
    assert np.allclose(fisher_vector(values.astype(np.float32), book), found, atol=1e-5)


def test_values_of_the_mixture_itself_give_next_to_nothing() -> None:
    book = mixture(5, 4)
    rng = np.random.default_rng(2)
    which = rng.choice(5, 40_000, p=book.weights_K.astype(np.float64) / book.weights_K.sum(dtype=np.float64))
    drawn = rng.normal(book.means_Kd[which], np.sqrt(book.variances_Kd[which]))
    assert np.abs(fisher_vector(drawn, book)).max() < 0.03  # each part has deviation 1 / sqrt(N) or less
    assert np.abs(fisher_vector(drawn + 0.5, book)).max() > 0.1
    assert not fisher_vector(np.zeros((0, 4)), book).any()


def test_109056_numbers_at_the_sizes_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    books = {}
    for kind, size in descriptor_sizes(15).items():
        parts = (np.zeros(size), np.eye(size)[: size // 2], np.full(256, 1 / 256))
        shapes = (rng.normal(0, 1, (256, size // 2)), np.ones((256, size // 2)))
        books[kind] = Codebook(*(np.float32(part) for part in (*parts, *shapes)))
    assert sum(book.means_Kd.shape[1] for book in books.values()) == 213
    encoder = FisherEncoder(books)
    assert encoder.size == 109_056
    values = {kind: rng.normal(0, 1, (20, size)) for kind, size in descriptor_sizes(15).items()}
    vector = encoder.encode(values)
    assert vector.shape == (109_056,)
    ends = np.cumsum([book.size for book in books.values()])
    for part in np.split(vector, ends[:-1]):
        assert np.linalg.norm(part) == pytest.approx(1, abs=1e-5)  # each kind by itself
    nothing = encoder.encode({kind: part[:0] for kind, part in values.items()})
    assert nothing.shape == (109_056,)
    assert not nothing.any()


def test_normalisation() -> None:
    assert np.allclose(normalise(np.array([4.0, -9, 0])), np.array([2, -3, 0]) / 13**0.5)
    parts = normalise(np.array([4.0, 0, 0, -16, 0, 0]), blocks=3)
    assert np.allclose(parts, np.array([1, 0, 0, -1, 0, 0]) / 2**0.5)
    assert not normalise(np.zeros(4)).any()


def test_the_mixture_is_as_likely_as_that_of_scikit_learn() -> None:
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(3)
    centres = rng.normal(0, 6, (6, 4))
    values = (centres[rng.integers(0, 6, 3000)] + rng.normal(0, [1, 0.5, 2, 1], (3000, 4))).astype(np.float32)
    weights, means, variances = fit_mixture(values, 6)
    theirs = GaussianMixture(6, covariance_type="diag", random_state=0, n_init=3).fit(values)
    ours = Codebook(
        np.zeros(4, np.float32),
        np.eye(4, dtype=np.float32),
        *(np.float32(p) for p in (weights, means, variances)),
    )
    logs = ours.log_densities(values.astype(np.float64))
    likelihood = float(np.log(np.exp(logs).sum(1)).mean())
    assert likelihood > theirs.score(values) - 0.05
    assert weights.sum() == pytest.approx(1)
    again = fit_mixture(values, 6)
    assert all(np.array_equal(a, b) for a, b in zip(again, (weights, means, variances), strict=True))


def test_pca_keeps_what_varies() -> None:
    rng = np.random.default_rng(4)
    values = (rng.normal(0, 1, (500, 3)) * [5, 0.1, 2]) @ np.linalg.qr(rng.normal(0, 1, (3, 3)))[0] + 7
    book = fit_codebook(values, 2, dimension=2)
    projected = book.project(values.astype(np.float32))
    assert np.allclose(projected.mean(0), 0, atol=1e-3)
    assert np.allclose(projected.std(0), [5, 2], rtol=0.15)
    assert np.cov(projected.T)[0, 1] == pytest.approx(0, abs=1e-2)
    assert fit_codebook(rng.normal(0, 1, (50, 7)), 2).axes_dD.shape == (3, 7)  # half, rounded down
    with pytest.raises(ValueError, match="256 Gaussians need at least as many"):
        fit_codebook(values[:200])
    degenerate = np.repeat(values[:5], 40, axis=0)  # many copies of few values
    assert np.isfinite(fit_codebook(degenerate, 8, dimension=2).variances_Kd).all()


def taught(tmp_path: Path) -> tuple[FisherModel, NDArray[np.float32], NDArray[np.int64]]:
    """A model of three classes of descriptors, its vectors and labels."""
    rng = np.random.default_rng(5)
    label = np.repeat(np.arange(3), 12)
    videos = [
        {"hog": rng.normal(0.7 * k, 1, (40, 6)), "hof": rng.normal(0, 1 + 0.3 * k, (40, 8))} for k in label
    ]
    samples = sample_rows(videos, 600, len(videos))
    assert {kind: len(values) for kind, values in samples.items()} == {"hog": 612, "hof": 612}
    encoder = fit_encoder(samples, 4)
    vectors = np.stack([encoder.encode(video) for video in videos])
    examples = [Example(f"{i}.mp4", str(i), (int(k),)) for i, k in enumerate(label)]
    weight, bias = fit_classes(vectors, np.eye(3)[label], examples)
    return FisherModel(encoder, weight, bias, ("a", "b", "c"), {"length": 15}), vectors, label


def test_classes_and_a_saved_model(tmp_path: Path) -> None:
    model, vectors, label = taught(tmp_path)
    margins = model.margins(vectors)
    assert (margins.argmax(1) == label).mean() > 0.95
    loaded = load_model(save_model(tmp_path / "model.safetensors", model))
    assert loaded.class_names == ("a", "b", "c")
    assert loaded.settings == {"length": 15}
    assert np.array_equal(loaded.margins(vectors), margins)
    rng = np.random.default_rng(6)
    fresh = {"hog": rng.normal(0, 1, (9, 6)), "hof": rng.normal(0, 1, (9, 8))}
    assert np.array_equal(loaded.encoder.encode(fresh), model.encoder.encode(fresh))
    with pytest.raises(ValueError, match="codebook of hof takes 8 numbers, got 5"):
        loaded.encoder.encode({"hog": fresh["hog"], "hof": fresh["hof"][:, :5]})
    with pytest.raises(ValueError, match="codebook of hof takes 8 numbers, got none"):
        loaded.encoder.encode({"hog": fresh["hog"]})
    (tmp_path / "other.safetensors").write_bytes(b"not a model")
    with pytest.raises(DataError, match="not a model of `vadis trajectories --encode`"):
        load_model(tmp_path / "other.safetensors")


def test_the_machine_is_that_of_scikit_learn(tmp_path: Path) -> None:
    """Learning from the examples' products is learning from the vectors, when they are longer than many."""
    from sklearn.svm import LinearSVC

    rng = np.random.default_rng(7)
    vectors = rng.normal(0, 1, (20, 300)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    label = np.repeat([0, 1], 10)
    examples = [Example(f"{i}.mp4", str(i), (int(k),)) for i, k in enumerate(label)]
    weight, bias = fit_classes(vectors, np.eye(2)[label], examples, 1.0)
    machine = LinearSVC(C=1.0, dual=True, tol=1e-8, max_iter=100_000, random_state=0).fit(vectors, label)
    margins = vectors @ weight[1] + bias[1]
    assert np.allclose(margins, machine.decision_function(vectors), atol=2e-3)
