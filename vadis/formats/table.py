"""Predictions as text for people: bars, a timeline, spans, and what was wrong with the file.

On a terminal with colour; as plain text in a file or a pipe, and where NO_COLOR is set; in ASCII where
the terminal's encoding knows no block characters. What a file or class is called is shown, never obeyed:
control characters are spelled out.
"""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.text import Text

from vadis.records import Prediction, Span

MAX_ROWS = 10  # labels shown; the others are counted (the JSON has them all)
MAX_LANES = 8
PLAIN_WIDTH = 100
COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "bright_red")
EIGHTHS = " ▏▎▍▌▋▊▉█"


class Table:
    """Shows predictions one after another on a text stream."""

    def __init__(self, file: TextIO) -> None:
        terminal = file.isatty() if hasattr(file, "isatty") else False
        self.console = Console(
            file=file, highlight=False, markup=False, emoji=False, width=None if terminal else PLAIN_WIDTH
        )
        encoding = (getattr(file, "encoding", None) or "utf-8").lower()
        self.blocks = encoding.replace("-", "").startswith("utf")
        self.width = max(40, min(self.console.width, 110))

    def show(self, prediction: Prediction) -> None:
        """Print one prediction: heading, labels with bars, timeline and spans, warnings; or its error."""
        name = spell_out(prediction.video)
        self.console.print(Text(name, style="bold", overflow="fold"))
        if prediction.error is not None:
            text = f"  error: {spell_out(prediction.error.message)} [{prediction.error.kind}]"
            self.console.print(Text(text, style="red", overflow="fold"))
            self.console.print()
            return
        self.console.print(Text(f"  {self._facts(prediction)}", style="dim", overflow="fold"))
        self._show_labels(prediction)
        self._show_streams(prediction)
        self._show_timeline(prediction)
        for warning in warnings_of(prediction):
            self.console.print(Text(f"  warning: {warning}", style="yellow", overflow="fold"))
        self.console.print()

    def _facts(self, prediction: Prediction) -> str:
        separator = " · " if self.blocks else " | "
        facts = []
        if prediction.duration_seconds is not None:
            facts.append(f"{prediction.duration_seconds:.1f} s")
        if prediction.frames_decoded is not None:
            facts.append(f"{prediction.frames_decoded} frames")
        facts.append(f"{len(prediction.windows)} window{'' if len(prediction.windows) == 1 else 's'}")
        facts.append(spell_out(prediction.model))
        return separator.join(facts)

    def _show_labels(self, prediction: Prediction) -> None:
        shown = prediction.labels[:MAX_ROWS]
        if not shown:
            return
        names = [shorten(spell_out(item.class_name), 34) for item in shown]
        column = max(map(len, names))
        room = min(60, self.width - column - 12)
        known = {span.label for span in prediction.spans}
        for name, item in zip(names, shown, strict=True):
            style = self._colour(prediction, item.label) if item.label in known else "bright_black"
            line = Text(f"  {name:<{column}}  ", style="bold" if item.label in known else "")
            line.append(f"{show_score(item.score)} ", style="")
            line.append(self._bar(item.score, room), style=style)
            self.console.print(line, no_wrap=True, overflow="crop")
        if len(prediction.labels) > len(shown):
            rest = len(prediction.labels) - len(shown)
            self.console.print(Text(f"  and {rest} more labels (--format json has them all)", style="dim"))

    def _show_streams(self, prediction: Prediction) -> None:
        """What each stream says by itself, where several were fused: a line each."""
        for name, each in prediction.streams.items():
            best = each.labels[0] if each.labels else None
            says = "left out" if best is None else f"{spell_out(best.class_name)} {show_score(best.score)}"
            self.console.print(Text(f"  {spell_out(name)} alone: {says}", style="dim", overflow="fold"))

    def _show_timeline(self, prediction: Prediction) -> None:
        end = prediction.duration_seconds or max((w.end_seconds for w in prediction.windows), default=0.0)
        if not prediction.spans:
            if prediction.labels:
                best = prediction.labels[0]
                self.console.print(Text("  none of the known actions", style="bold yellow"), end="")
                guess = f"; best guess: {spell_out(best.class_name)} ({best.score:.2f})"
                self.console.print(Text(guess, overflow="fold"))
            return
        best_of: dict[int, float] = {}
        for span in prediction.spans:
            best_of[span.label] = max(best_of.get(span.label, 0.0), span.score or 0.0)
        labels = list(dict.fromkeys(span.label for span in prediction.spans))
        room = self.width - 4
        if end > 0:
            self.console.print(self._ruler(end, room))
        for label in labels[:MAX_LANES]:
            spans = [span for span in prediction.spans if span.label == label]
            if end > 0:
                self.console.print(self._lane(spans, end, room, self._colour(prediction, label)))
            for span in spans[:MAX_ROWS]:
                score = "" if span.score is None else f"  {show_score(span.score)}"
                times = f"{clock(span.start_seconds)} to {clock(span.end_seconds)}"
                self.console.print(Text(f"  {times}  {spell_out(span.class_name)}{score}", overflow="fold"))
            if len(spans) > MAX_ROWS:
                self.console.print(Text(f"  and {len(spans) - MAX_ROWS} more spans of this class", "dim"))
        if len(labels) > MAX_LANES:
            self.console.print(Text(f"  and {len(labels) - MAX_LANES} more classes", "dim"))

    def _ruler(self, end: float, room: int) -> Text:
        left, right = clock(0.0), clock(end)
        return Text(f"  {left}{' ' * max(1, room - len(left) - len(right))}{right}", style="dim")

    def _lane(self, spans: list[Span], end: float, room: int, colour: str) -> Text:
        full, empty = ("█", "─") if self.blocks else ("#", "-")
        cells = [empty] * room
        for span in spans:
            first = min(room - 1, int(span.start_seconds / end * room))
            last = max(first + 1, min(room, round(span.end_seconds / end * room)))
            cells[first:last] = full * (last - first)
        line = Text("  ")
        for cell in cells:
            line.append(cell, style=colour if cell == full else "bright_black")
        line.no_wrap = True
        return line

    def _bar(self, score: float, room: int) -> str:
        score = min(1.0, max(0.0, score))
        if not self.blocks:
            return "#" * round(score * room)
        eighths = round(score * room * 8)
        return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()

    def _colour(self, prediction: Prediction, label: int) -> str:
        order = list(dict.fromkeys(span.label for span in prediction.spans))
        return COLOURS[order.index(label) % len(COLOURS)]


def warnings_of(prediction: Prediction) -> list[str]:
    """What a reader should know about the file: it ends early, has damaged frames, or mended times."""
    report = prediction.report
    if report is None:
        return []
    found = []
    if report.short:
        found.append(f"the file ends early: {report.frames_decoded} of {report.frames_expected} frames")
    if report.frames_corrupt:
        plural = "frame is" if report.frames_corrupt == 1 else "frames are"
        found.append(f"{report.frames_corrupt} {plural} damaged")
    if report.repaired:
        found.append("the file's timestamps are broken; times are counted from the frame rate")
    return found


def spell_out(text: str) -> str:
    """The text with control, format and surrogate characters as escapes: no name moves the cursor."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def show_score(score: float) -> str:
    """A score in five characters that never claims certainty: `0.912`, `>.999`, `<.001`."""
    if 0.9995 <= score < 1:
        return ">.999"
    return "<.001" if 0 < score < 0.0005 else f"{score:5.3f}"


def shorten(text: str, width: int) -> str:
    """Cut a text to `width` characters, an ellipsis at its end."""
    return text if len(text) <= width else text[: width - 3].rstrip() + "..."


def clock(seconds: float) -> str:
    """Seconds as `m:ss.t`, with hours where there are any."""
    tenths = max(0, round(seconds * 10))
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{rest // 10:02d}.{rest % 10}"
