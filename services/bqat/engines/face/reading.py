"""Everything that the engines need to know of one portrait, read once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.face import landmarks as points_of
from services.bqat.engines.face.detection import detect
from services.bqat.engines.face.eyes import eyes_by_rules
from services.bqat.engines.face.geometry import Box, Face, Pixels, Points
from services.bqat.engines.face.landmarks import Landmarks
from services.bqat.engines.face.pose import (
    Pose,
    mean_pose,
    pose_by_eyes,
    pose_by_network,
    pose_by_points,
)
from services.bqat.engines.face.rules import detect_by_rules
from services.bqat.engines.networks import LoadedNetwork, load_installed
from services.bqat.engines.samples import Sample
from shared.inference import Evidence

DEFAULT_CONFIDENCE = 0.7
_ABOUT_AS_LARGE = 0.8


@dataclass(frozen=True, slots=True)
class FaceNetworks:
    """The published networks that are installed; each may be absent.

    Two networks read the pose, and their mean is taken.
    """

    detector: LoadedNetwork | None
    mesh: LoadedNetwork | None
    iris: LoadedNetwork | None
    pose: tuple[LoadedNetwork, ...]
    eye_state: LoadedNetwork | None
    glasses: LoadedNetwork | None
    person: LoadedNetwork | None


def load_face_networks(home: Path) -> FaceNetworks:
    """Load what is installed."""
    poses = (load_installed(home, name) for name in ("head-pose", "fsanet-var"))
    return FaceNetworks(
        detector=load_installed(home, "yunet"),
        mesh=load_installed(home, "mediapipe-face-mesh"),
        iris=load_installed(home, "mediapipe-iris"),
        pose=tuple(network for network in poses if network is not None),
        eye_state=load_installed(home, "open-closed-eye"),
        glasses=load_installed(home, "glasses"),
        person=load_installed(home, "mediapipe-selfie"),
    )


@dataclass(slots=True)
class Reading:
    """One portrait.

    Attributes:
        rgb: `(H, W, 3)`.
        gray: `(H, W)`.
        faces: the face that is assessed first, then the others.
        landmarks: of the first face, where somebody can see or has brought them.
        pose: of the first face; None without a face.
        person: `(h, w)`, True on the person; it covers the whole picture. None without a face or
            without the network.
        used: the evidence of every network that took part.
        notes: what went wrong or was decided.
    """

    rgb: Pixels
    gray: Pixels
    is_colour: bool
    faces: list[Face]
    landmarks: Landmarks | None = None
    pupils: Points | None = None
    pose: Pose | None = None
    person: NDArray[np.bool_] | None = None
    used: list[Evidence] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def face(self) -> Face | None:
        """The face that is assessed: the largest, or the most central of about that size."""
        return self.faces[0] if self.faces else None


def read_portrait(
    networks: FaceNetworks, sample: Sample, file_name: str, options: Mapping[str, Any]
) -> Reading:
    """Find the face, its points and its pose with what is installed or brought along."""
    rgb, gray = sample.to_rgb(), sample.to_gray()
    reading = Reading(rgb, gray, sample.pixels.ndim == 3, [])
    try:
        given = points_of.given_landmarks(options, file_name)
    except ValueError as error:
        reading.notes.append(f"landmarks: {error}")
        given = None
    if networks.detector is not None:
        found = detect(networks.detector, rgb, _confidence(options))
        reading.faces = central_first(found, rgb.shape[1], rgb.shape[0])
        reading.used.append(networks.detector.evidence)
    elif given is None:
        reading.faces = detect_by_rules(rgb)
    if given is not None:
        around = points_of.face_around(given)
        reading.faces = [around, *_others(reading.faces, around)]
        reading.landmarks, reading.pupils = given, given.pupils
    if reading.face is None:
        reading.notes.append("face detection: no face found")
        return reading
    if given is None and networks.mesh is not None and networks.detector is not None:
        reading.landmarks = points_of.locate(networks.mesh, networks.iris, rgb, reading.face)
        reading.used.append(networks.mesh.evidence)
        if reading.landmarks is None:
            reading.notes.append("landmarks: no face is seen in the detected box")
        else:
            reading.pupils = reading.landmarks.points[96:98]
            reading.used += [networks.iris.evidence] if networks.iris is not None else []
    if reading.landmarks is None:
        reading.pupils = (
            eyes_by_rules(gray, reading.face.box)
            if reading.face.points is None
            else reading.face.points[:2]
        )
    reading.pose = _pose(networks, reading, reading.face)
    if networks.person is not None and reading.landmarks is not None:
        chance = networks.person.answer(rgb).reshape(networks.person.side_px)
        reading.person = np.asarray(chance > 0.5, np.bool_)
        reading.used.append(networks.person.evidence)
    return reading


def _pose(networks: FaceNetworks, reading: Reading, face: Face) -> Pose | None:
    if reading.landmarks is not None:
        # The mesh sees the eyes more steadily than the detector.
        face = Face(face.box, face.confidence, points_of.five_of(reading.landmarks))
    if networks.pose and face.points is not None:
        reading.used += [network.evidence for network in networks.pose]
        return mean_pose([pose_by_network(network, reading.rgb, face) for network in networks.pose])
    if reading.landmarks is not None:
        height_px, width_px = reading.gray.shape
        return pose_by_points(reading.landmarks, width_px, height_px)
    if reading.pupils is not None:
        return pose_by_eyes(reading.pupils[0], reading.pupils[1])
    return None


def _confidence(options: Mapping[str, Any]) -> float:
    """The least confidence that is asked for, 0 to 1; 0.7 where nothing sensible is."""
    wanted = options.get("confidence")
    if isinstance(wanted, int | float) and not isinstance(wanted, bool) and 0 < wanted <= 1:
        return float(wanted)
    return DEFAULT_CONFIDENCE


def _others(faces: list[Face], first: Face) -> list[Face]:
    """Faces whose centre lies outside the first one's box."""

    def is_inside(box: Box) -> bool:
        x, y = box.centre
        return first.box.left <= x <= first.box.right and first.box.top <= y <= first.box.bottom

    return [face for face in faces if not is_inside(face.box)]


def central_first(faces: list[Face], width_px: int, height_px: int) -> list[Face]:
    """The largest face first; of those not much smaller, the one nearest to the middle.

    Which of two faces of one size is a little larger changes with every crop and mirroring.
    """
    if not faces:
        return faces
    largest = max(face.box.area for face in faces)

    def distance(face: Face) -> float:
        x, y = face.box.centre
        return float(np.hypot(x - width_px / 2, y - height_px / 2))

    candidates = [face for face in faces if face.box.area >= _ABOUT_AS_LARGE * largest]
    first = min(candidates, key=distance)
    return [first, *(face for face in faces if face is not first)]


def eye_distance_px(reading: Reading) -> float | None:
    """The distance of the pupils, or None where they are not known."""
    if reading.pupils is None:
        return None
    return float(np.hypot(*(reading.pupils[1] - reading.pupils[0])))
