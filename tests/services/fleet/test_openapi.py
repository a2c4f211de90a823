"""What fleet says about itself at /docs."""

from typing import Any

import pytest

from services.fleet.app import create_app
from shared.assertions import AssertionVerifier

DOCUMENT: dict[str, Any] = create_app(
    lambda _: None,  # type: ignore[arg-type]  # nothing opens
    AssertionVerifier("fleet", {}),
).openapi()
OPERATIONS = [
    (method, path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if path not in ("/livez", "/readyz")
]


def test_every_operation_has_a_name_of_its_own_that_begins_with_the_service() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]

    assert len(set(names)) == len(names)
    assert all(name.startswith("fleet_") for name in names)


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_every_operation_is_tagged_and_explained(
    method: str, path: str, operation: dict[str, Any]
) -> None:
    old = path.startswith("/api/v1/")

    assert operation["tags"] == ["fleet, old API" if old else "fleet"]
    assert bool(operation.get("deprecated")) is old
    assert operation["description"]


def test_the_old_paths_are_documented_with_their_last_slash() -> None:
    old = [path for path in DOCUMENT["paths"] if path.startswith("/api/v1/")]

    assert len(old) == 10
    assert all(path.endswith("/") for path in old)
