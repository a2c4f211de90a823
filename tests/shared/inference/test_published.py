"""Published checkpoints as plain ONNX networks: the same answers, and the same symmetries."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.imaging import decode
from shared.inference import compile_preprocess
from shared.inference.answers import probabilities
from shared.inference.conversion.checkpoint import CheckpointRefused
from shared.inference.conversion.p4m import convert_p4m_densenet
from shared.inference.conversion.wnet import convert_wnet
from shared.inference.graph import inspect_graph
from shared.inference.runtime import CPU_PROVIDER, Session
from shared.inference.zoo import load_zoo

torch = pytest.importorskip("torch", reason="conversion needs the extra `convert` (PyTorch)")

from tests.shared.inference import published_torch  # noqa: E402  # it needs PyTorch

ASSETS = os.environ.get("VEDETTE_ASSETS")


def saved(tmp_path: Path, state: dict[str, object]) -> Path:
    """A checkpoint of these weights."""
    torch.save(state, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def run(network: bytes, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the converted network answers."""
    inspect_graph(network)
    session = Session(network, [(CPU_PROVIDER, {})], threads_per_run=1)
    return session.run({"image": image})["logits"]


@pytest.fixture
def patch() -> NDArray[np.float32]:
    """One prepared picture without any symmetry of its own."""
    return np.random.default_rng(0).standard_normal((1, 3, 96, 96)).astype(np.float32)


@pytest.mark.parametrize("blocks", [2, 5])
def test_a_p4m_densenet_answers_as_its_definition(
    tmp_path: Path, patch: NDArray[np.float32], blocks: int
) -> None:
    state = published_torch.p4m_state(blocks, 3, torch.Generator().manual_seed(1))

    answer = run(convert_p4m_densenet(saved(tmp_path, state)), patch)

    with torch.inference_mode():
        expected = published_torch.p4m_densenet(state, torch.from_numpy(patch), blocks).numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)


def test_a_p4m_densenet_does_not_care_which_way_up_a_slide_lies(
    tmp_path: Path, patch: NDArray[np.float32]
) -> None:
    """The property that the group convolutions exist for; one wrong permutation would lose it."""
    state = published_torch.p4m_state(5, 3, torch.Generator().manual_seed(2))
    network = convert_p4m_densenet(saved(tmp_path, state))
    upright = run(network, patch)

    for turns in range(4):
        turned = np.ascontiguousarray(np.rot90(patch, turns, axes=(2, 3)))
        mirrored = np.ascontiguousarray(turned[..., ::-1])
        np.testing.assert_allclose(run(network, turned), upright, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(run(network, mirrored), upright, rtol=1e-4, atol=1e-5)


def test_a_wnet_answers_as_its_definition(tmp_path: Path) -> None:
    state = published_torch.wnet_state((2, 3, 4), torch.Generator().manual_seed(3))
    image = np.random.default_rng(0).random((1, 3, 512, 512), np.float32)

    answer = run(convert_wnet(saved(tmp_path, {"model_state_dict": state})), image)

    with torch.inference_mode():
        expected = published_torch.wnet(state, torch.from_numpy(image), 2).numpy()
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lost", ["c1.weight", "bn_out.bias", "trans_layers.0.conv.weight"])
def test_a_p4m_densenet_that_lacks_a_weight_is_refused(tmp_path: Path, lost: str) -> None:
    state = published_torch.p4m_state(2, 3, torch.Generator().manual_seed(1))
    del state[lost]

    with pytest.raises(CheckpointRefused, match=lost):
        convert_p4m_densenet(saved(tmp_path, state))


@pytest.mark.parametrize("convert", [convert_p4m_densenet, convert_wnet])
def test_another_network_is_refused(tmp_path: Path, convert: object) -> None:
    assert callable(convert)
    with pytest.raises(CheckpointRefused, match="is not a"):
        convert(saved(tmp_path, {"fc.weight": torch.zeros(2, 2)}))


@pytest.mark.weights
@pytest.mark.skipif(ASSETS is None, reason="VEDETTE_ASSETS names no folder of public data")
def test_the_published_p4m_densenet_tells_tumour_from_none() -> None:
    """On 200 patches of PatchCamelyon, some of which it was trained on: well above its 0.89."""
    entry = load_zoo()["p4m-densenet-pcam"]
    manifest = entry.described("p4m-densenet-pcam")
    folder = Path(str(ASSETS))
    network = convert_p4m_densenet(folder / "upstream" / entry.weights.sha256)
    session = Session(network, [(CPU_PROVIDER, {})], threads_per_run=1)
    preprocess = compile_preprocess(manifest.input)
    lines = (folder / "pcam" / "labels.csv").read_text().splitlines()[1:201]
    right = 0
    for name, tumor in (line.split(",") for line in lines):
        pixels = decode((folder / "pcam" / "patches" / name).read_bytes()).pixels
        logits = session.run({"image": preprocess(pixels)[None]})["logits"][0]
        right += (probabilities(manifest, logits)["tumor"] > 0.5) == (tumor == "1")

    assert right / len(lines) > 0.89


@pytest.mark.weights
@pytest.mark.skipif(ASSETS is None, reason="VEDETTE_ASSETS names no folder of public data")
@pytest.mark.parametrize("number", [3, 10, 20])
def test_the_published_wnet_finds_vessels(number: int) -> None:
    """A tenth of a fundus photograph, give or take; a wrong layer finds none, or all."""
    entry = load_zoo()["wnet-drive"]
    folder = Path(str(ASSETS))
    network = convert_wnet(folder / "upstream" / entry.weights.sha256)
    photograph = folder / "idrid" / "grading960" / f"IDRiD_{number:03}.jpg"
    pixels = decode(photograph.read_bytes()).pixels
    height_px, width_px = pixels.shape[:2]
    square = pixels[:, (width_px - height_px) // 2 :][:, :height_px]

    prepared = compile_preprocess(entry.described("wnet-drive").input)(square)
    vessels = run(network, prepared[None])[0, 0] > 0

    assert 0.02 < vessels.mean() < 0.2
