"""One run of each mode: from a start and a training set to a network for the target, scored on the test set.

Nothing is chosen by looking at the test set: linear layers choose their strength by cross-validation on the
training set, trained networks follow their recipe to its end and keep the last weights.

Legend: N examples, V views, D features, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vadis.config import Recipe, override
from vadis.data.batches import FailedExample
from vadis.data.order import Draw
from vadis.data.reading import Reading
from vadis.data.splitting import split_dataset
from vadis.evaluation.calibration import calibrate
from vadis.evaluation.measures import measure
from vadis.evaluation.protocols import EvaluationProtocol, make_protocol
from vadis.evaluation.views import ScoredDataset, score_dataset, to_scores
from vadis.extractor import Extractor
from vadis.feature_layers import scale_heads, top_layers, write_head
from vadis.feature_store import FeatureSet
from vadis.features import Views, extract_features
from vadis.linear import LinearLayer, fit_layer
from vadis.models import VideoModel, create_model
from vadis.models.weights import save_model
from vadis.recipes import default_recipe
from vadis.records import DataError, Dataset, Example
from vadis.training import train
from vadis.training.start import IMAGENET, build_network
from vadis.transfer.controls import SEES, randomise, shuffle_labels
from vadis.transfer.starts import Start, check_weights

LINEAR_MODES = {"fixed": "logistic", "svm": "svm"}
TRAINED_MODES = ("original", IMAGENET, "full")
TOP = re.compile(r"top([1-9]\d*)")


@dataclass(frozen=True)
class Setup:
    """What all runs of a study have in common.

    protocol: of `vadis.evaluation`, for the test set, and for features of the training set. num_frames,
    frame_stride, fps, size, crop: clips of another shape than the network's own (frames, Hz, pixels). tiny:
    the small form of networks without weights. settings: `--set` of the recipes of trained modes.
    calibration: share of the training set that is held out to fit a temperature; 0: none. cache_folder: of
    features. flow: the method by which flow is estimated where none is stored.
    """

    protocol: str = "1x1"
    num_frames: int | None = None
    frame_stride: int | None = None
    fps: float | None = None
    size: int | None = None
    crop: int | None = None
    tiny: bool = False
    settings: tuple[str, ...] = ()
    calibration: float = 0.0
    device: str = "auto"
    precision: str = "float32"
    workers: int = 2
    threads: int | None = None
    cache_folder: str | None = None
    flow: str | None = None

    @property
    def reading(self) -> Reading:
        """How examples are read, in every mode."""
        return Reading(flow=self.flow)


@dataclass(frozen=True)
class Outcome:
    """What a run gives: the network for the target, its scores on the test set, their measures.

    details: how it came about, as plain values: strength and cross-validation, or steps and the recipe; what
    could not be read while learning (`unread`); `calibration`.
    """

    model: VideoModel
    scored: ScoredDataset
    metrics: dict[str, Any]
    details: dict[str, Any]


def check_mode(mode: str) -> None:
    """Raise ValueError, with the modes that there are, for another."""
    if mode not in LINEAR_MODES and mode not in TRAINED_MODES and not TOP.fullmatch(mode):
        known = ", ".join((*TRAINED_MODES, *LINEAR_MODES, "top1", "top3"))
        raise ValueError(f"there is no mode {mode!r}; there are {known} and other numbers of top layers")


def make_recipe_for(
    mode: str, start: Start, num_examples: int, setup: Setup, seed: int, model: VideoModel | None = None
) -> Recipe:
    """The recipe of a trained mode: the default for so many examples, with what the setup says.

    model: a network of the start's kind, to find its last layers (made where it is None). Raises ValueError
    for a start without weights in a mode that needs them.
    """
    init = start.weights
    if mode == "original":
        init = None
    elif mode == IMAGENET:
        init = IMAGENET
    else:
        check_weights(mode, start)
    recipe = default_recipe(start.network, num_examples, init)
    given = {
        key: getattr(setup, key)
        for key in ("num_frames", "frame_stride", "fps", "size", "crop")
        if getattr(setup, key) is not None
    }
    recipe = replace(
        recipe,
        name=mode,
        data=replace(recipe.data, workers=setup.workers, flow=setup.flow, **given),
        model=replace(recipe.model, tiny=setup.tiny and not (init and init != IMAGENET)),
        run=replace(
            recipe.run,
            seed=seed,
            device=setup.device,
            precision="bf16" if setup.precision == "bf16" else "float32",
            threads=setup.threads,
            protocol=setup.protocol,
        ),
    )
    if match := TOP.fullmatch(mode):
        if model is None:
            model = build_network(recipe, ("a", "b"))
        learn = top_layers(model, int(match[1]))
        freeze = () if learn else ("backbone",)
        recipe = replace(recipe, model=replace(recipe.model, learn=learn, freeze=freeze))
    return override(recipe, setup.settings)


def make_trunk(start: Start, class_names: tuple[str, ...], setup: Setup, seed: int = 0) -> VideoModel:
    """The network that a linear mode takes its features from, with a fresh head for the classes.

    Without weights it is drawn by the seed: a control, not a start.
    """
    recipe = default_recipe(start.network, 1, start.weights)
    data = replace(
        recipe.data,
        num_frames=setup.num_frames,
        frame_stride=setup.frame_stride,
        fps=setup.fps,
        size=setup.size,
        crop=setup.crop,
    )
    model = replace(recipe.model, tiny=setup.tiny and start.weights is None)
    built = build_network(
        replace(recipe, data=data, model=model, run=replace(recipe.run, seed=seed)), class_names
    )
    return built.eval()


def run_linear(
    model: VideoModel,
    train_set: Dataset,
    test_set: Dataset,
    setup: Setup = Setup(),
    *,
    kind: str = "logistic",
    control: str = "",
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Outcome:
    """Features that stay as they are, and a new last layer, written into the network's head.

    kind: "logistic" or "svm". control: of `vadis.transfer.controls`. seed: of the control. progress: gets
    (videos done, in all). Raises DataError where no example of the training set can be read.
    """
    if control == "random":
        model = randomise(model, seed)
    if control == "labels":
        train_set = shuffle_labels(train_set, seed)
    protocol = make_protocol(setup.protocol, model, multi_label=train_set.multi_label, reading=setup.reading)
    extractor = Extractor(
        model,
        "head_input",
        spec=protocol.spec,
        device=setup.device,
        precision=setup.precision,
        threads=setup.threads,
        sees=SEES.get(control),
    )
    total = len(train_set.examples) + len(test_set.examples)

    def extract(dataset: Dataset, before: int) -> FeatureSet:
        return extract_features(
            model,
            dataset,
            protocol=Views(protocol.rule, protocol.crops),
            cache_folder=setup.cache_folder,
            workers=setup.workers,
            reading=setup.reading,
            extractor=extractor,
            progress=None if progress is None else lambda done, _: progress(before + done, total),
        )

    train_features = extract(train_set, 0)
    test_features = extract(test_set, len(train_set.examples))
    fit_set, held_out = _hold_out(train_set, setup.calibration)
    row_of = {example: row for row, example in enumerate(train_set.examples)}
    layer = _fit(train_features, fit_set, row_of, kind)
    details: dict[str, Any] = {
        "strength": layer.strength,
        "cross_validation": {str(strength): value for strength, value in layer.chosen.items()},
        "unread": [train_features.ids[index] for index in train_features.failures],
    }
    temperature = 1.0
    if held_out is not None:
        rows = [row_of[example] for example in held_out.examples]
        held_scores = _scores(train_features, rows, layer, protocol, train_set)
        temperature = _calibrate(held_scores, held_out, details)
        layer = replace(layer, weight_KD=layer.weight_KD / temperature, bias_K=layer.bias_K / temperature)
    write_head(
        model,
        torch.from_numpy(layer.weight_KD).float(),
        torch.from_numpy(layer.bias_K).float(),
        train_set.class_names,
    )
    scored = _score_features(test_features, test_set, layer, protocol, extractor)
    return Outcome(model, scored, measure(scored, test_set), details)


def run_trained(
    mode: str,
    start: Start,
    train_set: Dataset,
    test_set: Dataset,
    out: Path,
    setup: Setup = Setup(),
    *,
    control: str = "",
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
    asked_to_stop: Callable[[], bool] | None = None,
) -> Outcome:
    """A network trained by its recipe in `out`, from there on if a run in it was stopped.

    mode: "original", "imagenet", "full" or "topK". progress: gets (steps done, in all). Raises as
    `vadis.training.train` does.
    """
    if control == "labels":
        train_set = shuffle_labels(train_set, seed)
    fit_set, held_out = _hold_out(train_set, setup.calibration)
    model, details = train_network(
        mode,
        start,
        fit_set,
        out,
        setup,
        control=control,
        seed=seed,
        progress=progress,
        asked_to_stop=asked_to_stop,
    )

    def score(dataset: Dataset) -> ScoredDataset:
        return score_dataset(
            model,
            dataset,
            setup.protocol,
            device=setup.device,
            precision=setup.precision,
            workers=setup.workers,
            reading=setup.reading,
            sees=SEES.get(control),
            asked_to_stop=asked_to_stop,
        )

    if held_out is not None:
        temperature = _calibrate(score(held_out).scores_NK, held_out, details)
        scale_heads(model, 1 / temperature)
    scored = score(test_set)
    return Outcome(model.to("cpu"), scored, measure(scored, test_set), details)


def train_network(
    mode: str,
    start: Start,
    train_set: Dataset,
    out: Path,
    setup: Setup,
    *,
    control: str = "",
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
    asked_to_stop: Callable[[], bool] | None = None,
) -> tuple[VideoModel, dict[str, Any]]:
    """The training of `run_trained` alone: the network with its last weights, and how they came about."""
    recipe = make_recipe_for(mode, start, len(train_set.examples), setup, seed)
    network = None
    if control:
        network = build_network(recipe, train_set.class_names)
        if control == "random":
            network = randomise(network, seed)
        if sees := SEES.get(control):
            network.register_forward_pre_hook(lambda _, inputs: (sees(inputs[0]),))
    result = train(
        train_set,
        recipe,
        out,
        resume=True,
        model=network,
        on_step=None if progress is None else lambda moment: progress(moment.done, moment.total),
        asked_to_stop=asked_to_stop,
    )
    details = {"steps": result.steps, "unread": list(result.skipped), "recipe": recipe.to_dict()}
    return create_model(start.network, result.last), details


def save_outcome(outcome: Outcome, path: Path) -> Path:
    """Write the network for `vadis predict` and `vadis evaluate`; returns the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_model(outcome.model, path)


# --- pieces -----------------------------------------------------------------------------------------------


def _hold_out(train_set: Dataset, share: float) -> tuple[Dataset, Dataset | None]:
    """The part to fit on, and the part to calibrate on (None for a share of 0), whole sources apart."""
    if not share:
        return train_set, None
    parts = split_dataset(train_set, {"train": 1 - share, "validation": share})
    if not parts["train"].examples or not parts["validation"].examples:
        raise DataError(f"{train_set.name}: too few sources to hold out a part for calibration")
    return parts["train"], parts["validation"]


def _fit(features: FeatureSet, fit_set: Dataset, row_of: dict[Example, int], kind: str) -> LinearLayer:
    """A layer from the examples of `fit_set` that could be read and have a label."""
    examples = [
        example
        for example in fit_set.examples
        if row_of[example] not in features.failures and (example.labels or fit_set.multi_label)
    ]
    if not examples:
        raise DataError(f"{fit_set.name}: no example of the training set can be read and has a label")
    target_NK = np.zeros((len(examples), fit_set.num_classes))
    for row, example in enumerate(examples):
        target_NK[row, list(example.labels)] = 1.0
    rows = [row_of[example] for example in examples]
    return fit_layer(
        features.features_NVD[rows], target_NK, examples, kind=kind, multi_label=fit_set.multi_label
    )


def _scores(
    features: FeatureSet, rows: list[int], layer: LinearLayer, protocol: EvaluationProtocol, dataset: Dataset
) -> np.ndarray:
    """scores_NK of some rows, views combined as the protocol says; NaN where a video could not be read."""
    logits_NVK = layer.logits(features.features_NVD[rows])
    num, num_views = logits_NVK.shape[:2]
    scores_NK = np.full((num, logits_NVK.shape[2]), np.nan)
    good = np.flatnonzero(np.isfinite(logits_NVK).all(axis=(1, 2)))
    if len(good):
        video_M = np.repeat(np.arange(len(good)), num_views)
        logits_MK = logits_NVK[good].reshape(-1, logits_NVK.shape[2])
        scores_NK[good] = to_scores(logits_MK, video_M, len(good), protocol.combine, dataset.multi_label)
    return scores_NK


def _score_features(
    features: FeatureSet,
    dataset: Dataset,
    layer: LinearLayer,
    protocol: EvaluationProtocol,
    extractor: Extractor,
) -> ScoredDataset:
    """The same record that `score_dataset` gives for the network with this head."""
    scores_NK = _scores(features, list(range(len(features))), layer, protocol, dataset)
    logits_NVK = layer.logits(features.features_NVD)
    num_views = logits_NVK.shape[1]
    label_N1 = np.array([labels[0] if len(labels) == 1 else -1 for labels in features.labels])[:, None]
    readable_N = features.readable_N
    hit_NV = (logits_NVK.argmax(axis=2) == label_N1) & readable_N[:, None]
    examples = dataset.examples
    failures = tuple(
        FailedExample(Draw(0, index), examples[index].id, examples[index].video, examples[index].labels, why)
        for index, why in sorted(features.failures.items())
    )
    return ScoredDataset(
        scores_NK,
        protocol,
        np.where(readable_N, num_views, 0),
        hit_NV.sum(axis=1),
        hit_NV[:, 0],
        features.labels,
        dataset.multi_label,
        failures,
        device=extractor.device,
        precision=extractor.precision,
    )


def _calibrate(scores_NK: np.ndarray, held_out: Dataset, details: dict[str, Any]) -> float:
    """The temperature for these scores; what was found goes into the details."""
    if held_out.multi_label:
        raise ValueError("calibration is for one label a clip")
    good = np.flatnonzero(np.isfinite(scores_NK).all(axis=1))
    found = calibrate(scores_NK[good], [held_out.examples[index].labels for index in good])
    details["calibration"] = found.to_dict()
    return float(found.temperature)
