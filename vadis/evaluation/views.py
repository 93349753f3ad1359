"""Score every example of a dataset by a protocol: many views in, one row of scores out.

Views go through the network in small parts and only their combined row is kept, so memory does not grow with
the protocol or the dataset. An example that cannot be read keeps its place, with a row of NaN: it counts as
wrong. With a journal, each batch is written as soon as it is scored, and a stopped evaluation goes on from
there with the same digits.

Legend: B examples, M views (clips x crops of some examples), C channels, T frames, H W pixels, K classes,
N examples of a dataset.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vadis.data.batches import Batch, FailedExample
from vadis.data.loader import ClipDataset, ClipLoader, fingerprint
from vadis.data.order import Draw
from vadis.data.reading import PLAIN, Reading
from vadis.engines import choose_device
from vadis.evaluation.journal import Journal, pack, unpack
from vadis.evaluation.protocols import Combine, EvaluationProtocol, make_protocol
from vadis.metrics.classification import combine_views, softmax
from vadis.models.contract import VideoModel
from vadis.records import Dataset, Failure
from vadis.specs import ClipSpec
from vadis.video.streams import each

Floats = NDArray[np.float64]
Sees = Callable[[Tensor], Tensor]
"""clip_BCTHW -> clip_BCTHW, between the loader and the network: what a control lets it see."""

PRECISIONS = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_PIXELS_AT_ONCE = 2**23  # values of the views that go through a network together; a GPU takes 16 times more
_LOADED_BYTES = 2**27  # of the views of one batch of the loader
_MOST_EXAMPLES = 8


@dataclass(frozen=True)
class ScoredDataset:
    """The scores of a dataset's examples in its order, and how they came about.

    scores_NK: float64 in [0, 1] (softmax; sigmoid for several labels), NaN where an example could not be
    scored. logits_NK: the mean of its views' logits; None where only scores are known. num_views_N: views
    that were scored. hits_N: how many of them had the label as their best class; first_hit_N: whether the
    first had (both 0 without one label). moments_NTK: scores of each moment, for dense protocols. failures:
    what was not scored, and why. damaged: indices of examples with damaged frames or a file that ends early,
    which were scored. absent: those that lack a modality, which went in as zeros. seconds: of reading and
    scoring. peak_memory: bytes.
    """

    scores_NK: Floats
    protocol: EvaluationProtocol
    num_views_N: NDArray[np.int64]
    hits_N: NDArray[np.int64]
    first_hit_N: NDArray[np.bool_]
    labels: tuple[tuple[int, ...], ...]
    multi_label: bool = False
    failures: tuple[FailedExample, ...] = ()
    damaged: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()
    seconds: float = 0.0
    peak_memory: int = 0
    device: str = "cpu"
    precision: str = "float32"
    moments_NTK: Floats | None = None
    logits_NK: Floats | None = None

    def __len__(self) -> int:
        return len(self.scores_NK)


def score_dataset(
    model: VideoModel,
    dataset: Dataset,
    protocol: EvaluationProtocol | str,
    *,
    device: torch.device | str = "auto",
    precision: str = "float32",
    batch_size: int | None = None,
    workers: int = 2,
    reading: Reading | None = None,
    progress: Callable[[int, int], object] | None = None,
    sees: Sees | None = None,
    columns: Sequence[int] | None = None,
    journal: Path | None = None,
    asked_to_stop: Callable[[], bool] | None = None,
) -> ScoredDataset:
    """Run a network over all views of all examples of a dataset; the model moves to `device` and stays there.

    device: a name ("auto", "cpu", "cuda", "mps", "cuda:1"). precision: "float32" (no TF32), or "bf16" and
    "fp16" by autocast. batch_size: views that go through the network at once (None: by their size). workers:
    processes that decode. reading: instead of the protocol's own. progress: gets (examples done, examples in
    all). sees: changes clips on their way in. columns: the network's class for each class of the dataset,
    where the two lists differ. journal: a file that keeps what was scored; it is read first. asked_to_stop:
    looked at after each batch.

    Raises ValueError where classes do not fit, VadisError for a journal of another evaluation, and
    KeyboardInterrupt when asked to stop.
    """
    if isinstance(protocol, str):
        protocol = make_protocol(protocol, model, multi_label=dataset.multi_label, reading=reading or PLAIN)
    elif reading is not None:
        protocol = replace(protocol, reading=reading)
    if protocol.spec is None:
        raise ValueError(f"the protocol {protocol.name} is not made for a network; see make_protocol")
    if precision not in PRECISIONS:
        raise ValueError(f"precision ({precision!r}) must be one of {', '.join(PRECISIONS)}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size ({batch_size} views) must be at least 1")
    _check_columns(model, dataset, columns)
    place = torch.device(choose_device(device) if device in ("auto", "cpu", "cuda", "mps") else device)
    spec = protocol.spec
    part_size = batch_size or _views_at_once(protocol, spec, place)
    clips = ClipDataset(
        dataset,
        spec,
        rule=protocol.rule,
        crops=protocol.crops,
        training=False,
        reading=protocol.reading,
    )
    loader = ClipLoader(clips, _examples_at_once(protocol, spec), workers=workers, prefetch=1)
    rows = _Rows(dataset, protocol)
    network = _Scorer(model, place, precision, part_size, sees, columns)
    settings = {
        "keeps": "scores and logits",
        "data": fingerprint(dataset),
        "protocol": protocol.to_dict(),
        "weights": hash_weights(model),
        "columns": None if columns is None else list(columns),
        "sees": None if sees is None else getattr(sees, "__qualname__", type(sees).__qualname__),
        "precision": precision,
        "device": place.type,
        "batch_size": part_size,
        "examples": loader.batch_size,
    }
    kept = None if journal is None else Journal(journal, settings)
    for line in kept.read() if kept else ():
        rows.restore(line)
        loader.batch += 1
    if progress is not None:
        progress(rows.done, len(dataset.examples))
    memory = _PeakMemory(place)
    before = time.perf_counter()
    with network, kept or contextlib.nullcontext():
        for batch in loader:
            line = _score_batch(network, batch, dataset, protocol)
            now = time.perf_counter()
            line["seconds"], before = now - before, now
            line["memory"] = memory.read()
            if kept is not None:
                kept.write(line)
            rows.restore(line)
            if progress is not None:
                progress(rows.done, len(dataset.examples))
            if asked_to_stop is not None and asked_to_stop():
                raise KeyboardInterrupt
    return rows.finish(place, precision)


def hash_weights(model: nn.Module) -> str:
    """sha256 of a network's tensors as they are now: names, types, shapes and bytes, in order of names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()


def to_scores(
    logits_MK: Floats, video_M: NDArray[np.int64], num_videos: int, combine: Combine, multi_label: bool
) -> Floats:
    """One row of scores in [0, 1] a video, from the logits of its views: scores_NK, NaN without a view."""
    if combine == "softmax":
        return combine_views(logits_MK, video_M, num_videos, "softmax")
    if combine == "sigmoid":
        return combine_views(sigmoid(logits_MK), video_M, num_videos, "logits")
    merged_NK = combine_views(logits_MK, video_M, num_videos, combine)
    return sigmoid(merged_NK) if multi_label else softmax(merged_NK)


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)) in float64, without overflow."""
    powers = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, powers) / (1.0 + powers))


def _check_columns(model: VideoModel, dataset: Dataset, columns: Sequence[int] | None) -> None:
    if columns is None and model.num_classes != dataset.num_classes:
        raise ValueError(
            f"{model.name or 'the network'} knows {model.num_classes} classes, {dataset.name} has "
            f"{dataset.num_classes}"
        )
    if columns is not None and len(columns) != dataset.num_classes:
        raise ValueError(f"{len(columns)} columns for the {dataset.num_classes} classes of {dataset.name}")


def _view_values(protocol: EvaluationProtocol, spec: ClipSpec) -> int:
    longer = (protocol.rule.at_most or spec.num_frames) / spec.num_frames
    return round(sum(math.prod(shape) for shape in spec.shapes.values()) * longer)


def _views_at_once(protocol: EvaluationProtocol, spec: ClipSpec, place: torch.device) -> int:
    room = _PIXELS_AT_ONCE * (1 if place.type == "cpu" else 16)
    return max(1, min(256, room // _view_values(protocol, spec)))


def _examples_at_once(protocol: EvaluationProtocol, spec: ClipSpec) -> int:
    if protocol.rule.name == "whole":
        return 1  # videos of different lengths
    return max(1, min(_MOST_EXAMPLES, _LOADED_BYTES // (_view_values(protocol, spec) * protocol.num_views)))


class _Scorer:
    """A network in evaluation mode on its device; a context manager that puts the modes back."""

    def __init__(
        self,
        model: VideoModel,
        place: torch.device,
        precision: str,
        part_size: int,
        sees: Sees | None,
        columns: Sequence[int] | None,
    ) -> None:
        self.model, self.place, self.part_size, self.sees = model, place, part_size, sees
        self._dtype = PRECISIONS[precision]
        self._columns = None if columns is None else torch.tensor(list(columns))
        self._training: list[nn.Module] = []

    def __enter__(self) -> _Scorer:
        self._training = [module for module in self.model.modules() if module.training]
        self.model.to(self.place).eval()
        return self

    def __exit__(self, *error: object) -> None:
        for module in self._training:
            module.training = True

    def logits(self, batch: Batch) -> Floats:
        """logits_MK (float64) of all views of a batch, a part at a time."""
        parts = [self._run(part) for part in batch.split(self.part_size)]
        return np.concatenate(parts)

    def _run(self, batch: Batch) -> Floats:
        clips = batch.clip_BCTHW(self.place)
        if self.sees is not None:
            clips = each(self.sees, clips)
        enabled = self._dtype is not None
        with (
            torch.inference_mode(),
            _exact_float32(),
            torch.autocast(self.place.type, self._dtype, enabled=enabled),
        ):
            logits_BK: Tensor = self.model(clips)
        logits_BK = logits_BK.float().cpu()
        if self._columns is not None:
            logits_BK = logits_BK[:, self._columns]
        return logits_BK.numpy().astype(np.float64)


@contextlib.contextmanager
def _exact_float32() -> Iterator[None]:
    """Keep cuDNN from rounding float32 to TF32, which is PyTorch's default for convolutions."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _score_batch(
    network: _Scorer, batch: Batch, dataset: Dataset, protocol: EvaluationProtocol
) -> dict[str, Any]:
    """One line of the journal: the rows of a batch, and what could not be read."""
    indices = batch.indices_B.tolist()
    line: dict[str, Any] = {"indices": indices, "damaged": list(batch.damaged)}
    absent_V = sum(batch.absent.values(), torch.zeros(batch.num_views, dtype=torch.bool))
    line["absent"] = sorted({indices[int(view) // batch.views_per_example] for view in absent_V.nonzero()})
    line["failed"] = [[item.draw.index, asdict(item.failure)] for item in batch.failed]
    if not indices:
        return line
    num_views = batch.views_per_example
    logits_MK = network.logits(batch)
    video_M = np.repeat(np.arange(len(indices)), num_views)
    scores_BK = to_scores(logits_MK, video_M, len(indices), protocol.combine, dataset.multi_label)
    lost = ~np.isfinite(scores_BK).all(axis=1)
    scores_BK[lost] = np.nan
    message = "the network's scores are not finite numbers"
    line["failed"] += [
        [indices[row], {"kind": "not_finite", "message": message}] for row in np.flatnonzero(lost)
    ]
    label_B = [dataset.examples[index].labels[:1] for index in indices]
    label_M = np.repeat(
        [-1 if dataset.multi_label or not label else label[0] for label in label_B], num_views
    )
    hit_BV = ((logits_MK.argmax(axis=1) == label_M) & np.isfinite(logits_MK).all(axis=1)).reshape(
        -1, num_views
    )
    line["scores"] = pack(scores_BK)
    mean_BK = combine_views(logits_MK, video_M, len(indices), "logits")
    mean_BK[lost] = np.nan
    line["logits"] = pack(mean_BK)
    line["num_views"] = num_views
    line["hits"] = hit_BV.sum(axis=1).tolist()
    line["first_hits"] = hit_BV[:, 0].tolist()
    if protocol.is_dense:
        scores_MK = sigmoid(logits_MK) if dataset.multi_label else softmax(logits_MK)
        moments_BVK = scores_MK.reshape(len(indices), protocol.num_clips, protocol.num_crops, -1)
        line["moments"] = pack(moments_BVK.mean(axis=2).astype(np.float32))
    return line


@dataclass
class _Rows:
    """The scores as they come in, line by line."""

    dataset: Dataset
    protocol: EvaluationProtocol
    done: int = 0
    seconds: float = 0.0
    memory: int = 0
    failures: dict[int, Failure] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        num, num_classes = len(self.dataset.examples), self.dataset.num_classes
        self.scores_NK = np.full((num, num_classes), np.nan)
        self.logits_NK = np.full((num, num_classes), np.nan)
        self.num_views_N = np.zeros(num, np.int64)
        self.hits_N = np.zeros(num, np.int64)
        self.first_hit_N = np.zeros(num, bool)
        self.moments_NTK = (
            np.full((num, self.protocol.num_clips, num_classes), np.nan) if self.protocol.is_dense else None
        )

    def restore(self, line: dict[str, Any]) -> None:
        """Take in one line of a journal."""
        indices = line["indices"]
        if indices:
            num_classes = self.dataset.num_classes
            self.scores_NK[indices] = unpack(line["scores"], np.float64).reshape(-1, num_classes)
            self.logits_NK[indices] = unpack(line["logits"], np.float64).reshape(-1, num_classes)
            self.num_views_N[indices] = line["num_views"]
            self.hits_N[indices], self.first_hit_N[indices] = line["hits"], line["first_hits"]
            if self.moments_NTK is not None:
                moments = unpack(line["moments"], np.float32)
                self.moments_NTK[indices] = moments.reshape(len(indices), -1, num_classes)
        self.failures.update({index: Failure(**failure) for index, failure in line["failed"]})
        self.damaged.update(line["damaged"])
        self.absent.update(line.get("absent", ()))
        self.done += len(set(indices) | {index for index, _ in line["failed"]})
        self.seconds += line["seconds"]
        self.memory = max(self.memory, line["memory"])

    def finish(self, place: torch.device, precision: str) -> ScoredDataset:
        """All of it, when the last line is in."""
        examples = self.dataset.examples
        failures = tuple(
            FailedExample(
                Draw(0, index), examples[index].id, examples[index].video, examples[index].labels, why
            )
            for index, why in sorted(self.failures.items())
        )
        return ScoredDataset(
            self.scores_NK,
            self.protocol,
            self.num_views_N,
            self.hits_N,
            self.first_hit_N,
            tuple(example.labels for example in examples),
            self.dataset.multi_label,
            failures,
            tuple(sorted(self.damaged)),
            tuple(sorted(self.absent)),
            self.seconds,
            self.memory,
            place.type,
            precision,
            self.moments_NTK,
            self.logits_NK,
        )


class _PeakMemory:
    """The most memory in use since it was made, in bytes: of the GPU on CUDA, else of this process."""

    def __init__(self, place: torch.device) -> None:
        self._cuda = place if place.type == "cuda" else None
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
            return
        with contextlib.suppress(OSError):  # Linux: the peak begins anew
            Path("/proc/self/clear_refs").write_text("5", "ascii")

    def read(self) -> int:
        """Bytes; 0 where the system does not tell."""
        if self._cuda is not None:
            return int(torch.cuda.max_memory_allocated(self._cuda))
        with contextlib.suppress(OSError, IndexError, ValueError):
            return int(Path("/proc/self/status").read_text("ascii").split("VmHWM:")[1].split()[0]) * 1024
        try:
            import resource
        except ImportError:  # Windows
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024)
