"""docs/reference says what the code says."""

import pytest

from docs.generate import PROCESSES, REFERENCE, pages
from shared.settings import Settings


@pytest.mark.parametrize("name", pages())
def test_the_committed_page_is_the_generated_one(name: str) -> None:
    """If it is not: `make docs`."""
    assert (REFERENCE / name).read_text() == pages()[name]


@pytest.mark.parametrize("kind", [Settings, *PROCESSES.values()])
def test_every_setting_says_what_it_means(kind: type[Settings]) -> None:
    silent = [name for name, field in kind.model_fields.items() if not field.description]
    assert silent == []
