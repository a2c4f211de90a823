"""Makes a package folder out of a checkpoint, or of an ONNX file and a manifest."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from shared.inference.answers import activated
from shared.inference.conversion.checkpoint import CheckpointRefused, read_checkpoint
from shared.inference.conversion.layouts import (
    LAYOUTS,
    Conversion,
    Layout,
    convert,
    find_layout,
)
from shared.inference.conversion.phantoms import SIZES_PX, phantom, to_png
from shared.inference.conversion.reference import run_in_torch
from shared.inference.devices import usable_cores
from shared.inference.evidence import Evidence
from shared.inference.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    ManifestInvalid,
    OutputSpec,
    dump_manifest,
    to_manifest,
)
from shared.inference.package import MAX_NETWORK_BYTES
from shared.inference.preprocess import compile_preprocess
from shared.inference.runtime import CPU_PROVIDER, Session

#: How far a converted network may be from its source framework.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Naming:
    """What the person who imports a checkpoint says about it."""

    id: str
    version: str
    evidence: Evidence = Evidence.DEMO


def package_checkpoint(
    path: Path,
    folder: Path,
    naming: Naming,
    layout: Layout | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Conversion:
    """Convert a checkpoint and write its package.

    The test vectors are answers of the source framework, so that verifying the package proves
    the conversion.

    Args:
        path: the checkpoint.
        folder: where the package is written; it must be empty.
        naming: id, version and evidence.
        layout: whose layout it is; None to tell by its weights.
        overrides: members of the manifest to state otherwise: card, operating points, licence.

    Raises:
        CheckpointRefused: the checkpoint cannot be converted.
        ManifestInvalid: `naming` or `overrides` do not make a manifest.
    """
    checkpoint = read_checkpoint(path)
    conversion = convert(checkpoint, layout or find_layout(checkpoint))
    facts = LAYOUTS[conversion.layout]
    network = conversion.network.SerializeToString()
    output = OutputSpec(name="logits", activation="sigmoid", labels=conversion.labels)
    preprocess = compile_preprocess(conversion.input)
    session = Session(network, [(CPU_PROVIDER, {})], threads_per_run=usable_cores())
    (folder / "vectors").mkdir()
    vectors = []
    for number in range(len(SIZES_PX)):
        pixels = phantom(number)
        batch = preprocess(pixels)[None]
        logits = run_in_torch(checkpoint.weights, conversion.layout, batch)
        # Probabilities near 0 or 1 hide a difference that the logits show.
        _compare(logits, session.run({conversion.input.name: batch})["logits"])
        picture = to_png(pixels)
        name = f"vectors/{number}.png"
        (folder / name).write_bytes(picture)
        vectors.append(
            {
                "input": name,
                "output": [float(figure) for figure in activated(output, logits).reshape(-1)],
                "tolerance": TOLERANCE,
                "sha256": hashlib.sha256(picture).hexdigest(),
            }
        )
    (folder / "model.onnx").write_bytes(network)
    limits = [facts.limits]
    points = conversion.operating_points
    if not points:
        points = dict.fromkeys(conversion.labels, 0.5)
        limits.append("The checkpoint has no operating points; 0.5 stands for all of them.")
    members: dict[str, Any] = {
        "id": naming.id,
        "version": naming.version,
        "task": "multi-label",
        "evidence": str(naming.evidence),
        "licence": facts.licence,
        "source": f"{facts.source}, converted from {path.name} with the sha256 {_sha256(path)}",
        "file": "model.onnx",
        "sha256": hashlib.sha256(network).hexdigest(),
        "input": conversion.input.model_dump(mode="json"),
        "output": output.model_dump(mode="json", exclude_none=True),
        "operating_points": dict(points),
        "explain": {"features": "features", "maps": "cam"},
        "test_vectors": vectors,
        "card": {
            "trained_on": facts.trained_on,
            "measured": [],
            "intended_use": "research on frontal chest radiographs; not for diagnosis",
            "limits": " ".join(limits),
        },
    }
    members.update(overrides or {})
    _write_manifest(folder, members)
    return conversion


def package_onnx(network: Path, manifest: Path, folder: Path) -> None:
    """Write the package of an ONNX file that comes with a manifest.

    Test vectors are taken from beside the manifest; a missing `sha256` is filled in.

    Raises:
        CheckpointRefused: a file is missing or too large.
        ManifestInvalid: the manifest is not right.
    """
    if network.stat().st_size > MAX_NETWORK_BYTES:
        raise CheckpointRefused(f"{network.name} is larger than {MAX_NETWORK_BYTES} bytes")
    members = read_overrides(manifest)
    members.setdefault("file", "model.onnx")
    members.setdefault("sha256", _sha256(network))
    _write_manifest(folder, members)
    shutil.copyfile(network, folder / str(members["file"]))
    for vector in members["test_vectors"]:
        source = manifest.parent / vector["input"]
        if not source.is_file():
            raise CheckpointRefused(f"{vector['input']} is not beside {manifest.name}")
        target = folder / vector["input"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def read_overrides(path: Path) -> dict[str, Any]:
    """Read a whole or partial manifest as plain members.

    Raises:
        ManifestInvalid: it is not a YAML mapping.
    """
    text = path.read_bytes()
    if len(text) > MAX_MANIFEST_BYTES:
        raise ManifestInvalid((f"{path.name} is larger than {MAX_MANIFEST_BYTES} bytes",))
    try:
        members = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ManifestInvalid((f"{path.name} is not plain YAML: {error}",)) from error
    if not isinstance(members, dict):
        raise ManifestInvalid((f"{path.name} is not a mapping",))
    return members


def _compare(expected: NDArray[np.float32], found: NDArray[np.float32]) -> None:
    deviation = np.abs(found - expected) / np.maximum(np.abs(expected), 1)
    # A deviation that is not a number fails too.
    if not float(deviation.max()) <= TOLERANCE:
        raise CheckpointRefused(
            f"the converted network deviates by {float(deviation.max()):.2g} from its source"
        )


def _write_manifest(folder: Path, members: Mapping[str, Any]) -> None:
    text = dump_manifest(to_manifest(dict(members)))
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
