"""Credits, and examinations: what belongs to an account beside its analyses."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from services.netra.dependencies import AdministratorDep, GuardDep, RepositoryDep, ViewerDep
from services.netra.domain import OwnerId
from services.netra.evidence import weakest
from services.netra.job import MAX_REFERENCE_CHARACTERS, AnalysisJob, combine
from services.netra.repositories.analyses import Wanted
from services.netra.repositories.examinations import ExaminationRepository
from services.netra.repositories.ledger import Ledger
from services.netra.schemas import (
    ROOT,
    AccountOut,
    CreditsIn,
    ExaminationOut,
    EyeOut,
    LedgerOut,
    MovementOut,
)
from shared.answers import problem_answers
from shared.db import SessionDep
from shared.methods import complete_methods

router = APIRouter(prefix=ROOT, tags=["netra"])

#: More photographs than any visit has.
_MOST_PHOTOGRAPHS = 100
Side = Literal["left", "right", "unknown"]


async def get_ledger(request: Request, session: SessionDep) -> Ledger:
    """Everybody's credits, in this request's transaction."""
    return Ledger(session, request.state.first_credits)


async def get_examinations(session: SessionDep) -> ExaminationRepository:
    """Everybody's examinations, in this request's transaction."""
    return ExaminationRepository(session)


LedgerDep = Annotated[Ledger, Depends(get_ledger, scope="function")]
ExaminationsDep = Annotated[ExaminationRepository, Depends(get_examinations, scope="function")]
Before = Annotated[int | None, Query(ge=1, lt=2**63, description="From the page before.")]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get(
    "/account",
    response_model=LedgerOut,
    summary="Show your credits",
    responses=problem_answers(503),
)
async def get_account(
    viewer: ViewerDep, ledger: LedgerDep, before: Before = None, limit: Limit = 20
) -> LedgerOut:
    """Your credits, and how they came and went."""
    return await _ledger_of(ledger, viewer, before, limit)


@router.get(
    "/accounts/{user_id}",
    response_model=LedgerOut,
    summary="Show somebody's credits",
    responses=problem_answers(403, 422, 503),
)
async def get_somebodys_account(
    user_id: UUID, _: AdministratorDep, ledger: LedgerDep, before: Before = None, limit: Limit = 20
) -> LedgerOut:
    """The credits of an account, and how they came and went; for administrators."""
    return await _ledger_of(ledger, OwnerId(user_id), before, limit)


@router.patch(
    "/accounts/{user_id}",
    response_model=AccountOut,
    summary="Set somebody's credits",
    responses=problem_answers(403, 422, 503),
)
async def set_credits(
    user_id: UUID, wanted: CreditsIn, _: AdministratorDep, ledger: LedgerDep
) -> AccountOut:
    """Let an account have this many credits; for administrators."""
    await ledger.set_credits(OwnerId(user_id), wanted.credits)
    return AccountOut(user_id=user_id, credits=await ledger.remaining(OwnerId(user_id)))


@router.get(
    "/examinations/{reference}",
    response_model=ExaminationOut,
    summary="Show both eyes of a visit",
    responses=problem_answers(404, 409, 503),
)
async def get_examination(
    reference: Annotated[str, Path(max_length=MAX_REFERENCE_CHARACTERS)],
    viewer: ViewerDep,
    guard: GuardDep,
    examinations: ExaminationsDep,
    analyses: RepositoryDep,
) -> ExaminationOut:
    """What the photographs of one visit say together: for each eye, and for the patient.

    Disease in one photograph is disease in its eye and in the patient; that there is none is said
    only where every photograph is done and has a verdict.
    """
    examination = await examinations.get(reference.replace("\0", ""), viewer)
    wanted = Wanted(examination=examination.id)
    jobs = await analyses.list_of(viewer, wanted, after=None, limit=_MOST_PHOTOGRAPHS)
    for job in jobs:
        guard.check(job)
    by_side: dict[Side, list[AnalysisJob]] = {}
    for job in jobs:
        by_side.setdefault("unknown" if job.eye is None else job.eye.value, []).append(job)
    both = combine(jobs)
    return ExaminationOut(
        reference=examination.reference,
        patient_id=examination.patient.id,
        created_at=examination.created_at,
        retinopathy=both.retinopathy,
        referable=both.referable,
        complete=both.complete,
        eyes={side: _eye(each) for side, each in sorted(by_side.items())},
        evidence=weakest(job.found.evidence for job in jobs if job.found is not None),
    )


def _eye(jobs: list[AnalysisJob]) -> EyeOut:
    together = combine(jobs)
    return EyeOut(
        retinopathy=together.retinopathy,
        referable=together.referable,
        complete=together.complete,
        analyses=[job.id for job in jobs],
    )


async def _ledger_of(ledger: Ledger, owner: OwnerId, before: int | None, limit: int) -> LedgerOut:
    remaining = await ledger.remaining(owner)
    found = await ledger.movements(owner, before=before, limit=limit + 1)
    items = found[:limit]
    return LedgerOut(
        credits=remaining,
        items=[
            MovementOut.model_validate(
                {name: getattr(each, name) for name in MovementOut.model_fields}
            )
            for each in items
        ],
        next_before=items[-1].number if len(found) > limit else None,
    )


complete_methods(router)
