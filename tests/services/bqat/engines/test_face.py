"""The face engines as a whole: without networks, with landmarks brought along, and by networks."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from services.bqat.engines import Assessment, Assessor, Unassessable, create_assessor
from services.bqat.engines.face.geometry import Box, Face
from services.bqat.engines.face.landmarks import locate
from services.bqat.engines.specification import SPECIFICATION
from shared.inference import load_package
from shared.inference.download import Downloader
from shared.inference.zoo import get_entry, pull_package
from shared.settings import Settings
from tests.services.bqat.engines.drawings import to_bytes
from tests.services.bqat.engines.portraits import landmarks, portrait

ASSETS = os.environ.get("VEDETTE_ASSETS")
MIRROR = os.environ.get("VEDETTE_MODEL_MIRROR")
NETWORKS = (
    "yunet",
    "mediapipe-face-mesh",
    "mediapipe-iris",
    "head-pose",
    "fsanet-var",
    "open-closed-eye",
    "glasses",
    "mediapipe-selfie",
)
#: The example of the original's document, its keys in its order.
DOCUMENTED: Mapping[str, type] = {
    "image_height": int,
    "image_width": int,
    "confidence": float,
    "bbox_left": int,
    "bbox_upper": int,
    "bbox_right": int,
    "bbox_lower": int,
    "smile": bool,
    "eye_closed_left": bool,
    "eye_closed_right": bool,
    "ipd": int,
    "pupil_right_x": int,
    "pupil_right_y": int,
    "pupil_left_x": int,
    "pupil_left_y": int,
    "yaw_pose": str,
    "yaw_degree": float,
    "pitch_pose": str,
    "pitch_degree": float,
    "roll_pose": str,
    "roll_degree": float,
    "glasses": bool,
}

Pixels = NDArray[np.uint8]


def assess(
    assessor: Assessor, pixels: Pixels, engine: str = "fusion", **options: Any
) -> Assessment:
    return assessor.assess(
        "face", to_bytes(pixels), file_name="a.png", engine=engine, options=options
    )


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Assessor:
    """An assessor on a machine where no network has been pulled."""
    return create_assessor(Settings(home=tmp_path_factory.mktemp("bare")))


@pytest.fixture(scope="module")
def assessor(tmp_path_factory: pytest.TempPathFactory) -> Assessor:
    """An assessor with every network that it knows."""
    if MIRROR is None:
        pytest.skip("VEDETTE_MODEL_MIRROR does not say where the published weights are")
    home = tmp_path_factory.mktemp("home")
    downloader = Downloader(tmp_path_factory.mktemp("downloads"), MIRROR)
    for name in NETWORKS:
        pull_package(
            name,
            get_entry(name),
            home,
            downloader,
            verify=lambda folder: load_package(folder).worst_deviation,
        )
    return create_assessor(Settings(home=home))


def photograph(name: str) -> Pixels:
    """A public portrait, RGB."""
    if ASSETS is None:
        pytest.skip("VEDETTE_ASSETS does not say where the portraits are")
    picture = cv2.imread(str(Path(ASSETS) / "face" / name))
    assert picture is not None
    return np.asarray(picture[..., ::-1], np.uint8)


def number(found: Assessment, name: str) -> float:
    value = found.profile[name]
    assert isinstance(value, int | float), name
    return float(value)


def test_a_machine_without_networks_answers_by_rules(bare: Assessor) -> None:
    """Nothing that only a network could see is invented."""
    points = landmarks((300, 330))

    found = assess(bare, portrait(points, (700, 600)), "bqat")

    assert found.evidence == "rules"
    assert found.errors == ()
    assert number(found, "ipd") == pytest.approx(113, abs=15)
    assert number(found, "bbox_left") < 270 < 330 < number(found, "bbox_right")
    assert found.profile["roll_pose"] == "Level"
    for unseen in ("smile", "eye_closed_left", "yaw_degree", "pitch_degree", "glasses"):
        assert found.profile[unseen] is None
    assert "confidence" in str(found.profile["approx"])


def test_a_picture_without_a_face_keeps_its_own_measures(bare: Assessor) -> None:
    blue = np.full((240, 320, 3), (20, 40, 200), np.uint8)

    found = assess(bare, blue, "bqat")

    assert found.errors == ("face detection: no face found",)
    assert "confidence" not in found.profile
    assert found.profile["image_height"] == 240
    assert number(found, "brightness") > 0
    assert assess(bare, blue, "ofiq").profile == {}


def test_landmarks_that_are_brought_make_components_exact(bare: Assessor) -> None:
    points = landmarks((300, 330))

    found = assess(bare, portrait(points, (700, 600)), "ofiq", landmarks={"a.png": points.tolist()})

    exact = {
        "illumination_uniformity",
        "luminance_mean",
        "luminance_variance",
        "dynamic_range",
        "natural_colour",
        "eyes_open",
        "mouth_closed",
        "head_size",
        "leftward_crop_of_the_face_image",
        "rightward_crop_of_the_face_image",
        "margin_above_of_the_face_image",
        "margin_below_of_the_face_image",
    }
    approx = set(str(found.profile["approx"]).split(","))
    natives = {name for name in found.profile if f"{name}_scalar" in found.profile}
    assert exact <= natives
    assert exact.isdisjoint(approx)
    assert natives - exact == approx
    assert found.evidence == "rules"
    assert number(found, "eyes_open") == pytest.approx(20 / 190, abs=0.01)


def test_bad_landmarks_are_said_and_left_aside(bare: Assessor) -> None:
    picture = portrait(landmarks((300, 330)), (700, 600))

    found = assess(bare, picture, "ofiq", landmarks={"a.png": [[1, 2]]})

    assert "landmarks: 98 points are needed" in found.errors


@pytest.mark.parametrize("absent", ["unified_quality_score", "sharpness", "expression_neutrality"])
def test_no_stand_in_bears_the_name_of_a_licensed_network(bare: Assessor, absent: str) -> None:
    points = landmarks((300, 330))
    found = assess(bare, portrait(points, (700, 600)), "ofiq", landmarks={"a.png": points.tolist()})

    assert absent not in found.profile


@pytest.mark.parametrize("engine", ["biqt", "magic"])
def test_an_unknown_engine_is_refused(bare: Assessor, engine: str) -> None:
    with pytest.raises(Unassessable, match=engine):
        assess(bare, portrait(landmarks()), engine)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n broken", b"MZ\x90"])
@pytest.mark.parametrize("modality", ["face", "fingerprint", "finger", "iris", "speech", "gait"])
def test_what_cannot_be_read_is_refused(bare: Assessor, modality: str, content: bytes) -> None:
    with pytest.raises(Unassessable):
        bare.assess(modality, content, file_name="a", engine=None, options={})


def test_darkening_lowers_luminance_and_raises_under_exposure(bare: Assessor) -> None:
    points = landmarks((300, 330))
    picture = portrait(points, (700, 600))
    given = {"a.png": points.tolist()}
    bright = assess(bare, picture, landmarks=given)
    dark = assess(bare, (picture * 0.2).astype(np.uint8), landmarks=given)

    assert number(dark, "luminance_mean") < number(bright, "luminance_mean")
    assert number(dark, "under_exposure_prevention") > number(bright, "under_exposure_prevention")
    assert number(dark, "under_exposure_prevention_scalar") < number(
        bright, "under_exposure_prevention_scalar"
    )
    assert number(dark, "brightness") < number(bright, "brightness")


def test_light_from_one_side_lowers_uniformity(bare: Assessor) -> None:
    points = landmarks((300, 330))
    picture = portrait(points, (700, 600))
    shaded = (picture * np.linspace(1, 0.3, 600)[:, None]).astype(np.uint8)
    given = {"a.png": points.tolist()}

    assert number(assess(bare, shaded, landmarks=given), "illumination_uniformity") < number(
        assess(bare, picture, landmarks=given), "illumination_uniformity"
    )


def test_blur_lowers_sharpness_and_compression_raises_blockiness(bare: Assessor) -> None:
    picture = photograph("astronaut.png")
    plain = assess(bare, picture, "bqat")
    blurred = assess(bare, np.asarray(cv2.GaussianBlur(picture, (0, 0), 3), np.uint8), "bqat")
    compressed = bare.assess(
        "face",
        to_bytes(picture, ".jpg", quality=8),
        file_name="a.jpg",
        engine="bqat",
        options={},
    )

    assert number(blurred, "sharpness") < 0.2 * number(plain, "sharpness")
    assert number(compressed, "blockiness") > 1.3 * number(plain, "blockiness")


def test_rules_find_the_faces_of_photographs(bare: Assessor) -> None:
    """Each of these faces lies around this point."""
    for name, (x, y) in (
        ("astronaut.png", (225, 120)),
        ("biden.jpg", (570, 380)),
        ("obama.jpg", (493, 260)),
    ):
        found = assess(bare, photograph(name), "bqat")
        assert number(found, "bbox_left") < x < number(found, "bbox_right")
        assert number(found, "bbox_upper") < y < number(found, "bbox_lower")


@pytest.mark.weights
def test_the_documented_keys_come_first_with_their_types(assessor: Assessor) -> None:
    for name in ("astronaut.png", "biden.jpg", "obama.jpg", "two_people.jpg"):
        found = assess(assessor, photograph(name), "bqat")
        assert list(found.profile)[: len(DOCUMENTED)] == list(DOCUMENTED)
        for key, kind in DOCUMENTED.items():
            assert type(found.profile[key]) is kind, key
        assert found.evidence == "research"
        assert json.loads(json.dumps(found.profile, allow_nan=False)) == found.profile
        assert {type(value) for value in found.profile.values()} <= {int, float, str, bool}


@pytest.mark.weights
def test_pupils_lie_in_the_box_the_right_one_at_the_smaller_x(assessor: Assessor) -> None:
    found = assess(assessor, photograph("obama.jpg"), "bqat")

    width = number(found, "bbox_right") - number(found, "bbox_left")
    assert 0 < number(found, "pupil_right_x") < number(found, "pupil_left_x") < width
    distance = np.hypot(
        number(found, "pupil_left_x") - number(found, "pupil_right_x"),
        number(found, "pupil_left_y") - number(found, "pupil_right_y"),
    )
    assert number(found, "ipd") == pytest.approx(distance, abs=2)


@pytest.mark.weights
def test_what_the_photographs_show_is_seen(assessor: Assessor) -> None:
    smiling = {"astronaut.png": True, "obama.jpg": True, "biden.jpg": False}
    for name, smiles in smiling.items():
        found = assess(assessor, photograph(name))
        assert found.profile["smile"] is smiles
        assert found.profile["glasses"] is False
        assert found.profile["eye_closed_left"] is False
        assert found.profile["eye_closed_right"] is False
        assert number(found, "single_face_present_scalar") == 100
    two = assess(assessor, photograph("two_people.jpg"))
    assert number(two, "single_face_present_scalar") < 10


@pytest.mark.weights
def test_drawn_glasses_are_seen(assessor: Assessor) -> None:
    picture = photograph("obama.jpg").copy()
    plain = assess(assessor, picture, "bqat")
    left, top = number(plain, "bbox_left"), number(plain, "bbox_upper")
    for side in ("right", "left"):
        x, y = (number(plain, f"pupil_{side}_{axis}") for axis in "xy")
        cv2.ellipse(
            picture, (int(left + x), int(top + y) + 4), (46, 34), 0, 0, 360, (20, 20, 20), 7
        )

    assert plain.profile["glasses"] is False
    assert assess(assessor, picture, "bqat").profile["glasses"] is True


@pytest.mark.weights
@pytest.mark.parametrize("name", ["astronaut.png", "biden.jpg", "obama.jpg", "two_people.jpg"])
def test_a_mirrored_photograph_has_the_opposite_yaw_and_roll(assessor: Assessor, name: str) -> None:
    picture = photograph(name)
    seen = assess(assessor, picture, "bqat")
    mirrored = assess(assessor, np.ascontiguousarray(picture[:, ::-1]), "bqat")

    assert number(mirrored, "yaw_degree") == pytest.approx(-number(seen, "yaw_degree"), abs=4)
    assert number(mirrored, "roll_degree") == pytest.approx(-number(seen, "roll_degree"), abs=3)
    assert number(mirrored, "pitch_degree") == pytest.approx(number(seen, "pitch_degree"), abs=5)
    assert number(mirrored, "ipd") == pytest.approx(number(seen, "ipd"), abs=4)
    assert number(mirrored, "bbox_left") == pytest.approx(
        picture.shape[1] - number(seen, "bbox_right"), abs=8
    )


@pytest.mark.weights
@pytest.mark.parametrize("turn_deg", [-15, 15])
def test_a_turned_photograph_is_turned_by_that_angle(assessor: Assessor, turn_deg: float) -> None:
    """OpenCV turns anti-clockwise, which is positive."""
    picture = photograph("obama.jpg")
    matrix = cv2.getRotationMatrix2D((494, 300), turn_deg, 1)
    turned = cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    before = number(assess(assessor, picture, "bqat"), "roll_degree")
    after = number(assess(assessor, np.asarray(turned, np.uint8), "bqat"), "roll_degree")

    assert after - before == pytest.approx(turn_deg, abs=4)


@pytest.mark.weights
def test_a_scaled_photograph_scales_the_distance_of_the_pupils(assessor: Assessor) -> None:
    picture = photograph("obama.jpg")
    before = assess(assessor, picture)
    for factor in (0.5, 1.6):
        scaled = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        after = assess(assessor, np.asarray(scaled, np.uint8))
        assert number(after, "ipd") == pytest.approx(factor * number(before, "ipd"), rel=0.06)
        assert number(after, "inter_eye_distance") == pytest.approx(
            factor * number(before, "inter_eye_distance"), rel=0.06
        )
        assert number(after, "head_size") == pytest.approx(number(before, "head_size"), rel=0.06)


@pytest.mark.weights
def test_closed_eyes_are_less_open(assessor: Assessor) -> None:
    """Skin painted over both eyes."""
    picture = photograph("obama.jpg").copy()
    plain = assess(assessor, picture)
    left, top = number(plain, "bbox_left"), number(plain, "bbox_upper")
    for side in ("right", "left"):
        x, y = (number(plain, f"pupil_{side}_{axis}") for axis in "xy")
        spot = (int(left + x), int(top + y) - 2)
        cv2.ellipse(picture, spot, (27, 11), 0, 0, 360, (150, 105, 80), -1)
        cv2.line(picture, (spot[0] - 24, spot[1] + 9), (spot[0] + 24, spot[1] + 9), (60, 40, 30), 3)
    closed = assess(assessor, np.asarray(cv2.GaussianBlur(picture, (3, 3), 0), np.uint8))

    assert closed.profile["eye_closed_left"] is True
    assert closed.profile["eye_closed_right"] is True
    assert number(closed, "eyes_open") < number(plain, "eyes_open")


@pytest.mark.weights
def test_every_column_is_specified(assessor: Assessor) -> None:
    found = assess(assessor, photograph("obama.jpg"))

    described = {**SPECIFICATION["face/bqat"], **SPECIFICATION["face/ofiq"]}
    assert set(found.profile) - set(described) == set()


@pytest.mark.weights
def test_a_box_without_a_face_has_no_landmarks(assessor: Assessor) -> None:
    """The mesh draws a face into anything; its own doubt decides whether that counts."""
    networks = assessor.face_networks
    assert networks.mesh is not None
    suit = Face(Box(400, 700, 600, 900), 0.9)
    head = Face(Box(372, 80, 616, 426), 0.9)
    picture = photograph("obama.jpg")

    assert locate(networks.mesh, networks.iris, picture, suit) is None
    assert locate(networks.mesh, networks.iris, picture, head) is not None


@pytest.mark.parametrize("modality", ["face", "fingerprint", "iris"])
def test_the_evidence_policy_holds_for_every_modality(tmp_path: Path, modality: str) -> None:
    """Nothing here has been validated where it is used; rules have not either."""
    content = to_bytes(portrait(landmarks()))
    marked = create_assessor(Settings(home=tmp_path))
    strict = create_assessor(Settings(home=tmp_path, evidence="require-validated"))

    assert marked.assess(modality, content, file_name="a", engine=None, options={}).profile
    with pytest.raises(Unassessable, match="require-validated"):
        strict.assess(modality, content, file_name="a", engine=None, options={})
