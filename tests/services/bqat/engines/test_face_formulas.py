"""Formulas of the face engines at points that can be worked out by hand."""

import math

import numpy as np
import pytest

from services.bqat.engines.face.alignment import (
    align,
    cheek_squares,
    eye_centres,
    face_hull,
    head_length,
    rounded_points,
)
from services.bqat.engines.face.bqat import direction, is_smiling
from services.bqat.engines.face.detection import decode_cells, suppress
from services.bqat.engines.face.eyes import openness
from services.bqat.engines.face.geometry import Box, Face, cut, overlap
from services.bqat.engines.face.landmarks import (
    Landmarks,
    face_around,
    given_landmarks,
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
from services.bqat.engines.face.ofiq import (
    background_uniformity,
    capture,
    eyes_open,
    geometry,
    snake_case,
)
from services.bqat.engines.face.pose import euler_deg, pose_by_eyes, pose_by_points
from services.bqat.engines.face.reading import central_first
from services.bqat.engines.image_measures import (
    blockiness,
    brightness_variance,
    contrast,
    dynamic_range,
    sharpness,
)
from tests.services.bqat.engines.portraits import landmarks, portrait


def known(points: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Landmarks:
    return Landmarks(points, None, points[96:98], given=True)


def test_luminance_is_linear_light() -> None:
    """The 128 of sRGB is 21.6 percent of the light; green is 71.5 percent of white."""
    picture = np.array([[[0, 0, 0], [255, 255, 255], [128, 128, 128], [0, 255, 0]]], np.uint8)

    assert luminance(picture).tolist() == [[0, 255, 55, 182]]


def test_moments_of_a_histogram_are_those_of_its_values() -> None:
    shares = histogram(np.array([[0, 255], [0, 255]], np.uint8))

    assert histogram_mean(shares) == 0.5
    assert histogram_variance(shares) == 0.25
    assert entropy_bits(shares) == 1


def test_grays_have_no_colour_and_red_is_positive_in_both() -> None:
    assert mean_lab(np.full((4, 4, 3), 120, np.uint8)) == pytest.approx((0, 0), abs=0.02)
    a, b = mean_lab(np.full((1, 1, 3), [255, 0, 0], np.uint8))
    # CIELAB of sRGB red under D50.
    assert (a, b) == pytest.approx((80.8, 69.9), abs=0.5)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [(15, 20, 0), (5, 35, 0), (25, 5, 0), (2, 20, 3), (28, 39, 5), (-1, 20, 100), (20, -1, 100)],
)
def test_natural_colours_are_those_of_skin(a: float, b: float, distance: float) -> None:
    assert colour_distance(a, b) == distance


def test_components_of_size_and_place_follow_from_the_points() -> None:
    """Eyes 113 apart and 190 above the chin, in 616 by 800 pixels."""
    found = geometry(rounded_points(known(landmarks())), 616, 800, 60)

    assert found["InterEyeDistance"] == pytest.approx(113 / 0.5)
    assert found["HeadSize"] == pytest.approx(190 / 800, abs=0.002)
    assert found["LeftwardCropOfTheFaceImage"] == pytest.approx((308 + 56.5) / 113, abs=0.01)
    assert found["RightwardCropOfTheFaceImage"] == pytest.approx((616 - 308 + 56.5) / 113, abs=0.01)
    assert found["MarginAboveOfTheFaceImage"] == pytest.approx(320 / 190, abs=0.01)
    assert found["MarginBelowOfTheFaceImage"] == pytest.approx(480 / 190, abs=0.01)
    assert found["MouthClosed"] == pytest.approx(6 / 190, abs=0.003)


def test_without_a_yaw_there_is_no_distance_of_the_eyes() -> None:
    points = rounded_points(known(landmarks()))

    assert "InterEyeDistance" not in geometry(points, 616, 800, None)
    assert "InterEyeDistance" not in geometry(points, 616, 800, 90)


def test_points_that_span_nothing_have_no_geometry() -> None:
    assert geometry(np.zeros((98, 2)), 616, 800, 0) == {}
    assert align(np.zeros((50, 50, 3), np.uint8), known(np.zeros((98, 2)))) is None


def test_eyes_are_as_open_as_the_narrower_one() -> None:
    points = landmarks()
    assert eyes_open(points) == pytest.approx(20 / 190, abs=0.002)
    points[69:72, 1] = points[[75, 74, 73], 1] - 4

    assert eyes_open(points) == pytest.approx(4 / 190, abs=0.002)


def test_alignment_brings_the_eyes_to_their_place() -> None:
    """Whatever the size and the turn of a face, its eyes end at (251, 272) and (364, 272)."""
    for scale, turn in ((1.0, 0.0), (1.7, 20.0), (0.5, -35.0)):
        points = landmarks((400, 500), scale, turn)
        aligned = align(np.zeros((1200, 1000, 3), np.uint8), known(points))
        assert aligned is not None
        first, second = eye_centres(aligned.points)
        assert first == pytest.approx([251, 272], abs=3)
        assert second == pytest.approx([364, 272], abs=3)
        assert head_length(aligned.points) == pytest.approx(190, abs=5)


def test_the_hull_covers_the_face_and_nothing_else() -> None:
    points = landmarks()

    hull = face_hull(points, 616, 616)

    assert hull[320, 308]
    assert hull[320 + 180, 308]
    assert not hull[320 + 200, 308]
    assert not hull[100, 100]
    # Half an ellipse below the eyes, and a trapezium up to the brows.
    assert hull.sum() == pytest.approx(math.pi * 120 * 190 / 2 + 35 * (240 + 177) / 2, rel=0.03)


def test_a_hull_beyond_the_edge_is_cut() -> None:
    assert face_hull(landmarks((5, 20)), 100, 120).any()
    assert not face_hull(landmarks((-900, -900)), 100, 120).any()


def test_the_squares_lie_on_the_cheeks() -> None:
    """0.3 of 113 pixels wide, half of 130 below the eyes, outer edges below the eyes' middles."""
    left, right = cheek_squares(rounded_points(known(landmarks())))

    assert (left[0].start, left[0].stop - left[0].start) == (385, 33)
    assert left[1].start == pytest.approx(252, abs=1)
    assert right[1].stop == pytest.approx(365, abs=1)


def flat_face(level: int, left: int | None = None) -> dict[str, float]:
    """Components of a face of one gray, or of one gray on each side."""
    picture = np.full((616, 616, 3), level, np.uint8)
    if left is not None:
        picture[:, :308] = left
    points = landmarks((307.5, 272))
    aligned = align(picture, known(points))
    assert aligned is not None
    return capture(aligned, is_colour=True)


def test_a_face_of_one_gray_is_uniform_and_has_no_range() -> None:
    found = flat_face(188)

    assert found["IlluminationUniformity"] == pytest.approx(1)
    assert found["DynamicRange"] == pytest.approx(0, abs=1e-9)
    assert found["LuminanceVariance"] == pytest.approx(0, abs=1e-9)
    # sRGB 188 is half of the light.
    assert found["LuminanceMean"] == pytest.approx(0.503, abs=0.003)
    assert found["UnderExposurePrevention"] == 0
    assert found["OverExposurePrevention"] == 0


def test_two_grays_are_not_uniform_and_one_bit() -> None:
    found = flat_face(230, left=120)

    assert found["IlluminationUniformity"] == 0
    assert found["DynamicRange"] == pytest.approx(1, abs=0.05)


def test_black_is_under_and_white_over_exposed() -> None:
    assert flat_face(20)["UnderExposurePrevention"] == 1
    assert flat_face(255)["OverExposurePrevention"] == 1


def test_a_plain_background_is_uniform_and_a_striped_one_is_not() -> None:
    points = landmarks((307.5, 272))
    person = np.zeros((64, 64), np.bool_)
    person[16:, 20:44] = True
    plain = np.full((616, 616, 3), 200, np.uint8)
    striped = plain.copy()
    striped[:, ::8] = 60
    found = []
    for picture in (plain, striped):
        aligned = align(picture, known(points))
        assert aligned is not None
        found.append(background_uniformity(aligned, person, picture.shape[:2]))

    assert found[0] == 0
    assert found[1] is not None
    assert found[1] > 50


def test_a_person_who_fills_the_picture_leaves_no_background() -> None:
    aligned = align(np.full((616, 616, 3), 200, np.uint8), known(landmarks((307.5, 272))))

    assert aligned is not None
    assert background_uniformity(aligned, np.ones((32, 32), np.bool_), (616, 616)) is None


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (0, 25, 0), (0, 0, 25), (20, -15, 10)])
def test_a_rotation_gives_back_its_angles(angles: tuple[float, float, float]) -> None:
    """Built from the definition: yaw to the subject's left, looking up, anti-clockwise."""
    yaw, pitch, roll = (-math.radians(angle) for angle in angles)
    about_y = np.array(
        [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    )
    about_z = np.array(
        [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    )

    assert euler_deg(about_y @ about_x @ about_z) == pytest.approx(angles)


def test_a_turned_face_has_that_roll() -> None:
    """Clockwise as seen is negative."""
    for turn in (-20, 0, 35):
        found = known(landmarks(turn_deg=turn))
        assert pose_by_points(found, 616, 616).roll_deg == pytest.approx(-turn, abs=1.5)
        assert pose_by_eyes(found.right_eye, found.left_eye).roll_deg == pytest.approx(-turn)


def test_a_mirrored_face_has_the_opposite_yaw_and_roll() -> None:
    """The points of a mirrored picture: each takes the place of its counterpart."""
    points = landmarks(turn_deg=12)
    points[51:60, 0] += 14
    mirrored = points * [-1, 1] + [616, 0]
    partner = np.arange(98)
    partner[:33] = np.arange(33)[::-1]
    partner[[60, 64, 68, 72, 76, 82]] = [72, 68, 64, 60, 82, 76]
    partner[[61, 62, 63, 65, 66, 67]] = [71, 70, 69, 75, 74, 73]
    partner[[71, 70, 69, 75, 74, 73]] = [61, 62, 63, 65, 66, 67]

    seen = pose_by_points(known(points), 616, 616)
    other = pose_by_points(known(mirrored[partner]), 616, 616)

    assert seen.yaw_deg is not None
    assert abs(seen.yaw_deg) > 3
    assert other.yaw_deg == pytest.approx(-seen.yaw_deg, abs=0.2)
    assert other.roll_deg == pytest.approx(-(seen.roll_deg or 0), abs=0.2)
    assert other.pitch_deg == pytest.approx(seen.pitch_deg, abs=0.2)


@pytest.mark.parametrize(("degrees", "place"), [(-3.1, 0), (-2.9, 1), (0, 1), (2.9, 1), (3.1, 2)])
def test_less_than_three_degrees_are_straight(degrees: float, place: int) -> None:
    assert direction(degrees) == place


def test_a_wide_mouth_with_lifted_corners_smiles() -> None:
    points = landmarks()
    assert not is_smiling(known(points))
    points[[76, 82]] = points[[76, 82]] + [[-14, -14], [14, -14]]

    assert is_smiling(known(points))


def test_an_eye_is_as_open_as_its_lids_are_apart() -> None:
    points = landmarks()

    assert openness(known(points), right=True) == pytest.approx((16 + 20 + 16) / 3 / 40)


def test_crops_know_their_way_back() -> None:
    """A marked pixel is found in the crop where the mapping says."""
    picture = np.zeros((200, 300), np.uint8)
    picture[80:83, 150:153] = 255
    for angle, mirrored in ((0.0, False), (0.6, False), (-0.4, True)):
        crop = cut(picture, (140, 90), (60, 60), (120, 120), angle, mirrored=mirrored)
        place = np.array(np.unravel_index(int(crop.pixels.argmax()), crop.pixels.shape))[::-1]
        assert crop.back(place[None].astype(np.float64))[0] == pytest.approx([151, 81], abs=1.5)


def test_strong_reductions_average() -> None:
    """Sampled every eighth pixel a chequerboard would be black or white."""
    board = np.asarray(np.indices((400, 400)).sum(axis=0) % 2 * 255, np.uint8)

    crop = cut(board, (200, 200), (320, 320), (40, 40))

    assert crop.pixels[5:-5, 5:-5].min() > 100
    assert crop.pixels[5:-5, 5:-5].max() < 155


def test_a_cell_says_where_its_face_is() -> None:
    """Cell 3, 2 of 16 px: its centre is offset by half a cell, its sides are e and 1 cells."""
    outputs = {}
    for stride, cells in ((8, 64), (16, 16), (32, 4)):
        outputs[f"cls_{stride}"] = np.zeros((1, cells, 1), np.float32)
        outputs[f"obj_{stride}"] = np.zeros((1, cells, 1), np.float32)
        outputs[f"bbox_{stride}"] = np.zeros((1, cells, 4), np.float32)
        outputs[f"kps_{stride}"] = np.zeros((1, cells, 10), np.float32)
    cell = 2 * 4 + 3
    outputs["cls_16"][0, cell] = 0.81
    outputs["obj_16"][0, cell] = 1.0
    outputs["bbox_16"][0, cell] = [0.5, 0.5, 1.0, 0.0]
    outputs["kps_16"][0, cell] = 0.25

    ((score, box, points),) = decode_cells(outputs, (64, 64))

    assert score == pytest.approx(0.9)
    assert box == pytest.approx([56 - 8 * math.e, 40 - 8, 56 + 8 * math.e, 40 + 8], rel=1e-6)
    assert points.tolist() == [[52, 36]] * 5


def test_of_overlapping_faces_the_surer_one_stays() -> None:
    sure = Face(Box(0, 0, 100, 100), 0.9)
    near = Face(Box(10, 10, 110, 110), 0.8)
    far = Face(Box(300, 0, 500, 200), 0.7)

    assert overlap(sure.box, near.box) == pytest.approx(8100 / 11900)
    assert suppress([near, sure, far]) == [far, sure]


def test_of_two_faces_of_one_size_the_central_one_is_first() -> None:
    """A clearly larger one comes first wherever it is."""
    left = Face(Box(0, 0, 100, 100), 0.9)
    middle = Face(Box(450, 450, 545, 545), 0.8)
    large = Face(Box(800, 800, 1000, 1000), 0.7)

    assert central_first([left, middle], 1000, 1000) == [middle, left]
    assert central_first([left, middle, large], 1000, 1000) == [large, left, middle]
    assert central_first([], 10, 10) == []


@pytest.mark.parametrize(
    "brought",
    [[[1, 2]] * 97, [[1, 2, 3]] * 98, "points", [["a", "b"]] * 98, [[math.inf, 0]] * 98],
)
def test_landmarks_that_are_none_are_refused(brought: object) -> None:
    with pytest.raises(ValueError, match="points"):
        given_landmarks({"landmarks": {"a.png": brought}}, "a.png")


def test_landmarks_are_found_by_the_last_part_of_the_name() -> None:
    points = landmarks().tolist()

    found = given_landmarks({"landmarks": {"a.png": points}}, "temp/a.png")

    assert found is not None
    assert found.given
    assert given_landmarks({"landmarks": {"b.png": points}}, "a.png") is None
    assert given_landmarks({}, "a.png") is None
    assert face_around(found).box.bottom == pytest.approx(510)


def test_names_become_columns() -> None:
    assert snake_case("HeadPoseYaw") == "head_pose_yaw"
    assert snake_case("LeftwardCropOfTheFaceImage") == "leftward_crop_of_the_face_image"


def test_measures_of_the_whole_picture_are_plain() -> None:
    checks = np.asarray(np.indices((64, 64)).sum(axis=0) % 2 * 255, np.uint8)
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 255
    counts = np.bincount(half[..., 0].reshape(-1), minlength=256)

    assert dynamic_range(counts) == 255
    assert contrast(half) == pytest.approx(127.5)
    assert brightness_variance(half) == pytest.approx(127.5, abs=2)
    assert sharpness(np.full((64, 64), 9, np.uint8)) == 0
    # Every neighbour differs by 255: the Laplacian is plus or minus 4 * 255.
    assert sharpness(checks) == pytest.approx((4 * 255) ** 2)


def test_blocks_of_eight_are_seen() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128)).astype(np.uint8)
    blocks = np.kron(noise[:16, :16], np.ones((8, 8), np.uint8)).astype(np.uint8)

    assert blockiness(noise) == pytest.approx(1, abs=0.05)
    assert blockiness(blocks) > 100


def test_a_drawn_portrait_is_a_portrait() -> None:
    """What the other tests draw has skin in the middle of its hull."""
    picture = portrait(landmarks())

    assert picture[400, 308].tolist() == pytest.approx([205, 160, 135], abs=20)
