"""Made motion: the true flow leads each pixel to its own brightness in the next frame."""

from __future__ import annotations

import numpy as np
import pytest

from vadis.data.known_motion import MOTIONS, end_point_error, known_motion


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_flow_is_true(motion: str) -> None:
    made = known_motion(motion, frames=3, size=(120, 90))
    assert made.frames_THWC.shape == (3, 90, 120, 3)
    assert made.flow_THW2.shape == (2, 90, 120, 2)
    rows, columns = np.mgrid[:90, :120]
    for field in range(2):
        x, y = columns + made.flow_THW2[field, ..., 0], rows + made.flow_THW2[field, ..., 1]
        seen = made.flow_seen_THW[field]
        left, top = np.clip(x.astype(int), 0, 118), np.clip(y.astype(int), 0, 88)
        right, low = (x - left)[..., None], (y - top)[..., None]
        after = made.frames_THWC[field + 1].astype(float)
        upper = after[top, left] * (1 - right) + after[top, left + 1] * right
        lower = after[top + 1, left] * (1 - right) + after[top + 1, left + 1] * right
        wrong = np.abs(upper * (1 - low) + lower * low - made.frames_THWC[field])[seen].mean()
        still = np.abs(after - made.frames_THWC[field])[seen].mean()
        assert seen.mean() > 0.6
        assert wrong < 4.0
        assert motion == "large_part" or wrong < still / 5
    assert end_point_error(made.flow_THW2, made.flow_THW2) == 0
    assert end_point_error(made.flow_THW2 + np.float32([3, 4]), made.flow_THW2) == pytest.approx(5, rel=1e-5)


def test_what_is_hidden_is_marked() -> None:
    made = known_motion("occlusion", frames=2, size=(120, 90))
    assert not made.flow_seen_THW.all()
    assert (
        known_motion("occlusion", frames=2, size=(120, 90)).frames_THWC.tobytes()
        == made.frames_THWC.tobytes()
    )
    for bad in (("circus", {}), ("zoom", {"frames": 0})):
        with pytest.raises(ValueError, match=r"made motion|at least one"):
            known_motion(bad[0], **bad[1])  # type: ignore[arg-type]
