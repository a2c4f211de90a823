"""What auth says about itself at /docs."""

from typing import Any

import pytest

from services.auth.app import create_app
from shared.assertions import AssertionVerifier

DOCUMENT: dict[str, Any] = create_app(None, AssertionVerifier("auth", {})).openapi()
OPERATIONS = [
    (method, path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
OPEN = {"/api/v2/auth/token", "/api/v2/auth/revoke", "/.well-known/jwks.json"}


def test_every_operation_has_a_name_of_its_own_that_begins_with_the_service() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]

    assert len(set(names)) == len(names)
    assert all(name.startswith("auth_") for name in names)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_every_operation_is_tagged_and_explained(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    assert operation["tags"] == ["auth"]
    assert operation["description"]


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_what_needs_a_credential_says_so(method: str, path: str, operation: dict[str, Any]) -> None:
    assert bool(operation.get("security")) == (path not in OPEN)


def test_internal_routes_are_not_documented() -> None:
    assert not [path for path in DOCUMENT["paths"] if path.startswith("/internal")]


def test_the_ways_to_show_a_credential_are_described() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]

    assert schemes["bearer"]["scheme"] == "bearer"
    assert schemes["password"]["flows"]["password"]["tokenUrl"] == "/api/v2/auth/token"


def test_revocation_takes_json_or_a_form() -> None:
    body = DOCUMENT["paths"]["/api/v2/auth/revoke"]["post"]["requestBody"]["content"]

    assert set(body) == {"application/json", "application/x-www-form-urlencoded"}
