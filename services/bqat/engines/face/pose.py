"""Which way a head is turned, in real degrees.

Signs, for every source: yaw is positive when the subject turns to their left (the right of the
picture), pitch when they look up, roll when the head is turned anti-clockwise as the picture is
seen. A mirrored picture has the opposite yaw and roll.

Source:
    OpenCV's solvePnP for poses from points; the head of points is a mean adult face in mm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from services.bqat.engines.face.geometry import Face, Pixels, Points, cut
from services.bqat.engines.face.landmarks import Landmarks
from services.bqat.engines.networks import LoadedNetwork

#: Nearer to zero than this a head looks straight ahead.
LEVEL_DEG = 3.0
# X to the right of the picture, y down, z away from the camera, of a mean head in mm: outer
# corners of both eyes, tip of the nose, corners of the mouth, chin.
_HEAD_MM = np.array(
    [
        [-44.0, -33.0, 28.0],
        [44.0, -33.0, 28.0],
        [0.0, 0.0, 0.0],
        [-26.0, 30.0, 22.0],
        [26.0, 30.0, 22.0],
        [0.0, 66.0, 12.0],
    ]
)
_POINTS = (60, 72, 54, 76, 82, 16)
_POSE_MARGIN = {"head-pose": 1.1, "fsanet-var": 1.3}
# What turns a network's yaw and pitch into those of this module.
_SIGNS = {"head-pose": (1.0, -1.0), "fsanet-var": (-1.0, 1.0)}


@dataclass(frozen=True, slots=True)
class Pose:
    """Three angles, and what they were read with: `network`, `pnp` or `eyes`."""

    yaw_deg: float | None
    pitch_deg: float | None
    roll_deg: float | None
    method: str


@dataclass(frozen=True, slots=True)
class Angles:
    """What a network read, in the signs of this module."""

    yaw_deg: float
    pitch_deg: float
    roll_deg: float


def pose_by_network(network: LoadedNetwork, picture: Pixels, face: Face) -> Angles:
    """Ask a network about the face, its eyes level, and about its mirror image.

    The angle by which the eyes are levelled is part of the roll; the mirror image makes left equal
    right.
    """
    manifest = network.package.manifest
    angle = 0.0
    if face.points is not None:
        across = face.points[1] - face.points[0]
        angle = float(np.arctan2(across[1], across[0]))
    margin = _POSE_MARGIN.get(manifest.id, 1.0)
    side = (margin * face.box.width, margin * face.box.height)
    crop = cut(picture, face.box.centre, side, (network.side_px[1], network.side_px[0]), angle)
    straight = network.answer(crop.pixels)
    mirrored = network.answer(np.ascontiguousarray(crop.pixels[:, ::-1]))
    yaw, pitch, roll = (manifest.labels.index(f"{axis}_deg") for axis in ("yaw", "pitch", "roll"))
    yaw_sign, pitch_sign = _SIGNS.get(manifest.id, (1.0, 1.0))
    return Angles(
        yaw_sign * float(straight[yaw] - mirrored[yaw]) / 2,
        pitch_sign * float(straight[pitch] + mirrored[pitch]) / 2,
        -float(np.degrees(angle)) - float(straight[roll] - mirrored[roll]) / 2,
    )


def mean_pose(read: Sequence[Angles]) -> Pose:
    """The mean of what several networks read; there is at least one."""
    return Pose(
        float(np.mean([angles.yaw_deg for angles in read])),
        float(np.mean([angles.pitch_deg for angles in read])),
        float(np.mean([angles.roll_deg for angles in read])),
        "network",
    )


def pose_by_points(landmarks: Landmarks, width_px: int, height_px: int) -> Pose:
    """Solve the pose of a mean head from six of the 98 points."""
    points = landmarks.points[list(_POINTS)]
    focal = float(max(width_px, height_px))
    camera = np.array([[focal, 0, width_px / 2], [0, focal, height_px / 2], [0, 0, 1.0]])
    solved, turn, shift = cv2.solvePnP(_HEAD_MM, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not solved or float(np.ravel(shift)[2]) <= 0:
        return pose_by_eyes(landmarks.right_eye, landmarks.left_eye)
    rotation, _ = cv2.Rodrigues(turn)
    angles = euler_deg(np.asarray(rotation, np.float64))
    return Pose(*angles, method="pnp")


def euler_deg(rotation: Points) -> tuple[float, float, float]:
    """Yaw, pitch and roll of a `(3, 3)` rotation from the head's axes to the camera's.

    The order is roll, then pitch, then yaw: `R = Ry(yaw) @ Rx(pitch) @ Rz(roll)` for angles in
    the sense of the camera's axes, whose signs are then turned to those of this module.
    """
    pitch = float(np.degrees(np.arcsin(np.clip(-rotation[1, 2], -1, 1))))
    yaw = float(np.degrees(np.arctan2(rotation[0, 2], rotation[2, 2])))
    roll = float(np.degrees(np.arctan2(rotation[1, 0], rotation[1, 1])))
    # A head that turns to the picture's right turns its nose, at -z, towards +x; looking up
    # turns it towards -y.
    return -yaw, -pitch, -roll


def pose_by_eyes(right_eye: Points, left_eye: Points) -> Pose:
    """The roll of the line through both eyes; the other two angles are not known."""
    across = left_eye - right_eye
    return Pose(None, None, -float(np.degrees(np.arctan2(across[1], across[0]))), "eyes")
