"""What chexray says of itself to programmers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.chexray.app import create_app
from services.chexray.schemas import StudyOut, StudyPageOut
from tests.services.chexray.support import VERIFIER, stranger

STUDIES = "/api/v2/chexray/studies"
ONE = f"{STUDIES}/{{study_id}}"
Operations = Mapping[tuple[str, str], Mapping[str, Any]]


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
        if path.startswith(("/api", "/media"))
    }


def test_the_service_says_what_it_is_for(document: Mapping[str, Any]) -> None:
    assert document["info"]["description"].startswith("Chest radiographs: five findings")


def test_operations_have_stable_names_of_their_own(operations: Operations) -> None:
    """Generated clients name their methods so."""
    names = [operation["operationId"] for operation in operations.values()]

    assert len(set(names)) == len(names) == 15
    assert operations["post", STUDIES]["operationId"] == "chexray_read_study"
    assert operations["get", f"{ONE}/heatmap"]["operationId"] == "chexray_get_heatmap"
    assert operations["post", "/api/chexray/login/"]["operationId"] == "chexray_old_login"


def test_every_summary_is_a_line_of_words(operations: Operations) -> None:
    assert operations["post", STUDIES]["summary"] == "Read one chest radiograph"
    for operation in operations.values():
        assert operation["summary"] != operation["operationId"]
        assert 2 <= len(operation["summary"].split()) <= 8


def test_the_old_wire_alone_is_deprecated(operations: Operations) -> None:
    for (_, path), operation in operations.items():
        assert operation.get("deprecated", False) is not path.startswith(STUDIES)


@pytest.mark.parametrize(
    ("path", "media_types"),
    [
        (f"{ONE}/heatmap", {"image/png"}),
        (f"{ONE}/report.dcm", {"application/dicom"}),
        ("/media/heatmaps/{name}", {"image/png", "image/jpeg"}),
    ],
)
def test_files_are_no_json(operations: Operations, path: str, media_types: set[str]) -> None:
    assert set(operations["get", path]["responses"]["200"]["content"]) == media_types


def test_an_image_has_the_type_that_was_uploaded(operations: Operations) -> None:
    content = operations["get", f"{ONE}/image"]["responses"]["200"]["content"]

    assert {"image/png", "image/jpeg", "application/dicom"} <= set(content)
    assert "application/json" not in content


def test_refusals_of_the_modern_wire_are_problems(operations: Operations) -> None:
    modern = [operations[key]["responses"] for key in operations if key[1].startswith(STUDIES)]
    for answers in modern:
        refusals = {status: answers[status] for status in answers if status >= "400"}
        assert {"422", "503"} <= set(refusals)
        assert {tuple(found["content"]) for found in refusals.values()} == {
            ("application/problem+json",)
        }

    assert "413" in operations["post", STUDIES]["responses"]
    assert "404" in operations["get", ONE]["responses"]


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("signup", ["200", "400", "401", "405", "415"]),
        ("login", ["200", "400", "401", "405", "415"]),
        ("user", ["200", "401", "405"]),
        ("xray", ["200", "400", "401", "404", "405", "415"]),
        ("upload", ["201", "400", "401", "405", "415"]),
        ("anonupload", ["201", "400", "401", "405", "415"]),
    ],
)
def test_old_answers_are_shown_by_example(
    operations: Operations, path: str, statuses: list[str]
) -> None:
    """All but the 404 of an x-ray, whose body is empty."""
    method = "get" if path == "user" else "post"
    answers = operations[method, f"/api/chexray/{path}/"]["responses"]

    assert sorted(answers) == statuses
    for status in answers.keys() - {"404"}:
        assert answers[status]["content"]["application/json"]["example"]


def test_the_examples_are_studies(document: Mapping[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    (study,) = schemas["StudyOut"]["examples"]
    (page,) = schemas["StudyPageOut"]["examples"]

    assert StudyOut.model_validate(study).model_dump(mode="json") == study
    assert StudyPageOut.model_validate(page).items[0].title == study["title"]


# Methods


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (STUDIES, "GET, HEAD, POST"),
        (f"{STUDIES}/x", "DELETE, GET, HEAD"),
        (f"{STUDIES}/x/image", "GET, HEAD"),
        (f"{STUDIES}/x/heatmap", "GET, HEAD"),
        (f"{STUDIES}/x/report.dcm", "GET, HEAD"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "BREW"])
async def test_a_wrong_method_is_told_every_right_one(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    answer = await client.request(method, path, headers=stranger())

    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert answer.json()["type"] == "/problems/method-not-allowed"
