"""What the gateway shows of all services together: one API document, one page of metrics."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Send

from gateway.matching import Policy
from gateway.openapi import merge as merge_documents
from gateway.policy import TABLE
from gateway.route import Accepted, Route
from gateway.scrape import merge as merge_metrics
from shared.supervisor.programs import SERVICE_PROGRAMS
from tests.gateway.support import Asked, Rig, answer, rig

DOCUMENT = {
    "info": {"description": "Chest radiographs."},
    "paths": {
        "/api/v2/chexray/studies": {
            "get": {
                "operationId": "list",
                "responses": {
                    "200": {
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Study"}}
                        }
                    }
                },
            },
            "parameters": [],
        },
        "/api/chexray/login/": {"post": {"operationId": "login", "responses": {}}},
        "/internal/secret": {"get": {"operationId": "secret", "responses": {}}},
        "/livez": {"get": {"operationId": "livez", "responses": {}}},
    },
    "components": {
        "schemas": {
            "Study": {"properties": {"next": {"$ref": "#/components/schemas/Study"}}},
            "Error": {"type": "object"},
        }
    },
}


def test_services_documents_become_one_without_collisions() -> None:
    other = {"paths": {}, "components": {"schemas": {"Study": {"type": "string"}}}}

    merged = merge_documents({"chexray": DOCUMENT, "auth": other}, Policy(TABLE))

    schemas = merged["components"]["schemas"]
    assert set(schemas) == {"Problem", "chexray_Study", "chexray_Error", "auth_Study"}
    assert schemas["chexray_Study"]["properties"]["next"]["$ref"] == (
        "#/components/schemas/chexray_Study"
    )
    listed = merged["paths"]["/api/v2/chexray/studies"]["get"]
    assert listed["operationId"] == "chexray_list"
    assert listed["tags"] == ["chexray"]


def test_the_document_shows_what_the_policy_lets_in_and_under_which_credential() -> None:
    merged = merge_documents({"chexray": DOCUMENT}, Policy(TABLE))

    assert set(merged["paths"]) == {"/api/v2/chexray/studies", "/api/chexray/login/"}
    assert merged["paths"]["/api/v2/chexray/studies"]["get"]["security"] == [
        {"bearer": []},
        {"password": []},
    ]
    assert merged["paths"]["/api/chexray/login/"]["post"]["security"] == [
        {"bearer": []},
        {"legacy": []},
        {"password": []},
        {},
    ]
    assert {"bearer", "legacy", "password"} <= set(merged["components"]["securitySchemes"])


def test_an_old_api_is_listed_apart_and_no_name_is_prefixed_twice() -> None:
    old = {"operationId": "chexray_old_login", "deprecated": True, "responses": {}}
    document = {"paths": {"/api/chexray/login/": {"post": old}}}

    merged = merge_documents({"chexray": document}, Policy(TABLE))

    shown = merged["paths"]["/api/chexray/login/"]["post"]
    assert shown["tags"] == ["chexray, old API"]
    assert shown["operationId"] == "chexray_old_login"
    assert [tag["name"] for tag in merged["tags"]] == ["chexray", "chexray, old API"]


def _with_validation(path: str) -> dict[str, Any]:
    """What FastAPI writes for an operation with parameters."""
    schema = {"$ref": "#/components/schemas/HTTPValidationError"}
    refused = {"description": "No.", "content": {"application/json": {"schema": schema}}}
    detail = {"$ref": "#/components/schemas/ValidationError"}
    return {
        "info": {"description": "Chest radiographs."},
        "paths": {path: {"post": {"operationId": "read_it", "responses": {"422": refused}}}},
        "components": {
            "schemas": {
                "HTTPValidationError": {"properties": {"detail": detail}},
                "ValidationError": {"type": "object"},
            }
        },
    }


def test_input_that_is_refused_is_a_problem_in_the_document_too() -> None:
    document = _with_validation("/api/v2/chexray/studies")

    merged = merge_documents({"chexray": document}, Policy(TABLE))

    responses = merged["paths"]["/api/v2/chexray/studies"]["post"]["responses"]
    assert responses["422"]["content"] == {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
    }
    assert set(merged["components"]["schemas"]) == {"Problem"}


def test_an_old_api_words_its_refusals_itself() -> None:
    document = _with_validation("/api/chexray/login/")

    merged = merge_documents({"chexray": document}, Policy(TABLE))

    responses = merged["paths"]["/api/chexray/login/"]["post"]["responses"]
    assert set(responses) == {"422"}
    assert set(responses["422"]["content"]) == {"application/json"}
    assert "chexray_ValidationError" in merged["components"]["schemas"]


def test_a_path_parameter_that_a_service_leaves_out_is_declared() -> None:
    own = {"name": "study_id", "in": "path", "required": True, "schema": {"format": "uuid"}}
    document = {
        "paths": {
            "/media/images/{name}": {"get": {"responses": {}}},
            "/api/v2/chexray/studies/{study_id}": {"get": {"parameters": [own], "responses": {}}},
        }
    }

    merged = merge_documents({"chexray": document}, Policy(TABLE))

    assert merged["paths"]["/media/images/{name}"]["get"]["parameters"] == [
        {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    ]
    studies = merged["paths"]["/api/v2/chexray/studies/{study_id}"]["get"]
    assert studies["parameters"] == [own]


def test_only_schemes_that_an_operation_takes_are_declared() -> None:
    rows = Policy((Route("/b/{x}", "chexray", frozenset({Accepted.BASIC})), *TABLE))
    basic: dict[str, Any] = {"paths": {"/b/{x}": {"get": {"responses": {}}}}}

    without = merge_documents({"chexray": DOCUMENT}, Policy(TABLE))
    with_basic = merge_documents({"chexray": basic}, rows)

    assert set(without["components"]["securitySchemes"]) == {"bearer", "legacy", "password"}
    assert set(with_basic["components"]["securitySchemes"]) == {"basic"}


def test_every_operation_has_a_summary_and_a_described_tag() -> None:
    old = {"operationId": "old_login", "deprecated": True, "responses": {}}
    document = _with_validation("/api/v2/chexray/studies")
    document["paths"]["/api/chexray/login/"] = {"post": old}

    merged = merge_documents({"chexray": document}, Policy(TABLE))

    shown = [operation for item in merged["paths"].values() for operation in item.values()]
    assert [operation["summary"] for operation in shown] == ["Read it", "Old login"]
    assert [operation["tags"] for operation in shown] == [["chexray"], ["chexray, old API"]]
    assert [tag["description"] for tag in merged["tags"]] == [
        "Chest radiographs.",
        "Chest radiographs. As the clients of its old API know it.",
    ]


def test_the_document_of_a_service_that_is_away_is_the_last_good_one(tmp_path: Path) -> None:
    documents = [json.dumps(DOCUMENT).encode(), b"gone"]

    async def document(asked: Asked, receive: Receive, send: Send) -> None:
        await answer(send, documents[0])

    with rig(tmp_path) as gateway:
        gateway.service.extra["/openapi.json"] = document
        first = gateway.get("/openapi.json").json()
        documents.pop(0)
        second = gateway.get("/openapi.json").json()

    assert "/api/v2/chexray/studies" in first["paths"]
    assert second == first


def test_a_metric_family_is_in_one_place_with_every_service() -> None:
    auth = '# HELP a_total A.\n# TYPE a_total counter\na_total 1.0\n# TYPE b gauge\nb{x="y"} 2.0\n'
    chexray = '# HELP a_total A.\n# TYPE a_total counter\na_total{service="own"} 3.0\n'

    merged = merge_metrics({"auth": auth, "chexray": chexray}).splitlines()

    assert merged == [
        "# HELP a_total A.",
        "# TYPE a_total counter",
        'a_total{service="auth"} 1.0',
        'a_total{service="own"} 3.0',
        "# TYPE b gauge",
        'b{service="auth",x="y"} 2.0',
    ]


def test_metrics_say_which_services_gave_theirs(gateway: Rig) -> None:
    gateway.service.extra["/metrics"] = lambda asked, receive, send: answer(
        send, b"# TYPE t gauge\nt 1\n"
    )

    page = gateway.get("/metrics").text

    assert 't{service="chexray"} 1' in page
    assert 'vedette_up{service="auth"} 1' in page
    assert "vedette_requests_total" in page


def test_readiness_is_a_table_of_services(gateway: Rig) -> None:
    found = gateway.get("/readyz")

    assert found.status_code == 200
    assert {name: row["ready"] for name, row in found.json()["services"].items()} == {
        **{str(name): True for name in SERVICE_PROGRAMS},
        "gateway": True,
    }


def test_the_console_is_served_without_anything_from_elsewhere(gateway: Rig) -> None:
    page = gateway.get("/")

    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert 'src="http' not in page.text
    assert gateway.get("/console/index.html").status_code == 404
    assert gateway.get("/console/..%2fREADME.md").status_code == 400


@pytest.mark.parametrize("accepted", list(Accepted))
def test_every_kind_of_credential_is_described(accepted: Accepted) -> None:
    """A row that asks for one without a description would take the whole document down."""
    policy = Policy((Route("/x", "chexray", frozenset({accepted}), needs_credential=True),))
    document: dict[str, Any] = {"paths": {"/x": {"get": {"responses": {}}}}}
    merged = merge_documents({"chexray": document}, policy)
    named = {name for need in merged["paths"]["/x"]["get"]["security"] for name in need}

    assert named
    assert named == set(merged["components"]["securitySchemes"])
