"""The work behind `vadis data scan`: what a folder is, in words or as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vadis.data.scan import Report, scan
from vadis.formats.table import spell_out
from vadis.inspection import print_json

NAMED = 5  # missing files that are named for each split


def run_scan(path: Path, name: str | None, videos: Path | None, as_json: bool) -> int:
    """Print what a folder or a list is; 1 where videos are missing. ValueError where it is ambiguous."""
    report = scan(path, name, videos)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(report)
    return 1 if any(split.missing for split in report.splits) else 0


def _print_report(report: Report) -> None:
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())

    def say(text: str, style: str = "") -> None:
        console.print(Text(spell_out(text), style=style))

    say(f"{report.title} ({report.name})", "bold")
    say(f"  told by {report.why}")
    names = ", ".join(report.class_names[:5]) + (" ..." if len(report.class_names) > 5 else "")
    kind = "several labels an example" if report.multi_label else "one label an example"
    say(f"  {len(report.class_names)} classes, {kind}: {names}")
    if report.class_groups:
        groups = ", ".join(f"{group} {count}" for group, count in report.class_groups.items())
        say(f"  groups of classes: {groups}")
    table = Table(box=None, pad_edge=False)
    table.add_column("split")
    for heading in ("examples", "videos", "per class", "spans", "boxes", "hidden", "missing"):
        table.add_column(heading, justify="right")
    for split in report.splits:
        least, most = split.clips_per_class
        table.add_row(
            split.split,
            f"{split.num_examples:,}",
            f"{split.num_videos:,}",
            f"{least:,}" if least == most else f"{least:,} to {most:,}",
            *(f"{count:,}" if count else "" for count in (split.num_spans, split.num_boxes)),
            *(f"{count:,}" if count else "" for count in (split.num_hidden, len(split.missing))),
        )
    console.print(table)
    if report.absent:
        say(f"no lists for {', '.join(report.absent)}")
    notes: dict[str, list[str]] = {}
    for split in report.splits:
        for note in split.notes:
            notes.setdefault(str(note), []).append(split.split)
    for text, splits in notes.items():
        say(f"{', '.join(splits)}: {text}")
    for split in report.splits:
        for video in split.missing[:NAMED]:
            say(f"{split.split}: missing {video}")
        if len(split.missing) > NAMED:
            say(f"{split.split}: missing {len(split.missing) - NAMED:,} more")
