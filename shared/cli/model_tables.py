"""The tables that `vedette models` prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

# As in `shared.cli.models`: the libraries of the engine are imported when they are needed.
if TYPE_CHECKING:
    from shared.inference.devices import Device
    from shared.inference.manifest import Manifest
    from shared.inference.package import ModelPackage
    from shared.inference.speed import Speed
    from shared.inference.variants import Trial

_LEVEL_COLOURS = {"validated": "green", "research": "yellow", "demo": "red", "rules": "cyan"}


def published(home: Path) -> Table:
    """The zoo, and which of it is here."""
    from shared.inference.store import installed_packages
    from shared.inference.zoo import load_zoo

    here = {(folder.parent.name, folder.name) for folder in installed_packages(home)}
    table = Table("model", "task", "licence", "size", "needs", "here")
    table.columns[0].no_wrap = True
    for name, entry in load_zoo().items():
        manifest = entry.described(name)
        table.add_row(
            name,
            manifest.task,
            escape(manifest.licence),
            f"{entry.weights.bytes / 1e6:.2f} MB",
            "PyTorch" if entry.needs_torch else "",
            "yes" if (name, manifest.version) in here else "",
        )
    return table


def trials_table(name: str, trials: Sequence["Trial"]) -> Table:
    """Each variant that was tried, and whether it is kept."""
    table = Table("variant", "largest deviation", "times as fast", "kept", title=escape(name))
    for trial in trials:
        table.add_row(
            trial.kind,
            f"{trial.deviation:.2g}" if trial.network else "",
            f"{trial.speedup:.2f}" if trial.speedup else "",
            "[green]yes[/green]" if trial.refused is None else f"no: {escape(trial.refused)}",
        )
    return table


def speeds_table(package: "ModelPackage", device: "Device", speeds: Sequence["Speed"]) -> Table:
    """Each layout that was measured, the fastest in bold."""
    best = max(speeds, key=lambda speed: speed.pictures_s)
    table = Table(
        "at once", "threads each", "batch", "pictures/s", "p50 ms", "p99 ms",
        title=f"{escape(package.name)} on {device}",
    )  # fmt: skip
    for speed in speeds:
        table.add_row(
            str(speed.layout.callers),
            str(speed.layout.threads),
            str(speed.layout.batch),
            f"{speed.pictures_s:,.0f}",
            f"{speed.p50_ms:.2f}",
            f"{speed.p99_ms:.2f}",
            style="bold" if speed is best else None,
        )
    return table


def facts(manifest: "Manifest", folder: Path) -> Table:
    """What a package reads and answers, and what is known of it."""
    picture = manifest.input
    table = Table(title=manifest.name, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("folder", escape(str(folder)))
    table.add_row("task", manifest.task)
    table.add_row("evidence", coloured(manifest.evidence))
    table.add_row("licence", escape(manifest.licence))
    table.add_row("source", escape(manifest.source))
    table.add_row("sha256", manifest.sha256)
    table.add_row(
        "input", f"{picture.colour} {picture.size[0]} x {picture.size[1]} px, {picture.resize}"
    )
    table.add_row("labels", escape(", ".join(manifest.labels)))
    variant = manifest.variant
    if variant is not None:
        table.add_row(
            "variant",
            f"{variant.kind} of {variant.of[:12]}…, {variant.speedup:g} times as fast, "
            f"up to {variant.deviation:g} away; {escape(variant.measured_on)}",
        )
    points = ", ".join(f"{label} {point:g}" for label, point in manifest.operating_points.items())
    table.add_row("operating points", escape(points) or "none")
    calibration = manifest.calibration
    table.add_row(
        "calibration", f"{calibration.method} {calibration.value:g}" if calibration else "none"
    )
    table.add_row("trained on", escape(manifest.card.trained_on))
    table.add_row("intended use", escape(manifest.card.intended_use))
    table.add_row("limits", escape(manifest.card.limits))
    return table


def accuracy(manifest: "Manifest") -> Table:
    """The figures of the card."""
    table = Table("dataset", "split", "n", "label", "metric", "value", "95 % interval")
    for figure in manifest.card.measured:
        interval = figure.interval
        table.add_row(
            escape(figure.dataset),
            escape(figure.split),
            str(figure.n),
            escape(figure.label or "all"),
            escape(figure.metric),
            f"{figure.value:.3f}",
            f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
        )
    return table


def coloured(level: str) -> str:
    """An evidence level in its colour."""
    colour = _LEVEL_COLOURS.get(level, "white")
    return f"[{colour}]{level}[/{colour}]"
