"""Examinations: the photographs of one visit, under the owner's own name for it."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.netra.domain import OwnerId, new_analysis_id
from services.netra.errors import ExaminationNotFound
from services.netra.job import Examination, ExaminationId, Patient
from services.netra.tables import ExaminationRow


class ExaminationRepository:
    """The examinations of everybody."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, reference: str, owner: OwnerId) -> Examination:
        """The owner's examination; raises `ExaminationNotFound` for foreign and unknown ones."""
        row = await self._session.scalar(
            select(ExaminationRow).where(
                ExaminationRow.owner == owner, ExaminationRow.reference == reference
            )
        )
        if row is None:
            raise ExaminationNotFound
        return to_examination(row)

    async def find_or_add(self, owner: OwnerId, reference: str, patient: Patient) -> Examination:
        """The owner's examination, new if there is none; what is known of it is not overwritten."""
        await self._session.execute(
            insert(ExaminationRow)
            .values(
                # Any sortable identifier of 128 bits.
                id=new_analysis_id(),
                owner=owner,
                reference=reference,
                patient_id=patient.id,
                patient_name=patient.name,
                patient_birth_date=patient.birth_date,
                patient_sex=patient.sex,
            )
            .on_conflict_do_nothing()
        )
        return await self.get(reference, owner)


def to_examination(row: ExaminationRow) -> Examination:
    """The examination of a row."""
    return Examination(
        id=ExaminationId(row.id),
        owner=OwnerId(row.owner),
        reference=row.reference,
        patient=Patient(
            id=row.patient_id,
            name=row.patient_name,
            birth_date=row.patient_birth_date,
            sex=row.patient_sex,
        ),
        created_at=row.created_at,
    )
