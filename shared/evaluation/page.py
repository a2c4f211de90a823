"""An evaluation as one HTML page that needs nothing from anywhere: no script, font or picture."""

from collections.abc import Iterable, Sequence
from html import escape

from shared.evaluation.measure import Evaluation, GroupMeasure, LabelMeasure
from shared.evaluation.page_style import STYLE
from shared.evaluation.plots import area_strip, reliability_plot, roc_plot
from shared.evaluation.proportions import Proportion
from shared.evaluation.ranking import Area
from shared.evaluation.thresholds import OperatingPoint

_NOTHING = "–"


def to_html(evaluation: Evaluation) -> str:
    """The whole page; all text that comes from files is escaped, and no script is in it."""
    title = f"{evaluation.model.name} on {evaluation.dataset.name}"
    sections = [
        _head(evaluation),
        _labels(evaluation) if evaluation.labels else "",
        _plots(evaluation) if evaluation.labels else "",
        _points(evaluation) if evaluation.labels else "",
        _lesions(evaluation),
        _groups(evaluation),
        _excluded(evaluation),
        _methods(evaluation),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(evaluation: Evaluation) -> str:
    model, data = evaluation.model, evaluation.dataset
    answered = f"{data.answered:,} of {data.rows:,}"
    if data.patients is not None:
        answered += f", of {data.patients:,} patients"
    facts = [
        (
            "evidence level",
            f'<span class="level {escape(model.evidence)}">{escape(model.evidence)}</span>',
        ),
        ("pictures answered", escape(answered)),
        ("measured", escape(f"{evaluation.evaluated_at:%d %B %Y, %H:%M} UTC")),
        ("probabilities", "calibrated" if model.calibrated else "not calibrated"),
        ("network", f"<code>{escape(model.sha256)}</code>"),
        ("table", f"<code>{escape(data.labels_sha256)}</code>"),
    ]
    if evaluation.mean_area is not None:
        facts.insert(2, ("mean AUC", _area(evaluation.mean_area)))
    listed = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in facts)
    return (
        f'<header>\n<p class="kind">Evaluation of {escape(evaluation.service)}</p>\n'
        f"<h1>{escape(model.name)}</h1>\n"
        f'<p class="on">on {escape(data.name)}</p>\n<dl class="facts">{listed}</dl>\n'
        '<p class="note">These figures speak of these pictures. They are too good if the network '
        "was trained on any of them, or on other pictures of the same patients.</p>\n</header>"
    )


def _labels(evaluation: Evaluation) -> str:
    head = (
        "label", "n", "positive", "AUC (95 %)", "", "average precision", "Brier (of prevalence)",
        "mean probability", "prevalence", "ECE",
    )  # fmt: skip
    rows = [
        (
            _name(each.label),
            *_cells(
                f"{each.n:,}",
                f"{each.positives:,}",
                _area(each.area),
                area_strip(each.area),
                _number(each.average_precision),
                f"{each.brier:.3f} <small>({each.brier_of_prevalence:.3f})</small>",
                f"{each.mean_probability:.3f}",
                f"{each.positives / each.n:.3f}",
                f"{each.calibration_error:.3f}",
            ),
        )
        for each in evaluation.labels
    ]
    text = _table(head, rows)
    if evaluation.without_column:
        names = ", ".join(_words(label) for label in evaluation.without_column)
        text += f'<p class="note">Not measured, because the table has no column: {names}.</p>'
    return _section("Ranking and calibration", text)


def _plots(evaluation: Evaluation) -> str:
    cards = "".join(_card(each, evaluation.target_sensitivity) for each in evaluation.labels)
    legend = (
        '<p class="legend"><span class="mark point"></span>operating point of the package '
        '<span class="mark fitted"></span>fitted here for a sensitivity of '
        f"{evaluation.target_sensitivity:g}; bars are 95 % intervals</p>"
    )
    return _section("Curves", f'{legend}<div class="cards">{cards}</div>')


def _card(each: LabelMeasure, target_sensitivity: float) -> str:
    name = _words(each.label)
    if each.roc is None or each.area is None:
        left = '<p class="empty">All cases are of one class: there is no curve.</p>'
    else:
        fitted = each.fitted
        caption = f"ROC curve of {name}: area {each.area.value:.3f}"
        left = roc_plot(each.roc, each.point, fitted, caption)
    right = reliability_plot(
        each.reliability, f"Reliability of {name}: error {each.calibration_error:.3f}"
    )
    return (
        f"<figure><figcaption><b>{name}</b> <span>AUC {_area(each.area)}, "
        f"ECE {each.calibration_error:.3f}</span></figcaption>"
        f'<div class="pair">{left}{right}</div></figure>'
    )


def _points(evaluation: Evaluation) -> str:
    head = (
        "label", "operating point", "sensitivity (95 %)", "specificity (95 %)",
        "positive predictive value", "negative predictive value",
    )  # fmt: skip
    stated = [(_name(each.label), *_cells(*_point(each.point))) for each in evaluation.labels]
    fitted = [
        (_name(each.label), *_cells(*_point(each.fitted)))
        for each in evaluation.labels
        if each.fitted is not None
    ]
    text = "<h3>At the package's operating points</h3>" + _table(head, stated)
    if fitted:
        target = f"{evaluation.target_sensitivity:g}"
        text += (
            f"<h3>Fitted for a sensitivity of {target}</h3>"
            '<p class="note">The highest threshold that finds at least '
            f"{evaluation.target_sensitivity:.0%} of the positives. It is fitted on these very "
            "pictures: its sensitivity here is no estimate of what it will be on others.</p>"
            + _table(head, fitted)
        )
    text += '<p class="note">Predictive values hold at the prevalence of these pictures.</p>'
    return _section("Decisions", text)


def _point(point: OperatingPoint) -> tuple[str, ...]:
    return (
        f"{point.probability:.4g}",
        _share(point.sensitivity),
        _share(point.specificity),
        _share(point.positive_predictive_value),
        _share(point.negative_predictive_value),
    )


def _lesions(evaluation: Evaluation) -> str:
    if not evaluation.lesions:
        return ""
    head = (
        "lesion", "pictures with it", "lesions", "area under precision and recall (95 %)",
        "found", "false boxes per picture",
    )  # fmt: skip
    rows = [
        (
            _name(each.label),
            *_cells(
                f"{each.pictures_with_it:,} of {each.pictures:,}",
                f"{each.lesions:,}",
                _area(each.area),
                _NOTHING if each.reported is None else _share(each.reported.sensitivity),
                _NOTHING if each.reported is None else f"{each.reported.false_positives:.2f}",
            ),
        )
        for each in evaluation.lesions
    ]
    budgets = [
        (
            _name(each.label),
            *_cells(
                f"{point.false_positives:.2f}", _share(point.sensitivity), f"{point.score:.3g}"
            ),
        )
        for each in evaluation.lesions
        for point in each.froc
    ]
    text = _table(head, rows)
    if budgets:
        columns = ("lesion", "false boxes per picture", "found (95 %)", "from the score")
        text += "<h3>FROC</h3>" + _table(columns, budgets)
    return _section("Lesions", text)


def _groups(evaluation: Evaluation) -> str:
    if not evaluation.groups:
        return ""
    head = (
        "group",
        "label",
        "n",
        "positive",
        "AUC (95 %)",
        "",
        "sensitivity (95 %)",
        "specificity (95 %)",
    )
    tables = []
    for name in dict.fromkeys(each.by for each in evaluation.groups):
        of_column = [each for each in evaluation.groups if each.by == name]
        tables.append(
            f"<h3>By {escape(name)}</h3>" + _table(head, _group_rows(of_column), kind="groups")
        )
    text = (
        '<p class="note">Intervals are of each group alone and not corrected for looking at many '
        "groups: among twenty comparisons one is expected to stand out by chance.</p>"
    )
    return _section("Subgroups", text + "".join(tables))


def _group_rows(groups: Sequence[GroupMeasure]) -> list[tuple[str, ...]]:
    rows = []
    previous = None
    for each in groups:
        name = "" if each.group == previous else escape(each.group)
        rows.append(
            (
                f"<th scope=row>{name}</th>",
                f"<td class=words>{_words(each.label)}</td>",
                *_cells(
                    f"{each.n:,}",
                    f"{each.positives:,}",
                    _area(each.area),
                    area_strip(each.area),
                    _share(each.point.sensitivity),
                    _share(each.point.specificity),
                ),
            )
        )
        previous = each.group
    return rows


def _excluded(evaluation: Evaluation) -> str:
    counts = evaluation.dataset.excluded
    if not counts:
        return ""
    total = sum(counts.values())
    kinds = ", ".join(f"{count:,} {escape(kind)}" for kind, count in counts.items())
    text = (
        f'<p class="note">{total:,} of {evaluation.dataset.rows:,} pictures have no answer '
        f"({kinds}) and are in no figure above.</p>"
    )
    if evaluation.excluded:
        rows = [
            (
                f"<th scope=row class=file>{escape(each.file)}</th>",
                f"<td class=words>{escape(each.kind)}</td>",
                f"<td class=words>{escape(each.why)}</td>",
            )
            for each in evaluation.excluded
        ]
        text += _table(("file", "kind", "why"), rows, kind="listing")
    return _section("Pictures without an answer", text)


def _methods(evaluation: Evaluation) -> str:
    intervals = (
        "percentiles of 2,000 resamples of patients, because some have several pictures"
        if evaluation.dataset.patients_repeat
        else "DeLong's (1988)"
    )
    proportions = "Wilson's (1927)"
    if evaluation.dataset.patients_repeat:
        proportions += ", which take the pictures of one patient for independent and are a little "
        proportions += "too narrow"
    entries = (
        f"Intervals of AUCs are {intervals}. With fewer than about twenty positives they are too "
        "narrow; where the scores separate the classes completely, or a class has fewer than two "
        "cases, there is none.",
        f"Intervals of proportions are {proportions}.",
        "The mean AUC's interval is of 2,000 resamples of "
        + ("patients." if evaluation.dataset.patients_repeat else "pictures."),
        "Average precision is the area under the precision-recall steps, without interpolation; "
        "a network that knows nothing scores the prevalence.",
        "The Brier score is the mean squared distance between probability and truth; in "
        "parentheses, what a constant that answers the prevalence scores.",
        "ECE, the expected calibration error, is the mean gap of ten bins of equally many cases; "
        "equal probabilities stay in one bin.",
        "A picture counts as found where its probability is at least the operating point.",
    )
    return _section("How it was measured", "<ul>" + _each("li", entries) + "</ul>")


def _section(title: str, text: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{text}\n</section>"


def _table(head: Iterable[str], rows: Iterable[tuple[str, ...]], kind: str = "figures") -> str:
    names = "".join(f"<th scope=col>{name}</th>" for name in head)
    body = "".join(f"<tr>{''.join(cells)}</tr>\n" for cells in rows)
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{names}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def _name(label: str) -> str:
    return f"<th scope=row>{_words(label)}</th>"


def _cells(*texts: str) -> list[str]:
    return [f"<td>{text}</td>" for text in texts]


def _each(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _words(label: str) -> str:
    return escape(label.replace("_", " "))


def _area(area: Area | None) -> str:
    if area is None:
        return "one class only"
    if area.low is None or area.high is None:
        return f"{area.value:.3f}"
    return f"{area.value:.3f} <small>({area.low:.3f}–{area.high:.3f})</small>"


def _share(share: Proportion) -> str:
    if share.value is None:
        return _NOTHING
    return f"{share.value:.2f} <small>({share.low:.2f}–{share.high:.2f})</small>"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.3f}"
