"""`model.yaml` is read strictly, and says what is wrong with it."""

import contextlib
from typing import Any

import onnx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.inference.manifest import (
    MAX_MANIFEST_BYTES,
    ManifestInvalid,
    dump_manifest,
    manifest_json_schema,
    parse_manifest,
)
from tests.shared.inference.packages import PackageBuilder, mean_network

DESIGN_EXAMPLE = b"""
id: pcam-classification
version: "1.0"
task: image-classification
evidence: research
licence: MIT
source: how and from what it was made, or the address it was published at
file: model.onnx
sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
input:  {name: image, layout: NCHW, colour: RGB, size: [96, 96], resize: stretch, \
scale: 0.0039215686, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
output: {name: logit, activation: sigmoid, labels: [no_tumor, tumor], positive: tumor}
operating_points: {tumor: 0.5}
calibration: {method: temperature, value: 1.0}
explain: {features: features}
test_vectors: [{input: vectors/0.png, output: [0.93], tolerance: 1.0e-3}]
card: {trained_on: patches, measured: [{dataset: PCam, split: test, n: 10, metric: auc, \
value: 0.9, interval: [0.8, 1.0]}], intended_use: research, limits: many}
"""


def changed(package: PackageBuilder, **changes: Any) -> bytes:
    """A right manifest with some members changed."""
    members = package.manifest(mean_network().SerializeToString())
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = members
        for parent in parents:
            place = place[parent]
        place[last] = value
    return yaml.safe_dump(members).encode()


def test_the_documented_example_is_a_manifest() -> None:
    """The design's example is the contract with everyone who writes a package."""
    manifest = parse_manifest(DESIGN_EXAMPLE)

    assert manifest.name == "pcam-classification@1.0"
    assert manifest.labels == ("no_tumor", "tumor")
    assert manifest.explain is not None
    assert manifest.explain.maps is None


def test_a_written_manifest_reads_back_the_same() -> None:
    manifest = parse_manifest(DESIGN_EXAMPLE)

    assert parse_manifest(dump_manifest(manifest).encode()) == manifest


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"output__labels": ["cat", "cat"]}, "twice"),
        ({"operating_points": {"horse": 0.5}}, "horse"),
        ({"operating_points": {"cat": 1.5}}, "operating_points.cat"),
        ({"operating_points": {"cat": float("nan")}}, "operating_points.cat"),
        ({"output__positive": "horse"}, "horse"),
        ({"input__size": [0, 8]}, "input.size"),
        ({"input__size": [8, 100_000]}, "input.size"),
        ({"input__mean": [0.0, 0.0]}, "mean has 2 figures"),
        ({"input__std": [0.0]}, "input.std"),
        ({"input__scale": float("inf")}, "input.scale"),
        ({"input__layout": "NHWC"}, "input.layout"),
        ({"id": "../etc"}, "id"),
        ({"id": "Upper"}, "id"),
        ({"version": ".."}, "version"),
        ({"version": 1.0}, "quotes"),
        ({"sha256": "00"}, "sha256"),
        ({"evidence": "certain"}, "evidence"),
        ({"evidence": "validated"}, "measured"),
        ({"calibration": {"method": "temperature", "value": 0}}, "calibration.value"),
        ({"surprise": 1}, "surprise"),
        ({"test_vectors": [{"input": "v.png", "output": [1.0], "tolerance": 2}]}, "tolerance"),
    ],
)
def test_a_fault_is_named(package: PackageBuilder, changes: dict[str, Any], fault: str) -> None:
    """Who wrote the manifest learns where to look."""
    with pytest.raises(ManifestInvalid, match=fault):
        parse_manifest(changed(package, **changes))


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a\\b", "C:x", "a\0b", "", "..", "a/", "‮x"],
)
def test_a_file_name_stays_in_the_package(package: PackageBuilder, name: str) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(changed(package, file=name))


@pytest.mark.parametrize(
    "text",
    [
        b"- a list",
        b"a: &x 1\nb: *x",
        b"id: a\nid: b",
        b"1: 2",
        b"[" * 100 + b"]" * 100,
        b"\xff\xfe\x00",
        b"a: !!timestamp x",
        b"",
        b"x" * (MAX_MANIFEST_BYTES + 1),
    ],
)
def test_what_is_not_plain_yaml_is_refused(text: bytes) -> None:
    """Aliases, double keys, depth and size are where YAML parsers lose their footing."""
    with pytest.raises(ManifestInvalid):
        parse_manifest(text)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(DESIGN_EXAMPLE) - 1), replacement=st.binary(max_size=8))
def test_any_damage_is_a_fault_or_harmless(place: int, replacement: bytes) -> None:
    """No bytes lead the reader to an error that nobody expects."""
    damaged = DESIGN_EXAMPLE[:place] + replacement + DESIGN_EXAMPLE[place + len(replacement) :]

    with contextlib.suppress(ManifestInvalid):
        parse_manifest(damaged)


def test_the_json_schema_lists_every_member() -> None:
    schema = manifest_json_schema()

    assert {"id", "sha256", "input", "output", "test_vectors", "card"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_the_fixture_network_is_valid_onnx() -> None:
    onnx.checker.check_model(mean_network())
