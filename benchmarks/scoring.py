"""A made AVA validation of full size, scored by `vadis score ava` and by the official rule in plain Python.

Run: python benchmarks/scoring.py [--frames 57000] [--rows 1600000] [--repeats 2]
Ground truth has two or three persons a frame with one to four of the 60 evaluated classes each; detections
are the same boxes, moved, with the true classes and others, and scores of four decimals, as toolkits write
them. All read the same files; values must agree to 1e-12. Times are of the processor. The third line is the
time of the official script as it is built (NumPy, 80 classes for each frame), measured on some of the frames.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vadis.scoring.ava import score_ava

LEFT_OUT = {2, 16, 18, 19, 21, 23, 25, 31, 32, 33, 35, 39, 40, 42, 44, 50, 53, 55, 71, 75}
CLASSES = [number for number in range(1, 81) if number not in LEFT_OUT]
Box = tuple[float, float, float, float]
Rows = dict[str, list[tuple[Any, ...]]]


def make(folder: Path, num_frames: int, num_rows: int, seed: int = 0) -> tuple[Path, Path, Path]:
    """Write ground truth, detections and the list of classes."""
    chance = np.random.default_rng(seed)
    weight = 1 / np.arange(1, len(CLASSES) + 1)
    weight /= weight.sum()
    labels = folder / "labels.pbtxt"
    labels.write_text("".join(f'item {{\n  name: "class {n}"\n  id: {n}\n}}\n' for n in CLASSES))
    truth, detections = folder / "truth.csv", folder / "detections.csv"
    rows_per_frame = chance.multinomial(num_rows, np.full(num_frames, 1 / num_frames))
    with truth.open("w") as true_file, detections.open("w") as found_file:
        for number, num in enumerate(rows_per_frame):
            video, second = f"video{number // 897:06d}", 902 + number % 897
            low = chance.uniform(0, 0.6, (chance.integers(2, 4), 2))
            boxes = np.hstack([low, low + chance.uniform(0.1, 0.4, low.shape)])
            true = [chance.choice(CLASSES, chance.integers(1, 5), replace=False, p=weight) for _ in boxes]
            for person, (box, persons) in enumerate(zip(boxes, true, strict=True)):
                place = ",".join(f"{x:.3f}" for x in box)
                true_file.writelines(f"{video},{second:04d},{place},{label},{person}\n" for label in persons)
            person_N = chance.integers(0, len(boxes), num)
            moved = boxes[person_N] + chance.normal(0, 0.03, (num, 4))
            found = chance.choice(CLASSES, num, p=weight)
            found[: num // 4] = [chance.choice(true[person]) for person in person_N[: num // 4]]
            for box, label, score in zip(moved, found, chance.uniform(0, 1, num), strict=True):
                place = ",".join(f"{x:.3f}" for x in box)
                found_file.write(f"{video},{second:04d},{place},{label},{score:.4f}\n")
    return truth, detections, labels


def read_plainly(path: Path, capacity: int) -> Rows:
    """Rows (score, class, y1, x1, y2, x2) of each frame, best first; all frames of the file are keys."""
    heaps: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.reader(file):
            key = f"{row[0]},{float(row[1]):.6f}"
            rows = heaps[key]
            if len(row) == 2:
                continue
            x1, y1, x2, y2 = map(float, row[2:6])
            label = int(row[6])
            if label not in CLASSES:
                continue
            entry = (float(row[7]) if len(row) == 8 else 1.0, label, y1, x1, y2, x2)
            if capacity < 1 or len(rows) < capacity:
                heapq.heappush(rows, entry)
            elif entry[0] > rows[0][0]:
                heapq.heapreplace(rows, entry)
    return {key: sorted(rows, key=lambda entry: -entry[0]) for key, rows in heaps.items()}


def iou_plainly(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (y1, x1, y2, x2)."""
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    inside = height * width
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    return inside / union if union else float("nan")


def overlaps_plainly(boxes: list[Box], truth: list[Box]) -> list[tuple[int, float]]:
    """For each box the true one that it overlaps most, the first of equals, and by how much."""
    best = []
    for box in boxes:
        overlaps = [iou_plainly(box, other) for other in truth]
        most = max(overlaps)
        best.append((overlaps.index(most), most))
    return best


def average_precision_plainly(found: list[tuple[float, bool]], num_true: int) -> float:
    """AP under the envelope; of equal scores the later comes first."""
    order = sorted(range(len(found)), key=lambda i: found[i][0])[::-1]
    precision, recall, right = [0.0], [0.0], 0
    for rank, i in enumerate(order, 1):
        right += found[i][1]
        precision.append(right / rank)
        recall.append(right / num_true)
    precision.append(0.0)
    recall.append(1.0)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def score_plainly(truth_path: Path, detections_path: Path) -> dict[int, float]:
    """The AP of each class that has ground truth, by the official rule, frame by frame and class by class."""
    truth, detections = read_plainly(truth_path, 0), read_plainly(detections_path, 50)
    found: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    num_true: dict[int, int] = defaultdict(int)
    for rows in truth.values():
        for row in rows:
            num_true[row[1]] += 1
    for key, rows in detections.items():
        if key not in truth:
            continue
        by_class: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for row in rows:
            if row[2] < row[4] and row[3] < row[5]:
                by_class[row[1]].append(row)
        for label, mine in by_class.items():
            boxes = [row[2:] for row in truth[key] if row[1] == label]
            taken: set[int] = set()
            best = overlaps_plainly([row[2:] for row in mine], boxes) if boxes else [(-1, 0.0)] * len(mine)
            for row, (index, overlap) in zip(mine, best, strict=True):
                found[label].append((row[0], overlap >= 0.5 and index not in taken))
                if overlap >= 0.5:
                    taken.add(index)
    return {label: average_precision_plainly(found[label], num) for label, num in num_true.items()}


def visit_as_built(truth_path: Path, detections_path: Path, num_frames: int) -> None:
    """What the official script does with each frame, for the time it takes; nothing is returned.

    For each of 80 classes the rows are picked by masks, and their overlaps are a small matrix.
    """
    truth, detections = read_plainly(truth_path, 0), read_plainly(detections_path, 50)
    for key, rows in islice(detections.items(), num_frames):
        found, true = np.array(rows, float), np.array(truth.get(key, []), float).reshape(-1, 6)
        found = found[np.logical_and(found[:, 2] < found[:, 4], found[:, 3] < found[:, 5])]
        difficult, group_of = np.zeros(len(true), bool), np.zeros(len(true), bool)
        for label in range(1, 81):
            _ = difficult[true[:, 1] == label], group_of[true[:, 1] == label]
            picked, chosen = true[:, 1] == label, found[:, 1] == label
            a, b = found[:, 2:][chosen], true[:, 2:][picked]
            _ = found[:, 0][chosen]
            if a.size and b.size:
                low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
                inside = np.maximum(high - low, 0).prod(axis=2)
                areas = [(c[:, 2] - c[:, 0]) * (c[:, 3] - c[:, 1]) for c in (a, b)]
                (inside / (areas[0][:, None] + areas[1] - inside)).argmax(axis=1)


def best_of(repeats: int, work: Callable[[], Any]) -> tuple[float, Any]:
    """The shortest of several runs in seconds of processor time, and what the last returned."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def main() -> None:
    """Make the files, score them three ways, print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=57_000)
    parser.add_argument("--rows", type=int, default=1_600_000)
    parser.add_argument("--repeats", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        truth, detections, labels = make(Path(name), asked.frames, asked.rows)
        megabytes = (truth.stat().st_size + detections.stat().st_size) / 1e6
        print(f"{asked.frames} key frames, {asked.rows} detections, {megabytes:.0f} MB of CSV")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ours, scored = best_of(asked.repeats, lambda: score_ava(truth, detections, labels))
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"vadis                       {ours:6.2f} s  {memory:.0f} MiB more  mAP {scored['value']:.12f}")
        plain, ap = best_of(1, lambda: score_plainly(truth, detections))
        value = sum(ap.values()) / len(ap)
        print(f"official rule, plain Python {plain:6.2f} s  {plain / ours:.1f} times ours  mAP {value:.12f}")
        reading, _ = best_of(1, lambda: visit_as_built(truth, detections, 0))
        part = min(2000, asked.frames)
        visiting, _ = best_of(1, lambda: visit_as_built(truth, detections, part))
        built = reading + (visiting - reading) * asked.frames / part
        print(
            f"official rule, as built     {built:6.2f} s  {built / ours:.1f} times ours  (from {part} frames)"
        )
        if abs(value - scored["value"]) > 1e-12:
            sys.exit("the values differ")


if __name__ == "__main__":
    main()
