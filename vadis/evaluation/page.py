"""An evaluation card as one HTML page: no script, no file beside it, light and dark, safe to open.

All pictures are inside the page. Its policy allows nothing to be fetched or run, and every name in it is
escaped, so a page made from strangers' files can be shown to anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vadis.data.clip_rules import ClipRule
from vadis.data.clips import read_clips
from vadis.evaluation.cards import list_measures
from vadis.evaluation.charts import (
    draw_bars,
    draw_confusion,
    draw_reliability,
    escape,
    interval_text,
    most_confused,
    percent,
    picture_uri,
)
from vadis.evaluation.measures import TITLES
from vadis.records import Dataset, EvaluationCard, VideoError
from vadis.specs import ClipSpec
from vadis.video.write import part_file

NUM_THUMBNAILS = 12
NAMED = 50  # examples that were not scored, by name
THUMBNAIL = ClipSpec(num_frames=3, size=84, crop=84)  # three frames of 84 pixels, side by side

_STYLE = """
:root{color-scheme:light dark;--ink:#1c1c1e;--paper:#fff;--soft:#6b6b70;--line:#d9d9de;--ground:#f3f3f5;
--right:#2f7d4f;--wrong:#d65c28;--bar:#3b6fb5}
@media(prefers-color-scheme:dark){:root{--ink:#ececef;--paper:#17171a;--soft:#9c9ca3;--line:#3a3a40;
--ground:#232328;--right:#5bbf86;--wrong:#f08a5a;--bar:#6fa3e8}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.2rem 4rem;max-width:68rem;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}p{margin:.4rem 0}
.soft,small,figcaption{color:var(--soft)}
.big{display:flex;flex-wrap:wrap;gap:1.6rem;margin:1.2rem 0}
.big div{min-width:6.5rem}.big b{display:block;font-size:1.9rem;line-height:1.2;font-weight:600}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.28rem .8rem .28rem 0;
border-bottom:1px solid var(--line);overflow-wrap:break-word}th{font-weight:500;color:var(--soft)}
table.facts th{width:11rem}td.n,th.n{text-align:right;white-space:nowrap}
code{font:12.5px ui-monospace,monospace;overflow-wrap:anywhere}td bdi{overflow-wrap:anywhere}
.wide{overflow-x:auto}svg text{font:11px system-ui,sans-serif;fill:var(--ink)}
.ground{fill:var(--ground)}.right{fill:var(--right)}.wrong{fill:var(--wrong)}
.dot{fill:var(--bar);fill-opacity:.75}
.rule{stroke:var(--soft);stroke-dasharray:4 4}
.overview{width:100%;max-width:50rem;background:var(--ground);image-rendering:pixelated}figure{margin:0}
.bars{display:grid;grid-template-columns:minmax(6rem,16rem) 1fr 8.5rem;gap:.15rem .8rem;align-items:center}
.bars .name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;text-align:right}
.track{position:relative;height:.8rem;background:var(--ground)}
.track b{display:block;height:100%;background:var(--bar)}
.whisker{position:absolute;top:50%;height:0;border-top:2px solid var(--ink);opacity:.55}
.number{white-space:nowrap}
.clips{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:1rem}
.clips img{display:block;max-width:100%;height:84px;object-fit:cover;background:var(--ground)}
.clips div{overflow-wrap:anywhere}.warn{color:var(--wrong)}summary{cursor:pointer;margin:.6rem 0}
"""


def write_page(card: EvaluationCard, path: str | Path, dataset: Dataset | None = None) -> Path:
    """Write a card's page; with its dataset, pictures of the worst clips are in it."""
    pictures = {} if dataset is None else make_thumbnails(card, dataset)
    with part_file(path) as part:
        part.write_text(render_page(card, pictures), "utf-8")
    return Path(path)


def make_thumbnails(card: EvaluationCard, dataset: Dataset) -> dict[int, str]:
    """Three frames of each of the worst clips as a data URI, by the example's index; unreadable ones lack."""
    pictures = {}
    for row in card.metrics.get("worst", ())[:NUM_THUMBNAILS]:
        example = dataset.examples[row["index"]]
        try:
            clips = read_clips(
                example, dataset.root, THUMBNAIL, ClipRule("segments"), short_side=THUMBNAIL.size
            )
        except VideoError:
            continue
        pictures[row["index"]] = picture_uri(np.concatenate(list(clips.clips[0]), axis=1), "JPEG")
    return pictures


def render_page(card: EvaluationCard, pictures: Mapping[int, str] | None = None) -> str:
    """The page of a card as text. pictures: data URIs of worst clips, by the example's index."""
    title = f"{card.model} on {card.dataset} {card.split}".strip()
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1><bdi>{escape(card.model)}</bdi> on <bdi>{escape(card.dataset)}</bdi> {escape(card.split)}</h1>",
        f'<p class="soft">{escape(card.protocol_text)}</p>',
        _numbers(card),
        _warnings(card),
        _section("What the number depends on", _facts(card)),
        _details(card, pictures or {}),
    ]
    for split in card.splits:
        inner = _numbers(split) + _warnings(split) + _facts(split) + _details(split, {})
        parts.append(
            f"<details><summary>{escape(split.dataset)} {escape(split.split)}</summary>{inner}</details>"
        )
    return "\n".join([*(part for part in parts if part), "</body></html>\n"])


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already. numbers: columns that are aligned to the right."""

    def cells(row: Sequence[str], tag: str) -> str:
        kind = [' class="n"' if place in numbers else "" for place in range(len(row))]
        return "".join(f"<{tag}{kind[place]}>{cell}</{tag}>" for place, cell in enumerate(row))

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    heading = f"<thead><tr>{cells(head, 'th')}</tr></thead>"
    return f'<div class="wide"><table>{heading}<tbody>{body}</tbody></table></div>'


def _numbers(card: EvaluationCard) -> str:
    cells = []
    for name, title, value in list_measures(card):
        extra = interval_text(card.metrics.get("intervals", {}).get(name))
        if name in card.metrics.get("deviations", {}):
            extra = f"± {100 * card.metrics['deviations'][name]:.1f} over {len(card.splits)} splits"
        cells.append(f"<div><b>{percent(value)}</b>{escape(title)}<br><small>{escape(extra)}</small></div>")
    for key, title in (("moments", "mAP of 25 moments"), ("charades", "mAP, Charades' rule")):
        mean_ap = (card.metrics.get(key) or {}).get("mean_ap")
        if mean_ap is not None:
            cells.append(f"<div><b>{percent(mean_ap)}</b>{escape(title)}</div>")
    return f'<div class="big">{"".join(cells)}</div>' if cells else "<p>No example has a label.</p>"


def _warnings(card: EvaluationCard) -> str:
    lines = []
    lost = card.num_missing + card.num_unreadable
    if lost:
        lines.append(
            f"{lost} of {card.num_expected} examples could not be scored and count as wrong: "
            f"{card.num_missing} missing, {card.num_unreadable} unreadable."
        )
    if card.damaged:
        lines.append(f"Damaged, or ending early, and scored all the same: {len(card.damaged)}.")
    return "".join(f'<p class="warn">{escape(line)}</p>' for line in [*lines, *card.notes])


def _facts(card: EvaluationCard) -> str:
    views, total = card.num_views, card.gmac * card.num_views
    speed = f", {card.num_evaluated / card.seconds:.2f} videos a second" if card.seconds > 0 else ""
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    rows = [
        ("Protocol", f"{escape(card.protocol.get('name'))}: {escape(card.protocol_text)}"),
        (
            "Views",
            f"{views} ({card.protocol.get('num_clips')} clips x {card.protocol.get('num_crops')} crops)",
        ),
        (
            "Files",
            f"{card.num_expected:,} examples of {card.num_files:,} files expected; {card.num_evaluated:,} "
            f"evaluated, {card.num_missing:,} missing, {card.num_unreadable:,} unreadable, "
            f"{len(card.damaged):,} damaged but scored",
        ),
        ("List, sha256", f"<code>{escape(card.list_sha256)}</code>"),
        ("Weights, sha256", f"<code>{escape(card.weights_sha256)}</code> (tensors)"),
        ("Parameters", f"{card.num_parameters / 1e6:,.2f} M"),
        ("Multiply-adds", f"{card.gmac:,.2f} G x {views} views = {total:,.1f} G a video"),
        ("Time", f"{card.seconds:,.1f} s{speed}"),
        (
            "Peak memory",
            f"{card.peak_memory / 2**20:,.0f} MiB ({'GPU' if card.device == 'cuda' else 'process'})",
        ),
        ("Computed", f"{escape(card.device)}, {escape(card.precision)}; {escape(versions)}"),
        ("Made", escape(card.created)),
    ]
    if card.source_sha256:
        rows.insert(5, ("Weights' file, sha256", f"<code>{escape(card.source_sha256)}</code>"))
    body = "".join(f"<tr><th>{escape(name)}</th><td>{value}</td></tr>" for name, value in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>'


def _details(card: EvaluationCard, pictures: Mapping[int, str]) -> str:
    metrics, names = card.metrics, card.class_names
    confusion = metrics.get("confusion") or ()
    pairs = most_confused(confusion)
    unit = "Average precision" if card.multi_label else "Share that is right, with 95 % intervals"
    sections = [
        _section("Splits", _splits(card)),
        _section("Groups of classes", _groups(metrics.get("groups") or {})),
        _section("Confusions", draw_confusion(confusion, names) if confusion else ""),
        _section(
            "Most confused",
            _table(
                ("true", "taken for", "times", "of the class"),
                [
                    (
                        f"<bdi>{escape(names[true])}</bdi>",
                        f"<bdi>{escape(names[seen])}</bdi>",
                        f"{num}",
                        percent(share),
                    )
                    for true, seen, num, share in pairs
                ],
                (2, 3),
            )
            if pairs
            else "",
        ),
        _section("Classes", draw_bars(metrics["per_class"], unit) if metrics.get("per_class") else ""),
        _section("Worst clips", _worst(metrics.get("worst") or (), pictures)),
        _section("Calibration", _calibration(card.calibration)),
        _section("Not scored", _failures(card)),
    ]
    return "\n".join(part for part in sections if part)


def _splits(card: EvaluationCard) -> str:
    if not card.splits:
        return ""
    shown = [name for name, _, _ in list_measures(card)]
    rows = [
        (
            escape(split.split),
            *(percent(split.metrics.get(name)) for name in shown),
            f"{split.num_expected:,}",
        )
        for split in card.splits
    ]
    rows.append(("mean", *(percent(card.metrics.get(name)) for name in shown), f"{card.num_expected:,}"))
    return _table(
        ("split", *(escape(TITLES[name]) for name in shown), "examples"), rows, range(1, len(shown) + 2)
    )


def _groups(groups: Mapping[str, Mapping[str, Any]]) -> str:
    if not groups:
        return ""
    if any("mean_ap" in row for row in groups.values()):
        means = [(escape(name), f"{row['num']:,}", percent(row["mean_ap"])) for name, row in groups.items()]
        return _table(("group", "examples", "mAP"), means, (1, 2))
    rows = [
        (
            escape(name),
            f"{row['num']:,}",
            f"{percent(row['top1'])} <small>{interval_text(row.get('interval'))}</small>",
            percent(row["mean_class"]),
        )
        for name, row in groups.items()
    ]
    return _table(("group", "examples", "top-1", "mean of its classes"), rows, (1, 2, 3))


def _worst(rows: Sequence[Mapping[str, Any]], pictures: Mapping[int, str]) -> str:
    cells = []
    for row in rows[: max(NUM_THUMBNAILS, len(pictures))]:
        picture = pictures.get(row["index"])
        image = f'<img alt="three frames" src="{picture}">' if picture else ""
        cells.append(
            f"<div>{image}<bdi>{escape(row['class_name'])}</bdi> <small>{row['score']:.3f}</small>, seen as "
            f"<bdi>{escape(row['predicted'])}</bdi> <small>{row['predicted_score']:.3f}</small><br>"
            f"<small><bdi>{escape(row['id'])}</bdi></small></div>"
        )
    return f'<div class="clips">{"".join(cells)}</div>' if cells else ""


def _calibration(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    here = found.get("chosen_here", True)
    words = (
        f"Temperature {found['temperature']:.3f}, chosen {'on' if here else 'elsewhere and judged on'} "
        f"{found['num']} examples. Expected calibration error {found['ece_before']:.3f} before, "
        f"{found['ece']:.3f} after{' (each half judged by the other)' if here else ''}."
    )
    threshold = found.get("threshold")
    if threshold:
        words += (
            f" Answers from a score of {threshold['score']:.3f} on: {percent(threshold['accepted'])} of the "
            f"examples are answered, {percent(threshold['error'])} of those wrongly; below, say unknown."
        )
    elif here:
        words += " No threshold keeps the errors as rare as asked for."
    return f"<p>{escape(words)}</p>{draw_reliability(found.get('bins', ()))}"


def _failures(card: EvaluationCard) -> str:
    if not card.failures:
        return ""
    rows = [
        (f"<bdi>{escape(item.id)}</bdi>", escape(item.kind), escape(item.message))
        for item in card.failures[:NAMED]
    ]
    rest = len(card.failures) - len(rows)
    more = f"<p>and {rest:,} more (all are in the JSON)</p>" if rest else ""
    return _table(("example", "kind", "why"), rows) + more
