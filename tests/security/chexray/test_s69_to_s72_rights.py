"""Attacks 69 to 72: other people's studies, on every route that chexray has."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from services.chexray.app import create_app
from services.chexray.schemas import StudyOut, StudyPageOut
from tests.services.chexray.support import VERIFIER, as_caller, caller, png, stranger

STUDIES = "/api/v2/chexray/studies"
OLD = "/api/chexray"
Headers = Mapping[str, str]

#: Every route of the service that speaks of one study, and its methods.
OF_ONE_STUDY = [
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/image"),
    ("GET", "/heatmap"),
    ("GET", "/heatmap?label=edema"),
    ("GET", "/report.dcm"),
]


async def new_study(client: httpx.AsyncClient, who: Headers) -> dict[str, Any]:
    """Somebody's study."""
    answer = await client.post(STUDIES, files={"image": ("a.png", png())}, headers=who)
    study: dict[str, Any] = answer.json()
    return study


@pytest.mark.parametrize(("method", "path"), OF_ONE_STUDY)
async def test_s69_a_foreign_study_is_as_absent_as_an_unknown_one(
    client: httpx.AsyncClient, as_bob: Headers, as_eve: Headers, method: str, path: str
) -> None:
    """The same 404 to the byte, but for the request's id."""
    study = await new_study(client, as_bob)
    answers = [
        await client.request(method, f"{STUDIES}/{identifier}{path}", headers=as_eve)
        for identifier in (study["id"], uuid4(), "1", "%27", "x" * 300)
    ]
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    still_there = await client.get(f"{STUDIES}/{study['id']}", headers=as_bob)

    assert {answer.status_code for answer in answers} == {404}
    assert all(body == bodies[0] for body in bodies)
    assert still_there.status_code == 200


@pytest.mark.parametrize("etag", ["*", '"x"'])
async def test_s70_a_validator_opens_nothing(
    client: httpx.AsyncClient, as_bob: Headers, as_eve: Headers, etag: str
) -> None:
    """304 would tell that a study exists."""
    study = await new_study(client, as_bob)
    url = f"{STUDIES}/{study['id']}"
    own_etag = (await client.get(url, headers=as_bob)).headers["etag"]
    answers = [
        await client.get(url, headers={**as_eve, "If-None-Match": tag}) for tag in (etag, own_etag)
    ]

    assert [answer.status_code for answer in answers] == [404, 404]


async def test_s70_lists_cursors_and_keys_stay_with_their_owner(
    client: httpx.AsyncClient, as_bob: Headers, as_eve: Headers
) -> None:
    """Somebody else's cursor shows nothing of theirs."""
    keyed = {"Idempotency-Key": "same"}
    for _ in range(3):
        await new_study(client, as_bob)
    await client.post(STUDIES, files={"image": ("a.png", png())}, headers={**as_bob, **keyed})
    page = (await client.get(STUDIES, params={"limit": 2}, headers=as_bob)).json()
    seen = await client.get(STUDIES, params={"cursor": page["next_cursor"]}, headers=as_eve)
    repeated = await client.post(
        STUDIES, files={"image": ("a.png", png())}, headers={**as_eve, **keyed}
    )

    assert seen.json() == {"items": [], "next_cursor": None}
    assert "idempotency-replayed" not in repeated.headers


async def test_s69_the_old_wire_shows_nobody_elses_x_rays(
    client: httpx.AsyncClient, as_bob: Headers, as_eve: Headers
) -> None:
    """It says that a number is taken (Q11), and nothing more."""
    await new_study(client, as_bob)
    number = (await client.get(f"{OLD}/user/", headers=as_bob)).json()["pastxrays"][0]
    shown = await client.post(f"{OLD}/xray/", json={"xray_id": number}, headers=as_eve)
    listed = await client.get(f"{OLD}/user/", headers=as_eve)

    assert shown.json() == {"response": "You don't have permission to view this."}
    assert listed.json()["pastxrays"] == []
    assert "vedette-model" not in shown.headers


async def test_s69_names_and_identifiers_cannot_be_guessed(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """131 random bits in an address, 74 and a time in an identifier; no two alike."""
    answers = [
        (
            await client.post(
                f"{OLD}/upload/",
                files={"image": ("a.png", png())},
                data={"title": "t"},
                headers=as_bob,
            )
        ).json()
        for _ in range(20)
    ]
    names = {answer["image"] for answer in answers}

    assert len(names) == 20
    assert all(re.fullmatch(r"/media/images/a_[0-9A-Za-z]{22}\.png", name) for name in names)


@pytest.mark.parametrize(
    "scopes", [frozenset(), frozenset({"netra:read", "fleet:read", "admin"}), frozenset({"*"})]
)
async def test_s69_other_scopes_open_nothing(
    client: httpx.AsyncClient, as_bob: Headers, scopes: frozenset[str]
) -> None:
    """Nor does a scope that only looks like all of them."""
    study = await new_study(client, as_bob)
    who = as_caller(caller(scopes=scopes))
    modern = [
        await client.request(method, f"{STUDIES}/{study['id']}{path}", headers=who)
        for method, path in OF_ONE_STUDY
    ]
    old = [
        await client.get(f"{OLD}/user/", headers=who),
        await client.post(f"{OLD}/xray/", json={"xray_id": 1}, headers=who),
        await client.post(f"{OLD}/upload/", headers=who),
    ]

    assert {answer.status_code for answer in [*modern, *old]} == {403}


async def test_s69_a_credential_that_is_no_persons_owns_nothing(
    client: httpx.AsyncClient,
) -> None:
    """A subject that is no account is refused rather than given a list of its own."""
    named = caller()
    who = as_caller(type(named)(subject="truck-7", kind="device", scopes=named.scopes))

    assert (await client.get(STUDIES, headers=who)).status_code == 403


@asynccontextmanager
async def nothing_opens(_: FastAPI) -> AsyncIterator[None]:
    """For an application that is only looked at."""
    yield


async def test_s71_every_path_asks_for_a_caller(client: httpx.AsyncClient) -> None:
    """Without the gateway's assertion there is nothing of what is documented."""
    app = create_app(nothing_opens, VERIFIER)
    paths = set(app.openapi()["paths"])
    answers = {
        path: (await client.get(re.sub(r"{\w+}", str(uuid4()), path))).status_code for path in paths
    }

    assert paths >= {STUDIES, f"{STUDIES}/{{study_id}}", f"{OLD}/signup/", "/media/images/{name}"}
    assert set(answers.values()) == {401}


async def test_s71_strangers_are_let_in_only_where_the_old_wire_is_open(
    client: httpx.AsyncClient,
) -> None:
    """Everything else is 401 for them."""
    app = create_app(nothing_opens, VERIFIER)
    answered = {
        (method.upper(), path): (
            await client.request(method, re.sub(r"{\w+}", str(uuid4()), path), headers=stranger())
        ).status_code
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    let_in = {path for (_, path), status in answered.items() if status != 401}

    assert let_in == {
        f"{OLD}/signup/",
        f"{OLD}/login/",
        f"{OLD}/anonupload/",
        "/media/images/{name}",
        "/media/heatmaps/{name}",
    }


async def test_s72_answers_hold_the_declared_fields_alone(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """No owner, no hash of the object, no number, no token."""
    study = await new_study(client, as_bob)
    page = (await client.get(STUDIES, headers=as_bob)).json()

    assert set(study) == set(StudyOut.model_fields)
    assert set(page) == set(StudyPageOut.model_fields)
    assert set(page["items"][0]) == set(StudyOut.model_fields)
    assert not {"owner", "number", "media_token", "sha256"} & set(study)
