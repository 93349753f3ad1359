"""The ways in which the lectures' papers turn a video into clips, and clips into one answer, by name.

A number means nothing without its protocol: with the same weights, 30 views are worth several points more
than one, and cost thirty times as much. Here each protocol is data: which clips in time, which crops of
each, how the views become one row of scores. `make_protocol("10x3", model)` fits one to a network.

Combining views: "softmax" averages probabilities, "logits" averages logits, "max" keeps the best logit of
any view, "sigmoid" averages independent probabilities (several labels a video).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import dataclass
from typing import Literal, get_args

from vadis.data.augment import NUM_CROPS, Crops
from vadis.data.clip_rules import ClipRule
from vadis.data.clips import check_modality
from vadis.data.reading import PLAIN, Reading
from vadis.models.contract import VideoModel
from vadis.models.cost import measure_cost
from vadis.specs import ClipSpec, at_test

Combine = Literal["softmax", "logits", "max", "sigmoid"]


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a video is looked at: clips by `rule`, each cut by `crops`, views put together by `combine`.

    square: the side of a crop, "crop" as the network was trained, or "short_side", the whole height of a
    landscape video, where the network takes that (a fully convolutional one). source: whose protocol it is.
    spec: the clips of the network that it was made for; None in the table `PROTOCOLS`. reading: how examples
    are read; what of it changes scores is told.
    """

    name: str
    rule: ClipRule
    crops: Crops = "centre"
    combine: Combine = "softmax"
    square: Literal["crop", "short_side"] = "crop"
    source: str = ""
    spec: ClipSpec | None = None
    reading: Reading = PLAIN

    @property
    def num_clips(self) -> int:
        """Clips in time."""
        return self.rule.num_clips

    @property
    def num_crops(self) -> int:
        """Crops in space, mirrored ones included."""
        return NUM_CROPS[self.crops]

    @property
    def num_views(self) -> int:
        """Clips x crops: how often the network runs for one video."""
        return self.num_clips * self.num_crops

    @property
    def flow(self) -> str | None:
        """The method of flow that is not stored, for networks that take flow."""
        modalities = "" if self.spec is None else self.spec.modality
        return self.reading.flow if "flow" in modalities else None

    @property
    def is_dense(self) -> bool:
        """Whether each clip is also an answer of its own, for its moment of the video."""
        return self.rule.name == "moments"

    def describe(self) -> str:
        """The protocol in words and numbers, for a person who has to do the same elsewhere."""
        spec = self.spec
        where = _WHERE[self.rule.name]
        if self.num_clips == 1:
            where = _SINGLE.get(self.rule.name, where)
        words = [f"{self.num_clips} clip{'' if self.num_clips == 1 else 's'} {where}"]
        if self.rule.at_most is not None:
            words[0] += f", at most {self.rule.at_most} frames"
        if spec is not None:
            rate = "" if spec.fps is None else f" at {spec.fps:g} frames per second"
            stride = "" if spec.frame_stride == 1 else f", one in {spec.frame_stride}"
            frames = "all frames" if self.rule.name == "whole" else f"{spec.num_frames} frames"
            if _is_heard(spec):
                count = "a picture" if spec.num_frames == 1 else f"{spec.num_frames} pictures"
                words.append(f"{count} of the sound about each moment")
            else:
                words.append(f"{frames}{stride}{rate}")
            side = f" of {spec.crop} x {spec.crop} pixels from a short side of {spec.size}"
        else:
            side = ""
        if spec is None or not _is_heard(spec):
            words.append(f"{_CROPS[self.crops]}{side}")
        if self.num_views > 1:
            words.append(_COMBINED[self.combine].format(views=f"{self.num_views} views"))
        else:
            words.append("one view")
        if self.flow is not None:
            words.append(f"flow by {self.flow} where none is stored")
        if self.reading.missing == "zero":
            words.append("zeros for a modality that a video lacks")
        return "; ".join(words)

    def to_dict(self) -> dict[str, object]:
        """The numbers, for a card: name, rule, clips, crops, views, combine, and the clip's own numbers."""
        numbers: dict[str, object] = {
            "name": self.name,
            "rule": self.rule.name,
            "num_clips": self.num_clips,
            "crops": self.crops,
            "num_crops": self.num_crops,
            "num_views": self.num_views,
            "combine": self.combine,
            "at_most_frames": self.rule.at_most,
            "out_of_range": self.rule.out_of_range,
        }
        if self.reading.missing != "error":
            numbers["missing"] = self.reading.missing
        if self.flow is not None:
            numbers["flow"] = self.flow
        if self.spec is not None:
            for name in ("num_frames", "frame_stride", "fps", "size", "crop"):
                numbers[name] = getattr(self.spec, name)
        return numbers


_WHERE = {
    "uniform": "evenly from the first to the last possible start",
    "segments": "whose frames are spread over the video",
    "slowfast": "by SlowFast's rule (start k at room x k / clips)",
    "slowfast_charades": "by SlowFast's rule for Charades (starts rounded, the last ends with the video)",
    "nonlocal": "by the non-local networks' rule (start k at length x k / clips, frames wrap)",
    "ssv2": "spread over the video by SlowFast's rule for Something-Something",
    "whole": "of the whole video",
    "tsn": "in the middles of equal parts (TSN)",
    "moments": "about the times k / clips of the video",
}
_SINGLE = {"uniform": "in the middle"}
_CROPS: dict[Crops, str] = {
    "none": "whole frames",
    "centre": "centre crop",
    "three": "3 crops along the longer side",
    "three_nonlocal": "3 crops along the longer side (non-local's places)",
    "four": "2 crops at the ends of the longer side, each also mirrored",
    "ten": "4 corners and the centre, each also mirrored",
}
_COMBINED: dict[Combine, str] = {
    "softmax": "softmax averaged over {views}",
    "logits": "logits averaged over {views}, then softmax",
    "max": "the best logit of {views}",
    "sigmoid": "sigmoid averaged over {views}",
}

PROTOCOLS: dict[str, EvaluationProtocol] = {
    protocol.name: protocol
    for protocol in (
        EvaluationProtocol("1x1", ClipRule("uniform", 1), source="clip hit@1; validation while training"),
        EvaluationProtocol(
            "1x3",
            ClipRule("uniform", 1, "clamp"),
            "three",
            source="TimeSformer (arXiv:2102.05095), sec. 4",
        ),
        EvaluationProtocol(
            "10x1", ClipRule("uniform", 10), source="R(2+1)D (arXiv:1711.11248), sec. 4.3: 10 centre crops"
        ),
        EvaluationProtocol(
            "10x3",
            ClipRule("slowfast", 10),
            "three",
            square="short_side",
            source="SlowFast (arXiv:1812.03982), sec. 4; PySlowFast's indices and crops",
        ),
        EvaluationProtocol(
            "10x3-nonlocal",
            ClipRule("nonlocal", 10),
            "three_nonlocal",
            square="short_side",
            source="non-local networks (arXiv:1711.07971), sec. 5.1; video-nonlocal-net's indices and crops",
        ),
        EvaluationProtocol(
            "10x3-charades",
            ClipRule("slowfast_charades", 10),
            "three",
            combine="max",
            square="short_side",
            source="SlowFast (arXiv:1812.03982), sec. 5, on Charades: the best score of any view",
        ),
        EvaluationProtocol(
            "25x10",
            ClipRule("tsn", 25),
            "ten",
            combine="logits",
            source="two-stream (arXiv:1406.2199), sec. 5; TSN (arXiv:1608.00859), sec. 3.3; ARTNet: 25 clips",
        ),
        EvaluationProtocol("25x1", ClipRule("tsn", 25), combine="logits", source="TSN without its crops"),
        EvaluationProtocol(
            "20x1", ClipRule("uniform", 20), source="LGD (arXiv:1906.05571), sec. 4: 20 clips"
        ),
        EvaluationProtocol(
            "20x4",
            ClipRule("uniform", 20),
            "four",
            source="DeepVideo (Karpathy et al. 2014), sec. 4.1: 20 random clips, 4 crops and flips each; "
            "ours are even, and the paper does not say which crops",
        ),
        EvaluationProtocol(
            "whole",
            ClipRule("whole", 1, at_most=250),
            combine="logits",
            source="Quo Vadis (arXiv:1705.07750), sec. 2.5: all frames in one forward pass",
        ),
        EvaluationProtocol(
            "dense",
            ClipRule("moments", 25),
            source="Charades (arXiv:1604.01753): 25 moments of each video, for scores over time",
        ),
    )
}
"""Every protocol of the lectures by name. Others are written CLIPSxCROPS, such as 5x1 or 12x3."""

_FREE = re.compile(r"(\d{1,4})x(1|3|4|10)")
_CROPS_OF: dict[str, Crops] = {"1": "centre", "3": "three", "4": "four", "10": "ten"}


def make_protocol(
    text: str,
    model: VideoModel,
    *,
    combine: Combine | None = None,
    multi_label: bool = False,
    reading: Reading = PLAIN,
) -> EvaluationProtocol:
    """A protocol by its name in `PROTOCOLS`, or CLIPSxCROPS (crops 1, 3, 4, 10), fitted to a network.

    combine: instead of the protocol's own. multi_label: then independent probabilities are wanted, and the
    best of any view counts unless `combine` says otherwise (PySlowFast on Charades). reading: how examples
    are read. A network that takes no larger crop than it was trained on gets crops of that size, and
    `describe` says so. Raises ValueError for an unknown name, with the nearest, and for a network that cannot
    take whole videos.
    """
    protocol = PROTOCOLS.get(text)
    if protocol is None:
        free = _FREE.fullmatch(text)
        if free is None or int(free[1]) == 0:
            near = difflib.get_close_matches(text, PROTOCOLS, 1, 0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"no protocol is called {text!r}{hint} (known: {', '.join(PROTOCOLS)}, or CLIPSxCROPS with "
                "1, 3, 4 or 10 crops, such as 5x3)"
            )
        protocol = EvaluationProtocol(text, ClipRule("uniform", int(free[1])), _CROPS_OF[free[2]])
    if combine is None:
        combine = "max" if multi_label else protocol.combine
    elif combine not in get_args(Combine):
        raise ValueError(f"combine ({combine!r}) must be one of {', '.join(get_args(Combine))}")
    spec = at_test(model.spec)
    check_modality(spec)
    if protocol.rule.name == "tsn" and spec.sampling == "segments":
        # TSN's own test: its 25 snippets are the 25 segments of one clip
        spec = _in_segments(spec, protocol.rule.num_clips)
        protocol = dataclasses.replace(protocol, rule=ClipRule("segments"))
    if protocol.square == "short_side" and spec.crop != spec.size:
        larger = dataclasses.replace(spec, crop=spec.size)
        if _takes(model, larger):
            spec = larger
    if protocol.rule.name == "whole" and not _takes(
        model, dataclasses.replace(spec, num_frames=2 * max(spec.num_frames, 8))
    ):
        raise ValueError(
            f"{model.name or type(model).__name__} takes clips of {spec.num_frames} frames and no others, so "
            "whole videos do not go through it; take a protocol with clips, such as 10x1"
        )
    if _is_heard(spec):
        # the crops of a picture of sound are all the same: one of them says as much
        protocol = dataclasses.replace(protocol, crops="none", square="crop")
    return dataclasses.replace(protocol, combine=combine, spec=spec, reading=reading)


def _is_heard(spec: ClipSpec) -> bool:
    """Whether nothing but sound goes in."""
    return all(part.sound is not None for part in spec.parts.values() or (spec,))


def _in_segments(spec: ClipSpec, num_segments: int) -> ClipSpec:
    parts = {name: _in_segments(part, num_segments) for name, part in spec.parts.items()}
    return dataclasses.replace(spec, num_frames=num_segments, parts=parts)


def _takes(model: VideoModel, spec: ClipSpec) -> bool:
    """Whether clips of that size go through a network; tried without computing anything."""
    try:
        measure_cost(model, spec.shapes)
    except (RuntimeError, ValueError, AssertionError, IndexError):
        return False
    return True
