"""How a dataset is made up: clips per class, the long tail, durations, sizes; as numbers and as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from vadis.data.checking import Checked
from vadis.records import Dataset
from vadis.video.canvas import GREY, PALETTE, PANEL, RULE, Canvas, fit_text

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
TOP_SIZES = 8
WIDTH, HEIGHT, MARGIN = 1200, 900, 48


def describe_dataset(dataset: Dataset, rows: Sequence[Checked] = ()) -> dict[str, Any]:
    """The numbers of a dataset, ready for JSON; `rows` of a manifest add what the files say.

    Durations are in seconds: the interval of an example, else what the dataset or the manifest says of its
    video.
    """
    counts = Counter(label for example in dataset.examples for label in example.labels)
    per_class = [counts[label] for label in range(dataset.num_classes)]
    by_video = {row.video: row for row in rows}
    used = {example.video for example in dataset.examples}
    files = [row for row in rows if row.video in used]
    durations = []
    for example in dataset.examples:
        row = by_video.get(example.video)
        whole = example.duration_seconds or (row.duration_seconds if row is not None else None)
        end = example.end_seconds if example.end_seconds is not None else whole
        if end is not None:
            durations.append(end - (example.start_seconds or 0.0))
    ranked = sorted(per_class, reverse=True)
    total = sum(ranked)
    half = int(np.searchsorted(np.cumsum(ranked), total / 2) + 1) if total else 0
    groups = {example.group for example in dataset.examples} - {""}
    result: dict[str, Any] = {
        "name": dataset.name,
        "split": dataset.split,
        "num_examples": len(dataset.examples),
        "num_videos": len(used),
        "num_groups": len(groups),
        "num_classes": dataset.num_classes,
        "num_unlabelled": sum(not example.labels for example in dataset.examples),
        "labels_per_example": total / len(dataset.examples) if dataset.examples else 0.0,
        "clips_per_class": dict(zip(dataset.class_names, per_class, strict=True)),
        "largest_class": ranked[0] if ranked else 0,
        "smallest_class": ranked[-1] if ranked else 0,
        "median_class": float(np.median(ranked)) if ranked else 0.0,
        "classes_that_hold_half": half,
        "empty_classes": [name for name, n in zip(dataset.class_names, per_class, strict=True) if n == 0],
        "num_durations": len(durations),
        "duration_seconds": _quantiles(durations),
        "hours": sum(durations) / 3600,
    }
    if files:
        result["files"] = {
            "num_checked": len(files),
            "status": dict(Counter(row.status for row in files).most_common()),
            "sizes": _counts(f"{row.width}x{row.height}" for row in files if row.width),
            "frame_rates": _counts(f"{row.fps:.2f}" for row in files if row.fps),
            "codecs": _counts(row.codec for row in files if row.codec),
            "frames": _quantiles([row.frames for row in files if row.frames]),
            "num_bytes": sum(row.num_bytes for row in files),
        }
    result["durations"] = durations
    return result


def _quantiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {f"{q:g}": float(x) for q, x in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}


def _counts(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def draw_statistics(numbers: dict[str, Any]) -> np.ndarray:
    """The picture of `describe_dataset`'s numbers, (H, W, 3) uint8: classes, durations, picture sizes."""
    canvas = Canvas(WIDTH, HEIGHT)
    title = f"{numbers['name']} {numbers['split']}".strip()
    canvas.text(MARGIN, 20, fit_text(title, 24, 700, bold=True), 24, bold=True)
    line = (
        f"{numbers['num_examples']:,} examples of {numbers['num_videos']:,} videos, "
        f"{numbers['num_classes']:,} classes, {numbers['hours']:.1f} hours"
    )
    canvas.text(MARGIN, 52, line, 15, GREY)
    _draw_classes(canvas, numbers, 90, 470)
    _draw_durations(canvas, numbers, MARGIN, 540, 560, 840)
    _draw_sizes(canvas, numbers, 640, 540, WIDTH - MARGIN, 840)
    return canvas.pixels()


def _draw_classes(canvas: Canvas, numbers: dict[str, Any], top: float, bottom: float) -> None:
    ranked = sorted(numbers["clips_per_class"].items(), key=lambda item: (-item[1], item[0]))
    caption = (
        f"Examples per class, largest first: {numbers['largest_class']:,} to {numbers['smallest_class']:,}, "
        f"half of all in {numbers['classes_that_hold_half']:,} of {len(ranked):,} classes"
    )
    canvas.text(MARGIN, top, caption, 15)
    top += 26
    canvas.box(MARGIN, top, WIDTH - MARGIN, bottom, PANEL)
    peak = max((count for _, count in ranked), default=0)
    if not peak:
        return
    step = (WIDTH - 2 * MARGIN) / len(ranked)
    for place, (_, count) in enumerate(ranked):
        left = MARGIN + place * step
        gap = step * 0.15 if step > 4 else 0
        canvas.box(
            left + gap, bottom - (bottom - top - 20) * count / peak, left + step - gap, bottom, PALETTE[0]
        )
    if step >= 60:
        for place, (name, count) in enumerate(ranked):
            middle = MARGIN + (place + 0.5) * step
            canvas.text(middle, bottom + 4, fit_text(name, 12, step - 4), 12, GREY, anchor="ma")
            high = bottom - (bottom - top - 20) * count / peak
            canvas.text(middle, high - 16, f"{count:,}", 12, anchor="ma")
    else:
        first, last = ranked[0], ranked[-1]
        canvas.text(MARGIN, bottom + 4, fit_text(f"{first[0]} ({first[1]:,})", 12, 400), 12, GREY)
        end = fit_text(f"{last[0]} ({last[1]:,})", 12, 400)
        canvas.text(WIDTH - MARGIN, bottom + 4, end, 12, GREY, anchor="ra")


def _draw_durations(
    canvas: Canvas, numbers: dict[str, Any], left: float, top: float, right: float, bottom: float
) -> None:
    durations = np.asarray(numbers["durations"], np.float64)
    canvas.text(left, top, f"Durations in seconds, of {len(durations):,} examples", 15)
    top += 26
    canvas.box(left, top, right, bottom, PANEL)
    if not len(durations):
        canvas.text(
            (left + right) / 2, (top + bottom) / 2, "not known: run vadis data check", 14, GREY, anchor="mm"
        )
        return
    longest = max(float(np.quantile(durations, 0.99)), 1e-3)
    edges = np.linspace(0, longest, 41)
    bars = np.histogram(np.minimum(durations, longest), edges)[0]
    step = (right - left) / len(bars)
    for place, count in enumerate(bars.tolist()):
        if count:
            high = bottom - (bottom - top - 12) * count / bars.max()
            canvas.box(left + place * step + 1, high, left + (place + 1) * step - 1, bottom, PALETTE[2])
    canvas.text(left, bottom + 4, "0", 12, GREY)
    canvas.text(right, bottom + 4, f"{longest:.1f} or more", 12, GREY, anchor="ra")


def _draw_sizes(
    canvas: Canvas, numbers: dict[str, Any], left: float, top: float, right: float, bottom: float
) -> None:
    sizes = list(numbers.get("files", {}).get("sizes", {}).items())
    canvas.text(left, top, f"Picture sizes in pixels, {len(sizes):,} different", 15)
    top += 26
    canvas.box(left, top, right, bottom, PANEL)
    if not sizes:
        canvas.text(
            (left + right) / 2, (top + bottom) / 2, "not known: run vadis data check", 14, GREY, anchor="mm"
        )
        return
    rest = sum(count for _, count in sizes[TOP_SIZES:])
    shown = sizes[:TOP_SIZES] + ([("others", rest)] if rest else [])
    step = min(32.0, (bottom - top - 12) / len(shown))
    peak = max(count for _, count in shown)
    for place, (name, count) in enumerate(shown):
        y = top + 10 + place * step
        canvas.text(left + 100, y + step / 2 - 2, name, 13, anchor="rm")
        width = (right - left - 190) * count / peak
        canvas.box(left + 110, y, left + 110 + width, y + step - 6, PALETTE[1])
        canvas.text(left + 118 + width, y + step / 2 - 2, f"{count:,}", 13, GREY, anchor="lm")
    canvas.line([(left, bottom), (right, bottom)], RULE)
