"""What two splits or two datasets have in common and should not: ids, sources, files, pictures.

A test on what was seen in training measures memory. Kinetics-400's training videos are in the test part of
Kinetics-600; the same film is cut twice; a download gives one video under two names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vadis.data.checking import Checked
from vadis.data.likeness import Likeness, find_alike
from vadis.records import Dataset


@dataclass(frozen=True)
class Leaks:
    """What two datasets share.

    ids and groups: names; contents: pairs of videos with the same pictures at the same times; alike: pairs
    that show the same pictures, encoded or cut differently. `num_compared` videos of each side had a
    manifest to compare pictures by.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    contents: tuple[tuple[str, str], ...]
    alike: tuple[Likeness, ...]
    num_compared: tuple[int, int] = (0, 0)

    @property
    def none(self) -> bool:
        """Whether nothing was found."""
        return not (self.ids or self.groups or self.contents or self.alike)


def find_leaks(
    first: Dataset,
    second: Dataset,
    first_rows: Sequence[Checked] = (),
    second_rows: Sequence[Checked] = (),
    *,
    min_share: float = 0.5,
) -> Leaks:
    """What two datasets share by name and, where manifests say what their videos show, by content.

    min_share: of the pictures of the shorter video (0 to 1) that must be alike. Only videos of the datasets'
    examples are compared.
    """
    ids = {example.id for example in first.examples} & {example.id for example in second.examples}
    groups = _groups(first) & _groups(second)
    ours, theirs = _used(first, first_rows), _used(second, second_rows)
    by_content: dict[str, list[str]] = {}
    for row in ours:
        if row.content:
            by_content.setdefault(row.content, []).append(row.video)
    contents = [(video, row.video) for row in theirs for video in by_content.get(row.content, ())]
    known = set(contents)
    alike = find_alike(_hashes(ours), _hashes(theirs), min_share=min_share)
    return Leaks(
        tuple(sorted(ids)),
        tuple(sorted(groups)),
        tuple(contents),
        tuple(item for item in alike if (item.first, item.second) not in known),
        (len(ours), len(theirs)),
    )


def _groups(dataset: Dataset) -> set[str]:
    return {example.group for example in dataset.examples} - {""}


def _used(dataset: Dataset, rows: Iterable[Checked]) -> list[Checked]:
    videos = {example.video for example in dataset.examples}
    return [row for row in rows if row.video in videos]


def _hashes(rows: Iterable[Checked]) -> list[tuple[str, list[bytes]]]:
    return [(row.video, [bytes.fromhex(each) for each in row.hashes]) for row in rows]
