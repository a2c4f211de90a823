"""The `ofiq` engine: components of ISO/IEC 29794-5, each native and as a quality of 0 to 100.

Components whose networks are not published under a free licence are absent, and no stand-in
carries their name: unified_quality_score, sharpness, compression_artifacts, eyes_visible,
mouth_occlusion_prevention, face_occlusion_prevention, expression_neutrality, no_head_coverings.
"""

import math
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.assessment import Profile
from services.bqat.engines.face.alignment import (
    CHIN,
    SIDE_PX,
    Aligned,
    align,
    cheek_squares,
    eye_centres,
    head_length,
    rounded_points,
)
from services.bqat.engines.face.luminance import (
    colour_distance,
    entropy_bits,
    histogram,
    histogram_mean,
    histogram_variance,
    luminance,
    mean_lab,
)
from services.bqat.engines.face.reading import Reading
from services.bqat.engines.face.scalars import CONVERSIONS, to_scalar

Points = NDArray[np.float64]

_RIGHT_LIDS, _LEFT_LIDS = ((61, 67), (62, 66), (63, 65)), ((69, 75), (70, 74), (71, 73))
_INNER_LIPS = ((89, 95), (90, 94), (91, 93))
_DARK, _BRIGHT = 25, 247
# The background is looked at without 62 px at both sides and 108 px at the bottom.
_CROP_SIDE_PX, _CROP_BOTTOM_PX, _BACKGROUND_SIZE_PX, _ERODED_PX = 62, 108, (354, 295), 4
#: What needs the exposure's occlusion mask, or a network that stands in for the reference's.
ALWAYS_APPROX = (
    "BackgroundUniformity",
    "UnderExposurePrevention",
    "OverExposurePrevention",
    "SingleFacePresent",
    "InterEyeDistance",
    "HeadPoseYaw",
    "HeadPosePitch",
    "HeadPoseRoll",
)


def ofiq_profile(reading: Reading) -> Profile:
    """Every component that can be had, `<name>` native and `<name>_scalar`, in OFIQ's order."""
    native = native_components(reading)
    profile: Profile = {}
    for component in CONVERSIONS:
        if component in native and math.isfinite(native[component]):
            profile[snake_case(component)] = round(native[component], 6)
    for component in CONVERSIONS:
        if component in native and math.isfinite(native[component]):
            scalar = to_scalar(component, native[component])
            profile[f"{snake_case(component)}_scalar"] = int(scalar)
    given = reading.landmarks is not None and reading.landmarks.given
    approx = [
        snake_case(component)
        for component in CONVERSIONS
        if component in native and (component in ALWAYS_APPROX or not given)
    ]
    if approx:
        profile["approx"] = ",".join(approx)
    return profile


def snake_case(component: str) -> str:
    """`HeadPoseYaw` as `head_pose_yaw`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", component).lower()


def native_components(reading: Reading) -> dict[str, float]:
    """Native values by the standard's names, of the components that can be had."""
    found: dict[str, float] = {}
    if reading.face is None:
        return found
    areas = sorted((face.box.area for face in reading.faces), reverse=True)
    found["SingleFacePresent"] = areas[1] / areas[0] if len(areas) > 1 and areas[0] > 0 else 0.0
    found.update(_pose_components(reading))
    if reading.landmarks is None:
        return found
    height_px, width_px = reading.gray.shape
    points = rounded_points(reading.landmarks)
    yaw = reading.pose.yaw_deg if reading.pose is not None else None
    found.update(geometry(points, width_px, height_px, yaw))
    aligned = align(reading.rgb, reading.landmarks)
    if aligned is None:
        reading.notes.append("alignment: the face's points span no face")
        return found
    found["EyesOpen"] = eyes_open(aligned.points)
    found.update(capture(aligned, is_colour=reading.is_colour))
    if reading.person is not None:
        uniformity = background_uniformity(aligned, reading.person, reading.gray.shape)
        if uniformity is not None:
            found["BackgroundUniformity"] = uniformity
    return found


def _pose_components(reading: Reading) -> dict[str, float]:
    pose = reading.pose
    if pose is None:
        return {}
    angles = (
        ("HeadPoseYaw", pose.yaw_deg),
        ("HeadPosePitch", pose.pitch_deg),
        ("HeadPoseRoll", pose.roll_deg),
    )
    return {name: degrees for name, degrees in angles if degrees is not None}


def geometry(
    points: Points, width_px: int, height_px: int, yaw_deg: float | None
) -> dict[str, float]:
    """Components of the face's size and place.

    Args:
        points: `(98, 2)` whole pixels of the portrait.
        width_px: of the portrait.
        height_px: of the portrait.
        yaw_deg: the head's yaw; without it there is no inter-eye distance.
    """
    first, second = eye_centres(points)
    distance = float(np.hypot(*(second - first)))
    length = head_length(points)
    if distance == 0 or length == 0:
        return {}
    middle = np.floor((first + second) / 2 + 0.5)
    rounded_length = float(np.hypot(*(middle - points[CHIN]))) or length
    found = {
        "MouthClosed": _widest(points, _INNER_LIPS) / length,
        "HeadSize": length / height_px,
        "LeftwardCropOfTheFaceImage": float(second[0]) / distance,
        "RightwardCropOfTheFaceImage": (width_px - float(first[0])) / distance,
        "MarginAboveOfTheFaceImage": float(middle[1]) / rounded_length,
        "MarginBelowOfTheFaceImage": (height_px - float(middle[1])) / rounded_length,
    }
    if yaw_deg is not None and abs(math.cos(math.radians(yaw_deg))) > 1e-6:
        found["InterEyeDistance"] = distance / math.cos(math.radians(yaw_deg))
    return found


def eyes_open(points: Points) -> float:
    """The smaller of both eyes' widest lid distances, over T."""
    opening = min(_widest(points, _RIGHT_LIDS), _widest(points, _LEFT_LIDS))
    return opening / max(head_length(points), 1e-9)


def _widest(points: Points, pairs: tuple[tuple[int, int], ...]) -> float:
    return max(float(np.hypot(*(points[first] - points[second]))) for first, second in pairs)


def capture(aligned: Aligned, *, is_colour: bool) -> dict[str, float]:
    """Components of light and colour on the aligned face."""
    light = luminance(aligned.rgb)
    face = histogram(light[aligned.hull])
    found = {
        "LuminanceMean": histogram_mean(face),
        "LuminanceVariance": histogram_variance(face),
        "UnderExposurePrevention": float(face[: _DARK + 1].sum()),
        "OverExposurePrevention": float(face[_BRIGHT:].sum()),
        "DynamicRange": entropy_bits(face),
    }
    left, right = cheek_squares(aligned.points)
    if light[left].size and light[right].size:
        # What is not the face is black in both.
        first, second = (
            histogram(np.where(aligned.hull[cheek], light[cheek], 0).astype(np.uint8))
            for cheek in (left, right)
        )
        found["IlluminationUniformity"] = float(np.minimum(first, second).sum())
        found["NaturalColour"] = natural_colour(aligned, left, right) if is_colour else 0.0
    return found


def natural_colour(
    aligned: Aligned, left: tuple[slice, slice], right: tuple[slice, slice]
) -> float:
    """How far the mean colour of both cheeks is from those of skin."""
    cheeks = [
        np.where(aligned.hull[cheek][..., None], aligned.rgb[cheek], 0).reshape(-1, 3)
        for cheek in (left, right)
    ]
    return colour_distance(*mean_lab(np.concatenate(cheeks).astype(np.uint8)))


def background_uniformity(
    aligned: Aligned, person: NDArray[np.bool_], size_px: tuple[int, ...]
) -> float | None:
    """The mean luminance gradient of the background; None where there is none.

    The mask of the person stands in for the reference's face parsing.

    Args:
        aligned: the face at its place.
        person: `(h, w)`, of the whole portrait at any size.
        size_px: height and width of the portrait.
    """
    height_px, width_px = size_px[:2]
    rows, columns = person.shape
    # From the mask's pixels to the portrait's, to the aligned picture's.
    widen = np.array(
        [
            [width_px / columns, 0, width_px / columns / 2 - 0.5],
            [0, height_px / rows, height_px / rows / 2 - 0.5],
            [0, 0, 1],
        ]
    )
    matrix = aligned.matrix @ widen
    outside_is_person = cv2.warpAffine(
        person.astype(np.uint8),
        matrix,
        (SIDE_PX, SIDE_PX),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=1,
    )
    window = np.s_[: SIDE_PX - _CROP_BOTTOM_PX, _CROP_SIDE_PX : SIDE_PX - _CROP_SIDE_PX]
    picture = cv2.resize(aligned.rgb[window], _BACKGROUND_SIZE_PX, interpolation=cv2.INTER_LINEAR)
    covered = cv2.resize(
        outside_is_person[window], _BACKGROUND_SIZE_PX, interpolation=cv2.INTER_NEAREST
    )
    background = cv2.erode(
        np.asarray(covered == 0, np.uint8), np.ones((_ERODED_PX, _ERODED_PX), np.uint8)
    ).astype(np.bool_)
    if not background.any():
        return None
    light = luminance(np.asarray(picture, np.uint8))
    across = cv2.Sobel(light, cv2.CV_32F, 1, 0, ksize=3)
    down = cv2.Sobel(light, cv2.CV_32F, 0, 1, ksize=3)
    return float(np.hypot(across, down)[background].mean())
