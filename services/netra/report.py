"""An analysis as a DICOM structured report, for any archive; see `shared.dicom_reports`."""

from functools import partial
from typing import Any
from uuid import UUID, uuid5

from services.netra.domain import LesionType
from services.netra.job import AnalysisJob, Eye, Patient
from shared.dicom_reports import (
    MANUFACTURER,
    NOT_FOR_DIAGNOSIS,
    SCHEME,
    Described,
    Source,
    find_source,
    write_report,
)

#: SNOMED CT.
RETINOPATHY = ("4855003", "Diabetic retinopathy")
RETINA = ("5665001", "Retina")
#: Our own codes: SNOMED CT's terms for these differ between editions.
LESION_CODES: dict[LesionType, tuple[str, str]] = {
    LesionType.MICROANEURYSM: ("MICROANEURYSM", "Retinal microaneurysm"),
    LesionType.HAEMORRHAGE: ("HAEMORRHAGE", "Retinal haemorrhage"),
    LesionType.HARD_EXUDATE: ("HARD-EXUDATE", "Retinal hard exudate"),
    LesionType.SOFT_EXUDATE: ("SOFT-EXUDATE", "Retinal soft exudate"),
}
_EYES: dict[Eye, tuple[str, str]] = {
    Eye.LEFT: ("7771000", "Left"),
    Eye.RIGHT: ("24028007", "Right"),
}


def build_report(job: AnalysisJob, image: bytes) -> bytes:
    """The report of an analysis that is done.

    Args:
        job: what was found, and what a person decided.
        image: the upload; a DICOM file lends the report its patient, study and image reference.

    Returns:
        A DICOM file: TID 1500 with the algorithms of TID 4019, a measurement group for retinopathy
        and one for each type of lesion, marked as not for diagnosis and unverified, the evidence
        level in front of the series description.
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    found = job.found
    if found is None:
        raise ValueError("there is nothing to report yet")
    source = _source(job, image)
    algorithm = sr.AlgorithmIdentification(
        name=", ".join(model.id for model in found.models) or "rules",
        version=", ".join(model.version for model in found.models) or "0",
        manufacturer=MANUFACTURER,
        parameters=[
            NOT_FOR_DIAGNOSIS,
            f"Evidence level: {found.evidence}",
            *(f"Abstained: {reason}" for reason in found.reasons),
            *(f"{model.task}: {model.id}@{model.version} {model.sha256}" for model in found.models),
        ],
    )

    def measured(code: str, name: str, value: float) -> Any:
        return sr.Measurement(
            name=sr.CodedConcept(code, SCHEME, name), value=value, unit=codes.UCUM.NoUnits
        )

    def answered(code: str, name: str, value: bool | None) -> list[Any]:
        if value is None:
            return []
        return [
            sr.QualitativeEvaluation(
                name=sr.CodedConcept(code, SCHEME, name),
                value=codes.SCT.Yes if value else codes.SCT.No,
            )
        ]

    site = sr.FindingSite(
        sr.CodedConcept(RETINA[0], "SCT", RETINA[1]),
        laterality=None
        if job.eye is None
        else sr.CodedConcept(_EYES[job.eye][0], "SCT", _EYES[job.eye][1]),
    )
    references = source.references()

    def group(name: str, kind: Any, measurements: list[Any], said: list[Any]) -> Any:
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                uid=_uid(job, f"finding {name}"), identifier=name
            ),
            finding_type=kind,
            finding_sites=[site],
            algorithm_id=algorithm,
            measurements=measurements,
            qualitative_evaluations=said,
            source_images=references,
        )

    verdicts = (
        ("PROBABILITY", "Probability of any retinopathy", job.retinopathy.probability),
        ("REFERABLE-PROBABILITY", "Probability of referable", job.referable.probability),
        ("QUALITY", "Image quality", found.quality.score),
    )
    groups = [
        group(
            "retinopathy",
            sr.CodedConcept(RETINOPATHY[0], "SCT", RETINOPATHY[1]),
            [measured(code, name, value) for code, name, value in verdicts if value is not None],
            [
                *answered("GRADABLE", "Gradable", found.quality.gradable),
                *answered("DETECTED", "Retinopathy detected", job.retinopathy.detected),
                *answered("REFERABLE", "Referable retinopathy", job.referable.detected),
                *answered("DECIDED", "Decided by a person", job.decision is not None),
            ],
        )
    ]
    if found.quality.gradable:
        groups += [
            group(
                str(type_),
                sr.CodedConcept(LESION_CODES[type_][0], SCHEME, LESION_CODES[type_][1]),
                [
                    measured(
                        "COUNT",
                        "Number of lesions",
                        sum(lesion.type is type_ for lesion in found.lesions),
                    )
                ],
                [],
            )
            for type_ in LesionType
        ]
    return write_report(
        source,
        groups,
        Described(
            procedure=("314971001", "Camera fundoscopy"),
            observer="netra",
            model="netra",
            versions=", ".join(f"{model.id}@{model.version}" for model in found.models)[:64]
            or "rules",
            series_number=9002,
            series_description=f"[{found.evidence.upper()}] Fundus findings, not for diagnosis",
            dated=job.finished_at or job.created_at,
            uid=partial(_uid, job),
        ),
    )


def _source(job: AnalysisJob, image: bytes) -> Source:
    patient = job.examination.patient if job.examination is not None else Patient()
    born = patient.birth_date
    return find_source(
        image if job.image.format == "dicom" else None,
        told={
            "PatientID": patient.id,
            "PatientName": patient.name,
            "PatientBirthDate": "" if born is None else born.strftime("%Y%m%d"),
            "PatientSex": patient.sex,
        },
        identifier=str(job.id),
        made_at=job.created_at,
        modality="OP",
        study_uid=_study_uid(job),
        uid=partial(_uid, job),
    )


def _study_uid(job: AnalysisJob) -> str:
    """Photographs of one examination are one study."""
    if job.examination is None:
        return _uid(job, "study")
    return f"2.25.{uuid5(UUID(str(job.examination.id)), 'study').int}"


def _uid(job: AnalysisJob, of: str) -> str:
    """A UID that is the same every time, derived from the analysis and its decision (PS3.5 B.2)."""
    decided = "" if job.decision is None else job.decision.decided_at.isoformat()
    return f"2.25.{uuid5(UUID(str(job.id)), f'{of} {decided}').int}"
