"""A study as a DICOM structured report: Comprehensive 3D SR, TID 1500, for any viewer and archive.

highdicom and its code dictionaries take a second and some 100 MB to load; the first report pays
for them, not every start of the service.
"""

from __future__ import annotations

from datetime import UTC
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from services.chexray.domain import Pathology, Study

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER = "Vedette"
_SCHEME = "99VEDETTE"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_NOT_FOR_DIAGNOSIS = "Not for diagnosis: automatic reading, not verified by a physician"

#: SNOMED CT: the finding and where it is.
_FINDING_CODES: dict[Pathology, tuple[tuple[str, str], tuple[str, str]]] = {
    Pathology.ATELECTASIS: (("46621007", "Atelectasis"), ("39607008", "Lung")),
    Pathology.CARDIOMEGALY: (("8186001", "Cardiomegaly"), ("80891009", "Heart")),
    Pathology.CONSOLIDATION: (("95436008", "Lung consolidation"), ("39607008", "Lung")),
    Pathology.EDEMA: (("19242006", "Pulmonary edema"), ("39607008", "Lung")),
    Pathology.PLEURAL_EFFUSION: (("60046008", "Pleural effusion"), ("3120008", "Pleura")),
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


def build_report(study: Study, image: bytes) -> bytes:
    """The report of an accepted study.

    Args:
        study: what was found.
        image: the upload; a DICOM file lends the report its patient, study and image reference.

    Returns:
        A DICOM file: TID 1500 with the algorithm of TID 4019 and one measurement group per
        finding, unverified and marked as not for diagnosis, the evidence level in front of the
        series description.
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    source, is_dicom = _source(study, image)
    algorithm = sr.AlgorithmIdentification(
        name=study.model.id,
        version=study.model.version,
        manufacturer=MANUFACTURER,
        parameters=[
            _NOT_FOR_DIAGNOSIS,
            f"Evidence level: {study.model.evidence}",
            f"Calibrated: {'yes' if study.model.calibrated else 'no'}",
            f"Network SHA-256: {study.model.sha256}",
        ],
    )
    references = (
        [sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID)]
        if is_dicom
        else None
    )
    groups = []
    for finding in study.findings:
        (finding_code, meaning), (site_code, site) = _FINDING_CODES[finding.label]
        groups.append(
            sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=sr.TrackingIdentifier(
                    uid=_uid(study, f"finding {finding.label}"), identifier=str(finding.label)
                ),
                finding_type=sr.CodedConcept(finding_code, "SCT", meaning),
                finding_sites=[sr.FindingSite(sr.CodedConcept(site_code, "SCT", site))],
                algorithm_id=algorithm,
                measurements=[
                    sr.Measurement(
                        name=sr.CodedConcept(code, _SCHEME, name),
                        value=value,
                        unit=codes.UCUM.NoUnits,
                    )
                    for code, name, value in (
                        ("PROBABILITY", "Probability", finding.probability),
                        ("OPERATING-POINT", "Operating point", finding.operating_point),
                    )
                ],
                qualitative_evaluations=[
                    sr.QualitativeEvaluation(
                        name=sr.CodedConcept(
                            "REACHED", _SCHEME, "Probability reaches the operating point"
                        ),
                        value=codes.SCT.Yes if finding.positive else codes.SCT.No,
                    )
                ],
                source_images=references,
            )
        )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                    uid=_uid(study, "observer"),
                    name=MANUFACTURER,
                    manufacturer_name=MANUFACTURER,
                    model_name=f"{study.model.id}@{study.model.version}",
                ),
            )
        ),
        procedure_reported=sr.CodedConcept("399208008", "SCT", "Plain chest X-ray"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = sr.Comprehensive3DSR(
        evidence=[source],
        content=content,
        series_instance_uid=_uid(study, "series"),
        series_number=9001,
        sop_instance_uid=_uid(study, "report"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        record_evidence=is_dicom,
        specific_character_set="ISO_IR 192",
        series_description=f"[{study.model.evidence.upper()}] Chest findings, not for diagnosis",
        manufacturer_model_name=study.model.id,
        software_versions=study.model.version,
    )
    if not is_dicom:
        # There is no DICOM instance that the report could point at.
        del report.CurrentRequestedProcedureEvidenceSequence
    _date(report, study)
    file = BytesIO()
    report.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _date(report: Any, study: Study) -> None:
    """Date the report when the study was read, so that it is the same file every time."""
    at = study.created_at.astimezone(UTC)
    for name in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
        if name in report:
            setattr(report, name, at.strftime("%Y%m%d"))
    for name in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
        if name in report:
            setattr(report, name, at.strftime("%H%M%S.%f"))
    for equipment in report.get("ContributingEquipmentSequence", ()):
        equipment.ContributionDateTime = at.strftime("%Y%m%d%H%M%S.%f")
    report.TimezoneOffsetFromUTC = "+0000"


def _source(study: Study, image: bytes) -> tuple[Dataset, bool]:
    """What the report inherits, and whether it is an instance that the report can point at."""
    from pydicom import Dataset, dcmread

    header = (
        dcmread(BytesIO(image), force=True, stop_before_pixels=True)
        if study.image.format == "dicom"
        else Dataset()
    )
    source = Dataset()
    for name in _PATIENT_AND_STUDY:
        setattr(source, name, str(header.get(name) or ""))
    is_dicom = all(
        header.get(name)
        for name in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    )
    if is_dicom:
        source.SOPClassUID = header.SOPClassUID
        source.SOPInstanceUID = header.SOPInstanceUID
        source.StudyInstanceUID = header.StudyInstanceUID
        source.SeriesInstanceUID = header.SeriesInstanceUID
        source.Modality = str(header.get("Modality") or "OT")
    else:
        at = study.created_at.astimezone(UTC)
        source.StudyDate = source.StudyDate or at.strftime("%Y%m%d")
        source.StudyTime = source.StudyTime or at.strftime("%H%M%S")
        source.PatientID = source.PatientID or str(study.id)
        source.SOPClassUID = _SECONDARY_CAPTURE
        source.SOPInstanceUID = _uid(study, "image")
        source.StudyInstanceUID = str(header.get("StudyInstanceUID") or _uid(study, "study"))
        source.SeriesInstanceUID = _uid(study, "image series")
        source.Modality = "OT"
    return source, is_dicom


def _uid(study: Study, of: str) -> str:
    """A UID that is the same every time, derived from the study's id (PS3.5 B.2)."""
    return f"2.25.{uuid5(UUID(str(study.id)), f'{of} {study.model.sha256}').int}"
