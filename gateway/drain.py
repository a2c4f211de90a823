"""The way out: not ready first, then no new connections, then the end of what has begun."""

import asyncio
from dataclasses import dataclass

import structlog
import uvicorn
from starlette.types import ASGIApp

from gateway.handshake import EdgeWebSocketProtocol
from gateway.protocol import ProtocolLimits, protocol_class
from gateway.settings import GatewaySettings
from shared.server import EagerServer

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Drain:
    """Whether this process is about to stop."""

    has_begun: bool = False


class DrainingServer(EagerServer):
    """Says that it is not ready, and goes on answering for a moment, before it stops listening."""

    def __init__(self, config: uvicorn.Config, drain: Drain, drain_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s

    async def main_loop(self) -> None:
        """Serve until a signal, and then as long as load balancers need to notice."""
        await super().main_loop()
        self._drain.has_begun = True
        log.info("drain_begun", seconds=self._drain_s)
        await asyncio.sleep(0 if self.force_exit else self._drain_s)


def create_server(app: ASGIApp, settings: GatewaySettings, drain: Drain) -> DrainingServer:
    """The server around `app`, with every limit of the settings."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=protocol_class(ProtocolLimits.from_settings(settings)),
        ws=EdgeWebSocketProtocol,
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=round(settings.gateway_keep_alive_s),
        timeout_graceful_shutdown=round(settings.stop_grace_s),
        ws_max_size=settings.gateway_max_websocket_message_bytes,
        ws_per_message_deflate=False,
    )
    return DrainingServer(config, drain, settings.gateway_drain_s)
