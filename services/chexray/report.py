"""A study as a DICOM structured report, for any viewer and archive; see `shared.dicom_reports`."""

from uuid import UUID, uuid5

from services.chexray.domain import Pathology, Study
from shared.dicom_reports import (
    MANUFACTURER,
    NOT_FOR_DIAGNOSIS,
    SCHEME,
    Described,
    find_source,
    write_report,
)

#: SNOMED CT: the finding and where it is.
_FINDING_CODES: dict[Pathology, tuple[tuple[str, str], tuple[str, str]]] = {
    Pathology.ATELECTASIS: (("46621007", "Atelectasis"), ("39607008", "Lung")),
    Pathology.CARDIOMEGALY: (("8186001", "Cardiomegaly"), ("80891009", "Heart")),
    Pathology.CONSOLIDATION: (("95436008", "Lung consolidation"), ("39607008", "Lung")),
    Pathology.EDEMA: (("19242006", "Pulmonary edema"), ("39607008", "Lung")),
    Pathology.PLEURAL_EFFUSION: (("60046008", "Pleural effusion"), ("3120008", "Pleura")),
}


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

    def uid(of: str) -> str:
        """The same every time, derived from the study's id (PS3.5 B.2)."""
        return f"2.25.{uuid5(UUID(str(study.id)), f'{of} {study.model.sha256}').int}"

    level = study.model.evidence.upper()
    source = find_source(
        image if study.image.format == "dicom" else None,
        told={},
        identifier=str(study.id),
        made_at=study.created_at,
        modality="OT",
        study_uid=uid("study"),
        uid=uid,
    )
    algorithm = sr.AlgorithmIdentification(
        name=study.model.id,
        version=study.model.version,
        manufacturer=MANUFACTURER,
        parameters=[
            NOT_FOR_DIAGNOSIS,
            f"Evidence level: {study.model.evidence}",
            f"Calibrated: {'yes' if study.model.calibrated else 'no'}",
            f"Network SHA-256: {study.model.sha256}",
        ],
    )
    references = source.references()
    groups = []
    for finding in study.findings:
        (finding_code, meaning), (site_code, site) = _FINDING_CODES[finding.label]
        groups.append(
            sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=sr.TrackingIdentifier(
                    uid=uid(f"finding {finding.label}"), identifier=str(finding.label)
                ),
                finding_type=sr.CodedConcept(finding_code, "SCT", meaning),
                finding_sites=[sr.FindingSite(sr.CodedConcept(site_code, "SCT", site))],
                algorithm_id=algorithm,
                measurements=[
                    sr.Measurement(
                        name=sr.CodedConcept(code, SCHEME, name),
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
                            "REACHED", SCHEME, "Probability reaches the operating point"
                        ),
                        value=codes.SCT.Yes if finding.positive else codes.SCT.No,
                    )
                ],
                source_images=references,
            )
        )
    return write_report(
        source,
        groups,
        Described(
            procedure=("399208008", "Plain chest X-ray"),
            observer=f"{study.model.id}@{study.model.version}",
            model=study.model.id,
            versions=study.model.version,
            series_number=9001,
            series_description=f"[{level}] Chest findings, not for diagnosis",
            dated=study.created_at,
            uid=uid,
        ),
    )
