"""Flow on the way is flow as it would have been stored, of the right frames, at the right times."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vadis.data.clip_rules import ClipRule
from vadis.data.clips import read_clips, read_parts
from vadis.data.flow_estimates import estimate_pixels, get_estimator, tick
from vadis.data.made import write_clip, write_frames
from vadis.data.reading import Reading
from vadis.records import Example, VideoError
from vadis.specs import ClipSpec, SoundSpec, join_specs
from vadis.video.decode import Video, decode
from vadis.video.flow_levels import dequantise, quantise
from vadis.video.scale import resize_picture
from vadis.video.write import VideoWriter

pytest.importorskip("cv2")

ESTIMATED = Reading(flow="farneback")
FLOW = ClipSpec(
    "flow", 4, size=36, crop=32, mean=(0.0, 0.0), std=(1.0, 1.0), value_range=(-1.0, 1.0), stack=3
)
RGB = ClipSpec("rgb", 4, size=36, crop=32)
CLIP = Example("a.mp4", "a", (0,))
UNIFORM = ClipRule("uniform")


def film(count: int) -> np.ndarray:
    """frames_THWC: a textured square before a still ground goes 2 pixels right and 1 up a frame."""
    rng = np.random.default_rng(0)
    ground_HWC, thing_HWC = (resize_picture(rng.integers(0, 255, (9, 12, 3), np.uint8), 48, 64) for _ in "ab")
    frames_THWC = np.repeat(ground_HWC[None], count, 0)
    for number, frame_HWC in enumerate(frames_THWC):
        left, top = 4 + 2 * number, 26 - number
        frame_HWC[top : top + 18, left : left + 18] = thing_HWC[:18, :18]
    return frames_THWC


def write_film(path: Path, frames_THWC: np.ndarray) -> None:
    with VideoWriter(path, 25) as writer:
        for frame_HWC in frames_THWC:
            writer.write(frame_HWC)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    write_film(folder / "a.mp4", film(20))
    return folder


def store(root: Path, video: str, short_side: int) -> tuple[str, str]:
    """The flow of a video as `vadis flow` stores it without loss: estimated on the scaled frames."""
    with Video(root / video, short_side=short_side) as source:
        frames_THWC = source.clips([range(len(source))])[0].frames_THWC
    fields = get_estimator("farneback", "cpu")(frames_THWC).fields_THW2
    folder = root / f"{video}_flow"
    folder.mkdir(exist_ok=True)
    for number, pixels_HW2 in enumerate(quantise(fields)):
        for place, name in enumerate("xy"):
            Image.fromarray(pixels_HW2[..., place]).save(folder / f"flow_{name}_{number:05d}.png")
    return tuple(f"{folder.name}/flow_{name}_*.png" for name in "xy")  # type: ignore[return-value]


@pytest.mark.parametrize("fps", [None, 25.0])
@pytest.mark.parametrize("stacking", ["optical", "trajectory"])
def test_stored_is_on_the_way(root: Path, stacking: str, fps: float | None) -> None:
    spec = replace(FLOW, stacking=stacking, subtract_mean=stacking == "trajectory", fps=fps)
    stored = replace(CLIP, flow=store(root, "a.mp4", 36), start_seconds=0.16)
    rules = (ClipRule("uniform", 3), ClipRule("random", 2))
    for rule, seed in zip(rules, (None, 0), strict=True):
        rng = [None if seed is None else np.random.default_rng(seed) for _ in range(2)]
        one = read_clips(stored, root, spec, rule, short_side=36, rng=rng[0])
        other = read_clips(
            replace(stored, flow=()), root, spec, rule, short_side=36, rng=rng[1], reading=ESTIMATED
        )
        assert fps is not None or one.indices_NT.tolist() == other.indices_NT.tolist()
        assert np.allclose(one.seconds_N2, other.seconds_N2)
        assert all((a == b).all() for a, b in zip(one.clips, other.clips, strict=True))
    assert np.unique(one.clips[0]).size > 5, "something moves"


def test_training_reads_flow_at_the_networks_size(root: Path) -> None:
    clips = read_clips(CLIP, root, FLOW, UNIFORM, reading=ESTIMATED)  # its steps scale and cut afterwards
    assert clips.clips[0].shape == (4, 36, 48, 6)
    assert clips.clips[0].dtype == np.uint8


def test_stored_flow_goes_first(root: Path) -> None:
    folder = root / "still"
    folder.mkdir(exist_ok=True)
    for number in range(19):
        for name in "xy":
            Image.new("L", (48, 36), 128).save(folder / f"flow_{name}_{number:02d}.png")
    stored = replace(CLIP, flow=("still/flow_x_*.png", "still/flow_y_*.png"))
    assert (read_clips(stored, root, FLOW, UNIFORM, reading=ESTIMATED).clips[0] == 128).all()
    gone = replace(CLIP, flow=("gone/flow_x_*.png", "gone/flow_y_*.png"))
    assert (read_clips(gone, root, FLOW, UNIFORM, reading=ESTIMATED).clips[0] != 128).any()


def test_without_a_method_the_error_says_what_to_do(root: Path) -> None:
    with pytest.raises(VideoError, match=r"vadis flow.*--flow METHOD") as caught:
        read_clips(CLIP, root, FLOW, UNIFORM)
    assert caught.value.kind == "not_found"
    both_ways = replace(FLOW, stack=4, stacking="bidirectional")
    with pytest.raises(VideoError, match=r"back in time.*--flow METHOD"):
        read_clips(replace(CLIP, flow=store(root, "a.mp4", 36)), root, both_ways, UNIFORM)


def test_an_unknown_method_is_a_wrong_word() -> None:
    with pytest.raises(ValueError, match="dis, farneback, tvl1_opencv"):
        Reading(flow="diss")


def test_one_frame_has_no_flow(root: Path) -> None:
    write_clip(root / "one.mp4", 0, num_frames=1)
    one = replace(CLIP, video="one.mp4")
    with pytest.raises(VideoError, match="one frame alone") as caught:
        read_clips(one, root, FLOW, UNIFORM, reading=ESTIMATED)
    assert caught.value.kind == "not_found"
    both = join_specs({"rgb": RGB, "flow": FLOW})
    found = read_parts(one, root, both, UNIFORM, reading=replace(ESTIMATED, missing="zero"))
    assert found["flow"].absent
    assert found["flow"].clips[0].shape == (4, 36, 48, 6)
    write_clip(root / "two.mp4", 0, num_frames=2)
    two = read_clips(replace(CLIP, video="two.mp4"), root, FLOW, UNIFORM, reading=ESTIMATED).clips[0]
    assert (two[..., :2] == two[..., 2:4]).all(), "the only field, again and again"


def test_both_ways_are_the_film_forwards_and_backwards(root: Path) -> None:
    """Back from the middle, the film run backwards moves as its frames in reverse do."""
    spec = replace(FLOW, num_frames=1, stack=4, stacking="bidirectional")
    write_film(root / "on.mp4", film(9))
    write_film(root / "back.mp4", film(9)[::-1])
    on, back = (
        dequantise(
            read_clips(replace(CLIP, video=f"{name}.mp4"), root, spec, UNIFORM, reading=ESTIMATED).clips[0][0]
        )
        for name in ("on", "back")
    )
    assert np.abs(on[..., :2]).max() > 0.5
    # frame 4 of 9 is the middle of both films: forwards in one is backwards in the other
    alike = np.abs(on[..., :4] - back[..., 4:]).mean(), np.abs(on[..., 4:] - back[..., :4]).mean()
    assert max(alike) < 0.4 * np.abs(on[..., :4] - back[..., :4]).mean()


def test_a_pan_is_nothing_to_warped_flow() -> None:
    rng = np.random.default_rng(0)
    ground = resize_picture(rng.integers(0, 255, (40, 60, 3), np.uint8), 200, 300)
    frames = np.stack([ground[20:120, 3 * step : 3 * step + 150] for step in range(3)])
    estimator = get_estimator("farneback", "cpu")
    plain = dequantise(estimate_pixels(frames, np.arange(2), estimator))
    warped = dequantise(estimate_pixels(frames, np.arange(2), estimator, warped=True))
    inside = (slice(None), slice(15, -15), slice(15, -15))
    assert np.abs(plain[inside].mean((0, 1, 2)) - [-3, 0]).max() < 0.2
    assert np.abs(warped[inside]).mean() < 0.2


# --- times --------------------------------------------------------------------------------------------


def test_the_ticks_of_a_rate() -> None:
    times_T = np.arange(10) / 50.0
    clock_T, shown_T = tick(times_T, CLIP, FLOW)
    assert clock_T is times_T
    assert shown_T.tolist() == list(range(10))
    clock_T, shown_T = tick(times_T, CLIP, replace(FLOW, fps=25.0))
    assert np.allclose(clock_T, [0, 0.04, 0.08, 0.12, 0.16])
    assert shown_T.tolist() == [0, 2, 4, 6, 8]
    begun = replace(CLIP, start_seconds=0.1)
    clock_T, shown_T = tick(times_T, begun, replace(FLOW, fps=25.0))
    assert np.allclose(clock_T, [0.02, 0.06, 0.1, 0.14, 0.18]), "a tick lies at the start"
    assert shown_T.tolist() == [1, 3, 5, 7, 9]


VFR = [0.0, 0.04, 0.08, 0.2, 0.24, 0.28, 0.4, 0.44, 0.6, 0.64, 0.68, 0.8]


def write_vfr(path: Path, times: list[float], tone_rises: float | None = None) -> None:
    """A disc that has moved by as many pixels as it is frames, each frame shown at its own time."""
    frames_THWC = film(len(times))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        sound = None if tone_rises is None else container.add_stream("pcm_s16le", rate=16_000)
        for time, frame_HWC in zip(times, frames_THWC, strict=True):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            frame.pts, frame.time_base = round(time * 1000), stream.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            seconds_S = np.arange(16_000) / 16_000
            hertz_S = np.where(seconds_S < tone_rises, 400.0, 4_000.0)
            wave_S = (8_000 * np.sin(2 * np.pi * hertz_S * seconds_S)).astype(np.int16)
            piece = av.AudioFrame.from_ndarray(wave_S[None], "s16", "mono")
            piece.sample_rate, piece.pts, piece.time_base = 16_000, 0, Fraction(1, 16_000)
            container.mux(sound.encode(piece))
            container.mux(sound.encode(None))


@pytest.mark.parametrize("fps", [None, 25.0])
def test_frames_and_flow_of_a_variable_rate_show_the_same_times(root: Path, fps: float | None) -> None:
    times = VFR
    write_vfr(root / "vfr.mkv", times)
    assert np.allclose(decode(root / "vfr.mkv").times_T, times, atol=1e-3)
    both = join_specs({"rgb": replace(RGB, fps=fps), "flow": replace(FLOW, fps=fps, stack=1)})
    example = Example("vfr.mkv", "vfr", (0,))
    found = read_parts(example, root, both, ClipRule("uniform", 3), reading=ESTIMATED)
    rgb, flow = found["rgb"], found["flow"]
    with Video(root / "vfr.mkv", short_side=36) as video:
        frames_THWC = video.clips([range(len(video))])[0].frames_THWC
        pairs = get_estimator("farneback", "cpu")
        for clip, (rgb_T, flow_T) in enumerate(zip(rgb.indices_NT, flow.indices_NT, strict=True)):
            for place, (frame, field) in enumerate(zip(rgb_T, flow_T, strict=True)):
                shown = rgb.times_T[frame]
                last = frame >= len(times) - 1
                following = frame + 1
                if fps is not None:  # the frame that the next tick shows
                    at = flow.times_T[field]
                    assert shown <= at + 1e-6 or last
                    following = np.searchsorted(times, at + 1 / fps + 1e-3, "right") - 1
                else:
                    assert flow.times_T[field] == pytest.approx(shown) or last
                if last:
                    continue
                pair = frames_THWC[[frame, following]]
                wanted = quantise(pairs(pair).fields_THW2[0])
                assert (flow.clips[clip][place] == wanted).all()


def test_folders_of_frames_have_flow_too(root: Path) -> None:
    write_frames(root / "frames", "img_%05d.png", 1, num_frames=12)
    clips = read_clips(Example("frames", "f", (0,), fps=25.0), root, FLOW, UNIFORM, reading=ESTIMATED)
    assert clips.clips[0].shape == (4, 36, 48, 6)
    assert clips.times_T.tolist() == (np.arange(11) / 25).tolist()


def test_frames_flow_and_sound_of_a_variable_rate_show_the_same_times(root: Path) -> None:
    """The tone rises at 0.4 s, about which the frames' pace changes: each picture of it is of its frame."""
    write_vfr(root / "loud.mkv", VFR, tone_rises=0.4)
    sound = ClipSpec(
        "audio", 1, mean=(0.0,), std=(1.0,), sound=SoundSpec(num_steps=8, num_mels=32, high=7_000.0)
    )
    one = {"num_frames": 1, "fps": None, "stack": 1}
    spec = join_specs({"rgb": replace(RGB, num_frames=1), "flow": replace(FLOW, **one), "audio": sound})
    found = read_parts(Example("loud.mkv", "l", (0,)), root, spec, ClipRule("uniform", 12), reading=ESTIMATED)
    times = found["rgb"].times_T[found["rgb"].indices_NT][:, 0]
    assert np.allclose(times, VFR, atol=2e-3)
    flow_times = found["flow"].times_T[found["flow"].indices_NT][:, 0]
    assert np.allclose(flow_times[:-1], times[:-1]), "the last frame has no field of its own"
    half = 0.06  # a picture shows 0.1 s about its frame
    for seconds, picture in zip(times, found["audio"].clips, strict=True):
        band = picture[0, :, :, 0].mean(0).argmax()
        if abs(seconds - 0.4) > half and seconds > half:
            assert (band > 16) == (seconds > 0.4), seconds
