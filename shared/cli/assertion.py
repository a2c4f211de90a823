"""`vedette assertion`: speak to one service directly, as the gateway would."""

import asyncio
from typing import Annotated

import typer

#: Stands for the administrator where the database cannot be asked for its identifier.
_STAND_IN = "00000000-0000-7000-8000-000000000000"
_VERBS = ("read", "write", "predict", "ingest", "admin")
_EVERYWHERE = ("users:admin", "audit:read", "metrics:read")


async def _find_administrator(database_url: str, username: str) -> str | None:
    import asyncpg

    try:
        connection = await asyncpg.connect(database_url, timeout=3)
        try:
            found = await connection.fetchval(
                "SELECT id FROM auth.users WHERE username = $1 AND 'admin' = ANY (roles)", username
            )
        finally:
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return None
    return None if found is None else str(found)


def print_assertion(
    service: Annotated[
        str, typer.Argument(help="auth, chexray, …: the service that will read it.")
    ],
) -> None:
    """Print an internal assertion for the administrator, valid for a minute, for one service.

    Send it as the header `Vedette-Assertion` to the service's own port. It is made from the keys
    in VEDETTE_HOME, so whoever can read those can speak as anybody.
    """
    from shared.assertions import GATEWAY, AssertionSigner, Caller
    from shared.keys import WeakKey, read_key
    from shared.postgres import running_url
    from shared.settings import SERVICES, Settings

    if service not in SERVICES:
        raise typer.BadParameter(f"the services are {', '.join(SERVICES)}")
    settings = Settings()
    try:
        key = read_key(settings.keys_folder, f"assertion-{service}")
    except WeakKey as error:
        typer.echo(f"{error} The keys are made by the first `vedette up`.", err=True)
        raise typer.Exit(1) from error
    database_url = (
        settings.database_url.get_secret_value()
        if settings.database_url is not None
        else running_url(settings.home)
    )
    subject = None
    if database_url is not None:
        subject = asyncio.run(_find_administrator(database_url, settings.admin_username))
    if subject is None:
        typer.echo("The administrator was not found in the database; a stand-in is used.", err=True)
    caller = Caller(
        subject=subject or _STAND_IN,
        kind="user",
        username=settings.admin_username,
        roles=("admin",),
        scopes=frozenset({*(f"{service}:{verb}" for verb in _VERBS), *_EVERYWHERE}),
        credential="bearer",
    )
    typer.echo(AssertionSigner(GATEWAY, key).sign(caller, service))
