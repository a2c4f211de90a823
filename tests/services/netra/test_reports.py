"""The DICOM report and the FHIR bundle, read back by those who would read them."""

import io
from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import uuid4

import highdicom as hd
import pydicom
import pytest
from highdicom.sr import Comprehensive3DSR, MeasurementReport

from services.netra.domain import (
    Analysis,
    AnalysisStatus,
    LesionType,
    OwnerId,
    new_analysis_id,
)
from services.netra.fhir import build_bundle
from services.netra.job import (
    AnalysisJob,
    Decision,
    Examination,
    ExaminationId,
    Eye,
    ImageFacts,
    Patient,
)
from services.netra.report import build_report
from tests.services.netra.support import (
    DISEASED,
    GRADER,
    STUDY_UID,
    UNCERTAIN,
    UNGRADABLE,
    ophthalmic_photograph,
    picture,
)

AT = datetime(2026, 11, 20, 6, 20, 43, 134088, tzinfo=UTC)
OWNER = OwnerId(uuid4())


def job(found: Analysis, image_format: str = "jpeg", *, eye: Eye | None = Eye.LEFT) -> AnalysisJob:
    """An analysis that is done."""
    patient = Patient("4711", "Müller^Zoë", date(1958, 3, 27), "F")
    return AnalysisJob(
        id=new_analysis_id(),
        token="t" * 70,
        owner=OWNER,
        username="bob",
        label="",
        image_name="left.jpg",
        image=ImageFacts("0" * 64, 100, image_format, 64, 48),
        eye=eye,
        examination=Examination(ExaminationId(uuid4()), OWNER, "v", patient, AT),
        status=AnalysisStatus.COMPLETED,
        progress=1.0,
        priority=0,
        attempts=1,
        created_at=AT,
        started_at=AT,
        finished_at=AT,
        error_code=None,
        error=None,
        found=found,
        decision=None,
        fence=1,
    )


def test_a_report_reads_back_as_tid_1500() -> None:
    """One measurement group for retinopathy, and one for each type of lesion."""
    report = hd.sr.srread(io.BytesIO(build_report(job(DISEASED), picture())))
    assert isinstance(report, Comprehensive3DSR)
    assert isinstance(report.content, MeasurementReport)
    groups = report.content.get_image_measurement_groups()
    measured = {
        group.tracking_identifier: {
            found.name.value: found.value for found in group.get_measurements()
        }
        for group in groups
    }

    assert report.content[0].template_id == "1500"
    assert measured["retinopathy"]["PROBABILITY"] == pytest.approx(0.875)
    assert measured["retinopathy"]["REFERABLE-PROBABILITY"] == pytest.approx(0.75)
    assert measured["haemorrhage"]["COUNT"] == measured["hard_exudate"]["COUNT"] == 1
    assert measured["microaneurysm"]["COUNT"] == 0
    assert set(measured) == {"retinopathy", *LesionType}


@pytest.mark.parametrize(("found", "groups"), [(UNGRADABLE, 1), (UNCERTAIN, 5)])
def test_an_abstention_is_reported_without_a_probability(found: Analysis, groups: int) -> None:
    content = build_report(job(found), picture())
    report = hd.sr.srread(io.BytesIO(content))
    assert isinstance(report.content, MeasurementReport)
    found_groups = report.content.get_image_measurement_groups()

    assert len(found_groups) == groups
    assert [each.name.value for each in found_groups[0].get_measurements()] == ["QUALITY"]
    assert f"Abstained: {found.reasons[0]}".encode() in content


def test_a_report_says_what_it_is_worth() -> None:
    """Unverified, preliminary, not for diagnosis; the evidence level comes first."""
    report = build_report(job(DISEASED), picture())
    found = pydicom.dcmread(io.BytesIO(report))

    assert found.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert found.SeriesDescription == "[RESEARCH] Fundus findings, not for diagnosis"
    assert (found.VerificationFlag, found.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert b"Not for diagnosis" in report
    assert GRADER.sha256.encode() in report


def test_what_the_client_told_of_the_patient_is_in_the_report() -> None:
    found = pydicom.dcmread(io.BytesIO(build_report(job(DISEASED), picture())))

    assert (str(found.PatientName), found.PatientID) == ("Müller^Zoë", "4711")
    assert (found.PatientBirthDate, found.PatientSex) == ("19580327", "F")
    assert "CurrentRequestedProcedureEvidenceSequence" not in found


def test_a_dicom_upload_lends_its_patient_study_and_image() -> None:
    """A viewer hangs the report beside the photograph."""
    image = ophthalmic_photograph()
    found = pydicom.dcmread(io.BytesIO(build_report(job(DISEASED, "dicom"), image)))
    evidence = found.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]

    assert found.StudyInstanceUID == STUDY_UID
    assert (str(found.PatientName), found.PatientID) == ("Grant^Ada", "0815")
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == f"{STUDY_UID}.3"


def test_photographs_of_one_visit_are_one_study() -> None:
    left = job(DISEASED)
    right = replace(left, id=new_analysis_id(), eye=Eye.RIGHT)
    first, second = (pydicom.dcmread(io.BytesIO(build_report(of, b""))) for of in (left, right))

    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_a_report_is_the_same_file_until_somebody_decides() -> None:
    """An archive that gets it twice keeps it once."""
    held = job(UNCERTAIN)
    decided = replace(held, decision=Decision(True, False, "", uuid4(), AT))
    first, second = build_report(held, picture()), build_report(decided, picture())

    assert first == build_report(held, picture())
    assert (
        pydicom.dcmread(io.BytesIO(first)).SOPInstanceUID
        != pydicom.dcmread(io.BytesIO(second)).SOPInstanceUID
    )


def test_a_bundle_holds_a_report_that_refers_to_its_observations() -> None:
    bundle = build_bundle(job(DISEASED))
    resources = [entry["resource"] for entry in bundle["entry"]]
    report, *observations = resources
    by_url = {entry["fullUrl"]: entry["resource"] for entry in bundle["entry"]}
    booleans = {
        each["code"].get("text", each["code"].get("coding", [{}])[0].get("display")): each.get(
            "valueBoolean"
        )
        for each in observations
    }

    assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "collection")
    assert report["resourceType"] == "DiagnosticReport"
    assert report["status"] == "preliminary"
    assert [by_url[each["reference"]] for each in report["result"]] == observations
    assert booleans["Diabetic retinopathy"] is True
    assert all(each["subject"]["identifier"]["value"] == "4711" for each in resources)
    assert all(each["bodySite"]["coding"][0]["code"] == "8966001" for each in observations)
    assert {each["meta"]["security"][0]["code"] for each in resources} == {"HTEST"}
    assert "Not for diagnosis" in report["conclusion"]
    assert sum(each.get("valueInteger", 0) for each in observations) == 2


def test_a_bundle_without_a_verdict_says_why() -> None:
    bundle = build_bundle(job(UNGRADABLE, eye=None))
    report, verdict, *_ = [entry["resource"] for entry in bundle["entry"]]

    assert report["conclusion"].startswith("No verdict. The photograph is not good enough")
    assert verdict["dataAbsentReason"]["coding"][0]["code"] == "unknown"
    assert "bodySite" not in verdict


def test_validated_answers_are_no_test_data() -> None:
    bundle = build_bundle(job(replace(DISEASED, evidence="validated")))

    assert "security" not in bundle["entry"][0]["resource"]["meta"]
