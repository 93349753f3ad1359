"""`mocap15`: clips follow from their numbers, folds share no view and no sun, point lights on black."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import skip_or_fail
from made_motion import made_motion, made_skeleton

from vadis.data import mocap, mocap15
from vadis.data.mocap15 import CLASS_NAMES, SECTOR_DEGREES, draw_clip, plan_clip
from vadis.downloads import DownloadError


@pytest.fixture
def made_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made walk in place of each take, so that nothing is fetched."""
    loops = {"backflip": "none", "roll": "none"}
    monkeypatch.setattr(mocap, "load_motion", lambda name: made_motion(loop=loops.get(name, "wrap")))
    monkeypatch.setattr(mocap, "load_skeleton", made_skeleton)


def test_the_classes_are_the_takes() -> None:
    assert mocap.list_motions() == CLASS_NAMES
    assert len(CLASS_NAMES) == 15
    labels = sorted(label for group in mocap15.CLASS_GROUPS.values() for label in group)
    assert labels == list(range(15))


def test_folds_share_no_view_and_no_sun() -> None:
    sectors: dict[str, list[set[int]]] = {"view_azimuth": [], "sun_azimuth": []}
    bodies = set()
    for fold in (1, 2, 3):
        plans = [plan_clip(name, fold, index) for name in CLASS_NAMES for index in range(8)]
        for key, found in sectors.items():
            found.append({int(plan[key] // SECTOR_DEGREES) for plan in plans})
        for plan in plans:
            camera = plan["scene"]["camera"]
            assert camera["azimuth"] == plan["view_azimuth"]
            assert plan["scene"]["light"]["azimuth"] == plan["sun_azimuth"]
            seen = camera["azimuth"] + camera["orbit"] * np.array([0, mocap15.NUM_FRAMES / mocap15.FPS])
            assert len(set((seen // SECTOR_DEGREES).astype(int))) == 1  # nor does it circle into another fold
            bodies.add(json.dumps(plan["scene"]["body"]))
    for found in sectors.values():
        assert found == [{0, 3}, {1, 4}, {2, 5}]
    assert len(bodies) == 3 * 15 * 8  # each clip its own


def test_a_plan_follows_from_its_numbers_and_says_nothing_of_its_class() -> None:
    assert plan_clip("walk", 1, 0) == plan_clip("walk", 1, 0)
    json.dumps(plan_clip("walk", 1, 0))
    others = [("run", 1, 0, 0), ("walk", 2, 0, 0), ("walk", 1, 1, 0), ("walk", 1, 0, 1)]
    assert len({plan_clip(*numbers)["scene_seed"] for numbers in [("walk", 1, 0, 0), *others]}) == 5
    speeds = [np.mean([plan_clip(name, 1, i)["scene"]["speed"] for i in range(60)]) for name in CLASS_NAMES]
    assert np.ptp(speeds) < 0.1  # drawn from one distribution, 0.8 to 1.25


@pytest.mark.usefixtures("made_takes")
def test_clips_are_drawn() -> None:
    plan = plan_clip("walk", 1, 0)
    frames = draw_clip(plan, 48, 6)
    assert frames.shape == (6, 48, 48, 3)
    assert frames.dtype == np.uint8
    assert (frames == draw_clip(plan, 48, 6)).all()
    assert (frames[0] != frames[-1]).any()
    assert not (frames == draw_clip(plan_clip("walk", 1, 1), 48, 6)).all()
    assert draw_clip(plan_clip("backflip", 1, 0), 48, 6).shape == frames.shape


@pytest.mark.usefixtures("made_takes")
def test_point_lights_are_grey_discs_on_black_where_the_person_is() -> None:
    plan = plan_clip("walk", 2, 3)
    lights, person = draw_clip(plan, 64, 6, point_lights=True), draw_clip(plan, 64, 6)
    assert lights.shape == person.shape
    assert (lights == lights[..., :1]).all()
    assert (lights == 0).mean() > 0.8
    assert lights.max() == 255
    assert (lights[0] != lights[-1]).any()


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="moonwalk"):
        plan_clip("moonwalk", 1, 0)
    with pytest.raises(ValueError, match="fold 4"):
        plan_clip("walk", 4, 0)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        draw_clip(plan_clip("walk", 1, 0), 16)


@pytest.mark.network
@pytest.mark.slow
def test_the_real_takes() -> None:
    try:
        mocap.fetch()
    except DownloadError as error:
        skip_or_fail(str(error))
    for name in CLASS_NAMES:
        frames = draw_clip(plan_clip(name, 1, 0), 64, 8)
        assert np.abs(np.diff(frames.astype(float), axis=0)).max() > 10, name
