"""One OpenAPI document for the whole platform, merged from what every service says of itself."""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from gateway.connection import UpstreamFailed
from gateway.matching import Policy
from gateway.route import Accepted, Route
from gateway.upstream import Upstream
from shared.assertions import HEADER, AssertionSigner, Caller
from shared.problems import NotFound, Problem

log = structlog.get_logger(__name__)

_GATEWAY: Final = Caller(subject="gateway", kind="service")
_VERBS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
_MAX_AGE_S: Final = 30.0
_PROBLEM_CONTENT: Final[Mapping[str, Any]] = {
    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
}
#: What FastAPI says of every operation with parameters, and no service answers.
_FRAMEWORK_ERROR: Final = "HTTPValidationError"
_FRAMEWORK_SCHEMAS: Final = (_FRAMEWORK_ERROR, "ValidationError")

_SECURITY_SCHEMES: Final[Mapping[str, Any]] = {
    "password": {
        "type": "oauth2",
        "description": "Sign in with a user name and a password; leave the client fields empty.",
        "flows": {
            "password": {
                "tokenUrl": "/api/v2/auth/token",
                "refreshUrl": "/api/v2/auth/token",
                "scopes": {},
            }
        },
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token from `POST /api/v2/auth/token`, or an API key (`vdt_…`).",
    },
    "legacy": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`Token <token>`, as an old API's login returned it.",
    },
    "basic": {"type": "http", "scheme": "basic"},
    "device": {"type": "http", "scheme": "bearer", "description": "A device's own token."},
    "query": {"type": "apiKey", "in": "query", "name": "token"},
}
_SCHEMES_OF: Final[Mapping[Accepted, frozenset[str]]] = {
    Accepted.ACCESS: frozenset({"bearer", "password"}),
    Accepted.API_KEY: frozenset({"bearer"}),
    Accepted.LEGACY: frozenset({"legacy"}),
    Accepted.BASIC: frozenset({"basic"}),
    Accepted.DEVICE: frozenset({"device"}),
    Accepted.QUERY: frozenset({"query"}),
}
_PROBLEM_SCHEMA: Final[Mapping[str, Any]] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "example": "/problems/not-found"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": ["string", "null"]},
    },
}
_path_parameters = re.compile(r"\{([^{}]+)\}").findall
_DESCRIPTION: Final = """\
Five computer-vision services behind one gateway: chest radiographs, fundus photographs, pathology
patches, driver alerts and biometric quality.

Sign in under **Authorize**, or put an access token or an API key there. Errors are
`application/problem+json`. The old APIs are kept for their clients, byte for byte.
"""


class OpenApi:
    """Fetches the services' documents, merges them, and keeps the last good ones."""

    def __init__(
        self,
        policy: Policy,
        services: Iterable[Sequence[Upstream]],
        signers: Mapping[str, AssertionSigner],
    ) -> None:
        """Prepare.

        Args:
            policy: what is shown.
            services: the processes of each service; any of them may answer for all.
            signers: state who asks, by service.
        """
        self._policy = policy
        self._services = tuple(services)
        self._signers = signers
        self._last_good: dict[str, dict[str, Any]] = {}
        self._merged: bytes | None = None
        self._merged_at = 0.0

    async def document(self, now: float) -> bytes:
        """The merged document as JSON; `now` is seconds of a monotonic clock."""
        if self._merged is None or now - self._merged_at > _MAX_AGE_S:
            await asyncio.gather(*(self._fetch(replicas) for replicas in self._services))
            self._merged = json.dumps(
                merge(self._last_good, self._policy), ensure_ascii=False, separators=(",", ":")
            ).encode()
            self._merged_at = now
            if len(self._last_good) < len(self._services):
                # A service that has not been heard of yet is asked again soon.
                self._merged_at = now - _MAX_AGE_S + 1
        return self._merged

    async def _fetch(self, replicas: Sequence[Upstream]) -> None:
        for upstream in replicas:
            service = upstream.service
            assertion = self._signers[service].sign(_GATEWAY, service)
            try:
                answer = await upstream.fetch("GET", "/openapi.json", [(HEADER, assertion)])
                document = json.loads(answer.body) if answer.status == 200 else None
            except (UpstreamFailed, ValueError):
                document = None
            if isinstance(document, dict):
                self._last_good[service] = document
                return
            log.warning("openapi_not_fetched", upstream=upstream.name)


def merge(documents: Mapping[str, dict[str, Any]], policy: Policy) -> dict[str, Any]:
    """One document of several, in which no two services' names can collide.

    Only what the policy lets in is shown, under the credentials that the policy asks for.
    """
    merged: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Vedette", "version": "2", "description": _DESCRIPTION},
        "tags": [],
        "paths": {},
        "components": {
            "schemas": {"Problem": dict(_PROBLEM_SCHEMA)},
            "securitySchemes": {},
        },
    }
    for service in sorted(documents):
        _add(merged, service, documents[service], policy)
        for name in _FRAMEWORK_SCHEMAS:
            _drop_unused(merged, f"{service}_{name}")
    used = {
        scheme
        for item in merged["paths"].values()
        for operation in item.values()
        for need in operation["security"]
        for scheme in need
    }
    merged["components"]["securitySchemes"] = {
        name: scheme for name, scheme in _SECURITY_SCHEMES.items() if name in used
    }
    return merged


def _add(merged: dict[str, Any], service: str, document: dict[str, Any], policy: Policy) -> None:
    description = document.get("info", {}).get("description", "")
    shown = {"name": service}
    merged["tags"].append({**shown, "description": description} if description else shown)
    if any(
        operation.get("deprecated")
        for item in document.get("paths", {}).values()
        for operation in item.values()
        if isinstance(operation, dict)
    ):
        described = f"{description} As the clients of its old API know it.".lstrip()
        merged["tags"].append({"name": _old(service), "description": described})
    for path, item in document.get("paths", {}).items():
        operations = {
            verb: _operation(operation, service, route, path)
            for verb, operation in item.items()
            if verb in _VERBS and (route := _route_of(policy, path, verb, service)) is not None
        }
        if operations:
            merged["paths"][path] = operations
    for kind, components in document.get("components", {}).items():
        if kind != "securitySchemes":
            into = merged["components"].setdefault(kind, {})
            into |= {
                f"{service}_{name}": _renamed(component, service)
                for name, component in components.items()
            }


def _old(service: str) -> str:
    """The tag of a service's old API."""
    return f"{service}, old API"


def _route_of(policy: Policy, path: str, verb: str, service: str) -> Route | None:
    try:
        route = policy.find(path)
        policy.check_method(route, verb.upper())
    except (NotFound, Problem):
        return None
    return route if route.service == service else None


def _operation(operation: Any, service: str, route: Route, path: str) -> dict[str, Any]:
    shown: dict[str, Any] = _renamed(operation, service)
    shown["tags"] = [_old(service) if shown.get("deprecated") else service]
    name = shown.get("operationId")
    shown.setdefault("summary", _title(name or service))
    if name is not None and not name.startswith(f"{service}_"):
        shown["operationId"] = f"{service}_{name}"
    _declare_path_parameters(shown, path)
    schemes = sorted({scheme for kind in route.accepts for scheme in _SCHEMES_OF[kind]})
    needs: list[dict[str, list[str]]] = [{scheme: []} for scheme in schemes]
    shown["security"] = needs if route.needs_credential else [*needs, {}]
    if route.refused_by == "gateway":
        responses = shown.setdefault("responses", {})
        for response in responses.values():
            if _is_framework_error(response):
                response["description"] = "The request does not have the form that this needs."
                response["content"] = dict(_PROBLEM_CONTENT)
        responses.setdefault(
            "default", {"description": "A problem.", "content": dict(_PROBLEM_CONTENT)}
        )
    return shown


def _title(operation_id: str) -> str:
    return operation_id.replace("_", " ").capitalize()


def _declare_path_parameters(operation: dict[str, Any], path: str) -> None:
    """Declare what stands in the path and a handler reads by itself, as OpenAPI demands."""
    declared = {
        parameter.get("name")
        for parameter in operation.get("parameters", ())
        if parameter.get("in") == "path"
    }
    missing = [name for name in _path_parameters(path) if name not in declared]
    if missing:
        operation["parameters"] = [
            *operation.get("parameters", ()),
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in missing
            ),
        ]


def _is_framework_error(response: Mapping[str, Any]) -> bool:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    reference: str = schema.get("$ref", "")
    return reference.endswith(f"_{_FRAMEWORK_ERROR}")


def _drop_unused(merged: dict[str, Any], schema: str) -> None:
    """Take a schema out that nothing in the document refers to any more."""
    if f'"#/components/schemas/{schema}"' not in json.dumps(merged):
        merged["components"]["schemas"].pop(schema, None)


def _renamed(part: Any, service: str) -> Any:
    """`part` with every reference pointing at the service's own components."""
    if isinstance(part, dict):
        return {
            key: _reference(value, service)
            if key == "$ref" and isinstance(value, str)
            else {name: _reference(target, service) for name, target in value.items()}
            if key == "mapping" and isinstance(value, dict)
            else _renamed(value, service)
            for key, value in part.items()
        }
    if isinstance(part, list):
        return [_renamed(entry, service) for entry in part]
    return part


def _reference(reference: str, service: str) -> str:
    prefix, _, name = reference.rpartition("/")
    return f"{prefix}/{service}_{name}" if reference.startswith("#/components/") else reference
