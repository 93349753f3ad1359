"""ECO: its parts, its cost for any number of segments, its checkpoints, and the running prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_weights import all_by_the_rule
from torch import Tensor

from vadis.models import create_model
from vadis.models.cost import measure_cost
from vadis.models.eco import Eco, OnlineEco, SeenFrames, eco_full, eco_lite, spread
from vadis.models.layouts import LAYOUTS, Arrays, LayoutError, to_ours

GOLDEN = Path(__file__).parent / "golden" / "parity"
FUNCTIONS = pytest.mark.parametrize("function", [eco_lite, eco_full])


def tiny_eco(function: Any, **options: Any) -> Eco:
    """Seeded, for testing; batch norm's statistics unlike the initial ones."""
    torch.manual_seed(0)
    model = function(7, tiny=True, **options).eval()
    for key, value in model.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_(std=0.1)
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return model


# --- the network ------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_segments", [4, 8, 16, 32])
@pytest.mark.parametrize(
    ("function", "parameters", "gmac_of_4"), [(eco_lite, 37_503_856, 11.62), (eco_full, 47_502_128, 16.10)]
)
def test_cost_grows_with_the_segments(
    function: Any, parameters: int, gmac_of_4: float, num_segments: int
) -> None:
    """The TSM paper's table: 47.5 M, 32 G for 8 frames, 64 G for 16."""
    with torch.device("meta"):
        model = function(num_segments=num_segments)
    cost = measure_cost(model, (3, model.spec.num_frames, 224, 224))
    assert cost.num_parameters == parameters
    assert cost.gmac == pytest.approx(gmac_of_4 * num_segments / 4, rel=1e-3)


@pytest.mark.parametrize("num_segments", [4, 20])
def test_the_published_shapes(num_segments: int) -> None:
    clip = torch.empty(2, 3, num_segments, 224, 224, device="meta")
    with torch.device("meta"):
        lite, full = eco_lite(), eco_full()
    assert lite.forward_features(clip).shape == (2, 512, num_segments // 4, 7, 7)
    assert full.forward_features(clip).shape == (2, 1024 + 512, num_segments // 4, 7, 7)
    assert lite.see(clip[0].transpose(0, 1)).maps_NDHW.shape == (num_segments, 96, 28, 28)
    assert full.see(clip[0].transpose(0, 1)).tail_ND.shape == (num_segments, 1024)


@FUNCTIONS
def test_the_head_scores_the_mean_of_the_features(function: Any) -> None:
    model, clip = tiny_eco(function), torch.randn(2, 3, 8, 65, 47)
    with torch.no_grad():
        wanted = model(clip)
        assert torch.allclose(model.head(model.forward_features(clip).mean((2, 3, 4))), wanted, atol=1e-5)


def test_full_without_its_tail_is_lite() -> None:
    lite, full = tiny_eco(eco_lite), tiny_eco(eco_full)
    full.load_state_dict(
        {key: value for key, value in lite.state_dict().items() if not key.startswith("head")}, strict=False
    )
    tail = full.frames.num_features
    with torch.no_grad():
        full.head.weight[:, :tail] = 0
        full.head.weight[:, tail:] = lite.head.weight
        full.head.bias.copy_(lite.head.bias)
        clip = torch.randn(1, 3, 8, 64, 64)
        assert torch.allclose(full(clip), lite(clip), atol=1e-6)


def test_full_without_its_3d_part_averages_an_image_network_over_frames() -> None:
    full, clip = tiny_eco(eco_full), torch.randn(2, 3, 6, 64, 64)
    tail = full.frames.num_features
    with torch.no_grad():
        full.head.weight[:, tail:] = 0
        of_frames = [
            torch.nn.functional.linear(
                full.frames.forward_features(clip[:, :, t]).mean((2, 3)),
                full.head.weight[:, :tail],
                full.head.bias,
            )
            for t in range(6)
        ]
        assert torch.allclose(full(clip), torch.stack(of_frames).mean(0), atol=1e-6)
        assert torch.allclose(full(clip.flip(2)), full(clip), atol=1e-6), "the tail knows no order"


def test_a_tail_of_any_length_keeps_its_classes_apart() -> None:
    """Where 4 does not divide T, the features are of the same frames, weighted a little differently."""
    model = tiny_eco(eco_full)
    assert model.forward_features(torch.randn(1, 3, 5, 64, 64)).shape[2] == 2
    assert model(torch.randn(1, 3, 5, 64, 64)).shape == (1, 7)
    assert model(torch.randn(1, 3, 1, 7, 7)).shape == (1, 7)
    with pytest.raises(ValueError, match="takes at least 7 x 7 pixels"):
        model(torch.randn(1, 3, 4, 6, 8))


def test_what_goes_in() -> None:
    spec = eco_lite(tiny=True).spec
    assert (spec.num_frames, spec.frame_stride, spec.fps, spec.crop) == (16, 15, 25.0, 224)
    assert (spec.mean, spec.value_range, spec.channel_order) == ((104.0, 117.0, 128.0), (0.0, 255.0), "bgr")
    for num_segments in (4, 32, 250, 1000):
        spec = eco_full(tiny=True, num_segments=num_segments).spec
        assert spec.num_frames == num_segments
        assert spec.num_frames * spec.frame_stride <= max(250, num_segments)
    with pytest.raises(ValueError, match="num_segments must be at least 1, got 0"):
        eco_lite(tiny=True, num_segments=0)


# --- checkpoints ------------------------------------------------------------------------------------


def authors_state(*files: str, features: int, num_classes: int = 400) -> dict[str, list[int]]:
    """The authors' names and shapes: of the files together, with ECO's classifier."""
    state: dict[str, list[int]] = {}
    for file in files:
        state |= dict(json.loads((GOLDEN / f"{file}.json").read_text())["state"])
    state = {key: shape for key, shape in state.items() if not key.startswith("fc")}
    return state | {"fc_final.weight": [num_classes, features], "fc_final.bias": [num_classes]}


LITE = authors_state("eco_lite_16", features=512)
FULL = authors_state("eco_lite_16", "tsn_bninception", features=1536)
"""ECO-Full has the parts of both: all of BN-Inception, named alike, and the 3D part."""


def wrapped(state: dict[str, list[int]]) -> dict[str, list[int]]:
    """As the authors' training saves it: parallel, in the TSN wrapper, with its own classifier."""
    renamed = {}
    for key, shape in state.items():
        leaf = key.removeprefix("fc_final.")
        renamed[f"module.base_model.{key}" if leaf == key else f"module.new_fc.{leaf}"] = shape
    return renamed


def shapes(name: str) -> Any:
    def of(num_classes: int, options: Any) -> dict[str, tuple[int, ...]]:
        with torch.device("meta"):
            model = create_model(name, num_classes=num_classes, **options)
        return {key: tuple(value.shape) for key, value in model.state_dict().items()}

    return of


def zeros(state: dict[str, list[int]]) -> Arrays:
    """Arrays that take no memory."""
    return {key: np.broadcast_to(np.float32(0), shape) for key, shape in state.items()}


@pytest.mark.parametrize(("name", "state"), [("eco_lite", LITE), ("eco_full", FULL)])
def test_both_spellings_are_recognised(name: str, state: dict[str, list[int]]) -> None:
    plain = to_ours(zeros(state), name, LAYOUTS, shapes(name))
    assert (plain.layout, plain.num_classes, plain.options) == ("eco_pytorch", 400, {})
    assert sum(array.size for key, array in plain.arrays.items() if "running_" not in key) == (
        47_502_128 if name == "eco_full" else 37_503_856
    )
    trained = to_ours(zeros(wrapped(state)), name, LAYOUTS, shapes(name))
    assert trained.layout == "eco_tsn"
    assert trained.arrays.keys() == plain.arrays.keys()
    assert trained.left_out == plain.left_out == ()


def test_a_wrapper_without_dropout_keeps_the_classifier_inside() -> None:
    state = {f"module.base_model.{key}": shape for key, shape in LITE.items()}
    assert to_ours(zeros(state), "eco_lite", LAYOUTS, shapes("eco_lite")).layout == "eco_pytorch"


def test_lite_and_full_are_not_confused() -> None:
    with pytest.raises(LayoutError, match=r"keys are missing.*frames.inception3c.double2"):
        to_ours(zeros(LITE), "eco_full", LAYOUTS, shapes("eco_full"))
    with pytest.raises(LayoutError, match=r"keys are unknown.*frames.inception3c.double2"):
        to_ours(zeros(FULL), "eco_lite", LAYOUTS, shapes("eco_lite"))


@pytest.mark.slow
def test_the_authors_features() -> None:
    """eco_lite_16: the batch norm after the sum res4b, before its ReLU."""
    document = json.loads((GOLDEN / "eco_lite_16.json").read_text())
    imported = to_ours(all_by_the_rule(document["state"]), "eco_lite", LAYOUTS, shapes("eco_lite"))
    model = create_model("eco_lite").eval()
    model.load_state_dict({key: torch.from_numpy(array) for key, array in imported.arrays.items()}, False)
    frames = np.random.default_rng(0).standard_normal(document["input_shape"]).astype(np.float32)
    with torch.inference_mode():
        maps_NDHW = model.see(torch.from_numpy(frames)).maps_NDHW
        raw = model.stage4(model.stage3(model.conv3a(maps_NDHW.transpose(0, 1)[None])))
        found = model.stage5[0].bn1(raw)
    assert list(found.shape) == document["features"]["shape"]
    wanted = np.array(document["features"]["mean_over_space_time"])
    assert np.abs(found.mean((2, 3, 4)).flatten().numpy() - wanted).max() < 1e-4 * wanted.std()


# --- online -----------------------------------------------------------------------------------------


def test_spread_takes_the_middle_of_equal_parts() -> None:
    assert spread(16, 16) == list(range(16))
    assert spread(16, 8) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert spread(5, 2) == [1, 3]
    assert spread(5, 3) == [0, 2, 4]
    assert spread(4, 0) == []


@FUNCTIONS
@pytest.mark.parametrize("num_segments", [4, 5])
def test_the_running_prediction_is_algorithm_1(function: Any, num_segments: int) -> None:
    """Written out with whole frames in memory: the same scores as with maps."""
    model = tiny_eco(function, num_segments=num_segments)
    frames = torch.randn(4 * num_segments + 2, 3, 32, 32)
    online, memory, wanted = OnlineEco(model), [], None
    for count, frame in enumerate(frames, start=1):
        found = online.push(frame)
        if count % num_segments:
            assert found is None
            continue
        queue = list(frames[count - num_segments : count])
        if not memory:
            memory = queue
        else:
            memory = [memory[i] for i in spread(num_segments, num_segments // 2)] + [
                queue[i] for i in spread(num_segments, num_segments - num_segments // 2)
            ]
        with torch.no_grad():
            latest = model(torch.stack(memory, dim=1)[None]).softmax(1)[0]
        wanted = latest if wanted is None else (wanted + latest) / 2
        assert found is not None
        assert found is online.scores_K
        assert torch.allclose(found, wanted, atol=1e-5)
    assert online.num_updates == 4
    assert float(online.scores_K.sum()) == pytest.approx(1, abs=1e-5)


class Numbered(Eco):
    """An ECO that sees a frame as its number, and remembers what it was shown and asked."""

    def see(self, frames_NCHW: Tensor) -> SeenFrames:
        self.seen = [*getattr(self, "seen", []), len(frames_NCHW)]
        return SeenFrames(frames_NCHW, None)

    def score(self, seen: SeenFrames, batch: int = 1) -> Tensor:
        self.memory = seen.maps_NDHW.flatten().tolist()
        return torch.zeros(1, 7)


def test_old_segments_fade() -> None:
    """Per segment 1, 1, 2, 4, 8 of 16 frames, in order: the authors' online script keeps as many."""
    model = Numbered(7, tiny=True).eval()
    online = OnlineEco(model)
    kept = []
    for number in range(16 * 7):
        if online.push(torch.full((1, 1, 1), float(number))) is not None:
            assert model.memory == sorted(model.memory)
            segments = [int(number // 16) for number in model.memory]
            kept.append([segments.count(segment) for segment in sorted(set(segments))])
    assert kept == [[16], [8, 8], [4, 4, 8], [2, 2, 4, 8], [1, 1, 2, 4, 8], [1, 1, 2, 4, 8], [1, 1, 2, 4, 8]]
    assert model.memory[0] == 16 * 3 - 1, "five segments back"
    assert model.seen == [16, 8, 8, 8, 8, 8, 8], "half of the frames never go through the 2D part"


def test_watch_and_reset() -> None:
    model = tiny_eco(eco_lite, num_segments=4)
    frames = torch.randn(11, 3, 32, 32)
    online = OnlineEco(model, keep=0.0)
    first = list(online.watch(frames))
    assert [count for count, _ in first] == [4, 8]
    assert torch.equal(first[-1][1], online.scores_K)
    online.reset()
    assert (online.scores_K, online.num_updates) == (None, 0)
    again = list(online.watch(frames))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True))


def test_what_a_stream_cannot_run_on() -> None:
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        OnlineEco(eco_lite(tiny=True).train())
    for keep in (-0.1, 1.0):
        with pytest.raises(ValueError, match="keep is a share in"):
            OnlineEco(eco_lite(tiny=True).eval(), keep=keep)
