"""The two benchmarks that need no download, as arrays on the way or as a folder of videos.

    clips = Made("shapes", split=1, part="train")  # frames_THWC, label = clips[0]
    make("mocap15", "out/mocap15", clips_per_class=24)  # out/mocap15/train/<class>/*.mp4, test/...

Clip i of a class belongs to fold i % 3 + 1; split k tests on fold k and trains on the other two. So the
three official splits share their clips, each clip is tested once, and one folder serves all three: its
folders `train` and `test` are those of one split, `read(folder, "train2")` gives any. What a clip shows
follows from (seed, fold, class, index) alone: more clips per class leave the first ones as they were.

`benchmark.json` in the folder lists every clip with its parameters. It is written first; a video appears
under its name only when it is whole. So a stopped run goes on where it was: videos that stand are kept.

Videos are coded frame by frame (`intra`): with the usual prediction from frame to frame a picture's sharpness
would tell its place in the file, and so the direction of time, to networks that cannot see order otherwise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from vadis.data import mocap15, shapes
from vadis.data.shape_sounds import SAMPLE_RATE, draw_sound
from vadis.records import DataError, Dataset, Example
from vadis.video.audio import HeldSound
from vadis.video.write import VideoWriter, part_file

BENCHMARKS: dict[str, ModuleType] = {"shapes": shapes, "mocap15": mocap15}
SPLITS = (1, 2, 3)
PARTS = ("train", "test")
MANIFEST = "benchmark.json"
VERSION = 1
"""Of what the benchmarks draw: raised whenever a clip of the same parameters changes."""

DEFAULT_CLIPS = {"shapes": 60, "mocap15": 24}
"""Clips of a class, all three folds together."""

_QUANTISER = 14  # of the written videos: pixels differ by 2 grey levels on average, edges of colour by more
_ALONE = 24  # so few clips are drawn sooner by one process than several need to start


@dataclass(frozen=True)
class Settings:
    """What a folder of a benchmark holds; `size` in pixels, `split` the one that its folders show."""

    benchmark: str
    split: int = 1
    clips_per_class: int = 24
    size: int = 128
    num_frames: int = 32
    point_lights: bool = False
    seed: int = 0
    sound: bool = False

    def __post_init__(self) -> None:
        if self.benchmark not in BENCHMARKS:
            raise ValueError(f"no benchmark is called {self.benchmark!r}; there are {', '.join(BENCHMARKS)}")
        if self.split not in SPLITS:
            raise ValueError(f"{self.benchmark} has the splits 1, 2 and 3, not {self.split}")
        if self.clips_per_class < 3:
            raise ValueError(
                f"each of the three folds needs a clip of each class; got {self.clips_per_class} a class"
            )
        if self.size % 2 or self.size < 32 or self.num_frames < 4 or self.seed < 0:
            raise ValueError(
                "clips have an even size of at least 32 pixels, at least 4 frames and a seed of at least 0, "
                f"got {self.size}, {self.num_frames} and {self.seed}"
            )
        if self.point_lights and self.benchmark != "mocap15":
            raise ValueError("only mocap15 can be shown as point lights")
        if self.sound and self.benchmark != "shapes":
            raise ValueError("only shapes can be heard; mocap15 has no sound")

    @property
    def source(self) -> ModuleType:
        """The module that plans and draws the clips."""
        return BENCHMARKS[self.benchmark]


@dataclass(frozen=True)
class Clip:
    """One clip of a benchmark: the file's name in the folder, its class, its fold, and what it shows."""

    video: str
    class_name: str
    fold: int
    index: int
    plan: dict[str, Any]

    @property
    def group(self) -> str:
        """Clips that must stay together: those of one fold; in reversed pairs, film and reversed film."""
        return f"fold{self.fold}"


def settings_of(
    benchmark: str,
    *,
    split: int = 1,
    clips_per_class: int | None = None,
    size: int | None = None,
    num_frames: int | None = None,
    point_lights: bool = False,
    seed: int = 0,
    sound: bool = False,
) -> Settings:
    """Settings with the benchmark's own defaults (size in pixels) where None. Raises ValueError."""
    source = BENCHMARKS.get(benchmark, shapes)
    return Settings(
        benchmark,
        split,
        DEFAULT_CLIPS.get(benchmark, 24) if clips_per_class is None else clips_per_class,
        source.SIZE if size is None else size,
        source.NUM_FRAMES if num_frames is None else num_frames,
        point_lights,
        seed,
        sound,
    )


def list_clips(settings: Settings) -> Iterator[Clip]:
    """Every clip, class by class; both parts."""
    heard = {"sound": True} if settings.sound else {}
    for class_name in settings.source.CLASS_NAMES:
        for number in range(settings.clips_per_class):
            fold, index = number % 3 + 1, number // 3
            part = "test" if fold == settings.split else "train"
            yield Clip(
                f"{part}/{class_name}/{fold}_{index:04d}.mp4",
                class_name,
                fold,
                index,
                settings.source.plan_clip(class_name, fold, index, settings.seed, **heard),
            )


def draw(settings: Settings, plan: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """The frames_THWC (uint8 RGB) of one plan."""
    options = {"point_lights": True} if settings.point_lights else {}
    frames: npt.NDArray[np.uint8] = settings.source.draw_clip(
        plan, settings.size, settings.num_frames, **options
    )
    return frames


def draw_track(settings: Settings, plan: dict[str, Any]) -> npt.NDArray[np.float32] | None:
    """The sound of one plan, as long as its frames: wave_S, mono, at `shape_sounds.SAMPLE_RATE`.

    None where there is none.
    """
    heard = plan.get("sound")
    return None if heard is None else draw_sound(heard, settings.num_frames / settings.source.FPS)


class Made:
    """One part of one split, drawn when asked for: `made[i]` is (frames_THWC uint8 RGB, label).

    The same arguments give the same frames on one machine, whatever was drawn before, in any process.
    The arguments are those of `settings_of`; ValueError for a part that is not "train" or "test".
    """

    def __init__(self, benchmark: str, split: int = 1, part: str = "train", **options: Any) -> None:
        if part not in PARTS:
            raise ValueError(f"a split has the parts train and test, not {part!r}")
        self.settings = settings_of(benchmark, split=split, **options)
        clips = list_clips(self.settings)
        self.clips = tuple(clip for clip in clips if clip.video.startswith(f"{part}/"))
        self.class_names: tuple[str, ...] = self.settings.source.CLASS_NAMES
        self.class_groups: dict[str, tuple[int, ...]] = self.settings.source.CLASS_GROUPS

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], int]:
        clip = self.clips[index]
        return draw(self.settings, clip.plan), self.class_names.index(clip.class_name)

    def sound(self, index: int) -> npt.NDArray[np.float32] | None:
        """The sound of `made[index]` where the benchmark is made with `sound=True`: wave_S, mono, 16 kHz."""
        return draw_track(self.settings, self.clips[index].plan)


def make(
    benchmark: str,
    folder: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> tuple[int, int]:
    """Write a benchmark as a folder of videos; returns how many were drawn and how many stood already.

    `options` are those of `settings_of`; `workers` processes draw (None: one a core); `progress` gets (done,
    total). A folder with the same benchmark, seed and sizes is completed or extended. Raises ValueError for
    settings that make no clips and for a folder that holds something else, DownloadError where mocap15
    cannot fetch its motions.
    """
    settings, folder = settings_of(benchmark, **options), Path(folder)
    _check_folder(settings, folder)
    clips = list(list_clips(settings))
    if benchmark == "mocap15":
        mocap15.mocap.fetch()  # once, before there are several processes
    folder.mkdir(parents=True, exist_ok=True)
    _write_manifest(settings, clips, folder)
    missing = [clip for clip in clips if not (folder / clip.video).exists()]
    kept = len(clips) - len(missing)
    if progress is not None:
        progress(kept, len(clips))
    for number, _ in enumerate(_draw_all(settings, missing, folder, workers), 1):
        if progress is not None:
            progress(kept + number, len(clips))
    return len(missing), kept


def _draw_all(settings: Settings, clips: list[Clip], folder: Path, workers: int | None) -> Iterator[None]:
    """Draw and write the clips, in several processes where it pays; yields once for each that is done."""
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers <= 1 or len(clips) < _ALONE:
        for clip in clips:
            _write(settings, clip, folder)
            yield
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        for done in as_completed([pool.submit(_write, settings, clip, folder) for clip in clips]):
            done.result()
            yield
    finally:
        pool.shutdown(cancel_futures=True)


def _write(settings: Settings, clip: Clip, folder: Path) -> None:
    """Draw one clip and write its video."""
    frames_THWC = draw(settings, clip.plan)
    wave_S = draw_track(settings, clip.plan)
    sound = None if wave_S is None else HeldSound(wave_S[None], SAMPLE_RATE)
    with VideoWriter(
        folder / clip.video, settings.source.FPS, crf=_QUANTISER, intra=True, sound=sound
    ) as writer:
        for frame_HWC in frames_THWC:
            writer.write(frame_HWC)


def _check_folder(settings: Settings, folder: Path) -> None:
    """Raise ValueError unless the folder is new, empty, or begun with the same settings."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / MANIFEST).exists():
        raise ValueError(f"{folder} is not empty and holds no {MANIFEST}; name a new folder")
    content = _read_manifest(folder)
    new = dict(asdict(settings), version=VERSION)
    old = {"sound": False, **content["settings"], "version": content["version"]}  # older ones do not say
    if old.pop("clips_per_class", 0) > new.pop("clips_per_class"):
        raise ValueError(f"{folder} holds more clips of a class than you ask for; name a new folder")
    other = [f"{key} {old.get(key)!r}, not {value!r}" for key, value in new.items() if old.get(key) != value]
    if other:
        raise ValueError(f"{folder} was made with other settings ({'; '.join(other)}); name a new folder")


def _write_manifest(settings: Settings, clips: list[Clip], folder: Path) -> None:
    content = {
        "version": VERSION,
        "settings": asdict(settings),
        "class_names": settings.source.CLASS_NAMES,
        "class_groups": settings.source.CLASS_GROUPS,
        "clips": [asdict(clip) for clip in clips],
    }
    with part_file(folder / MANIFEST) as part:
        part.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest as parsed JSON; DataError where there is none or it is not one."""
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content["settings"], dict) and isinstance(content["clips"], list):
            return {"version": content["version"], **content}
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; `vadis data make` writes it") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{path}: not the manifest of a benchmark ({error})") from error
    raise DataError(f"{path}: not the manifest of a benchmark")


def read(root: str | os.PathLike[str], split: str = "train") -> Dataset:
    """A folder that `make` wrote. `split`: "train", "test" of the split that its folders show, or "train1" to
    "test3" of any. Raises DataError for a folder without a proper manifest, ValueError for another split."""
    root = Path(root)
    content = _read_manifest(root)
    try:
        settings = Settings(**content["settings"])
        clips = [Clip(**clip) for clip in content["clips"]]
    except (TypeError, ValueError) as error:
        raise DataError(f"{root / MANIFEST}: not the manifest of a benchmark ({error})") from error
    names = {part: (part, settings.split) for part in PARTS}
    names |= {f"{part}{number}": (part, number) for part in PARTS for number in SPLITS}
    if split not in names:
        raise ValueError(f"{settings.benchmark} has the splits {', '.join(names)}, not {split!r}")
    part, number = names[split]
    class_names: tuple[str, ...] = settings.source.CLASS_NAMES
    seconds = settings.num_frames / settings.source.FPS
    return Dataset(
        settings.benchmark,
        str(root),
        split,
        class_names,
        tuple(
            Example(
                clip.video,
                f"{clip.class_name}/{clip.fold}_{clip.index:04d}",
                (class_names.index(clip.class_name),),
                group=clip.group,
                duration_seconds=seconds,
                num_frames=settings.num_frames,
            )
            for clip in clips
            if (clip.fold == number) == (part == "test")
        ),
        class_groups=settings.source.CLASS_GROUPS,
    )


def run_make(benchmark: str, out: Path, workers: int | None, quiet: bool, options: dict[str, Any]) -> int:
    """`vadis data make`: write a benchmark with a progress bar on standard error; returns the exit code."""
    from rich.console import Console

    from vadis.progress import open_bar

    with open_bar(Console(stderr=True, quiet=quiet), benchmark) as bar:
        drawn, kept = make(benchmark, out, workers=workers, progress=bar.update, **options)
    settings = Settings(**_read_manifest(out)["settings"])
    sizes = {part: len(read(out, part).examples) for part in PARTS}
    print(
        f"{out}: {benchmark}, {len(settings.source.CLASS_NAMES)} classes, split {settings.split}: "
        f"{sizes['train']} clips to train on, {sizes['test']} to test on "
        f"({drawn} drawn, {kept} were there), {settings.num_frames} frames of {settings.size} pixels"
        f"{', with sound' if settings.sound else ''}"
    )
    return 0
