"""How examples are read, as one value that goes from a command down to the decoder.

Whatever takes clips of a dataset (training, evaluation, features, transfer, prediction) hands a `Reading` on
unseen; `vadis.data.clips` is where it is obeyed. So a new way of reading is one field here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vadis.data.frame_cache import FrameCache
from vadis.records import Limits

Missing = Literal["error", "zero"]
"""What a modality that an example lacks means: the example fails, or zeros go in instead."""


@dataclass(frozen=True)
class Reading:
    """How examples are read.

    flow: the method of `vadis.video.flow.METHODS` by which flow is estimated on the way where none is stored;
    None: only stored flow is read. missing: "zero" puts zeros, marked as absent, where an example lacks a
    modality of a network of several (not its first). cache: of resized frames; flow and sound are never in
    it. limits: of each video. threads: of the decoder; None lets it choose. device: where flow is estimated,
    by the methods that can choose ("cpu" in the workers of a loader).
    """

    flow: str | None = None
    missing: Missing = "error"
    cache: FrameCache | None = None
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    threads: int | None = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.missing not in ("error", "zero"):
            raise ValueError(f'missing must be "error" or "zero", not {self.missing!r}')
        if self.flow is not None:
            from vadis.video.flow import METHODS

            if self.flow == "mv":
                raise ValueError("motion vectors lie in files: store them first (`vadis flow --method mv`)")
            if self.flow not in METHODS:
                raise ValueError(
                    f"{self.flow!r} is no method of optical flow; there are {', '.join(METHODS)}"
                )


PLAIN = Reading()
"""Stored flow alone, what is missing is an error, nothing cached, the usual limits."""
