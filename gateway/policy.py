"""Who may call what: one table, read from top to bottom by people and by segment by the gateway.

What is not in the table does not exist. A new service adds rows and nothing else.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal

from gateway.route import DEFAULT_RATE, METHODS, MODERN, Accepted, Rate, Route, scopes_of
from gateway.settings import KB, MB
from shared.settings import ServiceName

LOGIN_RATE = Rate("login", quota=10, window_s=60, by="address")
#: A flood guard around auth's own limits, which tell a password from a refresh token.
TOKEN_RATE = Rate("token", quota=60, window_s=60, by="address")
#: Bodies of up to 72 MB, whose credential is inside them.
ARCHIVE_RATE = Rate("archive", quota=30, window_s=60, by="address")
#: Trucks show their tokens inside the body, where the gateway does not look, and a mine's trucks
#: may share one address: a flood guard around fleet's own limits, which count by device.
TRUCKS_RATE = Rate("trucks", quota=3000, window_s=1, by="address")
REGISTRATION_RATE = Rate("registration", quota=600, window_s=60, by="address")
#: Long polls and their answers, of however many people look on from behind one address.
SOCKETS_RATE = Rate("sockets", quota=2000, window_s=1, by="address")
OPEN_UPLOAD_RATE = Rate("open-upload", quota=10, window_s=60, by="address")


def _open(
    path: str,
    service: Literal["gateway"] | ServiceName,
    *methods: str,
    rate: Rate = DEFAULT_RATE,
) -> Route:
    """A row for everybody."""
    return Route(
        path,
        service,
        methods=frozenset({*methods, "OPTIONS"}),
        rate=rate,
        max_body_bytes=64 * KB,
    )


_CHEXRAY_OLD = frozenset({Accepted.LEGACY, Accepted.ACCESS})


def _throttled_as_django(seconds: int) -> Mapping[str, object]:
    """Django REST framework's 429, which the old chest X-ray API was made of."""
    unit = "second" if seconds == 1 else "seconds"
    return {"detail": f"Request was throttled. Expected available in {seconds} {unit}."}


def _refused_as_netra(status: int) -> Mapping[str, object]:
    """The old fundus API's form of an error; its clients show the message and nothing else.

    Its sample program reads `statusJob` whatever has happened.
    """
    if status == 413:
        return {"status": 411, "message": "LC-ERR-0033 : Max Allowed Single Image Size 5 MB."}
    if status == 429:
        message = "LC-ERR-0008 : Too many requests. Please try again later."
        return {"status": 411, "message": message}
    if status >= 500:
        message = "LC-ERR-0009 : The service is not available. Please try again later."
        return {"status": 500, "message": message, "jobStatus": "QUEUED", "statusJob": "QUEUED"}
    return {"status": 411, "message": "LC-ERR-0011 : The request cannot be read."}


def _throttled_as_netra(_: int) -> Mapping[str, object]:
    """The limit in the same form; how long to wait stands in the header."""
    return _refused_as_netra(429)


def _chexray_old(
    path: str, *, write_rate: Rate | None = None, max_body_bytes: int = 1 * MB
) -> Route:
    """A row of the old chest X-ray API: the service words every refusal."""
    return Route(
        path,
        "chexray",
        _CHEXRAY_OLD,
        write_rate=write_rate,
        max_body_bytes=max_body_bytes,
        deadline_s=60,
        refused_by="service",
        throttled=_throttled_as_django,
        legacy_audience="chexray",
    )


def _netra_old(
    path: str, *, write_rate: Rate | None = None, max_body_bytes: int = 64 * KB
) -> Route:
    """A row of the old fundus API: the token is in the body, so the service looks for it."""
    return Route(
        path,
        "netra",
        write_rate=write_rate,
        max_body_bytes=max_body_bytes,
        deadline_s=60,
        refused_by="service",
        throttled=_throttled_as_netra,
        refused=_refused_as_netra,
    )


#: Any of these may be shown; which of them is good enough is for the service to say.
_SCANCER = MODERN | {Accepted.BASIC}


_TORCHSERVE_TYPES: Mapping[int, str] = {
    408: "RequestTimeoutException",
    415: "BadRequestException",
    429: "ServiceUnavailableException",
    502: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
    504: "RequestTimeoutException",
}


def _refused_as_torchserve(status: int) -> Mapping[str, object]:
    """TorchServe's form of an error; of a body over its limit it said nothing at all."""
    if status == 413:
        return {}
    kind = _TORCHSERVE_TYPES.get(status, "InternalServerException")
    return {"code": status, "type": kind, "message": HTTPStatus(status).phrase}


def _throttled_as_torchserve(_: int) -> Mapping[str, object]:
    """The limit in the same form; how long to wait stands in the header."""
    return _refused_as_torchserve(429)


def _refused_as_inference_protocol(status: int) -> Mapping[str, object]:
    """The Open Inference Protocol's form of an error."""
    return {"error": HTTPStatus(status).phrase}


def _throttled_as_inference_protocol(_: int) -> Mapping[str, object]:
    """The limit in the same form; how long to wait stands in the header."""
    return _refused_as_inference_protocol(429)


def _torchserve(*paths: str, max_body_bytes: int = 64 * KB) -> tuple[Route, ...]:
    """Rows of TorchServe's wire: the service words every refusal of a credential or method."""
    return tuple(
        Route(
            path,
            "scancer",
            _SCANCER,
            max_body_bytes=max_body_bytes,
            deadline_s=120,
            refused_by="service",
            throttled=_throttled_as_torchserve,
            refused=_refused_as_torchserve,
        )
        for path in paths
    )


def _inference_protocol(*paths: str) -> tuple[Route, ...]:
    """Rows of the Open Inference Protocol."""
    return tuple(
        Route(
            path,
            "scancer",
            _SCANCER,
            max_body_bytes=64 * MB,
            deadline_s=120,
            refused_by="service",
            throttled=_throttled_as_inference_protocol,
            refused=_refused_as_inference_protocol,
        )
        for path in paths
    )


_MACHINES = frozenset({Accepted.DEVICE})
_ENROLMENT_RATE = Rate("enrolment", quota=60, window_s=60, by="address")
_FLEET_OLD = frozenset({Accepted.QUERY, Accepted.ACCESS})


def _fleet_old(
    path: str, *, write_rate: Rate | None = None, max_body_bytes: int = 1 * MB
) -> tuple[Route, Route]:
    """The rows of one path of the old fleet API, with and without the last slash."""
    bare, slashed = (
        Route(
            each,
            "fleet",
            _FLEET_OLD,
            write_rate=write_rate,
            max_body_bytes=max_body_bytes,
            refused_by="service",
            legacy_audience="fleet",
        )
        for each in (path, f"{path}/")
    )
    return bare, slashed


_BQAT = frozenset({*MODERN, Accepted.BASIC})
_BQAT_BODY_BYTES = 512 * MB


def _bqat_old(
    path: str, *methods: str, max_body_bytes: int = 1 * MB, needs_credential: bool = False
) -> Route:
    """A row of the old BQAT API; who may come without a credential, the service knows."""
    return Route(
        path,
        "bqat",
        _BQAT,
        needs_credential=needs_credential,
        scopes=scopes_of("bqat"),
        methods=frozenset({*methods, "OPTIONS"}) if methods else METHODS,
        max_body_bytes=max_body_bytes,
        # A report or the outliers may be made while the client waits.
        deadline_s=150,
    )


#: The policy. More exact paths win over less exact ones, whatever their order here.
TABLE: tuple[Route, ...] = (
    # The gateway's own pages.
    _open("/", "gateway", "GET", "HEAD"),
    _open("/livez", "gateway", "GET", "HEAD"),
    _open("/readyz", "gateway", "GET", "HEAD"),
    Route("/metrics", "gateway", MODERN, methods=frozenset({"GET", "OPTIONS"})),
    _open("/openapi.json", "gateway", "GET", "HEAD"),
    _open("/docs", "gateway", "GET", "HEAD"),
    _open("/docs/{asset}", "gateway", "GET", "HEAD"),
    _open("/console/{asset}", "gateway", "GET", "HEAD"),
    # Accounts and tokens.
    _open("/.well-known/jwks.json", "auth", "GET", "HEAD"),
    _open("/api/v2/auth/token", "auth", "POST", rate=TOKEN_RATE),
    _open("/api/v2/auth/revoke", "auth", "POST", rate=TOKEN_RATE),
    Route("/api/v2/auth/**", "auth", MODERN, needs_credential=True),
    # Chest radiographs, modern.
    Route(
        "/api/v2/chexray/**",
        "chexray",
        MODERN,
        needs_credential=True,
        scopes=scopes_of("chexray"),
        max_body_bytes=32 * MB,
        deadline_s=60,
    ),
    # Chest radiographs, as the old front end asks, with and without the last slash.
    _chexray_old("/api/chexray/signup", write_rate=LOGIN_RATE),
    _chexray_old("/api/chexray/signup/", write_rate=LOGIN_RATE),
    _chexray_old("/api/chexray/login", write_rate=LOGIN_RATE),
    _chexray_old("/api/chexray/login/", write_rate=LOGIN_RATE),
    _chexray_old("/api/chexray/user"),
    _chexray_old("/api/chexray/user/"),
    _chexray_old("/api/chexray/xray"),
    _chexray_old("/api/chexray/xray/"),
    _chexray_old("/api/chexray/upload", max_body_bytes=32 * MB),
    _chexray_old("/api/chexray/upload/", max_body_bytes=32 * MB),
    _chexray_old("/api/chexray/anonupload", write_rate=OPEN_UPLOAD_RATE, max_body_bytes=32 * MB),
    _chexray_old("/api/chexray/anonupload/", write_rate=OPEN_UPLOAD_RATE, max_body_bytes=32 * MB),
    _chexray_old("/media/images/{name}"),
    _chexray_old("/media/heatmaps/{name}"),
    # Fundus photographs, modern.
    Route(
        "/api/v2/netra/**",
        "netra",
        MODERN,
        needs_credential=True,
        scopes=scopes_of("netra"),
        max_body_bytes=33 * MB,
        deadline_s=90,
    ),
    Route(
        "/api/v2/netra/accounts/{user_id}",
        "netra",
        MODERN,
        needs_credential=True,
        scopes=dict.fromkeys(METHODS - {"OPTIONS"}, "netra:admin"),
    ),
    # Fundus photographs, as cameras send them; base64 makes a 5 MB image four thirds as long.
    _netra_old("/v1/getToken", write_rate=LOGIN_RATE),
    _netra_old("/v1/getToken/", write_rate=LOGIN_RATE),
    _netra_old("/v1/doAnalysis", max_body_bytes=20 * MB),
    _netra_old("/v1/doAnalysis/", max_body_bytes=20 * MB),
    _netra_old("/v1/getStatus"),
    _netra_old("/v1/getStatus/"),
    _netra_old("/v1/getResult"),
    _netra_old("/v1/getResult/"),
    _netra_old("/v1/doPatientAnalysis", max_body_bytes=40 * MB),
    _netra_old("/v1/doPatientAnalysis/", max_body_bytes=40 * MB),
    _netra_old("/v1/doPatientMultiImgAnalysis", write_rate=ARCHIVE_RATE, max_body_bytes=72 * MB),
    _netra_old("/v1/doPatientMultiImgAnalysis/", write_rate=ARCHIVE_RATE, max_body_bytes=72 * MB),
    # Networks by name, modern.
    Route(
        "/api/v2/scancer/**",
        "scancer",
        _SCANCER,
        needs_credential=True,
        max_body_bytes=64 * MB,
        deadline_s=120,
    ),
    # Slides are large, and kept before they are answered.
    Route(
        "/api/v2/scancer/slides",
        "scancer",
        _SCANCER,
        needs_credential=True,
        max_body_bytes=4 * 1024 * MB,
        deadline_s=300,
    ),
    # Networks by name, as TorchServe's clients ask, with and without the last slash.
    *_torchserve(
        "/predictions/{model}",
        "/predictions/{model}/",
        "/predictions/{model}/{version}",
        "/predictions/{model}/{version}/",
        "/explanations/{model}",
        "/explanations/{model}/",
        "/explanations/{model}/{version}",
        "/explanations/{model}/{version}/",
        "/models/{model}/invoke",
        "/invocations",
        "/invocations/",
        "/v1/models/{model}",
        "/{model}/predict",
        "/{model}/predict/{version}",
        max_body_bytes=64 * MB,
    ),
    *_torchserve("/models/", "/models/**", "/models/{model}/", "/models/{model}/{version}/"),
    *_torchserve("/models", "/ping", "/ping/", "/api-description", "/api-description/"),
    # Networks by name, in the Open Inference Protocol.
    *_inference_protocol("/v2", "/v2/**"),
    # Trucks, modern: what devices send, what both may do, what people do.
    Route(
        "/api/v2/fleet/alerts",
        "fleet",
        MODERN | _MACHINES,
        needs_credential=True,
        scopes={"GET": "fleet:read", "HEAD": "fleet:read", "POST": "fleet:ingest"},
        methods=frozenset({"GET", "HEAD", "POST", "OPTIONS"}),
    ),
    Route(
        "/api/v2/fleet/alerts/{id}",
        "fleet",
        MODERN | _MACHINES,
        needs_credential=True,
        scopes={"GET": "fleet:read", "HEAD": "fleet:read"},
        methods=frozenset({"GET", "HEAD", "PATCH", "OPTIONS"}),
    ),
    Route(
        "/api/v2/fleet/alerts/{id}/frames",
        "fleet",
        MODERN | _MACHINES,
        needs_credential=True,
        scopes={"GET": "fleet:read", "HEAD": "fleet:read", "POST": "fleet:ingest"},
        methods=frozenset({"GET", "HEAD", "POST", "OPTIONS"}),
        max_body_bytes=4 * MB,
    ),
    Route(
        "/api/v2/fleet/frames",
        "fleet",
        _MACHINES,
        needs_credential=True,
        scopes={"POST": "fleet:ingest"},
        methods=frozenset({"POST", "OPTIONS"}),
        max_body_bytes=4 * MB,
    ),
    *(
        _open(f"/api/v2/fleet/devices/{name}", "fleet", "POST", rate=_ENROLMENT_RATE)
        for name in ("enrol", "challenge", "token")
    ),
    Route(
        "/api/v2/fleet/**",
        "fleet",
        MODERN,
        needs_credential=True,
        scopes=scopes_of("fleet"),
    ),
    # Trucks, as the old devices and front ends ask.
    *_fleet_old("/api/v1/user/register", write_rate=LOGIN_RATE),
    *_fleet_old("/api/v1/login", write_rate=LOGIN_RATE),
    *_fleet_old("/api/v1/logout"),
    *_fleet_old("/api/v1/jetson/register", write_rate=REGISTRATION_RATE),
    *_fleet_old("/api/v1/truck/list"),
    *_fleet_old("/api/v1/truck/laststatus"),
    *_fleet_old("/api/v1/truck/currstatus"),
    *_fleet_old("/api/v1/alert", write_rate=TRUCKS_RATE),
    *_fleet_old("/api/v1/log", write_rate=TRUCKS_RATE, max_body_bytes=4 * MB),
    *_fleet_old("/api/v1/safe", write_rate=TRUCKS_RATE, max_body_bytes=4 * MB),
    # Live notices; a client shows its token inside the connection.
    *(
        Route(
            path,
            "fleet",
            methods=frozenset({"GET", "POST", "OPTIONS"}),
            max_body_bytes=64 * KB,
            rate=SOCKETS_RATE,
            deadline_s=90,
            refused_by="service",
            websocket=True,
        )
        for path in ("/socket.io", "/socket.io/")
    ),
    # Biometric quality, modern; on loopback it may be open to everybody, which the service decides.
    Route(
        "/api/v2/bqat/**",
        "bqat",
        _BQAT,
        scopes=scopes_of("bqat"),
        max_body_bytes=_BQAT_BODY_BYTES,
        deadline_s=150,
    ),
    # Biometric quality, as clients of both generations of BQAT ask, and of its stateless server.
    _bqat_old("/info", "GET", "HEAD"),
    _bqat_old("/specification", "GET", "HEAD"),
    _bqat_old("/scan"),
    _bqat_old("/scan/"),
    _bqat_old("/scan/uploaded", "POST", max_body_bytes=_BQAT_BODY_BYTES),
    _bqat_old("/scan/remote", "POST", max_body_bytes=_BQAT_BODY_BYTES),
    _bqat_old("/scan/report/remote", "POST", max_body_bytes=64 * MB),
    _bqat_old("/scan/clear", "POST", needs_credential=True),
    _bqat_old("/scan/**"),
    _bqat_old("/scan/{name}/"),
    _bqat_old("/scan/{name}/{what}/"),
    _bqat_old("/task"),
    _bqat_old("/task/"),
    _bqat_old("/task/**"),
    _bqat_old("/task/{name}/"),
    _bqat_old("/dataset", "POST", "DELETE", max_body_bytes=_BQAT_BODY_BYTES),
    _bqat_old("/convert", "POST", max_body_bytes=32 * MB),
    _bqat_old("/validate", "POST", max_body_bytes=64 * KB),
    _bqat_old("/purge", "POST", needs_credential=True),
    _bqat_old("/warehouse/data", "GET", "HEAD"),
    _bqat_old("/warehouse/data/", "GET", "HEAD"),
    _bqat_old("/warehouse/data/**", "GET", "HEAD"),
    _bqat_old("/base64", "POST", max_body_bytes=96 * MB),
    _bqat_old("/file", "POST", max_body_bytes=64 * MB),
)
