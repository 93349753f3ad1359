"""Resizing what a player shows: the same pixels as from turning first and resizing then."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest
from numbered import MATRICES, patch_matrix
from PIL import Image

from vadis.video.decode import decode
from vadis.video.scale import scaled_size


@pytest.mark.parametrize("with_torch", [False, True])
@pytest.mark.parametrize("degrees", sorted(MATRICES))
def test_turned_pictures_are_resized_as_they_are_shown(
    degrees: int, with_torch: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if with_torch:
        pytest.importorskip("torch")
    else:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    path = tmp_path / "noise.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for _ in range(2):
            picture = rng.integers(0, 256, (180, 320, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    patch_matrix(path, MATRICES[degrees])
    shown = decode(path).frames_THWC
    small = decode(path, short_side=64).frames_THWC
    size = scaled_size(shown.shape[2], shown.shape[1], 64)
    theirs = np.stack(
        [
            np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BILINEAR))
            for image in shown
        ]
    )
    difference = np.abs(small.astype(int) - theirs)
    assert difference.max() <= 1
    assert difference.mean() < (0.02 if with_torch else 0.01)  # 0.2 where rows go before columns
