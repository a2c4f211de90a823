"""What the gateway itself answers when it does not forward."""

from shared.problems import Problem, TooManyRequests, Unavailable


class RefusedRequest(Problem):
    """The request line, the path or a header has a form that is never forwarded."""

    status, slug, title = 400, "refused-request", "Request refused"

    def __init__(self, detail: str) -> None:
        # What such a client sends next is not read either.
        super().__init__(detail, headers={"Connection": "close"})


class MisdirectedRequest(Problem):
    """The Host header names a server that this is not."""

    status, slug, title = 421, "misdirected-request", "Misdirected request"


class MethodNotAllowed(Problem):
    """The path is known, the method is not for it."""

    status, slug, title = 405, "method-not-allowed", "Method not allowed"


class MethodNotImplemented(Problem):
    """No route anywhere knows this method."""

    status, slug, title = 501, "method-not-implemented", "Method not implemented"


class ContentTooLarge(Problem):
    """The body is larger than this route takes."""

    status, slug, title = 413, "content-too-large", "Content too large"


class UnsupportedEncoding(Problem):
    """The body is compressed; its true size would be unknown until it is unpacked."""

    status, slug, title = 415, "unsupported-encoding", "Unsupported content encoding"


class RequestTimeout(Problem):
    """The body came too slowly."""

    status, slug, title = 408, "request-timeout", "Request timeout"


class OriginRefused(Problem):
    """A web page of this origin may not open a WebSocket here."""

    status, slug, title = 403, "origin-refused", "Origin refused"


class BadGateway(Problem):
    """The service broke the connection or its answer is not HTTP."""

    status, slug, title = 502, "bad-gateway", "Bad gateway"


class GatewayTimeout(Problem):
    """The service did not answer in time."""

    status, slug, title = 504, "gateway-timeout", "Gateway timeout"


class ServiceUnavailable(Unavailable):
    """The service is away, or has all it can take."""

    slug, title = "service-unavailable", "Service unavailable"


class QuotaExceeded(TooManyRequests):
    """A rate limit of the gateway is reached."""

    slug, title = "quota-exceeded", "Too many requests"

    def __init__(self, policy: str, *, retry_after_s: float) -> None:
        super().__init__(
            f"The limit {policy} is reached; Retry-After says when to come back.",
            retry_after_s=retry_after_s,
        )
        self.extensions = {"violated-policies": [policy]}
