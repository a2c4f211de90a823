"""The table of labels, as hospitals and public data sets write it."""

from pathlib import Path

import pytest

from shared.evaluation.labels import LabelsInvalid, LabelTable, column_word, read_labels

LABELS = ("edema", "pleural_effusion")
ALIASES = {"effusion": "pleural_effusion"}


def read(tmp_path: Path, text: str, by: tuple[str, ...] = ()) -> LabelTable:
    table = tmp_path / "labels.csv"
    table.write_text(text, encoding="utf-8")
    return read_labels(table, LABELS, ALIASES, by)


def test_columns_are_found_by_name_alias_and_case(tmp_path: Path) -> None:
    table = read(tmp_path, "File,EDEMA,Effusion,Nodule\na.png,1,0,1\n")

    assert table.labels == LABELS
    assert table.pictures[0].truth == {"edema": True, "pleural_effusion": False}
    assert not table.has_patients


@pytest.mark.parametrize(
    ("name", "word"),
    [("Pleural Effusion", "pleural_effusion"), (" edema ", "edema"), ("Lung-Edema", "lung_edema")],
)
def test_names_are_compared_as_words(name: str, word: str) -> None:
    assert column_word(name) == word


def test_labels_keep_the_networks_order(tmp_path: Path) -> None:
    assert read(tmp_path, "file,effusion,edema\na,1,0\n").labels == LABELS


def test_a_table_may_lack_labels(tmp_path: Path) -> None:
    assert read(tmp_path, "file,edema\na,1\n").labels == ("edema",)


@pytest.mark.parametrize("cell", ["", "-1", "-1.0", " NaN ", "NA"])
def test_uncertain_and_silent_cells_are_not_known(tmp_path: Path, cell: str) -> None:
    """CheXpert writes -1 for uncertain; neither counts as absent."""
    assert read(tmp_path, f"file,edema\na,{cell}\n").pictures[0].truth["edema"] is None


def test_a_spreadsheets_byte_order_mark_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    assert len(read(tmp_path, "\ufefffile,edema\r\na,1.0\r\n,\r\nb,0\r\n").pictures) == 2


def test_patients_and_groups_are_kept(tmp_path: Path) -> None:
    text = "file,edema,patient,Sex\na,1,p1,F\nb,0,,\n"
    table = read(tmp_path, text, by=("sex",))

    assert table.has_patients
    assert [picture.patient for picture in table.pictures] == ["p1", None]
    assert [picture.groups["sex"] for picture in table.pictures] == ["F", "unknown"]


def test_many_numbers_become_quarters(tmp_path: Path) -> None:
    """A subgroup per year of age would hold nobody."""
    rows = "".join(f"{age},1,{age}\n" for age in range(20, 60))
    table = read(tmp_path, "file,edema,age\n" + rows + "x,1,\n", by=("age",))
    groups = [picture.groups["age"] for picture in table.pictures]

    assert sorted(set(groups)) == ["20 to 29", "30 to 39", "40 to 49", "50 to 59", "unknown"]
    assert groups.count("20 to 29") == 10


def test_equal_numbers_stay_in_one_band(tmp_path: Path) -> None:
    ages = [30] * 30 + list(range(31, 61))
    rows = "".join(f"{place},1,{age}\n" for place, age in enumerate(ages))
    table = read(tmp_path, "file,edema,age\n" + rows, by=("age",))

    assert {p.groups["age"] for p in table.pictures[:30]} == {"30"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column 'file'"),
        ("name,edema\na,1\n", "no column 'file'"),
        ("file,nodule\na,1\n", "the labels are edema, pleural_effusion"),
        ("file,edema\n", "no rows"),
        ("file,edema\na,2\n", "line 2 says '2' about edema"),
        ("file,edema\na,yes\n", "line 2 says 'yes' about edema"),
        ("file,edema\na\n", "line 2 has 1 cells"),
        ("file,edema\n,1\n", "line 2 names no file"),
        ("file,edema\na,1\nb,1\na,0\n", "line 4 names 'a', as line 2 does"),
        ("file,edema,Edema\na,1,1\n", "two columns are named"),
        ("file,effusion,pleural effusion\na,1,1\n", "two columns speak of pleural_effusion"),
        ('file,edema\n"a,1\n', "is not a CSV table"),
    ],
)
def test_a_faulty_table_is_refused_by_line_and_column(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(LabelsInvalid, match=says):
        read(tmp_path, text)


def test_an_unknown_group_column_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(LabelsInvalid, match="there are edema, file"):
        read(tmp_path, "file,edema\na,1\n", by=("sex",))


def test_a_column_of_names_is_no_grouping(tmp_path: Path) -> None:
    rows = "".join(f"{place},1,name{place}\n" for place in range(30))
    with pytest.raises(LabelsInvalid, match="30 values"):
        read(tmp_path, "file,edema,nurse\n" + rows, by=("nurse",))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_bytes(b"file,edema\n\xff,1\n")
    with pytest.raises(LabelsInvalid, match="UTF-8"):
        read_labels(table, LABELS, ALIASES)
