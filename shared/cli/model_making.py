"""`vedette models new` and `pack`: from an ONNX file to an archive that can be registered."""

from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlencode

import typer
from rich.console import Console
from rich.markup import escape

from shared.settings import Settings

console = Console()


def make_package(
    network: Annotated[Path, typer.Argument(help="The .onnx file.", exists=True, dir_okay=False)],
    folder: Annotated[
        Path | None, typer.Argument(help="The new package's folder.", show_default="the id")
    ] = None,
    model_id: Annotated[
        str | None,
        typer.Option("--id", help="As in `/predictions/<dataset>-<task>`; the folder's name."),
    ] = None,
    version: Annotated[str, typer.Option(help="Its version.")] = "1.0",
    labels: Annotated[
        str | None,
        typer.Option(help="Names with commas between, in the network's order; binary: no,yes."),
    ] = None,
    task: Annotated[
        str, typer.Option(help="image-classification, multi-label or regression.")
    ] = "image-classification",
    activation: Annotated[
        str | None, typer.Option(help="sigmoid, softmax or none; told by the figures if left out.")
    ] = None,
    colour: Annotated[str | None, typer.Option(help="RGB, BGR or GRAY.")] = None,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH, where the graph takes any.")
    ] = None,
    resize: Annotated[str, typer.Option(help="stretch, fit or crop.")] = "stretch",
    scale: Annotated[float, typer.Option(help="Multiplies pixels from 0 to 255 first.")] = 1 / 255,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted then; one figure, or one per channel.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Divided by then; one figure, or one per channel.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="The output with the labels, where there are several.")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="A folder of pictures for the test vectors.", exists=True),
    ] = None,
) -> None:
    """Start a package from an ONNX file: inputs read from the graph, test vectors made."""
    from shared.cli.models import id_from, refusals
    from shared.inference.scaffold import Wishes, scaffold, unfilled

    with refusals():
        name = model_id or id_from(folder or network)
        wishes = Wishes(
            id=name,
            version=version,
            task=cast("Any", task),
            labels=tuple(part.strip() for part in labels.split(",")) if labels else (),
            activation=cast("Any", activation),
            colour=cast("Any", colour),
            size_px=_size(size),
            resize=cast("Any", resize),
            scale=scale,
            mean=_figures(mean),
            std=_figures(std),
            output=output,
        )
        target = folder or Path(name)
        shown = sorted(path for path in pictures.iterdir() if path.is_file()) if pictures else []
        manifest = scaffold(network, target, wishes, shown)
    reads, says = manifest.input, manifest.output
    console.print(
        f"[green]made[/green]  {target}: reads {reads.colour} {reads.size[0]}x{reads.size[1]} as "
        f"{escape(reads.name)!r}, answers {len(says.labels)} labels as {escape(says.name)!r} "
        f"({says.activation}), {len(manifest.test_vectors)} test vectors"
    )
    if not pictures:
        console.print("The test vectors are drawn pictures; --pictures takes your own.")
    console.print(f"Now say in {target / 'model.yaml'}: {', '.join(unfilled(manifest))}.")
    console.print(f"Then: vedette models pack {target}")


def pack_package(
    source: Annotated[str, typer.Argument(help="A package folder, id, or id@version.")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="The archive.", show_default="$VEDETTE_HOME/model-store/<id>-<version>.zip"
        ),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option("--home", help="Another folder than VEDETTE_HOME.", show_default=False),
    ] = None,
) -> None:
    """Verify a package and make an archive of it that scancer can register."""
    from shared.cli.models import fail, find_package, home_or, refusals, step
    from shared.inference.apart import verify_apart
    from shared.inference.archive import pack
    from shared.inference.evidence import Evidence
    from shared.inference.package import read_manifest
    from shared.inference.scaffold import unfilled

    with refusals():
        folder = find_package(source, home_or(home))
        manifest = read_manifest(folder)
        missing = unfilled(manifest)
        if missing and manifest.evidence is not Evidence.DEMO:
            fail(
                f"evidence {manifest.evidence} needs a card that is filled in; "
                f"{', '.join(missing)} still say nothing"
            )
        with step("Verifying"):
            verify_apart(folder.absolute())
        archive = output or home_or(home) / "model-store" / f"{manifest.id}-{manifest.version}.zip"
        archive.parent.mkdir(parents=True, exist_ok=True)
        pack(folder, archive)
    console.print(f"[green]packed[/green]  {manifest.name} as {archive}")
    if missing:
        console.print(f"[yellow]Still to say:[/yellow] {', '.join(missing)}.")
    if output is None:
        settings = Settings()
        query = urlencode({"url": archive.name, "initial_workers": 1, "synchronous": "true"})
        console.print("Serve it, as an administrator:")
        console.print(
            f"curl --user {settings.admin_username} -X POST "
            f"'http://{settings.host}:{settings.port}/models?{query}'",
            soft_wrap=True,
            highlight=False,
        )


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise typer.BadParameter("--size is HEIGHTxWIDTH, as in 96x96")
    return int(height), int(width)


def _figures(text: str | None) -> tuple[float, ...]:
    """One figure for all channels, or one for each."""
    return () if text is None else tuple(float(part) for part in text.split(","))
