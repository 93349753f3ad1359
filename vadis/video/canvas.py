"""Paper, ink and letters for the pictures in `draw`: palette, text in any script, shapes with soft edges.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), which people with any kind of colour
blindness can tell apart; no picture relies on colour alone. Text is set in the font inside Pillow, so
pictures look the same everywhere; letters that it lacks come from a font of the system, and where there
is none, as plain letters or question marks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, ...]
Point = tuple[float, float]

PAPER: Colour = (255, 255, 255)
INK: Colour = (14, 17, 21)
GREY: Colour = (91, 98, 107)  # 6.1 : 1 on paper, so fit for small text
RULE: Colour = (217, 221, 226)
PANEL: Colour = (245, 246, 248)
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
)
SMOOTH = 2  # everything is drawn at twice the size and reduced

_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
    "PingFang.ttc",
)


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """The colour with `share` (0 to 1) of another one mixed in."""
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))


def ink_on(colour: Colour) -> Colour:
    """Black or white: whichever can be read better on a colour (WCAG 2 contrast)."""
    linear = [(c / 255 / 12.92) if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if (luminance + 0.05) / 0.06 > 1.05 / (luminance + 0.05) else PAPER


def clock(seconds: float, digits: int = 1) -> str:
    """Seconds as `m:ss`, with `digits` decimals, and hours where there are any: `1:02:03.4`."""
    scale = 10**digits
    ticks = max(0, round(seconds * scale))
    minutes, rest = divmod(ticks, 60 * scale)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    tail = f"{rest // scale:02d}" + (f".{rest % scale:0{digits}d}" if digits else "")
    return f"{head}:{tail}"


def figure(score: float) -> str:
    """A score with two decimals that never claims certainty: `>0.99` and `<0.01` at the ends."""
    if 0.995 <= score < 1:
        return ">0.99"
    return "<0.01" if 0 < score < 0.005 else f"{score:.2f}"


@lru_cache(maxsize=256)
def _system_font(name: str, size: float) -> Any:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


@lru_cache(maxsize=256)
def _own_font(size: float) -> Any:
    return ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def _has_glyph(name: str | None, letter: str) -> bool:
    font = _own_font(20) if name is None else _system_font(name, 20)
    if font is None:
        return False
    return letter == " " or bytes(font.getmask(letter)) != bytes(font.getmask("\U0010ffff"))


@lru_cache(maxsize=1024)
def settable(text: str) -> tuple[str | None, str]:
    """How a text can be set: the font (None: our own, else a system font's name) and the text for it.

    Control characters become spaces. A letter that no font has becomes its plain form (accents off),
    else `?`.
    """
    text = unicodedata.normalize("NFC", "".join(c if c.isprintable() else " " for c in text))
    letters = set(text)
    for name in (None, *_SYSTEM_FONTS):
        if all(_has_glyph(name, letter) for letter in letters):
            return name, text
    # a script that no single font covers: the font that has most of it
    names = [name for name in (None, *_SYSTEM_FONTS) if name is None or _system_font(name, 20) is not None]
    best = max(names, key=lambda name: sum(_has_glyph(name, letter) for letter in text))
    return best, "".join(_plain(best, letter) for letter in text)


def _plain(name: str | None, letter: str) -> str:
    if _has_glyph(name, letter):
        return letter
    plain = "".join(c for c in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(c))
    return plain if plain and all(_has_glyph(name, c) for c in plain) else "?"


def _font(name: str | None, size: float) -> Any:
    return (_own_font(size) if name is None else _system_font(name, size)) or _own_font(size)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width of a text in pixels, set at `size` pixels."""
    name, shown = settable(text)
    return float(_font(name, size * SMOOTH).getlength(shown)) / SMOOTH + (size / 30 if bold else 0)


def fit_text(text: str, size: float, width: float, bold: bool = False) -> str:
    """The text, or as much of its start as fits into `width` pixels and three dots."""
    if text_width(text, size, bold) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + "...", size, bold) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "..."


def wrap_text(text: str, size: float, width: float, max_lines: int) -> list[str]:
    """The text in at most `max_lines` lines of at most `width` pixels; the last one may end in dots."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < max_lines - 1:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size) <= width:
            count += 1
        lines.append(fit_text(" ".join(words[:count]), size, width))
        words = words[count:]
    return lines + ([fit_text(" ".join(words), size, width)] if words else [])


class Canvas:
    """A picture to draw on, measured in its own pixels; edges are soft. RGB, or RGBA to lay over frames."""

    def __init__(self, width: int, height: int, ground: Colour = PAPER) -> None:
        self.width, self.height = width, height
        self._image = Image.new(
            "RGBA" if len(ground) == 4 else "RGB", (width * SMOOTH, height * SMOOTH), ground
        )
        self._draw = ImageDraw.Draw(self._image)

    def box(
        self, left: float, top: float, right: float, bottom: float, fill: Colour, radius: float = 0
    ) -> None:
        """A filled rectangle with corners rounded by `radius` pixels; at least half a pixel wide."""
        x0, y0 = left * SMOOTH, top * SMOOTH
        corners = [x0, y0, max(right * SMOOTH - 1, x0), max(bottom * SMOOTH - 1, y0)]
        radius = min(radius, (right - left) / 2, (bottom - top) / 2)
        if radius > 0:
            self._draw.rounded_rectangle(corners, radius * SMOOTH, fill=fill)
        else:
            self._draw.rectangle(corners, fill=fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float = 1) -> None:
        """A line through points, `width` pixels thick."""
        scaled = [(x * SMOOTH, y * SMOOTH) for x, y in points]
        self._draw.line(scaled, fill=fill, width=max(1, round(width * SMOOTH)), joint="curve")

    def area(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon([(x * SMOOTH, y * SMOOTH) for x, y in points], fill=fill)

    def text(
        self,
        left: float,
        top: float,
        text: str,
        size: float,
        fill: Colour = INK,
        *,
        anchor: str = "la",
        bold: bool = False,
    ) -> float:
        """Set one line of text; the anchor is Pillow's (`la` left and top, `rm` right and middle).

        Returns its width in pixels.
        """
        name, shown = settable(text)
        font = _font(name, size * SMOOTH)
        stroke = size * SMOOTH / 60 if bold else 0
        place = (left * SMOOTH, top * SMOOTH)
        if anchor.endswith("a"):  # one base line for all fonts
            place = (place[0], place[1] + _own_font(size * SMOOTH).getmetrics()[0])
            anchor = anchor[0] + "s"
        self._draw.text(
            place, shown, fill=fill, font=font, anchor=anchor, stroke_width=stroke, stroke_fill=fill
        )
        return text_width(text, size, bold)

    def picture(self, left: float, top: float, width: float, height: float, frame_HWC: np.ndarray) -> None:
        """A frame (H, W, 3 uint8), scaled to width x height pixels."""
        size = (max(1, round(width * SMOOTH)), max(1, round(height * SMOOTH)))
        scaled = Image.fromarray(frame_HWC).resize(size, Image.Resampling.LANCZOS)
        self._image.paste(scaled, (round(left * SMOOTH), round(top * SMOOTH)))

    def pixels(self) -> np.ndarray:
        """The picture: (H, W, 3) or, with transparency, (H, W, 4), uint8."""
        return np.array(self._image.reduce(SMOOTH))


def lay_over(frame_HWC: np.ndarray, layer_HW4: np.ndarray, left: int, top: int) -> None:
    """Blend an RGBA layer onto a frame in place, its upper left corner at (left, top), cut to the frame."""
    height, width = frame_HWC.shape[:2]
    layer_HW4 = layer_HW4[: max(0, height - top), : max(0, width - left)]
    region = frame_HWC[top : top + layer_HW4.shape[0], left : left + layer_HW4.shape[1]]
    alpha = layer_HW4[..., 3:].astype(np.uint16)
    blended = region * (255 - alpha) + layer_HW4[..., :3] * alpha
    region[...] = ((blended + 127) // 255).astype(np.uint8)
