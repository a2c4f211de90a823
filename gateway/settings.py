"""What the gateway can be told from outside, beside what every process shares."""

from ipaddress import ip_network

from pydantic import Field, field_validator

from shared.settings import Names, Settings

KB = 1024
MB = 1024 * KB


class GatewaySettings(Settings):
    """The gateway's limits and deadlines: `VEDETTE_GATEWAY_…`."""

    gateway_trusted_proxies: Names = ()
    """Networks whose `X-Forwarded-For` is believed, for a gateway behind a load balancer."""
    gateway_max_header_bytes: int = Field(default=16 * KB, ge=1024)
    """All headers of a request together; more is 431."""
    gateway_max_header_fields: int = Field(default=100, ge=8)
    """Header fields of a request; more is 431."""
    gateway_max_url_bytes: int = Field(default=8 * KB, ge=256)
    """The longest address; a longer one is 414."""
    gateway_header_deadline_s: float = Field(default=10, gt=0)
    """From a connection's opening, or a request's first byte, to the end of its headers."""
    gateway_keep_alive_s: float = Field(default=75, gt=0)
    """How long a connection may rest between two requests."""
    gateway_body_idle_s: float = Field(default=30, gt=0)
    """The window within which the next part of a request's body has to arrive."""
    gateway_min_body_bytes_per_s: int = Field(default=256, ge=1)
    """A body that arrives more slowly than this over a whole window is cut."""
    gateway_slow_reader_s: float = Field(default=60, gt=0)
    """How long a client may leave an answer unread before its connection is cut."""
    gateway_linger_s: float = Field(default=5, gt=0)
    """How long the rest of a body is thrown away after an early answer such as 413."""
    gateway_connect_deadline_s: float = Field(default=2, gt=0)
    """How long connecting to a service may take."""
    gateway_answer_idle_s: float = Field(default=30, gt=0)
    """The longest pause between two parts of a service's answer."""
    gateway_total_deadline_s: float = Field(default=900, gt=0)
    """After this an exchange ends, however much it still moves."""
    gateway_max_connections: int = Field(default=2048, ge=1)
    """Client connections; one more is answered 503."""
    gateway_max_in_flight: int = Field(default=512, ge=1)
    """Requests at one service at a time; one more is answered 503."""
    gateway_max_polls: int = Field(default=8192, ge=1)
    """The same for a service with live connections: each of those that poll is a request that
    waits."""
    gateway_max_websocket_message_bytes: int = Field(default=1 * MB, ge=1)
    """The largest message over a WebSocket."""
    gateway_websocket_check_s: float = Field(default=15, gt=0)
    """How often an open WebSocket's credential is checked again, beside every revocation."""
    gateway_hang_after_s: float = Field(default=1.5, gt=0)
    """A service that is silent for this long while it is asked is probed."""
    gateway_probe_deadline_s: float = Field(default=2, gt=0)
    """How long the probed service may take to say that it lives."""
    gateway_jwks_refresh_s: float = Field(default=300, gt=0)
    """How often auth's key set is fetched anew, besides when it changes."""
    gateway_jwks_max_age_s: float = Field(default=86_400, gt=0)
    """How long the last good key set is used while auth is away."""
    gateway_introspection_ttl_s: float = Field(default=10, ge=0)
    """How long auth's word on an API key or a password is remembered."""
    gateway_drain_s: float = Field(default=0.5, ge=0)
    """From "not ready" to the end of accepting; set it above a load balancer's check interval."""

    @field_validator("gateway_trusted_proxies")
    @classmethod
    def are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        """A misspelt network stops the process instead of trusting nobody."""
        return tuple(str(ip_network(network)) for network in networks)
