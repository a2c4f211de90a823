"""An analysis as a FHIR R4 document: a DiagnosticReport with its Observations, in one Bundle."""

from datetime import UTC
from typing import Any
from uuid import UUID, uuid5

from services.netra.domain import LesionType, sentences_for
from services.netra.job import AnalysisJob, Eye
from services.netra.report import LESION_CODES, RETINOPATHY
from shared.dicom_reports import NOT_FOR_DIAGNOSIS, SCHEME

SNOMED = "http://snomed.info/sct"
_LOINC = "http://loinc.org"
_EYES: dict[Eye, tuple[str, str]] = {
    Eye.LEFT: ("8966001", "Left eye structure"),
    Eye.RIGHT: ("18944008", "Right eye structure"),
}
#: Answers without clinical evidence are marked as test data, which systems keep apart.
_TEST_DATA = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "code": "HTEST",
    "display": "test health data",
}


def build_bundle(job: AnalysisJob) -> dict[str, Any]:
    """The analysis for a health record, preliminary and marked as what it is.

    Args:
        job: an analysis that is done.
    """
    found = job.found
    if found is None:
        raise ValueError("there is nothing to report yet")
    at = (job.finished_at or job.created_at).astimezone(UTC).isoformat()
    subject = _subject(job)
    observations = [
        _observation(
            job, "retinopathy", _code(*RETINOPATHY), at, **_answer(job.retinopathy.detected)
        ),
        _observation(
            job,
            "referable",
            {"text": "Referable diabetic retinopathy"},
            at,
            **_answer(job.referable.detected),
        ),
        _observation(
            job, "quality", {"text": "Gradability"}, at, **_answer(found.quality.gradable)
        ),
    ]
    for name, probability in (
        ("retinopathy probability", job.retinopathy.probability),
        ("referable probability", job.referable.probability),
    ):
        if probability is not None:
            value = {"valueQuantity": {"value": probability, "unit": "1"}}
            observations.append(_observation(job, name, {"text": name.capitalize()}, at, **value))
    if found.quality.gradable:
        observations += [
            _observation(
                job,
                str(type_),
                _code(*LESION_CODES[type_], system=f"urn:{SCHEME.lower()}"),
                at,
                valueInteger=sum(lesion.type is type_ for lesion in found.lesions),
            )
            for type_ in LesionType
        ]
    report = {
        "resourceType": "DiagnosticReport",
        "id": _id(job, "report"),
        "meta": _meta(found.evidence),
        "status": "preliminary" if job.decision is None else "partial",
        "category": [{"coding": [{"system": _LOINC, "code": "LP29684-5", "display": "Radiology"}]}],
        "code": _code("314971001", "Camera fundoscopy"),
        "effectiveDateTime": job.created_at.astimezone(UTC).isoformat(),
        "issued": at,
        "result": [{"reference": f"urn:uuid:{each['id']}"} for each in observations],
        "conclusion": _conclusion(job),
        **({"subject": subject} if subject else {}),
    }
    entries = [report, *observations]
    if subject:
        for each in observations:
            each["subject"] = subject
    return {
        "resourceType": "Bundle",
        "id": str(job.id),
        "type": "collection",
        "timestamp": at,
        "entry": [{"fullUrl": f"urn:uuid:{each['id']}", "resource": each} for each in entries],
    }


def _conclusion(job: AnalysisJob) -> str:
    found = job.found
    assert found is not None
    if job.decision is not None:
        said = "Decided by a person after the automatic reading abstained."
    elif found.abstained:
        said = f"No verdict. {' '.join(sentences_for(found.reasons))}"
    else:
        any_ = "detected" if job.retinopathy.detected else "not detected"
        referable = "referable" if job.referable.detected else "not referable"
        said = f"Retinopathy {any_}, {referable}."
    return f"{said} {NOT_FOR_DIAGNOSIS} (evidence level: {found.evidence})."


def _observation(
    job: AnalysisJob, name: str, code: dict[str, Any], at: str, **value: Any
) -> dict[str, Any]:
    assert job.found is not None
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        "id": _id(job, name),
        "meta": _meta(job.found.evidence),
        "status": "preliminary",
        "code": code,
        "effectiveDateTime": at,
        **value,
    }
    if job.eye is not None:
        observation["bodySite"] = _code(*_EYES[job.eye])
    return observation


def _answer(value: bool | None) -> dict[str, Any]:
    if value is not None:
        return {"valueBoolean": value}
    reason = {
        "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
        "code": "unknown",
    }
    return {"dataAbsentReason": {"coding": [reason]}}


def _subject(job: AnalysisJob) -> dict[str, Any] | None:
    patient = None if job.examination is None else job.examination.patient
    if patient is None or not patient.id:
        return None
    return {"identifier": {"value": patient.id}}


def _meta(evidence: str) -> dict[str, Any]:
    tag = {"system": "urn:vedette:evidence", "code": evidence}
    return {"tag": [tag]} if evidence == "validated" else {"tag": [tag], "security": [_TEST_DATA]}


def _code(code: str, display: str, system: str = SNOMED) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _id(job: AnalysisJob, of: str) -> str:
    return str(uuid5(UUID(str(job.id)), f"fhir {of}"))
