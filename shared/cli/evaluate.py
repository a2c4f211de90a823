"""`vedette evaluate`: how well a service's network does on your own labelled pictures."""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from shared.settings import Settings

# Imported where they are used: other commands start faster without numpy.
if TYPE_CHECKING:
    from shared.evaluation.labels import LabelTable
    from shared.evaluation.measure import Evaluation, Subject
    from shared.evaluation.proportions import Proportion
    from shared.evaluation.ranking import Area
    from shared.evaluation.source import Evaluator, Layout
    from shared.evaluation.thresholds import OperatingPoint

console = Console()
errors = Console(stderr=True)
_MAX_LISTED = 10


def evaluate(
    service: Annotated[str, typer.Argument(help="The service, such as chexray.")],
    folder: Annotated[
        Path, typer.Argument(help="Where the pictures lie.", exists=True, file_okay=False)
    ],
    labels: Annotated[
        Path | None,
        typer.Argument(
            help="A CSV table: `file`, one 0/1 column per label, `patient`, groups. Netra finds "
            "its own in a folder that is arranged as IDRiD is, outlines of lesions included.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="A column to group by; may be repeated.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="An installed package, id or id@version; else what the service runs."),
    ] = None,
    target_sensitivity: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Fit a threshold that finds this share.")
    ] = 0.9,
    name: Annotated[
        str | None, typer.Option(help="What the data are called in the report; else the folder.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report as one self-contained page.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Keep the result as the package's local evidence.")
    ] = False,
) -> None:
    """Measure a service's network on a labelled folder, through the service's own pipeline."""
    from shared.evaluation.labels import read_labels
    from shared.evaluation.local import store_evidence, to_json
    from shared.evaluation.measure import Subject
    from shared.evaluation.page import to_html
    from shared.evaluation.source import evaluator_factory

    for report in (html, json):
        if report is not None and not report.absolute().parent.is_dir():
            _fail(f"there is no folder {report.parent}")
    with _refusals(), _quiet(), evaluator_factory(service)(model) as evaluator:
        layout = _layout(service, evaluator, folder) if labels is None else None
        if layout is None:
            assert labels is not None
            names = tuple(evaluator.operating_points)
            table: LabelTable | None = read_labels(labels, names, evaluator.aliases, by or [])
        else:
            table, labels = layout.table, layout.table_file
        subject = Subject(
            service=service,
            model=evaluator.model,
            operating_points=evaluator.operating_points,
            dataset_name=name or folder.resolve().name,
            labels_sha256=hashlib.sha256(labels.read_bytes() if labels else b"").hexdigest(),
            target_sensitivity=target_sensitivity,
            evaluated_at=datetime.now(UTC),
        )
        evaluation = _run(subject, evaluator, folder, table, layout)
        _print(evaluation)
        if html is not None:
            html.write_text(to_html(evaluation), encoding="utf-8")
            errors.print(f"Report: {html}", highlight=False, soft_wrap=True)
        if json is not None:
            json.write_bytes(to_json(evaluation))
            errors.print(f"JSON:   {json}", highlight=False, soft_wrap=True)
        if store:
            kept = store_evidence(Settings().home, evaluation)
            errors.print(f"Stored: {kept}", highlight=False, soft_wrap=True)


def _layout(service: str, evaluator: "Evaluator", folder: Path) -> "Layout":
    from shared.evaluation.source import LayoutEvaluator

    if not isinstance(evaluator, LayoutEvaluator):
        _fail(f"{service} needs a table of labels behind the folder")
    layout = evaluator.find_layout(folder)
    if layout.table is None and not layout.outlined:
        _fail(f"{folder} holds neither a table of grades nor outlines of lesions")
    return layout


def _run(
    subject: "Subject",
    evaluator: "Evaluator",
    folder: Path,
    table: "LabelTable | None",
    layout: "Layout | None",
) -> "Evaluation":
    """Read every picture, outline those whose outlines are known, and measure."""
    from dataclasses import replace

    from shared.evaluation.measure import measure, measure_lesions_alone
    from shared.evaluation.run import outline_pictures, read_pictures
    from shared.evaluation.source import LayoutEvaluator

    evaluation = None
    with _progress() as progress:
        if table is not None:
            reading = progress.add_task(
                f"Reading with {evaluator.model.name}", total=len(table.pictures)
            )
            answers = asyncio.run(
                read_pictures(evaluator, folder, table.pictures, lambda: progress.advance(reading))
            )
            measuring = progress.add_task("Measuring", total=1)
            evaluation = measure(subject, table, answers)
            progress.advance(measuring)
        if layout is None or not layout.outlined:
            assert evaluation is not None
            return evaluation
        assert isinstance(evaluator, LayoutEvaluator)
        outlining = progress.add_task("Outlining", total=len(layout.outlined))
        lesions, excluded = asyncio.run(
            outline_pictures(evaluator, layout.outlined, lambda: progress.advance(outlining))
        )
    if evaluation is None:
        evaluation = measure_lesions_alone(subject, lesions, len(layout.outlined))
    counts = Counter(evaluation.dataset.excluded)
    counts.update(each.kind for each in excluded)
    return replace(
        evaluation,
        dataset=replace(evaluation.dataset, excluded=dict(counts)),
        excluded=(*evaluation.excluded, *excluded),
        lesions=lesions,
    )


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=errors,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the engine's log lines, other than errors, out of the tables."""
    import structlog

    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn expected failures into one line and exit status 1."""
    from shared.evaluation.source import NoEvaluator
    from shared.inference.devices import DeviceUnavailable
    from shared.inference.package import PackageRefused
    from shared.inference.runtime import NetworkFailed
    from shared.inference.store import PackageNotFound
    from shared.problems import Problem

    try:
        yield
    except (NoEvaluator, PackageNotFound, PackageRefused, DeviceUnavailable) as refused:
        _fail(str(refused))
    except (Problem, NetworkFailed, OSError, ValueError) as error:
        _fail(str(error))


def _fail(why: str) -> NoReturn:
    errors.print(f"[red]refused[/red]  {escape(why)}")
    raise typer.Exit(1)


def _print(evaluation: "Evaluation") -> None:
    data = evaluation.dataset
    console.print(f"[bold]{evaluation.model.name} on {escape(data.name)}[/bold]\n")
    if evaluation.labels:
        _print_labels(evaluation)
    if evaluation.lesions:
        console.print("\n[bold]Lesions[/bold]")
        console.print(_lesions_table(evaluation))
    if evaluation.groups:
        console.print()
        console.print(_groups_table(evaluation))
    _print_pictures(evaluation)


def _print_labels(evaluation: "Evaluation") -> None:
    console.print(_ranking_table(evaluation))
    if evaluation.mean_area is not None:
        console.print(f"mean AUC {_area(evaluation.mean_area)}")
    console.print("\n[bold]At the package's operating points[/bold]")
    console.print(_points_table((each.label, each.point) for each in evaluation.labels))
    console.print(
        f"\n[bold]Fitted on these pictures for a sensitivity of "
        f"{evaluation.target_sensitivity:g}[/bold]; check on others"
    )
    console.print(
        _points_table(
            (each.label, each.fitted) for each in evaluation.labels if each.fitted is not None
        )
    )


def _print_pictures(evaluation: "Evaluation") -> None:
    data = evaluation.dataset
    excluded = sum(data.excluded.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in data.excluded.items())
    console.print(
        f"\n{data.answered} of {data.rows} pictures answered"
        + (f", of {data.patients} patients" if data.patients is not None else "")
        + (f"; without an answer: {kinds}" if excluded else "")
    )
    for each in evaluation.excluded[:_MAX_LISTED]:
        line = f"  {escape(each.file)}: {each.kind}, {escape(each.why)}"
        console.print(line, highlight=False, soft_wrap=True)
    if excluded > _MAX_LISTED:
        console.print(f"  and {excluded - _MAX_LISTED} more; --html and --json list them all")
    if evaluation.without_column:
        console.print(f"Not measured, no column: {', '.join(evaluation.without_column)}")


def _plain_table(*columns: str) -> Table:
    """A table that fits a narrow terminal; all columns but the first hold figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    return table


def _ranking_table(evaluation: "Evaluation") -> Table:
    table = _plain_table(
        "label", "n", "positive", "AUC (95 %)", "AP", "Brier (base)", "ECE"
    )  # fmt: skip
    for each in evaluation.labels:
        table.add_row(
            each.label,
            str(each.n),
            str(each.positives),
            _area(each.area),
            "" if each.average_precision is None else f"{each.average_precision:.3f}",
            f"{each.brier:.3f} ({each.brier_of_prevalence:.3f})",
            f"{each.calibration_error:.3f}",
        )
    return table


def _points_table(points: "Iterable[tuple[str, OperatingPoint]]") -> Table:
    table = _plain_table("label", "threshold", "sensitivity", "specificity", "PPV", "NPV")
    for label, point in points:
        predictive = (point.positive_predictive_value, point.negative_predictive_value)
        table.add_row(
            label,
            f"{point.probability:.3g}",
            _share(point.sensitivity),
            _share(point.specificity),
            *("" if share.value is None else f"{share.value:.2f}" for share in predictive),
        )
    return table


def _groups_table(evaluation: "Evaluation") -> Table:
    table = _plain_table("group", "positive", "AUC (95 %)", "sensitivity", "specificity")
    previous = None
    for each in evaluation.groups:
        group = f"{each.by} {each.group}"
        if group != previous:
            table.add_row()
            table.add_row(f"[bold]{escape(group)}[/bold]")
        table.add_row(
            each.label,
            f"{each.positives}/{each.n}",
            _area(each.area),
            _share(each.point.sensitivity),
            _share(each.point.specificity),
        )
        previous = group
    return table


def _lesions_table(evaluation: "Evaluation") -> Table:
    table = _plain_table("lesion", "pictures", "lesions", "AUPR (95 %)", "found", "false")
    for each in evaluation.lesions:
        area = "none outlined" if each.area is None else _area(each.area)
        table.add_row(
            each.label, f"{each.pictures_with_it}/{each.pictures}", str(each.lesions), area
        )
        for point in each.froc:
            table.add_row(
                "", "", "", "FROC", _share(point.sensitivity), f"{point.false_positives:.2f}"
            )
        if each.reported is not None:
            point = each.reported
            table.add_row(
                "", "", "", "all boxes", _share(point.sensitivity), f"{point.false_positives:.2f}"
            )
    return table


def _area(area: "Area | None") -> str:
    if area is None:
        return "one class only"
    if area.low is None or area.high is None:
        return f"{area.value:.3f}"
    return f"{area.value:.3f} ({area.low:.3f}–{area.high:.3f})"


def _share(share: "Proportion") -> str:
    if share.value is None:
        return ""
    return f"{share.value:.2f} ({share.low:.2f}–{share.high:.2f})"
