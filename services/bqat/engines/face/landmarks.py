"""Points of a face: the 468 of the mesh network, or the 98 that a user brings along.

Measures are defined on the 98 points of ISO/IEC 29794-5's reference (the numbering of WFLW):
0 to 32 the outline, 16 the chin, 33 to 50 the brows, 51 to 59 the nose, 60 to 67 and 68 to 75 the
eyes, 76 to 87 the outer and 88 to 95 the inner lips, 96 and 97 the pupils. What is 60 to 67 lies
on the left of the picture: the subject's right eye.

Source:
    Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs",
    2019, arXiv:1907.06724 (the mesh); Wu et al., "Look at boundary", CVPR 2018 (98 points).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.bqat.engines.face.geometry import Box, Face, Pixels, Points, cut
from services.bqat.engines.networks import LoadedNetwork

_MARGIN = 1.5
# The mesh network's logit that there is a face at all.
_PRESENCE = "conv2d_31"
_IRIS_MARGIN = 2.3
COUNT = 98
# Mesh points along the outline, from the temple on the picture's left to the chin and on.
_OUTLINE_DOWN = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)
_OUTLINE_UP = (152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)
_BROWS = (70, 63, 105, 66, 107, 55, 65, 52, 53)
_OTHER_BROW = (336, 296, 334, 293, 300, 283, 282, 295, 285)
_NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
_EYES = (33, 160, 159, 158, 133, 153, 145, 144, 362, 385, 386, 387, 263, 373, 374, 380)
_MOUTH = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)
_LIPS = (78, 81, 13, 311, 308, 402, 14, 178)


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Points of one face in pixels of the picture.

    Attributes:
        points: `(98, 2)`.
        mesh: `(468, 2)`, or None where the points were brought along.
        pupils: `(2, 2)`: the subject's right pupil, then the left; None where nobody saw them.
        given: whether a user brought the points.
    """

    points: Points
    mesh: Points | None
    pupils: Points | None
    given: bool = False

    def middle(self, first: int, second: int) -> Points:
        """The point between two."""
        return np.asarray((self.points[first] + self.points[second]) / 2, np.float64)

    @property
    def right_eye(self) -> Points:
        """The middle of the corners of the subject's right eye, on the picture's left."""
        return self.middle(60, 64)

    @property
    def left_eye(self) -> Points:
        """The middle of the corners of the subject's left eye."""
        return self.middle(68, 72)


def locate(
    mesh: LoadedNetwork, iris: LoadedNetwork | None, picture: Pixels, face: Face
) -> Landmarks | None:
    """Run the mesh on the face and the iris network on both eyes; None where it sees none."""
    angle = 0.0
    if face.points is not None:
        across = face.points[1] - face.points[0]
        angle = float(np.arctan2(across[1], across[0]))
    side = _MARGIN * max(face.box.width, face.box.height)
    height_px, width_px = mesh.side_px
    crop = cut(picture, face.box.centre, (side, side), (width_px, height_px), angle)
    outputs = mesh.run(crop.pixels)
    presence = outputs.get(_PRESENCE)
    if presence is not None and float(presence.reshape(-1)[0]) < 0:
        return None
    raw = outputs[mesh.package.manifest.output.name].reshape(-1, 3).astype(np.float64)
    points = crop.back(raw[:, :2])
    pupils = None
    if iris is not None:
        pupils = np.stack(
            [
                _pupil(iris, picture, points[33], points[133], angle, mirrored=False),
                _pupil(iris, picture, points[263], points[362], angle, mirrored=True),
            ]
        )
    return Landmarks(_ninety_eight(points, pupils), points, pupils)


def _pupil(
    iris: LoadedNetwork,
    picture: Pixels,
    outer: Points,
    inner: Points,
    angle: float,
    *,
    mirrored: bool,
) -> Points:
    """The centre of one iris."""
    side = _IRIS_MARGIN * float(np.hypot(*(inner - outer)))
    middle = (outer + inner) / 2
    crop = cut(
        picture,
        (float(middle[0]), float(middle[1])),
        (side, side),
        (iris.side_px[1], iris.side_px[0]),
        angle,
        mirrored=mirrored,
    )
    centre = iris.answer(crop.pixels).reshape(-1, 3)[:1, :2].astype(np.float64)
    return np.asarray(crop.back(centre)[0], np.float64)


def _ninety_eight(mesh: Points, pupils: Points | None) -> Points:
    outline = np.concatenate(
        [_resampled(mesh[list(_OUTLINE_DOWN)], 17), _resampled(mesh[list(_OUTLINE_UP)], 17)[1:]]
    )
    places = [*_BROWS, *_OTHER_BROW, *_NOSE, *_EYES, *_MOUTH, *_LIPS]
    if pupils is None:
        pupils = np.stack([mesh[[159, 145]].mean(axis=0), mesh[[386, 374]].mean(axis=0)])
    return np.concatenate([outline, mesh[places], pupils])


def _resampled(line: Points, count: int) -> Points:
    """`count` points at even distances along a line."""
    steps = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0, along[-1], count)
    return np.stack([np.interp(wanted, along, line[:, axis]) for axis in (0, 1)], axis=1)


def given_landmarks(options: Mapping[str, Any], file_name: str) -> Landmarks | None:
    """The 98 points that the options bring along for this file, or None.

    `options["landmarks"]` maps file names to lists of 98 pairs; the name may be the last part of
    the path.

    Raises:
        ValueError: what is brought is not 98 pairs of finite numbers.
    """
    brought = options.get("landmarks")
    if not isinstance(brought, Mapping):
        return None
    found = brought.get(file_name, brought.get(file_name.rsplit("/", 1)[-1]))
    if found is None:
        return None
    if not isinstance(found, Sequence) or len(found) != COUNT:
        raise ValueError(f"{COUNT} points are needed")
    try:
        points = np.asarray(found, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("the points are not pairs of numbers") from error
    if points.shape != (COUNT, 2) or not np.isfinite(points).all() or np.abs(points).max() > 1e5:
        raise ValueError("the points are not pairs of numbers inside a picture")
    return Landmarks(points, None, points[96:98], given=True)


def face_around(landmarks: Landmarks) -> Face:
    """The box of given points, for which no detector is asked."""
    left, top = landmarks.points.min(axis=0)
    right, bottom = landmarks.points.max(axis=0)
    # The points end at the brows; a face's box reaches to the forehead.
    top -= 0.2 * (bottom - top)
    return Face(Box(float(left), float(top), float(right), float(bottom)), 1.0, five_of(landmarks))


def five_of(landmarks: Landmarks) -> Points:
    """`(5, 2)`: the five points that a detector finds, taken from the 98."""
    return np.stack(
        [
            landmarks.right_eye,
            landmarks.left_eye,
            landmarks.points[54],
            landmarks.points[76],
            landmarks.points[82],
        ]
    )
