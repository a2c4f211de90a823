"""Reading a folder: every picture is answered or accounted for."""

from pathlib import Path

import pytest

from shared.evaluation.labels import LabelledPicture
from shared.evaluation.run import Answers, read_pictures
from shared.problems import Unavailable
from tests.shared.evaluation.support import StubEvaluator, write_folder


async def read(folder: Path, *names: str) -> tuple[Answers, int]:
    """The answers, and how often progress was reported."""
    ticks: list[None] = []
    pictures = [LabelledPicture(name, {"edema": True}, {}, None) for name in names]
    answers = await read_pictures(StubEvaluator(), folder, pictures, lambda: ticks.append(None))
    return answers, len(ticks)


async def test_answers_come_in_the_order_of_the_table(tmp_path: Path) -> None:
    names = [f"{place}.png" for place in range(20)]
    write_folder(tmp_path, {name: f"0.{place:02}" for place, name in enumerate(names)})
    answers, ticks = await read(tmp_path, *names)

    assert [case.picture.file for case in answers.cases] == names
    assert [case.probability_of["edema"] for case in answers.cases] == [
        place / 100 for place in range(20)
    ]
    assert ticks == 20


async def test_what_cannot_be_answered_is_listed_with_its_reason(tmp_path: Path) -> None:
    write_folder(
        tmp_path, {"good": "0.5", "damaged": "xyz", "sideways": "sideways", "nothing": "nothing"}
    )
    (tmp_path / "folder").mkdir()
    answers, ticks = await read(
        tmp_path, "good", "absent", "damaged", "sideways", "nothing", "folder"
    )

    assert [case.picture.file for case in answers.cases] == ["good"]
    assert {each.file: (each.kind, each.why) for each in answers.excluded} == {
        "absent": ("missing", "the folder has no such file"),
        "damaged": ("unreadable", "The picture is damaged."),
        "sideways": ("refused", "not-upright, colour"),
        "nothing": ("unanswered", "the network's answer is not a number"),
        "folder": ("unreadable", "it is no file"),
    }
    assert answers.excluded_counts == {
        "missing": 1, "refused": 1, "unanswered": 1, "unreadable": 2,
    }  # fmt: skip
    assert ticks == 6


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret"])
async def test_names_do_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    """A table from elsewhere must not make the platform read other files."""
    folder = tmp_path / "pictures"
    write_folder(folder, {})
    (tmp_path / "secret").write_text("0.5")
    answers, _ = await read(folder, name)

    assert answers.excluded[0].why == "the name leads out of the folder"


async def test_links_in_the_folder_are_followed(tmp_path: Path) -> None:
    """Data sets are often folders of links into a store."""
    folder = tmp_path / "pictures"
    write_folder(folder, {})
    write_folder(tmp_path / "store", {"1": "0.5"})
    (folder / "link").symlink_to(tmp_path / "store" / "1")
    answers, _ = await read(folder, "link")

    assert answers.cases[0].probability_of["edema"] == 0.5


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
async def test_impossible_names_are_no_crash(tmp_path: Path, name: str) -> None:
    answers, _ = await read(tmp_path, name)

    assert answers.excluded[0].file == name


async def test_an_engine_that_fails_ends_the_run(tmp_path: Path) -> None:
    """It says nothing about the picture, and figures without it would be wrong."""
    write_folder(tmp_path, {"good": "0.5", "overload": "overload"})

    with pytest.raises(Unavailable):
        await read(tmp_path, "good", "overload")
