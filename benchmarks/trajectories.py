"""Improved dense trajectories with Fisher vectors on our two benchmarks, and where the time goes.

    python benchmarks/trajectories.py                                   # 24 clips a class, 64 Gaussians
    python benchmarks/trajectories.py --shapes 60 --mocap15 24 --gaussians 256

Each of the three splits is learnt and tested; they share their clips, so tracks are found once. Nothing is
chosen by looking at the results: what counts as standing still is the authors' for pictures of 240 pixels,
scaled to the size of these; tracks of `shapes` have 7 steps, since its clips have 16 frames only.

The folder `--out` keeps everything, and a second call goes on where the first was stopped. Seconds are of the
processor, of one thread, for each video.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from vadis.data.benchmark import make, read
from vadis.evaluation.measures import measure
from vadis.fisher import NUM_SAMPLES, fit_encoder, sample_rows
from vadis.fisher_study import encode_dataset, score_part, teach, track_dataset
from vadis.video.flow import opencv
from vadis.video.track_files import load_tracks
from vadis.video.tracks import TrackOptions

SIZES = {"shapes": 64, "mocap15": 128}
LENGTHS = {"shapes": 7, "mocap15": 15}
STAGES = ("flow", "camera", "tracking", "descriptors", "encoding")


def run(
    benchmark: str, clips: int, gaussians: int, samples: int, out: Path, splits: list[int]
) -> dict[str, Any]:
    """Make the clips, find their tracks, then learn and test each split."""
    folder = out / benchmark
    make(benchmark, folder, clips_per_class=clips, workers=1)
    options = TrackOptions(length=LENGTHS[benchmark], least_motion=SIZES[benchmark] / 240)
    rows, counts = [], []
    cost = dict.fromkeys(STAGES, 0.0)
    for split in splits:
        parts = {part: read(folder, f"{part}{split}") for part in ("train", "test")}
        tracked = {
            part: track_dataset(dataset, out / f"{benchmark}_tracks", options, progress=_say(part))
            for part, dataset in parts.items()
        }
        paths = [each.path for each in tracked["train"] if each.path is not None]
        begun = time.process_time()
        sampled = sample_rows((load_tracks(path)[0].descriptors for path in paths), samples, len(paths))
        encoder = fit_encoder(sampled, gaussians)
        codebooks = time.process_time() - begun
        begun = time.process_time()
        features = {part: encode_dataset(dataset, tracked[part], encoder) for part, dataset in parts.items()}
        cost["encoding"] = (time.process_time() - begun) / sum(map(len, features.values()))
        begun = time.process_time()
        model = teach(parts["train"], features["train"], encoder)
        found = measure(score_part(model, parts["test"], features["test"]), parts["test"])
        row = {"split": split, "top1": found["top1"], "num": found["num"]}
        row["groups"] = {group: values["top1"] for group, values in found["groups"].items()}
        row["order"] = _order(model, parts["test"], features["test"]) if benchmark == "shapes" else None
        row["codebook_seconds"], row["svm_seconds"] = codebooks, time.process_time() - begun
        row["sampled"] = len(next(iter(sampled.values())))
        rows.append(row)
        sys.stderr.write(f"{benchmark} {json.dumps(row)}\n")
        if not counts:
            for each in (*tracked["train"], *tracked["test"]):
                if each.path is not None:
                    tracks = load_tracks(each.path)[0]
                    counts.append(tracks.num_found)
                    for stage, seconds in tracks.cost.items():
                        cost[stage] += seconds
            for stage in STAGES[:-1]:
                cost[stage] /= len(counts)
    return {
        "benchmark": benchmark,
        "clips": clips,
        "gaussians": gaussians,
        "numbers": encoder.size,
        "rows": rows,
        "cost": cost,
        "tracks": [float(np.median(counts)), int(np.sum(np.array(counts) == 0)), len(counts)],
    }


def _order(model: Any, dataset: Any, features: Any) -> float:
    """Of two classes that are the same films forwards and backwards, how often the right one has more."""
    from vadis.data.shapes import CLASS_NAMES, REVERSED_PAIRS

    margins = model.margins(features.features_NVD[:, 0])
    twin = {}
    for pair in REVERSED_PAIRS:
        first, second = map(CLASS_NAMES.index, pair)
        twin[first], twin[second] = second, first
    hits = [
        row[example.labels[0]] > row[twin[example.labels[0]]]
        for row, example in zip(margins, dataset.examples, strict=True)
        if example.labels[0] in twin
    ]
    return float(np.mean(hits))


def _say(part: str) -> Any:
    def show(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            sys.stderr.write(f"  {part}: {done} of {total}\n")

    return show


def tell(result: dict[str, Any]) -> str:
    """The result as lines of Markdown."""
    rows = result["rows"]
    groups = list(rows[0]["groups"])
    lines = [
        f"**{result['benchmark']}**: {result['clips']} clips a class, {result['gaussians']} Gaussians, "
        f"{result['numbers']:,} numbers a video; median {result['tracks'][0]:.0f} tracks, "
        f"{result['tracks'][1]} of {result['tracks'][2]} videos without any",
        "",
        "| split | videos tested | top-1 | "
        + " | ".join(groups)
        + (" | order |" if rows[0]["order"] else " |"),
        "|---|---:|---:|" + "---:|" * (len(groups) + bool(rows[0]["order"])),
    ]
    for row in rows:
        cells = [f"{100 * row['groups'][group]:.0f}%" for group in groups]
        cells += [f"{100 * row['order']:.0f}%"] if row["order"] else []
        lines.append(
            f"| {row['split']} | {row['num']} | {100 * row['top1']:.1f}% | " + " | ".join(cells) + " |"
        )
    mean, deviation = np.mean([r["top1"] for r in rows]), np.std([r["top1"] for r in rows])
    lines += ["", f"mean {100 * mean:.1f}% (deviation of the splits {100 * deviation:.1f})", ""]
    whole = sum(result["cost"].values())
    lines += ["| " + " | ".join(STAGES) + " | all |", "|" + "---:|" * (len(STAGES) + 1)]
    shares = [f"{s:.3f} s ({100 * s / whole:.0f}%)" for s in (result["cost"][stage] for stage in STAGES)]
    lines.append("| " + " | ".join(shares) + f" | {whole:.2f} s |")
    return "\n".join(lines)


def main() -> None:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("trajectories"))
    parser.add_argument("--shapes", type=int, default=24, help="clips a class; 0: not this one")
    parser.add_argument("--mocap15", type=int, default=24, help="clips a class; 0: not this one")
    parser.add_argument("--gaussians", type=int, default=64)
    parser.add_argument("--samples", type=int, default=NUM_SAMPLES)
    parser.add_argument("--splits", default="1,2,3")
    given = parser.parse_args()
    opencv().setNumThreads(1)
    splits = [int(word) for word in given.splits.split(",")]
    for benchmark in ("shapes", "mocap15"):
        clips = getattr(given, benchmark)
        if clips:
            result = run(benchmark, clips, given.gaussians, given.samples, given.out, splits)
            (given.out / f"{benchmark}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
            print(tell(result), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
