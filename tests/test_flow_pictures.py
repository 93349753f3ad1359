"""Flow on disk as pictures, through the same loader: values, order, stacks, mirrors, and what is missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vadis.data import folders
from vadis.data.augment import Flip, RandomCrop
from vadis.data.batches import FailedExample
from vadis.data.clip_rules import ClipRule
from vadis.data.clips import read_clips
from vadis.data.flow_pictures import FlowPictures, find_pictures
from vadis.data.loader import ClipDataset, ClipLoader
from vadis.data.made import write_clip, write_flow, write_frames
from vadis.models import create_model
from vadis.records import Dataset, Example, VideoError
from vadis.specs import ClipSpec

SPEC = ClipSpec("flow", 4, 1, None, 48, 32, (0.0, 0.0), (1.0, 1.0), (-1.0, 1.0))
NUM_FIELDS = 11


def write_fields(folder: Path, names: tuple[str, str] = ("flow_x_%05d.png", "flow_y_%05d.png")) -> None:
    """Field i: u is 10 i everywhere, v is 200 on the left half and 50 on the right."""
    folder.mkdir(parents=True, exist_ok=True)
    v_HW = np.full((48, 64), 200, np.uint8)
    v_HW[:, 32:] = 50
    for number in range(NUM_FIELDS):
        Image.new("L", (64, 48), 10 * number).save(folder / (names[0] % (number + 1)))
        Image.fromarray(v_HW).save(folder / (names[1] % (number + 1)))


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Example]:
    """A folder of frames with brackets in its name, flow beside the frames."""
    root = tmp_path_factory.mktemp("flow")
    write_frames(root / "a_[film]_(2)", "img_%05d.jpg", 0, num_frames=NUM_FIELDS + 1)
    write_fields(root / "a_[film]_(2)")
    patterns = ("a_[film]_(2)/flow_x_*.png", "a_[film]_(2)/flow_y_*.png")
    return root, Example("a_[film]_(2)", "a", (1,), fps=25.0, flow=patterns)


def dataset(root: Path, *examples: Example) -> Dataset:
    return Dataset("d", str(root), "train", ("to the left", "to the right"), examples)


def test_clips_are_the_fields(example: tuple[Path, Example]) -> None:
    root, one = example
    clips = read_clips(one, root, SPEC, ClipRule("uniform", 2))
    assert clips.indices_NT.tolist() == [[0, 1, 2, 3], [7, 8, 9, 10]]
    assert clips.clips[1].shape == (4, 48, 64, 2)
    assert clips.clips[1][:, 0, 0].tolist() == [[70, 200], [80, 200], [90, 200], [100, 200]]
    small = read_clips(one, root, SPEC, ClipRule("uniform"), short_side=24)
    assert small.clips[0].shape == (4, 24, 32, 2)
    part = replace(one, start_seconds=0.2, end_seconds=0.4)
    assert read_clips(part, root, SPEC, ClipRule("whole")).indices_NT.tolist() == [[5, 6, 7, 8, 9]]


def test_stacks_are_channels(example: tuple[Path, Example]) -> None:
    """u and v of successive fields in turn; past the end the last field stands again."""
    root, one = example
    spec = ClipSpec("flow", 1, 1, None, 48, 32, (0.0,) * 2, (1.0,) * 2, (-1.0, 1.0), stack=3)
    clips = read_clips(one, root, spec, ClipRule("uniform", NUM_FIELDS))
    assert clips.clips[0][0, 0, 0].tolist() == [0, 200, 10, 200, 20, 200]
    assert clips.clips[-1][0, 0, 0].tolist() == [100, 200] * 3


def test_a_network_gets_flow_divided_by_20(example: tuple[Path, Example]) -> None:
    root, one = example
    clips = ClipDataset(dataset(root, one), SPEC, rule=ClipRule("uniform"), crops="ten", training=False)
    (batch,) = ClipLoader(clips, 1, workers=0)
    clip = batch.clip_BCTHW()
    assert clip.shape == (10, 2, 4, 32, 32)
    field = clip[0, :, 3, 0, 0] * 20  # in pixels a frame
    assert field.tolist() == pytest.approx([60 / 255 * 40 - 20, 200 / 255 * 40 - 20], abs=1e-4)
    assert torch.allclose(clip[1, 0], -clip[0, 0].flip(-1), atol=1e-6), "mirrored, u changes its sign"
    assert torch.allclose(clip[1, 1], clip[0, 1].flip(-1), atol=1e-6), "v does not"
    model = create_model("i3d_inception_flow", num_classes=2, tiny=True)
    assert model(clip[:1].repeat_interleave(4, 2)).shape == (1, 2)


def test_training_mirrors_flow_with_its_labels(example: tuple[Path, Example]) -> None:
    root, one = example
    steps = (RandomCrop(32), Flip(1.0, (1, 0), "flow"))
    clips = ClipDataset(dataset(root, one), SPEC, rule=ClipRule("random"), steps=steps, seed=1)
    plain = ClipDataset(dataset(root, one), SPEC, rule=ClipRule("random"), steps=steps[:1], seed=1)
    (flipped,), (straight,) = ClipLoader(clips, 1, workers=1), ClipLoader(plain, 1, workers=0)
    assert (flipped.labels.tolist(), straight.labels.tolist()) == ([0], [1])
    assert torch.equal(flipped.pixels_VTCHW[:, :, 0], 255 - straight.pixels_VTCHW[:, :, 0].flip(-1))
    assert torch.equal(flipped.pixels_VTCHW[:, :, 1], straight.pixels_VTCHW[:, :, 1].flip(-1))


def test_flow_of_a_video_in_its_own_folders(tmp_path: Path) -> None:
    """Class folders with flow beside frames; a video file with u/ and v/; the rate is the video's own."""
    for name in ("pour", "stir"):
        made = write_frames(tmp_path / "own" / name / "x", "img_%05d.jpg", 0, num_frames=8)
        write_flow(tmp_path / "own" / name / "x", ("flow_x_%05d.jpg", "flow_y_%05d.jpg"), made)
    found = folders.read(tmp_path / "own")
    (batch,) = ClipLoader(ClipDataset(found, SPEC, rule=ClipRule("uniform"), training=False), 2, workers=0)
    assert batch.num_valid == 2
    write_clip(tmp_path / "v.avi", 0, num_frames=NUM_FIELDS + 1)
    write_fields(tmp_path / "flow", ("u%d.png", "v%d.png"))
    video = Example("v.avi", "v", (0,), 0.2, 0.4, flow=("flow/u*.png", "flow/v*.png"))
    assert read_clips(video, tmp_path, SPEC, ClipRule("whole")).indices_NT.tolist() == [[5, 6, 7, 8, 9]]
    (tmp_path / "v.avi").unlink()
    with pytest.raises(VideoError, match="no such file"):
        read_clips(video, tmp_path, SPEC, ClipRule("whole"))
    alone = replace(video, start_seconds=None, end_seconds=None)
    assert read_clips(alone, tmp_path, SPEC, ClipRule("whole")).indices_NT.size == NUM_FIELDS


def test_one_picture_may_hold_both(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (30, 60, 90)).save(tmp_path / "00001.png")
    pictures = FlowPictures(Example("x", "x", flow=("*",)), tmp_path)
    pixels, damaged = pictures.read(np.array([[0]]))
    assert (pixels[0, 0, 0].tolist(), damaged) == ([30, 60], set())


def test_what_is_missing_is_said(example: tuple[Path, Example], tmp_path: Path) -> None:
    root, one = example
    bare = replace(one, flow=())
    failed = ClipDataset(dataset(root, bare), SPEC)[0]
    assert isinstance(failed, FailedExample)
    assert "there are no flow pictures of this video" in failed.failure.message
    assert "put flow pictures beside the frames" in failed.failure.message
    with pytest.raises(VideoError, match=r"no flow picture is called a_\[film\]_\(2\)/z\*"):
        FlowPictures(replace(one, flow=(one.flow[0], "a_[film]_(2)/z*")), root)
    write_fields(tmp_path)
    here = replace(one, video="x", flow=("flow_x_*.png", "flow_y_*.png"))
    (tmp_path / "flow_y_00011.png").unlink()
    with pytest.raises(VideoError, match="11 flow pictures of x, but 10 of y"):
        FlowPictures(here, tmp_path)
    (tmp_path / "flow_x_00011.png").unlink()
    (tmp_path / "flow_x_00003.png").write_bytes(b"nothing")
    clips = read_clips(here, tmp_path, SPEC, ClipRule("whole"))
    assert (clips.num_damaged, clips.clips[0][:4, 0, 0, 0].tolist()) == (1, [0, 10, 10, 30])
    (tmp_path / "flow_x_00001.png").write_bytes(b"nothing")
    with pytest.raises(VideoError, match=r"flow_x_00001\.png cannot be read"):
        read_clips(here, tmp_path, SPEC, ClipRule("whole"))
    write_clip(tmp_path / "v.avi", 0, num_frames=5)
    with pytest.raises(VideoError, match="10 flow pictures, but the video has 5 frames"):
        read_clips(replace(here, video="v.avi", fps=None), tmp_path, SPEC, ClipRule("uniform"))


def test_other_modalities_are_refused() -> None:
    for spec, message in (
        (replace(SPEC, modality="depth"), "the network takes 'depth'"),
        (replace(SPEC, modality="features"), "vadis extract"),
        (replace(SPEC, mean=(0.0,) * 3, std=(1.0,) * 3), "2 channels a field"),
    ):
        with pytest.raises(ValueError, match=message):
            ClipDataset(dataset(Path()), spec)


def test_only_a_star_in_the_name_means_anything(tmp_path: Path) -> None:
    for name in ("a10.jpg", "a2.jpg", "a.jpg", "b1.jpg", "a1.txt", ".a1.jpg"):
        (tmp_path / name).touch()
    assert [path.name for path in find_pictures(tmp_path, "a*.jpg")] == ["a2.jpg", "a10.jpg", "a.jpg"]
    assert [path.name for path in find_pictures(tmp_path, "b1.jpg")] == ["b1.jpg"]
    assert find_pictures(tmp_path, "none/*") == []
