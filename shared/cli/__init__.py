"""The command line, `vedette`: one file per command, which imports what it needs when it runs."""

import sys
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Annotated

import typer

from shared.cli import assertion, doctor, evaluate, models, up, worker

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Vedette: one gateway, one identity and honest answers for computer-vision services.",
)
app.command("up")(up.run_platform)
app.command("doctor")(doctor.examine)
app.command("assertion")(assertion.print_assertion)
app.command("evaluate")(evaluate.evaluate)
app.command("worker")(worker.run_worker)
app.add_typer(models.app, name="models")


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"vedette {version('vedette')}")
        except PackageNotFoundError:
            typer.echo("vedette, run from a source tree that is not installed")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options of every command."""


def _join_commands(words: list[str]) -> None:
    """Add the commands that parts of the platform bring, or the one that is asked for.

    A part names its command in the entry points `vedette.commands`, so that `shared` imports no
    service, and a command that is not asked for costs nothing.
    """
    asked = next((word for word in words if not word.startswith("-")), None)
    for point in entry_points(group="vedette.commands"):
        if asked in (None, point.name):
            command = point.load()
            if isinstance(command, typer.Typer):
                app.add_typer(command, name=point.name)
            else:
                app.command(point.name)(command)


def main() -> None:
    """What the executable `vedette` runs."""
    _join_commands(sys.argv[1:])
    app()
