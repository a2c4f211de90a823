"""The report as a page: whole, safe, and on its own."""

import re
from html.parser import HTMLParser

import pytest

from shared.evaluation.page import to_html
from shared.evaluation.run import Excluded
from tests.shared.evaluation.support import answered, measured, sample

PAGE = to_html(measured(sample(), by=("view",), excluded=(Excluded("x.png", "missing", "gone"),)))


class Outline(HTMLParser):
    """The elements of a page, and whether they are closed in order."""

    VOID = frozenset({"meta"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element of SVG that has no content."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last."""
        assert self.open.pop() == tag

    def count(self, tag: str) -> int:
        """How many elements of a kind there are."""
        return sum(name == tag for name, _ in self.elements)


def test_elements_are_closed_in_order() -> None:
    assert Outline(PAGE).open == []


def test_nothing_is_loaded_and_nothing_runs() -> None:
    """A report is opened offline and sent by mail."""
    outline = Outline(PAGE)
    attributes = {name for _, attributes in outline.elements for name in attributes}

    assert not {"src", "href", "srcset", "action"} & attributes
    assert not [name for name in attributes if name.startswith("on")]
    assert outline.count("script") == outline.count("link") == outline.count("img") == 0
    assert "url(" not in PAGE
    assert "@import" not in PAGE
    assert "default-src 'none'; style-src 'unsafe-inline'" in PAGE


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", '"><img src=x onerror=1>', "&amp;<b>"]
)
def test_names_from_files_are_text(evil: str) -> None:
    """Of files, groups and the data set; also as they stand inside attributes."""
    cases = [answered(f"{p}", p / 10, {"edema": p > 4}, view=evil) for p in range(10)]
    excluded = (Excluded(evil, "refused", evil),)
    page = to_html(measured(cases, by=("view",), excluded=excluded, dataset_name=evil))
    plain = to_html(measured(cases, by=("view",), excluded=(Excluded("x", "refused", "x"),)))

    assert evil not in page
    assert Outline(page).count("script") == Outline(page).count("img") == 0
    assert Outline(page).count("b") == Outline(plain).count("b")


def test_there_is_a_curve_and_a_reliability_plot_per_label() -> None:
    named = [
        a["aria-label"] for tag, a in Outline(PAGE).elements if tag == "svg" and "aria-label" in a
    ]

    assert [str(name).split(":")[0] for name in named] == [
        "ROC curve of edema",
        "Reliability of edema",
        "ROC curve of pleural effusion",
        "Reliability of pleural effusion",
    ]


def test_points_of_plots_are_numbers_inside_their_frame() -> None:
    for points in re.findall(r'points="([^"]*)"', PAGE):
        for pair in points.split():
            x, y = (float(figure) for figure in pair.split(","))
            assert 0 <= x <= 260
            assert 0 <= y <= 260


def test_the_figures_are_those_of_the_evaluation() -> None:
    evaluation = measured(sample())
    edema = evaluation.labels[0]
    assert edema.area is not None
    assert edema.fitted is not None
    page = to_html(evaluation)

    assert f"{edema.area.value:.3f} <small>({edema.area.low:.3f}–{edema.area.high:.3f})" in page
    assert f"{edema.calibration_error:.3f}" in page
    assert f"{edema.fitted.probability:.4g}" in page


def test_the_page_says_what_was_left_out() -> None:
    assert "1 of 60 pictures have no answer (1 missing)" in PAGE
    assert "x.png" in PAGE


def test_one_class_has_no_curve_and_the_page_says_so() -> None:
    page = to_html(measured([answered(str(p), p / 10, {"edema": False}) for p in range(10)]))

    assert "All cases are of one class" in page
    assert "one class only" in page
    assert Outline(page).open == []


def test_an_interval_that_is_not_there_is_not_invented() -> None:
    """Complete separation: the area stands alone."""
    page = to_html(measured([answered(str(p), p / 10, {"edema": p > 4}) for p in range(10)]))

    assert "<td>1.000</td>" in page
