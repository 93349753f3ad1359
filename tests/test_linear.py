"""Last layers: at their minimum, strength chosen on the training part alone, sources kept together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vadis import linear
from vadis.linear import fit_layer, make_folds
from vadis.records import Example


def blobs(num: int = 40, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[Example]]:
    """Three classes around three points, two views each, in groups of two."""
    rng = np.random.default_rng(seed)
    label_N = np.arange(num) % 3
    centre_KD = 3 * np.random.default_rng(9).normal(size=(3, width))
    feature_NVD = (centre_KD[label_N][:, None] + rng.normal(size=(num, 2, width))).astype(np.float32)
    examples = [Example(f"{i}.mp4", str(i), (int(label_N[i]),), group=str(i // 6)) for i in range(num)]
    return feature_NVD, np.eye(3)[label_N], examples


def test_logistic_regression_is_at_its_minimum_and_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    feature_NVD, target_NK, examples = blobs()
    layer = fit_layer(feature_NVD, target_NK, examples, strength=10.0)
    again = fit_layer(feature_NVD, target_NK, examples, strength=10.0)
    np.testing.assert_array_equal(layer.weight_KD, again.weight_KD)
    x = feature_NVD.reshape(-1, 6).astype(np.float64)
    scaled = (x - x.mean(0)) / x.std(0) / np.sqrt(6)
    theirs = LogisticRegression(C=10.0, tol=1e-10, max_iter=5000).fit(
        scaled, np.repeat(target_NK.argmax(1), 2)
    )
    np.testing.assert_allclose(
        layer.logits(x) - layer.logits(x).mean(1, keepdims=True),
        theirs.decision_function(scaled) - theirs.decision_function(scaled).mean(1, keepdims=True),
        atol=1e-3,
    )


def test_fewer_examples_than_features_give_the_same_as_all_features() -> None:
    feature_NVD, target_NK, examples = blobs(num=9, width=50)
    layer = fit_layer(feature_NVD, target_NK, examples, strength=100.0)
    x = torch.from_numpy(feature_NVD.reshape(-1, 50).astype(np.float64))
    scale = x.std(0, correction=0) * 50**0.5
    scaled = (x - x.mean(0)) / scale
    target = torch.from_numpy(np.repeat(target_NK, 2, axis=0))
    (weight, bias) = linear._fit_logistic(scaled, target, (100.0,), False)[0]
    np.testing.assert_allclose(layer.weight_KD, (weight / scale).numpy(), atol=1e-4)
    np.testing.assert_allclose(layer.logits(x), (scaled @ weight.T + bias).numpy(), atol=1e-3)


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_the_strength_is_chosen_on_the_training_part(kind: str) -> None:
    feature_NVD, target_NK, examples = blobs()
    layer = fit_layer(feature_NVD, target_NK, examples, kind=kind)
    assert layer.strength in layer.chosen
    assert max(layer.chosen.values()) == layer.chosen[layer.strength] > 0.9
    other_NVD, other_NK, _ = blobs(seed=5)
    assert (layer.logits(other_NVD).mean(1).argmax(1) == other_NK.argmax(1)).mean() > 0.9
    one = [replace(example, group="") for example in examples[:3]]
    assert fit_layer(feature_NVD[:3], target_NK[:3], one, kind=kind).chosen == {}
    with pytest.raises(ValueError, match="kind"):
        fit_layer(feature_NVD, target_NK, examples, kind="forest")


@pytest.mark.parametrize("kind", ["logistic", "svm"])
def test_several_labels_and_a_class_without_examples(kind: str) -> None:
    feature_NVD, target_NK, examples = blobs()
    target_NK = np.concatenate([target_NK, np.zeros((40, 1))], axis=1)
    target_NK[:, 1] = target_NK[:, 0] + target_NK[:, 1] > 0
    layer = fit_layer(feature_NVD, target_NK, examples, kind=kind, multi_label=True)
    logits_NK = layer.logits(feature_NVD).mean(1)
    assert ((logits_NK > 0) == (target_NK > 0)).mean() > 0.95
    assert (logits_NK[:, 3] < 0).all()


def test_folds_keep_sources_together() -> None:
    _, target_NK, examples = blobs(num=60)
    fold_N = make_folds(examples, target_NK)
    assert fold_N is not None
    groups = {example.group for example in examples}
    assert all(
        len({int(fold_N[i]) for i, e in enumerate(examples) if e.group == group}) == 1 for group in groups
    )
    assert np.bincount(fold_N).tolist() == [18, 18, 12, 12]
    assert make_folds(examples[:6], target_NK[:6]) is None  # one source


def test_features_as_they_are() -> None:
    """Without standardising, a feature a thousand times smaller than the others counts for nothing."""
    feature_NVD, target_NK, examples = blobs()
    small = feature_NVD * np.float32([1, 1, 1, 1, 1, 1e-3])
    plain = fit_layer(small, target_NK, examples, kind="svm", strength=0.01, standardise=False)
    scaled = fit_layer(small, target_NK, examples, kind="svm", strength=0.01)
    share = [
        np.abs(each.weight_KD[:, 5] * 1e-3).max() / np.abs(each.weight_KD[:, :5]).max()
        for each in (plain, scaled)
    ]
    assert share[0] < 1e-4 < 0.1 < share[1]
