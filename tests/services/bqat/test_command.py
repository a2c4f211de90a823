"""`vedette bqat scan FOLDER`: a folder is assessed here, and a scan that was broken off goes on."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.bqat.command import app
from services.bqat.domain import Modality, wanted_files
from services.bqat.scan_here import ScanHere
from tests.services.bqat.support import STUB, face


async def test_only_what_is_not_in_the_output_is_assessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that was broken off is cut away first."""
    monkeypatch.setenv("VEDETTE_HOME", str(tmp_path / "home"))
    folder, output = tmp_path / "in", tmp_path / "out.jsonl"
    (folder / "inner").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "inner/c.jpg", "d.txt"):
        (folder / name).write_bytes(face(60))
    first = json.dumps({"file": "a.jpg", "ipd": 1}) + "\n"
    output.write_text(first + '{"file": "b.j')
    shown: list[object] = []
    wanted = wanted_files(Modality.FACE, {})
    here = ScanHere(folder, Modality.FACE, None, wanted, output, 1, module=STUB)
    failed = await here.run(lambda **what: shown.append(what.get("completed")))
    lines = [json.loads(line) for line in output.read_text().splitlines()]

    assert failed == 0
    assert sorted(line["file"] for line in lines) == ["a.jpg", "b.jpg", "inner/c.jpg"]
    assert sorted(line["ipd"] for line in lines) == [1, 60, 60]
    assert shown[-1] == 3


@pytest.mark.parametrize("arguments", [["--modality", "gait"], ["--pattern", "(a+)+"]])
def test_what_makes_no_sense_is_refused_before_anything_begins(
    tmp_path: Path, arguments: list[str]
) -> None:
    """With status 2."""
    found = CliRunner().invoke(app, ["scan", str(tmp_path), *arguments])
    assert found.exit_code == 2
    assert not (tmp_path / "profiles.jsonl").exists()
