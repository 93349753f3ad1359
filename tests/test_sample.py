"""Index arithmetic against the field's own vectors (golden/signals.json) and by its properties."""

import ast
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vadis.video import sample

VECTORS = json.loads((Path(__file__).parent / "golden" / "signals.json").read_text())
N = 300  # frames of the video that the vectors are about

lengths = st.integers(1, 3000)
counts = st.integers(1, 40)
strides = st.integers(1, 40)


def test_vectors_tsn() -> None:
    assert (sample.tsn_test_segments(N) + 1).tolist() == VECTORS["tsn25_rgb_1based"]
    assert (sample.tsn_test_segments(N, stack=5) + 1).tolist() == VECTORS["tsn25_flow5_1based_first_of_stack"]


def test_vectors_slowfast() -> None:
    starts = sample.slowfast_starts(N, 10, 32, 2)
    assert starts.tolist() == pytest.approx(VECTORS["slowfast_32x2x10_start_float"], abs=1e-12)
    assert sample.slowfast_clips(N, 10, 32, 2)[1].tolist() == VECTORS["slowfast_32x2_clip1_idx"]
    offset = sample.slowfast_starts(N, 10, 32, 2, use_offset=True)
    assert offset.tolist() == VECTORS["slowfast_use_offset_start"]
    charades = sample.slowfast_charades_starts(N, 10, 16, 8)
    assert charades.tolist() == VECTORS["slowfast_charades_start(16x8,L=300,views10)"]


def test_vectors_others() -> None:
    assert sample.mmaction2_starts(N, 10, 32, 2).tolist() == VECTORS["mmaction2_32x2x10_start"]
    assert sample.nonlocal_starts(N, 10).tolist() == VECTORS["nonlocal_10_start"]
    assert (sample.charades_frames(N) + 1).tolist() == VECTORS["charades25_gsig_1based(n=300)"]


def test_slowfast_converts_the_rate() -> None:
    # 15 fps video, stride counted at 30 fps: half the stride in source frames
    clip = sample.slowfast_clips(150, 1, 32, 2, fps=15.0)[0]
    assert clip.tolist() == sample.spread_float32(0, 31, 32).astype(int).tolist() == list(range(32))
    # a video shorter than the clip repeats its last frame
    assert sample.slowfast_clips(10, 2, 8, 4).max() == 9
    assert sample.slowfast_clips(10, 2, 8, 4)[0].tolist() == [0, 4, 8, 9, 9, 9, 9, 9]


@given(st.floats(0, 5000), st.floats(1, 2000), st.integers(2, 128))
def test_spread_is_torch_linspace(start: float, size: float, num_frames: int) -> None:
    ours = sample.spread_float32(start, start + size, num_frames)
    theirs = torch.linspace(start, start + size, num_frames).numpy()
    # bit for bit where the processor fuses multiply and add; elsewhere within one unit in the last place
    np.testing.assert_array_max_ulp(ours, theirs, maxulp=1)


def test_single_clips() -> None:
    assert sample.slowfast_starts(N, 1, 8, 32).tolist() == [0]  # TimeSformer's code
    assert sample.middle_clip(N, 8, 32)[0].tolist() == [37 + 32 * k for k in range(8)]  # its paper
    assert sample.slowfast_starts(N, 1, 32, 2, use_offset=True).tolist() == [118]
    assert sample.slowfast_charades_starts(N, 1, 16, 8).tolist() == [0]
    assert sample.mmaction2_starts(N, 1, 32, 2).tolist() == [118]


def test_nonlocal_wraps() -> None:
    last = sample.nonlocal_clips(N, 10, 32, 2)[-1]
    assert last[:16].tolist() == [*range(270, 300, 2), 0]


def test_mmaction2_single_frames() -> None:
    assert sample.mmaction2_centre_frames(N, 25).tolist() == [6 + 12 * k for k in range(25)]
    assert len(sample.mmaction2_starts(N, 5, 8, 8, twice=True)) == 10


def test_lgd_twenty_clips_touch_both_ends() -> None:
    clips = sample.uniform_clips(N, 20, 16)
    assert clips.shape == (20, 16)
    assert clips[0, 0] == 0
    assert clips[-1, -1] == N - 1


def test_i3d_whole_video() -> None:
    assert sample.whole_video(260, at_most=250).tolist() == list(range(250))
    assert sample.whole_video(30, at_most=250, at_least=64).tolist() == [k % 30 for k in range(64)]
    with pytest.raises(ValueError, match=r"at_most \(8\) must not be below at_least \(9\)"):
        sample.whole_video(30, at_most=8, at_least=9)


def test_resample_rate() -> None:
    assert sample.resample_rate(6, 30, 15).tolist() == [0, 2, 4]
    assert sample.resample_rate(3, 25, 50).tolist() == [0, 0, 1, 1, 2, 2]
    ntsc = sample.resample_rate(300, Fraction(30000, 1001), 25)
    assert ntsc[:8].tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    assert len(ntsc) == 251  # 10.01 s


def test_window_indices_by_hand() -> None:
    assert sample.window_indices(10, 4, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert sample.window_indices(8, 4, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert sample.window_indices(3, 4, 4).tolist() == [[0, 1, 2, 0]]
    assert sample.window_indices(4, 4, 1).tolist() == [[0, 1, 2, 3]]
    assert sample.window_indices(7, 2, 5).tolist() == [[0, 1], [5, 6]]
    assert sample.window_indices(9, 2, 5).tolist() == [[0, 1], [5, 6], [7, 8]]


@given(lengths, st.integers(1, 300), st.integers(1, 400))
def test_window_properties(total: int, window: int, stride: int) -> None:
    windows = sample.window_indices(total, window, stride)
    assert windows.shape[1] == window
    assert windows.dtype == np.int64
    assert windows.min() >= 0
    assert windows.max() == total - 1  # reaches the end
    starts = windows[:, 0]
    assert starts[0] == 0
    if total > window:
        assert (np.diff(windows, axis=1) == 1).all()
        assert windows[-1, -1] == total - 1
        steps = np.diff(starts)
        assert (steps[:-1] == stride).all()
        assert (steps > 0).all()
        assert (steps <= stride).all()
        if stride <= window:
            assert set(windows.ravel().tolist()) == set(range(total))
    else:
        assert windows.tolist() == [[k % total for k in range(window)]]


@given(lengths, counts, counts, strides, st.integers(0, 2**32 - 1))
def test_every_rule_stays_in_the_video(total: int, clips: int, frames: int, stride: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for found in (
        sample.uniform_clips(total, clips, frames, stride),
        sample.random_clips(total, clips, frames, stride, rng=rng),
        sample.slowfast_clips(total, clips, frames, stride),
        sample.slowfast_clips(total, clips, frames, stride, fps=23.976, use_offset=True),
        sample.slowfast_clips(total, clips, frames, stride, rng=rng),
        sample.slowfast_charades_clips(total, clips, frames, stride),
        sample.nonlocal_clips(total, clips, frames, stride),
        sample.mmaction2_clips(total, clips, frames, stride),
    ):
        assert found.shape == (clips, frames)
        assert found.dtype == np.int64
        assert 0 <= found.min() <= found.max() < total


@given(lengths, counts, counts, strides)
def test_clips_are_ordered_when_they_fit(total: int, clips: int, frames: int, stride: int) -> None:
    if sample.clip_span(frames, stride) > total:
        return
    rules = [
        sample.uniform_clips(total, clips, frames, stride),
        sample.slowfast_charades_clips(total, clips, frames, stride),
        sample.mmaction2_clips(total, clips, frames, stride),
    ]
    for found in rules:
        assert (np.diff(found, axis=1) == stride).all()
        assert (np.diff(found[:, 0]) >= 0).all()
        if clips > 1:
            assert found[0, 0] == 0
            assert found[-1, -1] == total - 1
    if frames * stride <= total:
        slowfast = sample.slowfast_clips(total, clips, frames, stride)
        assert (np.diff(slowfast, axis=1) >= 0).all()
        # the last clip stays clear of the end by delta / num_clips
        delta = total - frames * stride
        assert slowfast[-1, -1] <= total - delta / clips


@given(lengths, counts, st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_segments(total: int, segments: int, stack: int, seed: int) -> None:
    test = sample.tsn_test_segments(total, segments, stack)
    train = sample.tsn_train_segments(total, segments, stack, rng=np.random.default_rng(seed))
    for starts in (test, train):
        assert starts.shape == (segments,)
        assert (np.diff(starts) >= 0).all()
        assert starts.min() >= 0
        assert starts.max() <= max(total - stack, 0)
        stacks = sample.segment_stacks(starts, total, stack)
        assert 0 <= stacks.min() <= stacks.max() < total
    length = (total - stack + 1) // segments
    if length > 0:
        assert (train // length == np.arange(segments)).all()


@given(lengths, st.integers(1, 128), st.integers(0, 2**32 - 1))
def test_spread_over_the_video(total: int, frames: int, seed: int) -> None:
    for found in (
        sample.slowfast_ssv2_clip(total, frames),
        sample.slowfast_ssv2_clip(total, frames, np.random.default_rng(seed)),
        sample.charades_frames(total, frames),
    ):
        assert len(found) == frames
        assert 0 <= found.min() <= found.max() < total
    charades = sample.charades_frames(total, frames)
    assert charades[0] == 0
    assert frames == 1 or charades[-1] == total - 1
    assert (np.diff(sample.slowfast_ssv2_clip(total, frames)) >= 0).all()


@given(
    lengths,
    st.fractions(1, 120, max_denominator=1001),
    st.fractions(1, 120, max_denominator=1001),
)
def test_resample_shows_the_current_frame(total: int, fps: Fraction, target: Fraction) -> None:
    found = sample.resample_rate(total, fps, target)
    for k in (0, len(found) // 2, len(found) - 1):
        time = k / target
        assert found[k] / fps <= time < (found[k] + 1) / fps
    assert len(found) / target >= total / fps  # the next element would lie past the end
    assert found[-1] < total


def test_random_rules_repeat_under_a_seed_and_differ_without() -> None:
    def draw(seed: int) -> list[list[int]]:
        rng = np.random.default_rng(seed)
        return [
            sample.random_clips(N, 4, 16, 2, rng=rng).ravel().tolist(),
            sample.tsn_train_segments(N, 8, rng=rng).tolist(),
            sample.slowfast_clips(N, 3, 16, 2, rng=rng).ravel().tolist(),
        ]

    before = np.random.get_state()[1].copy()
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert (np.random.get_state()[1] == before).all()  # the global state is not touched


def test_loop_and_clamp() -> None:
    assert sample.fit([-1, 0, 5, 6, 13], 6).tolist() == [5, 0, 5, 0, 1]
    assert sample.fit([-1, 0, 5, 6, 13], 6, "clamp").tolist() == [0, 0, 5, 5, 5]
    assert sample.loop_indices(3, 8, start=2).tolist() == [2, 0, 1, 2, 0, 1, 2, 0]
    with pytest.raises(ValueError, match=r"index 6 is outside the video: legal are 0\.\.5"):
        sample.fit([0, 6], 6, "error")
    with pytest.raises(ValueError, match="'loop', 'clamp', 'error'"):
        sample.fit([0], 6, "mirror")  # type: ignore[arg-type]


def test_errors_quote_the_value() -> None:
    with pytest.raises(ValueError, match=r"total_frames \(0\) must be at least 1"):
        sample.window_indices(0, 4, 4)
    with pytest.raises(ValueError, match=r"frame_stride \(-2\) must be at least 1"):
        sample.uniform_clips(10, 1, 4, -2)
    with pytest.raises(TypeError, match=r"window \(2\.5\) must be an integer"):
        sample.window_indices(10, 2.5, 4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"fps \(nan\) must be a positive"):
        sample.slowfast_clips(10, 1, 4, 1, fps=float("nan"))


def test_charades_times() -> None:
    times = sample.charades_times(25.0)
    assert times.tolist() == pytest.approx([float(k) for k in range(25)])
    assert times[7] == 7 / 25 * 25.0  # the official script's order of operations, 7.000000000000001


def test_no_io_and_no_torch_in_the_module() -> None:
    tree = ast.parse(Path(sample.__file__).read_text())
    imported = {
        (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else name.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert imported <= {"__future__", "math", "collections", "fractions", "typing", "numpy"}
