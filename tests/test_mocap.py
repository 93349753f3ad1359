"""Reading motions, poses between keys, loops without jumps, sequences, and the fetch of the real files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import skip_or_fail
from made_motion import URDF, made_content, made_frame, made_motion, made_skeleton, turn

from vadis.data import mocap
from vadis.data.scene import quaternions
from vadis.data.scene.skeleton import MARKERS, PARTS, Shape, Skeleton, lift_above_ground
from vadis.downloads import DownloadError


def largest_turn(poses: mocap.Poses) -> float:
    """The largest angle (degrees) that any joint turns between neighbouring poses."""
    return float(
        np.degrees(quaternions.angle_between(poses.rotations_TJ4[1:], poses.rotations_TJ4[:-1])).max()
    )


def test_quaternions_agree_with_matrices() -> None:
    random = np.random.default_rng(0)
    a, b = quaternions.normalise(random.normal(size=(2, 50, 4)))
    product = quaternions.to_matrix(quaternions.multiply(a, b))
    np.testing.assert_allclose(product, quaternions.to_matrix(a) @ quaternions.to_matrix(b), atol=1e-12)
    inverse = quaternions.multiply(a, quaternions.invert(a))
    np.testing.assert_allclose(inverse, np.tile(quaternions.IDENTITY, (50, 1)), atol=1e-12)
    quarter = quaternions.about_axis(np.array([0.0, 1.0, 0.0]), np.pi / 2)
    np.testing.assert_allclose(quaternions.rotate(quarter, np.array([1.0, 0, 0])), [0, 0, -1], atol=1e-12)


def test_slerp_goes_the_short_way_at_constant_speed() -> None:
    start, end = np.array(turn((0, 0, 1), 10)), -np.array(turn((0, 0, 1), 90))
    shares = np.linspace(0, 1, 9)
    path = quaternions.slerp(np.tile(start, (9, 1)), np.tile(end, (9, 1)), shares)
    angles = np.degrees(quaternions.angle_between(path, np.tile(start, (9, 1))))
    np.testing.assert_allclose(angles, 80 * shares, atol=1e-9)
    same = quaternions.slerp(start[None], -start[None], [0.5])
    assert np.degrees(quaternions.angle_between(same, start[None]))[0] < 1e-6


def test_interpolation_passes_through_the_keys_and_is_smooth() -> None:
    motion = made_motion()
    at_keys = mocap.interpolate(motion, motion.times_T)
    np.testing.assert_allclose(at_keys.root_T3, motion.keys.root_T3, atol=1e-12)
    off = quaternions.angle_between(at_keys.rotations_TJ4, motion.keys.rotations_TJ4)
    assert off.max() < 1e-6
    fine = mocap.interpolate(motion, np.linspace(0, motion.seconds, 2001))
    assert largest_turn(fine) < 0.2
    speed = np.diff(fine.root_T3[:, 0]) * 2000
    assert np.abs(np.diff(speed)).max() < 0.02  # the velocity has no corners at the keys
    outside = mocap.interpolate(motion, [-5.0, 99.0])
    np.testing.assert_allclose(outside.root_T3, motion.keys.root_T3[[0, -1]])


def test_hinges_turn_about_z_by_the_angle_in_the_file() -> None:
    motion = made_motion(lambda share: made_frame(swing=45 * share))
    knee = motion.keys.rotations_TJ4[:, mocap.JOINTS.index("right_knee")]
    expected = quaternions.about_axis(np.array([0.0, 0, 1]), -np.radians(45 * np.linspace(0, 1, 11)))
    assert quaternions.angle_between(knee, expected).max() < 1e-9


def test_the_sign_and_length_of_a_quaternion_do_not_matter() -> None:
    content = made_content()
    plain = mocap.parse_motion(content, name="made")
    frames = content["Frames"]
    assert isinstance(frames, list)
    for k in range(1, len(frames), 2):
        for first in (4, 8, 12, 16, 21, 25, 30, 35, 39):
            frames[k][first : first + 4] = [-1.3 * value for value in frames[k][first : first + 4]]
    flipped = mocap.parse_motion(content, name="made")
    times = np.linspace(0, 3, 50)
    a, b = mocap.play(plain, times), mocap.play(flipped, times)
    assert quaternions.angle_between(a.rotations_TJ4, b.rotations_TJ4).max() < 1e-6


@pytest.mark.parametrize("loop", ["wrap", "mirror"])
def test_a_loop_goes_on_without_a_jump(loop: str) -> None:
    motion = made_motion(loop=loop)
    times = np.arange(0, 7.5, 0.001)
    poses = mocap.play(motion, times)
    steps = np.linalg.norm(np.diff(poses.root_T3, axis=0), axis=1)
    assert steps.max() < 0.002  # a walk of 1 m/s
    assert largest_turn(poses) < 0.5
    travelled = np.linalg.norm(poses.root_T3[-1] - poses.root_T3[0])
    if loop == "wrap":  # 20 degrees a round: seven rounds and a half walk part of a circle
        heading = np.degrees(np.unwrap(quaternions.heading(poses.rotations_TJ4[:, 0])))
        assert heading[7000] == pytest.approx(7 * 20, abs=0.1)
    else:  # each second round turns back: the way stays nearly straight
        assert travelled > 6.5
    assert np.abs(poses.root_T3[:, 1] - 0.885).max() < 0.02  # nothing climbs


def test_mirrored_rounds_exchange_left_and_right() -> None:
    motion = made_motion(lambda share: made_frame((share, 0.88, 0), swing=40 * np.sin(np.pi * share)))
    right, left = mocap.JOINTS.index("right_shoulder"), mocap.JOINTS.index("left_shoulder")
    other = mocap.mirror(motion)
    a, b = motion.keys.rotations_TJ4, other.keys.rotations_TJ4
    np.testing.assert_allclose(b[:, left], a[:, right] * [1, -1, -1, 1])
    again = mocap.mirror(other)
    np.testing.assert_allclose(again.keys.rotations_TJ4, a)
    skeleton = made_skeleton()
    places, _ = skeleton.place(motion.keys.root_T3, a, mocap.JOINTS)
    mirrored, _ = skeleton.place(other.keys.root_T3, b, mocap.JOINTS)
    left_hand, right_hand = skeleton.names.index("left_wrist"), skeleton.names.index("right_wrist")
    np.testing.assert_allclose(mirrored[:, left_hand], places[:, right_hand] * [1, 1, -1], atol=1e-12)


def test_a_motion_that_does_not_loop_holds_its_last_pose() -> None:
    motion = made_motion(loop="none")
    poses = mocap.play(motion, [motion.seconds, 50.0])
    np.testing.assert_allclose(poses.root_T3[0], poses.root_T3[1])
    np.testing.assert_allclose(poses.root_T3[1], motion.keys.root_T3[-1])


def test_a_sequence_follows_on_and_says_which_motion_when() -> None:
    first = made_motion()
    second = made_motion(
        lambda share: made_frame((3 - share, 0.8, 5.0), heading=100, swing=20), loop="none", num_frames=21
    )
    track = mocap.sequence([(first, 1.6), (second, 1.4)], fps=100)
    assert len(track.times_T) == 300
    assert track.fps == pytest.approx(100)
    assert [(span.start_seconds, span.end_seconds) for span in track.spans] == [(0.0, 1.6), (1.6, 3.0)]
    assert [span.label for span in track.spans] == [-1, -1]
    np.testing.assert_allclose(track.poses.root_T3[0, [0, 2]], 0)
    steps = np.linalg.norm(np.diff(track.poses.root_T3[:, [0, 2]], axis=0), axis=1)
    assert steps.max() < 0.03  # it starts where the first one stands, not 5 metres away
    assert largest_turn(track.poses) < 6
    before, after = track.poses[slice(0, 160)], mocap.sequence([(first, 1.6)], fps=100).poses
    np.testing.assert_allclose(before.root_T3, after.root_T3)
    np.testing.assert_allclose(before.rotations_TJ4, after.rotations_TJ4, atol=1e-12)


def test_speed_and_start_only_change_the_times() -> None:
    motion = made_motion()
    slow, fast = (mocap.sequence([(motion, 2 / speed)], fps=20 * speed, speed=speed) for speed in (1, 2))
    np.testing.assert_allclose(fast.poses.root_T3, slow.poses.root_T3, atol=1e-12)
    later = mocap.sequence([(motion, 1.0)], fps=20, start_seconds=0.5)
    shift = later.poses.root_T3 - slow.poses.root_T3[10:30]
    np.testing.assert_allclose(shift, np.tile(shift[:1], (20, 1)), atol=1e-12)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda content: content.pop("Frames"), "list of Frames"),
        (lambda content: content.update(Loop="sometimes"), "sometimes"),
        (lambda content: content.update(Frames=content["Frames"][:1]), "1 frames"),
        (lambda content: content["Frames"][3].pop(), "frame 3 does not have 44 numbers"),
        (lambda content: content["Frames"][3].__setitem__(5, "1.5"), "frame 3 holds something"),
        (lambda content: content["Frames"][3].__setitem__(5, [1]), "frame 3 holds something"),
        (lambda content: content["Frames"][3].__setitem__(5, 10**400), "too large"),
        (lambda content: content["Frames"][3].__setitem__(5, float("nan")), "finite"),
        (lambda content: content["Frames"][3].__setitem__(0, 0.0), "duration"),
        (lambda content: content["Frames"][3].__setitem__(slice(4, 8), [0, 0, 0, 0]), "length is zero"),
    ],
)
def test_a_wrong_file_is_named_with_the_reason(spoil: object, why: str, tmp_path: Path) -> None:
    content = made_content()
    spoil(content)  # type: ignore[operator]
    path = tmp_path / "humanoid3d_wrong.txt"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"(?s)humanoid3d_wrong.*({why})"):
        mocap.read_motion(path)


def test_read_motion_reads_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "humanoid3d_made.txt"
    path.write_text(json.dumps(made_content()))
    motion = mocap.read_motion(path)
    assert (motion.name, motion.loop, motion.seconds) == ("made", "wrap", pytest.approx(1.0))
    (tmp_path / "humanoid3d_deep.txt").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="humanoid3d_deep"):
        mocap.read_motion(tmp_path / "humanoid3d_deep.txt")


def test_unknown_names_are_refused_without_a_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fetch() -> Path:
        raise AssertionError("fetched")

    monkeypatch.setattr(mocap, "fetch", no_fetch)
    with pytest.raises(ValueError, match="there are backflip, cartwheel"):
        mocap.load_motion("moonwalk")
    assert len(mocap.list_motions()) == len(set(mocap.list_motions())) == 15
    with pytest.raises(ValueError, match="at least one motion"):
        mocap.sequence([])


def test_the_skeleton_hangs_together() -> None:
    skeleton = made_skeleton()
    assert skeleton.names[0] == "root"
    assert "base" not in skeleton.names
    assert all(parent < i for i, parent in enumerate(skeleton.parents))
    rest = np.tile(quaternions.IDENTITY, (1, len(mocap.JOINTS), 1))
    rest[0, 0] = turn((0, 1, 0), 90)
    places, _ = skeleton.place(np.array([[1.0, 2.0, 3.0]]), rest, mocap.JOINTS)
    foot = places[0, skeleton.names.index("right_ankle")]
    np.testing.assert_allclose(foot, [1 + 0.085, 2 - 0.8, 3], atol=1e-12)  # +Z turned by 90 degrees is +X
    tall = skeleton.shaped(Shape(legs=1.1, height=1.05))
    assert tall.leg_length() == pytest.approx(skeleton.leg_length() * 1.1 * 1.05)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<robot", "URDF"),
        ('<!DOCTYPE r [<!ENTITY a "b">]><robot/>', "entities"),
        (URDF.replace("left_knee", "left_nee"), "lacks left_knee"),
        (URDF.replace('<parent link="root"/>', '<parent link="nothing"/>', 1), "do not hang"),
        (URDF.replace('xyz="0 -1.6 0"', 'xyz="0 -1.6"'), "origin"),
    ],
)
def test_a_wrong_skeleton_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Skeleton.from_urdf(text)


def test_flesh_covers_every_bone_and_follows_the_build() -> None:
    skeleton = made_skeleton()
    flesh = skeleton.flesh(Shape())
    assert len(flesh.bones_P) == len(PARTS)
    assert set(flesh.bones_P) == set(range(len(skeleton.names)))
    lengths = np.linalg.norm(flesh.end_P3 - flesh.start_P3, axis=1)
    assert (lengths[flesh.radii_P2[:, 0] != flesh.radii_P2[:, 1]] > 0).all()
    thick = skeleton.flesh(Shape(thickness=1.2))
    arm = [i for i, part in enumerate(PARTS) if part.bone == "right_elbow"]
    np.testing.assert_allclose(thick.radii_P2[arm], 1.2 * flesh.radii_P2[arm])
    assert len(MARKERS) == 13
    with pytest.raises(ValueError, match="factor"):
        Shape(legs=0.0)


def test_a_body_is_lifted_out_of_the_ground_smoothly() -> None:
    low = np.array([0.1] * 30 + [-0.05] + [0.1] * 30)
    lift = lift_above_ground(low, fps=30)
    assert (low + lift).min() >= -1e-12
    assert np.abs(np.diff(lift)).max() < 0.01
    assert lift[0] == lift[-1] == 0


def test_only_the_known_files_are_taken_from_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "made.whl"
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("pybullet_data/data/motions/humanoid3d_backflip.txt", "{}")
        package.writestr("../escape.txt", "x")
    folder = tmp_path / "files"
    folder.mkdir()
    with pytest.raises(DownloadError, match=r"humanoid3d_backflip\.txt is not the file"):
        mocap.unpack(archive, folder)
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("../escape.txt", "x")
    with pytest.raises(DownloadError, match="does not hold"):
        mocap.unpack(archive, folder)
    archive.write_bytes(b"not a zip")
    with pytest.raises(DownloadError, match="does not hold"):
        mocap.unpack(archive, folder)
    assert not list(folder.iterdir())
    assert not (tmp_path.parent / "escape.txt").exists()


@pytest.fixture(scope="module")
def motions() -> dict[str, mocap.Motion]:
    try:
        mocap.fetch()
    except DownloadError as error:
        skip_or_fail(str(error))
    return {name: mocap.load_motion(name) for name in mocap.list_motions()}


@pytest.mark.network
def test_the_real_motions_are_whole(motions: dict[str, mocap.Motion]) -> None:
    assert min(motion.seconds for motion in motions.values()) > 0.7
    assert max(motion.seconds for motion in motions.values()) < 4.5
    skeleton = mocap.load_skeleton()
    assert skeleton.leg_length() == pytest.approx(0.25 * (1.686184 + 1.639480))
    walk = mocap.play(motions["walk"], [0, motions["walk"].seconds])
    assert np.linalg.norm(walk.root_T3[1] - walk.root_T3[0]) == pytest.approx(1.24, abs=0.05)
    for name, motion in motions.items():
        places, _ = skeleton.place(motion.keys.root_T3, motion.keys.rotations_TJ4, mocap.JOINTS)
        assert places[..., 1].max() < 3, name
        assert places[..., 1].min() > -0.15, name
        poses = mocap.play(motion, np.arange(0, 3 * motion.seconds, 0.004))
        assert np.linalg.norm(np.diff(poses.root_T3, axis=0), axis=1).max() < 0.05, name
        assert largest_turn(poses) < 15, name
    upside_down = mocap.play(motions["backflip"], np.arange(0, 1.75, 0.01)).rotations_TJ4[:, 0]
    assert quaternions.to_matrix(upside_down)[:, 1, 1].min() < -0.9
