"""The loader: the same clips whoever makes them, nothing replaced, a place to go on from."""

import json
import multiprocessing
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numbered import read_number, read_numbers, write_numbered

from vadis.data.augment import (
    ColourJitter,
    Flip,
    Grey,
    MultiScaleCrop,
    RandomCrop,
    ResizedCrop,
    ShortSide,
    usual_steps,
)
from vadis.data.batches import Batch, FailedExample
from vadis.data.clip_rules import RULES, ClipRule, choose_frames, interval_frames
from vadis.data.clips import read_clips
from vadis.data.frame_cache import FrameCache
from vadis.data.loader import ClipDataset, ClipLoader
from vadis.data.order import Draw, Order, share_of
from vadis.data.reading import Reading
from vadis.records import Box, Dataset, Example, VideoError
from vadis.specs import ClipSpec
from vadis.video.write import VideoWriter

SPEC = ClipSpec(num_frames=4, frame_stride=2, size=64, crop=48, mean=(0.5,) * 3, std=(0.25,) * 3)
NUM_FRAMES = (40, 37, 30, 44, 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five short videos of numbered frames, and one that is no video."""
    root = tmp_path_factory.mktemp("clips")
    for number, num_frames in enumerate(NUM_FRAMES):
        write_numbered(root / f"{number}.mp4", num_frames, first=100 * number)
    (root / "broken.mp4").write_bytes(b"this is not a video" * 50)
    return root


def make_dataset(root: Path, videos: list[str] | None = None, **options: object) -> Dataset:
    """One example a video, two classes in turn."""
    videos = [f"{number}.mp4" for number in range(5)] if videos is None else videos
    examples = tuple(
        Example(video, video.removesuffix(".mp4"), (number % 2,)) for number, video in enumerate(videos)
    )
    return Dataset("made", str(root), "train", ("turning left", "turning right"), examples, **options)


def train_set(dataset: Dataset, **options: object) -> ClipDataset:
    """With every kind of step, so that each one's random numbers count."""
    steps = (
        ShortSide(64, 80),
        ColourJitter(0.2, 0.2, 0.2, 0.1),
        Grey(0.3),
        RandomCrop(48),
        Flip(mirror=(1, 0)),
    )
    return ClipDataset(dataset, SPEC, steps=steps, **{"seed": 3, **options})  # type: ignore[arg-type]


def flat(batches: list[Batch]) -> list[tuple[bytes, bytes, bytes, tuple[int, ...]]]:
    """Batches in a form that compares to the bit."""
    return [
        (
            batch.clip_BCTHW().numpy().tobytes(),
            batch.labels.numpy().tobytes(),
            batch.indices_B.numpy().tobytes(),
            tuple(item.draw.index for item in batch.failed),
        )
        for batch in batches
    ]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose
def test_the_same_clips_whatever_the_number_of_workers(folder: Path) -> None:
    dataset = make_dataset(folder, ["0.mp4", "broken.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4"])
    seen = []
    for workers in (0, 1, 2, 3):
        loader = ClipLoader(train_set(dataset), 4, order=Order(repeats=2), workers=workers)
        seen.append(flat([batch for _ in range(2) for batch in loader]))
    assert len(seen[0]) == 6
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert seen[0][:3] != seen[0][3:]  # another epoch, other clips


def test_a_clip_depends_on_seed_epoch_index_and_repeat_only(folder: Path) -> None:
    clips = train_set(make_dataset(folder))
    one = clips[Draw(1, 0, 0)].pixels_VTCHW
    torch.rand(3), np.random.rand(3)
    assert torch.equal(one, clips[Draw(1, 0, 0)].pixels_VTCHW)
    for other in (Draw(2, 0, 0), Draw(1, 0, 1), Draw(1, 1, 0)):
        assert not torch.equal(one, clips[other].pixels_VTCHW)
    assert not torch.equal(one, train_set(make_dataset(folder), seed=4)[Draw(1, 0, 0)].pixels_VTCHW)


def test_a_loader_leaves_the_global_random_states_alone(folder: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    list(ClipLoader(train_set(make_dataset(folder)), 2, workers=0))
    list(ClipLoader(train_set(make_dataset(folder)), 2, workers=1))
    assert torch.equal(torch.rand(2), expected)


# What a clip shows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"whole"}))
def test_clips_show_the_frames_that_the_rule_names(folder: Path, rule: str) -> None:
    example = Example("1.mp4", "1")
    clips = read_clips(example, folder, SPEC, ClipRule(rule, 2), rng=np.random.default_rng(0))
    assert clips.indices_NT.shape == (2, 4)
    for frames_THWC, indices_T in zip(clips.clips, clips.indices_NT, strict=True):
        assert read_numbers(frames_THWC) == [100 + index for index in indices_T]


def test_the_interval_bounds_the_clip(folder: Path) -> None:
    example = Example("0.mp4", "0", start_seconds=0.4, end_seconds=0.8)  # frames 10 to 19 at 25 fps
    drawn = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        drawn |= set(read_clips(example, folder, SPEC, ClipRule(), rng=rng).indices_NT.ravel().tolist())
    assert drawn == set(range(10, 20))


def test_frames_at_another_rate(folder: Path) -> None:
    times_T = np.arange(100) / 25
    spec = ClipSpec(num_frames=5, frame_stride=2, fps=10, size=64, crop=48)
    indices_NT = choose_frames(Example("x", "x", start_seconds=1.0), times_T, spec, ClipRule("whole"), None)
    # ticks at 1.0, 1.1 ... s show frames floor(25 + 2.5 k)
    assert indices_NT[0].tolist() == [25 + int(2.5 * k) for k in range(30)]
    uniform = choose_frames(Example("x", "x"), times_T, spec, ClipRule("uniform"), None)
    first = (40 - 9) // 2
    assert uniform[0].tolist() == [int(2.5 * (first + 2 * k)) for k in range(5)]


def test_intervals_at_the_edges() -> None:
    times_T = np.arange(50) / 25 + 0.02
    inside = Example("x", "x", start_seconds=0.5, end_seconds=0.5)
    assert interval_frames(inside, times_T, "x") == (
        12,
        13,
    )  # shown at 0.5 s: the frame of 0.5 = 12 / 25 + 0.02
    assert interval_frames(Example("x", "x", end_seconds=99.0), times_T, "x") == (0, 50)
    for start, end in ((5.0, 6.0), (None, 0.0)):
        with pytest.raises(VideoError, match=r"clip (begins|ends) at"):
            interval_frames(Example("x", "x", start_seconds=start, end_seconds=end), times_T, "x")


def test_a_folder_of_frames_has_the_rate_of_its_dataset(tmp_path: Path) -> None:
    from numbered import draw_number
    from PIL import Image

    (tmp_path / "frames").mkdir()
    for number in range(20):
        Image.fromarray(draw_number(number)).save(tmp_path / f"frames/img_{number + 1:05d}.png")
    example = Example("frames", "f", start_seconds=1.0, end_seconds=2.0, fps=5.0)
    clips = read_clips(example, tmp_path, SPEC, ClipRule("whole"))
    assert read_numbers(clips.clips[0]) == [5, 6, 7, 8, 9]


def test_only_the_clip_is_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vadis.video.decode import Video

    asked = []
    fetch = Video.clips
    monkeypatch.setattr(Video, "clips", lambda self, clips: asked.append(clips) or fetch(self, clips))
    train_set(make_dataset(folder))[Draw(0, 0)]
    assert len(asked) == 1
    assert len(asked[0][0]) == SPEC.num_frames


def test_views_of_a_test(folder: Path) -> None:
    for crops, per_clip in (("centre", 1), ("three", 3), ("ten", 10)):
        clips = ClipDataset(
            make_dataset(folder), SPEC, rule=ClipRule("uniform", 2), crops=crops, training=False
        )
        (batch,) = ClipLoader(clips, 5, workers=0)
        assert batch.pixels_VTCHW.shape == (5 * 2 * per_clip, 4, 3, 48, 48)
        assert batch.views_per_example == 2 * per_clip
        assert batch.indices_B.tolist() == [0, 1, 2, 3, 4]
        clip_BCTHW = batch.clip_BCTHW()
        assert clip_BCTHW.shape == (10 * per_clip, 3, 4, 48, 48)
        assert batch.times_VT.shape == (10 * per_clip, 4)
        steps_VT = batch.times_VT.diff(dim=1)  # the shortest video (9 frames at 25 fps) holds the clip, too
        assert torch.allclose(steps_VT, torch.full_like(steps_VT, 2 / 25))
        assert torch.equal(batch.times_VT[0], batch.times_VT[per_clip - 1])
        expected = (batch.pixels_VTCHW[0, 2, 1].float() / 255 - 0.5) / 0.25
        assert torch.allclose(clip_BCTHW[0, 1, 2], expected, atol=1e-5)


def test_evaluation_takes_no_random_rule(folder: Path) -> None:
    with pytest.raises(ValueError, match="uniform"):
        ClipDataset(make_dataset(folder), SPEC, training=False)


def test_labels(folder: Path) -> None:
    examples = (Example("0.mp4", "a", (0, 2)), Example("1.mp4", "b", ()), Example("2.mp4", "c", (1,)))
    many = Dataset("many", str(folder), "train", ("a", "b", "c"), examples, multi_label=True)
    (batch,) = ClipLoader(ClipDataset(many, SPEC), 3, order=Order(shuffle=False), workers=0)
    assert batch.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    one = Dataset("one", str(folder), "test", ("a", "b", "c"), examples[1:])
    (batch,) = ClipLoader(ClipDataset(one, SPEC), 3, order=Order(shuffle=False), workers=0)
    assert batch.labels.tolist() == [-1, 1]


def test_a_flip_changes_the_label_of_a_direction() -> None:
    frames_TCHW = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    generator = torch.Generator()
    flipped, labels = Flip(1.0, mirror=(1, 0, 2))(frames_TCHW, (0, 2), generator)
    assert labels == (1, 2)
    assert torch.equal(flipped, frames_TCHW.flip(-1))
    same, labels = Flip(1.0, mirror=(None, 1))(frames_TCHW, (0, 1), generator)
    assert labels == (0, 1)
    assert torch.equal(same, frames_TCHW)
    names = ["turning left", "turning right"]
    assert usual_steps(SPEC, names)[2] == Flip(mirror=(1, 0))
    assert usual_steps(SPEC)[:2] == (ShortSide(64, 80), RandomCrop(48))


def test_boxes_are_where_their_objects_are(tmp_path: Path) -> None:
    """A white square on black, in a file: found again in every view, in training and evaluation."""
    frames = np.zeros((12, 64, 96, 3), np.uint8)
    frames[:, 20:40, 42:66] = 255
    with VideoWriter(tmp_path / "square.mp4", 25) as writer:
        for frame in frames:
            writer.write(frame)
    square = Box(42 / 96, 20 / 64, 66 / 96, 40 / 64, (0,))
    corner = Box(0, 0, 0.02, 0.02, (1,))  # which most crops leave out
    example = Example("square.mp4", "a", (0,), boxes=(corner, square))
    dataset = Dataset("made", str(tmp_path), "train", ("turning left", "turning right"), (example,))
    training = train_set(dataset, boxes=True)
    evaluation = ClipDataset(dataset, SPEC, rule=ClipRule("uniform"), crops="ten", training=False, boxes=True)
    order = Order(shuffle=False, repeats=16)
    (batch,) = ClipLoader(training, 16, order=order, workers=0)
    (tested,) = ClipLoader(evaluation, 8, order=Order(shuffle=False), workers=0)
    mirrored = set()
    for found, num_views in ((batch, 16), (tested, 10)):
        boxes = found.boxes
        assert boxes is not None
        assert found.num_views == num_views
        assert int((boxes.number_M == 0).sum()) < num_views
        for view, number, box_4, share, own in zip(
            boxes.view_M.tolist(), boxes.number_M, boxes.boxes_M4, boxes.share_M, boxes.labels, strict=True
        ):
            if number == 1 and share > 0.2:
                white_HW = found.pixels_VTCHW[view, 1, 0] > 127  # type: ignore[call-overload, index]
                down, across = white_HW.any(1).nonzero()[:, 0], white_HW.any(0).nonzero()[:, 0]
                edges = torch.stack([across[0], down[0], across[-1] + 1, down[-1] + 1]) / SPEC.crop
                assert torch.allclose(edges, box_4, atol=2 / SPEC.crop), (view, edges, box_4)
                if found is batch:
                    assert own == (int(batch.labels[view]),)  # the mirror changes both
                    mirrored.add(own)
    assert mirrored == {(0,), (1,)}
    assert int((tested.boxes.number_M == 0).sum()) == 2  # type: ignore[union-attr]  # that corner, and mirrored
    plain = flat(list(ClipLoader(train_set(dataset), 16, order=order, workers=0)))
    assert flat([batch])[0][0] == plain[0][0]  # asking for boxes changes no pixel
    first, second = tested.split(5)
    assert first.boxes is not None
    assert second.boxes is not None
    assert len(first.boxes.view_M) + len(second.boxes.view_M) == len(tested.boxes.view_M)  # type: ignore[union-attr]
    assert int(second.boxes.view_M.max()) == 4
    assert next(iter(ClipLoader(train_set(dataset), 1, workers=0))).boxes is None


@pytest.mark.parametrize("step", [MultiScaleCrop(32), ResizedCrop(32)])
def test_crops_give_their_size(step: MultiScaleCrop | ResizedCrop) -> None:
    frames_TCHW = torch.zeros(2, 3, 60, 80, dtype=torch.uint8)
    assert step(frames_TCHW, (1,), torch.Generator())[0].shape == (2, 3, 32, 32)


def test_clips_of_different_sizes_are_refused(folder: Path, tmp_path: Path) -> None:
    write_numbered(tmp_path / "wide.mp4", 20, size=(160, 64))
    (tmp_path / "0.mp4").write_bytes((folder / "0.mp4").read_bytes())
    clips = ClipDataset(make_dataset(tmp_path, ["wide.mp4", "0.mp4"]), SPEC, crops="none")
    with pytest.raises(ValueError, match="end the steps with a crop"):
        list(ClipLoader(clips, 2, workers=0))


# What cannot be read -------------------------------------------------------------------------------------


def test_broken_files_are_skipped_counted_and_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = make_dataset(folder, ["0.mp4", "broken.mp4", "absent.mp4", "1.mp4"])
    loader = ClipLoader(train_set(dataset), 2, order=Order(shuffle=False), workers=0)
    batches = [batch for _ in range(2) for batch in loader]
    assert [batch.num_valid for batch in batches] == [1, 1, 1, 1]
    assert [item.id for item in batches[0].failed] == ["broken"]
    assert batches[1].failed[0].failure.kind == "not_found"
    assert {item.id: item.count for item in loader.skipped.values()} == {"broken": 2, "absent": 2}
    report = loader.report()
    assert "2 examples could not be read (4 clips)" in report
    assert "2 x broken" in report
    assert sum("broken" in message for message in caplog.messages) == 1


def test_evaluation_yields_a_failure_for_each_file(folder: Path) -> None:
    dataset = make_dataset(folder, ["broken.mp4", "0.mp4"])
    clips = ClipDataset(dataset, SPEC, rule=ClipRule("uniform"), training=False)
    first, second = ClipLoader(clips, 1, workers=1)
    assert isinstance(first.failed[0], FailedExample)
    assert (first.failed[0].labels, first.num_valid, second.num_valid) == ((0,), 0, 1)


def test_a_batch_may_be_empty(folder: Path) -> None:
    dataset = make_dataset(folder, ["broken.mp4"])
    (batch,) = ClipLoader(train_set(dataset), 2, workers=0)
    clip_BCTHW = batch.clip_BCTHW()
    assert clip_BCTHW.shape == (0, 3, 4, 48, 48)
    layer = torch.nn.Conv3d(3, 2, 1)
    loss = layer(clip_BCTHW).sum() / max(1, batch.num_valid)
    loss.backward()  # a process with nothing to do still steps
    assert layer.weight.grad is not None
    assert float(layer.weight.grad.abs().sum()) == 0


def test_damaged_frames_are_no_training_data(tmp_path: Path) -> None:
    path = write_numbered(tmp_path / "0.avi", 48, codec="mpeg4", b_frames=0, gop=12)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = os.urandom(3000)
    path.write_bytes(data)
    dataset = make_dataset(tmp_path, ["0.avi"])
    spec = ClipSpec(num_frames=40, size=64, crop=48)
    skipped = ClipDataset(dataset, spec, rule=ClipRule("uniform"))[0]
    assert isinstance(skipped, FailedExample)
    clips = ClipDataset(dataset, spec, rule=ClipRule("uniform"), training=False)
    loader = ClipLoader(clips, 1, workers=0)
    (batch,) = loader
    assert batch.damaged == (0,)
    assert "damaged or end early" in loader.report()


# Order ---------------------------------------------------------------------------------------------------


def test_an_epoch_draws_each_example_once() -> None:
    labels = [(0,)] * 7 + [(1,)] * 3
    epochs = [[draw.index for draw in Order().draws(labels, 5, epoch)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [draw.index for draw in Order(shuffle=False).draws(labels, 5, 1)] == list(range(10))


def test_balance() -> None:
    labels = [(0,)] * 90 + [(1,)] * 9 + [(2,)]
    counts = {}
    for balance in (0.0, 0.5, 1.0):
        draws = Order(balance=balance, num_draws=300).draws(labels, 0, 0)
        counts[balance] = [sum(labels[draw.index] == (label,) for draw in draws) for label in range(3)]
        assert len({(draw.index, draw.repeat) for draw in draws}) == 300  # each a clip of its own
    assert counts[1.0] == [100, 100, 100]
    assert counts[0.0] == [270, 27, 3]
    share = np.sqrt([90, 9, 1])
    assert np.abs(counts[0.5] - 300 * share / share.sum()).max() < 1
    draws = Order(balance=1.0, num_draws=300).draws(labels, 0, 0)
    used = np.bincount([draw.index for draw in draws], minlength=100)
    assert (used[:90].min(), used[:90].max()) == (1, 2)  # a class takes its examples in turn


def test_examples_of_several_classes_count_for_the_rarest() -> None:
    labels = [(0,)] * 8 + [(0, 1)] * 2
    draws = Order(balance=1.0).draws(labels, 0, 0)
    assert sum(draw.index >= 8 for draw in draws) == 5


def test_repeats_stand_side_by_side() -> None:
    draws = Order(repeats=3).draws([(0,)] * 4, 0, 2)
    assert [draw.repeat for draw in draws] == [0, 1, 2] * 4
    assert all(draws[at].index == draws[at + 2].index for at in range(0, 12, 3))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_each_global_batch(world_size: int) -> None:
    draws = [Draw(0, index) for index in range(21)]
    size = 8 // world_size
    for batch in range(3):
        parts = [share_of(draws, batch, size, rank, world_size) for rank in range(world_size)]
        assert [draw for part in parts for draw in part] == draws[8 * batch : 8 * batch + 8]
        assert all(len(part) <= size for part in parts)


def test_every_process_has_as_many_batches(folder: Path) -> None:
    dataset = make_dataset(folder)
    shares = [
        list(ClipLoader(train_set(dataset), 2, rank=rank, world_size=2, workers=0)) for rank in range(2)
    ]
    assert [len(share) for share in shares] == [2, 2]
    assert [batch.num_valid for share in shares for batch in share] == [2, 0, 2, 1]
    whole = list(ClipLoader(train_set(dataset), 4, workers=0))
    for batch, *parts in zip(whole, *shares, strict=True):
        assert torch.equal(batch.pixels_VTCHW, torch.cat([part.pixels_VTCHW for part in parts]))


# Going on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0)])
def test_going_on_from_a_state(folder: Path, before: int, after: int) -> None:
    dataset = make_dataset(folder, ["0.mp4", "1.mp4", "broken.mp4", "2.mp4", "3.mp4", "4.mp4"])
    loader = ClipLoader(train_set(dataset), 2, workers=0)
    whole = [batch for _ in range(2) for batch in loader]
    for stop in (1, 3, 4):
        first = ClipLoader(train_set(dataset), 2, workers=before)
        for count, _ in enumerate((batch for _ in range(2) for batch in first), 1):
            if count == stop:
                state = json.loads(json.dumps(first.state_dict()))
                break
        second = ClipLoader(train_set(dataset), 2, workers=after)
        second.load_state_dict(state)
        rest = []
        while second.epoch < 2:
            rest += list(second)
        assert flat(rest) == flat(whole[stop:])
        assert second.report() == loader.report()


def test_a_state_of_other_data_is_refused(folder: Path) -> None:
    state = ClipLoader(train_set(make_dataset(folder)), 2, workers=0).state_dict()
    others = [
        ClipLoader(train_set(make_dataset(folder, ["0.mp4"])), 2, workers=0),
        ClipLoader(train_set(make_dataset(folder), seed=9), 2, workers=0),
        ClipLoader(train_set(make_dataset(folder)), 3, workers=0),
        ClipLoader(train_set(make_dataset(folder)), 2, order=Order(balance=1), workers=0),
    ]
    for other in others:
        with pytest.raises(ValueError, match="another order"):
            other.load_state_dict(state)
    ClipLoader(train_set(make_dataset(folder)), 1, rank=1, world_size=2, workers=0).load_state_dict(state)


def test_leaving_an_epoch_early_starts_no_other(folder: Path) -> None:
    loader = ClipLoader(train_set(make_dataset(folder)), 2, workers=2)
    seen = []
    for batch in loader:
        seen.append(batch)
        break
    seen += list(loader)  # the rest of the epoch
    assert flat(seen) == flat(list(ClipLoader(train_set(make_dataset(folder)), 2, workers=0)))


# The cache -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [None, 90])
def test_the_cache_changes_no_clip(folder: Path, tmp_path: Path, quality: int | None) -> None:
    dataset = make_dataset(folder)
    cache = FrameCache(tmp_path / "cache", 64, 2**30, quality)
    tiny = FrameCache(tmp_path / "tiny", 64, 1000, quality)
    readings = [Reading(cache=each) for each in (cache, cache, tiny)]
    runs = [flat(list(ClipLoader(train_set(dataset, reading=each), 2, workers=0))) for each in readings]
    assert runs[0] == runs[1] == runs[2]
    assert cache.num_bytes() > 0
    assert tiny.num_bytes() == 0
    if quality is None:  # frames of this size need no resizing, so the cache is exact
        assert runs[0] == flat(list(ClipLoader(train_set(dataset), 2, workers=0)))


def test_a_second_epoch_opens_no_video(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FrameCache(tmp_path, 64, 2**30)
    clips = train_set(make_dataset(folder), reading=Reading(cache=cache))
    first = clips[Draw(0, 1)]
    monkeypatch.setattr("vadis.data.clips.Video", None)
    assert torch.equal(first.pixels_VTCHW, clips[Draw(0, 1)].pixels_VTCHW)
    clips[Draw(7, 1)]


def put(cache: FrameCache, key: str, shade: int = 0) -> None:
    """An entry of about 3 kB."""
    frames_THWC = np.full((1, 32, 32, 3), shade, np.uint8)
    cache.put(key, frames_THWC, np.zeros(1), 0, [], False)


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, 32, 10_000)
    for number, key in enumerate(("aa", "bb", "cc")):
        put(cache, key)
        os.utime(tmp_path / key / f"{key}.frames", (number, number))
    entry = cache.get("aa")  # used again
    assert entry is not None
    with entry:
        pass
    put(cache, "dd")
    assert [cache.get(key) is not None for key in ("aa", "bb", "cc", "dd")] == [True, False, False, True]
    assert cache.num_bytes() <= 10_000
    cache.clear()
    assert cache.num_bytes() == 0


def test_half_an_entry_is_none(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, 32, 10_000)
    put(cache, "aa", 7)
    path = tmp_path / "aa" / "aa.frames"
    path.write_bytes(path.read_bytes()[:40])
    assert cache.get("aa") is None
    assert not path.exists()


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    cache = FrameCache(tmp_path / "cache", 64, 2**30)
    reading = Reading(cache=cache)
    for first in (0, 500):
        write_numbered(tmp_path / "0.mp4", 12, first=first)
        clips = read_clips(Example("0.mp4", "0"), tmp_path, SPEC, ClipRule("uniform"), reading=reading)
        number = read_number(clips.clips[0][0])
        assert number is not None
        assert number // 500 == first // 500


def fill(folder: str, worker: int) -> None:
    """What one of several processes does to a shared cache."""
    cache = FrameCache(folder, 32, 20_000)
    rng = np.random.default_rng(worker)
    for _ in range(60):
        key = f"{int(rng.integers(16)):02d}"
        entry = cache.get(key)
        if entry is None:
            put(cache, key, int(key))
        else:
            with entry:
                assert (entry.frames([0]) == int(key)).all()


def test_processes_share_the_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=fill, args=(str(tmp_path), worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert 0 < FrameCache(tmp_path, 32, 20_000).num_bytes() <= 20_000
    assert not list(tmp_path.rglob("*.part"))


# Tar files -----------------------------------------------------------------------------------------------


def test_a_video_inside_a_tar_file(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "000000.tar", "w") as tar:
        tar.add(folder / "2.mp4", "two.mp4")
    shards = Dataset("s", str(tmp_path), "train", ("a",), (Example("000000.tar/two.mp4", "two", (0,)),))
    files = Dataset("f", str(folder), "train", ("a",), (Example("2.mp4", "two", (0,)),))
    one, other = (train_set(dataset)[Draw(0, 0)] for dataset in (shards, files))
    assert torch.equal(one.pixels_VTCHW, other.pixels_VTCHW)
    with pytest.raises(VideoError, match="no member three"):
        read_clips(Example("000000.tar/three.mp4", "3"), tmp_path, SPEC, ClipRule("uniform"))
