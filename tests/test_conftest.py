"""The rules of the tests themselves: random state restored, `gpu` skipped, failed fetches failing in CI."""

import os
from pathlib import Path

import damage
import numbered
import pytest

pytest_plugins = ["pytester"]
CONFTEST = Path(__file__).with_name("conftest.py")


@pytest.fixture
def house(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makeini("[pytest]\nmarkers =\n    gpu\n")
    return pytester


def test_random_state_is_restored(house: pytest.Pytester) -> None:
    house.makepyfile(
        """
        import random, numpy, pytest, torch
        seen = []

        @pytest.mark.parametrize("again", range(2))
        def test_draw(again):
            seen.append((random.random(), numpy.random.rand(), torch.rand(1).item()))
            assert seen[0] == seen[-1]
        """
    )
    house.runpytest_subprocess("-p", "no:xdist").assert_outcomes(passed=2)


def test_gpu_skips_without_device(house: pytest.Pytester) -> None:
    house.makepyfile(
        """
        import pytest, torch

        @pytest.mark.gpu
        def test_device():
            assert torch.cuda.is_available() or torch.backends.mps.is_available()
        """
    )
    outcomes = house.runpytest_subprocess("-p", "no:xdist").parseoutcomes()
    assert outcomes in ({"skipped": 1}, {"passed": 1})


@pytest.mark.parametrize(
    ("in_ci", "answers", "expected"),
    [
        (True, True, {"failed": 1}),
        (True, False, {"skipped": 1}),
        (False, True, {"skipped": 1}),
    ],
)
def test_a_failed_fetch(
    house: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    in_ci: bool,
    answers: bool,
    expected: dict[str, int],
) -> None:
    monkeypatch.setenv("CI", "1" if in_ci else "")
    house.makepyfile(
        f"""
        import sys
        import vadis.models.weights
        from vadis.downloads import DownloadError

        def refuse(name):
            raise DownloadError("nothing came")

        def test_weights(request, monkeypatch):
            monkeypatch.setattr(sys.modules["conftest"], "registry_answers", lambda: {answers})
            monkeypatch.setattr(vadis.models.weights, "pull", refuse)
            request.getfixturevalue("i3d_weights")
        """
    )
    assert house.runpytest_subprocess("-p", "no:xdist").parseoutcomes() == expected


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system does not say its policy")
def test_the_av1_encoder_leaves_no_priority_behind(tmp_path: Path) -> None:
    """As root it would: the whole process, its threads and its children would be real-time from then on."""
    before = os.sched_getscheduler(0)
    file, codec, pixel_format, options = damage.RECIPES["mp4_av1"]
    damage.write_video(tmp_path / file, codec, pixel_format, options, damage.pictures(2))
    assert os.sched_getscheduler(0) == before
    numbered.write_numbered(tmp_path / "b.mp4", 2, codec=codec, options=options)
    assert os.sched_getscheduler(0) == before
