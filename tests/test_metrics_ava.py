"""AVA's three rules against plain programs, and each of their traps by hand."""

from __future__ import annotations

import runpy
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vadis.metrics.ava as ava
from vadis.metrics.ava import GROUPS, RULES, AvaRows, average_precisions, box_iou, group_of
from vadis.metrics.classification import voc_average_precision

PLAIN = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "scoring.py"))
Row = tuple[int, float, float, float, float, int, float]


def rows(*table: Row, listed: tuple[int, ...] = ()) -> AvaRows:
    """A table from (frame, x1, y1, x2, y2, class, score)."""
    numbers = np.array(table, float).reshape(-1, 7)
    frame = numbers[:, 0].astype(int)
    return AvaRows(
        frame,
        numbers[:, 1:5],
        numbers[:, 5].astype(int),
        numbers[:, 6],
        np.unique([*frame, *listed]).astype(int),
    )


def ap(
    truth: AvaRows, found: AvaRows, rule: str = "official", classes: tuple[int, ...] = (12,)
) -> list[float]:
    return average_precisions(truth, found, classes, rule).tolist()


BOX, OTHER, FAR = (0.1, 0.1, 0.5, 0.5), (0.1, 0.1, 0.5, 0.45), (0.6, 0.6, 0.9, 0.9)


def test_a_second_box_on_a_found_one_is_wrong_and_does_not_fall_through() -> None:
    beside = (0.1, 0.1, 0.5, 0.48)  # overlaps what `OTHER` finds, and is the second-best of both detections
    truth = rows((0, *BOX, 12, 1), (0, *beside, 12, 1))
    found = rows((0, *BOX, 12, 0.9), (0, 0.1, 0.1, 0.5, 0.499, 12, 0.8))
    for rule in RULES:
        assert ap(truth, found, rule) == [0.5], rule


def test_an_overlap_of_exactly_one_half_counts() -> None:
    truth, found = rows((0, 0.25, 0.25, 0.75, 0.75, 12, 1)), rows((0, 0.25, 0.25, 0.75, 0.5, 12, 0.9))
    for rule in RULES:
        assert ap(truth, found, rule) == [1.0], rule


def test_order_within_a_frame() -> None:
    truth = rows((0, *BOX, 12, 1))
    found = rows((0, *OTHER, 12, 0.2), (0, *BOX, 12, 0.9))
    assert ap(truth, found, "official") == [1.0]  # the better score takes the box
    assert ap(truth, found, "mmaction2") == [1.0]
    assert ap(truth, found, "slowfast") == [0.5]  # the earlier row takes it


def test_fifty_rows_of_a_frame_over_all_classes() -> None:
    truth = rows((0, *BOX, 12, 0), (0, *FAR, 11, 1))
    many = [(0, *FAR, 11, 0.99 - i / 1000) for i in range(50)]
    found = rows(*many, (0, *BOX, 12, 0.05))
    assert ap(truth, found, "official", (11, 12)) == [1.0, 0.0]
    assert ap(truth, found, "slowfast", (11, 12)) == [1.0, 1.0]
    assert ap(truth, found, "mmaction2", (11, 12)) == [1.0, 1.0]
    assert ap(truth, found.pick(np.arange(1, 51)), "official", (11, 12)) == [1.0, 1.0]
    others = rows(
        *[(0, *FAR, 2, 0.99)] * 50, (0, *BOX, 12, 0.05)
    )  # a class that is not evaluated takes no place
    assert ap(truth, others, "official", (11, 12)) == [0.0, 1.0]


def test_what_the_cap_does_with_equal_scores() -> None:
    truth = rows((0, *BOX, 12, 0))
    same = [(0, *FAR, 11, 0.5)] * 49

    def score(*table: Row) -> float:
        return average_precisions(truth, rows(*table), [11, 12, 13])[1]

    # the 51st row of the least score does not come in ...
    assert score(*same, (0, *FAR, 11, 0.5), (0, *BOX, 12, 0.5)) == 0
    assert score((0, *BOX, 12, 0.5), *same, (0, *FAR, 11, 0.5)) == 1
    # ... and a better one pushes out the least (score, class, y1, x1, y2, x2)
    assert score((0, *BOX, 12, 0.5), *same, (0, *FAR, 11, 0.6)) == 1
    above = [(0, *FAR, 13, 0.5)] * 49
    assert score((0, *BOX, 12, 0.5), *above, (0, *FAR, 11, 0.6)) == 0


def test_an_empty_box_takes_a_place_among_the_fifty() -> None:
    truth = rows((0, *BOX, 12, 0))
    empty = [(0, 0.3, 0.3, 0.3, 0.5, 12, 0.9 - i / 1000) for i in range(50)]
    found = rows(*empty, (0, *BOX, 12, 0.1))
    assert ap(truth, found) == [0.0]
    assert ap(truth, found, "slowfast") == [1.0]  # no cap, and empty boxes are dropped
    assert ap(truth, found, "mmaction2") == [pytest.approx(1 / 51)]  # they stay, and are wrong


def test_frames_that_the_ground_truth_does_not_have() -> None:
    truth = rows((0, *BOX, 12, 1), listed=(1,))
    found = rows((0, *BOX, 12, 0.5), (1, *BOX, 12, 0.8), (2, *BOX, 12, 0.9))
    assert ap(truth, found, "official") == [0.5]  # frame 1 is listed without a box: wrong; frame 2: ignored
    assert ap(truth, found, "slowfast") == [pytest.approx(1 / 3)]
    assert ap(truth, found, "mmaction2") == [1.0]


def test_frames_of_other_classes_are_listed() -> None:
    truth = rows((0, *BOX, 12, 1), (1, *BOX, 2, 1))
    found = rows((0, *BOX, 12, 0.5), (1, *BOX, 12, 0.8))
    assert ap(truth, found, "official") == [0.5]
    assert ap(truth, found, "mmaction2") == [1.0]


def test_classes_without_detections_or_without_truth() -> None:
    truth, found = rows((0, *BOX, 12, 1)), rows((0, *BOX, 14, 0.5))
    assert ap(truth, found, "official", (12, 14, 80)) == pytest.approx([0, np.nan, np.nan], nan_ok=True)
    assert ap(truth, found, "slowfast", (12, 14, 80)) == pytest.approx([0, np.nan, np.nan], nan_ok=True)
    assert ap(truth, found, "mmaction2", (12, 14, 80)) == pytest.approx([np.nan] * 3, nan_ok=True)


def test_excluded_frames() -> None:
    truth = rows((0, *BOX, 12, 1), (1, *BOX, 12, 1))
    found = rows((0, *BOX, 12, 0.5), (1, *FAR, 12, 0.9))
    for rule, wanted in (("official", 1.0), ("slowfast", 1.0), ("mmaction2", 0.5)):
        # the last still counts the box of the excluded frame as missed
        assert average_precisions(truth, found, [12], rule, [1]).tolist() == [wanted], rule


def test_single_precision_ties_scores_that_differ() -> None:
    truth = rows((0, *BOX, 12, 1))
    found = rows((0, *BOX, 12, 0.5 + 1e-9), (0, *FAR, 12, 0.5))
    assert ap(truth, found, "official") == [1.0]
    assert ap(truth, found, "mmaction2") == [0.5]  # equal in float32: the later row comes first


def test_a_turned_box_of_the_ground_truth_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ends before it begins: \[0.5"):
        ap(rows((0, 0.5, 0.1, 0.1, 0.5, 12, 1)), rows((0, *BOX, 12, 0.5)))


def test_no_detection_at_all() -> None:
    assert ap(rows((0, *BOX, 12, 1)), rows()) == [0.0]


def test_boxes_without_area() -> None:
    point = np.array([[0.1, 0.1, 0.1, 0.1]])
    assert np.isnan(box_iou(point, point)).all()
    truth = rows((0, *point[0], 12, 1))
    assert ap(truth, rows((0, *point[0], 12, 0.5)), "mmaction2") == [0.0]


def test_groups() -> None:
    assert [group_of(number) for number in (1, 14, 15, 63, 64, 80)] == ["pose"] * 2 + ["object"] * 2 + [
        "person"
    ] * 2
    assert sum(last - first + 1 for first, last in GROUPS.values()) == 80
    with pytest.raises(ValueError, match="81"):
        group_of(81)


def toolkit_plainly(
    truth: AvaRows, found: AvaRows, classes: list[int], rule: str, excluded: set[int]
) -> list[float]:
    """PySlowFast's and MMAction2's rules, frame by frame and row by row."""
    single = rule == "mmaction2"
    kind = np.float32 if single else np.float64
    boxes: dict[tuple[int, int], list[np.ndarray]] = defaultdict(list)
    num_true: dict[int, int] = defaultdict(int)
    sorted_truth = np.argsort(-truth.score_N, kind="stable") if single else np.arange(len(truth.frame_N))
    for i in sorted_truth:
        frame, label = int(truth.frame_N[i]), int(truth.label_N[i])
        if label in classes:
            boxes[frame, label].append(truth.box_N4[i].astype(kind))
            num_true[label] += single or frame not in excluded
    labelled = {frame for frame, _ in boxes}
    reference = truth if single else found
    order = dict.fromkeys(reference.frame_N[np.isin(reference.label_N, classes)].tolist())
    tables: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for frame in order:
        if frame in excluded or (single and frame not in labelled):
            continue
        mine = [
            i for i in range(len(found.frame_N)) if found.frame_N[i] == frame and found.label_N[i] in classes
        ]
        if single:
            mine.sort(key=lambda i: -found.score_N[i])
        taken = set()
        for i in mine:
            box, label = found.box_N4[i].astype(kind), int(found.label_N[i])
            if not single and not (box[0] < box[2] and box[1] < box[3]):
                continue
            true = [] if frame in excluded else boxes.get((frame, label), [])
            overlaps = [float(box_iou(box[None], other[None])[0]) for other in true]
            best = int(np.argmax(overlaps)) if overlaps else -1
            hit = bool(overlaps) and overlaps[best] >= 0.5
            tables[label].append((float(kind(found.score_N[i])), hit and (label, best) not in taken))
            if hit:
                taken.add((label, best))
    figures = []
    for label in classes:
        ranked = sorted(range(len(tables[label])), key=lambda i: tables[label][i][0])[::-1]
        figure = voc_average_precision([tables[label][i][1] for i in ranked], num_true[label])
        figures.append(float("nan") if single and not tables[label] else figure)
    return figures


def made_tables(seed: int, decimals: int, num: int) -> tuple[AvaRows, AvaRows]:
    """Few frames and boxes, so that duplicates, ties, empty boxes and full frames are common."""
    chance = np.random.default_rng(seed)
    frames = chance.permutation(6)

    def table(num: int, spread: float) -> list[Row]:
        low = np.round(chance.integers(0, 3, (num, 2)) * 0.3 + chance.normal(0, spread, (num, 2)), 2)
        size = np.round(np.maximum(0.3 + chance.normal(0, spread, (num, 2)), 0), 2)
        return [
            (int(frame), *map(float, box), int(label), float(score))
            for frame, box, label, score in zip(
                chance.choice(frames, num),
                np.hstack([low, low + size]),
                chance.integers(10, 14, num),
                np.round(chance.random(num), decimals),
                strict=True,
            )
        ]

    return rows(*table(20, 0.02), listed=(5,)), rows(*table(num, 0.06))


def write(table: AvaRows, path: Path) -> Path:
    """AVA's format; a frame that is listed without a row becomes a row of two columns."""
    lines = [
        f"v{frame},{902 + frame:04d},{','.join(map(repr, box))},{label},{score!r}"
        for frame, box, label, score in zip(
            table.frame_N.tolist(),
            table.box_N4.tolist(),
            table.label_N.tolist(),
            table.score_N.tolist(),
            strict=True,
        )
    ]
    lines += [
        f"v{frame},{902 + frame}" for frame in set(table.listed_F.tolist()) - set(table.frame_N.tolist())
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 9]), st.sampled_from([5, 60, 500]))
def test_the_official_rule_against_a_plain_program(
    tmp_path_factory: pytest.TempPathFactory, seed: int, decimals: int, num: int
) -> None:
    truth, found = made_tables(seed, decimals, num)
    folder = tmp_path_factory.mktemp("ava")
    wanted = PLAIN["score_plainly"](write(truth, folder / "truth.csv"), write(found, folder / "found.csv"))
    classes = sorted({10, 11, 12, 13} & set(PLAIN["CLASSES"]))
    for label, figure in zip(classes, average_precisions(truth, found, classes), strict=True):
        assert wanted.get(label, np.nan) == pytest.approx(figure, abs=1e-12, nan_ok=True), label


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 9]), st.sampled_from(["slowfast", "mmaction2"]))
def test_the_toolkits_rules_against_a_plain_program(seed: int, decimals: int, rule: str) -> None:
    truth, found = made_tables(seed, decimals, 200)
    for excluded in (set(), {1, 4}):
        wanted = toolkit_plainly(truth, found, [10, 11, 12], rule, excluded)
        figures = average_precisions(truth, found, [10, 11, 12], rule, sorted(excluded))
        assert figures == pytest.approx(wanted, abs=1e-12, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["official", "mmaction2"]))
def test_the_order_of_rows_does_not_matter_without_ties(seed: int, rule: str) -> None:
    truth, found = made_tables(seed, 9, 200)
    one = average_precisions(truth, found, [10, 11, 12], rule)
    chance = np.random.default_rng(seed)
    other = average_precisions(truth, found.pick(chance.permutation(len(found.frame_N))), [10, 11, 12], rule)
    assert one == pytest.approx(other, abs=1e-12, nan_ok=True)


def test_small_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = made_tables(3, 9, 500)
    whole = average_precisions(truth, found, [10, 11, 12])
    monkeypatch.setattr(ava, "PAIRS_AT_ONCE", 7)
    assert average_precisions(truth, found, [10, 11, 12]).tolist() == whole.tolist()
