"""`vedette evaluate`: from a folder and a table to figures, a page and stored evidence."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from shared.cli import app
from shared.evaluation.local import from_json, local_evidence

ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "services" / "chexray" / "models" / "chexray-mobilenet" / "vectors"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Drawings of radiographs, and files that are none."""
    folder = tmp_path / "ward"
    shutil.copytree(VECTORS, folder)
    (folder / "letter.png").write_bytes(b"Dear colleague")
    return folder


def table(tmp_path: Path, rows: str, header: str = "file,Effusion,edema,sex") -> Path:
    """A table of labels."""
    path = tmp_path / "labels.csv"
    path.write_text(f"{header}\n{rows}", encoding="utf-8")
    return path


ROWS = "0.png,1,0,F\n1.png,0,0,M\n2.png,1,0,M\nletter.png,1,0,F\nlost.png,0,1,F\n"


def run(home: Path, *words: str) -> Result:
    """What the command answers, in a home of its own."""
    return CliRunner().invoke(
        app, ["evaluate", *words], env={"VEDETTE_HOME": str(home), "COLUMNS": "120"}
    )


@pytest.fixture
def evaluated(tmp_path: Path, pictures: Path) -> Result:
    """A whole evaluation."""
    labels = table(tmp_path, ROWS)
    return run(
        tmp_path / "home",
        *("chexray", str(pictures), str(labels), "--by", "sex", "--name", "ward 3", "--store"),
        *("--html", str(tmp_path / "r.html"), "--json", str(tmp_path / "r.json")),
    )


def test_figures_are_shown_and_every_picture_is_accounted_for(evaluated: Result) -> None:
    assert evaluated.exit_code == 0, evaluated.output
    assert "on ward 3" in evaluated.stdout
    assert "pleural_effusion" in evaluated.stdout
    assert "sex F" in evaluated.stdout
    assert "of 5 pictures answered" in evaluated.stdout
    assert "lost.png: missing" in evaluated.stdout
    assert "letter.png: unreadable" in evaluated.stdout
    assert "atelectasis, cardiomegaly, consolidation" in evaluated.stdout


def test_no_log_line_stands_among_the_figures(evaluated: Result) -> None:
    assert "network_loaded" not in evaluated.output


def test_the_reports_are_written(evaluated: Result, tmp_path: Path) -> None:
    assert evaluated.exit_code == 0, evaluated.output
    assert "ward 3" in (tmp_path / "r.html").read_text(encoding="utf-8")
    evaluation = from_json((tmp_path / "r.json").read_bytes())
    assert {each.file for each in evaluation.excluded} >= {"letter.png", "lost.png"}


def test_the_result_is_kept_as_local_evidence(evaluated: Result, tmp_path: Path) -> None:
    assert evaluated.exit_code == 0, evaluated.output
    model = from_json((tmp_path / "r.json").read_bytes()).model
    kept = local_evidence(tmp_path / "home", model.name)

    assert [each.dataset.name for each in kept] == ["ward 3"]
    assert kept[0].model == model


def test_json_is_plain(evaluated: Result, tmp_path: Path) -> None:
    """No NaN and no infinity, which other readers refuse."""
    assert evaluated.exit_code == 0, evaluated.output
    json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("radar",), "'radar' cannot be evaluated; what can: chexray"),
        (("chexray", "--model", "nowhere"), "no package 'nowhere' is installed"),
        (("chexray", "--by", "age"), "no column 'age' to group by"),
        (("chexray", "--html", "nowhere/r.html"), "there is no folder nowhere"),
    ],
)
def test_refusals_are_one_line(
    tmp_path: Path, pictures: Path, words: tuple[str, ...], says: str
) -> None:
    labels = table(tmp_path, ROWS)
    service, *options = words
    answer = run(tmp_path / "home", service, str(pictures), str(labels), *options)

    assert answer.exit_code == 1
    assert says in " ".join(answer.stderr.split())
    assert "Traceback" not in answer.output


def test_a_folder_without_any_answer_is_refused(tmp_path: Path, pictures: Path) -> None:
    labels = table(tmp_path, "lost.png,0,1,F\n")
    answer = run(tmp_path / "home", "chexray", str(pictures), str(labels))

    assert answer.exit_code == 1
    assert "no picture has both" in answer.stderr


def test_a_table_without_known_columns_says_which_labels_there_are(
    tmp_path: Path, pictures: Path
) -> None:
    labels = table(tmp_path, "0.png,1\n", header="file,nodule")
    answer = run(tmp_path / "home", "chexray", str(pictures), str(labels))

    assert answer.exit_code == 1
    assert "pleural_effusion" in answer.stderr
