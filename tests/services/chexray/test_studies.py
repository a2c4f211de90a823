"""The modern API."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.chexray import routes
from services.chexray.domain import Pathology
from services.chexray.repository import Quota
from tests.services.chexray.support import (
    MODEL,
    REFUSED,
    Bench,
    as_caller,
    caller,
    picture,
    png,
    stranger,
)

STUDIES = "/api/v2/chexray/studies"
Headers = Mapping[str, str]


async def post(
    client: httpx.AsyncClient, who: Headers, image: bytes | None = None, **more: str
) -> httpx.Response:
    """Upload one picture."""
    return await client.post(
        STUDIES,
        files={"image": ("chest.png", png() if image is None else image, "image/png")},
        data={"title": "Chest", **more},
        headers=who,
    )


async def test_a_read_study_has_five_findings_in_chexpert_order(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """The whole answer of the contract."""
    answer = await post(client, as_bob)

    study = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{STUDIES}/{study['id']}"
    assert answer.headers["vedette-model"] == "chexray-stub@1.0"
    assert answer.headers["vedette-evidence"] == "demo"
    assert answer.headers["cache-control"] == "private, no-store"
    assert [finding["label"] for finding in study["findings"]] == list(Pathology)
    assert study["findings"][1] == {
        "label": "cardiomegaly",
        "probability": 0.75,
        "operating_point": 0.5,
        "positive": True,
    }
    assert study["gate"] == {
        "accepted": True,
        "reasons": [],
        "explanations": [],
        "method": "rules",
        "turned_left_deg": 0,
    }
    assert study["model"] == {"id": "chexray-stub", "version": "1.0", "sha256": "a" * 64}
    assert study["title"] == "Chest"
    assert study["evidence"] == "demo"
    assert study["calibrated"] is True
    assert UUID(study["id"]).version == 7


async def test_a_read_study_can_be_fetched_again(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """What POST returns is what GET returns later, from another transaction."""
    created = await post(client, as_bob)
    fetched = await client.get(f"{STUDIES}/{created.json()['id']}", headers=as_bob)

    assert fetched.status_code == 200
    assert fetched.json() == created.json()


async def test_a_client_that_has_the_study_gets_304(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """The entity tag spares the body."""
    url = (await post(client, as_bob)).headers["location"]
    etag = (await client.get(url, headers=as_bob)).headers["etag"]
    again = await client.get(url, headers={**as_bob, "If-None-Match": f'"other", W/{etag}'})

    assert again.status_code == 304
    assert again.content == b""


async def test_a_refused_picture_is_kept_with_reasons_and_without_findings(
    bench: Bench, as_bob: Headers
) -> None:
    """The gate's answer is an answer, not an error."""
    bench.classifier.gate = REFUSED
    async with bench.serve() as client:
        answer = await post(client, as_bob)
        study = answer.json()
        heatmap = await client.get(f"{STUDIES}/{study['id']}/heatmap", headers=as_bob)
        report = await client.get(f"{STUDIES}/{study['id']}/report.dcm", headers=as_bob)
        image = await client.get(study["image_url"], headers=as_bob)

    assert answer.status_code == 201
    assert study["findings"] == []
    assert study["heatmap_url"] is None
    assert study["gate"]["accepted"] is False
    assert study["gate"]["reasons"] == ["colour", "no-lung-fields"]
    assert len(study["gate"]["explanations"]) == 2
    assert (heatmap.status_code, heatmap.json()["type"]) == (409, "/problems/no-heatmap")
    assert (report.status_code, report.json()["type"]) == (409, "/problems/no-report")
    assert image.content == png()
    assert bench.classifier.reads == 0


async def test_the_original_is_served_inert_under_the_type_of_its_bytes(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """A picture named .html stays a picture."""
    answer = await client.post(
        STUDIES,
        files={"image": ("x.html", picture("JPEG"), "text/html")},
        headers=as_bob,
    )
    image = await client.get(answer.json()["image_url"], headers=as_bob)

    assert image.content == picture("JPEG")
    assert image.headers["content-type"] == "image/jpeg"
    assert image.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in image.headers["content-security-policy"]
    assert image.headers["content-disposition"].startswith("attachment; ")
    assert image.headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize("label", [None, *Pathology])
async def test_a_heatmap_is_drawn_for_every_label(
    client: httpx.AsyncClient, as_bob: Headers, label: str | None
) -> None:
    """And for the most probable finding when none is named."""
    url = (await post(client, as_bob, picture("PNG", (300, 200)))).json()["heatmap_url"]
    params = {} if label is None else {"label": label}
    heatmap = await client.get(url, params=params, headers=as_bob)

    assert heatmap.status_code == 200
    assert heatmap.headers["content-type"] == "image/png"
    assert heatmap.content.startswith(b"\x89PNG")
    assert heatmap.headers["etag"]


async def test_the_default_heatmap_is_that_of_the_most_probable_finding(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """Pleural effusion, in this answer."""
    url = (await post(client, as_bob)).json()["heatmap_url"]
    default = await client.get(url, headers=as_bob)
    named = await client.get(url, params={"label": "pleural_effusion"}, headers=as_bob)
    other = await client.get(url, params={"label": "edema"}, headers=as_bob)

    assert default.content == named.content
    assert default.content != other.content


async def test_an_unknown_label_is_422(client: httpx.AsyncClient, as_bob: Headers) -> None:
    """The answer lists those that exist."""
    url = (await post(client, as_bob)).json()["heatmap_url"]
    answer = await client.get(url, params={"label": "Edema"}, headers=as_bob)

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/unknown-label"
    assert answer.json()["labels"] == list(Pathology)


async def test_pages_hold_every_study_once_newest_first(
    client: httpx.AsyncClient, as_bob: Headers, as_eve: Headers
) -> None:
    """A cursor leads through the list without gaps; nobody else's studies are in it."""
    made = [(await post(client, as_bob)).json()["id"] for _ in range(5)]
    await post(client, as_eve)
    seen: list[str] = []
    params: dict[str, str | int] = {"limit": 2}
    pages = 0
    while params.get("cursor") is not None or pages == 0:
        page = (await client.get(STUDIES, params=params, headers=as_bob)).json()
        seen += [item["id"] for item in page["items"]]
        params["cursor"] = page["next_cursor"]
        pages += 1

    assert pages == 3
    # All rows of one test share their transaction's time, so the identifier decides.
    assert seen == sorted(made, reverse=True)


@pytest.mark.parametrize(
    ("params", "slug"),
    [
        ({"cursor": "nonsense"}, "invalid-cursor"),
        ({"cursor": "bm90IGEgdGltZSAxMjM"}, "invalid-cursor"),
        ({"cursor": "MjAyNi0wMS0wMVQwMDowMDowMCAxMjM"}, "invalid-cursor"),
        ({"cursor": "\u0664"}, "invalid-cursor"),
        ({"limit": "0"}, "invalid-request"),
        ({"limit": "101"}, "invalid-request"),
    ],
)
async def test_a_cursor_or_limit_that_no_list_gave_out_is_422(
    client: httpx.AsyncClient, as_bob: Headers, params: Mapping[str, str], slug: str
) -> None:
    """Never a 500."""
    answer = await client.get(STUDIES, params=params, headers=as_bob)

    assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{slug}")


async def test_repeating_a_request_with_its_key_repeats_its_answer(
    client: httpx.AsyncClient, as_bob: Headers
) -> None:
    """A lost answer can be asked for again without a second study."""
    keyed = {**as_bob, "Idempotency-Key": "3f1c"}
    first = await post(client, keyed)
    second = await post(client, keyed)
    listed = await client.get(STUDIES, headers=as_bob)

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(listed.json()["items"]) == 1


@pytest.mark.parametrize("change", ["image", "title"])
async def test_a_key_with_another_request_is_422(
    client: httpx.AsyncClient, as_bob: Headers, change: str
) -> None:
    """A key stands for one request."""
    keyed = {**as_bob, "Idempotency-Key": "3f1c"}
    await post(client, keyed)
    other = png(level=7) if change == "image" else png()
    answer = await post(client, keyed, other, title="Other" if change == "title" else "Chest")

    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/idempotency-key-reused"


async def test_two_people_may_use_the_same_key(
    client: httpx.AsyncClient, as_bob: Headers, as_eve: Headers
) -> None:
    """Keys belong to their account, and tell nothing of another's."""
    first = await post(client, {**as_bob, "Idempotency-Key": "3f1c"})
    second = await post(client, {**as_eve, "Idempotency-Key": "3f1c"})

    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "t\tab"])
async def test_a_malformed_key_is_422(client: httpx.AsyncClient, as_bob: Headers, key: str) -> None:
    """Before anything is read."""
    answer = await post(client, {**as_bob, "Idempotency-Key": key})

    assert answer.json()["type"] == "/problems/idempotency-key-invalid"


async def test_a_deleted_study_is_gone_and_its_quota_free(bench: Bench, as_bob: Headers) -> None:
    """One study is all this account may keep."""
    bench.quota = Quota(1, 1_000_000)
    async with bench.serve() as client:
        url = (await post(client, as_bob)).headers["location"]
        full = await post(client, as_bob)
        deleted = await client.delete(url, headers=as_bob)
        gone = await client.get(url, headers=as_bob)
        again = await client.delete(url, headers=as_bob)
        free = await post(client, as_bob)

    assert (full.status_code, full.json()["type"]) == (403, "/problems/quota-exceeded")
    assert deleted.status_code == 204
    assert gone.status_code == again.status_code == 404
    assert free.status_code == 201


async def test_s66_bytes_are_limited_per_account(bench: Bench, as_bob: Headers) -> None:
    """The second picture does not fit; somebody else's does."""
    bench.quota = Quota(100, len(png()) + 1)
    async with bench.serve() as client:
        answers = [
            await post(client, as_bob),
            await post(client, as_bob),
            await post(client, as_caller(caller())),
        ]

    assert [answer.status_code for answer in answers] == [201, 403, 201]


@pytest.mark.parametrize(
    ("content", "status", "slug"),
    [
        (b"", 422, "unreadable-image"),
        (b"hello", 415, "unsupported-image"),
        (png()[:60], 422, "unreadable-image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported-image"),
    ],
)
async def test_what_is_no_picture_is_4xx(
    client: httpx.AsyncClient, as_bob: Headers, content: bytes, status: int, slug: str
) -> None:
    """And nothing is kept."""
    answer = await post(client, as_bob, content)
    listed = await client.get(STUDIES, headers=as_bob)

    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{slug}")
    assert listed.json()["items"] == []


async def test_a_form_without_a_picture_is_422(client: httpx.AsyncClient, as_bob: Headers) -> None:
    """A text where the file belongs is no file."""
    answer = await client.post(
        STUDIES, files={"other": ("a", b"b")}, data={"image": "text"}, headers=as_bob
    )

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


@pytest.mark.parametrize("title", ["x" * 201, "a\0b"])
async def test_a_title_that_cannot_be_kept_is_422(
    client: httpx.AsyncClient, as_bob: Headers, title: str
) -> None:
    """PostgreSQL keeps no NUL."""
    assert (await post(client, as_bob, title=title)).status_code == 422


async def test_a_body_that_is_no_form_is_415(client: httpx.AsyncClient, as_bob: Headers) -> None:
    """The operation says what it reads."""
    answer = await client.post(STUDIES, json={"image": "x"}, headers=as_bob)

    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-media-type")


async def test_a_longer_body_than_is_read_is_413(bench: Bench, as_bob: Headers) -> None:
    """By its header, before its bytes."""
    bench.max_upload_bytes = 1000
    async with bench.serve() as client:
        answer = await post(client, as_bob, b"x" * 2000)

    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/content-too-large")


async def test_s42_too_many_parts_are_422(client: httpx.AsyncClient, as_bob: Headers) -> None:
    """A form of ours has two."""
    answer = await client.post(
        STUDIES,
        files={"image": ("a.png", png())},
        data={f"field{number}": "x" for number in range(30)},
        headers=as_bob,
    )

    assert answer.status_code == 422


async def test_other_parts_of_the_form_change_nothing(
    client: httpx.AsyncClient, as_bob: Headers, as_eve: Headers
) -> None:
    """SECURITY 36: nobody assigns an owner or findings."""
    answer = await post(client, as_bob, owner=str(uuid4()), findings="[]", evidence="validated")
    seen_by_eve = await client.get(STUDIES, headers=as_eve)

    assert answer.status_code == 201
    assert answer.json()["evidence"] == "demo"
    assert len(answer.json()["findings"]) == 5
    assert seen_by_eve.json()["items"] == []


@pytest.mark.parametrize(
    ("evidence", "policy", "status"),
    [
        ("demo", "mark", 201),
        ("demo", "refuse", 409),
        ("research", "refuse", 201),
        ("research", "require-validated", 409),
        ("validated", "require-validated", 201),
    ],
)
async def test_the_evidence_policy_decides_who_answers(
    bench: Bench, as_bob: Headers, evidence: str, policy: str, status: int
) -> None:
    """A refusal says so, names the level, and promises no better answer later."""
    bench.classifier.model = replace(MODEL, evidence=evidence)
    bench.evidence = policy  # type: ignore[assignment] # one of the three, from the table above
    async with bench.serve() as client:
        answer = await post(client, as_bob)

    assert answer.status_code == status
    assert answer.json()["evidence"] == evidence
    assert "retry-after" not in answer.headers


async def test_findings_of_earlier_studies_obey_todays_policy(
    bench: Bench, as_bob: Headers
) -> None:
    """Withheld, also from who knows the study by its tag; the picture stays its owner's."""
    async with bench.serve() as client:
        url = (await post(client, as_bob)).headers["location"]
        etag = (await client.get(url, headers=as_bob)).headers["etag"]
    bench.evidence = "refuse"
    async with bench.serve() as client:
        listed = (await client.get(STUDIES, headers=as_bob)).json()["items"][0]
        fetched = await client.get(url, headers={**as_bob, "If-None-Match": etag})
        refused = [
            (await client.get(f"{url}/{drawn}", headers=as_bob)).status_code
            for drawn in ("heatmap", "report.dcm")
        ]
        image = await client.get(f"{url}/image", headers=as_bob)

    assert (listed["findings"], listed["withheld"]) == ([], True)
    assert (fetched.status_code, fetched.json()) == (200, listed)
    assert refused == [409, 409]
    assert image.status_code == 200


async def test_without_a_credential_it_is_401(client: httpx.AsyncClient) -> None:
    """The service is as safe alone as behind the gateway's table."""
    answers = [
        await client.get(STUDIES, headers=stranger()),
        await post(client, stranger()),
        await client.get(f"{STUDIES}/{uuid4()}/image", headers=stranger()),
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 401]


async def test_without_the_scope_it_is_403(client: httpx.AsyncClient) -> None:
    """Reading does not allow writing."""
    reader = as_caller(caller(scopes=frozenset({"chexray:read"})))
    writer = as_caller(caller(scopes=frozenset({"chexray:write"})))

    assert (await post(client, reader)).status_code == 403
    assert (await client.delete(f"{STUDIES}/{uuid4()}", headers=reader)).status_code == 403
    assert (await client.get(STUDIES, headers=writer)).status_code == 403


async def test_s37_without_an_assertion_the_port_answers_nothing(
    client: httpx.AsyncClient,
) -> None:
    """Not even with identity headers that a client might invent."""
    answer = await client.get(STUDIES, headers={"X-User-Id": str(uuid4())})

    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["", "/image", "/heatmap", "/report.dcm"])
async def test_head_answers_like_get_without_a_body(
    client: httpx.AsyncClient, as_bob: Headers, path: str
) -> None:
    """Status and headers, so that a client can ask before it downloads."""
    url = (await post(client, as_bob, picture("JPEG"))).headers["location"] + path
    got = await client.get(url, headers=as_bob)
    asked = await client.head(url, headers=as_bob)

    assert (asked.status_code, asked.content) == (got.status_code, b"")
    for name in ("content-type", "content-length", "cache-control"):
        assert asked.headers[name] == got.headers[name]


_FORM = {"image": ("chest.png", png(), "image/png")}


@pytest.mark.parametrize(
    ("sent", "scopes"),
    [
        ({"files": _FORM, "data": {"title": "Chest"}}, {"chexray:write"}),
        ({"files": _FORM}, {"chexray:read"}),
        ({"files": {"image": ("chest.png", b"no picture", "image/png")}}, {"chexray:write"}),
        ({"files": _FORM, "data": {"title": "x" * 201}}, {"chexray:write"}),
        ({"data": {"title": "no file"}}, {"chexray:write"}),
        ({"content": b"no form"}, {"chexray:write"}),
        ({"files": _FORM, "headers": {"Idempotency-Key": "k" * 256}}, {"chexray:write"}),
    ],
)
async def test_the_direct_way_answers_as_the_frameworks_route(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, sent: Mapping[str, Any], scopes: set[str]
) -> None:
    """Uploads are answered before the framework looks for their route."""
    who = as_caller(caller(scopes=frozenset(scopes)))
    headers = {**who, "X-Request-ID": "the-same", **sent.get("headers", {})}
    answers = []
    for direct in (routes.DIRECT, ()):
        monkeypatch.setattr(routes, "DIRECT", direct)
        async with bench.serve() as client:
            answers.append(await client.post(STUDIES, **{**sent, "headers": headers}))

    (one, other), changing = answers, {"location", "id", "created_at"}
    assert one.status_code == other.status_code
    assert _without(one.headers, changing) == _without(other.headers, changing)
    assert _without(one.json(), changing) == _without(other.json(), changing)


def _without(members: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {
        name: value
        for name, value in members.items()
        if name not in names and not name.endswith("_url")
    }
