"""Scoring by protocols and measuring: every view counted, nothing left out, the same digits again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered import write_numbered
from torch import Tensor, nn

from vadis.data.clip_rules import RULES
from vadis.evaluation.measures import measure, wilson_interval
from vadis.evaluation.protocols import PROTOCOLS, make_protocol
from vadis.evaluation.views import ScoredDataset, hash_weights, score_dataset, to_scores
from vadis.models import create_model
from vadis.models.contract import VideoModel
from vadis.records import Dataset, Example, Span, VadisError
from vadis.specs import ClipSpec

SPEC = ClipSpec(num_frames=4, frame_stride=2, size=40, crop=32, mean=(0.5,) * 3, std=(0.25,) * 3)
NAMES = ("left", "right", "up", "down", "in", "out", "still")


class Mean(VideoModel):
    """A network of one layer: the mean of each channel over 4 parts of the clip; takes any size."""

    def __init__(self, num_classes: int = len(NAMES)) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.head = nn.Linear(12, num_classes)
        nn.init.normal_(self.head.weight, std=3.0)
        self.num_classes, self.spec, self.input_weights = num_classes, SPEC, ()
        self.seen: list[int] = []

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """logits_BK."""
        self.seen.append(len(clip_BCTHW))
        parts = nn.functional.adaptive_avg_pool3d(clip_BCTHW, (4, 1, 1)).flatten(1)
        return self.head(parts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine videos of numbered frames, one that is no video."""
    root = tmp_path_factory.mktemp("clips")
    for number in range(9):
        write_numbered(root / f"{number}.mp4", 20 + 3 * number, first=50 * number)
    (root / "broken.mp4").write_bytes(b"this is not a video" * 50)
    return root


def make_dataset(root: Path, **options: object) -> Dataset:
    """Eleven examples: nine videos, a broken one in the middle, one that is not there at the end."""
    videos = [*(f"{number}.mp4" for number in range(5)), "broken.mp4", "5.mp4", "6.mp4", "7.mp4", "8.mp4"]
    examples = [
        Example(video, video[:-4], (number % len(NAMES),))
        for number, video in enumerate([*videos, "gone.mp4"])
    ]
    groups = {"motion": (0, 1, 2, 3, 4, 5), "still": (6,)}
    return Dataset("made", str(root), "test", NAMES, tuple(examples), class_groups=groups, **options)  # type: ignore[arg-type]


def test_every_protocol_has_a_rule_and_speaks(folder: Path) -> None:
    model = Mean()
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.rule.name in RULES
        assert protocol.source
        words = make_protocol(name, model).describe()
        assert str(protocol.num_views) in words or protocol.num_views == 1
        assert "pixels" in words
    assert PROTOCOLS["25x10"].num_views == 250
    assert PROTOCOLS["10x3"].num_views == 30


def test_make_protocol() -> None:
    model = Mean()
    assert make_protocol("10x3", model).spec == replace(SPEC, crop=40)  # the whole short side
    assert make_protocol("10x1", model).spec == SPEC
    free = make_protocol("12x3", model, combine="logits")
    assert (free.num_clips, free.num_crops, free.combine, free.rule.name) == (12, 3, "logits", "uniform")
    assert make_protocol("10x3", model, multi_label=True).combine == "max"
    with pytest.raises(ValueError, match="did you mean '10x3'"):
        make_protocol("10x3s", model)
    for wrong in ("0x1", "3x2", "10"):
        with pytest.raises(ValueError, match="no protocol"):
            make_protocol(wrong, model)
    with pytest.raises(ValueError, match="combine"):
        make_protocol("1x1", model, combine="mean")  # type: ignore[arg-type]


def test_networks_of_one_size_keep_it() -> None:
    c3d = create_model("c3d", tiny=True, num_classes=3)
    assert c3d.spec.crop < c3d.spec.size
    assert make_protocol("10x3", c3d).spec == c3d.spec
    with pytest.raises(ValueError, match="whole videos"):
        make_protocol("whole", c3d)


def test_scores_are_those_of_the_views(folder: Path) -> None:
    """Against the same, written out: each view cut and scored alone, probabilities averaged."""
    from vadis.data.augment import cut_views
    from vadis.data.clips import read_clips
    from vadis.video.transform import normalise, resize_short_side

    model, dataset = Mean(), make_dataset(folder)
    for name in ("1x1", "10x3", "3x10", "25x10", "10x3-nonlocal", "20x4", "whole"):
        protocol = make_protocol(name, model)
        scored = score_dataset(model, dataset, protocol, workers=0, device="cpu")
        spec, example = protocol.spec, dataset.examples[2]
        assert spec is not None
        clips = read_clips(example, folder, spec, protocol.rule, short_side=spec.size).clips
        views = [
            view
            for clip in clips
            for view in cut_views(
                resize_short_side(torch.from_numpy(clip).permute(0, 3, 1, 2), spec.size),
                spec.crop,
                protocol.crops,
            )
        ]
        assert len(views) == protocol.num_views == scored.num_views_N[2]
        with torch.no_grad():
            logits = torch.cat(
                [model(normalise(view, spec).transpose(0, 1)[None]) for view in views]
            ).double()
        if protocol.combine == "softmax":
            wanted = logits.softmax(1).mean(0)
        else:
            wanted = logits.mean(0).softmax(0)
        assert np.allclose(scored.scores_NK[2], wanted.numpy(), atol=1e-6)
        assert scored.hits_N[2] == (logits.argmax(1) == 2).sum()
        assert scored.first_hit_N[2] == (logits[0].argmax() == 2)


def test_what_cannot_be_read_counts_as_wrong_and_is_named(folder: Path) -> None:
    model, dataset = Mean(), make_dataset(folder)
    scored = score_dataset(model, dataset, "1x1", workers=0, device="cpu")
    assert [(item.id, item.failure.kind) for item in scored.failures] == [
        ("broken", "not_video"),
        ("gone", "not_found"),
    ]
    assert np.isnan(scored.scores_NK[[5, 10]]).all()
    assert np.isfinite(np.delete(scored.scores_NK, [5, 10], 0)).all()
    found = measure(scored, dataset)
    right = sum(
        int(np.nanargmax(scored.scores_NK[row]) == row % 7) for row in range(11) if row not in (5, 10)
    )
    assert found["top1"] == right / 11
    assert found["num"] == 11
    assert sum(count for _, _, count in found["confusion"]) == 11
    assert [[5, None, 1], [3, None, 1]][0] in found["confusion"]
    assert sum(row["num"] for row in found["per_class"]) == 11
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_evaluation_goes_on_with_the_same_digits(
    folder: Path, tmp_path: Path, workers: int
) -> None:
    model, dataset = Mean(), make_dataset(folder)
    protocol = make_protocol("5x3", model)
    whole = score_dataset(model, dataset, protocol, workers=0, device="cpu", batch_size=4)
    journal = tmp_path / "scores.jsonl"
    seen = []

    def stop() -> bool:
        return len(seen) > 1

    import vadis.evaluation.views as views

    before, views._MOST_EXAMPLES = views._MOST_EXAMPLES, 3
    try:
        options = {"workers": workers, "device": "cpu", "batch_size": 4, "journal": journal}
        with pytest.raises(KeyboardInterrupt):
            score_dataset(
                model,
                dataset,
                protocol,
                asked_to_stop=lambda: bool(seen.append(1)) or stop(),
                **options,  # type: ignore
            )
        assert len(journal.read_bytes().splitlines()) == 3  # the header and two batches
        with journal.open("ab") as file:
            file.write(b'{"indices": [6, 7')  # torn
        model.seen.clear()
        rest = score_dataset(model, dataset, protocol, **options)  # type: ignore[arg-type]
        assert sum(model.seen) == 4 * 15  # examples 6 to 9; the last is not there
        again = score_dataset(model, dataset, protocol, **options)  # type: ignore[arg-type]
    finally:
        views._MOST_EXAMPLES = before
    for found in (rest, again):
        assert np.allclose(found.scores_NK, whole.scores_NK, atol=1e-12, equal_nan=True)
        assert found.hits_N.tolist() == whole.hits_N.tolist()
        assert [item.id for item in found.failures] == ["broken", "gone"]
    assert rest.scores_NK.tobytes() == again.scores_NK.tobytes()
    with torch.no_grad():
        model.head.bias += 1
    with pytest.raises(VadisError, match="weights"):
        score_dataset(model, dataset, protocol, journal=journal, device="cpu")
    journal.write_text("hello\n")
    with pytest.raises(VadisError, match="no journal"):
        score_dataset(model, dataset, protocol, journal=journal, device="cpu")


def test_views_go_in_parts_and_modes_come_back(folder: Path) -> None:
    model, dataset = Mean(), make_dataset(folder)
    model.train()
    one = score_dataset(model, dataset, "10x3", workers=0, device="cpu", batch_size=7)
    assert max(model.seen) == 7
    assert model.training
    assert model.head.training
    many = score_dataset(model, dataset, "10x3", workers=0, device="cpu", batch_size=300)
    assert np.allclose(one.scores_NK, many.scores_NK, atol=1e-6, equal_nan=True)
    assert one.peak_memory > 10**6
    assert one.seconds > 0


def test_what_the_network_sees_can_be_changed(folder: Path) -> None:
    model, dataset = Mean(), make_dataset(folder)
    frozen = score_dataset(
        model, dataset, "1x1", workers=0, device="cpu", sees=lambda clip: clip[:, :, :1].expand_as(clip)
    )
    plain = score_dataset(model, dataset, "1x1", workers=0, device="cpu")
    assert not np.allclose(frozen.scores_NK, plain.scores_NK, equal_nan=True)


def test_columns_choose_the_networks_classes(folder: Path) -> None:
    dataset = make_dataset(folder)
    model = Mean(9)
    with pytest.raises(ValueError, match="9 classes"):
        score_dataset(model, dataset, "1x1", device="cpu")
    columns = [8, 0, 1, 2, 3, 4, 5]
    scored = score_dataset(model, dataset, "1x1", workers=0, device="cpu", columns=columns)
    small = Mean(7)
    with torch.no_grad():
        small.head.weight.copy_(model.head.weight[columns])
        small.head.bias.copy_(model.head.bias[columns])
    wanted = score_dataset(small, dataset, "1x1", workers=0, device="cpu")
    assert np.allclose(scored.scores_NK, wanted.scores_NK, atol=1e-6, equal_nan=True)


def test_a_network_that_went_to_nan_is_told(folder: Path) -> None:
    model, dataset = Mean(), make_dataset(folder)
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    scored = score_dataset(model, dataset, "1x1", workers=0, device="cpu")
    assert sum(item.failure.kind == "not_finite" for item in scored.failures) == 9
    assert measure(scored, dataset)["top1"] == 0


def test_hash_of_weights_is_of_the_values() -> None:
    one, two = Mean(), Mean()
    assert hash_weights(one) == hash_weights(two)
    with torch.no_grad():
        two.head.bias[0] += 1e-6
    assert hash_weights(one) != hash_weights(two)


def test_combining(folder: Path) -> None:
    """Averages of probabilities and of logits have different best classes here (signals' `avg_demo2`)."""
    logits = np.array([[7.0, 0, 0], [0, 2, 0], [0, 2, 0], [0, 2, 0]])
    video = np.zeros(4, np.int64)
    soft = to_scores(logits, video, 1, "softmax", False)
    assert np.allclose(soft, [[0.32942512322159107, 0.5904670871051036, 0.08010778967330531]], atol=1e-15)
    mean = to_scores(logits, video, 1, "logits", False)
    assert mean.argmax() == 0
    assert np.isclose(mean.sum(), 1)
    best = to_scores(logits, video, 1, "max", True)
    assert np.allclose(best, 1 / (1 + np.exp(-np.array([[7.0, 2, 0]]))))
    average = to_scores(logits, video, 1, "sigmoid", True)
    assert np.isclose(average[0, 0], (1 / (1 + np.exp(-7.0)) + 1.5) / 4)


def make_scored(scores: np.ndarray, dataset: Dataset, **options: object) -> ScoredDataset:
    """Scores as if one view of each example had been scored."""
    num = len(scores)
    hits = np.array(
        [scores[row].argmax() in example.labels for row, example in enumerate(dataset.examples)], bool
    )
    return ScoredDataset(
        scores,
        PROTOCOLS["1x1"],
        np.ones(num, np.int64),
        hits.astype(np.int64),
        hits,
        tuple(example.labels for example in dataset.examples),
        dataset.multi_label,
        **options,  # type: ignore[arg-type]
    )


def test_measures_by_hand() -> None:
    labels = [0, 0, 0, 1, 1, 6]
    examples = tuple(Example(f"{n}.mp4", str(n), (label,)) for n, label in enumerate(labels))
    groups = {"first": (0, 1), "last": (6,), "none": (3,)}
    dataset = Dataset("made", ".", "test", NAMES, (*examples, Example("h.mp4", "h")), class_groups=groups)
    scores = np.full((7, 7), 0.01)
    for row, best in enumerate([0, 0, 1, 1, 2, 5, 3]):
        scores[row, best] = 0.9
    scores[5, 6] = 0.0
    found = measure(make_scored(scores, dataset), dataset)
    assert found["num"] == 6
    assert found["num_hidden"] == 1
    assert found["top1"] == 3 / 6
    assert found["mean_class"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found["top5"] == 5 / 6
    assert found["average"] == pytest.approx((3 / 6 + 5 / 6) / 2)
    assert found["challenge_error"] == pytest.approx(1 - (3 / 6 + 5 / 6) / 2)
    assert found["groups"]["first"]["top1"] == 3 / 5
    assert found["groups"]["first"]["mean_class"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["groups"]["none"] == {"num": 0, "top1": None, "mean_class": None, "interval": None}
    assert [0, 1, 1] in found["confusion"]
    assert [6, 5, 1] in found["confusion"]
    assert found["worst"][0]["id"] == "5"
    assert found["worst"][0]["predicted"] == "out"
    assert {item["id"] for item in found["worst"]} == {"2", "4", "5"}
    assert found["per_class"][3]["value"] is None


def test_wilson() -> None:
    """The example of Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662."""
    low, high = wilson_interval(81, 263) or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert wilson_interval(0, 20) is not None
    assert (wilson_interval(0, 20) or (1,))[0] == 0
    assert wilson_interval(0, 0) is None


def test_several_labels_and_moments() -> None:
    """Two videos of 25 s, perfect and reversed scores over time."""
    spans = (Span(0, 9.5, 0, "left"), Span(10, 25, 1, "right"))
    examples = tuple(
        Example(f"{n}.mp4", str(n), (0, 1), duration_seconds=25.0, spans=spans) for n in range(2)
    )
    dataset = Dataset("charades", ".", "test", NAMES, (*examples, Example("n.mp4", "n")), multi_label=True)
    moments = np.zeros((3, 25, 7))
    moments[:2, :10, 0] = 0.9
    moments[:2, 10:, 1] = 0.8
    scores = np.full((3, 7), 0.1)
    scores[:2, :2] = 0.9, 0.2
    scores[2, 1] = 0.5  # above the positives of class 1
    found = measure(make_scored(scores, dataset, moments_NTK=moments), dataset)
    assert found["moments"]["mean_ap"] == pytest.approx(1)
    assert found["moments"]["num_videos"] == 2
    assert found["moments"]["num_unknown"] == 1
    assert found["per_class"][0]["value"] == pytest.approx(1)
    assert found["per_class"][1]["value"] == pytest.approx(2 / 3)
    assert found["mean_ap"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["mean_ap_weighted"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["any_top1"] == 1
    assert found["charades"]["mean_ap"] is None  # 5 classes without a positive
    scores[1] = np.nan
    lower = measure(make_scored(scores, dataset, moments_NTK=moments), dataset)
    assert lower["per_class"][0]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert lower["any_top1"] == 0.5
    json.dumps(found, allow_nan=False)
