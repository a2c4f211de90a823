"""The `bqat` engine: the keys, types and units of the original's document, then what came later."""

import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.assessment import Profile, rounded
from services.bqat.engines.face.eyes import is_closed, wears_glasses
from services.bqat.engines.face.landmarks import Landmarks
from services.bqat.engines.face.pose import LEVEL_DEG
from services.bqat.engines.face.reading import FaceNetworks, Reading, eye_distance_px
from services.bqat.engines.image_measures import blockiness, picture_measures

_NOSE_ROOT = 51
# A smile widens the mouth and lifts its corners: shares of the eyes' distance and of the mouth.
_SMILE_WIDTH, _SMILE_LIFT = 0.98, 0.03
_ABSENT = (
    "smile",
    "eye_closed_left",
    "eye_closed_right",
    "ipd",
    "pupil_right_x",
    "pupil_right_y",
    "pupil_left_x",
    "pupil_left_y",
    "yaw_pose",
    "yaw_degree",
    "pitch_pose",
    "pitch_degree",
    "roll_pose",
    "roll_degree",
    "glasses",
)


def bqat_profile(reading: Reading, networks: FaceNetworks) -> Profile:
    """Profile of one portrait; a measure that nobody could take is None."""
    height_px, width_px = reading.gray.shape
    profile: Profile = {"image_height": height_px, "image_width": width_px}
    face = reading.face
    if face is not None:
        box = face.box
        profile["confidence"] = round(face.confidence, 6)
        profile["bbox_left"], profile["bbox_upper"] = round(box.left), round(box.top)
        profile["bbox_right"], profile["bbox_lower"] = round(box.right), round(box.bottom)
        profile.update(dict.fromkeys(_ABSENT))
        _add_eyes(profile, reading)
        if reading.landmarks is not None:
            _add_expression(profile, reading, reading.landmarks, networks)
        _add_pose(profile, reading)
        profile["face_detection"] = profile["confidence"]
    profile.update(rounded(picture_measures(reading.rgb, reading.gray)))
    profile["blockiness"] = round(blockiness(reading.gray), 6)
    if face is not None:
        profile["face_ratio"] = round(face.box.area / (height_px * width_px), 6)
        _add_place(profile, reading)
    approx = _stand_ins(reading, networks)
    if approx:
        profile["approx"] = ",".join(approx)
    return profile


def _add_eyes(profile: Profile, reading: Reading) -> None:
    """The pupils, relative to the box, the subject's right one at the smaller x."""
    face, distance = reading.face, eye_distance_px(reading)
    if face is None or distance is None or reading.pupils is None:
        return
    left, top = round(face.box.left), round(face.box.top)
    profile["ipd"] = int(distance)
    for side, (x, y) in zip(("right", "left"), reading.pupils, strict=True):
        profile[f"pupil_{side}_x"] = round(float(x)) - left
        profile[f"pupil_{side}_y"] = round(float(y)) - top


def _add_expression(
    profile: Profile, reading: Reading, landmarks: Landmarks, networks: FaceNetworks
) -> None:
    profile["smile"] = is_smiling(landmarks)
    for side in ("left", "right"):
        profile[f"eye_closed_{side}"] = is_closed(
            networks.eye_state, reading.rgb, landmarks, right=side == "right"
        )
    profile["glasses"] = wears_glasses(networks.glasses, reading.rgb, landmarks)
    reading.used += [
        network.evidence
        for network in (networks.eye_state, networks.glasses)
        if network is not None
    ]


def is_smiling(landmarks: Landmarks) -> bool:
    """Whether the mouth is wide and its corners lie above its middle, the eyes being level."""
    across = landmarks.left_eye - landmarks.right_eye
    distance = max(1e-6, float(np.hypot(*across)))
    cosine, sine = across / distance
    down = np.array([-sine, cosine])
    points = landmarks.points
    width = max(1e-6, float(np.hypot(*(points[82] - points[76]))))
    lips, corners = points[[90, 94]].mean(axis=0), points[[76, 82]].mean(axis=0)
    lift = float((lips - corners) @ down) / width
    return width / distance > _SMILE_WIDTH and lift > _SMILE_LIFT


def _add_pose(profile: Profile, reading: Reading) -> None:
    if reading.pose is None:
        return
    for axis, degrees, words in (
        ("yaw", reading.pose.yaw_deg, ("Right", "Forward", "Left")),
        ("pitch", reading.pose.pitch_deg, ("Down", "Level", "Up")),
        ("roll", reading.pose.roll_deg, ("Clockwise", "Level", "Anti-clockwise")),
    ):
        if degrees is not None:
            profile[f"{axis}_pose"] = words[direction(degrees)]
            profile[f"{axis}_degree"] = round(degrees, 6)


def direction(degrees: float) -> int:
    """0 for a negative angle, 1 for one near zero, 2 for a positive one."""
    if abs(degrees) < LEVEL_DEG:
        return 1
    return 2 if degrees > 0 else 0


def _add_place(profile: Profile, reading: Reading) -> None:
    """Where the head lies in the picture."""
    landmarks = reading.landmarks
    if landmarks is None:
        return
    height_px, width_px = reading.gray.shape
    x, y = landmarks.points[_NOSE_ROOT]
    profile["face_offset_x"] = round(float(x) / width_px - 0.5, 6)
    profile["face_offset_y"] = round(float(y) / height_px - 0.5, 6)
    left, top = landmarks.points.min(axis=0)
    right, bottom = landmarks.points.max(axis=0)
    profile["head_top"] = -1
    profile["head_bottom"], profile["head_left"] = round(float(bottom)), round(float(left))
    profile["head_right"] = round(float(right))
    if reading.person is not None:
        profile["head_top"] = _head_top(reading.person, reading, (left, top, right, bottom))


def _head_top(
    mask: NDArray[np.bool_],
    reading: Reading,
    extent: tuple[float, float, float, float],
) -> int:
    """The highest row of the person between the sides of the face, or -1."""
    left, top, right, bottom = extent
    rows, columns = mask.shape
    height_px, width_px = reading.gray.shape
    first = max(0, int(left / width_px * columns))
    last = min(columns, int(right / width_px * columns) + 1)
    # Hair is not higher above the brows than the face is high.
    highest = max(0, int((top - (bottom - top)) / height_px * rows))
    found = np.flatnonzero(mask[highest:, first:last].any(axis=1))
    return -1 if not len(found) else round((highest + int(found[0])) / rows * height_px)


def _stand_ins(reading: Reading, networks: FaceNetworks) -> list[str]:
    """Measures whose method is not the original's and weaker than a network made for it."""
    if reading.face is None:
        return []
    names = []
    if reading.landmarks is not None:
        names.append("smile")
        if networks.eye_state is None:
            names += ["eye_closed_left", "eye_closed_right"]
        if networks.glasses is None:
            names.append("glasses")
    if reading.pose is not None and reading.pose.method != "network":
        names += [
            f"{axis}_degree"
            for axis, found in (
                ("yaw", reading.pose.yaw_deg),
                ("pitch", reading.pose.pitch_deg),
                ("roll", reading.pose.roll_deg),
            )
            if found is not None
        ]
    if reading.landmarks is None and networks.detector is None:
        names += ["confidence", "ipd"]
    return names
