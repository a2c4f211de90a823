"""What of a request's headers a service gets to see, and what of an answer's a client does."""

import re
from collections.abc import Iterable
from typing import Final

from gateway.bounded import BoundedMap
from gateway.errors import RefusedRequest
from shared.random_digits import RandomDigits

HeaderPair = tuple[bytes, bytes]

_FORWARD: Final = 1
_DROP: Final = 2
_READ: Final = 3
_READ_AND_FORWARD: Final = 4

#: Headers that mean one connection only (RFC 9110, section 7.6.1).
_HOP_BY_HOP: Final = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip

#: Headers by which some proxy or framework is told who calls, from where, or what is asked.
#: Nobody but the gateway says so here. Browsers' cookies authenticate nothing.
_IDENTITY: Final = frozenset({
    b"forwarded", b"via", b"cookie", b"remote-user", b"remote-addr", b"client-ip",
    b"true-client-ip", b"fastly-client-ip", b"cf-connecting-ip", b"cf-connecting-ipv6",
    b"x-cluster-client-ip", b"x-real-ip", b"x-client-ip", b"x-originating-ip", b"x-remote-ip",
    b"x-remote-addr", b"x-original-url", b"x-original-uri", b"x-original-host", b"x-rewrite-url",
    b"x-host", b"x-http-method", b"x-http-method-override", b"x-method-override", b"x-api-key",
    b"x-access-token", b"x-token", b"x-scheme", b"x-url-scheme", b"front-end-https", b"baggage",
})  # fmt: skip
_IDENTITY_PREFIXES: Final = (
    b"vedette-", b"x-forwarded-", b"x-user", b"x-auth", b"x-remote-", b"x-consumer",
    b"x-credential", b"x-identity", b"x-client-cert", b"x-ssl-", b"ssl-", b"x-envoy-",
    b"x-amzn-", b"x-internal-", b"x-tenant", b"x-role", b"x-scope", b"x-account", b"x-jwt",
    b"proxy-", b"x-b3-", b"sec-websocket-",
)  # fmt: skip
_READ_ONLY: Final = frozenset({
    b"host", b"authorization", b"content-length", b"transfer-encoding", b"connection", b"expect",
    b"x-request-id", b"traceparent", b"tracestate", b"range",
})  # fmt: skip
_READ_TOO: Final = frozenset(
    {b"content-encoding", b"origin", b"access-control-request-method", b"content-type"}
)
#: Two of these would be read differently by different programs.
_ONCE: Final = frozenset({b"host", b"authorization", b"content-length", b"transfer-encoding"})
#: A client may not have these taken away by naming them in `Connection`.
_NOT_NOMINATED: Final = frozenset({b"content-type", b"content-encoding", b"accept", b"origin"})

_DROPPED_FROM_ANSWER: Final = _HOP_BY_HOP | {
    b"server", b"date", b"x-powered-by", b"x-request-id", b"vedette-assertion",
    b"vedette-client-address",
}  # fmt: skip
_RATE_LIMIT: Final = frozenset({b"ratelimit", b"ratelimit-policy"})
_MAX_RANGES: Final = 4
_NOSNIFF: Final = (b"x-content-type-options", b"nosniff")
_NO_STORE: Final = (b"cache-control", b"no-store")

_is_request_id = re.compile(rb"[A-Za-z0-9-]{1,64}").fullmatch
_is_traceparent = re.compile(
    rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
).fullmatch
_is_tracestate = re.compile(rb"[\x20-\x7e]{1,512}").fullmatch

_known_names: BoundedMap[bytes, int] = BoundedMap(1024)


def _classify(name: bytes) -> int:
    if name in _READ_ONLY:
        action = _READ
    elif name in _READ_TOO:
        action = _READ_AND_FORWARD
    elif (
        name in _HOP_BY_HOP
        or name in _IDENTITY
        or name.startswith(_IDENTITY_PREFIXES)
        # Many frameworks read `X_User_Id` and `X-User-Id` as the same header.
        or b"_" in name
    ):
        action = _DROP
    else:
        action = _FORWARD
    _known_names.put(name, action)
    return action


class RequestHeaders:
    """A request's headers after one reading."""

    __slots__ = ("lines", "read")

    def __init__(self, headers: Iterable[HeaderPair]) -> None:
        """Read `headers`, whose names are lower case.

        Raises:
            RefusedRequest: a header that may be there once is there twice, or is not coherent.
        """
        self.read: dict[bytes, bytes] = {}
        self.lines: list[bytes] = []
        read, lines, known = self.read, self.lines, _known_names.get
        for name, value in headers:
            action = known(name) or _classify(name)
            if action == _FORWARD:
                lines += (name, b": ", value, b"\r\n")
            elif action == _DROP:
                continue
            else:
                if name in read and name in _ONCE:
                    raise RefusedRequest(f"There are two {name.decode()} headers.")
                read[name] = value
                if action == _READ_AND_FORWARD:
                    lines += (name, b": ", value, b"\r\n")
        if b"connection" in read:
            self._drop_nominated(read[b"connection"])
        if b"range" in read and read[b"range"].count(b",") < _MAX_RANGES:
            lines += (b"range: ", read[b"range"], b"\r\n")

    def _drop_nominated(self, connection: bytes) -> None:
        nominated = {token.strip().lower() for token in connection.split(b",")} - _NOT_NOMINATED
        if nominated <= {b"keep-alive", b"close", b"upgrade", b"te"}:
            return
        kept: list[bytes] = []
        for at in range(0, len(self.lines), 4):
            if self.lines[at] not in nominated:
                kept += self.lines[at : at + 4]
        self.lines[:] = kept

    def body_length(self) -> int | None:
        """The declared length of the body, 0 without one, None when it comes in chunks.

        Raises:
            RefusedRequest: two declarations contradict each other, or make no sense.
        """
        coding = self.read.get(b"transfer-encoding")
        length = self.read.get(b"content-length")
        if coding is not None:
            if length is not None or coding.strip().lower() != b"chunked":
                raise RefusedRequest("The body's length is declared in a way that is not taken.")
            return None
        if length is None:
            return 0
        if not length.isdigit() or len(length) > 18:
            raise RefusedRequest("Content-Length is not a number.")
        return int(length)


_random_digits = RandomDigits()


def request_id_in(headers: Iterable[HeaderPair]) -> str:
    """The client's own id if it is well-formed, else a new one of 128 random bits."""
    sent = b""
    for name, value in headers:
        if name == b"x-request-id":
            sent = value
    return sent.decode("ascii") if _is_request_id(sent) else _random_digits.take(32)


def trace_of(headers: RequestHeaders) -> tuple[str, list[bytes]]:
    """The request's id, and the header lines that tell a service of it and of the trace.

    A client's valid `traceparent` keeps its trace and gets a new parent; its valid `X-Request-ID`
    is kept; what is missing or malformed is made here from 192 random bits.
    """
    fresh = _random_digits.take(48)
    read = headers.read
    request_id = fresh[:32]
    sent = read.get(b"x-request-id")
    if sent is not None and _is_request_id(sent) is not None:
        request_id = sent.decode("ascii")
    parent = read.get(b"traceparent")
    if parent is not None and _is_traceparent(parent) is not None:
        trace, flags = parent[3:35].decode("ascii"), parent[-2:].decode("ascii")
        state = read.get(b"tracestate")
    else:
        trace, flags, state = fresh[:32], "01", None
    lines = [
        f"x-request-id: {request_id}\r\ntraceparent: 00-{trace}-{fresh[32:]}-{flags}\r\n".encode()
    ]
    if state is not None and _is_tracestate(state) is not None:
        lines += (b"tracestate: ", state, b"\r\n")
    return request_id, lines


def answer_headers(
    headers: Iterable[HeaderPair], *, is_private: bool, rate_headers: Iterable[HeaderPair] = ()
) -> list[HeaderPair]:
    """What a client sees of a service's answer.

    Caches keep no private one unasked, and `rate_headers` give way to what the service itself
    says of its limits.
    """
    kept: list[HeaderPair] = []
    says_nosniff = says_rate = False
    for pair in headers:
        name = pair[0]
        if name in _DROPPED_FROM_ANSWER:
            continue
        if name == b"x-content-type-options":
            says_nosniff = True
        elif name == b"cache-control":
            is_private = False
        elif name in _RATE_LIMIT:
            says_rate = True
        kept.append(pair)
    if not says_nosniff:
        kept.append(_NOSNIFF)
    if is_private:
        kept.append(_NO_STORE)
    if not says_rate:
        kept += rate_headers
    return kept
