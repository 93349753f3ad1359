"""Frames, flow and sound, alone and together: what does each stream know, and what does fusion gain?

Run: python benchmarks/streams.py OUT [--parts shapes,mocap] [--seeds 3] [--epochs 40] [--clips 60] ...
Stopped, the same command goes on. It leaves OUT/shapes.md, OUT/mocap.md and rows.json with every number.

shapes: 25 classes with sound, split 1. Small two-stream networks (ResNet-18 of TSN, tiny): a frame, a stack
of five flow fields (dis), a picture of sound. Each learns from 30 clips a class, weights and machines from 10
others, all are judged on 20. Eight clips of each video for average pooling and TCP, learnt from the 40.

mocap: mocap15, its three splits. I3D with the published RGB weights on frames, and on flow (dis) with its
first layer averaged over colours and its batch norm settled on flow; a new last layer on the features of
both. Weights and machines are learnt from scores of the training part, each clip scored by a layer that did
not see it (four folds).
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vadis.alignment import Streams, align
from vadis.clip_pooling import ClipFeatures, Training, align_features, fit_pooling
from vadis.data.benchmark import Made
from vadis.feature_store import FeatureSet, load_features, save_features
from vadis.fusion import Fuser, learn, make_average
from vadis.linear import fit_layer, make_folds
from vadis.metrics.classification import is_hit
from vadis.metrics.resampling import gain_of_hits
from vadis.models import create_model
from vadis.records import Example
from vadis.score_files import ScoreFile, make_scores, read_scores, write_scores
from vadis.specs import SoundSpec
from vadis.video.flow import estimate_flow
from vadis.video.streams import picture_sounds
from vadis.video.write import part_file

STREAMS = ("rgb", "flow", "audio")
VIEWS, STACK, SIZE, FRAMES, FPS = 8, 5, 48, 16, 25.0
PICTURE = SoundSpec(num_mels=32, num_steps=32)
PARTS = ("train", "val", "test")
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 9: 2.306}  # Student's, for so many runs


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


# --- shapes ------------------------------------------------------------------------------------------------


def draw_shapes(out: Path, clips: int) -> dict[str, Any]:
    """Frames, flow and pictures of sound of all clips, and which part each is of; kept in a file."""
    file = out / "shapes.npz"
    if not file.exists():
        kept: dict[str, list[Any]] = {name: [] for name in ("rgb", "flow", "audio", "label", "name", "part")}
        for side in ("train", "test"):
            made = Made("shapes", 1, side, clips_per_class=clips, size=SIZE, num_frames=FRAMES, sound=True)
            for index, clip in enumerate(made.clips):
                frames_THWC, label = made[index]
                fields = estimate_flow(frames_THWC, "dis").fields_THW2
                wave_S = made.sound(index)
                assert wave_S is not None
                times_V = (np.arange(VIEWS) + 0.5) / VIEWS * FRAMES / FPS
                kept["rgb"].append(frames_THWC)
                kept["flow"].append(fields.astype(np.float16))
                kept["audio"].append(picture_sounds(wave_S, times_V, PICTURE))
                kept["label"].append(label)
                kept["name"].append(clip.video)
                kept["part"].append("test" if side == "test" else "val" if clip.index % 4 == 0 else "train")
        with part_file(file) as part, part.open("wb") as stream:
            np.savez(stream, **{name: np.array(values) for name, values in kept.items()})  # type: ignore[arg-type]
        say(f"shapes: {len(kept['name'])} clips drawn, flow estimated, sound pictured")
    with np.load(file) as arrays:
        data = {name: arrays[name] for name in arrays.files}
    data["class_names"] = Made("shapes", clips_per_class=3).class_names
    return data


def positions(stream: str) -> int:
    """How many places of a video a clip of this stream can be at."""
    return {"rgb": FRAMES, "flow": FRAMES - STACK, "audio": VIEWS}[stream]


def take(data: dict[str, Any], stream: str, rows: np.ndarray, places: np.ndarray) -> torch.Tensor:
    """clip_BCTHW of some videos at some places of each, of shape (B, T)."""
    if stream == "rgb":
        frames = data["rgb"][rows[:, None], places]
        return (torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 255 - 0.45) / 0.225
    if stream == "audio":
        pictures = data["audio"][rows[:, None], places]
        return (torch.from_numpy(pictures)[:, None].float() + 3.0) / 2.0
    stack = places[..., None] + np.arange(STACK)
    fields = data["flow"][rows[:, None, None], stack].astype(np.float32)  # B T L H W 2
    fields = np.clip(fields, -20, 20) / 20
    return torch.from_numpy(fields).permute(0, 2, 5, 1, 3, 4).flatten(1, 2)


def train_stream(data: dict[str, Any], stream: str, seed: int, epochs: int) -> nn.Module:
    """A small network for one stream; it learns from one place of a video at a time, anywhere in it."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, STREAMS.index(stream)])
    num_classes = len(data["class_names"])
    if stream == "audio":
        network: nn.Module = create_model("sound_resnet18", tiny=True, num_classes=num_classes)
    else:
        channels: dict[str, Any] = {"in_channels": 2} if stream == "flow" else {}
        network = create_model("tsn_r18", tiny=True, num_classes=num_classes, dropout=0.2, **channels)
    learnt = np.flatnonzero(data["part"] == "train")
    steps = epochs * (len(learnt) // 32)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    network.train()
    for _ in range(epochs):
        order = rng.permutation(learnt)
        for start in range(0, len(order) - 31, 32):
            rows = order[start : start + 32]
            places = rng.integers(0, positions(stream), (32, 1))
            clip = take(data, stream, rows, places)
            if stream != "audio":  # the picture is a torus: what leaves on one side comes in on the other
                clip = clip.roll(tuple(rng.integers(0, SIZE, 2).tolist()), (3, 4))
            optimiser.zero_grad()
            loss = functional.cross_entropy(network(clip), torch.from_numpy(data["label"][rows]))
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def score_stream(data: dict[str, Any], stream: str, seed: int, epochs: int, out: Path) -> None:
    """Train, then write the scores of val and test and the features of all parts."""
    files = {part: out / f"{stream}_{seed}_{part}.npz" for part in PARTS}
    features = {part: out / f"{stream}_{seed}_{part}.features.npz" for part in ("train", "test")}
    if all(file.exists() for file in (*files.values(), *features.values())):
        return
    network: Any = train_stream(data, stream, seed, epochs)
    last = positions(stream) - 1
    places_V = np.rint(np.arange(VIEWS) * last / (VIEWS - 1)).astype(np.int64)
    everything = np.arange(len(data["label"]))
    feature_NVD, logits_NK = [], []
    with torch.inference_mode():
        for rows in np.array_split(everything, math.ceil(len(everything) / 25)):
            clip = take(data, stream, rows, np.tile(places_V, (len(rows), 1)))
            flat = clip.transpose(1, 2).flatten(0, 1)[:, :, None]  # a place a clip
            logits_NK.append(network(flat).unflatten(0, (len(rows), VIEWS)).mean(1))
            maps = network.forward_features(flat).mean(dim=(2, 3, 4))
            feature_NVD.append(maps.unflatten(0, (len(rows), VIEWS)))
    logits, vectors = torch.cat(logits_NK).numpy(), torch.cat(feature_NVD).numpy()
    names, labels = data["name"].tolist(), [(int(label),) for label in data["label"]]
    for part, file in files.items():
        rows = np.flatnonzero(data["part"] == part)
        made = make_scores(
            [names[row] for row in rows],
            data["class_names"],
            [labels[row] for row in rows],
            logits_NK=logits[rows],
            split=part,
            dataset="shapes",
            protocol=f"{VIEWS}x1",
            model=f"{network.name}, {stream}, seed {seed}",
            provenance={"modality": stream},
        )
        write_scores(file, made)
    for part, file in features.items():
        rows = np.flatnonzero((data["part"] == "test") == (part == "test"))
        kept = FeatureSet(
            vectors[rows].astype(np.float32),
            np.zeros((len(rows), VIEWS, 2)),
            tuple(labels[row] for row in rows),
            tuple(names[row] for row in rows),
            tuple(names[row] for row in rows),
            tuple(data["class_names"]),
            {"model": network.name, "split": part, "protocol": f"{VIEWS} uniform centre", "layer": "pool"},
        )
        save_features(file, kept)
    scores = read_scores(files["test"])
    say(f"shapes: {stream}, seed {seed}: {hits(scores.scores_NK, scores).mean():.1%}")


def hits(values_NK: np.ndarray, scores: ScoreFile | Streams) -> np.ndarray:
    return is_hit(values_NK, np.array([labels[0] for labels in scores.labels]))


def subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Every choice of one and more."""
    sizes = range(1, len(names) + 1)
    return [chosen for size in sizes for chosen in itertools.combinations(names, size)]


def fuse_shapes(out: Path, seed: int, epochs: int) -> dict[str, list[bool]]:
    """Which test clips each combination and method gets right."""
    files = {
        part: [read_scores(out / f"{name}_{seed}_{part}.npz") for name in STREAMS] for part in ("val", "test")
    }
    fit, test = align(files["val"], STREAMS), align(files["test"], STREAMS)
    pooled: dict[str, ClipFeatures] = {
        part: align_features(
            [load_features(out / f"{name}_{seed}_{part}.features.npz") for name in STREAMS], STREAMS
        )
        for part in ("train", "test")
    }
    found: dict[str, list[bool]] = {}
    for chosen in subsets(STREAMS):
        places = [STREAMS.index(name) for name in chosen]
        ours, theirs = test.only(places), fit.only(places)
        ways: dict[str, Fuser] = {"average": make_average(ours)}
        if len(chosen) > 1:
            ways |= {"search": learn("search", theirs), "svm": learn("svm", theirs)}
        for by, fuser in ways.items():
            found[f"{'+'.join(chosen)} {by}"] = hits(fuser.combine(ours), ours).tolist()
        for kind in ("average", "tcp"):
            setting = Training(seed=seed, epochs=epochs, width=64)
            pooling = fit_pooling(
                "tcp" if kind == "tcp" else "average", pooled["train"].only(chosen), setting
            )
            scores = pooling.score(pooled["test"].only(chosen))
            name = "ap of features" if kind == "average" else "tcp of features"
            found[f"{'+'.join(chosen)} {name}"] = hits(scores.scores_NK, scores).tolist()
    return found


def run_shapes(out: Path, seeds: int, epochs: int, clips: int) -> None:
    """All seeds; the table is written after each."""
    out.mkdir(parents=True, exist_ok=True)
    data = draw_shapes(out, clips)
    for seed in range(seeds):
        for stream in ("audio", "rgb", "flow"):
            score_stream(data, stream, seed, epochs, out)
        file = out / f"hits_{seed}.json"
        if not file.exists():
            found = fuse_shapes(out, seed, 30)
            with part_file(file) as part:
                part.write_text(json.dumps(found))
        runs = [json.loads((out / f"hits_{number}.json").read_text()) for number in range(seed + 1)]
        write_table(out.parent / "shapes.md", runs, "seeds", same_videos=True)
        say(f"shapes: seed {seed} fused; {out.parent / 'shapes.md'}")


# --- mocap15 -----------------------------------------------------------------------------------------------


def kept_as(file: Path, stream: str) -> Path:
    return file.with_suffix(f".{stream}.npz")


def see_frames(frames_THWC: np.ndarray, size: int) -> torch.Tensor:
    """clip_BCTHW of I3D."""
    pixels = torch.from_numpy(frames_THWC).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    return functional.interpolate(pixels, (len(frames_THWC), size, size), mode="trilinear", antialias=False)


def see_flow(frames_THWC: np.ndarray, size: int) -> torch.Tensor:
    """clip_BCTHW of flow, as of pictures of 256 pixels, whose motion the bound of 20 pixels is made for."""
    flow = estimate_flow(frames_THWC, "dis").resized(size, size).fields_THW2 * (256 / size)
    fields = torch.from_numpy(np.clip(flow, -20, 20) / 20).permute(3, 0, 1, 2)[None].float()
    return torch.cat([fields, fields[:, :, -1:]], dim=2)


def settle(network: nn.Module, size: int) -> nn.Module:
    """Let batch norm of a network for frames take its means and variances from flow.

    It sees 30 clips of another seed, two of each class: none of the benchmark's, and no labels.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    network.eval()
    for norm in norms:
        norm.train()
    others = Made("mocap15", 1, "train", clips_per_class=3, num_frames=32, seed=1)
    with torch.no_grad():
        for start in range(0, len(others), 6):
            rows = range(start, min(start + 6, len(others)))
            network.forward_features(torch.cat([see_flow(others[row][0], size) for row in rows]))  # type: ignore[operator]
    say(f"mocap: batch norm of the flow network has seen {len(others)} other clips")
    return network.eval()


def extract_mocap(out: Path, clips: int, size: int) -> dict[str, Any]:
    """I3D's features of frames and of flow of every clip, one at a time into a file of its own."""
    out.mkdir(parents=True, exist_ok=True)
    networks: dict[str, Any] = {}
    rows: list[tuple[str, int, int]] = []
    files: list[Path] = []
    for part in ("train", "test"):
        made = Made("mocap15", 1, part, clips_per_class=clips, num_frames=32)
        for index, clip in enumerate(made.clips):
            rows.append((clip.video.split("/", 1)[1], made.class_names.index(clip.class_name), clip.fold))
            file = out / clip.video.split("/", 1)[1].replace("/", "_").replace(".mp4", ".npz")
            files.append(file)
            todo = [name for name in ("rgb", "flow") if not kept_as(file, name).exists()]
            if not todo:
                continue
            if not networks:
                networks["rgb"] = create_model("i3d_inception", "k400").eval()
                networks["flow"] = settle(create_model("i3d_inception", "k400", in_channels=2), size)
            frames_THWC, _ = made[index]
            for name in todo:
                clip_BCTHW = (see_frames if name == "rgb" else see_flow)(frames_THWC, size)
                with torch.inference_mode():
                    vector_D = networks[name].forward_features(clip_BCTHW).mean(dim=(0, 2, 3, 4)).numpy()
                with part_file(kept_as(file, name)) as part_, part_.open("wb") as stream:
                    np.savez(stream, vector=vector_D)
            if index % 10 == 0:
                say(f"mocap: {part} {index + 1} of {len(made)}")
    found: dict[str, Any] = {"rgb": [], "flow": []}
    for file, name in itertools.product(files, ("rgb", "flow")):
        with np.load(kept_as(file, name)) as arrays:
            found[name].append(arrays["vector"])
    return {
        "rgb": np.array(found["rgb"]),
        "flow": np.array(found["flow"]),
        "name": [row[0] for row in rows],
        "label": np.array([row[1] for row in rows]),
        "fold": np.array([row[2] for row in rows]),
        "class_names": Made("mocap15", clips_per_class=3).class_names,
    }


def layer_scores(data: dict[str, Any], stream: str, fit: np.ndarray, at: np.ndarray) -> np.ndarray:
    """logits_NK of some clips by a last layer that others taught."""
    target_NK = np.eye(len(data["class_names"]))[data["label"][fit]]
    examples = [Example(data["name"][row], data["name"][row], (int(data["label"][row]),)) for row in fit]
    layer = fit_layer(data[stream][fit][:, None], target_NK, examples)
    return layer.logits(data[stream][at])


def fuse_mocap(data: dict[str, Any], split: int) -> dict[str, list[bool]]:
    """Which test clips of a split each stream and each fusion gets right."""
    train, test = np.flatnonzero(data["fold"] != split), np.flatnonzero(data["fold"] == split)
    examples = [Example(data["name"][row], data["name"][row], (int(data["label"][row]),)) for row in train]
    target_NK = np.eye(len(data["class_names"]))[data["label"][train]]
    fold_N = make_folds(examples, target_NK)
    assert fold_N is not None
    files: dict[str, list[ScoreFile]] = {"train": [], "test": []}
    for stream in ("rgb", "flow"):
        logits_NK = np.zeros((len(train), len(data["class_names"])))
        for fold in np.unique(fold_N):
            out_N = fold_N == fold
            logits_NK[out_N] = layer_scores(data, stream, train[~out_N], train[out_N])
        for part, rows, values in (
            ("train", train, logits_NK),
            ("test", test, layer_scores(data, stream, train, test)),
        ):
            made = make_scores(
                [data["name"][row] for row in rows],
                data["class_names"],
                [(int(data["label"][row]),) for row in rows],
                logits_NK=values,
                split=f"{part}{split}",
                model=f"i3d, {stream}",
            )
            files[part].append(made)
    fit, judged = (align(files[part], ("rgb", "flow")) for part in ("train", "test"))
    found = {}
    for place, name in enumerate(("rgb", "flow")):
        found[f"{name} average"] = hits(judged.scores_SNK[place], judged).tolist()
    for by, fuser in (
        ("average", make_average(judged)),
        ("search", learn("search", fit)),
        ("svm", learn("svm", fit)),
    ):
        found[f"rgb+flow {by}"] = hits(fuser.combine(judged), judged).tolist()
    both = {**data, "both": np.concatenate([unit(data["rgb"]), unit(data["flow"])], axis=1)}
    values = layer_scores(both, "both", train, test)
    found["rgb+flow one layer on both"] = hits(values, judged).tolist()
    return found


def unit(vectors_ND: np.ndarray) -> np.ndarray:
    return np.asarray(vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True))


def run_mocap(out: Path, clips: int, size: int) -> None:
    data = extract_mocap(out, clips, size)
    runs = [fuse_mocap(data, split) for split in (1, 2, 3)]
    with part_file(out / "hits.json") as part:
        part.write_text(json.dumps(runs))
    write_table(out.parent / "mocap.md", runs, "splits", same_videos=False)
    say(f"mocap: {out.parent / 'mocap.md'}")


# --- tables ------------------------------------------------------------------------------------------------


def write_table(file: Path, runs: list[dict[str, list[bool]]], what: str, *, same_videos: bool) -> None:
    """Mean over runs, its deviation, and the gain over the best single stream with two intervals.

    Scores are compared with the best single scores, what is learnt from features with the best single of
    those. One interval is a bootstrap over videos (of hits averaged over runs, where all runs judge the same
    videos), one is Student's over runs. A gain is claimed where both lie above zero.
    """
    keys = list(runs[0])
    table = {key: np.array([run[key] for run in runs], np.float64) if same_videos else None for key in keys}
    mean = {key: np.array([np.mean(run[key]) for run in runs]) for key in keys}
    single = [key for key in keys if "+" not in key.split(" ")[0]]
    bests = {
        family: max(
            (key for key in single if ("features" in key) == family), key=lambda key: mean[key].mean()
        )
        for family in {"features" in key for key in single}
    }
    num = len(runs)
    lines = [
        f"| streams | by | top-1, % | deviation over {num} {what} | gain over the best single, over videos "
        f"| over {what} | gain claimed |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    rows = []
    for key in keys:
        streams, by = key.split(" ", 1)
        best = bests.get("features" in key, bests[False])
        gains = mean[key] - mean[best]
        cells = ["", "", ""]
        row: dict[str, Any] = {"streams": streams, "by": by, "top1": mean[key].tolist(), "best": best}
        if key not in single:
            if same_videos:
                ours, other = (np.mean(table[each], axis=0) for each in (key, best))  # type: ignore[arg-type]
            else:
                ours, other = (np.concatenate([run[each] for run in runs]) for each in (key, best))
            gain = gain_of_hits(ours, other)
            row["gain"] = asdict(gain)
            half = T_95.get(num, 1.96) * gains.std(ddof=1) / math.sqrt(num) if num > 1 else math.inf
            sure = gain.is_sure and gains.mean() - half > 0
            cells = [
                f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})",
                f"{100 * (gains.mean() - half):+.1f} to {100 * (gains.mean() + half):+.1f}"
                if num > 1
                else "",
                "yes" if sure else "no",
            ]
            row["over_runs"] = [gains.mean() - half, gains.mean() + half] if num > 1 else None
        deviation = f"{100 * mean[key].std(ddof=1):.1f}" if num > 1 else ""
        lines.append(
            f"| {streams} | {by} | {100 * mean[key].mean():.1f} | {deviation} | {' | '.join(cells)} |"
        )
        rows.append(row)
    with part_file(file) as part:
        part.write_text("\n".join([*lines, "", f"best single: {', '.join(bests.values())}", ""]))
    with part_file(file.with_suffix(".json")) as part:
        part.write_text(json.dumps(rows, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", default="shapes,mocap")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--clips", type=int, default=60, help="of a class of shapes, a third to test")
    parser.add_argument("--mocap-clips", type=int, default=6, help="of a class of mocap15, a third to test")
    parser.add_argument("--mocap-size", type=int, default=112, help="pixels of a side for I3D")
    given = parser.parse_args()
    for part in given.parts.split(","):
        if part == "shapes":
            run_shapes(given.out / "shapes", given.seeds, given.epochs, given.clips)
        elif part == "mocap":
            run_mocap(given.out / "mocap", given.mocap_clips, given.mocap_size)
        else:
            parser.error(f"there are the parts shapes and mocap, not {part!r}")


if __name__ == "__main__":
    main()
