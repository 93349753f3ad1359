"""The camera's own motion between frames, and flow without it.

A camera that pans, zooms or turns moves every pixel; what remains when that is taken away is what people do.
Between two frames the camera is one homography, fitted by RANSAC to matched key points (SIFT or ORB) together
with points that the flow carries from good corners; people, whose motion would mislead the fit, are masked
where their boxes are given. With few matches no homography is believed: it is the identity, and says so.

Source: Wang & Schmid, ICCV 2013, section 3: 50 matches and 25 inliers at least, as in the authors' program.
They match SURF, which OpenCV's published packages leave out (a patent); SIFT takes its place. They warp the
second frame and estimate flow a second time; `remove_camera` moves the flow's end points instead, which is
the same quantity without a second estimate (`unwarp_frame` gives the picture for the authors' way).

Legend: T fields between T + 1 frames, H W pixels, N boxes; "33" a homography that takes pixel (x, y, 1) of
one frame to the next; field values are u (right), v (down) in pixels per frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Field = NDArray[np.float32]
Picture = NDArray[np.uint8]
Features = Literal["sift", "orb"]

MIN_MATCHES = 50
MIN_INLIERS = 25
RANSAC_PIXELS = 1.0
MAX_CORNERS = 1000
MAX_KEYPOINTS = 2000
SIFT_RATIO = 0.8
"""Lowe's test: the best match is that much nearer than the second."""


@dataclass(frozen=True)
class CameraMotion:
    """How the camera moved between successive frames.

    homographies_T33: from pixels of frame i to those of frame i + 1; the identity where `found_T` is False.
    matches_T, inliers_T: how many points were matched, and how many RANSAC agreed with. notes: one sentence a
    pair without a homography.
    """

    homographies_T33: Floats
    found_T: NDArray[np.bool_]
    matches_T: NDArray[np.int64]
    inliers_T: NDArray[np.int64]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.homographies_T33)


@dataclass(frozen=True)
class Match:
    """The fit between two frames: its homography, and why it is the identity where it is (else "")."""

    homography_33: Floats
    num_matches: int
    num_inliers: int
    reason: str = ""


@dataclass(frozen=True)
class _View:
    """What a frame is matched by, computed once although it is in two pairs."""

    grey_HW: Picture
    mask_HW: Picture | None
    points: Floats
    descriptors: Any


def find_homography(
    frame_a: Picture,
    frame_b: Picture,
    flow_HW2: Field | None = None,
    boxes: ArrayLike = (),
    *,
    features: Features = "sift",
) -> Floats:
    """The homography of shape (3, 3) from frame a to frame b, both uint8 RGB of shape (H, W, 3).

    flow_HW2: flow from a to b, whose vectors at good corners of a are matches, too. boxes: people to leave
    out, (N, 4), xyxy in [0, 1]; in both frames. The identity where there is none to believe; `match_frames`
    says why. Raises ValueError for frames of different sizes.
    """
    return match_frames(frame_a, frame_b, flow_HW2, boxes, features=features).homography_33


def match_frames(
    frame_a: Picture,
    frame_b: Picture,
    flow_HW2: Field | None = None,
    boxes: ArrayLike = (),
    *,
    features: Features = "sift",
) -> Match:
    """As `find_homography`, with how many points (of shape (H, W, 3) frames) agreed, or why none is found."""
    pair = np.stack(_same_size([frame_a, frame_b]))
    fields = None if flow_HW2 is None else flow_HW2[None]
    return next(match_successive(pair, fields, [boxes, boxes], features=features))


def find_camera(
    frames_THWC: Picture,
    fields_THW2: Field | None = None,
    boxes: Sequence[ArrayLike] = (),
    *,
    features: Features = "sift",
) -> CameraMotion:
    """The camera's motion through T + 1 frames, each looked at once.

    frames_THWC: uint8 RGB. fields_THW2: flow between them, one fewer. boxes: for each frame its people, of
    shape (N, 4), or nothing at all. Raises ValueError for numbers or sizes that do not fit.
    """
    found = list(match_successive(frames_THWC, fields_THW2, boxes, features=features))
    return CameraMotion(
        np.stack([each.homography_33 for each in found]) if found else np.zeros((0, 3, 3)),
        np.array([not each.reason for each in found], np.bool_),
        np.array([each.num_matches for each in found], np.int64),
        np.array([each.num_inliers for each in found], np.int64),
        tuple(f"frames {i} and {i + 1}: {each.reason}" for i, each in enumerate(found) if each.reason),
    )


def match_successive(
    frames_THWC: Iterable[Picture],
    fields_THW2: Iterable[Field] | None = None,
    boxes: Sequence[ArrayLike] = (),
    *,
    features: Features = "sift",
) -> Iterator[Match]:
    """The fits between successive frames, one by one, for videos of any length.

    frames_THWC: uint8 RGB, each (H, W, 3). fields_THW2, boxes: as in `find_camera`.
    """
    if features not in ("sift", "orb"):
        raise ValueError(f"features must be sift or orb, not {features!r}")
    fields = None if fields_THW2 is None else iter(fields_THW2)
    before: _View | None = None
    for index, frame_HWC in enumerate(frames_THWC):
        if len(boxes) and index >= len(boxes):
            raise ValueError(f"boxes are of {len(boxes)} frames, but there are more frames")
        view = _look_at(frame_HWC, boxes[index] if len(boxes) else (), features)
        if before is not None:
            if view.grey_HW.shape != before.grey_HW.shape:
                raise ValueError(f"frames differ in size: {before.grey_HW.shape} and {view.grey_HW.shape}")
            field_HW2 = None if fields is None else next(fields)
            yield _fit(before, view, field_HW2)
        before = view


def camera_flow(homography_33: ArrayLike, height: int, width: int) -> Field:
    """The flow that the camera alone would make: for each pixel where the homography takes it, less itself.

    homography_33: shape (3, 3). Returns field_HW2, float32.
    """
    grid_HW2 = _grid(height, width)
    return (_carry(np.asarray(homography_33, np.float64), grid_HW2) - grid_HW2).astype(np.float32)


def remove_camera(fields_THW2: Field, homographies_T33: ArrayLike) -> Field:
    """Warped flow: the motion that is left when the camera stands still, in the first frame's pixels.

    A pixel x that flow f carries to x + f is taken back by the inverse homography; less x that is its own
    motion, exactly 0 where f is the camera's. fields_THW2: one field or several, homographies_T33 likewise.
    """
    fields = np.asarray(fields_THW2, np.float32)
    homographies = np.asarray(homographies_T33, np.float64)
    if fields.shape[:-3] != homographies.shape[:-2] or fields.shape[-1:] != (2,):
        raise ValueError(
            f"(..., H, W, 2) needs (..., 3, 3): fields {fields.shape}, homographies {homographies.shape}"
        )
    if fields.ndim == 4:
        parts = [remove_camera(field, each) for field, each in zip(fields, homographies, strict=True)]
        return np.stack(parts) if parts else fields
    grid_HW2 = _grid(*fields.shape[:2])
    ends_HW2 = np.asarray(grid_HW2 + fields, np.float64)
    return (_carry(np.asarray(np.linalg.inv(homographies), np.float64), ends_HW2) - grid_HW2).astype(
        np.float32
    )


def unwarp_frame(frame: Picture, homography_33: ArrayLike) -> Picture:
    """The second frame of a pair as the camera of the first would have seen it.

    frame: uint8 (H, W) or (H, W, 3). homography_33: shape (3, 3), from the first frame to this one. The edge
    is repeated where the second frame saw nothing: black there would be a motion of its own.
    """
    cv2 = _opencv()
    height, width = frame.shape[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = np.asarray(homography_33, np.float64)
    unwarped: Picture = cv2.warpPerspective(
        frame, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return unwarped


def _opencv() -> Any:
    from vadis.video.flow import opencv

    return opencv()


def _same_size(frames: Sequence[Picture]) -> Sequence[Picture]:
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"frames differ in size: {sorted(sizes)}")
    return frames


def _grid(height: int, width: int) -> Floats:
    rows_HW, columns_HW = np.mgrid[0:height, 0:width]
    return np.stack([columns_HW, rows_HW], -1).astype(np.float64)


def _carry(homography_33: Floats, points: Floats) -> Floats:
    """Points (..., 2) through a homography."""
    carried = points @ homography_33[:, :2].T + homography_33[:, 2]
    scale = carried[..., 2:]
    return np.asarray(carried[..., :2] / np.where(np.abs(scale) < 1e-9, 1e-9, scale))


def _look_at(frame_HWC: Picture, boxes: ArrayLike, features: Features) -> _View:
    cv2 = _opencv()
    if frame_HWC.ndim != 3 or frame_HWC.shape[2] != 3 or frame_HWC.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 (H, W, 3), got {frame_HWC.dtype} {frame_HWC.shape}")
    grey_HW = cv2.cvtColor(np.ascontiguousarray(frame_HWC), cv2.COLOR_RGB2GRAY)
    mask_HW = _mask_people(np.asarray(boxes, np.float64), *grey_HW.shape)
    if features == "sift":
        detector = cv2.SIFT_create(MAX_KEYPOINTS)
    else:  # its own 31 pixels of edge without key points would be half of a small picture
        detector = cv2.ORB_create(MAX_KEYPOINTS, edgeThreshold=10, patchSize=19)
    keypoints, descriptors = detector.detectAndCompute(grey_HW, mask_HW)
    points = np.array([keypoint.pt for keypoint in keypoints], np.float64).reshape(-1, 2)
    return _View(grey_HW, mask_HW, points, descriptors)


def _mask_people(boxes_N4: Floats, height: int, width: int) -> Picture | None:
    """255 where the background is; None without people."""
    if not boxes_N4.size:
        return None
    if boxes_N4.ndim != 2 or boxes_N4.shape[1] != 4 or not np.isfinite(boxes_N4).all():
        raise ValueError(f"boxes must be finite and (N, 4), got shape {boxes_N4.shape}")
    mask_HW = np.full((height, width), 255, np.uint8)
    for left, top, right, bottom in np.clip(boxes_N4, 0, 1) * [width, height, width, height]:
        mask_HW[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = 0
    return mask_HW


def _fit(before: _View, after: _View, field_HW2: Field | None) -> Match:
    """RANSAC over all matches of a pair."""
    cv2 = _opencv()
    starts, ends = _match_keypoints(before, after)
    if field_HW2 is not None:
        more_starts, more_ends = _match_by_flow(before, field_HW2)
        starts, ends = np.concatenate([starts, more_starts]), np.concatenate([ends, more_ends])
    still, count = np.eye(3), len(starts)
    if count < MIN_MATCHES:
        return Match(
            still, count, 0, f"{count} matches, fewer than {MIN_MATCHES}: no camera motion is assumed"
        )
    found, agreed = cv2.findHomography(starts, ends, cv2.RANSAC, RANSAC_PIXELS)
    inliers = 0 if found is None else int(agreed.sum())
    if inliers < MIN_INLIERS:
        reason = f"{inliers} of {count} matches agree, fewer than {MIN_INLIERS}: no camera motion is assumed"
        return Match(still, count, inliers, reason)
    if not _plausible(found, *before.grey_HW.shape):
        return Match(still, count, inliers, "the fit would fold the picture: no camera motion is assumed")
    return Match(np.asarray(found, np.float64), count, inliers)


def _match_keypoints(before: _View, after: _View) -> tuple[Floats, Floats]:
    """Points (N, 2) of both frames whose descriptors are each other's clear best match."""
    cv2 = _opencv()
    nothing = np.zeros((0, 2)), np.zeros((0, 2))
    if len(before.points) < 2 or len(after.points) < 2:
        return nothing
    norm = cv2.NORM_HAMMING if before.descriptors.dtype == np.uint8 else cv2.NORM_L2
    candidates = cv2.BFMatcher(norm).knnMatch(before.descriptors, after.descriptors, k=2)
    best = [first for first, second in candidates if first.distance < SIFT_RATIO * second.distance]
    if not best:
        return nothing
    return before.points[[each.queryIdx for each in best]], after.points[[each.trainIdx for each in best]]


def _match_by_flow(before: _View, field_HW2: Field) -> tuple[Floats, Floats]:
    """Good corners of the first frame (N, 2) and where the flow carries them, but those that leave it."""
    cv2 = _opencv()
    height, width = before.grey_HW.shape
    if field_HW2.shape != (height, width, 2):
        raise ValueError(f"the flow must be ({height}, {width}, 2) as the frames are, got {field_HW2.shape}")
    corners = cv2.goodFeaturesToTrack(before.grey_HW, MAX_CORNERS, 0.001, 3, mask=before.mask_HW)
    if corners is None:
        return np.zeros((0, 2)), np.zeros((0, 2))
    starts = corners.reshape(-1, 2).astype(np.float64)
    columns, rows = starts.round().astype(np.int64).T
    ends = starts + field_HW2[rows, columns]
    inside = ((ends >= 0) & (ends <= [width - 1, height - 1])).all(1)
    return starts[inside], ends[inside]


def _plausible(homography_33: Floats, height: int, width: int) -> bool:
    """Whether a camera can move so: the picture stays a convex, unmirrored patch of a quarter to 4 times
    its area."""
    corners_42 = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    if ((corners_42 @ homography_33[2, :2] + homography_33[2, 2]) <= 0).any():
        return False
    moved_42 = _carry(homography_33, corners_42)
    sides_42 = np.roll(moved_42, -1, 0) - moved_42
    following_42 = np.roll(sides_42, -1, 0)
    turns_4 = sides_42[:, 0] * following_42[:, 1] - sides_42[:, 1] * following_42[:, 0]
    area = abs(turns_4[0] + turns_4[2]) / 2
    return bool((turns_4 > 0).all() and height * width / 4 <= area <= height * width * 4)
