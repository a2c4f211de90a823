"""An analysis as a DICOM structured report: Comprehensive 3D SR, TID 1500, for any archive.

highdicom and its code dictionaries take a second and some 100 MB to load; the first report pays
for them, not every start of the service.
"""

from __future__ import annotations

from datetime import UTC
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from services.netra.domain import LesionType
from services.netra.job import AnalysisJob, Eye, Patient

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER = "Vedette"
NOT_FOR_DIAGNOSIS = "Not for diagnosis: automatic reading, not verified by a physician"
SCHEME = "99VEDETTE"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

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
_PATIENT_AND_STUDY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "ReferringPhysicianName",
)


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
    source, is_dicom = _source(job, image)
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
    references = (
        [sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)]
        if is_dicom
        else None
    )

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
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                    uid=_uid(job, "observer"),
                    name=MANUFACTURER,
                    manufacturer_name=MANUFACTURER,
                    model_name="netra",
                ),
            )
        ),
        procedure_reported=sr.CodedConcept("314971001", "SCT", "Camera fundoscopy"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = sr.Comprehensive3DSR(
        evidence=[source],
        content=content,
        series_instance_uid=_uid(job, "series"),
        series_number=9002,
        sop_instance_uid=_uid(job, "report"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        record_evidence=is_dicom,
        specific_character_set="ISO_IR 192",
        series_description=f"[{found.evidence.upper()}] Fundus findings, not for diagnosis",
        manufacturer_model_name="netra",
        software_versions=", ".join(f"{model.id}@{model.version}" for model in found.models)[:64]
        or "rules",
    )
    if not is_dicom:
        # There is no DICOM instance that the report could point at.
        del report.CurrentRequestedProcedureEvidenceSequence
    _date(report, job)
    file = BytesIO()
    report.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _date(report: Any, job: AnalysisJob) -> None:
    """Date the report when the analysis ended, so that it is the same file every time."""
    at = (job.finished_at or job.created_at).astimezone(UTC)
    for name in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
        if name in report:
            setattr(report, name, at.strftime("%Y%m%d"))
    for name in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
        if name in report:
            setattr(report, name, at.strftime("%H%M%S.%f"))
    for equipment in report.get("ContributingEquipmentSequence", ()):
        equipment.ContributionDateTime = at.strftime("%Y%m%d%H%M%S.%f")
    report.TimezoneOffsetFromUTC = "+0000"


def _source(job: AnalysisJob, image: bytes) -> tuple[Dataset, bool]:
    """What the report inherits, and whether it is an instance that the report can point at."""
    from pydicom import Dataset, dcmread

    header = (
        dcmread(BytesIO(image), force=True, stop_before_pixels=True)
        if job.image.format == "dicom"
        else Dataset()
    )
    patient = job.examination.patient if job.examination is not None else Patient()
    told = {
        "PatientID": patient.id,
        "PatientName": patient.name,
        "PatientBirthDate": ""
        if patient.birth_date is None
        else patient.birth_date.strftime("%Y%m%d"),
        "PatientSex": patient.sex,
    }
    source = Dataset()
    for name in _PATIENT_AND_STUDY:
        setattr(source, name, str(header.get(name) or told.get(name) or ""))
    is_dicom = all(
        header.get(name)
        for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    )
    if is_dicom:
        source.SOPClassUID = header.SOPClassUID
        source.SOPInstanceUID = header.SOPInstanceUID
        source.StudyInstanceUID = header.StudyInstanceUID
        source.SeriesInstanceUID = header.SeriesInstanceUID
        source.Modality = str(header.get("Modality") or "OP")
    else:
        at = job.created_at.astimezone(UTC)
        source.StudyDate = source.StudyDate or at.strftime("%Y%m%d")
        source.StudyTime = source.StudyTime or at.strftime("%H%M%S")
        source.PatientID = source.PatientID or str(job.id)
        source.SOPClassUID = _SECONDARY_CAPTURE
        source.SOPInstanceUID = _uid(job, "image")
        source.StudyInstanceUID = str(header.get("StudyInstanceUID") or _study_uid(job))
        source.SeriesInstanceUID = _uid(job, "image series")
        source.Modality = "OP"
    return source, is_dicom


def _study_uid(job: AnalysisJob) -> str:
    """Photographs of one examination are one study."""
    if job.examination is None:
        return _uid(job, "study")
    return f"2.25.{uuid5(UUID(str(job.examination.id)), 'study').int}"


def _uid(job: AnalysisJob, of: str) -> str:
    """A UID that is the same every time, derived from the analysis and its decision (PS3.5 B.2)."""
    decided = "" if job.decision is None else job.decision.decided_at.isoformat()
    return f"2.25.{uuid5(UUID(str(job.id)), f'{of} {decided}').int}"
