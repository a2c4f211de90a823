"""The DICOM structured report, read back by those who would read it."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import highdicom as hd
import pydicom
import pytest
from highdicom.sr import CodeContentItem, Comprehensive3DSR, MeasurementReport

from services.chexray.domain import (
    GateVerdict,
    ImageFacts,
    OwnerId,
    Pathology,
    Study,
    findings_from,
    new_study_id,
)
from services.chexray.report import build_report
from tests.services.chexray.support import (
    MODEL,
    OPERATING_POINTS,
    PROBABILITIES,
    STUDY_UID,
    dicom_radiograph,
    png,
)

AT = datetime(2026, 11, 20, 6, 20, 43, 134088, tzinfo=UTC)


def study(image: bytes, image_format: str) -> Study:
    """An accepted study."""
    return Study(
        id=new_study_id(),
        number=7,
        owner=OwnerId(uuid4()),
        title="Chest",
        created_at=AT,
        image=ImageFacts("0" * 64, len(image), image_format, 64, 64, "a.png"),
        media_token="x" * 22,
        gate=GateVerdict(),
        findings=findings_from(PROBABILITIES, OPERATING_POINTS),
        model=MODEL,
    )


@pytest.mark.parametrize(("make", "kind"), [(png, "png"), (dicom_radiograph, "dicom")])
def test_a_report_reads_back_as_tid_1500(make: object, kind: str) -> None:
    """One measurement group per finding, with its probability and the algorithm that gave it."""
    assert callable(make)
    image = make()
    report = hd.sr.srread(io.BytesIO(build_report(study(image, kind), image)))
    assert isinstance(report, Comprehensive3DSR)
    assert isinstance(report.content, MeasurementReport)
    groups = report.content.get_image_measurement_groups()

    assert report.content[0].template_id == "1500"
    assert [group.tracking_identifier for group in groups] == list(Pathology)
    for group, probability in zip(groups, PROBABILITIES, strict=True):
        measured = {found.name.value: found.value for found in group.get_measurements()}
        reached = group.get_qualitative_evaluations()[0][0]
        assert measured["PROBABILITY"] == pytest.approx(probability)
        assert measured["OPERATING-POINT"] == pytest.approx(0.5)
        assert isinstance(reached, CodeContentItem)
        assert (reached.value.meaning == "Yes") == (probability >= 0.5)


def test_a_report_says_what_it_is_worth() -> None:
    """Unverified, preliminary, not for diagnosis; the evidence level comes first."""
    report = build_report(study(png(), "png"), png())
    found = pydicom.dcmread(io.BytesIO(report))

    assert found.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert found.SeriesDescription == "[DEMO] Chest findings, not for diagnosis"
    assert (found.VerificationFlag, found.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert b"Not for diagnosis" in report
    assert b"chexray-stub" in report
    assert MODEL.sha256.encode() in report


def test_a_dicom_upload_lends_its_patient_study_and_image() -> None:
    """A viewer hangs the report beside the radiograph."""
    image = dicom_radiograph(PatientSex="F")
    found = pydicom.dcmread(io.BytesIO(build_report(study(image, "dicom"), image)))
    evidence = found.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]

    assert found.StudyInstanceUID == STUDY_UID
    assert str(found.PatientName) == "Müller^Zoë"
    assert (found.PatientID, found.PatientSex) == ("4711", "F")
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == f"{STUDY_UID}.3"


@pytest.mark.parametrize("absent", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_an_anonymised_file_gets_a_report_that_points_at_nothing(absent: str) -> None:
    """Without an identifier there is no instance to point at."""
    image = dicom_radiograph(**{absent: ""})
    found = pydicom.dcmread(io.BytesIO(build_report(study(image, "dicom"), image)))

    assert "CurrentRequestedProcedureEvidenceSequence" not in found


def test_a_report_is_the_same_file_every_time() -> None:
    """An archive that gets it twice keeps it once."""
    same = study(png(), "png")
    other = replace(same, id=new_study_id())

    assert build_report(same, png()) == build_report(same, png())
    first, second = (pydicom.dcmread(io.BytesIO(build_report(of, png()))) for of in (same, other))
    assert first.SOPInstanceUID != second.SOPInstanceUID
