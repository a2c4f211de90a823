"""`vedette models`: the networks of this installation, and published ones that can join them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from shared.cli.model_making import make_package, pack_package
from shared.cli.model_tables import (
    accuracy,
    coloured,
    facts,
    published,
    speeds_table,
    trials_table,
)
from shared.settings import Settings

# The engine and its libraries are imported inside the commands: other commands start faster
# without them, and an image without networks does not hold them.
if TYPE_CHECKING:
    from shared.inference.download import Downloader
    from shared.inference.install import Installed
    from shared.inference.manifest import Manifest

app = typer.Typer(no_args_is_help=True, help="The networks of this installation.")
app.command("new")(make_package)
app.command("pack")(pack_package)
console = Console()
errors = Console(stderr=True)

_ARCHIVES = frozenset({".zip"})
_CHECKPOINTS = frozenset({".pt", ".pth", ".ckpt"})

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Another folder than VEDETTE_HOME.", show_default=False),
]


@app.command("list")
def list_models(
    available: Annotated[
        bool, typer.Option("--available", help="Published networks that `pull` can install.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """List the installed packages."""
    if available:
        console.print(published(home_or(home)))
        return
    from shared.inference.package import PackageRefused, read_manifest
    from shared.inference.store import installed_packages

    table = Table("model", "version", "task", "evidence", "labels", "licence")
    for folder in installed_packages(home_or(home)):
        try:
            manifest = read_manifest(folder)
        except PackageRefused as refused:
            table.add_row(folder.parent.name, folder.name, f"[red]{escape(str(refused))}[/red]")
            continue
        table.add_row(
            manifest.id,
            manifest.version,
            manifest.task,
            coloured(manifest.evidence),
            str(len(manifest.labels)),
            escape(manifest.licence),
        )
    if table.row_count:
        console.print(table)
    else:
        console.print(f"No package is installed under {home_or(home) / 'models'}.")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="id, id@version, or a package folder.")],
    home: HomeOption = None,
) -> None:
    """Show one package: what it reads and answers, and what is known of its accuracy."""
    from shared.inference.package import read_manifest

    with refusals():
        folder = find_package(name, home_or(home))
        manifest = read_manifest(folder)
    console.print(facts(manifest, folder))
    if manifest.card.measured:
        console.print(accuracy(manifest))


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="A package folder or archive.")],
) -> None:
    """Check a package without installing it: hash, graph, shapes and test vectors."""
    from shared.inference.apart import verify_apart
    from shared.inference.archive import unpack
    from shared.inference.package import read_manifest

    with refusals(), tempfile.TemporaryDirectory() as scratch, step("Verifying"):
        folder = path
        if path.suffix.lower() in _ARCHIVES:
            folder = Path(scratch)
            unpack(path, folder)
        worst = verify_apart(folder.absolute())
        manifest = read_manifest(folder)
    _print_verified(manifest, worst)


@app.command("import")
def import_model(
    source: Annotated[
        Path,
        typer.Argument(
            help="A package folder or .zip, a .pt or .pth checkpoint, or an .onnx file.",
            exists=True,
        ),
    ],
    layout: Annotated[
        str | None,
        typer.Option(help="torchxrayvision or jfhealthcare; told by the weights if left out."),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="For .onnx: its model.yaml. For a checkpoint: members to state otherwise."
        ),
    ] = None,
    model_id: Annotated[
        str | None, typer.Option("--id", help="The id of a converted checkpoint.")
    ] = None,
    version: Annotated[str, typer.Option(help="The version of a converted checkpoint.")] = "1.0",
    evidence: Annotated[
        str, typer.Option(help="The evidence level of a converted checkpoint: demo or research.")
    ] = "demo",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace this version if it is installed.")
    ] = False,
    variants: Annotated[
        bool, typer.Option("--variants", help="Try faster variants afterwards, as `optimise` does.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Convert where needed, verify, and only then install."""
    from shared.inference.archive import unpack
    from shared.inference.conversion.layouts import Layout
    from shared.inference.conversion.packaging import (
        Naming,
        package_checkpoint,
        package_onnx,
        read_overrides,
    )
    from shared.inference.evidence import Evidence
    from shared.inference.install import install_package

    suffix = source.suffix.lower()
    with refusals(), tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if source.is_dir():
            folder = source
        elif suffix in _ARCHIVES:
            with step("Unpacking"):
                unpack(source, folder)
        elif suffix in _CHECKPOINTS:
            chosen = Layout(layout) if layout is not None else None
            overrides = read_overrides(manifest) if manifest is not None else {}
            naming = Naming(model_id or id_from(source), version, Evidence(evidence))
            with step("Converting and running the source framework"):
                package_checkpoint(source, folder, naming, chosen, overrides)
        elif suffix == ".onnx" and manifest is not None:
            package_onnx(source, manifest, folder)
        else:
            fail(
                f"{source.name} is no package folder, .zip, .pt or .pth; "
                "an .onnx file needs --manifest"
            )
        with step("Verifying and installing"):
            installed = install_package(folder.absolute(), home_or(home), replace=replace)
    _print_verified(installed.manifest, installed.worst_deviation)
    console.print(f"Installed in {installed.folder}")
    if variants:
        _optimise(installed.folder, None, 0.02, 0.3, home_or(home))


@app.command()
def pull(
    names: Annotated[list[str], typer.Argument(help="As `list --available` calls them.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace this version if it is installed.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Fetch published weights, check, convert and verify them, and only then install.

    They come from VEDETTE_MODEL_MIRROR where it is set, else from where they were published. A
    transfer that breaks off is taken up where it ended.
    """
    from shared.inference.download import Downloader

    folder = home_or(home)
    downloader = Downloader(folder / "downloads", Settings().model_mirror)
    for name in names:
        with refusals():
            installed = _pull(name, folder, downloader, replace=replace)
        _print_verified(installed.manifest, installed.worst_deviation)
        console.print(f"Installed in {installed.folder}")


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="id, id@version, or a package folder.")],
    seconds: Annotated[float, typer.Option(help="How long each layout is measured.")] = 2.0,
    home: HomeOption = None,
) -> None:
    """Measure a network on this machine: pictures per second and times, per layout."""
    from shared.inference.devices import choose_device, usable_cores
    from shared.inference.package import load_package
    from shared.inference.sessions import suited_to
    from shared.inference.speed import layouts, measure, measure_preparation

    settings = Settings()
    with refusals():
        device = choose_device(settings.device, settings.threads)
        package = load_package(find_package(name, home_or(home)))
        device = suited_to(package.manifest, device)
        network = package.read_network()
        tried = layouts(package, device, settings.threads or usable_cores())
        with Progress(TextColumn("{task.description}"), BarColumn(), console=errors) as shown:
            task = shown.add_task(f"Measuring {escape(package.name)}", total=len(tried) + 1)
            preparation = measure_preparation(package, seconds)
            shown.advance(task)
            speeds = []
            for layout in tried:
                speeds.append(measure(network, package, device, layout, seconds))
                shown.advance(task)
    console.print(speeds_table(package, device, speeds))
    alone = speeds[0]
    share = preparation.total_ms / (preparation.total_ms + alone.p50_ms)
    console.print(
        f"Decoding {preparation.decode_ms:.2f} ms and preparing {preparation.preprocess_ms:.2f} ms "
        f"a picture of the test vectors: {share:.0%} of its whole time, alone."
    )


@app.command()
def optimise(
    name: Annotated[str, typer.Argument(help="id, id@version, or a package folder.")],
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="A folder of pictures like those it will see; int8 is fitted to them.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="How far an answer may be from the original's.", min=1e-6, max=0.1)
    ] = 0.02,
    seconds: Annotated[float, typer.Option(help="How long each measurement takes.")] = 1.0,
    home: HomeOption = None,
) -> None:
    """Try variants; install the fastest whose answers agree, if it is faster here."""
    _optimise(_find_or_fail(name, home_or(home)), pictures, tolerance, seconds, home_or(home))


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="id@version, or id for all its versions.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: HomeOption = None,
) -> None:
    """Remove an installed package."""
    from shared.inference.install import remove_package

    if not yes:
        typer.confirm(f"Remove {name} from {home_or(home) / 'models'}?", abort=True)
    with refusals():
        removed = remove_package(home_or(home), name)
    for folder in removed:
        console.print(f"Removed {folder.parent.name}@{folder.name}")


def home_or(home: Path | None) -> Path:
    """The folder that a command names, else VEDETTE_HOME."""
    return home if home is not None else Settings().home


def find_package(name: str, home: Path) -> Path:
    """The folder that `name` means: a path to a package, or what is installed by that name."""
    from shared.inference.manifest import MANIFEST_NAME
    from shared.inference.store import find_installed

    if (Path(name) / MANIFEST_NAME).is_file():
        return Path(name)
    return find_installed(home, name)[-1]


def id_from(source: Path) -> str:
    """A model id made of a file's name."""
    words = "".join(
        letter if letter.isascii() and letter.isalnum() else " " for letter in source.stem.lower()
    ).split()
    return "-".join(words)[:64].strip("-") or "imported"


def _find_or_fail(name: str, home: Path) -> Path:
    with refusals():
        return find_package(name, home)


def _optimise(
    folder: Path, pictures: Path | None, tolerance: float, seconds: float, home: Path
) -> None:
    """Try the variants of one package and install the fastest that is kept."""
    from shared.inference.devices import choose_device
    from shared.inference.install import install_package
    from shared.inference.package import load_package
    from shared.inference.variants import kinds_for, package_variant, read_pictures, try_variant

    settings = Settings()
    with refusals():
        device = choose_device(settings.device, settings.threads)
        package = load_package(folder)
        if package.manifest.variant is not None:
            fail(f"{package.name} is a variant already")
        seen = read_pictures(pictures) if pictures is not None else []
        trials = []
        for kind in kinds_for(device):
            with step(f"Trying {kind}"):
                trials.append(
                    try_variant(kind, package, device, seen, tolerance=tolerance, seconds=seconds)
                )
        console.print(trials_table(package.name, trials))
        kept = [trial for trial in trials if trial.refused is None]
        if not kept:
            console.print(f"{package.name} stays as it is.")
            return
        with tempfile.TemporaryDirectory() as scratch, step("Verifying and installing"):
            best = max(kept, key=lambda trial: trial.speedup)
            measured_on = f"{device}, {device.callers} runs at once"
            package_variant(best, package, Path(scratch), tolerance, measured_on)
            installed = install_package(Path(scratch), home, replace=True)
    _print_verified(installed.manifest, installed.worst_deviation)
    console.print(f"Installed in {installed.folder}")


def _pull(name: str, home: Path, downloader: "Downloader", *, replace: bool) -> "Installed":
    """Pull one network and show how far it is."""
    from shared.inference.zoo import get_entry, pull_package

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    entry = get_entry(name)
    with Progress(*columns, console=errors) as shown:
        task = shown.add_task(f"Fetching {escape(name)}", total=entry.weights.bytes)
        return pull_package(
            name,
            entry,
            home,
            downloader,
            replace=replace,
            progress=lambda done: shown.update(task, completed=done),
            fetched=lambda: shown.update(task, description=f"Verifying {escape(name)}"),
        )


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show that something is going on, for how long."""
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=errors
    ) as progress:
        progress.add_task(what, total=None)
        yield


@contextmanager
def refusals() -> Iterator[None]:
    """Turn expected failures into one line and exit status 1."""
    from shared.inference.conversion.checkpoint import CheckpointRefused
    from shared.inference.devices import DeviceUnavailable
    from shared.inference.download import DownloadRefused
    from shared.inference.install import AlreadyInstalled
    from shared.inference.manifest import ManifestInvalid
    from shared.inference.package import PackageRefused
    from shared.inference.runtime import NetworkFailed
    from shared.inference.store import PackageNotFound
    from shared.inference.zoo import NotInZoo

    try:
        yield
    except (PackageRefused, CheckpointRefused, DownloadRefused, ManifestInvalid) as refused:
        fail(str(refused))
    except (PackageNotFound, NotInZoo, DeviceUnavailable, NetworkFailed) as failure:
        fail(str(failure))
    except AlreadyInstalled as refused:
        fail(f"{refused}; --replace replaces it")
    except (OSError, ValueError) as error:
        fail(str(error))


def fail(why: str) -> NoReturn:
    """End with one line and exit status 1."""
    errors.print(f"[red]refused[/red]  {escape(why)}")
    raise typer.Exit(1)


def _print_verified(manifest: "Manifest", worst: float) -> None:
    count = len(manifest.test_vectors)
    console.print(
        f"[green]verified[/green]  {manifest.name}: {count} test vector{'s' if count > 1 else ''}, "
        f"largest deviation {worst:.2g}"
    )
