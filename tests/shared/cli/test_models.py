"""`vedette models`: what it shows, what it refuses, and its exit status."""

import os
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from shared.cli.models import app
from shared.inference import load_package
from shared.inference.manifest import to_manifest
from tests.database import ROOT
from tests.shared.inference.packages import PackageBuilder

NAME = "mean-brightness"


def run(tmp_path: Path, *words: str) -> Result:
    """Run one command against a home of its own."""
    return CliRunner().invoke(app, [*words, "--home", str(tmp_path / "home")])


def source(tmp_path: Path, **changes: object) -> Path:
    """A package to import."""
    return PackageBuilder(tmp_path / "source", changes=dict(changes)).write()


def test_an_empty_installation_lists_nothing(tmp_path: Path) -> None:
    result = run(tmp_path, "list")

    assert result.exit_code == 0
    assert "No package" in result.stdout


def test_an_imported_package_is_listed_shown_and_removed(tmp_path: Path) -> None:
    imported = run(tmp_path, "import", str(source(tmp_path)))
    listed = run(tmp_path, "list")
    shown = run(tmp_path, "show", NAME)
    removed = run(tmp_path, "remove", f"{NAME}@1.0", "--yes")

    assert [each.exit_code for each in (imported, listed, shown, removed)] == [0] * 4
    assert "verified" in imported.stdout
    assert NAME in listed.stdout
    assert "demo" in listed.stdout
    assert "no use beyond tests" in shown.stdout
    assert not (tmp_path / "home" / "models" / NAME).exists()


def test_an_archive_is_imported(tmp_path: Path) -> None:
    folder = source(tmp_path)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for name in ("model.yaml", "model.onnx", "vectors/0.png"):
            archive.write(folder / name, name)

    result = run(tmp_path, "import", str(tmp_path / "p.zip"))

    assert result.exit_code == 0
    assert load_package(tmp_path / "home" / "models" / NAME / "1.0").name == f"{NAME}@1.0"


def test_an_onnx_file_is_imported_with_its_manifest(tmp_path: Path) -> None:
    """The hash is filled in; the test vectors lie beside the manifest."""
    folder = source(tmp_path, sha256=None)
    network = (folder / "model.onnx").rename(tmp_path / "net.onnx")

    result = run(tmp_path, "import", str(network), "--manifest", str(folder / "model.yaml"))

    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "home" / "models" / NAME / "1.0" / "model.onnx").is_file()


def test_a_package_that_fails_its_vectors_is_not_imported(tmp_path: Path) -> None:
    vector = {"input": "vectors/0.png", "output": [0.1, 0.9], "tolerance": 1e-3}

    result = run(tmp_path, "import", str(source(tmp_path, test_vectors=[vector])))

    assert result.exit_code == 1
    assert "test-vector-failed" in result.stderr
    assert not (tmp_path / "home" / "models" / NAME).exists()


def test_a_second_import_says_how_to_replace(tmp_path: Path) -> None:
    folder = source(tmp_path)
    run(tmp_path, "import", str(folder))

    again = run(tmp_path, "import", str(folder))
    replaced = run(tmp_path, "import", str(folder), "--replace")

    assert again.exit_code == 1
    assert "--replace" in again.stderr
    assert replaced.exit_code == 0


def test_published_networks_are_listed_with_their_terms(tmp_path: Path) -> None:
    result = run(tmp_path, "list", "--available")

    assert result.exit_code == 0
    assert "yunet" in result.stdout
    assert "Apache-2.0" in result.stdout


@pytest.mark.weights
@pytest.mark.skipif(
    "VEDETTE_MODEL_MIRROR" not in os.environ,
    reason="VEDETTE_MODEL_MIRROR names no mirror of the weights",
)
def test_a_published_network_is_pulled(tmp_path: Path) -> None:
    pulled = run(tmp_path, "pull", "open-closed-eye")
    listed = run(tmp_path, "list", "--available")

    assert pulled.exit_code == 0, pulled.stderr
    assert "verified" in pulled.stdout
    assert listed.stdout.count("yes") == 1
    assert (
        load_package(tmp_path / "home" / "models" / "open-closed-eye" / "1.0").worst_deviation
        < 1e-3
    )


def test_a_network_is_measured_in_every_layout(tmp_path: Path) -> None:
    run(tmp_path, "import", str(source(tmp_path)))

    result = run(tmp_path, "bench", NAME, "--seconds", "0.01")

    assert result.exit_code == 0, result.stderr
    assert "pictures/s" in result.stdout
    assert "Decoding" in result.stdout


def test_variants_are_tried_after_an_import(tmp_path: Path) -> None:
    """Whatever the measurement says here, each kind and its fate are shown."""
    result = run(tmp_path, "import", str(source(tmp_path)), "--variants")

    assert result.exit_code == 0, result.stderr
    assert "fp16" in result.stdout
    assert "int8" in result.stdout


def test_the_worked_example_of_the_documentation_works(tmp_path: Path) -> None:
    """What docs/models.md prints under "Import any ONNX file" is run as it stands."""
    page = (ROOT / "docs" / "models.md").read_text()
    example = page.partition("## Import any ONNX file")[2]
    commands = example.partition("```sh\n")[2].partition("```")[0].splitlines()
    (tmp_path / "services").symlink_to(ROOT / "services")
    subprocess.run(["sh", "-ec", "\n".join(commands[:-1])], cwd=tmp_path, check=True)

    words = (
        commands[-1]
        .removeprefix("vedette models ")
        .replace("my-chexray/", f"{tmp_path}/my-chexray/")
    )
    result = run(tmp_path, *words.split())

    assert result.exit_code == 0, result.stderr
    assert "verified  my-chexray@1.0" in result.stdout


def test_the_manifest_of_the_documentation_is_one() -> None:
    """The yaml block names every field that a person has to think of."""
    page = (ROOT / "docs" / "models.md").read_text()
    example = page.partition("A manifest of your own")[2].partition("```yaml\n")[2]
    members = yaml.safe_load(example.partition("```")[0])

    manifest = to_manifest(members | {"sha256": "0" * 64})

    assert manifest.name == "my-chexray@1.0"


def test_verify_installs_nothing(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", str(source(tmp_path))])

    assert result.exit_code == 0
    assert "1 test vector," in result.stdout
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["show", "absent"],
        ["remove", "absent", "--yes"],
        ["pull", "absent"],
        ["bench", "absent"],
        ["optimise", "absent"],
        ["import", "notes.txt"],
        ["import", "net.onnx"],
        ["import", "c.pt", "--layout", "unknown"],
        ["import", "c.pt", "--evidence", "certain"],
        ["import", "c.pt"],
        ["import", "p.zip"],
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """Never a traceback: the person at the terminal made a slip, not us."""
    for name in ("notes.txt", "net.onnx", "c.pt", "p.zip"):
        (tmp_path / name).write_bytes(b"text")
    monkeypatch.chdir(tmp_path)

    result = run(tmp_path, *words)

    assert result.exit_code == 1
    assert "refused" in result.stderr
    assert "Traceback" not in result.output


def test_a_checkpoint_is_converted_proven_and_installed(tmp_path: Path) -> None:
    """From a published layout to a package that a service can load."""
    torch = pytest.importorskip("torch", reason="conversion needs the extra `convert` (PyTorch)")
    from tests.shared.inference.densenet_torch import TorchXRayVision, seeded

    network = seeded(TorchXRayVision((2, 1), 4, 8), 1024)
    torch.save(network.state_dict(), tmp_path / "d121.pt")
    (tmp_path / "more.yaml").write_text("operating_points: {edema: 0.25}\n")

    result = run(
        tmp_path,
        "import",
        str(tmp_path / "d121.pt"),
        "--layout",
        "torchxrayvision",
        "--id",
        "xrv-all",
        "--evidence",
        "research",
        "--manifest",
        str(tmp_path / "more.yaml"),
    )

    manifest = load_package(tmp_path / "home" / "models" / "xrv-all" / "1.0").manifest
    assert result.exit_code == 0, result.stderr
    assert manifest.operating_points == {"edema": 0.25}
    assert manifest.evidence == "research"
