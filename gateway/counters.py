"""What the gateway counts beside the requests themselves."""

from prometheus_client import Counter, Gauge

RETRIES = Counter("vedette_gateway_retries_total", "Requests asked again.", ["upstream"])
UPSTREAM_FAILURES = Counter(
    "vedette_gateway_upstream_failures_total", "Exchanges a service broke.", ["upstream", "reason"]
)
BREAKER_OPEN = Gauge(
    "vedette_gateway_breaker_open", "1 while a service is not asked.", ["upstream"]
)
REFUSED_CREDENTIALS = Counter(
    "vedette_gateway_refused_credentials_total", "Credentials not accepted.", ["reason"]
)
LIMITED = Counter("vedette_gateway_rate_limited_total", "Requests over a limit.", ["policy"])
WEBSOCKETS = Gauge("vedette_gateway_websockets", "Open WebSockets.")
