"""Fundus photographs through the whole chain: the old client's way, and the modern one."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.netra.__main__ import drawn_photograph
from tests.e2e.conftest import Platform
from tests.holding import eventually

ASSETS = os.environ.get("VEDETTE_ASSETS")
PASSWORD = "nine grey herons over the fen"

# Real pictures lie beside a checkout and are never part of it; `.ci/run` says where they are.
needs_assets = pytest.mark.skipif(ASSETS is None, reason="VEDETTE_ASSETS names no folder")


def real(name: str) -> bytes:
    """A file of the public data."""
    return (Path(ASSETS or "") / "idrid" / name).read_bytes()


@pytest.fixture(scope="module")
def admin(platform: Platform) -> dict[str, str]:
    """The administrator's credential; logins are limited, so one is enough."""
    return {"Authorization": f"Bearer {platform.token()}"}


def new_user(
    platform: Platform, admin: dict[str, str], username: str, role: str = "clinician"
) -> str:
    """An account that the administrator makes; its id."""
    with platform.client(headers=admin) as client:
        answer = client.post(
            "/api/v2/auth/users",
            json={"username": username, "password": PASSWORD, "roles": [role]},
        )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def call(client: httpx.Client, name: str, **fields: str) -> dict[str, Any]:
    """One call of the old API, as a form."""
    answer = client.post(f"/v1/{name}", data=fields)
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json()
    return body


def token_of(client: httpx.Client, username: str) -> dict[str, Any]:
    """getToken, as the document's sample asks."""
    return call(
        client, "getToken", username=username, password=PASSWORD, apiRequestType="DIAB_RETINA"
    )


def analyse(client: httpx.Client, token: str, image: bytes) -> dict[str, Any]:
    """What the document's sample does with one image; getResult's answer."""
    uri = f"data:image/jpeg;base64,{base64.urlsafe_b64encode(image).decode()}"
    queued = call(
        client,
        "doAnalysis",
        token=token,
        image=uri,
        imageName="retina.jpg",
        bulkImgLabel="label",
        imageLocPath="/home/x/retina.jpg",
    )
    assert (queued["status"], queued["jobStatus"]) == (200, "QUEUED")
    job = {"token": token, "jobid": queued["jobId"]}
    assert eventually(
        lambda: call(client, "getStatus", **job)["statusJob"] != "QUEUED", within_s=60
    )
    return call(client, "getResult", **job)


def test_the_old_client_gets_a_result_for_a_drawing(
    platform: Platform, admin: dict[str, str]
) -> None:
    """It is no retina, and the answer says so without a verdict."""
    new_user(platform, admin, "camera-1")
    with platform.client() as client:
        given = token_of(client, "camera-1")
        result = analyse(client, given["token"], drawn_photograph(1, 200_000))

    assert list(given) == ["status", "token", "remaining", "validUpto"]
    assert given["remaining"] == 100
    assert result["statusJob"] in ("COMPLETED", "HOLD")
    assert json.loads(result["result"])["drYes"] == "NA"
    assert (result["usedBy"], result["remaining"]) == ("camera-1", 99)


@needs_assets
def test_the_old_client_gets_a_verdict_for_a_photograph(
    platform: Platform, admin: dict[str, str]
) -> None:
    """A photograph of severe retinopathy."""
    new_user(platform, admin, "camera-2")
    with platform.client() as client:
        token = token_of(client, "camera-2")["token"]
        result = analyse(client, token, real("grading960/IDRiD_001.jpg"))

    verdicts = json.loads(result["result"])
    assert result["statusJob"] == "COMPLETED"
    assert verdicts["eyeOrNot"] == "YES"
    assert verdicts["imageQuality"] == "Gradable Image"
    assert (verdicts["drYes"], verdicts["referrableDR"]) == ("Detected", "YES")
    assert {"Deep Hemorrhage", "Hard Exudate"} <= {
        each["lesionType"] for each in verdicts["lesionBbox"]
    }


def test_s55_the_old_apis_token_opens_nothing_else_and_can_be_revoked(
    platform: Platform, admin: dict[str, str]
) -> None:
    """Not even the same service's modern API; and a disabled account is out within a second."""
    user = new_user(platform, admin, "camera-3")
    with platform.client() as client:
        token = token_of(client, "camera-3")["token"]
        elsewhere = [
            client.get(path, headers={"Authorization": f"{scheme} {token}"}).status_code
            for path in ("/api/v2/netra/analyses", "/api/chexray/user/", "/api/v2/auth/users/me")
            for scheme in ("Bearer", "Token")
        ]
        unknown = call(client, "getStatus", token=token, jobId="x")
        client.patch(f"/api/v2/auth/users/{user}", json={"disabled": True}, headers=admin)
        refused = eventually(
            lambda: call(client, "getStatus", token=token, jobId="x")["message"].startswith(
                "LC-ERR-0002"
            ),
            within_s=5,
        )

    assert set(elsewhere) == {401}
    assert unknown["message"].startswith("LC-ERR-0006")
    assert refused


def test_an_operator_of_trucks_has_no_business_here(
    platform: Platform, admin: dict[str, str]
) -> None:
    """A token is given, because the password is right; it opens nothing."""
    new_user(platform, admin, "driver-1", "operator")
    with platform.client() as client:
        token = token_of(client, "driver-1")["token"]
        refused = call(client, "doAnalysis", token=token, image="data:;base64,AAAA")

    assert refused["message"].startswith("LC-ERR-0003")


def test_who_waits_gets_the_modern_answer_and_the_administrator_gives_credits(
    platform: Platform, admin: dict[str, str]
) -> None:
    user = new_user(platform, admin, "reader-1")
    with platform.client() as client:
        login = {"grant_type": "password", "username": "reader-1", "password": PASSWORD}
        access = client.post("/api/v2/auth/token", data=login).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {access}"
        answer = client.post(
            "/api/v2/netra/analyses",
            files={"image": ("a.jpg", drawn_photograph(2, 200_000))},
            data={"label": "camp"},
            headers={"Prefer": "wait=30"},
        )
        account_url = f"/api/v2/netra/accounts/{user}"
        refused = client.patch(account_url, json={"credits": 7})
        given = client.patch(account_url, json={"credits": 7}, headers=admin)
        account = client.get("/api/v2/netra/account").json()

    assert answer.status_code == 200, answer.text
    assert answer.json()["evidence"]
    assert answer.json()["status"] in ("completed", "held")
    assert (refused.status_code, given.status_code) == (403, 200)
    assert account["credits"] == 7
