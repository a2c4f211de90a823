"""What all DICOM structured reports share: Comprehensive 3D SR, TID 1500, never verified.

highdicom and its code dictionaries take a second and some 100 MB to load; the first report pays
for them, not every start of a service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

MANUFACTURER = "Vedette"
NOT_FOR_DIAGNOSIS = "Not for diagnosis: automatic reading, not verified by a physician"
#: Of codes that are ours.
SCHEME = "99VEDETTE"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The image that a report is about, as far as the report inherits from it.

    Attributes:
        header: patient, study and instance.
        is_dicom: whether it is an instance that the report can point at.
    """

    header: Dataset
    is_dicom: bool

    def references(self) -> Any:
        """What measurement groups point at; None where there is no instance."""
        if not self.is_dicom:
            return None
        from highdicom import sr

        instance = self.header.SOPClassUID, self.header.SOPInstanceUID
        return [sr.SourceImageForMeasurementGroup(*instance)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a report says of itself.

    Attributes:
        procedure: SNOMED CT code and meaning of what was done.
        observer: which device observed, as model name.
        model: of the equipment.
        versions: of its software.
        series_number: of the report's series.
        series_description: evidence level first.
        dated: when what it tells was found, so that it is the same file every time.
        uid: makes the UID of "report", "series" or "observer", the same every time.
    """

    procedure: tuple[str, str]
    observer: str
    model: str
    versions: str
    series_number: int
    series_description: str
    dated: datetime
    uid: Callable[[str], str]


def find_source(
    dicom: bytes | None,
    *,
    told: Mapping[str, str],
    identifier: str,
    made_at: datetime,
    modality: str,
    study_uid: str,
    uid: Callable[[str], str],
) -> Source:
    """What a report inherits from its image.

    Args:
        dicom: the upload, where it is a DICOM file.
        told: members by keyword that the file may lack.
        identifier: of the patient, where nobody told one.
        made_at: when the image came, where the file says nothing of a study.
        modality: of what is no DICOM instance.
        study_uid: of the study, where the file names none.
        uid: makes the UID of "image" and "image series", the same every time.
    """
    from pydicom import Dataset, dcmread

    header = (
        Dataset() if dicom is None else dcmread(BytesIO(dicom), force=True, stop_before_pixels=True)
    )
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
        source.Modality = str(header.get("Modality") or modality)
    else:
        at = made_at.astimezone(UTC)
        source.StudyDate = source.StudyDate or at.strftime("%Y%m%d")
        source.StudyTime = source.StudyTime or at.strftime("%H%M%S")
        source.PatientID = source.PatientID or identifier
        source.SOPClassUID = _SECONDARY_CAPTURE
        source.SOPInstanceUID = uid("image")
        source.StudyInstanceUID = str(header.get("StudyInstanceUID") or study_uid)
        source.SeriesInstanceUID = uid("image series")
        source.Modality = modality
    return Source(header=source, is_dicom=is_dicom)


def write_report(source: Source, groups: Sequence[Any], described: Described) -> bytes:
    """A DICOM file of TID 1500 with these measurement groups: complete, not final, not verified."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
                    uid=described.uid("observer"),
                    name=MANUFACTURER,
                    manufacturer_name=MANUFACTURER,
                    model_name=described.observer,
                ),
            )
        ),
        procedure_reported=sr.CodedConcept(described.procedure[0], "SCT", described.procedure[1]),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = sr.Comprehensive3DSR(
        evidence=[source.header],
        content=content,
        series_instance_uid=described.uid("series"),
        series_number=described.series_number,
        sop_instance_uid=described.uid("report"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        record_evidence=source.is_dicom,
        specific_character_set="ISO_IR 192",
        series_description=described.series_description,
        manufacturer_model_name=described.model,
        software_versions=described.versions,
    )
    if not source.is_dicom:
        # There is no DICOM instance that the report could point at.
        del report.CurrentRequestedProcedureEvidenceSequence
    _date(report, described.dated.astimezone(UTC))
    file = BytesIO()
    report.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _date(report: Any, at: datetime) -> None:
    for name in ("ContentDate", "InstanceCreationDate", "SeriesDate"):
        if name in report:
            setattr(report, name, at.strftime("%Y%m%d"))
    for name in ("ContentTime", "InstanceCreationTime", "SeriesTime"):
        if name in report:
            setattr(report, name, at.strftime("%H%M%S.%f"))
    for equipment in report.get("ContributingEquipmentSequence", ()):
        equipment.ContributionDateTime = at.strftime("%Y%m%d%H%M%S.%f")
    report.TimezoneOffsetFromUTC = "+0000"
