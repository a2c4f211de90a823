"""`vedette evaluate netra` finds the truth in folders that are arranged as IDRiD is."""

import asyncio
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.netra.domain import Analysis, Lesion, LesionType, ModelIdentity
from services.netra.evaluation import FundusEvaluator, find_layout
from services.netra.outlines import Outlines
from shared.evaluation.labels import LabelsInvalid
from shared.evaluation.run import outline_pictures, read_pictures
from shared.evaluation.source import LayoutEvaluator, PictureRefused
from shared.imaging import Limits, Picture
from tests.services.netra.support import DISEASED, GATE, GRADER, NO_FUNDUS, UNGRADABLE, picture

GRADES = "Image name,Retinopathy grade,Risk of macular edema,\nIDRiD_001,3,2\nIDRiD_002,1,0\nIDRiD_003,0,0\nIDRiD_004,,0\n"  # noqa: E501


@dataclass
class StubOutlining:
    """Knows its answers beforehand."""

    answer: Analysis = DISEASED
    evidence: str = "research"
    models: tuple[ModelIdentity, ...] = (GATE, GRADER)
    operating_points: Mapping[str, float] = field(
        default_factory=lambda: {"retinopathy": 0.4, "referable": 0.6}
    )

    def analyse(self, picture: Picture) -> Analysis:
        """The answer, whatever the picture."""
        return self.answer

    def outline(self, picture: Picture) -> Outlines | None:
        """A haemorrhage in the corner, surely."""
        probability = np.zeros((4, picture.height_px, picture.width_px), np.float32)
        probability[1, :8, :8] = 1.0
        return Outlines(probability, [Lesion(LesionType.HAEMORRHAGE, (0, 0, 8, 8), 0.9)])


@pytest.fixture
def evaluator() -> Iterator[FundusEvaluator]:
    """The evaluator around the stub."""
    found = FundusEvaluator(StubOutlining(), Limits())
    yield found
    found.close()


def outline(left: int) -> bytes:
    """A mask as IDRiD has it: black, and something else in the lesion."""
    pixels = np.zeros((48, 64), np.uint8)
    pixels[:8, left : left + 8] = 76
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF")
    return file.getvalue()


def put(path: Path, content: bytes) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """The arrangement of the published archive, in small."""
    folder = tmp_path / "IDRiD"
    grading = folder / "B. Disease Grading"
    for part in ("a. Training Set", "b. Testing Set"):
        for number in (1, 2, 3):
            name = f"IDRiD_{number:03}.jpg"
            put(grading / "1. Original Images" / part / name, picture(level=number))
    put(grading / "2. Groundtruths" / "b. IDRiD_Disease Grading_Testing Labels.csv",
        GRADES.encode())  # fmt: skip
    masks = folder / "A. Segmentation" / "2. All Segmentation Groundtruths" / "b. Testing Set"
    put(folder / "A. Segmentation" / "1. Original Images" / "b. Testing Set" / "IDRiD_55.jpg",
        picture())  # fmt: skip
    put(masks / "1. Microaneurysms" / "IDRiD_55_MA.tif", outline(40))
    put(masks / "2. Haemorrhages" / "IDRiD_55_HE.tif", outline(0))
    put(masks / "5. Optic Disc" / "IDRiD_55_OD.tif", outline(20))
    return folder


def test_the_published_arrangement_is_understood(original: Path) -> None:
    """Training and testing photographs have the same names; the table's part decides."""
    layout = find_layout(original)
    assert layout.table is not None
    truth = {Path(row.file).name: row.truth for row in layout.table.pictures}
    [outlined] = layout.outlined

    assert truth["IDRiD_001.jpg"] == {"retinopathy": True, "referable": True}
    assert truth["IDRiD_002.jpg"] == {"retinopathy": True, "referable": False}
    assert truth["IDRiD_003.jpg"] == {"retinopathy": False, "referable": False}
    assert truth["IDRiD_004"] == {"retinopathy": None, "referable": None}
    assert "b. Testing Set" in layout.table.pictures[0].file
    assert outlined.file.name == "IDRiD_55.jpg"
    assert set(outlined.masks) == {"microaneurysm", "haemorrhage"}


def test_a_flat_copy_is_understood(tmp_path: Path) -> None:
    put(tmp_path / "grading.csv", b"file,retinopathy_grade\na.jpg,2\n")
    put(tmp_path / "images" / "a.jpg", picture())
    put(tmp_path / "lesions" / "b.jpg", picture())
    put(tmp_path / "lesions" / "b_EX.png", outline(0))
    layout = find_layout(tmp_path)
    assert layout.table is not None

    assert layout.table.pictures[0].file == "images/a.jpg"
    assert [path.file.name for path in layout.outlined] == ["b.jpg"]


@pytest.mark.parametrize(
    "files",
    [
        {"g.csv": b"file,grade\na.jpg,5\n"},
        {"g.csv": b"file,grade\n"},
        {"g.csv": b"file,grade\na.jpg,1\n", "x/a.jpg": b"", "y/a.jpg": b""},
        {"g.csv": b"file,grade\na.jpg,1\n", "h.csv": b"file,grade\na.jpg,2\n"},
    ],
)
def test_what_cannot_be_told_is_refused_and_not_guessed(
    tmp_path: Path, files: Mapping[str, bytes]
) -> None:
    for name, content in files.items():
        put(tmp_path / name, content)
    with pytest.raises(LabelsInvalid):
        find_layout(tmp_path)


def test_a_folder_of_anything_else_holds_nothing(tmp_path: Path) -> None:
    put(tmp_path / "prices.csv", b"item,price\n")
    layout = find_layout(tmp_path)

    assert (layout.table, layout.outlined) == (None, ())


async def test_photographs_are_read_with_the_services_probabilities(
    evaluator: FundusEvaluator, original: Path
) -> None:
    layout = find_layout(original)
    assert layout.table is not None
    answers = await read_pictures(evaluator, original, layout.table.pictures, lambda: None)

    assert isinstance(evaluator, LayoutEvaluator)
    assert [case.probability_of for case in answers.cases] == [
        {"retinopathy": 0.875, "referable": 0.75}
    ] * 3
    assert [each.kind for each in answers.excluded] == ["missing"]
    assert evaluator.operating_points == {"retinopathy": 0.4, "referable": 0.6}
    assert evaluator.model.id == "netra-retinopathy"


@pytest.mark.parametrize("answer", [NO_FUNDUS, UNGRADABLE])
async def test_what_the_service_does_not_grade_is_no_case(answer: Analysis) -> None:
    evaluator = FundusEvaluator(StubOutlining(answer), Limits())
    with pytest.raises(PictureRefused):
        await evaluator.probabilities(picture())
    evaluator.close()


async def test_outlines_are_counted_by_type_of_lesion(
    evaluator: FundusEvaluator, original: Path
) -> None:
    """The stub is right about the haemorrhage and knows no microaneurysm."""
    lesions, excluded = await outline_pictures(
        evaluator, find_layout(original).outlined, lambda: None
    )
    by_label = {each.label: each for each in lesions}

    assert excluded == ()
    assert by_label["haemorrhage"].area is not None
    assert by_label["haemorrhage"].area.value == pytest.approx(1.0)
    assert by_label["haemorrhage"].reported is not None
    assert by_label["microaneurysm"].lesions == 1
    assert by_label["microaneurysm"].reported is None
    assert by_label["soft_exudate"].area is None


async def test_a_broken_photograph_is_noted_and_passed_over(
    evaluator: FundusEvaluator, original: Path
) -> None:
    layout = find_layout(original)
    await asyncio.to_thread(layout.outlined[0].file.write_bytes, b"\xff\xd8\xff")
    lesions, excluded = await outline_pictures(evaluator, layout.outlined, lambda: None)

    assert [each.kind for each in excluded] == ["unreadable"]
    assert all(each.pictures == 0 for each in lesions)
