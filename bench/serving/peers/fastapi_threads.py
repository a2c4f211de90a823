"""Plain FastAPI: one picture a run in a thread pool with as many threads as cores."""

import anyio
import anyio.to_thread
import uvicorn
from fastapi import FastAPI, Request

from bench.serving.bare import BareNetwork, Setup


def create_app(network: BareNetwork, threads: int) -> FastAPI:
    """Run single-threaded sessions on as many threads as there are cores: their best layout."""
    app = FastAPI(openapi_url=None)
    limiter = anyio.CapacityLimiter(threads)

    @app.post("/predict")
    async def predict(request: Request) -> dict[str, list[float]]:
        body = await request.body()
        return {"logits": await anyio.to_thread.run_sync(network.answer, body, limiter=limiter)}

    return app


def main() -> None:
    """Serve until SIGTERM."""
    setup = Setup.from_environment()
    uvicorn.run(
        create_app(BareNetwork(setup), setup.threads),
        port=setup.port,
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
    )


if __name__ == "__main__":
    main()
