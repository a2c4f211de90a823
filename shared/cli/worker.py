"""`vedette worker SERVICE`: do a service's jobs in a process, or on a machine, of its own."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.jobs import Worker


def run_worker(
    service: Annotated[str, typer.Argument(help="The service whose jobs are done.")],
) -> None:
    """Do a service's jobs until SIGTERM or Ctrl-C; needs only the database and the objects."""
    import asyncio
    from importlib.metadata import entry_points

    from shared.settings import Settings
    from shared.telemetry import configure_telemetry

    points = {point.name: point for point in entry_points(group="vedette.workers")}
    if service not in points:
        known = ", ".join(sorted(points)) or "none"
        typer.echo(f"{service} has no jobs; services that have: {known}.", err=True)
        raise typer.Exit(2)
    settings = Settings()
    try:
        settings.require_database_url()
    except ValueError as error:
        typer.echo(f"{error}.", err=True)
        raise typer.Exit(2) from error
    configure_telemetry(f"{service}-worker", settings)
    asyncio.run(work_until_told(points[service].load()))


async def work_until_told(
    open_worker: "Callable[[], AbstractAsyncContextManager[Worker]]",
) -> None:
    """Open a worker and run it until SIGTERM or SIGINT; what is at hand is finished or handed back.

    Args:
        open_worker: opens what the worker needs, and yields it.
    """
    import asyncio
    import signal

    async with open_worker() as worker:
        loop: Any = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        await worker.run()
