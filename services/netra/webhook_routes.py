"""Addresses that hear of the end of analyses: `/api/v2/netra/webhooks`."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.netra.announcing import EVENTS, WEBHOOKS
from services.netra.dependencies import AuthorDep, ViewerDep
from services.netra.domain import OwnerId
from services.netra.errors import DeliveryNotFound, TooManyWebhooks, WebhookNotFound, WebhookRefused
from services.netra.schemas import ROOT
from services.netra.tables import WebhookDeliveryRow, WebhookRow
from shared.answers import problem_answers
from shared.db import SessionDep
from shared.methods import complete_methods
from shared.webhooks import EVERYTHING, AddressRefused

router = APIRouter(prefix=f"{ROOT}/webhooks", tags=["netra"])

_MOST_WEBHOOKS = 10
Url = Annotated[str, Field(min_length=1, max_length=2048, examples=["https://emr.example/hook"])]


class WebhookIn(BaseModel):
    """Where to tell, and of what."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    events: Annotated[list[str], Field(min_length=1, max_length=8)] = [EVERYTHING]

    @field_validator("events")
    @classmethod
    def known(cls, events: list[str]) -> list[str]:
        """Refuse names of events that there are not."""
        if not set(events) <= {EVERYTHING, *EVENTS}:
            raise ValueError(f"events are {EVERYTHING} or some of {', '.join(EVENTS)}")
        return events


class WebhookOut(BaseModel):
    """An address that hears of your analyses."""

    id: UUID
    url: str
    events: list[str]
    created_at: datetime
    disabled_at: datetime | None


class NewWebhookOut(BaseModel):
    """A new address, with the secret that signs what it hears, which is shown this once."""

    id: UUID
    url: str
    events: list[str]
    secret: str


class WebhooksOut(BaseModel):
    """Every address that hears of your analyses."""

    items: list[WebhookOut]


class DeliveryOut(BaseModel):
    """One event on its way to one address, or there."""

    id: UUID
    webhook_id: UUID
    event: str
    status: str
    attempts: int
    last_status: int | None
    last_error: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None


class DeliveriesOut(BaseModel):
    """Your newest deliveries."""

    items: list[DeliveryOut]


@router.post(
    "",
    status_code=201,
    response_model=NewWebhookOut,
    summary="Have an address told of your analyses",
    responses=problem_answers(409, 422, 503),
)
async def add_webhook(
    wanted: WebhookIn, author: AuthorDep, request: Request, session: SessionDep
) -> NewWebhookOut:
    """Tell this address when your analyses end; each delivery is signed with the secret.

    The header `Vedette-Signature` holds `t=<seconds>,v1=<HMAC-SHA256 of "<t>.<body>">`.
    """
    await _limit(session, author)
    try:
        made = await WEBHOOKS.register(
            session,
            request.state.webhook_addresses,
            tenant=str(author),
            url=wanted.url,
            events=wanted.events,
        )
    except AddressRefused as error:
        raise WebhookRefused(str(error)) from error
    return NewWebhookOut(id=made.id, url=made.url, events=list(made.events), secret=made.secret)


@router.get(
    "", response_model=WebhooksOut, summary="List your webhooks", responses=problem_answers(503)
)
async def list_webhooks(viewer: ViewerDep, session: SessionDep) -> WebhooksOut:
    """The addresses that hear of your analyses, without their secrets."""
    rows = await session.scalars(
        select(WebhookRow).where(WebhookRow.tenant == str(viewer)).order_by(WebhookRow.created_at)
    )
    return WebhooksOut(
        items=[
            WebhookOut(
                id=row.id,
                url=row.url,
                events=row.events,
                created_at=row.created_at,
                disabled_at=row.disabled_at,
            )
            for row in rows
        ]
    )


@router.get(
    "/deliveries",
    response_model=DeliveriesOut,
    summary="Show what was delivered",
    responses=problem_answers(422, 503),
)
async def list_deliveries(
    viewer: ViewerDep, session: SessionDep, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> DeliveriesOut:
    """Your newest deliveries and how they went."""
    rows = await session.scalars(
        select(WebhookDeliveryRow)
        .where(WebhookDeliveryRow.tenant == str(viewer))
        .order_by(WebhookDeliveryRow.number.desc())
        .limit(limit)
    )
    return DeliveriesOut(items=[_delivery(row) for row in rows])


@router.post(
    "/deliveries/{delivery_id}/again",
    status_code=204,
    summary="Deliver once more",
    responses=problem_answers(404, 422, 503),
)
async def deliver_again(delivery_id: UUID, author: AuthorDep, session: SessionDep) -> None:
    """Try a delivery again that was given up."""
    if not await WEBHOOKS.deliver_again(session, delivery_id, tenant=str(author)):
        raise DeliveryNotFound("There is no delivery of yours with this id that was given up.")


@router.delete(
    "/{webhook_id}",
    status_code=204,
    summary="Forget a webhook",
    responses=problem_answers(404, 422, 503),
)
async def delete_webhook(webhook_id: UUID, author: AuthorDep, session: SessionDep) -> None:
    """Tell this address no more; what is still on its way to it is dropped."""
    if not await WEBHOOKS.remove(session, webhook_id, tenant=str(author)):
        raise WebhookNotFound("There is no such webhook among yours.")


async def _limit(session: AsyncSession, owner: OwnerId) -> None:
    count = await session.scalar(
        select(func.count()).select_from(WebhookRow).where(WebhookRow.tenant == str(owner))
    )
    if (count or 0) >= _MOST_WEBHOOKS:
        raise TooManyWebhooks(f"An account may have {_MOST_WEBHOOKS} webhooks.")


def _delivery(row: WebhookDeliveryRow) -> DeliveryOut:
    waits: Any = row.next_attempt_at if row.status == "waiting" else None
    return DeliveryOut(
        id=row.id,
        webhook_id=row.endpoint_id,
        event=row.event,
        status=row.status,
        attempts=row.attempts,
        last_status=row.last_status,
        last_error=row.last_error,
        created_at=row.created_at,
        next_attempt_at=waits,
        finished_at=row.finished_at,
    )


complete_methods(router)
