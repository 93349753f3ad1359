"""The features of a video's clips -> one answer: averaged (AP), or by a convolution along them (TCP).

A network sees a second or two of a video. Its features of 20 clips, spread over the whole video, tell more:
not only what is there but in what order. Temporal convolutional pooling learns that from features that stay
as they are, in seconds, for one stream or for several; average pooling is the baseline that it must beat. The
networks themselves are in `vadis.models.aggregate`; here they are trained, kept in a file, and applied.

Source: Qiu et al. (arXiv:1906.07016) and their slides' table. Where we differ, and why: how they trained TCP
is not printed. Ours brings each feature to mean 0 and deviation 1 over the training part, takes AdamW, and
stops early by a fifth of the training part (whole videos) that it holds out; the test takes no part.

Legend: N videos, V clips, D features, K classes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vadis.alignment import Streams, align
from vadis.feature_store import FeatureSet
from vadis.linear import make_folds
from vadis.models import create_model
from vadis.records import DataError
from vadis.score_files import ScoreFile, make_scores
from vadis.video.write import part_file

Floats32 = NDArray[np.float32]
Kind = Literal["average", "tcp"]
FORMAT = "1"


@dataclass(frozen=True)
class ClipFeatures:
    """The features of several streams for the same videos, in one order.

    rows: names, labels, classes, sources; its scores are empty. features: features_NVD of each stream, NaN
    where a video could not be read.
    """

    rows: Streams
    features: Mapping[str, Floats32]

    @property
    def num_clips(self) -> int:
        """V, the same in all streams."""
        return next(iter(self.features.values())).shape[1]

    @property
    def readable_N(self) -> NDArray[np.bool_]:  # noqa: N802 - the shape suffix
        """Videos that all streams could read: shape (N,)."""
        good = [np.isfinite(features_NVD).all(axis=(1, 2)) for features_NVD in self.features.values()]
        return np.asarray(np.all(good, axis=0))

    def only(self, streams: Sequence[str]) -> ClipFeatures:
        """Some of the streams, by name."""
        numbers = [self.rows.streams.index(name) for name in streams]
        return ClipFeatures(self.rows.only(numbers), {name: self.features[name] for name in streams})


@dataclass(frozen=True)
class Training:
    """How pooling is learnt: AdamW with `lr` (a factor of the step) falling by half a cosine over `epochs`.

    hold_out: share of the training part by which it stops, after `patience` epochs without a better loss.
    width: channels of TCP's convolutions. dropout: a probability.
    """

    epochs: int = 60
    patience: int = 15
    lr: float = 2e-3
    weight_decay: float = 0.05
    batch_size: int = 32
    hold_out: float = 0.2
    width: int = 128
    dropout: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.batch_size, self.width) < 1 or self.lr <= 0:
            raise ValueError(f"epochs, patience, batch_size, width and lr must be above zero, got {self}")
        if not (0 < self.hold_out < 1 and 0 <= self.dropout < 1):
            raise ValueError(f"hold_out and dropout are shares below 1, got {self.hold_out}, {self.dropout}")


def align_features(sets: Sequence[FeatureSet], streams: Sequence[str] | None = None) -> ClipFeatures:
    """Bring feature sets into one order by the videos' names; crops of a clip are averaged.

    streams: what to call each (default: its model). Raises DataError where they do not fit: see `align`.
    """
    models = [str(each.provenance.get("model", f"stream {n}")) for n, each in enumerate(sets, 1)]
    names = [name.replace(".", "_") for name in streams or models]  # they become names of modules
    multi_label = any(
        each.provenance.get("multi_label") or any(len(labels) > 1 for labels in each.labels) for each in sets
    )
    empty = [
        make_scores(
            each.ids,
            each.class_names,
            each.labels,
            logits_NK=np.zeros((len(each), len(each.class_names))),
            multi_label=multi_label,
            split=str(each.provenance.get("split") or ""),
            dataset=str(each.provenance.get("dataset") or ""),
            model=str(each.provenance.get("model") or ""),
            protocol=str(each.provenance.get("protocol") or ""),
            videos=each.videos,
            provenance={key: each.provenance.get(key) for key in ("weights_sha256", "layer")},
        )
        for each in sets
    ]
    rows = align(empty, names)
    features = {}
    for name, each in zip(names, sets, strict=True):
        place = {video: row for row, video in enumerate(each.ids)}
        features[name] = _clips_of(each, name)[[place[video] for video in rows.names]]
    counts = {name: features_NVD.shape[1] for name, features_NVD in features.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"the streams have different numbers of clips: {said}; extract as many of each")
    return ClipFeatures(rows, features)


def _clips_of(features: FeatureSet, name: str) -> Floats32:
    """features_NVD with a row a clip: crops are averaged."""
    if features.features_NVD.ndim != 3:
        raise DataError(f"{name}: features of shape {features.features_NVD.shape} are maps; take vectors")
    num, num_views, width = features.features_NVD.shape
    first = str(features.provenance.get("protocol", "")).split(" ")[0]
    num_clips = int(first) if first.isdecimal() and int(first) else num_views
    if num_views % num_clips:
        raise DataError(f"{name}: {num_views} views are not those of {num_clips} clips")
    return features.features_NVD.reshape(num, num_clips, num_views // num_clips, width).mean(axis=2)


class Pooling(nn.Module):
    """A trained network over the clips of some streams, which brings their features to its own scale first.

    kind: "average" or "tcp". Made by `fit_pooling` or `load_pooling`.
    """

    def __init__(
        self,
        kind: Kind,
        sizes: Mapping[str, int],
        num_clips: int,
        class_names: Sequence[str],
        multi_label: bool,
        width: int,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.kind, self.sizes, self.num_clips = kind, dict(sizes), num_clips
        self.class_names, self.multi_label, self.width = tuple(class_names), multi_label, width
        self.fit_names: tuple[str, ...] = ()
        self.fit_split = ""
        self.details: dict[str, Any] = {}
        options: dict[str, Any] = {"num_clips": num_clips, "dropout": dropout}
        if kind == "tcp":
            options["width"] = width
        one = len(sizes) == 1
        options |= {"num_features": next(iter(sizes.values()))} if one else {"streams": self.sizes}
        name = f"aggregate_{kind}{'' if one else '_streams'}"
        self.network = create_model(name, num_classes=len(self.class_names), **options)
        for stream, size in sizes.items():
            self.register_buffer(f"mean_{stream}", torch.zeros(size))
            self.register_buffer(f"scale_{stream}", torch.ones(size))

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the streams, in the order in which they go in."""
        return tuple(self.sizes)

    def measure(self, features: ClipFeatures, rows: NDArray[np.int64]) -> None:
        """Take mean and deviation of each feature from the videos with these indices, shape (N,)."""
        for stream in self.streams:
            flat_MD = features.features[stream][rows].reshape(-1, self.sizes[stream]).astype(np.float64)
            deviation_D = flat_MD.std(axis=0)
            deviation_D[deviation_D < 1e-6 * max(1e-6, float(deviation_D.max()))] = np.inf  # never changes
            self.get_buffer(f"mean_{stream}").copy_(torch.from_numpy(flat_MD.mean(axis=0)))
            self.get_buffer(f"scale_{stream}").copy_(torch.from_numpy(1 / deviation_D))

    def prepare(self, features: ClipFeatures, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """clips_BCTHW by stream, of the videos with these indices of shape (N,), on the network's scale."""
        found = {}
        for stream in self.streams:
            clip_NVD = torch.from_numpy(np.ascontiguousarray(features.features[stream][rows]))
            clip_NVD = (clip_NVD - self.get_buffer(f"mean_{stream}")) * self.get_buffer(f"scale_{stream}")
            found[stream] = clip_NVD.transpose(1, 2)[..., None, None].contiguous()
        return found

    def forward(self, clips_BCTHW: Mapping[str, Tensor]) -> Tensor:
        """Score videos by prepared clips_BCTHW of each stream. Returns logits_BK."""
        logits_BK: Tensor = self.network(_as_taken(clips_BCTHW))
        return logits_BK

    def score(self, features: ClipFeatures) -> ScoreFile:
        """The scores of all videos, as a file of scores; NaN where a stream could not read one.

        Raises DataError for other streams, numbers of features or classes than it was trained on.
        """
        self._check(features)
        good = np.flatnonzero(features.readable_N)
        logits_NK = np.full((len(features.rows), len(self.class_names)), np.nan)
        self.eval()
        with torch.inference_mode():
            for part in np.array_split(good, max(1, len(good) // 256)):
                if len(part):
                    logits_NK[part] = self(self.prepare(features, part)).double().numpy()
        rows = features.rows
        protocols = dict.fromkeys(file.protocol for file in rows.files)
        return make_scores(
            rows.names,
            rows.class_names,
            rows.labels,
            logits_NK=logits_NK,
            multi_label=self.multi_label,
            split=rows.split,
            dataset=rows.files[0].dataset,
            protocol=next(iter(protocols)) if len(protocols) == 1 else "",
            model=f"{self.network.name}({' + '.join(file.model for file in rows.files)})",
            videos=rows.videos if any(rows.videos) else (),
            provenance={
                "fused": [
                    {"stream": stream, "model": file.model, **file.provenance}
                    for stream, file in zip(rows.streams, rows.files, strict=True)
                ],
                "by": self.network.name,
                "learnt_from": {"split": self.fit_split, "videos": len(self.fit_names)},
            },
        )

    def _check(self, features: ClipFeatures) -> None:
        sizes = {name: each.shape[2] for name, each in features.features.items()}
        if sizes != self.sizes or list(sizes) != list(self.sizes):
            raise DataError(f"this pooling takes the streams {self.sizes}, in this order, not {sizes}")
        if features.rows.class_names != self.class_names:
            raise DataError("the features have other classes than the pooling was trained for")
        if features.num_clips < 2 and self.kind == "tcp":
            raise DataError("TCP is along clips: extract features with --protocol 20x1")


def _as_taken(clips_BCTHW: Mapping[str, Tensor]) -> Tensor | Mapping[str, Tensor]:
    """One tensor where there is one stream, else all by name."""
    return next(iter(clips_BCTHW.values())) if len(clips_BCTHW) == 1 else clips_BCTHW


def fit_pooling(
    kind: Kind,
    features: ClipFeatures,
    training: Training = Training(),
    progress: Callable[[int, int], object] | None = None,
) -> Pooling:
    """Train pooling on features that stay as they are; the same arguments give the same network.

    A part of the videos is held out; the network of the epoch with the least loss there is kept. progress:
    gets (epoch, epochs). Raises ValueError for features without usable videos.
    """
    if kind not in ("average", "tcp"):
        raise ValueError(f"kind must be average or tcp, not {kind!r}")
    rows = features.rows
    known_N = np.array([bool(labels) for labels in rows.labels], bool)
    used = np.flatnonzero(known_N & features.readable_N)
    if len(used) < 4:
        raise ValueError(f"{len(used)} usable videos are too few to learn from")
    target_NK = rows.target_NK.astype(np.float32)
    learnt, held = _hold_out(rows, used, target_NK, training)
    sizes = {name: each.shape[2] for name, each in features.features.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        pooling = Pooling(
            kind,
            sizes,
            features.num_clips,
            rows.class_names,
            rows.multi_label,
            training.width,
            training.dropout,
        )
        pooling._check(features)
        pooling.measure(features, learnt)
        best = _train(pooling, features, torch.from_numpy(target_NK), learnt, held, training, progress)
    pooling.fit_names, pooling.fit_split = rows.names, rows.split
    pooling.details = {**asdict(training), **best, "videos": len(learnt), "held_out": len(held)}
    return pooling.eval()


def _hold_out(
    rows: Streams, used: NDArray[np.int64], target_NK: Floats32, training: Training
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices to learn from and to stop by: classes in proportion, sources together, where that can be."""
    folds = max(2, round(1 / training.hold_out))
    examples = rows.examples()
    fold_N = make_folds([examples[row] for row in used], target_NK[used].astype(np.float64), folds)
    if fold_N is not None:
        chosen = training.seed % (int(fold_N.max()) + 1)
        return used[fold_N != chosen], used[fold_N == chosen]
    order = np.random.default_rng(training.seed).permutation(used)
    num = max(1, round(training.hold_out * len(order)))
    return np.sort(order[num:]), np.sort(order[:num])


def _train(
    pooling: Pooling,
    features: ClipFeatures,
    target_NK: Tensor,
    learnt: NDArray[np.int64],
    held: NDArray[np.int64],
    training: Training,
    progress: Callable[[int, int], object] | None,
) -> dict[str, Any]:
    """Run the epochs and leave the best weights in the network; says which epoch, and its loss."""
    inputs, others = pooling.prepare(features, learnt), pooling.prepare(features, held)
    targets_NK, held_NK = target_NK[learnt], target_NK[held]
    optimiser = torch.optim.AdamW(
        pooling.network.parameters(), lr=training.lr, weight_decay=training.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.epochs)
    best, kept = (np.inf, 0), {}
    for epoch in range(1, training.epochs + 1):
        pooling.train()
        for part in torch.randperm(len(learnt)).split(training.batch_size):
            if len(part) < 2:
                continue  # batch norm needs two
            batch = _as_taken({name: clip_BCTHW[part] for name, clip_BCTHW in inputs.items()})
            optimiser.zero_grad()
            loss = _loss(pooling, batch, targets_NK[part])
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(pooling.network.parameters(), 1.0)
            optimiser.step()
        schedule.step()
        pooling.eval()
        with torch.inference_mode():
            value = float(_loss(pooling, _as_taken(others), held_NK))
        if progress is not None:
            progress(epoch, training.epochs)
        if value < best[0]:
            best = (value, epoch)
            kept = {name: tensor.detach().clone() for name, tensor in pooling.network.state_dict().items()}
        elif epoch - best[1] >= training.patience:
            break
    if kept:
        pooling.network.load_state_dict(kept)
    return {"best_epoch": best[1], "held_out_loss": best[0], "epochs_run": epoch}


def _loss(pooling: Pooling, batch: Any, target_NK: Tensor) -> Tensor:
    """Cross-entropy (binary for several labels), for an average that of each stream's own answer."""
    network: Any = pooling.network
    several = pooling.kind == "average" and len(pooling.sizes) > 1
    answers = list(network.forward_heads(batch).values()) if several else [network(batch)]
    total = torch.zeros(())
    for logits_BK in answers:
        if pooling.multi_label:
            total = total + functional.binary_cross_entropy_with_logits(logits_BK, target_NK)
        else:
            total = total - (target_NK * logits_BK.log_softmax(dim=1)).sum(dim=1).mean()
    return total


def save_pooling(path: str | os.PathLike[str], pooling: Pooling) -> Path:
    """Write a trained pooling (.safetensors) with all that is needed to apply it; returns its path."""
    target = Path(path)
    said = {
        "format": FORMAT,
        "kind": pooling.kind,
        "sizes": list(pooling.sizes.items()),
        "num_clips": pooling.num_clips,
        "class_names": pooling.class_names,
        "multi_label": pooling.multi_label,
        "width": pooling.width,
        "fit_names": pooling.fit_names,
        "fit_split": pooling.fit_split,
        "details": pooling.details,
    }
    state = {name: tensor.contiguous() for name, tensor in pooling.state_dict().items()}
    with part_file(target) as part:
        safetensors.torch.save_file(state, part, {"pooling": json.dumps(said)})
    return target


def load_pooling(path: str | os.PathLike[str]) -> Pooling:
    """Read what `save_pooling` wrote. Raises DataError for another file."""
    try:
        with safetensors.safe_open(os.fspath(path), "pt") as file:
            said = json.loads((file.metadata() or {})["pooling"])
        if said["format"] != FORMAT:
            raise ValueError
        pooling = Pooling(
            said["kind"],
            dict(said["sizes"]),
            said["num_clips"],
            said["class_names"],
            said["multi_label"],
            said["width"],
        )
        pooling.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError):
        raise DataError(f"{os.fspath(path)}: not a pooling that `vadis fuse --by tcp --save` wrote") from None
    pooling.fit_names, pooling.fit_split = tuple(said["fit_names"]), said["fit_split"]
    pooling.details = said["details"]
    return pooling.eval()
