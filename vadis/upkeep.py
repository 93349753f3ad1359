"""The work behind `vadis data`: check, split, leaks, stats, convert, shard.

The tools are in `vadis.data`; here is what a person sees of them: where things are written, progress, what
is said at the end, exit codes. They take whatever `vadis.data.scan` understands; `name` is how to read it
(`--as`), `split` which split of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from vadis.data.checking import STATUSES, Checked, check_videos, read_manifest
from vadis.data.class_choice import choose_classes, parse_classes
from vadis.data.leaks import find_leaks
from vadis.data.likeness import find_alike
from vadis.data.listing import what_is_lost, write_class_folders, write_list
from vadis.data.scan import open_dataset, open_splits
from vadis.data.shards import LIST_NAME, write_shards
from vadis.data.splitting import shares_sources, split_dataset
from vadis.data.statistics import describe_dataset, draw_statistics
from vadis.formats.table import spell_out
from vadis.progress import open_bar
from vadis.records import DataError, Dataset
from vadis.video.find import find_videos
from vadis.video.write import write_png

NAMED = 20  # lines of a kind that are said before "and N more"


def run_check(
    path: Path,
    out: Path,
    workers: int,
    quiet: bool,
    asked_to_stop: Callable[[], bool],
    name: str | None = None,
    split: str | None = None,
) -> int:
    """Decode every video below a folder, or those that a list, a dataset or a split of it names.

    Returns 0, or 1 where some are not whole.
    """
    console = Console(stderr=True, quiet=quiet, highlight=False)
    if path.is_dir() and not (path / LIST_NAME).is_file() and name is None and split is None:
        root = path
        videos = [os.path.relpath(name, path) for name in find_videos((str(path),))]
    else:
        datasets = open_splits(path, name, split)
        root = Path(datasets[0].root)
        videos = list(dict.fromkeys(example.video for each in datasets for example in each.examples))
    if not videos:
        raise DataError(f"{path}: no videos here")
    tally: Counter[str] = Counter()
    with open_bar(console, "checked", len(videos)) as bar:

        def on_done(row: Checked) -> None:
            tally[row.status] += 1
            bar.advance()

        try:
            rows = check_videos(
                root, videos, out, workers=workers, on_done=on_done, asked_to_stop=asked_to_stop
            )
        except KeyboardInterrupt:
            said = f"stopped after {sum(tally.values())} of {len(videos)} videos; the same command goes on"
            Console(stderr=True, highlight=False).print(said)
            return 130
    counts = Counter(row.status for row in rows)
    print(", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status]), f"-> {out}")
    for row in rows:
        if row.status == "duplicate":
            console.print(
                spell_out(f"{row.video}: the same as {row.duplicate_of}"), style="dim", markup=False
            )
    bad = [row for row in rows if row.status not in ("ok", "duplicate")]
    _name(f"{len(bad)} of {len(rows)} are not whole:", [f"{row.video}: {_trouble(row)}" for row in bad])
    return 1 if bad else 0


def _trouble(row: Checked) -> str:
    if row.status == "unreadable":
        return row.message
    return f"{row.status}, {row.frames} of {row.frames_expected} frames, {row.frames_corrupt} damaged"


def run_split(
    path: Path,
    out: Path,
    parts: str,
    seed: int,
    manifest: Path | None,
    suffix: str,
    name: str | None = None,
    split: str | None = None,
) -> int:
    """Write a list for each part; returns 0. ValueError for parts that are not NAME=SHARE,NAME=SHARE."""
    shares = {}
    for word in parts.split(","):
        part_name, equals, share = word.strip().partition("=")
        try:
            shares[part_name] = float(share)
        except ValueError:
            raise ValueError(f"--parts takes NAME=SHARE,NAME=SHARE, not {word!r}") from None
        if not equals or not part_name or Path(part_name).name != part_name:
            raise ValueError(f"--parts takes NAME=SHARE,NAME=SHARE, not {word!r}")
    dataset = open_dataset(path, name, split)
    together = _like_pairs(dataset, manifest)
    for part_name, part in split_dataset(dataset, shares, seed=seed, together=together).items():
        target = write_list(out / f"{part_name}.{suffix}", part)
        groups = len({example.group for example in part.examples} - {""})
        print(f"{target}: {len(part.examples)} examples, {groups} groups")
        for note in part.notes:
            print(f"note: {note}", file=sys.stderr)
    if not shares_sources(dataset) and not together:
        print("note: no groups are known, so clips of one source may be on both sides", file=sys.stderr)
    return 0


def _like_pairs(dataset: Dataset, manifest: Path | None) -> list[tuple[str, str]]:
    """Pairs of videos that show the same pictures, by a manifest."""
    if manifest is None:
        return []
    used = {example.video for example in dataset.examples}
    rows = [row for row in read_manifest(manifest) if row.video in used]
    hashes = [(row.video, [bytes.fromhex(code) for code in row.hashes]) for row in rows]
    pairs = [(item.first, item.second) for item in find_alike(hashes, hashes) if item.first < item.second]
    first: dict[str, str] = {}
    for row in rows:
        original = first.setdefault(row.content, row.video) if row.content else row.video
        if original != row.video:
            pairs.append((original, row.video))
    return pairs


def run_leaks(
    first: Path,
    second: Path,
    manifests: Sequence[Path],
    min_share: float,
    as_json: bool,
    names: Sequence[str] = (),
    splits: Sequence[str] = (),
) -> int:
    """Say what two datasets share; returns 0 where that is nothing, else 1.

    manifests, names and splits: none, one for both, or one each.
    """
    for option, given in (("--manifest", manifests), ("--as", names), ("--split", splits)):
        if len(given) > 2:
            raise ValueError(
                f"{option} is given once for both datasets, or twice, for the first and the second"
            )
    rows = [read_manifest(manifest) for manifest in manifests]
    ours, theirs = (rows[0], rows[-1]) if rows else ([], [])
    sides = [
        open_dataset(path, names[at] if names else None, splits[at] if splits else None)
        for path, at in ((first, 0), (second, -1))
    ]
    leaks = find_leaks(sides[0], sides[1], ours, theirs, min_share=min_share)
    if as_json:
        print(json.dumps(asdict(leaks), indent=2))
        return 0 if leaks.none else 1
    kinds = {
        "ids in both": list(leaks.ids),
        "groups in both": list(leaks.groups),
        "pairs of videos with the same content": [" = ".join(pair) for pair in leaks.contents],
        "pairs of videos that look alike": [
            f"{item.first} ~ {item.second} ({item.share:.0%} of the pictures, {item.num_alike})"
            for item in leaks.alike
        ],
    }
    for kind, found in kinds.items():
        print(f"{len(found)} {kind}")
        for line in _shortened(found):
            print(f"  {line}")
    if rows:
        print(f"pictures compared: {leaks.num_compared[0]} with {leaks.num_compared[1]} videos")
    else:
        print("pictures were not compared: give --manifest (of `vadis data check`)")
    return 0 if leaks.none else 1


def run_stats(
    path: Path,
    manifest: Path | None,
    out: Path | None,
    as_json: bool,
    name: str | None = None,
    split: str | None = None,
) -> int:
    """Print the numbers of a dataset, and draw them; returns 0."""
    dataset = open_dataset(path, name, split)
    numbers = describe_dataset(dataset, () if manifest is None else read_manifest(manifest))
    if out is not None:
        write_png(out, draw_statistics(numbers))
    durations = numbers.pop("durations")
    if as_json:
        print(json.dumps(numbers, indent=2))
        return 0
    print(
        f"{numbers['num_examples']:,} examples, {numbers['num_videos']:,} videos, "
        f"{numbers['num_groups']:,} groups, {numbers['num_classes']:,} classes"
    )
    print(
        f"clips per class: {numbers['smallest_class']:,} to {numbers['largest_class']:,}, "
        f"median {numbers['median_class']:g}; {numbers['classes_that_hold_half']:,} classes hold half"
    )
    if durations:
        seconds = numbers["duration_seconds"]
        print(
            f"seconds: {seconds['0']:.2f} to {seconds['1']:.2f}, median {seconds['0.5']:.2f}; "
            f"{numbers['hours']:.2f} hours"
        )
    for kind, counts in numbers.get("files", {}).items():
        if kind in ("status", "sizes", "frame_rates", "codecs"):
            shown = [f"{value} {count:,}" for value, count in list(counts.items())[:8]]
            print(f"{kind.replace('_', ' ')}: {', '.join(shown)}" + (" ..." if len(counts) > 8 else ""))
    if numbers["empty_classes"]:
        names = ", ".join(numbers["empty_classes"][:8])
        print(f"{len(numbers['empty_classes'])} classes without a clip: {names}")
    if out is not None:
        print(f"wrote {out}")
    return 0


def run_convert(
    path: Path, out: Path, name: str | None = None, split: str | None = None, classes: str = ""
) -> int:
    """Write a dataset as a list (.jsonl, .csv, .txt), or, without an ending, as class folders; returns 0.

    classes: only these, as `parse_classes` takes them; empty for all.
    """
    dataset = choose_classes(open_dataset(path, name, split), parse_classes(classes))
    print(write_list(out, dataset) if out.suffix else write_class_folders(dataset, out))
    if lost := what_is_lost(dataset, out.suffix):
        print(f"note: {out.name} does not hold {lost}; a .jsonl list does", file=sys.stderr)
    return 0


def run_shard(
    path: Path,
    out: Path,
    max_bytes: int,
    seed: int,
    quiet: bool,
    name: str | None = None,
    split: str | None = None,
) -> int:
    """Pack a dataset's videos into tar files; prints the list beside them; returns 0."""
    dataset = open_dataset(path, name, split)
    num_videos = len({example.video for example in dataset.examples})
    with open_bar(Console(stderr=True, quiet=quiet), "packed", num_videos) as bar:
        written = write_shards(
            dataset, out, max_bytes=max_bytes, seed=seed, on_done=lambda video: bar.advance()
        )
    print(written)
    if any(example.flow for example in dataset.examples):
        print("note: shards hold videos only; flow pictures stay where they are", file=sys.stderr)
    return 0


def _name(head: str, lines: Sequence[str]) -> None:
    if lines:
        print(head, file=sys.stderr)
        for line in _shortened(lines):
            print(f"  {line}", file=sys.stderr)


def _shortened(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - NAMED} more"] if len(lines) > NAMED else []
    return [spell_out(line) for line in lines[:NAMED]] + more
