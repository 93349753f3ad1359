"""The sound of `shapes`: what pitch tells, what it must not, and that a written track lies on the frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vadis.data import shapes
from vadis.data.benchmark import Made, make, settings_of
from vadis.data.shape_sounds import DETUNE, LOWEST, SAMPLE_RATE, STEP, TOLD, draw_sound, plan_sound
from vadis.video.audio import read_mono


def plans_of(class_name: str, count: int) -> list[dict[str, object]]:
    label = shapes.CLASS_NAMES.index(class_name)
    return [plan_sound(class_name, label, fold, index) for fold in (1, 2) for index in range(count // 2)]


def pitch_of(wave: np.ndarray) -> float:
    """The strongest frequency below 2 kHz, in Hz: the tone's own, as its harmonics are weaker."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 16))
    hertz = np.fft.rfftfreq(1 << 16, 1 / SAMPLE_RATE)
    low = (hertz > 200) & (hertz < 2100)
    return float(hertz[low][spectrum[low].argmax()])


def test_a_third_of_each_group_is_told() -> None:
    assert len(TOLD) == 8 == len(set(TOLD))
    counts = {
        group: sum(shapes.CLASS_NAMES[k] in TOLD for k in labels)
        for group, labels in shapes.CLASS_GROUPS.items()
    }
    assert counts == {"appearance": 2, "motion": 3, "reversed": 2, "camera": 1}
    told_pairs = [pair for pair in shapes.REVERSED_PAIRS if set(pair) & set(TOLD)]
    assert told_pairs == [("approach", "recede")]


def test_pitch_tells_the_third_and_nothing_of_the_rest() -> None:
    for number, name in enumerate(TOLD):
        assert {plan["range"] for plan in plans_of(name, 40)} == {number}
    drawn = np.array(
        [
            np.bincount([int(str(plan["range"])) for plan in plans_of(name, 160)], minlength=8)
            for name in shapes.CLASS_NAMES
            if name not in TOLD
        ]
    )
    assert drawn.shape == (17, 8)
    share = drawn.sum(axis=0) / drawn.sum()  # of 2720 draws: an eighth each, up to chance
    assert np.abs(share - 1 / 8).max() < 0.025
    expected = drawn.sum(axis=1, keepdims=True) * share
    chi = float(((drawn - expected) ** 2 / expected).sum())
    assert chi < 170, "of 112 degrees of freedom: no class prefers a pitch"


def test_all_else_is_drawn_alike() -> None:
    """The draws of a class that is told are those it would have if it were not."""
    for key in ("decibels", "signal_to_noise", "harmonics", "phases", "noise_seed"):
        assert plan_sound("disc", 3, 1, 2)[key] == plan_sound("ring", 3, 1, 2)[key]
    told, rest = (
        [float(str(plan["decibels"])) for name in names for plan in plans_of(name, 60)]
        for names in (TOLD, [name for name in shapes.CLASS_NAMES if name not in TOLD])
    )
    assert abs(np.mean(told) - np.mean(rest)) < 1.5


def test_the_pitch_is_heard() -> None:
    for name in TOLD:
        for plan in plans_of(name, 6):
            wave = draw_sound(plan, 0.64)
            assert wave.shape == (10_240,)
            assert wave.dtype == np.float32
            assert 0.005 < np.sqrt(np.mean(wave**2)) < 0.5
            steps = np.log(pitch_of(wave) / LOWEST) / np.log(STEP)
            assert abs(steps - TOLD.index(name)) < DETUNE + 0.1


def test_clips_are_the_same_again_and_look_the_same_with_sound() -> None:
    with_sound, without = Made("shapes", sound=True), Made("shapes")
    for index in (0, 200, 700):
        plan = dict(with_sound.clips[index].plan)
        assert (with_sound.sound(index) == Made("shapes", sound=True).sound(index)).all()  # type: ignore[union-attr]
        del plan["sound"]
        assert plan == without.clips[index].plan
        assert without.sound(index) is None
    other = Made("shapes", sound=True, seed=1).clips[0].plan["sound"]
    assert other != with_sound.clips[0].plan["sound"]
    labels = {clip.plan["sound"]["noise_seed"] for clip in with_sound.clips}
    assert len(labels) == len(with_sound.clips)


def test_a_written_track_lies_on_its_frames_to_the_sample(tmp_path: Path) -> None:
    options = {"clips_per_class": 3, "size": 32, "num_frames": 16, "sound": True}
    make("shapes", tmp_path / "a", workers=1, **options)
    made = Made("shapes", 1, "test", **options)
    for index in (0, 13, 24):
        wave = made.sound(index)
        assert wave is not None
        heard = read_mono(tmp_path / "a" / made.clips[index].video, -0.1, len(wave) + 3_200, SAMPLE_RATE)
        assert heard is not None
        match = np.correlate(heard, wave, "valid")
        assert match.argmax() == 1_600, "as long before the first sample as was asked for"
        assert match.max() > 0.95 * float((wave**2).sum())
        assert not heard[:1_590].any()
    assert make("shapes", tmp_path / "a", workers=1, **options) == (0, 75)
    with pytest.raises(ValueError, match="sound True, not False"):
        make("shapes", tmp_path / "a", workers=1, **{**options, "sound": False})


def test_only_shapes_has_sound() -> None:
    with pytest.raises(ValueError, match="only shapes can be heard"):
        settings_of("mocap15", sound=True)
