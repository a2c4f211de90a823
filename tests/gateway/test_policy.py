"""The policy table: what exists, who answers it, and that nothing else does."""

import pytest

from gateway.errors import MethodNotAllowed, MethodNotImplemented
from gateway.matching import Policy
from gateway.policy import TABLE
from gateway.route import Route
from shared.problems import NotFound

POLICY = Policy(TABLE)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/chexray/",
        "/api/v2/chexray",
        "/api/v2/chexray//studies",
        "/api/v2/chexray/studies/",
        "/API/v2/chexray/studies",
        "/internal/introspect",
        "/api/chexray/admin/",
        "/media/images/",
        "/media/images/a/b",
        "/api/v2/nowhere/analyses",
        "/v1/other",
        "/v1/getToken/x",
        "/docs/",
        "/openapi.json/x",
        "/metrics/",
    ],
)
def test_what_is_not_in_the_table_does_not_exist(path: str) -> None:
    with pytest.raises(NotFound):
        POLICY.find(path)


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("/", "/"),
        ("/api/v2/auth/token", "/api/v2/auth/token"),
        ("/api/v2/auth/users/me", "/api/v2/auth/**"),
        ("/api/v2/chexray/studies/1/heatmap", "/api/v2/chexray/**"),
        ("/media/images/x.png", "/media/images/{name}"),
        ("/api/chexray/login", "/api/chexray/login"),
        ("/api/v2/netra/analyses", "/api/v2/netra/**"),
        ("/api/v2/netra/accounts/x", "/api/v2/netra/accounts/{user_id}"),
        ("/v1/doAnalysis", "/v1/doAnalysis"),
        ("/api/chexray/login/", "/api/chexray/login/"),
    ],
)
def test_a_path_finds_its_row(path: str, row: str) -> None:
    assert POLICY.find(path).path == row


def test_the_more_exact_row_wins_whatever_the_order() -> None:
    policy = Policy(
        (
            Route("/a/**", "auth"),
            Route("/a/{x}", "chexray"),
            Route("/a/b", "netra"),
            Route("/a/{x}/c", "bqat"),
        )
    )

    found = [policy.find(path).service for path in ("/a/b", "/a/z", "/a/b/c", "/a/b/d")]

    assert found == ["netra", "chexray", "bqat", "auth"]


def test_a_path_is_in_the_table_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        Policy((Route("/a/{x}", "auth"), Route("/a/{y}", "auth")))


def test_a_known_path_refuses_other_methods_and_names_its_own() -> None:
    route = POLICY.find("/api/v2/auth/token")

    with pytest.raises(MethodNotAllowed) as refused:
        POLICY.check_method(route, "GET")

    assert refused.value.headers == {"Allow": "OPTIONS, POST"}


def test_an_old_wire_words_its_own_refusals() -> None:
    """Django's 405 has a body that clients read, so every method goes through."""
    route = POLICY.find("/api/chexray/login/")

    POLICY.check_method(route, "DELETE")

    assert route.refused_by == "service"


def test_an_unknown_method_is_not_implemented() -> None:
    with pytest.raises(MethodNotImplemented):
        POLICY.check_method(POLICY.find("/"), "PROPFIND")


def test_the_modern_api_needs_a_credential_everywhere_but_where_one_is_fetched() -> None:
    open_rows = {
        route.path
        for route in TABLE
        if route.path.startswith("/api/v2/") and not route.needs_credential
    }

    assert open_rows == {
        "/api/v2/auth/token",
        "/api/v2/auth/revoke",
        # bqat itself asks for a credential, unless it is told to be open on loopback.
        "/api/v2/bqat/**",
        # A device that has no token yet.
        "/api/v2/fleet/devices/enrol",
        "/api/v2/fleet/devices/challenge",
        "/api/v2/fleet/devices/token",
    }


def test_reading_needs_the_reading_scope_and_everything_else_the_writing_one() -> None:
    scopes = POLICY.find("/api/v2/chexray/studies").scopes

    assert {method for method, scope in scopes.items() if scope == "chexray:read"} == {
        "GET",
        "HEAD",
    }
    assert set(scopes.values()) == {"chexray:read", "chexray:write"}


def test_both_slash_forms_of_an_old_path_are_ruled_alike() -> None:
    for name in ("signup", "login", "user", "xray", "upload", "anonupload"):
        with_slash = POLICY.find(f"/api/chexray/{name}/")
        without = POLICY.find(f"/api/chexray/{name}")
        for fact in ("accepts", "max_body_bytes", "write_rate", "refused_by", "legacy_audience"):
            assert getattr(with_slash, fact) == getattr(without, fact)
