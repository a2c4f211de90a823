"""`vedette bqat scan FOLDER`: assess a folder on this machine, without a server or a database."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from services.bqat.domain import Kept

app = typer.Typer(no_args_is_help=True, help="Biometric quality of samples on this machine.")


@app.callback()
def options() -> None:
    """Options of every command of bqat: none."""


@app.command()
def scan(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="The folder with the samples.")
    ],
    modality: Annotated[str, typer.Option(help="face, fingerprint, iris or speech.")] = "face",
    engine: Annotated[str | None, typer.Option(help="For faces: bqat, ofiq or fusion.")] = None,
    output: Annotated[
        Path, typer.Option(help="Where the profiles go, one JSON object a line.")
    ] = Path("profiles.jsonl"),
    report: Annotated[
        Path | None, typer.Option(help="Write a report of them, one self-contained page.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Only files whose name this regular expression finds.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="How many at once; as many as cores.")
    ] = None,
) -> None:
    """Assess every sample of a folder and its sub-folders.

    What `--output` holds already is not assessed again, so that a scan that was broken off goes on.
    """
    from services.bqat.domain import OptionsRefused, read_modality, wanted_files
    from services.bqat.scan_here import ScanHere

    found = read_modality(modality)
    if found is None:
        typer.echo("The modality is face, fingerprint, iris or speech.", err=True)
        raise typer.Exit(2)
    try:
        wanted = wanted_files(found, {} if pattern is None else {"pattern": pattern})
    except OptionsRefused as error:
        typer.echo(f"{error}.", err=True)
        raise typer.Exit(2) from error
    here = ScanHere(folder, found, engine, wanted, output, processes)
    with _progress() as shown:
        bar = shown.add_task("listing", total=None, pace="")
        failed = asyncio.run(here.run(lambda **what: shown.update(bar, **what)))
    typer.echo(f"{here.done} samples, {failed} without a profile: {output}")
    if report is not None:
        report.write_bytes(asyncio.run(_report(output, folder.name, found.value)))
        typer.echo(f"report: {report}")


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
    )


async def _report(profiles: Path, name: str, modality: str) -> bytes:
    from services.bqat.apart import analyse
    from services.bqat.columns import read_table
    from services.bqat.domain import Modality
    from services.bqat.reporting import Subject, report_arrays, report_order

    table = await read_table(_kept(profiles))
    order = report_order(Subject(name, Modality(modality)), table, {})
    return await analyse("report", order, report_arrays(table))


async def _kept(profiles: Path) -> AsyncIterator["Kept"]:
    from services.bqat.domain import Kept, Place

    for position, line in enumerate(read_lines(profiles)):
        await asyncio.sleep(0)
        evidence = str(line.pop("evidence", "rules"))
        yield Kept(Place(0, position), line, evidence)


def read_lines(profiles: Path) -> Iterator[dict[str, Any]]:
    """The profiles of a file; a last line that was broken off is left out."""
    with profiles.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
