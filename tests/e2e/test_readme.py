"""The README's commands, run as they are printed against a platform that has just started."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.database import ROOT
from tests.e2e.conftest import Platform

#: The first block starts the platform and runs this suite; the others talk to it.
BLOCKS = re.findall(
    r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="module")
def transcript(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What the commands print, and the folder in which they leave their files."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "services").symlink_to(ROOT / "services")
    script = "".join(BLOCKS[1:]).replace("http://127.0.0.1:8000", platform.base_url)
    answer = subprocess.run(
        ["/bin/sh", "-e", "-c", script],
        cwd=folder,
        env={**os.environ, "no_proxy": "127.0.0.1", "PASSWORD": platform.admin_password},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout, folder


def test_the_readme_leads_with_the_two_commands() -> None:
    assert [line.split("#")[0].strip() for line in BLOCKS[0].splitlines()] == [
        "make run",
        "make test",
    ]


def test_the_old_api_answers_as_the_readme_shows(transcript: tuple[str, Path]) -> None:
    signed_up, uploaded, user = transcript[0].splitlines()[:3]
    assert signed_up.startswith('{"response":"Successfully Signed Up","username":"anna","token":"')
    assert '"pleural_effusion":0.' in uploaded
    assert re.fullmatch(r'\{"userid":\d+,"username":"anna","pastxrays":\[\d+\]\}', user)


def test_the_modern_api_answers_as_the_readme_shows(transcript: tuple[str, Path]) -> None:
    study, page = transcript[0].splitlines()[3:5]
    assert '"evidence":"demo"' in study
    assert page.startswith('{"items":[')


def test_a_served_network_answers_as_the_readme_shows(transcript: tuple[str, Path]) -> None:
    """One character for old clients, everything for new ones."""
    old, modern = transcript[0].splitlines()[5:]
    assert old in {"0", "1"}
    assert json.loads(modern)["model"]["id"] == "pcam-classification"


def test_the_files_are_what_their_names_say(transcript: tuple[str, Path]) -> None:
    folder = transcript[1]
    assert (folder / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "report.dcm").read_bytes()[128:132] == b"DICM"


def test_every_file_that_the_readme_names_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
