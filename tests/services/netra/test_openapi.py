"""What netra says of itself to programmers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.netra.app import create_app
from services.netra.schemas import AnalysisOut
from tests.services.netra.support import VERIFIER, stranger

ROOT = "/api/v2/netra"
ANALYSES = f"{ROOT}/analyses"
Operations = Mapping[tuple[str, str], Mapping[str, Any]]
OLD = ("getToken", "doAnalysis", "getStatus", "getResult", "doPatientAnalysis",
       "doPatientMultiImgAnalysis")  # fmt: skip


@asynccontextmanager
async def nothing(app: FastAPI) -> AsyncIterator[None]:
    """Open nothing."""
    yield


@pytest.fixture(scope="module")
def document() -> Mapping[str, Any]:
    """The description, without starting anything."""
    return create_app(nothing, VERIFIER).openapi()


@pytest.fixture(scope="module")
def operations(document: Mapping[str, Any]) -> Operations:
    """Every documented operation by method and path, without the probes."""
    return {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if path.startswith(("/api", "/v1"))
    }


def test_operations_have_stable_names_of_their_own(operations: Operations) -> None:
    """Generated clients name their methods so."""
    names = [operation["operationId"] for operation in operations.values()]

    assert len(set(names)) == len(names)
    assert operations["post", ANALYSES]["operationId"] == "netra_start_analysis"
    assert operations["post", "/v1/getToken"]["operationId"] == "netra_old_getToken"


def test_every_summary_is_a_line_of_words(operations: Operations) -> None:
    for operation in operations.values():
        assert 2 <= len(operation["summary"].split()) <= 8


def test_the_old_wire_alone_is_deprecated(operations: Operations) -> None:
    assert {path for _, path in operations if path.startswith("/v1")} == {
        f"/v1/{name}" for name in OLD
    }
    for (_, path), operation in operations.items():
        assert operation.get("deprecated", False) is path.startswith("/v1")


def test_refusals_of_the_modern_wire_are_problems(operations: Operations) -> None:
    for (_, path), operation in operations.items():
        refusals = {
            status: found
            for status, found in operation["responses"].items()
            if status >= "400" and path.startswith(ROOT)
        }
        kinds = {tuple(found["content"]) for found in refusals.values()}
        assert kinds <= {("application/problem+json",)} or "422" in refusals

    assert {"402", "413", "415"} <= set(operations["post", ANALYSES]["responses"])


@pytest.mark.parametrize("name", OLD)
def test_old_calls_are_shown_by_example_in_every_form(operations: Operations, name: str) -> None:
    operation = operations["post", f"/v1/{name}"]
    example = operation["responses"]["200"]["content"]["application/json"]["example"]

    assert example["status"] == 200
    assert len(operation["requestBody"]["content"]) == 3


def test_the_example_is_an_analysis(document: Mapping[str, Any]) -> None:
    (example,) = document["components"]["schemas"]["AnalysisOut"]["examples"]

    # OpenAPI documents are written without nulls.
    whole = {**dict.fromkeys(AnalysisOut.model_fields), **example}

    assert AnalysisOut.model_validate(whole).model_dump(mode="json") == whole


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (ANALYSES, "GET, HEAD, POST"),
        (f"{ANALYSES}/x", "DELETE, GET, HEAD"),
        (f"{ANALYSES}/x/cancel", "POST"),
        (f"{ANALYSES}/x/annotated", "GET, HEAD"),
        (f"{ROOT}/account", "GET, HEAD"),
        (f"{ROOT}/accounts/x", "GET, HEAD, PATCH"),
        (f"{ROOT}/webhooks", "GET, HEAD, POST"),
    ],
)
async def test_a_wrong_method_is_told_every_right_one(
    client: httpx.AsyncClient, path: str, allow: str
) -> None:
    answer = await client.put(path, headers=stranger())

    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
