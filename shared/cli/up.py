"""`vedette up`: start everything, and stay."""

import sys

import typer


def run_platform() -> None:
    """Start the database, the services and the gateway, and keep them running until Ctrl-C."""
    import asyncio

    from pydantic import ValidationError

    from shared.supervisor import StartFailed, Supervisor, SupervisorSettings
    from shared.supervisor.output import standard_output

    try:
        settings = SupervisorSettings()
    except ValidationError as error:
        for fault in error.errors():
            name = "VEDETTE_" + "_".join(str(part) for part in fault["loc"]).upper()
            typer.echo(f"{name}: {fault['msg']}", err=True)
        raise typer.Exit(2) from error

    output = standard_output()

    async def supervise() -> None:
        await Supervisor(settings, output).run()

    failure: StartFailed | None = None
    try:
        asyncio.run(supervise())
    except StartFailed as error:
        failure = error
    output.close()
    if failure is not None:
        sys.stderr.write(f"vedette: {failure}\n")
        raise typer.Exit(1)
