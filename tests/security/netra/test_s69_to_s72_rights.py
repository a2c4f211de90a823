"""Attacks 36 and 69 to 72: other people's analyses, on every route that netra has."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from services.netra.app import create_app
from services.netra.domain import new_job_id
from services.netra.schemas import AnalysisOut
from tests.services.netra.support import (
    DISEASED,
    UNCERTAIN,
    VERIFIER,
    Bench,
    as_caller,
    caller,
    picture,
    stranger,
)

ROOT = "/api/v2/netra"
ANALYSES = f"{ROOT}/analyses"
Headers = Mapping[str, str]

#: Every route of the service that speaks of one analysis, and its methods.
OF_ONE_ANALYSIS = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/cancel"),
    ("POST", "/decision"),
    ("GET", "/image"),
    ("GET", "/annotated"),
    ("GET", "/masks/haemorrhage"),
    ("GET", "/report.dcm"),
    ("GET", "/fhir"),
]


async def new_analysis(client: httpx.AsyncClient, who: Headers, **fields: str) -> dict[str, Any]:
    """Somebody's analysis."""
    answer = await client.post(
        ANALYSES, files={"image": ("a.jpg", picture())}, data=fields, headers=who
    )
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(("method", "path"), OF_ONE_ANALYSIS)
async def test_s69_a_foreign_analysis_is_as_absent_as_an_unknown_one(
    client: httpx.AsyncClient,
    bench: Bench,
    as_bob: Headers,
    as_eve: Headers,
    method: str,
    path: str,
) -> None:
    """The same 404 to the byte, but for the request's id; done, held or waiting."""
    done = await new_analysis(client, as_bob)
    await bench.work(DISEASED)
    held = await new_analysis(client, as_bob)
    await bench.work(UNCERTAIN)
    waiting = await new_analysis(client, as_bob)
    known = (done["id"], held["id"], waiting["id"])
    body = {"retinopathy": True, "referable": True} if path == "/decision" else None
    answers = [
        await client.request(method, f"{ANALYSES}/{identifier}{path}", headers=as_eve, json=body)
        for identifier in (*known, uuid4(), "1", "%27", "x" * 300)
    ]
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    still_there = [await client.get(f"{ANALYSES}/{each}", headers=as_bob) for each in known]

    assert {answer.status_code for answer in answers} == {404}
    assert all(body == bodies[0] for body in bodies)
    assert [answer.json()["status"] for answer in still_there] == ["completed", "held", "queued"]


def test_s69_every_route_of_one_analysis_is_tried() -> None:
    """A route that is added later joins the list above."""

    @asynccontextmanager
    async def nothing(app: FastAPI) -> AsyncIterator[None]:
        yield

    paths = create_app(nothing, VERIFIER).openapi()["paths"]
    found = {
        (method.upper(), path.split("{analysis_id}")[1].replace("{lesion_type}", "haemorrhage"))
        for path, item in paths.items()
        if "{analysis_id}" in path
        for method in item
    }

    assert found == set(OF_ONE_ANALYSIS)


@pytest.mark.parametrize("etag", ["*", "own"])
async def test_s70_a_validator_opens_nothing(
    client: httpx.AsyncClient, as_bob: Headers, as_eve: Headers, etag: str
) -> None:
    """304 would tell that an analysis exists."""
    url = f"{ANALYSES}/{(await new_analysis(client, as_bob))['id']}"
    own = (await client.get(url, headers=as_bob)).headers["etag"]
    tag = own if etag == "own" else etag

    assert (await client.get(url, headers={**as_eve, "If-None-Match": tag})).status_code == 404


async def test_s70_lists_cursors_keys_visits_and_credits_stay_with_their_owner(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers, as_eve: Headers
) -> None:
    """The same label, visit and key of two people are two of each."""
    for _ in range(3):
        await new_analysis(client, as_bob, label="camp", examination="v", eye="left")
    page = (await client.get(ANALYSES, params={"limit": 2}, headers=as_bob)).json()
    by_cursor = await client.get(ANALYSES, params={"cursor": page["next_cursor"]}, headers=as_eve)
    by_label = await client.get(ANALYSES, params={"label": "camp"}, headers=as_eve)
    visit = await client.get(f"{ROOT}/examinations/v", headers=as_eve)
    own = await new_analysis(client, as_eve, examination="v")
    own_visit = (await client.get(f"{ROOT}/examinations/v", headers=as_eve)).json()
    account = (await client.get(f"{ROOT}/account", headers=as_eve)).json()

    assert by_cursor.json()["items"] == by_label.json()["items"] == []
    assert visit.status_code == 404
    assert [each["analyses"] for each in own_visit["eyes"].values()] == [[own["id"]]]
    assert account["credits"] == 99


async def test_s70_webhooks_stay_with_their_owner(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers, as_eve: Headers
) -> None:
    hook = {"url": "https://203.0.114.9/hook", "events": ["*"]}
    made = (await client.post(f"{ROOT}/webhooks", json=hook, headers=as_bob)).json()
    await new_analysis(client, as_eve)
    await bench.work(DISEASED)
    foreign = await client.delete(f"{ROOT}/webhooks/{made['id']}", headers=as_eve)
    listed = (await client.get(f"{ROOT}/webhooks", headers=as_eve)).json()
    told = (await client.get(f"{ROOT}/webhooks/deliveries", headers=as_bob)).json()

    assert foreign.status_code == 404
    assert listed["items"] == told["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [
        ("GET", "/analyses", frozenset({"netra:write"})),
        ("POST", "/analyses", frozenset({"netra:read"})),
        ("GET", "/account", frozenset()),
        ("GET", "/accounts/01a1f899-d79c-7899-8174-8022608a643f", frozenset({"netra:write"})),
        ("PATCH", "/accounts/01a1f899-d79c-7899-8174-8022608a643f", frozenset({"netra:write"})),
        ("POST", "/webhooks", frozenset({"netra:read"})),
        ("GET", "/webhooks", frozenset({"fleet:read"})),
        ("GET", "/examinations/x", frozenset({"chexray:read"})),
    ],
)
async def test_s69_a_right_is_needed(
    client: httpx.AsyncClient, method: str, path: str, scopes: frozenset[str]
) -> None:
    lacking = await client.request(method, ROOT + path, headers=as_caller(caller(scopes=scopes)))
    nobody = await client.request(method, ROOT + path, headers=stranger())
    unasserted = await client.request(method, ROOT + path)

    assert (lacking.status_code, nobody.status_code) == (403, 401)
    assert unasserted.status_code == 401


def test_s69_job_ids_cannot_be_guessed() -> None:
    """416 random bits each."""
    names = {new_job_id() for _ in range(200)}

    assert len(names) == 200
    assert all(re.fullmatch(r"[A-Za-z0-9]{70}", name) for name in names)


async def test_s72_answers_hold_the_declared_members_and_no_other(
    client: httpx.AsyncClient, bench: Bench, as_bob: Headers
) -> None:
    """Not the owner, not the job's old name, not the object's."""
    await new_analysis(client, as_bob)
    await bench.work(DISEASED)
    found = (await client.get(ANALYSES, headers=as_bob)).json()["items"][0]

    assert set(found) == set(AnalysisOut.model_fields)


async def test_s36_what_a_client_must_not_set_is_ignored(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    found = await new_analysis(
        client, as_bob, owner=str(uuid4()), status="completed", credits="1000000", id=str(uuid4())
    )
    account = (await client.get(f"{ROOT}/account", headers=as_bob)).json()

    assert found["status"] == "queued"
    assert account["credits"] == 99
