"""`vedette conformance`: equal cells are counted, and one unequal cell fails the command."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from services.bqat.conformance import app

# b.png was not assessed for its mouth; its yaw of -1 degree is an angle like any other.
OFIQ = """Filename;DynamicRange;HeadPoseYaw;MouthClosed;DynamicRange.scalar;HeadPoseYaw.scalar;\
MouthClosed.scalar;
a.png;4;60;0.2;50;25;50;
b.png;8;-1;nan;100;100;-1;
"""
NATIVE = """"Filename",QualityScore,Mu,OCL_Bin10_0,OCL_Bin10_Mean,FingerJetFX_MinutiaeCount
"b.png",NA,NA,NA,NA,NA
"a.png",70,127.5,3,0.5,170
"""
MAPPED = """"Filename",QualityScore,QB_Mu,QB_OCL_Bin10_0,QB_OCL_Bin10_Mean,\
QB_FingerJetFX_MinutiaeCount
"a.png",70,50,NA,50,100
"b.png",NA,NA,NA,NA,NA
"""


def run(folder: Path, command: str, *tables: str) -> Result:
    """The command on these tables, written to files."""
    paths = []
    for number, table in enumerate(tables):
        paths.append(folder / f"{number}.csv")
        paths[-1].write_text(table)
    return CliRunner().invoke(app, [command, *(str(path) for path in paths)])


def test_equal_scalars_succeed(tmp_path: Path) -> None:
    result = run(tmp_path, "ofiq", OFIQ)

    assert result.stdout == "6 of 6 equal\n"
    assert result.exit_code == 0


def test_one_unequal_scalar_fails_and_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, "ofiq", OFIQ.replace("50;25;50", "51;25;50"))

    assert result.stdout == "5 of 6 equal\n"
    assert "a.png: DynamicRange.scalar is 51, computed is 50" in result.stderr
    assert result.exit_code == 1


def test_an_unknown_component_counts_as_unequal(tmp_path: Path) -> None:
    result = run(tmp_path, "ofiq", OFIQ.replace("MouthClosed", "EarsVisible"))

    assert result.stdout == "4 of 6 equal\n"
    assert result.exit_code == 1


def test_rows_are_joined_by_their_file_name(tmp_path: Path) -> None:
    """The two tables list their files in different orders."""
    result = run(tmp_path, "nfiq2", NATIVE, MAPPED)

    assert result.stdout == "3 of 3 equal\n"
    assert result.exit_code == 0


def test_a_mapped_row_without_native_figures_is_unequal(tmp_path: Path) -> None:
    result = run(tmp_path, "nfiq2", NATIVE.replace('"a.png"', '"c.png"'), MAPPED)

    assert result.stdout == "0 of 3 equal\n"
    assert result.exit_code == 1


@pytest.mark.parametrize(
    "table",
    [
        "",
        "Filename;DynamicRange;DynamicRange.scalar;\n",
        "a;b\n1;2\n",
        OFIQ.replace("50;25", "x;25"),
    ],
)
def test_what_is_no_table_fails(tmp_path: Path, table: str) -> None:
    assert run(tmp_path, "ofiq", table).exit_code == 2


def test_a_table_without_scalars_proves_nothing(tmp_path: Path) -> None:
    """0 of 0 equal is no success."""
    assert run(tmp_path, "ofiq", "Filename;DynamicRange\na.png;4\n").exit_code == 1


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["ofiq", str(tmp_path / "none.csv")])

    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_pictures_are_measured_and_compared(tmp_path: Path) -> None:
    """Two grays in halves: their mean, their deviation, and blocks that are one gray each."""
    picture = np.full((64, 64), 60, np.uint8)
    picture[:, 32:] = 180
    (tmp_path / "images").mkdir()
    (tmp_path / "output").mkdir()
    (tmp_path / "images" / "a.pgm").write_bytes(b"P5 64 64 255\n" + picture.tobytes())
    (tmp_path / "output" / "a_output.txt").write_text(
        "UnifiedQualityScore: 54\nUniformImage: 60\nMu: 120\nMMB: 121\n"
        "FingerJetFX_MinutiaeCount: 3\n"
    )

    result = CliRunner().invoke(app, ["nfiq2-images", str(tmp_path)])

    assert result.stdout == "2 of 3 equal\n"
    assert "a: MMB is 121, computed is 120" in result.stderr
    assert result.exit_code == 1


def test_a_folder_without_answers_is_no_proof(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["nfiq2-images", str(tmp_path)]).exit_code == 2
