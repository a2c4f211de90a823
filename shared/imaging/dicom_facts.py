"""What a DICOM file says about its picture; nothing that names a patient."""

from pydicom.dataset import Dataset

from shared.imaging.dicom_shape import Shape
from shared.imaging.dicom_values import text_of, texts_of, uid_of, values_of
from shared.imaging.picture import DicomFacts


def read_facts(dataset: Dataset, transfer_syntax: str, shape: Shape) -> DicomFacts:
    """The facts, each of them absent where the file does not say it properly."""
    spacing = _read_spacing(dataset, "PixelSpacing")
    at_detector = None if spacing else _read_spacing(dataset, "ImagerPixelSpacing")
    return DicomFacts(
        modality=text_of(dataset, "Modality"),
        body_part=text_of(dataset, "BodyPartExamined"),
        view_position=text_of(dataset, "ViewPosition"),
        patient_orientation=texts_of(dataset, "PatientOrientation"),
        photometric=text_of(dataset, "PhotometricInterpretation") or "",
        pixel_spacing_mm=spacing or at_detector,
        spacing_at_detector=at_detector is not None,
        burned_in_annotation={"YES": True, "NO": False}.get(
            text_of(dataset, "BurnedInAnnotation") or ""
        ),
        rows=shape.rows,
        columns=shape.columns,
        bits_stored=shape.bits_stored,
        frames=shape.frames,
        transfer_syntax_uid=transfer_syntax,
        sop_class_uid=uid_of(dataset, "SOPClassUID"),
        study_instance_uid=uid_of(dataset, "StudyInstanceUID"),
        series_instance_uid=uid_of(dataset, "SeriesInstanceUID"),
        sop_instance_uid=uid_of(dataset, "SOPInstanceUID"),
    )


def _read_spacing(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    values = values_of(dataset, keyword)
    try:
        row_mm, column_mm = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    is_possible = 0 < row_mm < 1000 and 0 < column_mm < 1000
    return (row_mm, column_mm) if is_possible else None
